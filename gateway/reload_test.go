package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/function/httphost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/frames"
	"switchbridge/internal/logbuffer"
	"switchbridge/internal/testlong"
	"switchbridge/internal/watched"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
	"switchbridge/p4bridge/p4test"
	"switchbridge/policy"
	"switchbridge/policy/policyfile"
	"switchbridge/settings"
)

const adminToken = "0123456789abcdef"

// fileRig is a gateway that runs by a configuration file, with a fake switch of
// OpenFlow and one of P4 on it.
type fileRig struct {
	*testing.T
	gateway *Gateway
	logs    *logbuffer.Buffer
	dir     string
	admin   string // its URL
	of      *oftest.Switch
	p4      *p4test.Target
	level   *slog.LevelVar
}

func (r *fileRig) write(name, text string) string {
	r.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// eventually waits until something holds.
func (r *fileRig) eventually(what string, holds func() bool) {
	r.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		began := time.Now()
		if holds() {
			return
		}
		if time.Now().After(end) {
			r.Fatalf("%s: not after twenty seconds; the log:\n%s", what, r.logs)
		}
		time.Sleep(max(time.Millisecond, 3*time.Since(began))) // what is looked at is to go on meanwhile
	}
}

// startFile runs a gateway by a configuration; tokens and policies that it names
// are in its folder by then.
func startFile(t *testing.T, config string, files map[string]string) *fileRig {
	t.Helper()
	r := &fileRig{T: t, logs: new(logbuffer.Buffer), dir: t.TempDir(), level: new(slog.LevelVar)}
	for name, text := range files {
		r.write(name, text)
	}
	p4l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.p4 = p4test.New(p4test.Options{DeviceID: 1})
	r.p4.Start(p4l)
	t.Cleanup(r.p4.Stop)
	r.write("token", adminToken)
	path := r.write("switchbridge.yaml", config)
	load := func() (*settings.Settings, error) {
		set, err := settings.Load(path)
		if err != nil {
			return nil, err
		}
		set.Admin.TokenFile = filepath.Join(r.dir, "token")
		set.P4.Switches = []settings.P4Switch{{Device: 1, Address: p4l.Addr().String(), Miss: "punt"}}
		return set, nil
	}
	set, err := load()
	if err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l, admin := listen(), listen()
	g, err := New(set, Options{Logger: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: r.level})), Level: r.level,
		Config: path, Load: load, Listeners: []net.Listener{l}, Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	r.gateway, r.admin = g, "http://"+admin.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	if r.of, err = oftest.Dial(t.Context(), l.Addr().String(), nil, oftest.Config{DPID: 0x2a, Versions: []flow.Protocol{flow.OpenFlow13}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.of.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	r.eventually("both switches are governed", func() bool { return g.Status().Switches == 2 && g.Ready() == nil })
	return r
}

// rules are those of decisions in the switches, of which each has some.
func (r *fileRig) rules() (of []ofp.FlowStats, p4 int) {
	of = slices.DeleteFunc(r.of.Rules(), func(s ofp.FlowStats) bool { return s.Rule.Priority == 0 || s.Rule.Cookie&0xffffffffffff == 0 })
	return of, r.p4.Count("flow") + r.p4.Count("flow_exact")
}

// ping has both switches ask about a packet of one address.
func (r *fileRig) ping(from uint8) {
	r.Helper()
	frame := frames.Ping(frames.Host(from), frames.Host(2), 1, 1)
	if err := r.of.PacketIn(1, frame); err != nil {
		r.Fatal(err)
	}
	r.p4.Packet(1, frame)
}

func (r *fileRig) call(method, path, token, host, body string) (int, string) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.admin+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// reloads is the result of one kind in the status.
func (r *fileRig) reloads(what string) watched.Result {
	r.Helper()
	_, body := r.call("GET", "/api/v1/status", "", "", "")
	var st GatewayStatus
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		r.Fatal(err)
	}
	i := slices.IndexFunc(st.Reloads, func(r watched.Result) bool { return r.What == what })
	if i < 0 {
		r.Fatalf("nothing about %s in %s", what, body)
	}
	return st.Reloads[i]
}

func (r *fileRig) metric(line string) bool {
	r.Helper()
	_, body := r.call("GET", "/metrics", "", "", "")
	return strings.Contains(body, "\n"+line+"\n")
}

const allowAll = "serial: 7\nchain:\n  - forward: {mode: normal}\n"

const blockAll = "serial: 8\nchain:\n  - blocklist: {addresses: [10.0.0.0/8]}\n  - forward: {mode: normal}\n"

