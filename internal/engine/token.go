package engine

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// token is held by whoever polls.
type token struct {
	turns atomic.Uint32 // odd while it is held; grows with each change of hands
	_     [60]byte      // what others write to stays off this line
}

// acquire takes the token, if it is free.
func (t *token) acquire() bool {
	step("acquire")
	n := t.turns.Load()
	return n%2 == 0 && t.turns.CompareAndSwap(n, n+1)
}

// held tells whether somebody holds it.
func (t *token) held() bool { return t.turns.Load()%2 == 1 }

func (t *token) free() {
	step("free")
	t.turns.Store(t.turns.Load() + 1) // nobody else writes while it is held
}

// keeper is the goroutine that polls when no caller does.
//
// No wake-up is lost, because each side first publishes and then looks:
//
//   - A submitter pushes, then tries the token. If it is held, the holder has not yet looked at the queue for the last time: after it freed
//     the token it looks again (release), and so does the keeper before it parks (park).
//   - The keeper publishes that it stands by or waits, then tries the token or looks at the queue. A releaser frees the token, then looks
//     at what the keeper published.
//   - A collector publishes that it parks, then looks at its ring and the token (park of Completions). Whoever held the token then looks at
//     what the collector published once it has freed it: a releaser wakes the keeper, and the keeper goes on (stepAside) or waits for packets.
//
// The test in token_test.go runs this code through all interleavings of these steps.
type keeper struct {
	state  atomic.Uint32
	until  atomic.Int64  // while waiting: when it will look by itself; 0: never
	signal chan struct{} // holds one wake-up for a keeper that stands by
	gone   chan struct{} // closed when the goroutine has ended
}

const (
	running uint32 = iota
	standby        // asleep while callers poll, until it is signalled or they have been quiet for a tick
	waiting        // in link.Wait, for packets
)

// tick is how often a keeper that stands by looks whether callers still poll. What a lone caller leaves behind, such as a delayed
// acknowledgement, is late by two ticks at most.
const tick = 2 * time.Millisecond

// share is how long somebody polls without a break while there is something to do in each turn. Without a bound a long message is carried to
// its end before the pollers of other links run, if they have to share a processor: 3 ms for 1 MiB over udp.
const share = 100 * time.Microsecond

func (k *keeper) init() {
	k.signal = make(chan struct{}, 1)
	k.gone = make(chan struct{})
}

// wake makes the keeper try for the token, wherever it is.
func (k *keeper) wake(link transport.Link) {
	step("wake")
	select {
	case k.signal <- struct{}{}:
	default:
	}
	step("look at keeper")
	if k.state.CompareAndSwap(waiting, standby) { // once: it is on its way to the token
		link.Wake()
	}
}

// doze sleeps until a signal, for a tick at most; it returns whether there was a signal.
func (k *keeper) doze(timer *time.Timer) bool {
	if atDoze != nil {
		return atDoze(k)
	}
	timer.Reset(tick)
	select {
	case <-k.signal:
		return true
	case <-timer.C:
		return false
	}
}

// keep is the keeper's life: poll while there is something to do, then wait for packets; stand by while callers poll.
func (e *Engine) keep() {
	defer close(e.keeper.gone)
	id := goroutineID()
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for !e.stopped.Load() {
		step("stand by")
		e.keeper.state.Store(standby)
		if e.token.acquire() {
			e.keeper.state.Store(running)
			e.holder = id
			e.poller.Store(id)
			if !e.poll() {
				e.park()
				continue
			}
			if !e.stepAside() {
				continue
			}
		}
		for {
			turns, batches := e.token.turns.Load(), e.batches.Load()
			if e.keeper.doze(timer) || e.token.turns.Load() == turns || e.batch() && e.batches.Load() == batches || e.stopped.Load() {
				break // signalled; or the callers have been quiet for a tick, or a batch is as old
			}
		}
	}
}

// poll polls as the token's holder until nothing happens for a while. It returns true, and at once, when somebody else should: see yields.
func (e *Engine) poll() (aside bool) {
	since := transport.Now()
	yielded := since
	e.followed = false
	for !e.stopped.Load() {
		worked := e.turn()
		if e.yields(worked) {
			return true
		}
		if worked {
			since = e.now
			if e.readied || e.core.Answering() > 0 || e.now.Sub(yielded) > share {
				yielded = e.now
				runtime.Gosched() // to those whose calls ended, to the workers, or to whoever else there is
			}
			continue
		}
		if e.core.Answering() > 0 || e.tidy() {
			runtime.Gosched()
		}
		if e.cfg.Idle == Spin || e.core.Unsent() || e.cfg.Idle == SpinThenPark && e.now.Sub(since) < e.cfg.SpinFor {
			continue
		}
		if !e.keepHouse(true) { // it may have been put off
			break
		}
	}
	return false
}

