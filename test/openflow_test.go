// Package test holds the tests that cross packages: the gateway, a function over
// HTTPS and a real Open vSwitch together.
package test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/faas/distribution/policyhost"
	"switchbridge/faas/function/auth"
	"switchbridge/faas/function/devca"
	"switchbridge/faas/function/httphost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/flow/decider"
	"switchbridge/gateway"
	"switchbridge/internal/certs/certstest"
	"switchbridge/internal/ovs"
	"switchbridge/internal/watched"
	"switchbridge/settings"
	"switchbridge/state/stores"
	"switchbridge/state/stores/every"
)

const token = "token-for-tests-0123456789"

// labPolicy blocks host 3 by address and TCP port 81 by a header rule.
const labPolicy = `
serial: %d
chain:
  - blocklist: {addresses: [%s]}
  - header:
      rules:
        - {name: no-81, priority: 10, match: {tcp_dst: 81}, action: deny}
  - forward: {mode: normal}
`

func writePolicy(t *testing.T, path string, serial int, blocked string) {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, fmt.Appendf(nil, labPolicy, serial, blocked), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// testLog writes a component's log to the test's, until the test ends.
func testLog(t *testing.T, who string) *slog.Logger {
	w := &testWriter{t: t, who: who}
	t.Cleanup(w.close)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct {
	mu  sync.Mutex
	t   *testing.T
	who string
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s: %s", w.who, strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (w *testWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}

// function is a function over HTTPS that can be stopped and started again at
// the same address.
type function struct {
	t       *testing.T
	policy  string
	ca      string
	token   string
	address string
	stop    func()
	states  *stores.Keeper                    // nil: the policy has no machines
	tamper  func(d flow.Decider) flow.Decider // put in front of it; nil: nothing

	asked atomic.Int64 // about how many packets
}

func startFunction(t *testing.T, policy string, with ...func(*function)) *function {
	t.Helper()
	dir := t.TempDir()
	f := &function{t: t, policy: policy, token: filepath.Join(dir, "token"), address: "127.0.0.1:0"}
	for _, set := range with {
		set(f)
	}
	if err := os.WriteFile(f.token, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := devca.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.ca = ca.Path
	cert, err := ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	f.start(cert)
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *function) start(cert tls.Certificate) {
	f.t.Helper()
	log := testLog(f.t, "function")
	file, p, err := policyhost.Open(f.policy, log, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	native := policyhost.NewNative(p)
	kept, err := f.states.Keep("f", native, stores.SeveralGateways)
	if err != nil {
		f.t.Fatal(err)
	}
	next := kept.Decider(native)
	if f.tamper != nil {
		next = f.tamper(next)
	}
	counted := &decider.Observe{Next: next, On: func(o decider.Observation) {
		if o.Event.Type == flow.EventPacketIn {
			f.asked.Add(1)
		}
	}}
	h, err := httphost.New(httphost.Config{Decider: counted, Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}, Log: log})
	if err != nil {
		f.t.Fatal(err)
	}
	tokens, err := auth.ParseSecret(token)
	if err != nil {
		f.t.Fatal(err)
	}
	mux, err := httphost.NewMux(httphost.MuxConfig{Functions: []httphost.Function{{Name: "f", Handler: h}}, Tokens: tokens, Log: log})
	if err != nil {
		f.t.Fatal(err)
	}
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.address = l.Addr().String()
	srv := httphost.NewServer(mux, &tls.Config{Certificates: []tls.Certificate{cert}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	file.Follow(native, nil)
	running.Go(func() {
		w := watched.Watcher{Files: file.Files, Log: log}
		w.Run(ctx)
	})
	running.Go(func() { srv.ServeTLS(l, "", "") })
	f.stop = sync.OnceFunc(func() { cancel(); srv.Close(); running.Wait() })
}

// remembers has a function keep its machines' states as the settings say.
func remembers(t *testing.T, s stores.Settings) func(*function) {
	t.Helper()
	keeper, err := stores.Open(t.Context(), s, every.Openers, testLog(t, "states"))
	if err != nil {
		t.Fatal(err)
	}
	return func(f *function) { f.states = keeper }
}

// restart stops the function and starts it anew.
func (f *function) restart(between func()) {
	f.t.Helper()
	f.stop()
	if between != nil {
		between()
	}
	ca, err := devca.Open(filepath.Dir(f.ca))
	if err != nil {
		f.t.Fatal(err)
	}
	cert, err := ca.Issue("127.0.0.1")
	if err != nil {
		f.t.Fatal(err)
	}
	f.start(cert)
}

// settings are those of a gateway that asks f.
func (f *function) settings() *settings.Settings {
	set := settings.Default()
	set.Function.URLs = []string{"https://" + f.address}
	set.Function.CA = f.ca
	set.Function.TokenFile = f.token
	set.Function.PolicyCheck = 500 * time.Millisecond
	set.Admin.Listen = "127.0.0.1:0"
	return set
}

// runningGateway is a gateway in this process.
type runningGateway struct {
	*gateway.Gateway
	admin string
	stop  func()
}

func startGateway(t *testing.T, set *settings.Settings, listeners ...net.Listener) *runningGateway {
	t.Helper()
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(set, gateway.Options{Version: "test", Logger: testLog(t, "gateway"), Listeners: listeners, Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	r := &runningGateway{Gateway: g, admin: "http://" + admin.Addr().String()}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// get reads one page of the admin side.
func (r *runningGateway) get(t *testing.T, path string, v any) string {
	t.Helper()
	resp, err := http.Get(r.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %s %v", path, resp.Status, body, err)
	}
	if v != nil {
		if err := json.Unmarshal(body, v); err != nil {
			t.Fatalf("GET %s: %v in %s", path, err, body)
		}
	}
	return string(body)
}

// eventually waits until ok, and fails the test with what after ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after ten seconds: %s", what)
		}
	}
}

// lab is a bridge with three hosts, the function and the gateway.
type lab struct {
	t          *testing.T
	sw         *ovs.Switchd
	h1, h2, h3 *ovs.Host
	function   *function
	gateway    *runningGateway
	policy     string
}

func (l *lab) pings(from, to *ovs.Host) {
	l.t.Helper()
	if _, err := from.Ping(to.IP, 5*time.Second); err != nil {
		l.t.Errorf("%s to %s: %v", from.Name, to.Name, err)
	}
}

func (l *lab) silent(from, to *ovs.Host) {
	l.t.Helper()
	if _, err := from.Ping(to.IP, 300*time.Millisecond); err == nil {
		l.t.Errorf("%s reaches %s", from.Name, to.Name)
	}
}

// hasDrop says whether there is a rule that drops packets of the given match
// and, with seen, has counted one.
func (l *lab) hasDrop(part string, seen bool) bool {
	l.t.Helper()
	for _, f := range l.sw.DumpFlows("br0") {
		if f.Actions == "drop" && strings.Contains(f.Match, part) && (f.Packets > 0 || !seen) {
			return true
		}
	}
	return false
}

// dropped waits until a rule has dropped a packet of the given match: the
// userspace datapath brings its counters to the rules twice a second. The first
// packet is dropped without a rule, so try sends others.
func (l *lab) dropped(part string, try func()) {
	l.t.Helper()
	eventually(l.t, "a rule has dropped "+part, func() bool { try(); return l.hasDrop(part, true) })
}

func (l *lab) flows() string {
	var b strings.Builder
	for _, f := range l.sw.DumpFlows("br0") {
		fmt.Fprintln(&b, f.Text)
	}
	return b.String()
}

var protocols = map[string]string{"1.0": "OpenFlow10", "1.3": "OpenFlow13"}

func newLab(t *testing.T, protocol string, adapt func(*settings.Settings)) *lab {
	t.Helper()
	l := &lab{t: t, policy: filepath.Join(t.TempDir(), "policy.yaml")}
	writePolicy(t, l.policy, 1, "10.0.0.3")
	l.sw = ovs.Start(t, ovs.Options{})
	l.function = startFunction(t, l.policy)
	set := l.function.settings()
	if adapt != nil {
		adapt(set)
	}
	listener := l.sw.Listen()
	l.gateway = startGateway(t, set, listener)
	l.sw.AddBridge("br0", ovs.Bridge{DPID: 0x2a, Protocols: []string{protocols[protocol]}, Controllers: []string{ovs.Target(listener)}})
	l.h1, l.h2, l.h3 = l.sw.AddHost("br0", "h1"), l.sw.AddHost("br0", "h2"), l.sw.AddHost("br0", "h3")
	l.sw.WaitConnected("br0")
	return l
}

// Hosts behind a real Open vSwitch talk or don't talk because a function over
// HTTPS said so.
func TestFunctionGovernsOpenVSwitch(t *testing.T) {
	for version := range protocols {
		for _, encoding := range []string{"openflow", "json"} {
			t.Run(version+" "+encoding, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, version, func(s *settings.Settings) { s.Function.Encoding = encoding })
				l.h2.ServeEcho(80)
				l.h2.ServeEcho(81)

				l.pings(l.h1, l.h2)
				l.dropped("10.0.0.3", func() { l.silent(l.h3, l.h2) })
				if _, err := l.h1.Connect(l.h2.IP, 80, 5*time.Second); err != nil {
					t.Errorf("TCP port 80: %v", err)
				}
				// A connection tries again after a second, and then meets the rule.
				l.dropped("tp_dst=81", func() {
					if _, err := l.h1.Connect(l.h2.IP, 81, 1500*time.Millisecond); err == nil {
						t.Error("TCP port 81 answers")
					}
				})

				var rules []gateway.RuleStatus
				l.gateway.get(t, "/api/v1/switches/000000000000002a/rules", &rules)
				var denied bool
				for _, r := range rules {
					denied = denied || strings.Contains(r.Match, "l4_dst=81") && r.Actions == "drop" && r.Packets > 0 && r.Decision != 0
				}
				if !denied {
					t.Errorf("the API does not show the rule against port 81: %+v", rules)
				}
				metrics := l.gateway.get(t, "/metrics", nil)
				for _, want := range []string{`switchbridge_decisions_total{policy="header",verdict="deny"}`, `switchbridge_decisions_total{policy="blocklist",verdict="deny"}`,
					`switchbridge_stage_seconds_count{protocol="openflow",stage="decide"}`, `switchbridge_function_request_seconds_count`, `switchbridge_openflow_sessions{state="ready"} 1`} {
					if !strings.Contains(metrics, want) {
						t.Errorf("/metrics lacks %s", want)
					}
				}

				// A new policy takes out what the old one decided otherwise.
				writePolicy(t, l.policy, 2, "10.0.0.1")
				eventually(t, "what is not denied any more passes", func() bool { return !l.hasDrop("10.0.0.3", false) })
				l.silent(l.h1, l.h2)
				l.pings(l.h3, l.h2)
			})
		}
	}
}

// Switch, gateway and function restart in the middle of traffic, and the rules
// come right again by themselves.
func TestRestarts(t *testing.T) {
	for version := range protocols {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, version, nil)
			l.pings(l.h1, l.h2)
			l.silent(l.h3, l.h2)

			// The function: what is installed goes on, new flows wait and come.
			l.function.restart(func() {
				l.pings(l.h1, l.h2)
				l.silent(l.h1, l.h3)
			})
			eventually(t, "new flows are decided again", func() bool {
				_, err := l.h2.Ping(l.h1.IP, 500*time.Millisecond)
				return err == nil
			})
			l.silent(l.h3, l.h1)

			// The switch: its rules are gone, and come by misses.
			l.sw.Restart()
			l.sw.WaitConnected("br0")
			l.pings(l.h1, l.h2)
			l.silent(l.h3, l.h2)

			// The gateway, with a new policy meanwhile: rules of the old version are
			// swept, somebody else's are not.
			l.sw.Ofctl("add-flow", "br0", "cookie=0x99,priority=7,dl_type=0x88b5,actions=drop")
			l.gateway.stop()
			l.pings(l.h1, l.h2) // by the rules that are there
			writePolicy(t, l.policy, 2, "10.0.0.2")
			time.Sleep(1100 * time.Millisecond) // the function looks at its file once a second
			listener := l.sw.Listen()
			l.gateway = startGateway(t, l.function.settings(), listener)
			l.sw.SetController("br0", ovs.Target(listener))
			eventually(t, "the old policy's rules are gone", func() bool { return !l.hasDrop("10.0.0.3", false) })
			if !strings.Contains(l.flows(), "cookie=0x99") {
				t.Errorf("somebody else's rule is gone:\n%s", l.flows())
			}
			l.silent(l.h1, l.h2)
			l.pings(l.h1, l.h3)
		})
	}
}

// With no function a new flow is dropped or forwarded as its switch's fail mode
// says, and no rule is installed for it.
func TestFailModes(t *testing.T) {
	for _, mode := range []settings.Mode{settings.ModeSecure, settings.ModeStandalone} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "1.3", func(s *settings.Settings) {
				s.FailMode.Switches = map[string]settings.Mode{"000000000000002a": mode}
				s.Function.Timeout, s.Function.TryTimeout = 500*time.Millisecond, 200*time.Millisecond
			})
			l.function.stop()
			if mode == settings.ModeSecure {
				l.silent(l.h1, l.h2)
			} else {
				l.pings(l.h1, l.h2)
			}
			if flows := l.sw.DumpFlows("br0"); len(flows) != 1 {
				t.Errorf("rules without a function:\n%s", l.flows())
			}
			if resp, err := http.Get(l.gateway.admin + "/readyz"); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
				eventually(t, "/readyz says that the function is away", func() bool {
					resp, err := http.Get(l.gateway.admin + "/readyz")
					return err == nil && resp.StatusCode == http.StatusServiceUnavailable
				})
			}
		})
	}
}

