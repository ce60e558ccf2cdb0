package session_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// item is one line of a schedule: what the network does, a setting of an end, a call, something special about a call, or an accident. Each
// stands alone, so that any of them can be left out and what remains is a schedule still.
type item struct {
	text  string
	apply func(p *plan)
}

// plan is what a schedule comes to: all that a world needs to know before it begins.
type plan struct {
	faults    [2]sim.Faults // client to server, and back
	configs   [2]session.Config
	links     [2]sim.LinkOptions
	ahead     [2]time.Duration // the ends' clocks
	redial    time.Duration    // how long the client waits before the next session
	calls     map[int]*chaosCall
	accidents []accident
}

type accident struct {
	at   time.Duration
	text string
	do   func(c *chaos)
}

// chaosCall is a call's script, and what became of it. As long as no item says otherwise both messages are short and the handler answers at once.
type chaosCall struct {
	id             int
	at             time.Duration
	request, reply int // bytes
	code           session.Code
	takes          time.Duration // the handler
	timeout        time.Duration
	cancel         time.Duration // after the start; 0: never
	holds          time.Duration // the reply, before it is released
	copied         [2]bool       // request, reply: not built in place
	discarded      bool          // not started after all
	streams        bool
	sizes          [2][]int // of a stream's messages: the client's, the server's

	call      *session.Call
	deadline  transport.Time // by the client's clock; 0: none
	expires   transport.Time // the same by the network's
	lateSince transport.Time // by the network's: since then the client could have seen that it has passed
	body      []byte         // its first eight bytes are the id
	want      []byte         // the reply
	ended     bool
	err       *session.Error
	messages  [2][][]byte
	end       *streamEnd // the client's
	good      bool       // it got the handler's reply
	runs      int
}

const idBytes = 8

// newPlan is a plan of the given lines of a schedule.
func newPlan(items []item, keep []int) *plan {
	link := sim.LinkOptions{Frames: 512, FrameBytes: 2048, MTU: 2048, Burst: 64}
	p := &plan{links: [2]sim.LinkOptions{link, link}, redial: time.Millisecond, calls: map[int]*chaosCall{}}
	for i := range p.faults { // without any delay an answer to each answer would stop the time
		p.faults[i].Delay = 10 * time.Microsecond
	}
	for _, i := range keep {
		items[i].apply(p)
	}
	for _, k := range p.calls {
		k.body, k.want = pattern(k.request, byte(k.id)), pattern(k.reply, byte(k.id)+100)
		binary.LittleEndian.PutUint64(k.body, uint64(k.id))
		for i := range k.sizes {
			k.messages[i] = streamMessages(k.sizes[i], k.id+100*i)
		}
	}
	return p
}

// describeItems lists lines of a schedule, with their numbers.
func describeItems(items []item, keep []int) string {
	var b strings.Builder
	for _, i := range keep {
		fmt.Fprintf(&b, "%5d  %s\n", i, items[i].text)
	}
	return b.String()
}
