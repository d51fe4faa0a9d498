package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/internal/logbuffer"
	"switchbridge/policy/policytest"
	"switchbridge/settings"
)

const blockThree = "serial: 8\nchain:\n  - blocklist: {addresses: [10.0.0.3]}\n  - forward: {mode: normal}\n"

func (r *fileRig) shadow() (st ShadowStatus) {
	r.Helper()
	status, body := r.call("GET", "/api/v1/shadow", "", "", "")
	if status != 200 {
		r.Fatalf("GET /api/v1/shadow: %d %s", status, body)
	}
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		r.Fatal(err)
	}
	return st
}

// A shadow is asked about what an OpenFlow and a P4 switch ask, its answers are compared, logged and recorded, and none reaches a switch. Promoted
// it decides, and its file is the policy's.
func TestShadow(t *testing.T) {
	r := startFile(t, "function: {urls: [native]}\npolicy: policy.yaml\nshadow: {policy: next.yaml}\nlog: {records: records}\n",
		map[string]string{"policy.yaml": allowAll, "next.yaml": blockThree})
	r.ping(1)
	r.ping(3)
	r.eventually("four packets are compared", func() bool { st := r.shadow(); return st.Agree >= 2 && st.Disagree == 2 })
	st := r.shadow()
	next, before := parsePolicy(t, blockThree).Version().String(), parsePolicy(t, allowAll).Version().String()
	if st.Policy != next || st.Beside != before || st.Unexplained+st.Failed+st.Shed+st.Undecided != 0 || len(st.Disagreements) != 1 {
		t.Errorf("figures %+v", st)
	}
	if d := st.Disagreements[0]; d.Count != 2 || d.Verdict != "allow" || d.Entry != "forward: normal" || d.ShadowVerdict != "deny" || d.ShadowEntry != "blocklist" ||
		d.ShadowReason != "blocklist: 10.0.0.3" || !strings.Contains(d.Match, "ip_src=10.0.0.3") || d.Decision == 0 || d.Unexplained {
		t.Errorf("disagreement %+v", d)
	}
	if n := strings.Count(r.logs.String(), "the shadow disagrees"); n != 1 || !strings.Contains(r.logs.String(), `shadow_reason="blocklist: 10.0.0.3"`) {
		t.Errorf("%d lines of one kind of disagreement:\n%s", n, r.logs)
	}
	r.eventually("the P4 switch has its entries", func() bool { _, p4 := r.rules(); return p4 > 0 }) // they are written beside
	if of, p4 := r.rules(); len(of) != 2 || len(of[0].Rule.Actions) == 0 || len(of[1].Rule.Actions) == 0 || p4 == 0 {
		t.Errorf("the rules are %v and %d entries: the shadow's verdict reached a switch", of, p4)
	}
	if !r.metric(`switchbridge_shadow_events_total{outcome="disagree"} 2`) {
		t.Error("the metric does not count the disagreements")
	}

	action := func(body string) (int, string) { return r.call("POST", "/api/v1/policy/promote", adminToken, "", body) }
	if status, _ := r.call("POST", "/api/v1/policy/promote", "", "", "{}"); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	if status, body := action(`{"policy": "9-00000000"}`); status != http.StatusConflict || !strings.Contains(body, "is not the shadow's") {
		t.Errorf("another version: %d %s", status, body)
	}
	status, body := action(`{"policy": "` + next + `"}`)
	var answer PromoteAnswer
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 || answer.Figures.Disagree != 2 || answer.Figures.Beside != before {
		t.Fatalf("promote: %d %s", status, body)
	}
	if text, err := os.ReadFile(filepath.Join(r.dir, "policy.yaml")); err != nil || string(text) != blockThree {
		t.Errorf("the policy's file is %q, %v", text, err)
	}
	r.eventually("what it denies stops", func() bool { of, p4 := r.rules(); return len(of) < 2 && p4 < 2 })
	frame := frames.Ping(frames.Host(3), frames.Host(4), 1, 1) // one that nobody has asked about: P4 packets of a decision that was just made go by that
	if err := r.of.PacketIn(1, frame); err != nil {
		t.Fatal(err)
	}
	r.p4.Packet(1, frame)
	r.eventually("what it denies is denied", func() bool { return r.metric(`switchbridge_decisions_total{policy="blocklist",verdict="deny"} 2`) })
	if !strings.Contains(r.logs.String(), `action="policy promote" who=token`) {
		t.Errorf("the log does not say who did it:\n%s", r.logs)
	}
	r.eventually("the figures begin anew", func() bool { st := r.shadow(); return st.Beside == next && st.Disagree == 0 && st.Agree > 0 })

	// The records have both answers.
	r.gateway.recorder.shadow.Load().close()
	f, err := os.Open(filepath.Join(r.dir, "records"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	both, lines := 0, bufio.NewScanner(f)
	for lines.Scan() {
		var rec struct{ Verdict, Reason, ShadowVerdict, ShadowReason, ShadowPolicy string }
		if err := json.Unmarshal([]byte(strings.ReplaceAll(lines.Text(), "shadow_", "Shadow")), &rec); err != nil {
			t.Fatal(err)
		}
		if rec.Verdict == "allow" && rec.ShadowVerdict == "deny" && rec.Reason == "forward: normal" && rec.ShadowReason == "blocklist: 10.0.0.3" && rec.ShadowPolicy == next {
			both++
		}
	}
	if both != 2 {
		t.Errorf("%d records have both answers, want 2", both)
	}
}

// A mistake in the shadow's file, or in the settings of one, changes nothing; a shadow comes and goes with a reload.
func TestShadowReload(t *testing.T) {
	with := "function: {urls: [native]}\npolicy: policy.yaml\nshadow: {policy: %s}\n"
	r := startFile(t, fmt.Sprintf(with, "next.yaml"), map[string]string{"policy.yaml": allowAll, "next.yaml": blockThree, "other.yaml": strings.Replace(blockThree, "8", "9", 1)})
	r.write("next.yaml", "serial: 9\nchain: [nonsense: {}]\n")
	r.eventually("the mistake is seen", func() bool { return !r.reloads("shadow").OK })
	if st := r.shadow(); !strings.HasPrefix(st.Policy, "8-") {
		t.Errorf("a mistake takes the place of %s", st.Policy)
	}
	r.write("next.yaml", strings.Replace(blockThree, "8", "10", 1))
	r.eventually("the next one is used", func() bool { return strings.HasPrefix(r.shadow().Policy, "10-") })
	reload := func(shadow string) (int, string) {
		r.write("switchbridge.yaml", fmt.Sprintf(with, shadow))
		return r.call("POST", "/api/v1/reload", adminToken, "", "")
	}
	if status, body := reload("missing.yaml"); status != http.StatusConflict || !strings.Contains(body, "missing.yaml") {
		t.Errorf("a file that is not there: %d %s", status, body)
	}
	if st := r.shadow(); !strings.HasSuffix(st.Shadow, "next.yaml") {
		t.Errorf("the shadow is %s", st.Shadow)
	}
	if status, body := reload("other.yaml"); status != 200 || !strings.HasPrefix(r.shadow().Policy, "9-") {
		t.Errorf("another one: %d %s", status, body)
	}
	if status, body := reload(`""`); status != 200 {
		t.Errorf("none: %d %s", status, body)
	}
	if status, _ := r.call("GET", "/api/v1/shadow", "", "", ""); status != http.StatusNotFound {
		t.Errorf("there is none, and it is shown: %d", status)
	}
	if status, _ := r.call("POST", "/api/v1/policy/promote", adminToken, "", "{}"); status != http.StatusConflict {
		t.Errorf("there is none, and it is promoted: %d", status)
	}
}

// A remote shadow is told that nothing comes of its answer. Promoted its URL takes the place of the function's, also after a reload of the
// configuration that still says what it said.
func TestRemoteShadow(t *testing.T) {
	var rehearsals, real atomic.Int32
	decide := func(text string) string {
		c := controller.New(parsePolicy(t, text))
		return functionOf(t, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.Rehearsal {
				rehearsals.Add(1)
			} else if text == blockThree && ev.Type == flow.EventPacketIn {
				real.Add(1)
			}
			return c.Decide(ctx, ev, d)
		}), func() {})
	}
	first, second := decide(allowAll), decide(blockThree)
	config := fmt.Sprintf("function: {urls: [%q], encoding: json}\nshadow: {function: {urls: [%q], encoding: json}}\n", first, second)
	r := startFile(t, config, nil)
	r.ping(3)
	r.eventually("two packets are compared", func() bool { return r.shadow().Disagree == 2 })
	if rehearsals.Load() < 2 || real.Load() != 0 {
		t.Errorf("%d rehearsals, and %d questions that say nothing of it", rehearsals.Load(), real.Load())
	}
	status, body := r.call("POST", "/api/v1/policy/promote", adminToken, "", `{"policy": "`+r.shadow().Policy+`"}`)
	if status != 200 || !strings.Contains(body, "function.urls: ["+second+"]") {
		t.Fatalf("promote: %d %s", status, body)
	}
	r.ping(4)
	r.eventually("it is asked in earnest", func() bool { return real.Load() == 2 })
	r.write("switchbridge.yaml", config+"limits: {queue: 77}\n")
	if status, body := r.call("POST", "/api/v1/reload", adminToken, "", ""); status != 200 {
		t.Errorf("reload: %d %s", status, body)
	}
	r.ping(5)
	r.eventually("it is still asked", func() bool { return real.Load() == 4 })
}

