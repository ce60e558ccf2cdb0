package fastrpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// Method is one of the server's methods. It may be used from any goroutine. Its number at the server is looked up with the first call in
// each session.
type Method struct {
	client *Client
	name   string
	op     string
	bound  atomic.Pointer[binding]
}

type binding struct {
	conn   *engine.Conn
	number uint32
}

// Method names one of the server's methods. Whether the server has it turns out with the first call.
func (c *Client) Method(name string) *Method {
	return &Method{client: c, name: name, op: "call " + name}
}

// Name returns the method's name.
func (m *Method) Name() string { return m.name }

// Call sends payload and waits for the reply. payload may be used again when Call returns. The reply is to be released; where Call returns
// an error there is none. The error is an *Error.
func (m *Method) Call(ctx context.Context, payload []byte, opts ...CallOption) (Reply, error) {
	if around := m.client.aroundCall; around != nil {
		return around(ctx, m, payload, slices.Clone(opts)...) // the copy keeps the options of those without interceptors off the heap
	}
	return m.call(ctx, payload, opts)
}

func (m *Method) call(ctx context.Context, payload []byte, opts []CallOption) (Reply, error) {
	now, deadline, err := m.deadline(ctx, opts)
	if err != nil {
		return Reply{}, err
	}
	payload, metadata, err := m.withHeader(payload, opts)
	if err != nil {
		return Reply{}, err
	}
	for attempt := 0; ; attempt++ {
		b, err := m.bind(ctx, deadline)
		if err != nil {
			return Reply{}, wrap(m.op, Unavailable, NotExecuted, err)
		}
		k, cerr := b.conn.Call(ctx, now, b.number, payload, metadata, deadline)
		if cerr != nil {
			if b.conn.Err() != nil && attempt == 0 { // the session ended unnoticed, and the call was not begun
				continue
			}
			return Reply{}, wrap(m.op, Unavailable, NotExecuted, cerr)
		}
		return endOf(m.op, b.conn.Engine(), k)
	}
}

// Draft is a request that is being built in place, in the frame that the network card will read. It is a lease that ends once, for all its
// copies, with Call or Discard.
type Draft struct {
	m     *Method
	b     *binding
	call  *engine.Call
	lease uint32
}

// Alloc takes a frame to build a request in; ctx bounds the look-up of the method and the opening of a session, where they are needed.
func (m *Method) Alloc(ctx context.Context) (Draft, error) {
	for attempt := 0; ; attempt++ {
		b, err := m.bind(ctx, 0)
		if err != nil {
			return Draft{}, wrap(m.op, Unavailable, NotExecuted, err)
		}
		k, cerr := b.conn.NewCall()
		if cerr == nil {
			return Draft{m: m, b: b, call: k, lease: k.Lease()}, nil
		}
		if b.conn.Err() == nil || attempt > 0 {
			return Draft{}, wrap(m.op, Unavailable, NotExecuted, cerr)
		}
	}
}

// Bytes is where the request is to be written: as much as one packet holds. It may hold anything before. After Call or Discard it panics.
func (d Draft) Bytes() []byte {
	if d.call.Lease() != d.lease {
		panic("fastrpc: a draft was used after its Call or Discard")
	}
	return d.call.Buffer()
}

// end ends the lease.
func (d Draft) end() {
	if !d.call.EndLease(d.lease) {
		panic("fastrpc: a draft was used after its Call or Discard")
	}
}

