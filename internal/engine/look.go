package engine

import (
	"runtime"

	"github.com/fastrpc/fastrpc/transport"
)

// Poll fills out with calls that ended and returns how many, without waiting: calls that wait for company leave, and unless somebody else
// polls it looks for packets once.
func (q *Completions) Poll(out []Completion) int {
	engines := *q.engines.Load()
	if len(engines) != 1 {
		q.Flush()
	} else if e := engines[0]; !q.ended() || e.batch() {
		if e.claim() {
			q.look(e)
		} else {
			e.flush()
		}
	}
	return q.collect(out)
}

// look takes one turn as the token's holder, and frees the token. What need not come first is due by the clock, for nobody knows how
// often a collector looks.
func (q *Completions) look(e *Engine) {
	e.now = max(e.now, transport.Now())
	if e.batched > 0 {
		e.transmit()
	}
	e.patience = e.patient
	tidy := e.now.Sub(q.tidied) >= tidyAfter
	if tidy {
		q.tidied = e.now
		e.patience, e.settled = 0, false // and the time since the last turn says nothing of what a turn takes
	}
	q.polled, q.head = q.polled[:copy(q.polled, q.polled[q.head:])], 0
	q.polling.Store(e)
	e.turn()
	q.polling.Store(nil)
	e.release()
	if tidy {
		runtime.Gosched() // to the workers, and to whoever else there is
	}
}