// A policy that changes on disk decides and sweeps, whatever the switch speaks;
// one that can't be used changes nothing, and says where it is wrong.
func TestPolicyReload(t *testing.T) {
	r := startFile(t, "function: {urls: [native]}\npolicy: policy.yaml\n", map[string]string{"policy.yaml": allowAll})
	r.ping(1)
	r.eventually("both have rules", func() bool { of, p4 := r.rules(); return len(of) > 0 && p4 > 0 })
	allowed, _ := r.rules()

	policy := r.write("policy.yaml", "serial: 8\nchain:\n  - nonsense: {}\n")
	r.eventually("the mistake is seen", func() bool { return !r.reloads("policy").OK })
	if got := r.reloads("policy"); !strings.Contains(got.Error, policy+":3:") {
		t.Errorf("no place in %+v", got)
	}
	if status, body := r.call("GET", "/readyz", "", "", ""); status != 200 || !strings.HasPrefix(body, "ready\n") || !strings.Contains(body, policy+":3:") {
		t.Errorf("readyz %d %q", status, body)
	}
	if !r.metric(`switchbridge_reload_success{what="policy"} 0`) || !r.metric(`switchbridge_reload_success{what="configuration"} 1`) {
		t.Error("the metric does not say which of the two failed")
	}
	if of, p4 := r.rules(); len(of) != len(allowed) || p4 == 0 {
		t.Errorf("%d rules and %d entries are left", len(of), p4)
	}

	// As a ConfigMap or an editor does: a file beside it takes its place.
	os.Rename(r.write("new", blockAll), policy)
	r.eventually("the rules of the old policy are gone", func() bool {
		of, p4 := r.rules()
		return p4 == 0 && !slices.ContainsFunc(of, func(s ofp.FlowStats) bool { return s.Rule.Cookie == allowed[0].Rule.Cookie })
	})
	if got := r.reloads("policy"); !got.OK || !r.metric(`switchbridge_reload_success{what="policy"} 1`) {
		t.Errorf("%+v", got)
	}
	r.ping(1)
	r.eventually("both are denied", func() bool {
		of, p4 := r.rules()
		return len(of) == 1 && len(of[0].Rule.Actions) == 0 && p4 > 0
	})
}