// newTestShadow is a shadow that asks d, as one in this process (timeout 0) or beyond.
func newTestShadow(t testing.TB, d flow.Decider, timeout time.Duration) *shadow {
	t.Helper()
	s := &shadow{name: "test", decider: d, timeout: timeout, log: new(logbuffer.Buffer).Text(), metrics: newShadowMetrics(prometheus.NewRegistry())}
	s.start()
	return s
}

// settled is how many events a shadow has counted.
func settled(s *shadow) uint64 {
	st := s.status()
	return st.Events()
}

// At 1,000 events a second nothing is shed, near or 100 ms away. A flood is shed down to the rate, and a shadow that hangs costs a session
// nothing: what has no room is shed.
func TestShadowIsBounded(t *testing.T) {
	for _, row := range []struct {
		name        string
		away        time.Duration // of the shadow; negative: it never answers
		rate        int           // events a second
		least, most float64       // share that is asked about
	}{
		{"near", 0, 1000, 1, 1},
		{"100 ms away", 100 * time.Millisecond, 1000, 0.99, 1},
		{"flood", 0, 20000, 0.05, 0.101},
		{"hangs", -1, 1000, 0, 0.2},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const seconds = 10
				timeout := time.Duration(0)
				d := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
					d.Verdict, d.Reason = flow.Allow, "forward: normal"
					if row.away < 0 {
						<-ctx.Done()
						return ctx.Err()
					}
					time.Sleep(row.away)
					return nil
				})
				if row.away != 0 {
					timeout = 5 * time.Second
				}
				s := newTestShadow(t, d, timeout)
				defer s.close()
				f := newFlood(1)
				for i := range seconds * row.rate {
					f.ev.XID++
					f.ev.Time = time.Now()
					s.offer(&f.rec, nil)
					if (i+1)%(row.rate/100) == 0 {
						time.Sleep(10 * time.Millisecond)
					}
				}
				if took := time.Since(s.figures.Since); row.away < 0 && took > seconds*time.Second+time.Millisecond {
					t.Errorf("the session waited: %v for %d s of events", took, seconds)
				}
				time.Sleep(shadowWaiting / shadowAsking * 6 * time.Second) // of one that hangs: until the last has had its time
				st := s.status()
				if n := st.Events(); n != seconds*uint64(row.rate) {
					t.Errorf("%d events are counted of %d: %+v", n, seconds*row.rate, st)
				}
				if share := 1 - float64(st.Shed)/float64(st.Events()); share < row.least || share > row.most {
					t.Errorf("%.3f of the events were asked about, want %v to %v", share, row.least, row.most)
				}
				if row.away >= 0 && st.Agree != st.Events()-st.Shed {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// What a shadow says is compared with what the first has decided.
func TestShadowCompares(t *testing.T) {
	out, normal := []flow.Action{flow.OutputTo(2)}, []flow.Action{flow.OutputTo(flow.PortNormal)}
	answer := func(v flow.Verdict, reason string, actions []flow.Action) flow.Decision {
		return flow.Decision{Verdict: v, Reason: reason, HasPacketOut: true, PacketOut: actions}
	}
	reply := answer(flow.Deny, "the end", nil)
	reply.IfReply = &flow.Reply{HasPacketOut: true, PacketOut: out, Reason: "header: ask (a reply)"}
	reject := answer(flow.Deny, "c", nil)
	reject.Reject = true
	for _, row := range []struct {
		name          string
		first, second flow.Decision
		found         bridge.ReplyFound
		refused       int
		err           error
		failed        bool
		want          func(st *ShadowStatus) uint64
		explained     bool
	}{
		{name: "alike", first: answer(flow.Allow, "a", out), second: answer(flow.Allow, "b", out), want: func(s *ShadowStatus) uint64 { return s.Agree }},
		{name: "other verdict", first: answer(flow.Allow, "a", out), second: answer(flow.Deny, "b", nil), want: func(s *ShadowStatus) uint64 { return s.Disagree }, explained: true},
		{name: "only one tells the sender", first: answer(flow.Deny, "c", nil), second: reject, want: func(s *ShadowStatus) uint64 { return s.Disagree }, explained: true},
		{name: "both tell the sender", first: reject, second: reject, want: func(s *ShadowStatus) uint64 { return s.Agree }},
		{name: "without a reason", first: answer(flow.Allow, "a", out), second: answer(flow.Deny, "", nil), want: func(s *ShadowStatus) uint64 { return s.Disagree }},
		{name: "other way out", first: answer(flow.Allow, "a", out), second: answer(flow.Allow, "b", normal), want: func(s *ShadowStatus) uint64 { return s.Disagree }, explained: true},
		{name: "a guardrail cut the first", first: answer(flow.Allow, "a", nil), second: answer(flow.Allow, "b", normal), refused: 1, want: func(s *ShadowStatus) uint64 { return s.Agree }},
		{name: "no verdict, by actions", first: answer(flow.NoVerdict, "a", out), second: answer(flow.Allow, "b", out), want: func(s *ShadowStatus) uint64 { return s.Agree }},
		{name: "a reply", first: answer(flow.Allow, "a", out), second: reply, found: bridge.IsReply, want: func(s *ShadowStatus) uint64 { return s.Agree }},
		{name: "no reply", first: answer(flow.Allow, "a", out), second: reply, found: bridge.NoReply, want: func(s *ShadowStatus) uint64 { return s.Disagree }, explained: true},
		{name: "perhaps a reply", first: answer(flow.Allow, "a", out), second: reply, want: func(s *ShadowStatus) uint64 { return s.Undecided }},
		{name: "the first fails", first: answer(flow.Deny, "", nil), second: answer(flow.Allow, "b", out), failed: true, want: func(s *ShadowStatus) uint64 { return s.Undecided }},
		{name: "the shadow fails", first: answer(flow.Deny, "a", nil), err: errors.New("away"), want: func(s *ShadowStatus) uint64 { return s.Failed }},
	} {
		s := newTestShadow(t, flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error { *d = row.second; return row.err }), 0)
		ev, err := policytest.Event("tcp 10.0.0.1:40000 > 10.0.0.2:22", flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		var failure error
		if row.failed {
			failure = errors.New("away")
		}
		ev.Time = time.Now()
		s.offer(&bridge.Record{Switch: ev.Switch, Event: ev, Decision: &row.first, Reply: row.found, Refused: row.refused}, failure)
		for settled(s) == 0 {
			time.Sleep(time.Millisecond)
		}
		s.close()
		if st := s.status(); row.want(&st) != 1 || st.Events() != 1 || st.Disagree == 1 && (st.Unexplained == 0) != row.explained {
			t.Errorf("%s: %+v", row.name, st)
		}
	}
}

// An answer to what the shadow has allowed is a reply, though the first lets it pass by a rule of its own; a controller that panics, a version
// that goes back and kinds without number cost nothing but their count.
func TestShadowKnowsItsConversations(t *testing.T) {
	c := controller.New(parsePolicy(t, "serial: 8\nchain: [{header: {rules: [{name: ask, match: {tcp_dst: 80}, action: allow, replies: allow}]}}]"))
	s := newTestShadow(t, c, 0)
	defer s.close()
	first := flow.Decision{Verdict: flow.Allow, Reason: "forward: normal", HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(flow.PortNormal)}}
	say := func(packet string) {
		ev, err := policytest.Event(packet, flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		ev.Time = time.Now()
		before := settled(s)
		s.offer(&bridge.Record{Switch: ev.Switch, Event: ev, Decision: &first}, nil)
		for settled(s) == before {
			time.Sleep(time.Millisecond)
		}
	}
	say("tcp 10.0.0.2:80 > 10.0.0.1:40000 flags syn+ack")
	say("tcp 10.0.0.1:40000 > 10.0.0.2:80")
	say("tcp 10.0.0.2:80 > 10.0.0.1:40000 flags syn+ack")
	if st := s.status(); st.Undecided != 1 || st.Agree != 2 {
		t.Errorf("%+v", st)
	}
}

func TestShadowFiguresAreBounded(t *testing.T) {
	var n int
	version := flow.PolicyVersion{Serial: 8}
	s := newTestShadow(t, flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
		if n++; n == 500 {
			panic("a mistake")
		}
		d.Verdict, d.Reason, d.Policy = flow.Deny, fmt.Sprintf("kind %d", n), version
		return nil
	}), 0)
	f := newFlood(1)
	f.d.Policy = flow.PolicyVersion{Serial: 7}
	for range 500 {
		f.ev.XID++
		f.ev.Time = time.Now()
		s.offer(&f.rec, nil)
	}
	for settled(s) < 500 {
		time.Sleep(time.Millisecond)
	}
	st := s.status()
	if len(st.Disagreements) != maxDisagreements || st.Others != 499-maxDisagreements || st.Disagree != 499 || st.Failed != 1 {
		t.Errorf("%d kinds, %d others, %+v", len(st.Disagreements), st.Others, st)
	}
	s.close()
	version.Serial = 6
	q := &question{}
	q.fill(&f.rec, nil, false)
	s.compare(q, &flow.Decision{Verdict: flow.Deny, Policy: version}, nil)
	if st := s.status(); st.Stale != 1 || st.Disagree != 499 {
		t.Errorf("an older version's answer: %+v", st)
	}
}

