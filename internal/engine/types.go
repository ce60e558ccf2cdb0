package engine

import "github.com/fastrpc/fastrpc/transport/session"

// What the engine's users need of the session core, under the engine's name.
type (
	Call      = session.Call
	CallError = session.Error
	Code      = session.Code
	Outcome   = session.Outcome

	Congestion = session.Congestion
	PhiConfig  = session.PhiConfig
)

// The outcomes of a failed call.
const (
	MaybeExecuted = session.MaybeExecuted
	NotExecuted   = session.NotExecuted
	Executed      = session.Executed
)

// The ways of congestion control.
const (
	Swift = session.Swift
	Fixed = session.Fixed
)
