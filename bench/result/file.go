package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxBytes bounds a report's JSON. A round takes some 10 kB, most of it the histogram.
const MaxBytes = 256 << 20

// Errors of Read and Load, for errors.Is.
var (
	ErrForm     = errors.New("not a report of 'fastrpc bench'")
	ErrSchema   = errors.New("a report of another schema")
	ErrTooLarge = errors.New("too large for a report")
)

// Write writes the report as JSON, indented, with a final newline.
func (r *Report) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Load reads a report from a file. It may wait for the file, as Read does.
func Load(name string) (*Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// Read reads a report to the end of in, at most MaxBytes of it. Fields that this version does not know are passed over.
func Read(in io.Reader) (*Report, error) { return read(in, MaxBytes) }

func read(in io.Reader, limit int) (*Report, error) {
	b, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	var form struct {
		Schema  int             `json:"schema"`
		Results json.RawMessage `json:"results"`
	}
	switch err := json.Unmarshal(b, &form); {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	case form.Results == nil:
		return nil, fmt.Errorf("%w: it has no results", ErrForm)
	case form.Schema == 0:
		return nil, fmt.Errorf("%w: it has none, so it is older than schema 1; measure again", ErrSchema)
	case form.Schema != Schema:
		return nil, fmt.Errorf("%w: it has schema %d, this program reads %d; read it with the fastrpc that wrote it", ErrSchema, form.Schema, Schema)
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	return r, nil
}
