package stamp

import (
	"errors"
	"slices"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

// aCall is the stamps of one call whose k-th stage takes k × 10 ns from the 1st on, in the order of time.
func aCall(number uint32, begin int64) (client, server []Event) {
	at := begin
	step := int64(0)
	add := func(to *[]Event, kind Kind, parts ...int64) {
		for _, p := range parts {
			at += p
		}
		n := uint32(64)
		if kind >= CallBegun && kind != Received && kind != Sent && kind != Flushed {
			n = number
		}
		*to = append(*to, Event{At: at, Number: n, Kind: kind})
	}
	stage := func() int64 { step += 10; return step }
	add(&client, CallBegun)
	add(&client, Sent, stage())
	add(&client, Flushed, 5)
	add(&client, Transmitted, stage(), -5)
	add(&server, Arrived, stage())
	add(&server, Copied, 7)
	add(&server, Received, stage(), -7)
	add(&server, HandlerBegun, stage())
	add(&server, HandlerEnded, stage())
	add(&server, Sent, stage())
	add(&server, Flushed, 6)
	add(&server, Transmitted, stage(), -6)
	add(&client, Arrived, stage())
	add(&client, Copied, 8)
	add(&client, Received, stage(), -8)
	add(&client, CallReturned, stage())
	add(&client, CallEnded, stage())
	return client, server
}

const aCallNs = 10 * 12 * 13 / 2

// calls joins the stamps of calls one after the other.
func calls(n int) (client, server []Event) {
	for i := range n {
		c, s := aCall(uint32(i+1), int64(i+1)*10000)
		client, server = append(client, c...), append(server, s...)
	}
	return client, server
}

// check checks that the stages of each call add up to it, and that none is negative.
func check(t *testing.T, spans []Span, want int) {
	t.Helper()
	for call := range want {
		sum := int64(0)
		for _, s := range spans {
			if len(s.Ns) != want || s.Kernel != nil && len(s.Kernel) != want {
				t.Fatalf("%s of %s has %d calls, %d of them with the kernel's part; want %d", s.Name, s.Side, len(s.Ns), len(s.Kernel), want)
			}
			if sum += s.Ns[call]; s.Ns[call] < 0 || s.Kernel != nil && (s.Kernel[call] < 0 || s.Kernel[call] > s.Ns[call]) {
				t.Errorf("%s of %s took %d, of which the kernel %v", s.Name, s.Side, s.Ns[call], s.Kernel)
			}
		}
		if sum != aCallNs {
			t.Errorf("the stages of call %d add up to %d, not %d", call, sum, aCallNs)
		}
	}
}

func without(events []Event, kinds ...Kind) []Event {
	return slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return slices.Contains(kinds, e.Kind) })
}

// Every stage has its name, its side, what was put into it, and the kernel's part.
func TestSplit(t *testing.T) {
	client, server := calls(3)
	spans, unclear, err := Split(client, server, true)
	if err != nil || unclear != 0 {
		t.Fatal(unclear, err)
	}
	check(t, spans, 3)
	want := []struct {
		name, side string
		kernel     int64
	}{
		{result.StageSession, result.SideClient, 0},
		{result.StageTX, result.SideClient, 15},
		{result.StageWire, result.SideWire, 30},
		{result.StageRX, result.SideServer, 7},
		{result.StageSession, result.SideServer, 0},
		{result.StageHandler, result.SideServer, 0},
		{result.StageSession, result.SideServer, 0},
		{result.StageTX, result.SideServer, 74},
		{result.StageWire, result.SideWire, 90},
		{result.StageRX, result.SideClient, 8},
		{result.StageSession, result.SideClient, 0},
		{result.StageApplication, result.SideClient, 0},
	}
	if len(spans) != len(want) {
		t.Fatalf("%d stages, want %d", len(spans), len(want))
	}
	for i, w := range want {
		s := spans[i]
		if s.Name != w.name || s.Side != w.side || s.Ns[1] != int64(i+1)*10 || s.Kernel == nil || s.Kernel[1] != w.kernel {
			t.Errorf("stage %d is %+v, want %+v", i, s, w)
		}
	}
}