// What can change does, what can't stays and is named, and a mistake anywhere
// changes nothing.
func TestConfigurationReload(t *testing.T) {
	const head = "function: {urls: [native]}\npolicy: policy.yaml\n"
	r := startFile(t, head+"guardrails: {hard_timeout: 40s, max_hard_timeout: 40s}\n", map[string]string{
		"policy.yaml": "serial: 7\nhard_timeout: 100s\nchain:\n  - forward: {mode: normal}\n", "next.yaml": blockAll})
	hard := func(from uint8) time.Duration { // of the rule that a ping gets
		t.Helper()
		before, _ := r.rules()
		var of []ofp.FlowStats
		r.ping(from)
		r.eventually("the ping is answered", func() bool { of, _ = r.rules(); return len(of) > len(before) })
		for _, s := range of {
			if !slices.ContainsFunc(before, func(b ofp.FlowStats) bool { return b.Rule.Cookie == s.Rule.Cookie }) {
				return s.Rule.HardTimeout
			}
		}
		t.Fatal("no new rule")
		return 0
	}
	if got := hard(1); got != 40*time.Second {
		t.Fatalf("hard_timeout %v before, want 40s", got)
	}
	reload := func() (int, string) { return r.call("POST", "/api/v1/reload", adminToken, "", "") }

	config := r.write("switchbridge.yaml", head+"guardrails: {hard_timeout: 30s, max_hard_timeout: 30s}\nopenflow: {gateway_id: 5, subscribe: [flow_removed]}\nlog: {level: debug, decisions: off}\n"+
		"fail_mode: {default: standalone}\nlimits: {per_port: {rate: 1000}, queue: 7}\n")
	if status, body := reload(); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	got := r.reloads("configuration")
	if want := []string{"openflow.gateway_id"}; !got.OK || !slices.Equal(got.Restart, want) {
		t.Errorf("%+v: want a restart for %q", got, want)
	}
	for _, key := range []string{"guardrails.max_hard_timeout", "openflow.subscribe", "log.level", "log.decisions", "fail_mode.default", "limits.per_port.rate", "limits.queue"} {
		if !slices.Contains(got.Changed, key) {
			t.Errorf("%s is not among what changed: %q", key, got.Changed)
		}
	}
	if got := hard(3); got != 30*time.Second {
		t.Errorf("hard_timeout %v after, want 30s", got)
	}
	if of, _ := r.rules(); of[0].Rule.Cookie>>48 != 1 {
		t.Errorf("cookie %#x: the gateway's id changed", of[0].Rule.Cookie)
	}
	if r.level.Level() != slog.LevelDebug || !strings.Contains(r.logs.String(), "key=openflow.gateway_id") {
		t.Errorf("level %v; the log:\n%s", r.level.Level(), r.logs)
	}

	for _, row := range []struct{ name, text, want string }{
		{"no YAML", "guardrails: {max_hard_timeout: 20s, hard_timeout: 20s\n", config + ": line 1: a { is not closed"},
		{"unknown key", head + "guardrails: {hard_timeout: 20s, max_hard_timeout: 20s}\nlimit: {}\n", config + `: line 4: unknown key "limit"`},
		{"bad value", head + "guardrails: {hard_timeout: 20s, max_hard_timeout: 20s, max_rules: 0}\n", "guardrails.max_rules"},
		{"no such policy", "function: {urls: [native]}\npolicy: none.yaml\nguardrails: {hard_timeout: 20s, max_hard_timeout: 20s}\n", "none.yaml"},
		{"smaller serial", "function: {urls: [native]}\npolicy: old.yaml\nguardrails: {hard_timeout: 20s, max_hard_timeout: 20s}\n", "serials only grow"},
		{"no such authority", head + "guardrails: {hard_timeout: 20s, max_hard_timeout: 20s}\nroutes: [{name: a, function: {urls: [\"https://f.example/\"], ca: none.pem}}]\n", ""},
	} {
		r.write("old.yaml", strings.Replace(allowAll, "7", "6", 1))
		r.write("switchbridge.yaml", row.text)
		status, body := reload()
		if row.want == "" { // a function elsewhere beside one in this process wants a restart
			if got := r.reloads("configuration"); status != 200 || !slices.Contains(got.Restart, "routes") {
				t.Errorf("%s: %d %s, %+v", row.name, status, body, got)
			}
			continue
		}
		if got := r.reloads("configuration"); status != 409 || !strings.Contains(body, strings.ReplaceAll(row.want, `"`, `\"`)) || got.OK || !strings.Contains(got.Error, row.want) {
			t.Errorf("%s: %d %s, %+v; want %q", row.name, status, body, got, row.want)
		}
		if got := r.gateway.now().set.Guardrails.MaxHardTimeout; got != 30*time.Second {
			t.Errorf("%s: max_hard_timeout is %v", row.name, got)
		}
		if status, body := r.call("GET", "/readyz", "", "", ""); status != 200 || !strings.Contains(body, row.want) {
			t.Errorf("%s: readyz %d %q", row.name, status, body)
		}
	}

	// Another policy's file, noticed by itself.
	r.write("switchbridge.yaml", "function: {urls: [native]}\npolicy: next.yaml\n")
	r.eventually("the other file decides", func() bool { return strings.HasPrefix(r.gateway.Status().Policy, "8-") })
	r.write("next.yaml", strings.Replace(blockAll, "8", "9", 1))
	r.eventually("the other file is watched", func() bool { return strings.HasPrefix(r.gateway.Status().Policy, "9-") })
}

