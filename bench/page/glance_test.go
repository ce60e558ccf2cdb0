package page

import (
	"bytes"
	"path/filepath"
	"testing"
)

// TestFigure keeps the main figure as it is, to the byte: a change of the drawing code shows as a change of this file.
func TestFigure(t *testing.T) {
	var b bytes.Buffer
	if err := Figure(&b, sampleLatency()); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "sample-latency.svg"), b.Bytes())
}