func TestEntryOf(t *testing.T) {
	for reason, want := range map[string]string{"header: web": "header: web", "blocklist: 10.0.0.3": "blocklist", "blocklist: 2001:db8::/32": "blocklist",
		"mac: 02:00:00:00:00:01 is not listed": "mac", "header: web; no rule: OpenFlow 1.0 can't": "header: web", "": "", "because": "because"} {
		if got := entryOf(reason); got != want {
			t.Errorf("%q: %q, want %q", reason, got, want)
		}
	}
}

// The states of the first's machines are moved by its events alone: its store is written as often with a shadow as without one.
func TestShadowWritesNoStore(t *testing.T) {
	const machine = `serial: 7
chain:
  - machine:
      machines:
        - name: knock
          key: src
          forget: 1h
          start: shut
          states: {shut: deny, open: allow}
          transitions: [{from: shut, to: open, match: {udp_dst: 7000}}]
  - forward: {mode: normal}
`
	r := startFile(t, "function: {urls: [native]}\npolicy: policy.yaml\nstate: {url: \"memory:\"}\nshadow: {policy: next.yaml}\n",
		map[string]string{"policy.yaml": machine, "next.yaml": strings.Replace(machine, "7\n", "8\n", 1)})
	frame, _, err := policytest.Packet("udp 10.0.0.1:40000 > 10.0.0.2:7000")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.of.PacketIn(1, frame); err != nil {
		t.Fatal(err)
	}
	r.eventually("two switches and the packet are compared", func() bool { return r.shadow().Agree >= 3 })
	if st := r.shadow(); st.Disagree+st.Failed != 0 || !r.metric(`switchbridge_state_swaps_total{function="controller"} 1`) {
		_, body := r.call("GET", "/metrics", "", "", "")
		i := strings.Index(body, "\nswitchbridge_state_swaps")
		t.Errorf("%+v; %s", st, body[i:i+80])
	}
}

