package stamp

import (
	"errors"
	"slices"

	"github.com/fastrpc/fastrpc/bench/result"
)

// A Span is one stage of the round trips: of each, how long it took.
type Span struct {
	Name string  // as result.Stage has it
	Side string  // likewise
	Ns   []int64 // by call

	// Kernel is how much of Ns was spent in the kernel's code; nil where the stamps do not tell.
	Kernel []int64
}

// places of a round trip, in the order of time. A trip has a time for each.
const (
	clientBegun = iota
	clientSent
	clientFlushed
	clientTransmitted
	serverArrived
	serverCopied
	serverReceived
	handlerBegun
	handlerEnded
	serverSent
	serverFlushed
	serverTransmitted
	clientArrived
	clientCopied
	clientReceived
	clientReturned
	clientEnded
	places
)

// stages are what lies between two places, and the part of that in the kernel: from and to the same place where there is no system call.
var stages = []struct {
	name, side           string
	from, to             int
	kernelFrom, kernelTo int
}{
	{result.StageSession, result.SideClient, clientBegun, clientSent, 0, 0},
	{result.StageTX, result.SideClient, clientSent, clientTransmitted, clientFlushed, clientTransmitted},
	{result.StageWire, result.SideWire, clientTransmitted, serverArrived, clientTransmitted, serverArrived},
	{result.StageRX, result.SideServer, serverArrived, serverReceived, serverArrived, serverCopied},
	{result.StageSession, result.SideServer, serverReceived, handlerBegun, 0, 0},
	{result.StageHandler, result.SideServer, handlerBegun, handlerEnded, 0, 0},
	{result.StageSession, result.SideServer, handlerEnded, serverSent, 0, 0},
	{result.StageTX, result.SideServer, serverSent, serverTransmitted, serverFlushed, serverTransmitted},
	{result.StageWire, result.SideWire, serverTransmitted, clientArrived, serverTransmitted, clientArrived},
	{result.StageRX, result.SideClient, clientArrived, clientReceived, clientArrived, clientCopied},
	{result.StageSession, result.SideClient, clientReceived, clientReturned, 0, 0},
	{result.StageApplication, result.SideClient, clientReturned, clientEnded, 0, 0},
}

// ErrUnclear says that no call's stamps could be told apart.
var ErrUnclear = errors.New("stamp: no call has each stamp once and in order")

// Split joins the stamps of both sides, each in the order of its time, and splits every round trip into its stages, which add up to it exactly.
//
// A call counts if each stamp that its side has at all is there once, and in order: packets that were sent twice, or others beside a call's, make
// it unclear. What a side does not stamp at all moves the border of a stage: without [Transmitted] or [Arrived] the wire begins or ends at the
// process's own stamps. Stages without any time are left out.
//
// Two machines have clocks of their own (oneClock is false): of the time on the wire only the sum there and back is known then, and each way
// counts for half of it.
func Split(client, server []Event, oneClock bool) (spans []Span, unclear int, err error) {
	calls, clientHas := tripsOf(client, &clientPlaces)
	served, serverHas := tripsOf(server, &serverPlaces)
	answers := make(map[uint32]*trip, len(served))
	for i := range served {
		answers[served[i].number] = &served[i]
	}
	has := clientHas | serverHas
	all := make([]Span, len(stages))
	for i := range calls {
		c := &calls[i]
		answer := answers[c.number]
		if answer == nil || !c.join(answer, has, oneClock) {
			unclear++
			continue
		}
		for i, s := range stages {
			all[i].Ns = append(all[i].Ns, c.at[s.to]-c.at[s.from])
			all[i].Kernel = append(all[i].Kernel, c.at[s.kernelTo]-c.at[s.kernelFrom])
		}
	}
	if len(all[0].Ns) == 0 {
		return nil, unclear, ErrUnclear
	}
	for i, s := range stages {
		all[i].Name, all[i].Side = s.name, s.side
		if s.kernelTo != s.kernelFrom && (has&(1<<s.kernelFrom) == 0 || has&(1<<s.kernelTo) == 0 || !oneClock && s.side == result.SideWire) {
			all[i].Kernel = nil
		}
	}
	empty := func(s Span) bool { return !slices.ContainsFunc(s.Ns, func(ns int64) bool { return ns != 0 }) }
	return slices.DeleteFunc(all, empty), unclear, nil
}