// Call sends the first n bytes and waits for the reply, as Method.Call does.
func (d Draft) Call(ctx context.Context, n int, opts ...CallOption) (Reply, error) {
	now, deadline, err := d.m.deadline(ctx, opts)
	if err != nil {
		d.Discard()
		return Reply{}, err
	}
	if n < 0 || n > len(d.Bytes()) {
		panic("fastrpc: more bytes than the draft has")
	}
	if d.m.client.aroundCall != nil {
		payload := slices.Clone(d.Bytes()[:n])
		d.Discard()
		return d.m.Call(ctx, payload, opts...)
	}
	if n, err = d.addHeader(n, opts); err != nil {
		d.Discard()
		return Reply{}, err
	}
	d.end()
	k, cerr := d.b.conn.CallBuilt(ctx, now, d.call, d.b.number, n, deadline)
	if cerr != nil {
		return Reply{}, wrap(d.m.op, Unavailable, NotExecuted, cerr)
	}
	return endOf(d.m.op, d.b.conn.Engine(), k)
}

// Discard gives the frame back unsent.
func (d Draft) Discard() {
	d.end()
	d.b.conn.Discard(d.call)
}

// withHeader puts the header that a call's options give it behind a copy of its payload; without one it returns the payload.
func (m *Method) withHeader(payload []byte, opts []CallOption) (message []byte, metadata bool, err error) {
	if len(opts) == 0 {
		return payload, false, nil
	}
	block, err := headerBlock(opts, m.client.maxMetadata)
	if err != nil {
		return nil, false, wrap(m.op, Internal, NotExecuted, err)
	}
	if block == nil {
		return payload, false, nil
	}
	message = append(make([]byte, 0, len(payload)+len(block)+wire.MetadataBytes), payload...)
	return wire.AppendMetadata(message, block), true, nil
}

// addHeader puts the header that a call's options give it behind the n bytes of a draft, and returns the length of both.
func (d Draft) addHeader(n int, opts []CallOption) (int, error) {
	block, err := headerBlock(opts, d.m.client.maxMetadata)
	if err != nil {
		return n, wrap(d.m.op, Internal, NotExecuted, err)
	}
	if block == nil {
		return n, nil
	}
	b := d.Bytes()
	if len(b)-n < len(block)+wire.MetadataBytes {
		return n, wrap(d.m.op, ResourceExhausted, NotExecuted, errDraftHeader)
	}
	d.call.MarkMetadata()
	return len(wire.AppendMetadata(b[:n], block)), nil
}

var errDraftHeader = errors.New("a draft and its header have to fit into one packet: use Method.Call")

// deadline reads the clock and returns when the call has to end, 0 for never.
func (m *Method) deadline(ctx context.Context, opts []CallOption) (now, at transport.Time, err error) {
	now = transport.Now()
	for i := range opts {
		if d := opts[i].timeout; d != 0 {
			if t := now.Add(d); (at == 0 || t < at) && (t > now || d < 0) { // a sum beyond the end of time is never
				at = t
			}
		}
	}
	if d, ok := ctx.Deadline(); ok {
		d := time.Until(d)
		if t := now.Add(d); (at == 0 || t < at) && (t > now || d < 0) {
			at = t
		}
	}
	if err := ctx.Err(); err != nil {
		return now, 0, wrap(m.op, Canceled, NotExecuted, err)
	}
	return now, at, nil
}

// bind returns the method's number in the present session.
func (m *Method) bind(ctx context.Context, deadline transport.Time) (*binding, error) {
	if b := m.bound.Load(); b != nil && b.conn.Err() == nil {
		return b, nil
	}
	if deadline != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, deadline.Sub(transport.Now()))
		defer cancel()
	}
	conn, err := m.client.session(ctx)
	if err != nil {
		return nil, err
	}
	k, cerr := conn.Call(ctx, transport.Now(), bindMethod, []byte(m.name), false, deadline)
	if cerr != nil {
		return nil, cerr
	}
	e := conn.Engine()
	defer e.Release(k)
	if err := k.Err(); err != nil {
		return nil, &engine.CallError{Code: err.Code, Outcome: engine.NotExecuted, Reason: err.Reason, Err: err.Err} // looking up executes nothing
	}
	if Code(k.Code()) != OK {
		return nil, &engine.CallError{Code: k.Code(), Outcome: engine.NotExecuted, Reason: string(k.Body())}
	}
	if len(k.Body()) != 4 {
		return nil, &engine.CallError{Code: engine.Code(Internal), Outcome: engine.NotExecuted, Reason: fmt.Sprintf("the server's number for method %q has %d bytes, not 4", m.name, len(k.Body()))}
	}
	b := &binding{conn: conn, number: binary.LittleEndian.Uint32(k.Body())}
	m.bound.Store(b)
	return b, nil
}