// yields tells whether the keeper is better out of the way: where a collector wants to poll, and nobody else relies on the keeper; or where
// all that was to do was a call that another goroutine had handed over, for the next such call is faster when its caller polls.
func (e *Engine) yields(worked bool) bool {
	switch {
	case e.listening.Load() > 0:
		return false
	case e.wanted.Load() > 0 && e.waiters == 0 && e.collectors.Load() == 0:
		return true
	}
	return !worked && e.followed && !e.core.Busy()
}

// stepAside frees the token without waiting for packets; it is false when something was submitted, or a collector parked, meanwhile.
func (e *Engine) stepAside() bool {
	e.forgetHolder()
	step("publish standing by")
	e.keeper.state.Store(standby)
	e.token.free()
	step("look at queue")
	return e.submit.Empty() && e.inbox.Empty() && e.collectors.Load() == 0
}

// How pollFor ended.
type pollEnd uint8

const (
	pollDone     pollEnd = iota // what was waited for is there
	pollCanceled                // ctx is over
	pollQuiet                   // nothing has happened for Config.SpinFor: the keeper shall go on
)

// pollFor polls at a caller's hands, as the token's holder.
func (e *Engine) pollFor(ctx context.Context, done func() bool) pollEnd {
	canceled := ctx.Done()
	since, yielded := e.now, e.now
	for !done() {
		if e.turn() {
			if since = e.now; done() {
				break
			}
			if e.readied || e.core.Answering() > 0 || e.now.Sub(yielded) > share {
				yielded = e.now
				runtime.Gosched()
			}
		} else if e.tidy() || e.core.Answering() > 0 {
			runtime.Gosched()
		}
		if canceled != nil {
			select {
			case <-canceled:
				return pollCanceled
			default:
			}
		}
		if e.stopped.Load() || e.cfg.Idle != Spin && e.now.Sub(since) > e.cfg.SpinFor {
			return pollQuiet
		}
	}
	return pollDone
}

// park frees the token and waits in the link.
func (e *Engine) park() {
	k := &e.keeper
	until := e.core.NextTimeout()
	k.until.Store(int64(until))
	e.forgetHolder()
	e.stats.Parks++
	step("publish waiting")
	k.state.Store(waiting)
	e.token.free()
	step("look at queue")
	if !e.submit.Empty() || !e.inbox.Empty() || e.stopped.Load() {
		return
	}
	if err := e.link.Wait(until); err != nil { // a broken link cannot wait
		time.Sleep(tick)
	}
	select { // this wake-up has been heeded
	case <-k.signal:
	default:
	}
}

// forgetHolder goes before the token is freed.
func (e *Engine) forgetHolder() {
	if e.holder != 0 {
		e.holder = 0
		e.poller.Store(0)
	}
}

// release frees the token at a caller's hands, and sees to it that somebody goes on where something is left to do. Calls of a queue whose
// collector has not parked are left to it, sent or not; a keeper that stands by looks after a tick.
func (e *Engine) release() {
	k := &e.keeper
	unsent := e.core.Unsent()
	left := e.listening.Load() > 0 || e.waiters > 0 || e.core.Answering() > 0 || unsent && e.batched == 0
	next := transport.Time(0)
	if k.state.Load() == waiting { // else it has not looked at the timers yet
		next = e.core.NextTimeout()
	}
	e.forgetHolder()
	e.token.free()
	step("look again")
	heir := !e.submit.Empty() || !e.inbox.Empty()
	switch k.state.Load() {
	case standby:
		heir = heir || left || e.collectors.Load() > 0
	case waiting: // it hears packets by itself
		until := transport.Time(k.until.Load())
		heir = heir || unsent || next != 0 && (until == 0 || next < until)
	}
	if heir {
		k.wake(e.link)
		runtime.Gosched() // without it the heir waits for as long as this goroutine computes
	}
}

// step is a place between two of which nothing else may matter; a test runs other goroutines there.
func step(name string) {
	if atStep != nil {
		atStep(name)
	}
}

var (
	atStep func(name string)
	atDoze func(k *keeper) bool
)
