package chromium

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/fastrpc/fastrpc/bench/page"
	"github.com/fastrpc/fastrpc/bench/result"
)

// Set FASTRPC_CHROMIUM=required where a machine without the browser is a mistake. With FASTRPC_SCREENSHOTS=DIR the test leaves there what it saw.
const (
	requiredEnv    = "FASTRPC_CHROMIUM"
	screenshotsEnv = "FASTRPC_SCREENSHOTS"
)

// browser starts Chromium, and ends it with the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "chromium-headless-shell", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		const missing = "no Chromium in PATH; install Debian's package chromium"
		if os.Getenv(requiredEnv) == "required" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	options := slices.Clone(chromedp.DefaultExecAllocatorOptions[:])
	options = append(options, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses root otherwise; the page is our own
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("end the browser: %v", err)
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// write makes the page, and gives its address.
func write(t *testing.T, reports ...page.Input) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(page.Write(f, reports...), f.Close()); err != nil {
		t.Fatal(err)
	}
	return (&url.URL{Scheme: "file", Path: name}).String()
}

// samples are the reports in bench/page/testdata, all of them invented.
func samples(t *testing.T) []page.Input {
	t.Helper()
	files, err := filepath.Glob("../testdata/sample-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d samples: %v", len(files), err)
	}
	var out []page.Input
	for _, name := range files {
		r, err := result.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page.Input{Name: filepath.Base(name), Report: r})
	}
	return out
}

// witness records what the page complains of and asks for.
type witness struct {
	mu         sync.Mutex
	complaints []string
	requests   []string
}

func watch(t *testing.T, ctx context.Context) *witness {
	t.Helper()
	w := &witness{}
	err := chromedp.Listen(ctx, func(ev any) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch e := ev.(type) {
		case *runtime.EventConsoleAPICalled:
			w.complaints = append(w.complaints, fmt.Sprintf("console.%s", e.Type))
		case *runtime.EventExceptionThrown:
			w.complaints = append(w.complaints, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			w.complaints = append(w.complaints, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			w.requests = append(w.requests, e.Request.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// open shows an address in a tab of its own, as a screen of this width and colour scheme would.
func open(t *testing.T, browser context.Context, address string, width int64, scheme string) (context.Context, *witness) {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // before the time limit: see chromedp.Run
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(stop)
	w := watch(t, ctx)
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		t.Fatal(err)
	}
	viewport := []chromedp.EmulateViewportOption{}
	if width < 500 {
		viewport = append(viewport, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait)
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 844, viewport...), chromedp.Navigate(address)); err != nil {
		t.Fatal(err)
	}
	return ctx, w
}

// eval gives what an expression of JavaScript is in the page.
func eval[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// screenshot keeps what the page looks like, if somebody wants to see it: the whole of it, or what is in sight.
func screenshot(t *testing.T, ctx context.Context, name string, shot chromedp.Action[[]byte]) {
	t.Helper()
	dir := os.Getenv(screenshotsEnv)
	if dir == "" {
		return
	}
	b, err := chromedp.Run(ctx, shot)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), b, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestPage opens all samples as one page, on a desk and on a phone, in light and in dark.
func TestPage(t *testing.T) {
	b := browser(t)
	address := write(t, samples(t)...)
	for _, view := range []struct {
		name   string
		width  int64
		scheme string
	}{{"desk-light", 1280, "light"}, {"desk-dark", 1280, "dark"}, {"phone-light", 390, "light"}, {"phone-dark", 390, "dark"}} {
		t.Run(view.name, func(t *testing.T) {
			ctx, w := open(t, b, address, view.width, view.scheme)

			// Whole: every figure shows exactly one drawing, and each curve in sight has many points.
			if n := eval[int](t, ctx, `document.querySelectorAll("figure").length`); n < 20 {
				t.Errorf("%d figures", n)
			}
			if s := eval[string](t, ctx, `[...document.querySelectorAll("figure")].filter(f => [...f.querySelectorAll("svg")].filter(s => s.checkVisibility()).length != 1).map(f => f.id).join(" ")`); s != "" {
				t.Errorf("figures that do not show one drawing: %s", s)
			}
			curves := eval[[]int](t, ctx, `[...document.querySelectorAll("[data-source='sample-latency.json'] figure[id$=percentiles] path.line")].filter(p => p.checkVisibility()).map(p => p.getAttribute("d").split("L").length)`)
			if len(curves) != 13 || slices.Min(curves) < 60 {
				t.Errorf("points of the percentile curves: %v", curves)
			}

			// Legible: nothing is wider than the screen, dark is dark, and text in drawings is large enough.
			if over := eval[int](t, ctx, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
				t.Errorf("the page is %d pixels wider than the screen", over)
			}
			if s := eval[string](t, ctx, `[...document.querySelectorAll("svg text")].filter(e => e.checkVisibility()).map(e => [e, e.getBoundingClientRect(), e.ownerSVGElement.getBoundingClientRect()])
				.filter(([e, r, s]) => r.left < s.left - 1 || r.right > s.right + 3 || r.top < s.top - 2 || r.bottom > s.bottom + 2).map(([e]) => e.textContent).join(" | ")`); s != "" {
				t.Errorf("text that leaves its drawing: %s", s)
			}
			if s := eval[float64](t, ctx, `Math.min(...[...document.querySelectorAll("svg")].filter(s => s.checkVisibility()).map(s => s.getBoundingClientRect().width / s.viewBox.baseVal.width))`); s < 0.9 {
				t.Errorf("a drawing is shrunk to %.2f of its size", s)
			}
			dark := eval[bool](t, ctx, `getComputedStyle(document.body).backgroundColor.match(/\d+/g).every(c => c < 60)`)
			if dark != (view.scheme == "dark") {
				t.Errorf("dark ground: %v", dark)
			}
			screenshot(t, ctx, view.name, chromedp.FullScreenshot(100))

			// Calm: it says nothing on the console and asks for nothing but itself.
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.complaints) > 0 {
				t.Errorf("complaints: %s", strings.Join(w.complaints, "\n"))
			}
			if len(w.requests) != 1 || w.requests[0] != address {
				t.Errorf("requests: %s", strings.Join(w.requests, "\n"))
			}
		})
	}
}
