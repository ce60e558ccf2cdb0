package chromium

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The percentile curves of the sample of latency, the drawing of them that is in sight, and what the script shows beside it.
const (
	figure = `[data-source="sample-latency.json"] figure[id$=percentiles]`
	inking = `[...document.querySelectorAll('` + figure + ` svg')].find(s => s.checkVisibility())`
	tip    = `(document.getElementById("tip").hidden ? "" : document.getElementById("tip").innerText)`
)

// TestHands uses what the page offers to pointer and keyboard.
func TestHands(t *testing.T) {
	b := browser(t)
	ctx, w := open(t, b, write(t, samples(t)...), 1280, "light")
	hidden := func() int {
		return eval[int](t, ctx, `[...document.querySelectorAll(".series.off .line")].filter(e => getComputedStyle(e).visibility == "hidden").length`)
	}

	// The pointer stops above 90 %: the values of all systems stand beside it, the slowest first.
	eval[bool](t, ctx, inking+`.scrollIntoView({block: "center", behavior: "instant"}), true`)
	box := eval[[]float64](t, ctx, `(r => [r.left, r.top, r.width, r.height])(`+inking+`.getBoundingClientRect())`)
	x := eval[float64](t, ctx, `[...`+inking+`.querySelectorAll("text")].filter(e => e.textContent == "90 %").map(e => e.getBoundingClientRect()).map(r => r.left + r.width / 2)[0]`)
	do(t, ctx, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, x, box[1]+box[3]/2))
	said := eval[string](t, ctx, tip)
	if !strings.HasPrefix(said, "p90\n") || !strings.Contains(said, "ring") || strings.Index(said, "connect") > strings.Index(said, "ring") {
		t.Errorf("above 90 %% it says %q", said)
	}
	screenshot(t, ctx, "pointer", chromedp.CaptureScreenshot())

	// The keyboard does the same, step by step, and Escape ends it.
	do(t, ctx, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, 1, 1))
	eval[bool](t, ctx, inking+`.focus(), true`)
	do(t, ctx, chromedp.KeyEvent(kb.ArrowRight))
	if said := eval[string](t, ctx, tip); !strings.HasPrefix(said, "p0\n") {
		t.Errorf("at the first stop it says %q", said)
	}
	do(t, ctx, chromedp.KeyEvent(kb.Escape))
	if said := eval[string](t, ctx, tip); said != "" {
		t.Errorf("after Escape it says %q", said)
	}

	// A system's name hides it in all figures, and shows it again.
	const name = `[...` + inking + `.querySelectorAll(".label")].find(e => e.textContent == "net-tcp")`
	if n := hidden(); n != 0 {
		t.Errorf("%d curves are hidden at first", n)
	}
	at := eval[[]float64](t, ctx, `(r => [r.left + r.width / 2, r.top + r.height / 2])(`+name+`.getBoundingClientRect())`)
	do(t, ctx, chromedp.MouseClickXY(at[0], at[1]))
	if n, pressed := hidden(), eval[string](t, ctx, name+`.getAttribute("aria-pressed")`); n < 5 || pressed != "false" {
		t.Errorf("%d curves are hidden, pressed: %s", n, pressed)
	}
	eval[bool](t, ctx, name+`.focus(), true`)
	do(t, ctx, chromedp.KeyEvent(kb.Enter))
	if n := hidden(); n != 0 {
		t.Errorf("%d curves stay hidden", n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.complaints) > 0 {
		t.Errorf("complaints: %s", strings.Join(w.complaints, "\n"))
	}
}

// TestWithoutScript switches from the logarithmic to the linear scale where no script runs: the page is whole without.
func TestWithoutScript(t *testing.T) {
	b := browser(t)
	ctx, _ := open(t, b, "about:blank", 1280, "light")
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.Navigate(write(t, samples(t)...)))
	shown := func() string { // as the protocol's own evaluation, which may run where the page's scripts may not
		return eval[string](t, ctx, `[...document.querySelectorAll('`+figure+` .drawing')].filter(d => d.checkVisibility()).map(d => d.className).join()`)
	}
	if s := shown(); s != "drawing log broad" {
		t.Errorf("at first it shows %q", s)
	}
	do(t, ctx, chromedp.Click(figure+` .to-lin + label`))
	if s := shown(); s != "drawing lin broad" {
		t.Errorf("then it shows %q", s)
	}
	screenshot(t, ctx, "linear", chromedp.CaptureScreenshot())
}

// TestPolicy puts into the page what an attacker would: a script, a style and requests that are not its own do nothing.
func TestPolicy(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(server.Close)
	b := browser(t)
	ctx, w := open(t, b, write(t, samples(t)...), 1280, "light")
	attack := `new Promise(done => {
		const s = document.createElement("script");
		s.textContent = "window.broken = true";
		document.body.append(s);
		document.body.setAttribute("style", "color: rgb(1, 2, 3)");
		document.body.insertAdjacentHTML("beforeend", "<img src='URL' onerror='window.broken = true'>");
		fetch("URL", {mode: "no-cors"}).catch(() => "refused").then(done);
	})`
	got, err := chromedp.Run(ctx, chromedp.Evaluate[any](strings.ReplaceAll(attack, "URL", server.URL), chromedp.EvalAwaitPromise))
	if err != nil || got != "refused" {
		t.Errorf("a request from the page: %v, %v", got, err)
	}
	if eval[bool](t, ctx, `window.broken === true || getComputedStyle(document.body).color == "rgb(1, 2, 3)"`) {
		t.Error("what is not the page's own had an effect")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests left the page", n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.complaints) == 0 {
		t.Error("nothing was refused on the console, so that the other tests would not see it either")
	}
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}