// What a shadow answers revokes nothing: rules that rest on a state go by the first function's word alone.
func TestShadowRevokesNothing(t *testing.T) {
	c := controller.New(parsePolicy(t, allowAll))
	decide := func(shadow bool) string {
		return functionOf(t, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if err := c.Decide(ctx, ev, d); err != nil || ev.Type != flow.EventPacketIn {
				return err
			}
			if d.Read = append(d.Read, flow.StateVersion{Key: 7, Version: 1}); shadow || ev.PacketIn.Match.IPSrc == netip.MustParsePrefix("10.0.0.9/32") {
				d.Read, d.Revoke = d.Read[:0], append(d.Revoke, 7)
			}
			return nil
		}), func() {})
	}
	r := startFile(t, fmt.Sprintf("function: {urls: [%q], encoding: json}\nshadow: {function: {urls: [%q], encoding: json}}\n", decide(false), decide(true)), nil)
	r.ping(1)
	r.ping(3)
	r.eventually("the shadow has answered four times", func() bool { return r.shadow().Agree >= 4 })
	r.eventually("the switches have the rules", func() bool {
		of, p4 := r.rules()
		return len(of) == 2 && p4 > 0
	})
	r.ping(9)
	r.eventually("what the first function revokes goes", func() bool { of, _ := r.rules(); return len(of) == 1 })
}

