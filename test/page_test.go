package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"switchbridge/internal/frames"
	"switchbridge/internal/ovs"
	"switchbridge/internal/testlong"
	"switchbridge/ofproxy/oftest"
	"switchbridge/p4bridge/p4test"
	"switchbridge/settings"
)

// axeCore is what checks a page for whoever can't see it or has no mouse.
const axeCore = "axe-core@4.14.1"

// browser is a page in Chromium.
type browser struct {
	*testing.T
	ctx  context.Context
	base string

	mu     sync.Mutex
	faults []string // what the page's console and network have said
}

// openPage starts a Chromium of its own on the page at base.
func openPage(t *testing.T, base string) *browser {
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no chromium: make test-long installs it")
		}
		t.Skip("there is no chromium (make test-long installs it)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	b := &browser{T: t, ctx: ctx, base: base}
	fault := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, fmt.Sprintf(format, args...))
	}
	if err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(ev.Request.URL, base+"/") {
				fault("a request to %s", ev.Request.URL)
			}
		case *cdpruntime.EventExceptionThrown:
			fault("%s: %+v", ev.ExceptionDetails.Text, ev.ExceptionDetails.Exception)
		case *log.EventEntryAdded:
			if !strings.HasSuffix(ev.Entry.URL, "/api/v1/shadow") { // which is there where a shadow is configured
				fault("%s: %s", ev.Entry.URL, ev.Entry.Text)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(base + "/"))
	return b
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// script runs JavaScript in the page.
func (b *browser) script(text string) {
	b.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](text, chromedp.EvalAwaitPromise))
}

// value is what an expression in the page is; a promise is waited for.
func value[T any](b *browser, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%v: %s", err, expression[:min(len(expression), 300)])
	}
	return v
}

// is waits until an expression is true.
func (b *browser) is(what, expression string) {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if value[bool](b, "Boolean("+expression+")") {
			return
		}
	}
	b.Fatalf("not after twenty seconds: %s\n%s", what, value[string](b, `document.body.innerText`))
}

// shot keeps what is seen, where SWITCHBRIDGE_SHOTS names a folder.
func (b *browser) shot(name string) {
	b.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.Fatal(err)
	}
	if folder := os.Getenv("SWITCHBRIDGE_SHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
			b.Error(err)
		}
	}
}

// axe finds nothing that keeps anybody from using what is seen now.
func (b *browser) axe(script, what string) {
	b.Helper()
	if script == "" {
		return
	}
	b.script(script + "; undefined")
	if found := value[string](b, `axe.run().then(r => JSON.stringify(r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html).slice(0, 3)]), null, 1))`); found != "[]" {
		b.Errorf("%s: %s", what, found)
	}
}

