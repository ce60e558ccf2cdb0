package result

import (
	"encoding/json"
	"io"
)

// Write writes the report as JSON, indented, with a final newline.
func (r *Report) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