// functionOf is a function over HTTP that decides by a policy; ask is called for
// each policy check, before the answer.
func functionOf(t *testing.T, decide flow.Decider, ask func()) string {
	t.Helper()
	h, err := httphost.New(httphost.Config{Decider: decide, Codecs: []contract.Codec{jsonenc.Codec{}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get(contract.HeaderType) == flow.EventPolicyCheck.String() && ask != nil {
			ask()
		}
		h.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func parsePolicy(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policyfile.Parse(strings.NewReader(text), "policy", "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A flow that passes stops within a second of the moment at which the function
// has a policy that denies it, when the gateway was told that one is out.
func TestPolicyNotice(t *testing.T) {
	var now atomic.Pointer[controller.Controller]
	now.Store(controller.New(parsePolicy(t, allowAll)))
	next := controller.New(parsePolicy(t, blockAll))
	var out atomic.Bool // the gateway was told; before it, connections are tried with a question
	var asked atomic.Int32
	var shown atomic.Pointer[time.Time]
	url := functionOf(t, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		return now.Load().Decide(ctx, ev, d)
	}), func() {
		if out.Load() && asked.Add(1) == 3 { // the platform takes a while to show the policy
			at := time.Now()
			shown.Store(&at)
			now.Store(next)
		}
	})
	r := startFile(t, "function: {urls: [\""+url+"\"], encoding: json, policy_check: 1h}\n", nil)
	r.ping(1)
	r.eventually("the flow passes in both switches", func() bool { of, p4 := r.rules(); return len(of) > 0 && p4 > 0 })
	allowed, _ := r.rules()
	out.Store(true)
	if status, body := r.call("POST", "/api/v1/policy/notice", adminToken, "", fmt.Sprintf(`{"policy": %q}`, next.Version())); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	r.eventually("the flow is stopped", func() bool {
		of, p4 := r.rules()
		return p4 == 0 && !slices.ContainsFunc(of, func(s ofp.FlowStats) bool { return s.Rule.Cookie == allowed[0].Rule.Cookie })
	})
	if took := time.Since(*shown.Load()); took > time.Second {
		t.Errorf("the flow passed for %v after the function had the policy", took)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times, want no more than until the policy was seen", n)
	}

	// The pace of what functions name by themselves is not that of notices, neither
	// where the notice is first nor where a policy check was before it.
	for i, serial := range []string{"80", "81", "82", "83"} {
		r.ping(uint8(3 + i)) // a packet like one before is not always asked about
		r.eventually("the switch has a rule of the policy before", func() bool { of, _ := r.rules(); return len(of) > 0 })
		before, _ := r.rules()
		text := []string{allowAll, blockAll}[i%2] // so that the answer for each rule changes
		later := controller.New(parsePolicy(t, regexp.MustCompile(`serial: \d+`).ReplaceAllString(text, "serial: "+serial)))
		now.Store(later)
		if serial >= "82" {
			r.gateway.now().functions.check.Ask(t.Context())
		}
		told := time.Now()
		if status, body := r.call("POST", "/api/v1/policy/notice", adminToken, "", fmt.Sprintf(`{"policy": %q}`, later.Version())); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		r.eventually("the rule is swept", func() bool {
			of, _ := r.rules()
			return !slices.ContainsFunc(of, func(s ofp.FlowStats) bool { return s.Rule.Cookie == before[0].Rule.Cookie })
		})
		if took := time.Since(told); took > 2*time.Second {
			t.Errorf("policy %s: the switch was in line %v after its notice", serial, took)
		}
	}
}

// A function that says no version when it is asked has its rules swept, too, once
// the policy was announced and an answer has brought it: without any packet, in both
// protocols, whichever comes first. One that nobody announced sweeps nothing.
func TestPolicyNoticeOfFunctionThatIsNotAsked(t *testing.T) {
	for name, refuse := range map[string]func(d *flow.Decision) error{
		"refuses":          func(*flow.Decision) error { return flow.Errorf(flow.Refused, "packets alone") },
		"names no version": func(d *flow.Decision) error { d.Policy = flow.PolicyVersion{}; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			var now atomic.Pointer[controller.Controller]
			now.Store(controller.New(parsePolicy(t, allowAll)))
			url := functionOf(t, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
				if ev.Type == flow.EventPolicyCheck {
					return refuse(d)
				}
				err := now.Load().Decide(ctx, ev, d)
				d.Reuse = flow.Reuse{} // each packet asks what the policy is
				return err
			}), nil)
			r := startFile(t, "function: {urls: [\""+url+"\"], encoding: json, policy_check: 1h}\n", nil)
			r.ping(1)
			r.eventually("the flow passes in both switches", func() bool { of, p4 := r.rules(); return len(of) > 0 && p4 > 0 })
			allowed, _ := r.rules()
			of0, p40 := r.rules()
			next := controller.New(parsePolicy(t, blockAll))
			now.Store(next)
			if status, body := r.call("POST", "/api/v1/policy/notice", adminToken, "", fmt.Sprintf(`{"policy": %q}`, next.Version())); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
			r.eventually("the flow is stopped", func() bool {
				of, p4 := r.rules()
				return p4 == 0 && !slices.ContainsFunc(of, func(s ofp.FlowStats) bool { return s.Rule.Cookie == allowed[0].Rule.Cookie })
			})
			if got := r.gateway.bridge.Versions().Confirmed(); !got.IsZero() {
				t.Errorf("%v is confirmed: rules of a next policy that is not announced would live 10 s", got)
			}

			// The answer is first, and the notice after it.
			later := controller.New(parsePolicy(t, strings.Replace(allowAll, "serial: 7", "serial: 9", 1)))
			now.Store(later)
			r.ping(3)
			r.eventually("there are rules of the third", func() bool { of, p4 := r.rules(); return len(of) > 0 && p4 > 0 })
			now.Store(controller.New(parsePolicy(t, strings.Replace(blockAll, "serial: 8", "serial: 10", 1))))
			r.ping(4)
			r.eventually("an answer has brought the fourth", func() bool { return r.gateway.bridge.Versions().Latest().Serial == 10 })
			if of, p4 := r.rules(); len(of) < len(of0) || p4 < p40 {
				t.Errorf("%d rules and %d entries are left by a version that nobody announced", len(of), p4)
			}
			if status, body := r.call("POST", "/api/v1/policy/notice", adminToken, "", fmt.Sprintf(`{"policy": %q}`, now.Load().Version())); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
			r.eventually("the third's rules are gone", func() bool {
				of, _ := r.rules()
				return !slices.ContainsFunc(of, func(s ofp.FlowStats) bool { return len(s.Rule.Actions) > 0 })
			})
		})
	}
}

// Functions behind URLs change while events are under way: none fails, and one
// that stays the same is left alone.
func TestFunctionReload(t *testing.T) {
	first := functionOf(t, controller.New(parsePolicy(t, allowAll)), nil)
	second := functionOf(t, controller.New(parsePolicy(t, blockAll)), nil)
	config := func(url string) string {
		return "function: {urls: [\"" + url + "\"], encoding: json}\nroutes:\n  - {name: away, ports: [99], function: {urls: [\"" + first + "\"], encoding: json}}\n"
	}
	r := startFile(t, config(first), nil)
	r.ping(1)
	r.eventually("allowed", func() bool { of, p4 := r.rules(); return len(of) == 1 && len(of[0].Rule.Actions) > 0 && p4 > 0 })
	before := r.gateway.now().functions.remotes
	r.write("switchbridge.yaml", config(second))
	if err := r.gateway.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if err := r.gateway.Ready(); err != nil {
		t.Errorf("not ready after the reload: %v", err)
	}
	after := r.gateway.now().functions.remotes
	if after[0] == before[0] || after[1] != before[1] {
		t.Errorf("exchanged: %v, the one that stays: %v", after[0] != before[0], after[1] != before[1])
	}
	r.ping(3)
	r.eventually("denied by the new function", func() bool {
		of, _ := r.rules()
		return slices.ContainsFunc(of, func(s ofp.FlowStats) bool { return len(s.Rule.Actions) == 0 })
	})
	// The same URL with another timeout: the state of conversations stays.
	r.write("switchbridge.yaml", strings.Replace(config(second), "encoding: json}", "encoding: json, timeout: 3s}", 1))
	if err := r.gateway.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if now := r.gateway.now().functions.remotes; now[0] == after[0] || now[0].state != after[0].state {
		t.Error("the function's state was lost, or the function was not exchanged")
	}
	if r.gateway.now().set.Function.Timeout != 3*time.Second {
		t.Error("the timeout stayed")
	}
}

// The hint about VLANs that no packet shows follows the policy that counts by now,
// one of another file, too, and packets of either protocol.
func TestReloadRenewsTheTagHint(t *testing.T) {
	const rules = "chain:\n  - header:\n      rules:\n        - {match: %s, action: deny}\n"
	plain, looks := fmt.Sprintf("serial: 1\n"+rules, "{tcp_dst: 22}"), fmt.Sprintf("serial: 2\n"+rules, "{vlan_vid: 5}")
	for _, row := range []struct {
		name     string
		protocol flow.Protocol
		change   func(r *fileRig)
	}{
		{"the file changes, OpenFlow", flow.OpenFlow13, func(r *fileRig) { r.write("policy.yaml", looks) }},
		{"the file changes, P4", flow.P4Runtime, func(r *fileRig) { r.write("policy.yaml", looks) }},
		{"another file", flow.OpenFlow13, func(r *fileRig) {
			r.write("other.yaml", looks)
			r.write("switchbridge.yaml", "policy: other.yaml\nfunction: {urls: [native]}\n")
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := startFile(t, "policy: policy.yaml\nfunction: {urls: [native]}\n", map[string]string{"policy.yaml": plain})
			f := newFlood(1)
			f.ev.Switch.Protocol = row.protocol
			f.pi.Match.SetVLAN(flow.VLANNone, flow.VLANExact)
			hints := func() int {
				for range 2000 {
					f.next(r.gateway.recorder, flow.Allow)
				}
				return strings.Count(r.logs.String(), "the policy looks at VLANs")
			}
			if n := hints(); n != 0 {
				t.Errorf("%d hints for a policy that looks at none", n)
			}
			row.change(r)
			if err := r.gateway.Reload(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
			if n := hints(); n != 1 {
				t.Errorf("%d hints after the reload, want 1", n)
			}
		})
	}
}

// A notice that says what a policy changes has that go at once, and nothing else asked about.
func TestNoticeOfChanges(t *testing.T) {
	var now atomic.Pointer[controller.Controller]
	before, next := controller.New(parsePolicy(t, allowAll)), controller.New(parsePolicy(t, blockThree))
	now.Store(before)
	var rehearsals atomic.Int32
	url := functionOf(t, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.Rehearsal {
			rehearsals.Add(1)
		}
		return now.Load().Decide(ctx, ev, d)
	}), func() {})
	r := startFile(t, "function: {urls: [\""+url+"\"], encoding: json}\n", nil)
	r.eventually("the policy is known", func() bool { return r.gateway.bridge.Versions().Confirmed() == before.Version() })
	r.eventually("both switches are asked about", func() bool { return strings.Count(r.logs.String(), "event="+flow.EventSwitchConnected.String()) >= 2 })
	r.ping(1)
	r.ping(3)
	r.eventually("two flows pass in both switches", func() bool { of, p4 := r.rules(); return len(of) == 2 && p4 == 2 })
	now.Store(next)
	notice := fmt.Sprintf(`{"policy": %q, "before": %q, "changes": [{"match": "eth_type=0x0800,ip_src=10.0.0.3", "denied": true}]}`, next.Version(), before.Version())
	if status, body := r.call("POST", "/api/v1/policy/notice", adminToken, "", notice); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	r.eventually("one of them stops in both", func() bool { of, p4 := r.rules(); return len(of) == 1 && p4 == 1 })
	r.eventually("both switches are in line", func() bool { return strings.Count(r.logs.String(), "the switch is in line with the policy") == 2 })
	if of, _ := r.rules(); len(of) != 1 || of[0].Rule.Match.IPSrc.Addr().String() != "10.0.0.1" || rehearsals.Load() != 0 {
		t.Errorf("%v is left, and %d rules were asked about", of, rehearsals.Load())
	}
	for _, row := range []struct{ body, want string }{
		{`{"policy": "9-00000000", "changes": []}`, "changes: before is missing"},
		{`{"policy": "9-00000000", "before": "x"}`, "before: "},
		{`{"policy": "9-00000000", "before": "8-00000000", "changes": [{"match": "x=1"}]}`, "changes[0]: "},
		{`{"policy": "9-00000000", "before": "8-00000000", "changes": [` + strings.Repeat(`{"match": "any"},`, MaxRegions) + `{"match": "any"}]}`, "128 at most"},
	} {
		if status, body := r.call("POST", "/api/v1/policy/notice", adminToken, "", row.body); status != http.StatusBadRequest || !strings.Contains(body, row.want) {
			t.Errorf("%.60s: %d %s, want %s", row.body, status, body, row.want)
		}
	}
}