// optional are the places that a side may have no stamps for, and whose stamp stands in then; a nearest one comes before those that lean on it.
var optional = []struct{ place, nearest int }{
	{clientFlushed, clientSent}, {clientTransmitted, clientFlushed}, {serverFlushed, serverSent}, {serverTransmitted, serverFlushed},
	{serverCopied, serverReceived}, {serverArrived, serverCopied}, {clientCopied, clientReceived}, {clientArrived, clientCopied},
}

// required are all others.
const required = (1<<places - 1) &^ (1<<clientFlushed | 1<<clientTransmitted | 1<<serverFlushed | 1<<serverTransmitted |
	1<<serverCopied | 1<<serverArrived | 1<<clientCopied | 1<<clientArrived)

// A trip is the stamps of a call, those of one side or of both.
type trip struct {
	number uint32
	seen   uint32 // bit p: there is a stamp for place p
	twice  bool   // there is more than one for some place
	at     [places]int64
}

func (t *trip) add(place int, at int64) {
	t.twice = t.twice || t.seen&(1<<place) != 0
	t.seen |= 1 << place
	t.at[place] = at
}

// sidePlaces are the places of a side, by Kind; what a side's events begin with, and the kinds that come before that and belong to it.
type sidePlaces struct {
	of     [NumKinds]int
	opens  Kind
	before []Kind
	closes Kind
}

var (
	clientPlaces = sidePlaces{
		of: [NumKinds]int{
			CallBegun: clientBegun, Sent: clientSent, Flushed: clientFlushed, Transmitted: clientTransmitted,
			Arrived: clientArrived, Copied: clientCopied, Received: clientReceived, CallReturned: clientReturned, CallEnded: clientEnded,
		},
		opens: CallBegun, closes: CallEnded,
	}
	serverPlaces = sidePlaces{
		of: [NumKinds]int{
			Arrived: serverArrived, Copied: serverCopied, Received: serverReceived, HandlerBegun: handlerBegun,
			HandlerEnded: handlerEnded, Sent: serverSent, Flushed: serverFlushed, Transmitted: serverTransmitted,
		},
		opens: HandlerBegun, before: []Kind{Arrived, Copied, Received},
	}
)

// tripsOf groups a side's events by call. has tells which places there are any stamps for.
func tripsOf(events []Event, side *sidePlaces) (trips []trip, has uint32) {
	var next trip // with what came before it was opened
	open := false
	for _, e := range events {
		place := side.of[e.Kind]
		switch {
		case e.Kind == side.opens:
			next.number = e.Number
			trips, next = append(trips, next), trip{}
		case slices.Contains(side.before, e.Kind):
			next.add(place, e.At)
			has |= 1 << place
			continue
		case !open:
			continue
		}
		trips[len(trips)-1].add(place, e.At)
		has |= 1 << place
		open = e.Kind != side.closes
	}
	return trips, has
}

// join adds the other side's stamps, fills the places that no stamps are for, and tells whether the trip is clear.
func (t *trip) join(server *trip, has uint32, oneClock bool) bool {
	if t.twice || server.twice || t.seen|server.seen != has || has&required != required {
		return false
	}
	for p := serverArrived; p <= serverTransmitted; p++ {
		t.at[p] = server.at[p]
	}
	for _, m := range optional {
		if has&(1<<m.place) == 0 {
			t.at[m.place] = t.at[m.nearest]
		}
	}
	if !oneClock {
		wire := (t.at[clientArrived] - t.at[clientTransmitted]) - (t.at[serverTransmitted] - t.at[serverArrived])
		shift := t.at[clientTransmitted] + wire/2 - t.at[serverArrived]
		for p := serverArrived; p <= serverTransmitted; p++ {
			t.at[p] += shift
		}
	}
	return slices.IsSorted(t.at[:])
}
