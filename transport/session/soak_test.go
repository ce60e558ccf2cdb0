package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/schollz/progressbar/v3"
)

var (
	soakSeeds = flag.Int64("soak", 0, "how many worlds TestSoak runs; make soak sets it")
	soakDir   = flag.String("soak.dir", "", "where TestSoak keeps what it has done, to go on from there; nowhere when empty")
)

// TestSoak runs the worlds of TestChaos on all cores, as many as asked, and goes on where it was interrupted as long as the code is the same.
// It is for the command line: see make soak.
func TestSoak(t *testing.T) {
	if *soakSeeds == 0 {
		return
	}
	s := loadSoak(t, *soakDir)
	before := s.Done
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s.run(ctx, t, *soakSeeds)
	for _, seed := range s.Failed {
		t.Errorf("failed: %s -seed %d", again, seed)
	}
	fmt.Fprintf(os.Stderr, "seeds 1 to %d have run, of %d; %d now, %d failed\n", s.Done, *soakSeeds, s.Done-before, len(s.Failed))
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "interrupted: the same command goes on from here")
	}
}

// soak is what has been done, and where that is kept.
type soak struct {
	Done   int64 // the seeds up to and including this one have run
	Failed []int64

	play  func(t testing.TB, seed int64) (failure string)
	mu    sync.Mutex
	file  string // "": nowhere
	next  int64
	ahead map[int64]bool // have run, and one before has not
}

// soakFailures is when to stop: what comes after so many failures tells nothing new.
const soakFailures = 20

// loadSoak goes on from what an earlier run of the same test binary left in dir.
func loadSoak(t testing.TB, dir string) *soak {
	s := &soak{ahead: map[int64]bool{}, play: func(t testing.TB, seed int64) string {
		items := draw(uint64(seed))
		if v := play(t, items, whole(items), uint64(seed), nil); v.Failed() {
			return diagnose(t, uint64(seed), items, v)
		}
		return ""
	}}
	if dir != "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		code, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(code)
		s.file = filepath.Join(dir, fmt.Sprintf("%x.json", sum[:8]))
		if b, err := os.ReadFile(s.file); err == nil {
			if err := json.Unmarshal(b, s); err != nil {
				t.Fatalf("%s: %v: remove it to begin anew", s.file, err)
			}
		}
	}
	s.next = s.Done
	return s
}

// run plays the seeds up to last that have not run yet.
func (s *soak) run(ctx context.Context, t testing.TB, last int64) {
	bar := progressbar.NewOptions64(last, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetVisibility(isTerminal(os.Stderr)),
		progressbar.OptionSetDescription("seeds"), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("seeds"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
	bar.Set64(s.Done)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for ctx.Err() == nil {
				seed, ok := s.take(last)
				if !ok {
					return
				}
				failure := s.play(t, seed)
				if failure != "" {
					bar.Clear()
					fmt.Fprintln(os.Stderr, failure)
				}
				s.finish(seed, failure != "")
				bar.Add(1)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		workers.Wait()
		close(ended)
	}()
	for save := time.NewTicker(time.Second); ; {
		select {
		case <-save.C:
		case <-ended:
			bar.Finish()
			s.save(t)
			return
		}
		s.save(t)
	}
}

// take gives out the next seed.
func (s *soak) take(last int64) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next >= last || len(s.Failed) >= soakFailures {
		return 0, false
	}
	s.next++
	return s.next, true
}

func (s *soak) finish(seed int64, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed {
		s.Failed = append(s.Failed, seed)
		slices.Sort(s.Failed)
		s.Failed = slices.Compact(s.Failed)
	}
	s.ahead[seed] = true
	for s.ahead[s.Done+1] {
		s.Done++
		delete(s.ahead, s.Done)
	}
}

// save writes the file anew and then puts it in the old one's place.
func (s *soak) save(t testing.TB) {
	if s.file == "" {
		return
	}
	s.mu.Lock()
	b, err := json.Marshal(s)
	s.mu.Unlock()
	if err == nil {
		err = os.WriteFile(s.file+".new", b, 0o644)
	}
	if err == nil {
		err = os.Rename(s.file+".new", s.file)
	}
	if err != nil {
		t.Error(err)
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// TestSoakGoesOn interrupts a soak while a seed runs, and finds that the next goes on with that one, leaves none out and forgets no failure.
func TestSoakGoesOn(t *testing.T) {
	dir := t.TempDir()
	first := loadSoak(t, dir)
	for range 5 {
		first.take(10)
	}
	for _, seed := range []int64{1, 2, 4, 5} { // and 3 is still running
		first.finish(seed, seed == 4)
	}
	first.save(t)
	second := loadSoak(t, dir)
	if second.Done != 2 || !slices.Equal(second.Failed, []int64{4}) {
		t.Fatalf("done up to %d, failed %v; want 2 and 4", second.Done, second.Failed)
	}
	var mu sync.Mutex
	var played []int64
	second.play = func(_ testing.TB, seed int64) string {
		mu.Lock()
		defer mu.Unlock()
		played = append(played, seed)
		return ""
	}
	second.run(t.Context(), t, 10)
	if slices.Sort(played); !slices.Equal(played, []int64{3, 4, 5, 6, 7, 8, 9, 10}) {
		t.Errorf("seeds %v were played", played)
	}
	third := loadSoak(t, dir)
	if _, more := third.take(10); more || third.Done != 10 || len(third.Failed) != 1 {
		t.Errorf("done up to %d, failed %v, more %v", third.Done, third.Failed, more)
	}
}