// Of a change of which nothing is known, what a function decides as before stays, in either encoding.
func TestChangeOfWhichNothingIsKnown(t *testing.T) {
	for name, codec := range map[string]contract.Codec{"json": jsonenc.Codec{}, "openflow": openflow.Codec{}} {
		t.Run(name, func(t *testing.T) {
			var now atomic.Pointer[controller.Controller]
			now.Store(controller.New(parsePolicy(t, allowAll)))
			h, err := httphost.New(httphost.Config{Codecs: []contract.Codec{codec}, Log: slog.New(slog.DiscardHandler),
				Decider: flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
					return now.Load().Decide(ctx, ev, d)
				})})
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(h)
			t.Cleanup(s.Close)
			r := startFile(t, "function: {urls: [\""+s.URL+"\"], encoding: "+name+"}\n", nil)
			r.eventually("the policy is known", func() bool { return r.gateway.bridge.Versions().Confirmed() == now.Load().Version() })
			r.eventually("both switches are asked about", func() bool { return strings.Count(r.logs.String(), "event="+flow.EventSwitchConnected.String()) >= 2 })
			r.ping(1)
			r.eventually("a flow passes in both", func() bool { of, p4 := r.rules(); return len(of) == 1 && p4 == 1 })
			before, _ := r.rules()
			now.Store(controller.New(parsePolicy(t, blockThree)))
			if status, body := r.call("POST", "/api/v1/policy/notice", adminToken, "", fmt.Sprintf(`{"policy": %q}`, now.Load().Version())); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
			r.eventually("both rules are asked about", func() bool {
				return r.metric(`switchbridge_renewed_rules_total{outcome="same",protocol="openflow"} 1`) && r.metric(`switchbridge_renewed_rules_total{outcome="same",protocol="p4"} 1`)
			})
			if of, p4 := r.rules(); len(of) != 1 || of[0].Rule.Cookie != before[0].Rule.Cookie || p4 != 1 {
				t.Errorf("%v and %d entries are left", of, p4)
			}
		})
	}
}

