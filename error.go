package fastrpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// Outcome says what a failed call did at the server. It decides whether making it again is safe.
type Outcome uint8

// The outcomes.
const (
	// OutcomeUnknown: the request may have run, and nobody can tell. Only an idempotent call is safe to make again.
	OutcomeUnknown = Outcome(engine.MaybeExecuted)
	// NotExecuted: the handler did not run and will not. The call is safe to make again.
	NotExecuted = Outcome(engine.NotExecuted)
	// Executed: the handler ran, and the error is its answer.
	Executed = Outcome(engine.Executed)
)

func (o Outcome) String() string { return engine.Outcome(o).String() }

// Error is why something failed.
//
// The code of a failed Dial or Listen says whom it asks to act:
//
//	InvalidArgument     the address is wrong: its form, a setting, a queue that the interface does not have, a host that the driver cannot serve
//	NotFound            there is no such interface, no such address on this host, or no such host
//	FailedPrecondition  this host has to be changed first: the port or a queue is taken, another XDP program is attached, the MTU is too large
//	PermissionDenied    the process lacks a capability
//	Unauthenticated     credentials are to be chosen ([WithInsecure])
//	Unavailable         the server or the network did not answer, or refused: trying again may help
//
// A handler returns one, with Code, Msg and perhaps Trailer, to answer with a status; its Op and Outcome do not travel.
type Error struct {
	Op      string // "dial xdp://192.0.2.7:9000", "call echo", ...; empty in a handler's answer
	Code    Code
	Outcome Outcome
	Msg     string
	Err     error // what lies beneath, or nil

	// What the server sent with its answer, at the client. A handler's Trailer is added to the reply's: details of the status travel in it.
	Header, Trailer Metadata
}

// Errorf makes a handler's answer with a status.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Outcome: Executed, Msg: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	s := "fastrpc: "
	if e.Op != "" {
		s += e.Op + ": "
	}
	s += e.Code.String()
	if e.Msg != "" {
		s += ": " + e.Msg
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Is matches an *Error of the same code whose other fields are empty, and the context package's errors by their codes.
func (e *Error) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded:
		return e.Code == DeadlineExceeded
	case context.Canceled:
		return e.Code == Canceled
	}
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Op == "" && t.Outcome == 0 && t.Msg == "" && t.Err == nil && t.Header == nil && t.Trailer == nil
}

// CodeOf returns the status of an error: OK for nil, Unknown for one that is not of this package.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Unknown
}

// OutcomeOf returns what a failed call did at the server; OutcomeUnknown for an error that is not of this package.
func OutcomeOf(err error) Outcome {
	var e *Error
	if errors.As(err, &e) {
		return e.Outcome
	}
	return OutcomeUnknown
}

// validText is what the other end says, in valid UTF-8, which a status's message always is.
func validText(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// wrap gives an error of a lower layer this package's form; nil stays nil.
func wrap(op string, code Code, outcome Outcome, err error) error {
	var ce *engine.CallError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ce):
		e := &Error{Op: op, Code: Code(ce.Code), Outcome: Outcome(ce.Outcome), Msg: ce.Reason, Err: ce.Err}
		if err != error(ce) { // others stand around it or beside it
			e.Msg, e.Err = "", err
		}
		return e
	}
	return &Error{Op: op, Code: codeFor(err, code), Outcome: outcome, Err: err}
}

// codeFor is the code of a context's or a driver's error, or else the one that is given.
func codeFor(err error, otherwise Code) Code {
	for _, known := range []struct {
		is   error
		code Code
	}{
		{context.DeadlineExceeded, DeadlineExceeded},
		{context.Canceled, Canceled},
		{fs.ErrPermission, PermissionDenied},
		{transport.ErrInvalid, InvalidArgument},
		{transport.ErrNotFound, NotFound},
		{transport.ErrPrecondition, FailedPrecondition},
	} {
		if errors.Is(err, known.is) {
			return known.code
		}
	}
	return otherwise
}