// BenchmarkShadow is what a session pays for a decision's record with a shadow and without one: at a pace at which none is shed, and in a flood.
// threadTime is the CPU time of the thread, in nanoseconds.
func threadTime(b *testing.B) int64 {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		b.Skip(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkShadow(b *testing.B) {
	for _, row := range []struct {
		name   string
		shadow bool
		flood  bool
	}{{"without", false, true}, {"flood", true, true}, {"every one", true, false}} {
		b.Run(row.name, func(b *testing.B) {
			r := newTestRecorder(b, new(logbuffer.Buffer), prometheus.NewRegistry(), func(l *settings.Log) { l.Decisions = "off" })
			if row.shadow {
				s := newTestShadow(b, flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
					d.Verdict, d.Reason = flow.Allow, "forward: normal"
					return nil
				}), 0)
				defer s.close()
				r.shadow.Store(s)
			}
			f := newFlood(1)
			pi, err := policytest.Event("tcp 10.0.0.1:40000 > 10.0.0.2:22", flow.OpenFlow13)
			if err != nil {
				b.Fatal(err)
			}
			f.pi = *pi.PacketIn
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			spent, from := int64(0), threadTime(b)
			for i := 0; b.Loop(); i++ {
				f.next(r, flow.Allow)
				if s := r.shadow.Load(); !row.flood && i%500 == 499 {
					b.StopTimer()
					spent += threadTime(b) - from
					for s.pending.Load() > 0 {
						time.Sleep(time.Millisecond)
					}
					s.second.Store(0)
					from = threadTime(b)
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(spent+threadTime(b)-from)/float64(b.N), "cpu-ns/op")
		})
	}
}