// With flows in a switch, 10,000 in the long test, and one entry more in the policy, what that denies stops within a second, and nothing else is touched or asked about:
// in OpenFlow and in P4.
func TestPolicyChangeWithoutStorm(t *testing.T) { policyChangeWithoutStorm(t, 1000, 200) }

func TestLongPolicyChangeWithoutStorm(t *testing.T) {
	testlong.Need(t)
	policyChangeWithoutStorm(t, 10_000, 1000)
}

func policyChangeWithoutStorm(t *testing.T, flows, p4flows int) {
	const denied = 100
	entries := func(serial int, more string) string {
		text := fmt.Sprintf("serial: %d\nchain:\n  - header:\n      rules:\n%s", serial, more)
		for i := range 300 {
			text += fmt.Sprintf("        - {name: no-%d, match: {udp_dst: %d}, action: deny}\n", i, 20000+i)
		}
		return text + "  - forward: {mode: normal}\n"
	}
	r := startFile(t, "function: {urls: [native]}\npolicy: policy.yaml\nlog: {decisions: \"off\"}\n", map[string]string{"policy.yaml": entries(7, "")})
	send := func(i int, p4 bool) {
		to := uint16(1000)
		if i < denied {
			to = 7
		}
		frame := frames.UDP(frames.Host(1).At(uint16(20000+i)), frames.Host(2).At(to), nil)
		if p4 {
			r.p4.Packet(1, frame)
		} else if err := r.of.PacketIn(1, frame); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (of, p4, wrong int) {
		of = r.of.Count(func(rule *flow.Rule) bool {
			ours := rule.Priority != 0 && rule.Cookie&0xffffffffffff != 0
			if ours && rule.Match.L4Dst == 7 {
				wrong++
			}
			return ours
		})
		return of, r.p4.Count("flow") + r.p4.Count("flow_exact"), wrong
	}
	for i := range flows {
		send(i, false)
	}
	for i := range p4flows {
		send(i, true)
	}
	r.eventually("all flows have rules", func() bool { of, p4, _ := count(); return of == flows && p4 == p4flows })
	r.write("next", entries(8, "        - {name: echo, priority: 200, match: {udp_dst: 7}, action: deny}\n"))
	started := time.Now()
	os.Rename(filepath.Join(r.dir, "next"), filepath.Join(r.dir, "policy.yaml"))
	if status, body := r.call("POST", "/api/v1/reload", adminToken, "", ""); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	r.eventually("what is denied stops", func() bool { _, p4, wrong := count(); return wrong == 0 && p4 == p4flows-denied })
	took := time.Since(started)
	t.Logf("what is denied stopped after %v", took)
	if took > 3*time.Second { // a second, and the race detector
		t.Errorf("what is denied stopped after %v", took)
	}
	r.eventually("both switches are in line", func() bool { return strings.Count(r.logs.String(), "the switch is in line with the policy") == 2 })
	if of, p4, _ := count(); of != flows-denied || p4 != p4flows-denied {
		t.Errorf("%d rules and %d entries are left, want %d and %d", of, p4, flows-denied, p4flows-denied)
	}
	for _, outcome := range []string{"same", "changed", "unanswered"} {
		if _, body := r.call("GET", "/metrics", "", "", ""); strings.Contains(body, `switchbridge_renewed_rules_total{outcome="`+outcome) {
			t.Errorf("rules are counted as %s: something else was asked about", outcome)
		}
	}
}

// A list by URL that changes is a policy change without a storm: what it denies now stops, and nothing else is touched or asked about. When it can't
// be had, everything stays, and the operator is told.
func TestListByURLChanges(t *testing.T) {
	t.Setenv("CACHE_DIRECTORY", t.TempDir())
	var body atomic.Pointer[string]
	set := func(s string) { body.Store(&s) }
	set("10.0.0.77\n")
	var unchanged atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tag := fmt.Sprintf("%q", fmt.Sprint(len(*body.Load())))
		w.Header().Set("ETag", tag)
		switch {
		case *body.Load() == "":
			http.Error(w, "away", http.StatusServiceUnavailable)
		case r.Header.Get("If-None-Match") == tag:
			unchanged.Add(1)
			w.WriteHeader(http.StatusNotModified)
		default:
			_, _ = io.WriteString(w, *body.Load())
		}
	}))
	defer web.Close()
	r := startFile(t, "function: {urls: [native]}\npolicy: policy.yaml\n", map[string]string{
		"policy.yaml": "chain:\n  - blocklist: {urls: [" + web.URL + "]}\n  - forward: {mode: normal}\n"})
	reload := func() {
		t.Helper()
		if status, body := r.call("POST", "/api/v1/reload", adminToken, "", ""); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	for i := range 3 {
		r.ping(uint8(i) + 1)
	}
	r.eventually("all flows have rules", func() bool { of, p4 := r.rules(); return len(of) == 3 && p4 == 3 })
	reload()
	r.eventually("it is asked whether the list is the same", func() bool { return unchanged.Load() > 0 })
	set("10.0.0.77\n10.0.0.3\n")
	reload()
	r.eventually("one of them stops in both", func() bool { of, p4 := r.rules(); return len(of) == 2 && p4 == 2 })
	r.eventually("both switches are in line", func() bool { return strings.Count(r.logs.String(), "the switch is in line with the policy") == 2 })
	for _, s := range first(r.rules()) {
		if s.Rule.Match.IPSrc.Addr().String() == "10.0.0.3" {
			t.Errorf("%v is left", s.Rule)
		}
	}
	_, metrics := r.call("GET", "/metrics", "", "", "")
	for _, outcome := range []string{"same", "changed", "unanswered"} {
		if strings.Contains(metrics, `switchbridge_renewed_rules_total{outcome="`+outcome) {
			t.Errorf("rules are counted as %s: something else was asked about", outcome)
		}
	}
	set("")
	reload()
	r.eventually("the metric says that the list can't be had", func() bool { return r.metric(`switchbridge_reload_success{what="list"} 0`) })
	if _, body := r.call("GET", "/readyz", "", "", ""); !strings.Contains(body, "the list stays as it was: "+web.URL+": 503 Service Unavailable") {
		t.Errorf("the readiness page: %s", body)
	}
	r.ping(3)
	r.eventually("what is listed stays denied", func() bool { return strings.Contains(r.logs.String(), "blocklist: 10.0.0.3 in "+web.URL) })
	set("10.0.0.77\n10.0.0.3\n")
	reload()
	r.eventually("the list is there again", func() bool { return r.metric(`switchbridge_reload_success{what="list"} 1`) })
}