// bindMethod is the number of the method that looks numbers up, by name.
const bindMethod = 0

// endOf makes an ended call the caller's.
func endOf(op string, e *engine.Engine, k *engine.Call) (Reply, error) {
	if k.Err() == nil && Code(k.Code()) == OK && soundReply(k) {
		return Reply{engine: e, call: k, lease: k.Lease()}, nil
	}
	err := callError(op, k)
	e.Release(k)
	return Reply{}, err
}

// soundReply tells whether a reply's metadata, if it has any, can be parsed.
func soundReply(k *engine.Call) bool {
	block, _ := k.Metadata()
	if len(block) == 0 {
		return true
	}
	_, _, ok := parseBlock(block)
	return ok
}

// callError says why an ended call failed.
func callError(op string, k *engine.Call) *Error {
	if err := k.Err(); err != nil {
		return &Error{Op: op, Code: Code(err.Code), Outcome: Outcome(err.Outcome), Msg: err.Reason, Err: err.Err}
	}
	block, _ := k.Metadata()
	header, trailer, ok := parseBlock(block)
	if !ok {
		return &Error{Op: op, Code: Internal, Outcome: Executed, Msg: "the server's metadata is malformed"}
	}
	e := &Error{Op: op, Code: Code(k.Code()), Outcome: Executed, Msg: validText(k.Body()), Header: header, Trailer: trailer}
	if k.Refused() {
		e.Outcome = NotExecuted
	}
	return e
}

// Reply is a lease on a received reply. It is a value; the lease ends once, for all its copies.
type Reply struct {
	engine *engine.Engine
	call   *engine.Call
	lease  uint32
}

// Body returns the reply's bytes, of one packet in the very frame that the network card wrote. They are not to be written, nor read after
// Release.
func (r Reply) Body() []byte {
	if r.call == nil || r.call.Lease() != r.lease {
		panic("fastrpc: a reply was read after its Release")
	}
	return r.call.Body()
}

// Frames yields the reply's bytes in order, as they lie in memory, for readers that need not have them in one piece: a reply of up to 64
// packets stays in the frames that the network card wrote, and Body would copy it. The pieces are Body's in every other respect.
func (r Reply) Frames() iter.Seq[[]byte] {
	if r.call == nil || r.call.Lease() != r.lease {
		panic("fastrpc: a reply was read after its Release")
	}
	return r.call.Frames()
}

// Header returns the metadata that the handler sent as the reply's header, nil where there is none. It stays after Release.
func (r Reply) Header() Metadata {
	header, _ := r.metadata()
	return header
}

// Trailer returns the metadata that the handler sent as the reply's trailer, nil where there is none. It stays after Release.
func (r Reply) Trailer() Metadata {
	_, trailer := r.metadata()
	return trailer
}

func (r Reply) metadata() (header, trailer Metadata) {
	if r.call == nil || r.call.Lease() != r.lease {
		panic("fastrpc: a reply was read after its Release")
	}
	block, _ := r.call.Metadata()
	header, trailer, _ = parseBlock(block)
	return header, trailer
}

// Release gives the reply's memory back. It panics when that was done before. On the zero Reply, which comes with an error, it does
// nothing.
func (r Reply) Release() {
	if r.call == nil {
		return
	}
	if !r.call.EndLease(r.lease) {
		panic("fastrpc: a reply was released twice")
	}
	r.engine.Release(r.call)
}
