package afxdp_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// A wait ends with a packet, each time there is one, and with its time when there is none.
func TestEpoll(t *testing.T) {
	a, b := newPair(t, 1)
	pa, pb := a.newPort(t, nil), b.newPort(t, nil)
	e, err := afxdp.NewEpoll(afxdp.BusyPoll{Micros: 50, Budget: 64, Prefer: true}, pb.FD())
	if errors.Is(err, unix.ENOTTY) {
		t.Skipf("this kernel cannot: %v", err)
	}
	must(t, err)
	defer func() { must(t, e.Close()) }()
	if ready, err := e.Wait(time.Millisecond); ready || err != nil {
		t.Errorf("without a packet: %v, %v", ready, err)
	}
	for i := range 100 {
		pa.put(t, uint64(i), minPacket)
		pa.kickAll(t)
		for ready := false; !ready; {
			if ready, err = e.Wait(patience); err != nil {
				t.Fatal(err)
			}
		}
		if got := pb.receive(t, 1); got[0] != uint64(i) {
			t.Fatalf("got packet %d, want %d", got[0], i)
		}
		pa.awaitComplete(t, 1)
	}
	if ready, err := e.Wait(0); ready || err != nil {
		t.Errorf("with nothing left: %v, %v", ready, err)
	}
	must(t, e.Close())
	must(t, e.Close())
	if _, err := e.Wait(0); !errors.Is(err, afxdp.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestEpollRefuses(t *testing.T) {
	if _, err := afxdp.NewEpoll(afxdp.BusyPoll{}, -1); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptor: %v", err)
	}
	for _, b := range []afxdp.BusyPoll{{Micros: -1}, {Micros: 1 << 32}, {Budget: -1}, {Budget: 1<<16 + 64}} { // the kernel would see other numbers
		if _, err := afxdp.NewEpoll(b); err == nil {
			t.Errorf("%+v is taken", b)
		}
	}
}
