package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/bench/meter"
)

func init() {
	Register(rpc{name: "xdp", scheme: "xdp", handle: (*fastrpc.Server).HandleInline})
	Register(rpc{name: "xdp-worker", scheme: "xdp", handle: (*fastrpc.Server).Handle})
	Register(rpc{name: "udp", scheme: "udp", handle: (*fastrpc.Server).HandleInline})
	Register(rpc{name: "tcp", scheme: "tcp", handle: (*fastrpc.Server).HandleInline})
}

// rpc is this project, used as anybody would: a handler that echoes, calls with a timeout, replies that are released. The program must import
// the scheme's driver.
type rpc struct {
	name, scheme string
	query        string // of the target
	handle       func(*fastrpc.Server, string, fastrpc.Handler)
}

func (s rpc) Name() string      { return s.name }
func (s rpc) Bypass() bool      { return s.scheme == "xdp" }
func (s rpc) RDMA() bool        { return s.scheme == "rdma" }
func (s rpc) Has(w string) bool { return w != Flood && (w != Loss || !s.RDMA()) } // a card's packets pass nothing that could drop them

func (s rpc) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	srv := fastrpc.NewServer(options(&e)...)
	s.handle(srv, "echo", func(w *fastrpc.Response, r *fastrpc.Request) error {
		_, err := w.Write(r.Body())
		return err
	})
	s.handle(srv, "receipt", func(w *fastrpc.Response, r *fastrpc.Request) error {
		if len(r.Body()) < MinBulk {
			return &fastrpc.Error{Code: fastrpc.InvalidArgument, Msg: fmt.Sprintf("a message of %d bytes", len(r.Body()))}
		}
		AppendReceipt(w.Extend(ReceiptBytes)[:0], r.Body())
		return nil
	})
	return s.serve(ctx, &e, srv, ready)
}

// serve serves until ctx ends.
func (s rpc) serve(ctx context.Context, e *Endpoint, srv *fastrpc.Server, ready func(Ready)) error {
	host := e.Local.Addr().String()
	if s.Bypass() {
		host = e.Interface
	}
	target, err := s.target(e, host, e.Local.Port())
	if err != nil {
		return err
	}
	addr, err := srv.Listen(ctx, target)
	if err != nil {
		return err
	}
	r := granted(srv.Transports())
	r.Addr = netip.AddrPortFrom(e.Local.Addr(), addr.Port())
	r.Counters = func() map[string]meter.Own { return own(srv.Stats()) }
	ready(r)
	<-ctx.Done()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	return srv.Shutdown(limit)
}

func (s rpc) target(e *Endpoint, host string, port uint16) (target string, err error) {
	scheme := s.scheme
	if e.Loss > 0 && s.Bypass() { // others' packets the harness has the kernel drop
		if scheme, err = lossyScheme(scheme, e.Loss, e.Seed); err != nil {
			return "", err
		}
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(port))) + s.query, nil
}

// granted reads what the kernel granted out of the transport's name, such as "xdp eth0 queue 0 (native, zero-copy)".
func granted(transports []string) (r Ready) {
	name := strings.Join(transports, " ")
	for _, mode := range []string{"native", "generic"} {
		if strings.Contains(name, mode) {
			r.XDPMode, r.ZeroCopy, r.BusyPoll = mode, "no", "no" // the target does not ask for the last
		}
	}
	if r.XDPMode != "" && strings.Contains(name, "zero-copy") {
		r.ZeroCopy = "yes"
	}
	return r
}

// What fastrpc has by itself: the longest message, and the memory for those that arrive.
const (
	maxMessage = 16 << 20
	reassembly = 64 << 20
)

// heartbeat is the interval that fastrpc has by itself.
const heartbeat = 50 * time.Millisecond

// options are those of both ends. Long messages need limits of their own: memory for those outstanding, and for one that is given back.
func options(e *Endpoint) []fastrpc.Option {
	o := []fastrpc.Option{
		fastrpc.WithInsecure(),
		// A shared machine may hold a process back for longer than the failure detector allows by default, and the systems beside it wait for that, too.
		fastrpc.WithHeartbeat(heartbeat, int(callLimit/heartbeat)), fastrpc.WithPhi(fastrpc.Phi{AcceptablePause: callLimit}),
	}
	if n := e.Longest(); n > maxMessage {
		o = append(o, fastrpc.WithMaxMessage(uint32(n)))
	}
	if n := int64(e.calls()+1) * int64(e.Longest()); n > reassembly {
		o = append(o, fastrpc.WithReassembly(n))
	}
	if e.Sessions > 0 {
		o = append(o, fastrpc.WithMaxSessions(e.Sessions))
	}
	return o
}

