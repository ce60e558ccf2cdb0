package fastrpc

import (
	"errors"
	"runtime"
	"time"

	"github.com/fastrpc/fastrpc/internal/engine"
)

// Option sets up a Client or a Server.
type Option func(*config)

type config struct {
	insecure bool
	engine   engine.Config
	workers  int
	queue    int
	streams  int
	drain    time.Duration

	maxMetadata int
	interceptors
}

// Defaults of the worker pool.
const (
	defaultWorkersPerCPU = 64   // handlers that block at once, for each processor
	defaultQueue         = 1024 // requests that wait for a worker; more are refused with ResourceExhausted
	defaultStreams       = 1024 // streams' handlers at once: a quarter of the calls that a queue of the network has records and frames for
	defaultDrain         = 5 * time.Second
	defaultMaxMetadata   = 64 << 10
)

func newConfig(opts []Option) config {
	c := config{workers: defaultWorkersPerCPU * runtime.GOMAXPROCS(0), queue: defaultQueue, streams: defaultStreams, drain: defaultDrain,
		maxMetadata: defaultMaxMetadata}
	for _, o := range opts {
		o(&c)
	}
	return c
}

var errNoCredentials = errors.New("no credentials: pass fastrpc.WithInsecure() to go without encryption and authentication, on a network that you trust")

func (c *config) check() error {
	if !c.insecure {
		return errNoCredentials
	}
	return nil
}

// WithInsecure goes without encryption and authentication: packets are protected against corruption, not against people. Without this or
// credentials, Dial and Serve refuse.
func WithInsecure() Option { return func(c *config) { c.insecure = true } }

// WithSpin never parks: a core burns for each queue, and no packet waits for a wake-up. For hosts that have a core to spare.
func WithSpin() Option { return func(c *config) { c.engine.Idle = engine.Spin } }

// WithPark parks as soon as there is nothing to do: every packet that comes to a parked process waits for a wake-up, and the process costs
// nothing while idle.
func WithPark() Option { return func(c *config) { c.engine.Idle = engine.Park } }

// WithSpinFor spins for d before parking, which is the default with 100 µs.
func WithSpinFor(d time.Duration) Option {
	return func(c *config) { c.engine.Idle, c.engine.SpinFor = engine.SpinThenPark, d }
}

// WithWorkers sizes a server's pool: how many handlers run at once, and how many requests wait for one. More are refused with
// ResourceExhausted, not executed.
func WithWorkers(workers, waiting int) Option {
	return func(c *config) { c.workers, c.queue = max(workers, 1), max(waiting, 0) }
}

// WithMaxStreams bounds the streams whose handlers run at once at a server; the default is 1,024. More are refused with ResourceExhausted, not
// executed. These handlers have goroutines of their own, so that streams, which may stay open for long, leave the workers to calls. Each
// open stream also counts as a call (WithMaxCalls).
func WithMaxStreams(n int) Option { return func(c *config) { c.streams = max(n, 1) } }

// WithDrainTimeout sets how long a server that is shut down waits for its streams to end by themselves, before it ends them with Unavailable;
// the default is 5 s. Calls are waited for as long as Shutdown's context allows.
func WithDrainTimeout(d time.Duration) Option { return func(c *config) { c.drain = d } }

// WithMaxMetadata bounds the metadata of one message, bytes as they are sent (5 for each value beside it and its key); the default is 64 KiB. More
// is neither sent nor taken: the call ends with ResourceExhausted.
func WithMaxMetadata(bytes int) Option {
	return func(c *config) { c.maxMetadata, c.engine.Session.MaxMetadata = bytes, uint32(max(bytes, 1)) }
}

// WithMaxMessage bounds requests and replies, their metadata included, bytes; the default is 16 MiB. The smaller of both ends' counts.
func WithMaxMessage(bytes uint32) Option {
	return func(c *config) { c.engine.Session.MaxMessage = bytes }
}

// WithReassembly bounds the memory of large messages, bytes over all sessions of a queue; the default is 64 MiB. A message counts with its whole
// length from its first packet until it is released: a reply by Release, a request by its answer. One that finds no room ends its call with
// ResourceExhausted: so let it be as much as the calls under way and the replies that are kept come to.
func WithReassembly(bytes int64) Option {
	return func(c *config) { c.engine.Session.Reassembly = bytes }
}

// WithHeartbeat sets how a client watches its server while calls are outstanding: a heartbeat every interval; and, until there are samples
// enough for phi (see WithPhi), after how many of them in a row without any packet from it the server counts as dead. The default is 8 at
// 50 ms: 450 ms.
func WithHeartbeat(interval time.Duration, misses int) Option {
	return func(c *config) { c.engine.Session.Heartbeat, c.engine.Session.Misses = interval, misses }
}

// Phi says when a client takes its server's silence for death, once it has samples of how regularly it is heard: the phi accrual failure
// detector of Hayashibara and others (2004). Fields that are zero have their defaults.
type Phi = engine.PhiConfig

// WithPhi sets the failure detector. With the defaults a server that stops is found after some 360 ms; with a heartbeat of 10 ms, an
// AcceptablePause of 30 ms and a MinStdDev of 5 ms, after some 70 ms.
func WithPhi(p Phi) Option { return func(c *config) { c.engine.Session.Phi = p } }

// Congestion is how a session finds out how many packets it may have on their way.
type Congestion = engine.Congestion

// The ways.
const (
	// Swift keeps the path's queues short by their delay: the default, for every network that may lose packets.
	Swift = engine.Swift
	// FixedWindow always allows the whole window, for lossless fabrics.
	FixedWindow = engine.Fixed
)

// WithCongestion chooses the congestion control, and the queueing delay that Swift aims at: 0 for the default, 50 µs.
func WithCongestion(kind Congestion, target time.Duration) Option {
	return func(c *config) { c.engine.Session.Congestion, c.engine.Session.TargetDelay = kind, target }
}

// WithWindow bounds the packets of one session that are not acknowledged; the default is 256, the most 1,024.
func WithWindow(packets int) Option { return func(c *config) { c.engine.Session.Window = packets } }

// WithMinPTO sets the least time after which packets count as lost because nothing of them is heard; the default is 1 ms. Down to 200 µs
// are of use where neither end is ever descheduled.
func WithMinPTO(d time.Duration) Option {
	return func(c *config) { c.engine.Session.MinPTO = max(d, 200*time.Microsecond) }
}

// WithMaxCalls bounds calls and requests at once, over all sessions of a queue; the default is 4,096. A client's calls beyond it end with
// ResourceExhausted, not executed. Requests beyond it wait at their clients: the server drops their packets, and they are sent again.
func WithMaxCalls(n int) Option { return func(c *config) { c.engine.Session.Calls = max(n, 1) } }

// WithMaxSessions bounds a server's sessions, over all ports of a queue; the default is 4,096, the most 1,048,576.
func WithMaxSessions(n int) Option { return func(c *config) { c.engine.Session.Sessions = n } }

// CallOption sets up one call.
type CallOption struct {
	timeout time.Duration
	header  Metadata
}

// Header sends md with the call. Of several such options all count. md must not be written before the call has returned.
func Header(md Metadata) CallOption { return CallOption{header: md} }

// Timeout ends a call after d. It travels with the request: a server does not begin what nobody waits for. The context's deadline does the
// same; the earlier one counts.
func Timeout(d time.Duration) CallOption { return CallOption{timeout: d} }