// axeScript fetches axe-core; empty where there is no npm or no registry.
func axeScript(t *testing.T) string {
	folder := t.TempDir()
	without := func(why string) {
		if os.Getenv("CI") != "" {
			t.Fatal("without axe-core: " + why)
		}
		t.Log("without axe-core: " + why)
	}
	if _, err := exec.LookPath("npm"); err != nil {
		without("there is no npm")
		return ""
	}
	if out, err := exec.Command("npm", "install", "--silent", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, axeCore).CombinedOutput(); err != nil {
		without(fmt.Sprintf("npm could not install it: %v\n%s", err, out))
		return ""
	}
	script, err := os.ReadFile(filepath.Join(folder, "node_modules/axe-core/axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// The page in a real browser, with a real switch behind the gateway: what somebody
// sees, does and can't do.
func TestLongPage(t *testing.T) {
	testlong.Need(t)
	folder := t.TempDir()
	policy, secret := filepath.Join(folder, "lab.yaml"), filepath.Join(folder, "token")
	writePolicy(t, policy, 1, "10.0.0.3")
	if err := os.WriteFile(secret, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	sw := ovs.Start(t, ovs.Options{})
	sw.AddBridge("s1", ovs.Bridge{DPID: 1})
	h1, h2, h3 := sw.AddHost("s1", "h1"), sw.AddHost("s1", "h2"), sw.AddHost("s1", "h3")
	l := sw.Listen()
	outside, err := net.Listen("tcp", "127.0.0.1:0") // for a switch that makes load
	if err != nil {
		t.Fatal(err)
	}
	set := settings.Default()
	set.Function.URLs, set.Policy, set.Admin.TokenFile = []string{settings.Native}, policy, secret
	p4l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p4 := p4test.New(p4test.Options{DeviceID: 7})
	p4.Start(p4l)
	t.Cleanup(p4.Stop)
	set.P4.Switches = []settings.P4Switch{{Device: 7, Address: p4l.Addr().String(), Miss: "punt"}}
	g := startGateway(t, set, l, outside)
	sw.SetController("s1", "tcp:"+l.Addr().String())
	sw.WaitConnected("s1")
	h2.ServeEcho(80)
	if _, err := h1.Connect(h2.IP, 80, 5*time.Second); err != nil {
		t.Fatal(err)
	}

	axe := axeScript(t)
	b := openPage(t, g.admin)
	b.is("the page is live", `document.querySelector("#connection").textContent === "Live"`)
	b.is("the switch is shown, with its hosts at their ports", fmt.Sprintf(`[...document.querySelectorAll("#switches .ports > li")].some(li => li.textContent.includes("Port 1 ") && li.textContent.includes(%q))`, h1.IP))
	b.is("decisions are shown that were made before", fmt.Sprintf(`[...document.querySelectorAll("#decision-table tbody tr")].some(tr => tr.textContent.includes(%q) && tr.textContent.includes("allow"))`, h2.IP.String()+":80"))

	t.Run("a decision is shown as it happens, and leads to its policy entry", func(t *testing.T) {
		_, _ = h1.Connect(h2.IP, 81, 300*time.Millisecond) // which is denied
		b.is("the denial is there", `[...document.querySelectorAll("#decision-table tbody tr")].some(tr => tr.querySelector(".deny") && tr.textContent.includes("no-81"))`)
		b.script(`[...document.querySelectorAll("#decision-table tbody button")].find(b => b.textContent.includes("no-81")).click()`)
		b.is("its entry is marked", `document.querySelector("#policy-text .marked")?.textContent.includes("name: no-81") === true`)
		b.is("and a screen reader is told", `document.querySelector("#policy-note").textContent.includes("is on line") && document.activeElement.id === "policy"`)
	})
	t.Run("a rule leads to its decision, and from there to its policy entry", func(t *testing.T) {
		b.do(chromedp.SetValue(chromedp.CSS("#rules-of"), "0000000000000001"))
		b.script(`document.querySelector("#rules-of").dispatchEvent(new Event("change"))`)
		const of81 = `[...document.querySelectorAll("#rule-table tbody tr")].find(tr => tr.textContent.includes("l4_dst=81"))`
		b.is("the rule of the denial is there", of81+` !== undefined`)
		b.script(of81 + `.querySelector("button").click()`)
		b.is("its decision is shown", `document.querySelector("#detail").open && document.querySelector("#detail").textContent.includes("no-81")`)
		b.axe(axe, "a decision")
		b.shot("decision")
		b.script(`[...document.querySelectorAll("#detail button")].find(b => b.textContent.includes("no-81")).click()`)
		b.is("the entry is marked", `!document.querySelector("#detail").open && document.querySelector("#policy-text .marked")?.textContent.includes("name: no-81") === true`)
	})
	t.Run("the rules of a P4 switch", func(t *testing.T) {
		b.is("it is there to be chosen", `[...document.querySelector("#rules-of").options].some(o => o.value === "0000000000000007")`)
		b.is("and is served", `document.querySelector("#switches").textContent.includes("serving")`)
		p4.Packet(1, frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(81), frames.SYN, nil))
		b.do(chromedp.SetValue(chromedp.CSS("#rules-of"), "0000000000000007"))
		const of81 = `[...document.querySelectorAll("#rule-table tbody tr")].find(tr => tr.textContent.includes("l4_dst=81") && tr.textContent.includes("flow_exact"))`
		b.is("the rule of the denial is there, with its table", `(document.querySelector("#rules-again").click(), `+of81+` !== undefined)`)
		b.script(of81 + `.querySelector("button").click()`)
		b.is("its decision is shown", `document.querySelector("#detail").open && document.querySelector("#detail").textContent.includes("no-81")`)
		b.script(`document.querySelector("#detail").close()`)
	})
	t.Run("filters", func(t *testing.T) {
		_, _ = h3.Ping(h1.IP, 300*time.Millisecond)
		set := func(name, value string) {
			b.script(fmt.Sprintf(`{const e = document.forms.filter.elements[%q]; e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true}))}`, name, value))
		}
		only := func(what, each string) {
			b.is(what, `(r => r.length > 0 && r.every(tr => `+each+`))([...document.querySelectorAll("#decision-table tbody tr")])`)
		}
		set("verdict", "deny")
		only("denials alone", `tr.querySelector(".deny")`)
		set("host", h3.IP.String())
		only("one host's", fmt.Sprintf(`tr.textContent.includes(%q)`, h3.IP))
		set("port", "9")
		b.is("none of another port", `document.querySelectorAll("#decision-table tbody tr").length === 0 && !document.querySelector("#no-decisions").hidden`)
		for _, name := range []string{"verdict", "host", "port"} {
			set(name, "")
		}
		only("all again", `true`)
	})
	t.Run("actions want the token", func(t *testing.T) {
		b.is("without it nothing can be pressed", `[...document.querySelectorAll("#act button")].every(b => b.disabled)`)
		act := func(secret, want string) {
			b.do(chromedp.Focus(chromedp.CSS(`#act input`)), chromedp.Evaluate[chromedp.Void](`document.querySelector("#act input").value = ""`), chromedp.KeyEvent(secret),
				chromedp.Click(chromedp.CSS(`#act button[data-action="/api/v1/reload"]`)))
			b.is(want, fmt.Sprintf(`document.querySelector("#act-result").textContent.includes(%q)`, want))
		}
		act("not-the-token-0123456789", "actions want the token")
		b.mu.Lock()
		b.faults = nil // the browser's console says 401
		b.mu.Unlock()
		act(token, "done")
	})
	b.script(`document.activeElement.blur(); window.scrollTo(0, 0)`)
	b.shot("page") // docs/images/page.png; decisions.png is what is called dark below
	t.Run("with a keyboard", func(t *testing.T) {
		// What the gateway says of a shadow, of a pair and of a function elsewhere, for a gateway that has none of them.
		if _, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `const real = window.fetch; window.fetch = (url, ...more) =>
			url === "/api/v1/status" ? real(url, ...more).then(r => r.json()).then(st => new Response(JSON.stringify({...st, pair: {peer: "10.0.0.2:9654", leads: true, answers: false},
				functions: [{name: "away", down: "connection refused", endpoints: [{name: "https://f.example/", breaker: "open", fault: "timeout"}]}]}))) :
			url !== "/api/v1/shadow" ? real(url, ...more) : Promise.resolve(new Response('{"shadow":"next.yaml","policy":"2-00000001","since":"2026-01-01T00:00:00Z","agree":7,"disagree":1,"unexplained":0,"undecided":0,"failed":0,"shed":0,"stale":0,"disagreements":[{"count":1,"last":"2026-01-01T00:00:00Z","verdict":"deny","entry":"header: no-81","shadow_verdict":"allow","shadow_entry":"forward: normal","dpid":"0000000000000001","decision":2,"match":"<b>l4_dst=81</b>","reason":"x","shadow_reason":"y"}]}'))`}); err != nil {
			t.Fatal(err)
		}
		b.do(chromedp.Navigate(b.base + "/"))
		b.is("it is live again", `document.querySelector("#connection").textContent === "Live"`)
		b.do(chromedp.KeyEvent(kb.Tab))
		b.is("the first stop skips to the decisions", `document.activeElement.className === "skip"`)
		b.do(chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab))
		b.is("from where the filter is next", `document.activeElement.name === "host"`)
		b.do(chromedp.Focus(chromedp.CSS(`#decision-table tbody button`)), chromedp.KeyEvent(kb.Enter))
		b.is("a decision opens", `document.querySelector("#detail").open`)
		b.do(chromedp.KeyEvent(kb.Escape))
		b.is("and closes", `!document.querySelector("#detail").open && document.activeElement.closest("#decision-table") !== null`)
		b.script(`document.activeElement.blur()`)
	})
	for _, line := range []string{"Pair: this gateway leads; the other one, 10.0.0.2:9654, does not answer", "Function away: does not answer: connection refused",
		"https://f.example/: breaker open, timeout"} {
		b.is("the health of pair and function is shown", fmt.Sprintf(`[...document.querySelectorAll("#health li.bad")].some(li => li.textContent === %q)`, line))
	}
	b.is("and the lead can be handed over", `!document.querySelector('[data-action$="handover"]').hidden`)
	b.is("a shadow's disagreements are shown, as text", `!document.querySelector("#shadow").hidden && document.querySelector("#shadow-table tbody").textContent.includes("header: no-81") && document.querySelector("#shadow-table code").textContent === "<b>l4_dst=81</b>"`)
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}); err != nil {
				t.Fatal(err)
			}
			b.script(map[string]string{"light": `window.scrollTo(0, 0)`, "dark": `document.querySelector("#decisions").scrollIntoView()`}[scheme])
			b.axe(axe, scheme)
			b.shot(scheme)
		})
	}
	t.Run("phone", func(t *testing.T) {
		b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
		b.is("nothing is wider than the screen", `document.documentElement.scrollWidth <= 360`)
		b.axe(axe, "phone")
		b.shot("phone")
		b.do(chromedp.EmulateViewport(1280, 900))
	})
	t.Run("calm in a storm", func(t *testing.T) {
		storm, err := oftest.Dial(t.Context(), outside.Addr().String(), nil, oftest.Config{DPID: 0xff})
		if err != nil {
			t.Fatal(err)
		}
		defer storm.Close()
		if err := storm.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var sending sync.WaitGroup
		sent := 0
		sending.Go(func() { // ten thousand a second
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				for range 100 {
					sent++
					frame := frames.UDP(frames.Host(1).At(uint16(1024+sent%60000)), frames.Host(2).At(uint16(1+sent%50000)), []byte("x"))
					if storm.PacketIn(1, frame) != nil {
						return
					}
				}
				storm.Take()
			}
		})
		b.script(`window.worst = 0; window.frames_ = 0; {let last = performance.now(); const f = (now) => { window.worst = Math.max(window.worst, now - last); last = now; window.frames_++; requestAnimationFrame(f); }; requestAnimationFrame(f);}`)
		b.is("the page says that it shows a sample", `/^A sample: there are [1-9][0-9,]{3,} decisions a second/.test(document.querySelector("#sample").textContent)`)
		time.Sleep(3 * time.Second)
		worst, rows := value[float64](b, `window.worst`), value[int](b, `document.querySelectorAll("#decision-table tbody tr").length`)
		b.shot("storm")
		close(stop)
		sending.Wait()
		t.Logf("%d packets; the page's longest pause was %.0f ms", sent, worst)
		if rows == 0 || rows > 100 || worst > 2000 {
			t.Errorf("%d rows, and a pause of %.0f ms", rows, worst)
		}
	})
	headers := value[map[string]string](b, `fetch("/").then(r => Object.fromEntries(r.headers))`)
	if csp := headers["content-security-policy"]; !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		t.Error(f)
	}
}