func (s rpc) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	target, err := s.target(&e, e.Remote.Addr().String(), e.Remote.Port())
	if err != nil {
		return nil, err
	}
	client, err := fastrpc.Dial(ctx, target, options(&e)...)
	if err != nil {
		return nil, err
	}
	c := &rpcCaller{client: client, endpoint: e, method: client.Method("echo"), timeout: fastrpc.Timeout(e.callLimit())}
	if e.Receipted(e.Size) {
		c.method = client.Method("receipt")
	}
	if !e.Piped() && !e.Polled() {
		return c, nil
	}
	c.queue, c.results = fastrpc.NewQueue(e.Outstanding), make([]fastrpc.Result, e.Outstanding)
	c.payloads = make([][]byte, e.Slots())
	return c, nil
}

type rpcCaller struct {
	client   *fastrpc.Client
	endpoint Endpoint
	method   *fastrpc.Method
	timeout  fastrpc.CallOption

	queue    *fastrpc.Queue
	results  []fastrpc.Result
	payloads [][]byte // by slot
}

func (c *rpcCaller) Call(payload []byte) error {
	reply, err := c.method.Call(context.Background(), payload, c.timeout)
	if err != nil {
		return err
	}
	defer reply.Release()
	return c.endpoint.Verify(reply.Body(), payload)
}

// slot of a call: its number in the queue counts the calls from 1, and they begin in the order of the slots.
func (c *rpcCaller) slot(id uint64) int { return int((id - 1) % uint64(len(c.payloads))) }

func (c *rpcCaller) Begin(slot int, payload []byte) error {
	c.payloads[slot] = payload
	id, err := c.method.Go(context.Background(), payload, c.queue) // a server that is gone shows by its heartbeats
	if err == nil && c.slot(id) != slot {
		return fmt.Errorf("the call in slot %d has number %d", slot, id)
	}
	return err
}

func (c *rpcCaller) Wait(ended []int) (int, error) {
	n, err := c.queue.Wait(context.Background(), c.results)
	if err != nil {
		return 0, err
	}
	return n, c.take(ended[:n])
}

func (c *rpcCaller) Poll(ended []int) (int, error) {
	n := c.queue.Poll(c.results)
	if n == 0 {
		return 0, nil
	}
	return n, c.take(ended[:n])
}

// take looks at the first results, as many as have ended.
func (c *rpcCaller) take(ended []int) error {
	for i := range ended {
		r := &c.results[i]
		if r.Err != nil {
			return r.Err
		}
		ended[i] = c.slot(r.ID)
		err := c.endpoint.Verify(r.Reply.Body(), c.payloads[ended[i]])
		r.Reply.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// Counters implements [Counting].
func (c *rpcCaller) Counters() map[string]meter.Own { return own(c.client.Stats()) }

// own is what queues dropped, in both directions.
func own(queues []fastrpc.QueueStats) map[string]meter.Own {
	all := map[string]meter.Own{}
	for i := range queues {
		q := &queues[i]
		all[q.Queue] = meter.Own{Retransmissions: q.Retransmitted, Drops: map[string]uint64{
			"fastrpc malformed": q.Malformed, "fastrpc corrupt": q.Corrupt, "fastrpc wrong path": q.WrongPath,
			"fastrpc unknown session": q.UnknownSession, "fastrpc stale": q.Stale, "fastrpc duplicates": q.Duplicates,
			"fastrpc unsendable": q.Unsendable, "fastrpc calls refused": q.CallsRefused, "fastrpc reassembly refused": q.ReassemblyRefused,
			"fastrpc inbox dropped": q.InboxDropped, "fastrpc no frame": q.NoFrame, "fastrpc link errors": q.LinkErrors,
		}}
	}
	return all
}

func (c *rpcCaller) Close() error { return c.client.Close() }
