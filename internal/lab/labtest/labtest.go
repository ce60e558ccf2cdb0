// Package labtest makes labs for tests.
package labtest

import (
	"testing"

	"github.com/fastrpc/fastrpc/internal/lab"
)

// New makes a lab with a name of its own and takes it down when the test ends; c.Name is ignored. It skips the test, saying why, when the
// process is not root.
func New(t testing.TB, c lab.Config) *lab.Lab { return nil }
