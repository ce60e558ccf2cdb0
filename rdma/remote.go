//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Importer is a connection to an Exporter. One goroutine at a time may use it, its regions and its batches.
//
// An operation that the card of the other side refuses ends the connection, as reliable connections do: all that comes after it fails, and
// regions are to be opened over a new one. What can be known before, the Importer refuses itself, which ends nothing.
type Importer struct {
	remote netip.AddrPort
	dev    *Context
	pd     *PD
	cq     *CQ
	qp     *QP
	conn   *Conn
	mem    []byte // the question, and the answer
	mr     *MR
	made   closers
	now    func() time.Time

	sequence uint32 // of the last question
	asking   bool   // it has not been sent yet
	waiting  bool   // a receive is posted for the answer
	answer   answer
	batch    *Batch // that is under way
	batches  []*Batch
	wcs      [Burst]WC
	idle     int // polls since the last completion
	broken   error
	brokenAt time.Time
}

// What work requests are called that are of no batch.
const (
	idQuestion = 1<<32 + iota
	idAnswer
)

// Where the answer is, behind the question.
const answerOffset = 128

// Work under way: a batch, and questions.
const importSends = Burst + 4

// inlineBytes is the longest write whose data goes along with the work request, so that the card need not fetch it.
const inlineBytes = 64

// Dial connects to an exporter.
func Dial(ctx context.Context, remote netip.AddrPort) (_ *Importer, err error) {
	i := &Importer{remote: remote, now: time.Now}
	defer func() {
		if err != nil {
			_ = i.made.close()
		}
	}()
	cm, err := NewCM()
	if err != nil {
		return nil, err
	}
	i.made.add(cm.Close)
	route, err := cm.Resolve(ctx, RC, netip.AddrPort{}, remote)
	if err != nil {
		return nil, err
	}
	name, _ := route.Device()
	if i.dev, err = Open(name); err != nil {
		return nil, err
	}
	i.made.add(i.dev.Close)
	if i.pd, err = i.dev.AllocPD(); err != nil {
		return nil, err
	}
	i.made.add(i.pd.Close)
	i.made.add(i.closeBatches)
	if i.cq, err = i.dev.CreateCQ(importSends+1, false); err != nil {
		return nil, err
	}
	i.made.add(i.cq.Close)
	if i.mem, err = mapMemory(answerOffset + answerBytes); err != nil {
		return nil, err
	}
	i.made.add(func() error { return unix.Munmap(i.mem) })
	if i.mr, err = i.pd.Register(i.mem, LocalWrite); err != nil {
		return nil, err
	}
	i.made.add(i.mr.Close)
	i.qp, err = i.pd.CreateQP(QPConfig{Type: RC, Send: i.cq, Recv: i.cq, SendWork: importSends, RecvWork: 1, InlineMax: inlineBytes})
	if err != nil {
		return nil, err
	}
	i.made.add(i.qp.Close) // before the memory that it may write to
	i.made.add(route.Close)
	terms := Terms{Access: LocalWrite | RemoteWrite, Reads: readsAtOnce(i.dev), RNR: maxRetries, Data: []byte(regionHello)}
	// The right to write is for the exporter's probes; no memory on this side has it.
	if i.conn, err = route.Connect(ctx, i.qp, terms, nil); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(i.conn.Data), regionHello) {
		return nil, fmt.Errorf("rdma: no regions are exported at %v", remote)
	}
	return i, nil
}

// Remote is a region of the other side.
type Remote struct {
	i      *Importer
	name   string
	addr   uint64
	length int
	key    uint32
	rights Access
	until  time.Time // of this side's clock, a little before the lease is over
}

// Name of the region.
func (r *Remote) Name() string { return r.name }

// Len is its length in bytes.
func (r *Remote) Len() int { return r.length }

// Rights are what it may be used for.
func (r *Remote) Rights() Access { return r.rights }

// Expires tells until when operations are posted, by this side's clock: a little before the lease is over, for what is under way then would be
// refused by the other side's card.
func (r *Remote) Expires() time.Time { return r.until }

func (r *Remote) clock() string { return r.until.Format("15:04:05.000000") }

// leaseMargin is how much of a lease is not used, at most; of a short one it is an eighth. It is for what is under way, and for clocks that do
// not run equally fast.
const leaseMargin = time.Second

// Open asks the other side for a region. It waits for the answer, until ctx ends.
func (i *Importer) Open(ctx context.Context, name string) (*Remote, error) {
	asked := i.now() // the lease that the answer tells began to run out after this
	a, err := i.ask(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("rdma: open region %q of %v: %w", name, i.remote, err)
	}
	return &Remote{
		i: i, name: name, addr: a.addr, length: int(a.length), key: a.key, rights: a.rights, until: asked.Add(a.lease - min(a.lease/8, leaseMargin)),
	}, nil
}

// Renew asks how long the region's lease runs by now: the other side may have renewed it. ErrStale says that the region is another one, which
// is to be opened.
func (r *Remote) Renew(ctx context.Context) error {
	n, err := r.i.Open(ctx, r.name)
	if err != nil {
		return err
	}
	if n.key != r.key || n.addr != r.addr || n.length != r.length || n.rights != r.rights {
		return fmt.Errorf("rdma: renew region %q: %w and exported anew: open it again", r.name, ErrStale)
	}
	r.until = n.until
	return nil
}

