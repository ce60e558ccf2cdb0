package bench

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Who runs out of descriptors is told what to do, also where a library kept nothing of the error but its words. Other errors stay what they are.
func TestExplainFiles(t *testing.T) {
	e := Endpoint{Point: result.Point{Sessions: 20000}}
	for _, err := range []error{unix.EMFILE, errors.New("netlink: too many open files")} {
		got := explainFiles(err, &e)
		if !errors.Is(got, err) || !strings.Contains(got.Error(), "ulimit -n 41000") || !strings.Contains(got.Error(), "LimitNOFILE=41000") {
			t.Errorf("%v became: %v", err, got)
		}
	}
	for _, err := range []error{nil, unix.ENFILE, unix.ECONNREFUSED} {
		if got := explainFiles(err, &e); got != err {
			t.Errorf("%v became: %v", err, got)
		}
	}
}
