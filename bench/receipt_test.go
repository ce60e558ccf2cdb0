package bench

import (
	"errors"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

func TestReceipt(t *testing.T) {
	e := Endpoint{Workload: Bulk, Point: result.Point{Size: 100}}
	message := pattern(100)
	receipt := AppendReceipt(nil, message)
	if err := e.Verify(receipt, message); len(receipt) != ReceiptBytes || err != nil {
		t.Errorf("receipt % x: %v", receipt, err)
	}
	for name, other := range map[string][]byte{"shorter": message[:99], "another head": append([]byte{9}, message[1:]...), "another tail": append(pattern(99), 9)} {
		if err := e.Verify(AppendReceipt(nil, other), message); !errors.Is(err, ErrEcho) {
			t.Errorf("%s: %v, want ErrEcho", name, err)
		}
	}
	e.Workload = Rate
	if err := e.Verify(receipt, message); !errors.Is(err, ErrEcho) {
		t.Errorf("a receipt for an echo: %v, want ErrEcho", err)
	}
}

// Of workload mixed, the length of a payload says what its answer is.
func TestMixedAnswers(t *testing.T) {
	e := Endpoint{Workload: Mixed, Point: result.Point{Size: 64}}
	if e.Receipted(64) || !e.Receipted(mixedBulk) || e.Longest() != mixedBulk {
		t.Errorf("echo of a long message, or a receipt for a short call; longest %d", e.Longest())
	}
}