// Done is closed when the connection has ended. See Conn.Done for what is not noticed.
func (i *Importer) Done() <-chan struct{} { return i.conn.Done() }

// Close disconnects. Memory of batches is gone after it.
func (i *Importer) Close() error {
	if i.made == nil {
		return ErrClosed
	}
	i.broken = ErrClosed
	return i.made.close()
}

// ask sends a question and waits for the answer to it.
func (i *Importer) ask(ctx context.Context, name string) (answer, error) {
	if err := checkName(len(name)); err != nil {
		return answer{}, err
	}
	for i.asking && i.broken == nil { // the one before, whose caller gave up
		if err := i.turn(ctx); err != nil {
			return answer{}, err
		}
	}
	if err := i.receive(); err != nil {
		return answer{}, err
	}
	i.sequence++
	question{i.sequence, name}.put(i.mem)
	w := SendWR{ID: idQuestion, Op: OpSend, Flags: Signaled, NumSGE: 1}
	w.SGE[0] = i.mr.piece(0, questionBytes)
	if _, err := i.qp.PostSend([]SendWR{w}); err != nil {
		return answer{}, err
	}
	i.asking = true
	for i.asking || i.answer.sequence != i.sequence {
		if err := i.turn(ctx); err != nil {
			return answer{}, err
		}
		if err := i.receive(); err != nil { // what came is the answer to a question before, if it is not this one's
			return answer{}, err
		}
	}
	if i.answer.status != regionFound {
		return answer{}, ErrNoRegion
	}
	return i.answer, nil
}

// receive posts memory for the answer to come, if none is posted.
func (i *Importer) receive() error {
	if i.broken != nil || i.waiting {
		return i.broken
	}
	w := RecvWR{ID: idAnswer, NumSGE: 1}
	w.SGE[0] = i.mr.piece(answerOffset, answerBytes)
	if _, err := i.qp.PostRecv([]RecvWR{w}); err != nil {
		return err
	}
	i.waiting = true
	return nil
}

// While nothing completes, a turn lets other goroutines run; now and then it looks whether waiting has a sense still; and after a while it
// sleeps between looks: an operation takes microseconds, and what takes longer than all spins needs no better than a step.
const (
	lookEvery = 64
	spins     = 2048
	step      = 50 * time.Microsecond
	turnPolls = 8 // within one call into C

	// What is under way when the connection ends completes, as flushed, within milliseconds, unless the device itself is gone.
	flushLimit = time.Second
)

// turn takes completions; where there are none, it makes room for others. It fails when ctx ends, and when the connection has, without completions.
func (i *Importer) turn(ctx context.Context) error {
	n, err := i.poll()
	if err != nil || n > 0 {
		return err
	}
	if i.idle < spins {
		runtime.Gosched()
	} else {
		time.Sleep(step)
	}
	if i.idle%lookEvery != 0 && i.idle <= spins {
		return nil
	}
	if i.broken != nil && time.Since(i.brokenAt) > flushLimit {
		return i.broken
	}
	return ctx.Err()
}

// poll takes completions, and returns how many.
func (i *Importer) poll() (int, error) {
	n, err := i.cq.Spin(i.wcs[:], turnPolls)
	if err != nil {
		i.fail(err)
		return 0, err
	}
	if i.took(n); n > 0 {
		return n, nil
	}
	if i.idle++; i.idle%lookEvery == 0 || i.idle > spins {
		select {
		case <-i.conn.Done():
			i.fail(ErrGone)
		default:
		}
	}
	return 0, nil
}

// took looks at the n completions that a poll wrote.
func (i *Importer) took(n int) {
	for k := range i.wcs[:n] {
		i.completed(&i.wcs[k])
		i.idle = 0
	}
}

func (i *Importer) completed(w *WC) {
	if w.Status != StatusSuccess {
		i.failed(w)
	}
	switch w.ID {
	case idQuestion:
		i.asking = false
	case idAnswer:
		i.waiting = false
		if w.Status != StatusSuccess {
			return
		}
		a, err := parseAnswer(i.mem[answerOffset:][:min(w.Bytes, answerBytes)])
		if err != nil {
			i.fail(err)
		}
		i.answer = a
	default:
		if i.batch != nil {
			i.batch.completed(w)
		}
	}
}

// failed notes why the connection ended: by the first completion that failed.
func (i *Importer) failed(w *WC) {
	if i.broken != nil {
		return
	}
	err := w.Err()
	if w.Status == StatusRetryExceeded || w.Status == StatusRNRRetryExceeded {
		err = fmt.Errorf("%w: %w", ErrGone, err)
	}
	i.fail(err)
}

// fail ends the connection: what is under way completes, as flushed.
func (i *Importer) fail(err error) {
	if i.broken != nil {
		return
	}
	i.brokenAt = time.Now()
	i.broken = fmt.Errorf("rdma: the connection to %v has ended, dial and open the regions again: %w", i.remote, err)
	if err := i.qp.Fail(); err != nil {
		i.broken = errors.Join(i.broken, err)
	}
}
