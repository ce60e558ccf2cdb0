package session

import "fmt"

// Code is a status code: gRPC's, by number.
type Code uint32

// The codes that the core itself gives. A handler may answer with any.
const (
	OK                 Code = 0
	Canceled           Code = 1
	Unknown            Code = 2
	InvalidArgument    Code = 3
	DeadlineExceeded   Code = 4
	ResourceExhausted  Code = 8
	FailedPrecondition Code = 9
	Internal           Code = 13
	Unavailable        Code = 14
	Unauthenticated    Code = 16
)

// Outcome says what a failed call did at the server; it decides whether the call may be made again.
type Outcome uint8

// The outcomes.
const (
	// MaybeExecuted: the request may have reached the handler, and nobody can tell.
	MaybeExecuted Outcome = iota
	// NotExecuted: the handler did not and will not see the request.
	NotExecuted
	// Executed: the handler ran, and its answer is the error.
	Executed
)

func (o Outcome) String() string {
	switch o {
	case NotExecuted:
		return "not executed"
	case Executed:
		return "executed"
	}
	return "unknown"
}

// Error is why a call or a session ended.
type Error struct {
	Code    Code
	Outcome Outcome
	Reason  string
	Err     error // what lies beneath, or nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Reason, e.Err)
	}
	return e.Reason
}

func (e *Error) Unwrap() error { return e.Err }

// Errors that are prepared, so that ending a call allocates nothing.
var (
	errDeadlineUnsent = &Error{Code: DeadlineExceeded, Outcome: NotExecuted, Reason: "the deadline passed before the request was sent"}
	errDeadline       = &Error{Code: DeadlineExceeded, Outcome: MaybeExecuted, Reason: "the deadline passed before a reply came"}
	errCanceledUnsent = &Error{Code: Canceled, Outcome: NotExecuted, Reason: "the caller gave up before the request was sent"}
	errCanceled       = &Error{Code: Canceled, Outcome: MaybeExecuted, Reason: "the caller gave up before a reply came"}
	errReassembly     = &Error{Code: ResourceExhausted, Outcome: Executed, Reason: "the reply exceeds the budget for reassembly (WithReassembly)"}
	errNoCredit       = &Error{Code: ResourceExhausted, Outcome: NotExecuted, Reason: "the server has no room for the request, and has not taken any of it for five seconds"}
	errStreamLong     = &Error{Code: ResourceExhausted, Outcome: NotExecuted, Reason: "the stream has had as many messages in this direction as can be numbered: open another"}
	errNoReader       = &Error{Code: ResourceExhausted, Outcome: MaybeExecuted, Reason: "the server has not taken any of a message for five seconds"}
	errNotTaken       = &Error{Code: ResourceExhausted, Outcome: MaybeExecuted, Reason: "the server has not acknowledged all of the request for five seconds"}
	errGivenUp        = &Error{Code: Unavailable, Outcome: MaybeExecuted, Reason: "the server has given up the call: it stood still for too long"}
	errEnding         = &Error{Code: Unavailable, Outcome: Executed, Reason: "the server is shutting down"}
	errStalled        = &Error{Code: DeadlineExceeded, Outcome: Executed, Reason: "the rest of the reply did not come"}
	errReplyMetadata  = &Error{Code: ResourceExhausted, Outcome: Executed, Reason: "the server's metadata is larger than this client takes (WithMaxMetadata)"}
	errMetadataLength = &Error{Code: Internal, Outcome: Executed, Reason: "the server's metadata is longer than the message that it came with"}
	errReplySize      = &Error{Code: ResourceExhausted, Outcome: Executed, Reason: "the reply exceeds the largest message (WithMaxMessage)"}
)

// Errors of Start.
var (
	ErrTooManyCalls = &Error{Code: ResourceExhausted, Outcome: NotExecuted, Reason: "too many calls at once (WithMaxCalls): wait for some to end, and release their replies"}
	ErrNoFrame      = &Error{Code: ResourceExhausted, Outcome: NotExecuted, Reason: "the link has no free frame: release replies, or open it with more frames"}
	ErrTooLarge     = &Error{Code: ResourceExhausted, Outcome: NotExecuted, Reason: "the request exceeds the largest message that both ends allow (WithMaxMessage)"}
	ErrConnClosed   = &Error{Code: Unavailable, Outcome: NotExecuted, Reason: "the session is closed"}
)

// Errors of Dial and of sessions.
var (
	ErrTooManySessions = &Error{Code: ResourceExhausted, Outcome: NotExecuted, Reason: "too many sessions (WithMaxSessions)"}
	errPeerSilent      = &Error{Code: Unavailable, Outcome: MaybeExecuted, Reason: "the peer has stopped answering heartbeats"}
	errNoAcks          = &Error{Code: Unavailable, Outcome: MaybeExecuted, Reason: "the peer is alive and acknowledges nothing"}
	errIdle            = &Error{Code: Unavailable, Outcome: MaybeExecuted, Reason: "the session was idle for too long"}
	errRestarted       = &Error{Code: Unavailable, Outcome: MaybeExecuted, Reason: "the peer was restarted"}
	errForgotten       = &Error{Code: Unavailable, Outcome: MaybeExecuted, Reason: "the peer no longer knows the session"}
	errHalfOpen        = &Error{Code: Unavailable, Outcome: NotExecuted, Reason: "the client did not complete the handshake"}
)

// EventKind tells Events apart.
type EventKind uint8

// The kinds of Event.
const (
	RequestArrived EventKind = iota + 1 // Call is a whole request: answer it with Reply or ReplyBytes
	RequestGone                         // nobody waits for Call's answer any more; Reply is still due
	CallEnded                           // Call ended: see its Err and Body, and on a stream Receive what is left; Release it
	SessionOpened                       // Conn is established
	StreamReadable                      // the next message of Call, or the end of them, is there: Receive until nil
	StreamWritable                      // Send, which was refused with ErrWindow, may be tried again
	PathQuiet                           // the server of Conn does not answer: if there is another path to it, Move
	SessionClosed                       // Conn, dialled or opened, is over; Err says why. All its calls have ended before
)

// Event is what an endpoint has to tell its owner.
type Event struct {
	Kind EventKind
	Conn *Conn
	Call *Call
	Err  error
}

// PollEvent returns the next event, nil when there is none. It is valid until the endpoint's next method is called.
func (e *Endpoint) PollEvent() *Event {
	for e.eventHead < len(e.events) {
		ev := &e.events[e.eventHead]
		e.eventHead++
		if ev.Kind != StreamReadable && ev.Kind != StreamWritable || ev.Call.attended() { // since it was queued, the owner may have ended the stream
			return ev
		}
	}
	e.events, e.eventHead = e.events[:0], 0
	return nil
}

func (e *Endpoint) emit(kind EventKind, c *Conn, k *Call, err error) {
	n := len(e.events)
	if n == cap(e.events) {
		e.events = append(e.events, Event{})
	}
	e.events = e.events[:n+1]
	ev := &e.events[n] // filled in place, as grow has it
	ev.Kind, ev.Conn, ev.Call, ev.Err = kind, c, k, err
}