// Where nothing is stamped the borders move, and what the kernel took is not told.
func TestSplitWithoutSomeStamps(t *testing.T) {
	for name, c := range map[string]struct {
		without []Kind
		stages  int
		wire    int64
		kernel  bool // of the wire
	}{
		"no kernel":         {[]Kind{Transmitted, Arrived, Copied}, 10, 15 + 30 + 40, false},
		"a socket's calls":  {[]Kind{Flushed, Copied}, 12, 30, true},
		"nothing but calls": {[]Kind{Transmitted, Arrived, Copied, Flushed}, 8, 20 + 30 + 40, false},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := calls(2)
			spans, unclear, err := Split(without(client, c.without...), without(server, c.without...), true)
			if err != nil || unclear != 0 {
				t.Fatal(unclear, err)
			}
			check(t, spans, 2)
			i := slices.IndexFunc(spans, func(s Span) bool { return s.Side == result.SideWire })
			if wire := spans[i]; wire.Ns[0] != c.wire || (wire.Kernel != nil) != c.kernel || len(spans) != c.stages {
				t.Errorf("%d stages, wire %+v, want %d and %+v", len(spans), wire, c.stages, c)
			}
		})
	}
}

// Two machines' clocks differ by more than any call takes; the wire is halved, all else is as it was.
func TestSplitTwoClocks(t *testing.T) {
	client, server := calls(2)
	for i := range server {
		server[i].At += 1e12
	}
	spans, unclear, err := Split(client, server, false)
	if err != nil || unclear != 0 {
		t.Fatal(unclear, err)
	}
	check(t, spans, 2)
	for i, s := range spans {
		want := int64(i+1) * 10
		if s.Side == result.SideWire {
			want = (30 + 90) / 2
		}
		if s.Ns[0] != want || (s.Kernel == nil) != (s.Side == result.SideWire) {
			t.Errorf("stage %d is %+v, want %d ns", i, s, want)
		}
	}
}

// A call beside which anything else passed is left out and counted; its neighbours are not.
func TestUnclear(t *testing.T) {
	sortByTime := func(events []Event) { slices.SortFunc(events, func(a, b Event) int { return int(a.At - b.At) }) }
	for name, spoil := range map[string]func(client, server *[]Event){
		"a request is sent twice": func(client, server *[]Event) {
			*client = append(*client, Event{20300, 64, Sent}, Event{20301, 0, Flushed})
			*server = append(*server, Event{20650, 106, Arrived}, Event{20651, 64, Received})
		},
		"a stamp is missing":             func(client, _ *[]Event) { *client = slices.Delete(*client, 11, 12) },
		"the server did not see it":      func(_, server *[]Event) { *server = without(*server, 0); *server = slices.Delete(*server, 8, 16) },
		"a stamp is older than its like": func(_, server *[]Event) { (*server)[8].At = 20005 },
		"another packet goes beside it":  func(client, _ *[]Event) { *client = append(*client, Event{20400, 0, Transmitted}) },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := calls(3)
			spoil(&client, &server)
			sortByTime(client)
			sortByTime(server)
			spans, unclear, err := Split(client, server, true)
			if err != nil || unclear < 1 || unclear > 2 {
				t.Fatal(unclear, err)
			}
			check(t, spans, 3-unclear)
		})
	}
	client, _ := calls(1)
	if _, unclear, err := Split(client, nil, true); !errors.Is(err, ErrUnclear) || unclear != 1 {
		t.Errorf("without any stamps of the server: %d, %v", unclear, err)
	}
}

// What stands between calls belongs to none.
func TestBetweenCalls(t *testing.T) {
	client, server := calls(2)
	client = slices.Insert(client, 9, Event{15000, 64, Sent}, Event{15001, 0, Flushed}, Event{15002, 106, Arrived}, Event{15003, 64, Received})
	if _, unclear, err := Split(client, server, true); err != nil || unclear != 0 {
		t.Error(unclear, err)
	}
}

func TestEncoding(t *testing.T) {
	client, _ := calls(2)
	got, err := Decode(Encode(client))
	if err != nil || !slices.Equal(got, client) {
		t.Errorf("%v: %v, want %v", err, got, client)
	}
	for name, bad := range map[string][]byte{
		"cut off":      Encode(client)[:17],
		"kind 0":       make([]byte, eventBytes),
		"unknown kind": Encode([]Event{{1, 1, kinds}}),
	} {
		if _, err := Decode(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
