package session_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// arguments are a command's, each read in its form.
type arguments struct {
	datadriven.TestData
	t testing.TB
}

// word is the i-th argument.
func (a *arguments) word(i int) string {
	if i >= len(a.CmdArgs) || len(a.CmdArgs[i].Vals) > 0 {
		a.Fatalf(a.t, "%s: argument %d is missing", a.Cmd, i+1)
	}
	return a.CmdArgs[i].Key
}

// is tells whether there is an i-th argument without a value.
func (a *arguments) is(i int) bool { return i < len(a.CmdArgs) && len(a.CmdArgs[i].Vals) == 0 }

func (a *arguments) duration(i int) time.Duration { return a.parse(a.word(i)) }

func (a *arguments) parse(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		a.Fatalf(a.t, "%s: %v", a.Cmd, err)
	}
	return d
}

// set fills in the fields that the arguments with values name: times, counts and shares.
func (a *arguments) set(fields map[string]any) {
	for _, arg := range a.CmdArgs {
		if len(arg.Vals) == 0 {
			continue
		}
		var err error
		switch f := fields[arg.Key].(type) {
		case *time.Duration:
			*f = a.parse(arg.Vals[0])
		case *int:
			*f, err = strconv.Atoi(arg.Vals[0])
		case *float64:
			*f, err = strconv.ParseFloat(arg.Vals[0], 64)
		case func(s string):
			f(arg.Vals[0])
		default:
			err = fmt.Errorf("no setting %q", arg.Key)
		}
		if err != nil {
			a.Fatalf(a.t, "%s: %v", a.Cmd, err)
		}
	}
}
