package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Compare runs the comparison and reports it. When ctx ends, or the agent is gone, the comparison ends with everything cleaned up: the error
// says why, and the report, unless nothing was measured yet, has the rounds so far.
//
// A system that is missing, cannot run here, or fails, stands in the report with the reason; its place in the other rounds stays empty.
// Without the privileges for a lab the systems that need none run over loopback instead, and Report.Notes says what is missing and how to
// grant it.
func Compare(ctx context.Context, c Config) (report *result.Report, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.LockFile != "" {
		unlock, err := Lock(ctx, c.LockFile, c.Waiting)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	p, notes, err := choosePlace(ctx, &c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	r := newReport(&c, p, notes)
	if err := fill(ctx, &c, p, r); err != nil {
		r.Interrupted = err.Error()
		if !measured(r) {
			r = nil
		}
		return r, err
	}
	return r, nil
}

func measured(r *result.Report) bool {
	for i := range r.Results {
		if len(r.Results[i].Rounds) > 0 {
			return true
		}
	}
	return false
}

// fill runs the rounds: in each one all systems at the first point, then at the next. Which goes first differs from round to round, so that
// none is always measured in the wake of the same other one.
func fill(ctx context.Context, c *Config, p *place, r *result.Report) error {
	defer finish(r)
	t := newTracker(c, r)
	systems := len(c.Systems)
	points := len(r.Results) / systems
	for round := range c.Rounds {
		random := rand.New(rand.NewPCG(c.Seed, uint64(round)))
		for point := range points {
			for place, system := range random.Perm(systems) {
				res := &r.Results[point*systems+system]
				if res.Error != "" {
					continue
				}
				t.next(round, res)
				out, err := runOnce(ctx, c, p, round, res, t.tell)
				t.done()
				switch {
				case err == nil:
					out.round.Number, out.round.Place = round+1, place+1
					add(r, res, &out)
				case ctx.Err() != nil:
					return context.Cause(ctx)
				case errors.Is(err, errAgent):
					return err
				default:
					res.Error = err.Error()
					t.drop(c.Rounds - round - 1)
				}
			}
		}
	}
	return nil
}

// A tracker keeps count for Config.Progress.
type tracker struct {
	tellTo func(Progress)
	now    Progress
	begin  time.Time
}

func newTracker(c *Config, r *result.Report) *tracker {
	t := &tracker{tellTo: c.Progress, now: Progress{Rounds: c.Rounds}, begin: time.Now()}
	for i := range r.Results {
		if r.Results[i].Error == "" {
			t.now.Runs += c.Rounds
		}
	}
	return t
}

func (t *tracker) next(round int, res *result.Result) {
	t.now.Round, t.now.System, t.now.Point = round+1, res.System, res.Point
}

// tell tells what begins.
func (t *tracker) tell(step Step) {
	if t.tellTo == nil {
		return
	}
	if t.now.Step = step; t.now.Done > 0 {
		t.now.Left = time.Since(t.begin) / time.Duration(t.now.Done) * time.Duration(t.now.Runs-t.now.Done)
	}
	t.tellTo(t.now)
}

func (t *tracker) done() { t.now.Done++ }

// drop takes runs off that will not be.
func (t *tracker) drop(runs int) { t.now.Runs -= runs }