// Over TLS a certificate's name decides which datapaths its switch may be.
func TestTLSBindsDatapaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := devca.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gateway", "switch"} {
		cert, err := ca.Issue("127.0.0.1", name+".example")
		if err != nil {
			t.Fatal(err)
		}
		certPEM, keyPEM := certstest.Pair(t, cert)
		for path, content := range map[string][]byte{name + ".pem": certPEM, name + ".key": keyPEM} {
			if err := os.WriteFile(filepath.Join(dir, path), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	sw := ovs.Start(t, ovs.Options{Dummy: true})
	set := settings.Default()
	set.Admin.Listen = ""
	set.OpenFlow.Listen = []settings.Listen{{Network: "tcp", Address: "127.0.0.1:0", Secure: true}}
	set.OpenFlow.TLS = settings.TLS{Cert: filepath.Join(dir, "gateway.pem"), Key: filepath.Join(dir, "gateway.key"), ClientCA: ca.Path, Require: true,
		Bind: []settings.Binding{{Name: "switch.example", DPIDs: []settings.DPIDPattern{"00000000000000a*"}}}}
	var refused atomic.Bool
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) {
		if strings.Contains(string(p), "allows no certificate") && strings.Contains(string(p), "00000000000000b1") {
			refused.Store(true)
		}
	}), nil))
	g, err := gateway.New(set, gateway.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	sw.Vsctl("set-ssl", filepath.Join(dir, "switch.key"), filepath.Join(dir, "switch.pem"), ca.Path)
	target := "ssl:" + g.Addrs()[0].String()
	sw.AddBridge("br0", ovs.Bridge{DPID: 0xa1, Controllers: []string{target}})
	sw.AddBridge("br1", ovs.Bridge{DPID: 0xb1, Controllers: []string{target}})
	sw.WaitConnected("br0")
	eventually(t, "the other datapath is refused for its certificate", refused.Load)
	for _, s := range g.Switches() {
		if s.DPID == "00000000000000b1" && s.State == "ready" {
			t.Error("a certificate was taken for a datapath that it is not bound to")
		}
	}
}

// writerFunc sees each line of a log.
type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