func first[A, B any](a A, _ B) A { return a }

// A policy's log: true is a line of the gateway's log wherever the function is, though decisions are not logged.
func TestPolicyLogsWhereverItDecides(t *testing.T) {
	const text = "serial: 7\nchain:\n  - header: {rules: [{name: watched, match: {ip_src: 10.0.0.1}, action: allow, log: true}]}\n  - forward: {mode: normal}\n"
	urls := map[string]string{"native": settings.Native, "embedded": settings.Embedded}
	for name, codec := range map[string]contract.Codec{"json": jsonenc.Codec{}, "openflow": openflow.Codec{}} {
		h, err := httphost.New(httphost.Config{Codecs: []contract.Codec{codec}, Log: slog.New(slog.DiscardHandler), Decider: controller.New(parsePolicy(t, text))})
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		urls[name] = s.URL
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			config := "function: {urls: [\"" + url + "\"]}\npolicy: policy.yaml\n"
			if strings.HasPrefix(url, "http") {
				config = "function: {urls: [\"" + url + "\"], encoding: " + name + "}\n"
			}
			r := startFile(t, config+"log: {decisions: \"off\"}\n", map[string]string{"policy.yaml": text})
			r.ping(2)
			r.ping(1)
			r.eventually("both packets are decided about", func() bool { of, p4 := r.rules(); return len(of) == 2 && p4 == 2 })
			r.eventually("the watched one is in the log, of both switches", func() bool {
				return strings.Count(r.logs.String(), `reason="header: watched"`) == 2 && strings.Count(r.logs.String(), "log=true") == 2
			})
			if strings.Contains(r.logs.String(), "forward: normal") {
				t.Errorf("other decisions are logged: %s", r.logs)
			}
		})
	}
}
