package machine_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/internal/testlong"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/machine"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/policy/wire"
	"switchbridge/state"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// lab asks a controller and keeps its states, as a store does that forgets nothing.
type lab struct {
	t      testing.TB
	c      *controller.Controller
	states map[string][]byte
	now    time.Time
	id     string
}

func newLab(t testing.TB, text string) *lab {
	t.Helper()
	p, err := policyfile.Parse(strings.NewReader(text), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t: t, c: controller.New(p), states: make(map[string][]byte), now: start}
}

// event fills in the states and the time of an event.
func (l *lab) event(ev *flow.Event) *flow.Event {
	ev.Time, ev.ID, ev.States = l.now, l.id, nil
	for _, key := range l.c.StateKeys(ev, nil) {
		if len(key) > state.MaxKey || strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:") != "" {
			l.t.Errorf("no store takes the key %q", key)
		}
		ev.States = append(ev.States, flow.State{Key: key, Data: l.states[key]})
	}
	return ev
}

func (l *lab) decide(ev *flow.Event) *flow.Decision {
	l.t.Helper()
	var d flow.Decision
	l.event(ev)
	if err := l.c.Decide(l.t.Context(), ev, &d); err != nil {
		l.t.Fatal(err)
	}
	if d.Change != nil {
		if len(d.Change.Data) > state.MaxData {
			l.t.Errorf("a value of %d bytes", len(d.Change.Data))
		}
		l.states[ev.States[d.Change.Index].Key] = d.Change.Data
	}
	return &d
}

func (l *lab) packet(line string) *flow.Decision {
	l.t.Helper()
	ev, err := policytest.Event(line, flow.OpenFlow13)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.decide(ev)
}

// want asks about a line and compares the decision, in which "..." stands for any end.
func (l *lab) want(line, want string) *flow.Decision {
	l.t.Helper()
	d := l.packet(line)
	got := policytest.Sum(d)
	if before, any := strings.CutSuffix(want, "..."); got != want && !(any && strings.HasPrefix(got, before)) {
		l.t.Errorf("%s\n got %s\nwant %s", line, got, want)
	}
	return d
}

// one is a policy of one machine.
func one(body string) string {
	return "serial: 1\nchain:\n  - machine:\n      machines:\n        - name: m\n          " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n          ") + "\n  - forward: {mode: normal}\n"
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{one("key: network\nstart: a\nstates: {a: allow}"), ""},
		{one("key: src\nstart: a\nstates: {a: allow}"), "p.yaml:5: machine m: want forget, since packets make a state for every src: a time such as 1h, or never"},
		{one("key: src\nforget: never\nstart: a\nstates: {a: allow}"), ""},
		{one("key: everything\nstart: a\nstates: {a: allow}"), `p.yaml:6: machine m: key: "everything": want one of flow, connection, src, dst, pair, port, switch, network`},
		{one("key: network\nstates: {a: allow}"), "p.yaml:5: machine m: want a start, the name of a state"},
		{one("key: network\nstart: b\nstates: {a: allow}"), `p.yaml:7: machine m: start: "b" is no state of the machine`},
		{one("start: a\nstates: {a: allow}"), "p.yaml:5: machine m: want a key: flow, connection, src, dst, pair, port, switch, network"},
		{one("key: network\nstart: a\nstates: {a: allow, a: deny}"), "p.yaml:8: machine m: states: a is given twice"},
		{one("key: network\nstart: a\nstates: {a: perhaps}"), `p.yaml:8: machine m: states: a: "perhaps": want allow, deny, reject, next, or a mapping with output, set-queue or meter`},
		{one("key: network\nstart: a\nstates: {a: {rules: []}}"), "p.yaml:8: machine m: states: a: want an action for packets that no rule decides: allow, deny, next, or a mapping"},
		{one("key: network\nstart: a\nstates: {a: {output: CONTROLLER}}"), "p.yaml:5: machine: machine m: state a: action: output to CONTROLLER is not allowed"},
		{one("key: network\nstart: a\nforgets: 1h\nstates: {a: allow}"), `p.yaml:8: machine m: unknown key "forgets": want one of name, for, key, forget, on_error, start, states, transitions`},
		{one("key: network\nforget: 0s\nstart: a\nstates: {a: allow}"), `p.yaml:7: machine m: forget: "0s": want a time from 1ms to 8784h, such as 30s or 2h`},
		{one("key: network\non_error: allow\nstart: a\nstates: {a: allow}"), `p.yaml:7: machine m: on_error: "allow": want deny or start`},
		{one("key: network\nstart: a\nfor: {tcp_dest: 1}\nstates: {a: allow}"), `p.yaml:8: machine m: for: unknown key "tcp_dest"`},
		{transition("{from: a, to: b, match: {tcp_dst: 99999}}"), `p.yaml:10: machine m: transition 1: match: tcp_dst: `},
		{transition("{from: c, to: b}"), `p.yaml:10: machine m: transition 1: from: "c" is no state of the machine`},
		{transition("{from: a}"), `p.yaml:10: machine m: transition 1: want to`},
		{transition("{from: [a, b], to: b, tcp_flags: [syn, no-sin]}"), `p.yaml:10: machine m: transition 1: tcp_flags: "no-sin": want one of fin, syn, rst, psh, ack, urg, ece, cwr, or no- and one of them`},
		{transition("{from: a, to: b, tcp_flags: [syn, no-syn]}"), "p.yaml:5: machine: machine m: transition 1: tcp_flags: a flag must be there and must not"},
		{transition("{from: a, to: b, match: {udp_dst: 1}, tcp_flags: syn}"), "p.yaml:10: machine m: transition 1: tcp_flags: match asks for ip_proto 17"},
		{transition("{from: a, to: b, count: 3}"), "p.yaml:10: machine m: transition 1: count needs within: the time in which packets are counted"},
		{transition("{from: a, to: b, count: 1, within: 1s}"), `p.yaml:10: machine m: transition 1: count: "1": want a number from 2 to 3500`},
		{transition("{from: a, to: b, count: 900, within: 1s}"), "p.yaml:5: machine: machine m: transition 1: count: all counts of the machine together take up to 4504 bytes of a state: want at most 3500"},
		{transition("{from: a, to: b, count: 3, within: 1s, distinct: l4_dst}"), `p.yaml:10: machine m: transition 1: distinct: "l4_dst": want a field that tells conversations apart, such as tcp_dst, ip_dst or eth_src`},
		{transition("{from: a, to: b, match: {udp_dst: 1}, count: 3, within: 1s, distinct: tcp_dst}"), "p.yaml:10: machine m: transition 1: distinct: match asks for ip_proto 17"},
		{transition("{from: a, to: b, within: 1s}"), "p.yaml:5: machine: machine m: transition 1: distinct and within need a count"},
		{transition("{from: a, to: b, after: 1s, match: {tcp_dst: 1}}"), "p.yaml:10: machine m: transition 1: match, tcp_flags, quotes and count are for packets: they can't stand beside after, port, rule_removed or switch"},
		{transition("{from: a, to: b, after: 1s, port: down}"), "p.yaml:5: machine: machine m: transition 1: want one of after, port, rule_removed and switch, or none of them and a packet"},
		{transition("{from: a, to: b, after: 1s}\n  - {from: any, to: b, after: 2s}"), "p.yaml:5: machine: machine m: transition 2: two transitions with after leave the state a: want one"},
		{transition("{from: a, to: b, port: sideways}"), `p.yaml:10: machine m: transition 1: port: "sideways": want down, up, added, deleted`},
		{transition("{from: a, to: b, when: {n: x}}"), "p.yaml:10: machine m: transition 1: when: n: there is no such machine"},
		{transition("{from: a, to: b, when: {m: a}}"), "p.yaml:5: machine: machine m: transition 1: when: machine m is the one at hand: its own states are in from"},
		{transition("{from: a, to: b, quotes: {in_port: 1}}"), "p.yaml:5: machine: machine m: transition 1: quotes: an ICMP error does not quote in_port"},
		{strings.Replace(transition("{from: a, to: b, port: down}"), "key: network", "key: src\n          forget: 1h", 1), "p.yaml:5: machine: machine m: transition 1: port: the event has no key src"},
		{strings.Replace(transition("{from: a, to: b, port: down}"), "key: network", "key: network\n          for: {ip_src: 10.0.0.1}", 1), "p.yaml:5: machine: machine m: transition 1: port: the event shows no ip_src, which for asks about"},
		{"chain:\n  - machine: {machines: []}\n", "p.yaml:2: machine: 0 machines: want 1 to 65536"},
		{"chain:\n  - machine: {machines: [{name: a/b, key: network, start: a, states: {a: deny}}]}\n", `p.yaml:2: machine a/b: name: "a/b": want at most 40 letters, digits, hyphens, dots and underscores`},
		{"chain:\n  - machine:\n      machines:\n        - {name: m, key: network, start: a, states: {a: deny}}\n        - {name: m, key: network, start: a, states: {a: deny}}\n",
			"p.yaml:5: machine m: the name is that of the machine on line 4"},
		{one("key: network\nstart: a\nstates: {a: allow}") + "  - machine: {machines: [{name: n, key: network, start: a, states: {a: deny}}]}\n",
			"p.yaml:10: machine: a chain has one machine entry at most: one packet moves one machine. Put all machines into one entry"},
		{one("key: network\nstart: a\nstates: {a: allow}") + "  - header: {rules: [{match: {tcp_dst: 1}, action: deny, proactive: true}]}\n",
			"p.yaml:10: header: rule 1: proactive: the chain asks machine first, which must see the packets"},
	} {
		_, err := policyfile.Parse(strings.NewReader(tt.text), "p.yaml", ".")
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s\n got %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

// transition is a policy with one transition between the states a and b.
func transition(text string) string {
	return one("key: network\nstart: a\nstates: {a: allow, b: deny}\ntransitions:\n  - " + text)
}

func TestWhenOfOthers(t *testing.T) {
	sensor := func(key, when string) error {
		_, err := policyfile.Parse(strings.NewReader("chain:\n  - machine:\n      machines:\n        - {name: sensor, key: "+key+", start: a, states: {a: allow, b: allow}}\n"+
			"        - name: m\n          key: network\n          start: x\n          states: {x: {rules: [{when: "+when+", action: allow}], action: deny}}\n"), "p.yaml", ".")
		return err
	}
	for _, tt := range []struct{ key, when, want string }{
		{"network", "{sensor: b}", ""},
		{"network", "{sensor: [a, b]}", ""},
		{"network", "{sensor: c}", `p.yaml:8: machine m: states: x: rule 1: when: sensor: "c" is no state of the machine`},
		{"network", "{sensor: {key: 10.0.0.1, state: b}}", "p.yaml:8: machine m: states: x: rule 1: when: sensor: key: a machine of key network takes none"},
		{"src, forget: never", "{sensor: {key: 2001:DB8::1, state: b}}", ""},
		{"src, forget: never", "{sensor: {key: ten, state: b}}", `p.yaml:8: machine m: states: x: rule 1: when: sensor: key: "ten": want a network address`},
		{"src, forget: never", "{sensor: {key: 10.0.0.1}}", "p.yaml:8: machine m: states: x: rule 1: when: sensor: want a state"},
		{"pair, forget: never", "{sensor: {key: 10.0.0.1/02:00:00:00:00:01, state: b}}", ""},
		{"port", "{sensor: {key: 1f/3, state: b}}", ""},
		{"port", "{sensor: {key: 3, state: b}}", `p.yaml:8: machine m: states: x: rule 1: when: sensor: key: "3": want a datapath id in hexadecimal and a port, such as 1f/3`},
		{"switch", "{sensor: {key: 001F, state: b}}", ""},
	} {
		if err := sensor(tt.key, tt.when); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s, %s\n got %v\nwant %s", tt.key, tt.when, err, tt.want)
		}
	}
}

func TestKeys(t *testing.T) {
	const a, b = "tcp 10.0.0.1:40000 > 10.0.0.2:22", "tcp 10.0.0.2:22 > 10.0.0.1:40000"
	for _, tt := range []struct {
		key, packet string
		same        []string // packets of the same key
		others      []string
	}{
		{"flow", a, []string{a + " port 3"}, []string{b, a + " vlan 7", "udp 10.0.0.1:40000 > 10.0.0.2:22", "tcp 10.0.0.1:40001 > 10.0.0.2:22", "icmp 10.0.0.1 > 10.0.0.2 type 8"}},
		{"connection", a, []string{b, b + " port 3"}, []string{a + " vlan 7", "tcp 10.0.0.2:40000 > 10.0.0.1:22", "udp 10.0.0.1:40000 > 10.0.0.2:22"}},
		{"connection", "icmp 10.0.0.1 > 10.0.0.2 type 8", []string{"icmp 10.0.0.2 > 10.0.0.1 type 0"}, []string{"arp 10.0.0.1 > 10.0.0.2"}},
		{"src", a, []string{"udp 10.0.0.1:1 > 10.0.0.9:5", "arp 10.0.0.1 > 10.0.0.7"}, []string{b, "lldp", "tcp [2001:db8::1]:1 > [2001:db8::2]:2"}},
		{"dst", a, []string{"arp 10.0.0.7 > 10.0.0.2"}, []string{b, "lldp"}},
		{"pair", a, []string{"udp 10.0.0.1:1 > 10.0.0.2:2", "arp 10.0.0.1 > 10.0.0.2"}, []string{b, "tcp 10.0.0.1:40000 > 10.0.0.3:22"}},
		{"port", a, []string{b, "lldp"}, []string{a + " port 2"}},
		{"switch", a, []string{b, "lldp", a + " port 2"}, nil},
		{"network", a, []string{b, "lldp", a + " port 2"}, nil},
	} {
		l := newLab(t, one("key: "+tt.key+"\nforget: never\nstart: a\nstates: {a: allow}"))
		key := func(line string) string {
			ev, err := policytest.Event(line, flow.OpenFlow13)
			if err != nil {
				t.Fatal(err)
			}
			l.event(ev)
			if len(ev.States) != 1 {
				t.Fatalf("%s, %s: %d keys", tt.key, line, len(ev.States))
			}
			return ev.States[0].Key
		}
		want := key(tt.packet)
		for _, line := range tt.same {
			if got := key(line); got != want {
				t.Errorf("%s: %s has the key %s, and %s has %s", tt.key, line, got, tt.packet, want)
			}
		}
		for _, line := range tt.others {
			if got := key(line); got == want {
				t.Errorf("%s: %s has the key of %s, %s", tt.key, line, tt.packet, want)
			}
		}
	}
	l := newLab(t, one("key: src\nforget: never\nstart: a\nstates: {a: allow}"))
	ev, _ := policytest.Event("arp 10.0.0.1 > 10.0.0.2", flow.OpenFlow13)
	if l.event(ev); ev.States[0].Key != "m/10.0.0.1" {
		t.Errorf("key %s", ev.States[0].Key)
	}
	// What does not show its key is denied, and there is nothing to read.
	for _, key := range []string{"flow", "connection"} {
		l := newLab(t, one("key: "+key+"\nforget: never\nstart: a\nstates: {a: allow}"))
		d := l.want("fragment 10.0.0.1 > 10.0.0.2", "deny (machine: m has a state of its own for each "+key+", but the packet does not show l4_src,l4_dst; no rule: the state is not known)")
		if len(d.Rules) != 0 {
			t.Errorf("rules %v", d.Rules)
		}
	}
}

func TestTime(t *testing.T) {
	l := newLab(t, one(`
key: src
forget: 1h
start: red
states: {red: deny, green: allow, yellow: {output: 3}}
transitions:
  - {from: red, to: green, match: {udp_dst: 1}}
  - {from: green, to: yellow, after: 20s}
  - {from: yellow, to: green, after: 10s}`))
	rule := func(d *flow.Decision, hard time.Duration) {
		t.Helper()
		if len(d.Rules) != 1 || d.Rules[0].HardTimeout != hard {
			t.Errorf("rules %v, want one that lives %v", d.Rules, hard)
		}
	}
	const tcp = "tcp 10.0.0.1:1 > 10.0.0.2:2"
	rule(l.want(tcp, "deny (machine: m in red)"), 300*time.Second) // nothing limits it: nobody has moved
	l.want("udp 10.0.0.1:1 > 10.0.0.2:1", "allow (machine: m in green; m moves from red to green)")
	rule(l.want(tcp, "allow (machine: m in green)"), 20*time.Second)
	l.now = l.now.Add(12500 * time.Millisecond)
	rule(l.want(tcp, "allow (machine: m in green)"), 7*time.Second) // whole seconds, and no more than there are
	l.now = l.now.Add(7 * time.Second)
	if d := l.want(tcp, "allow (machine: m in green; no rule: a state changes within a second)"); len(d.Rules) != 0 {
		t.Errorf("rules %v", d.Rules)
	}
	l.now = l.now.Add(500 * time.Millisecond)
	rule(l.want(tcp, "allow (machine: m in yellow)"), 10*time.Second)
	l.now = l.now.Add(10 * time.Second)
	rule(l.want(tcp, "allow (machine: m in green)"), 20*time.Second)
	// Half an hour later it has gone round sixty times.
	l.now = l.now.Add(30*time.Minute + 25*time.Second)
	rule(l.want(tcp, "allow (machine: m in yellow)"), 5*time.Second)
	// And an hour after the last change it is forgotten, whoever has a store that forgets nothing.
	l.now = start.Add(time.Hour - 15*time.Second)
	rule(l.want(tcp, "allow (machine: m in green)"), 5*time.Second) // 3585 s: 15 s of a turn of 30
	l.now = start.Add(time.Hour)
	rule(l.want(tcp, "deny (machine: m in red)"), 300*time.Second)
}

func TestCounts(t *testing.T) {
	l := newLab(t, one(`
key: src
forget: 1h
start: a
states: {a: allow, b: {output: 2}, c: deny}
transitions:
  - {from: a, to: b, match: {udp_dst: 7}}
  - {from: [a, b], to: c, match: {ip_proto: udp}, count: 4, distinct: udp_dst, within: 10s}
  - {from: [a, b], to: c, match: {ip_proto: icmp}, count: 3, within: 5s}`))
	udp := func(port int, verdict string) {
		t.Helper()
		if d := l.packet(fmt.Sprintf("udp 10.0.0.1:1 > 10.0.0.2:%d", port)); d.Verdict.String() != verdict {
			t.Errorf("port %d: %s, want %s", port, policytest.Sum(d), verdict)
		}
	}
	wait := func(seconds int) { l.now = l.now.Add(time.Duration(seconds) * time.Second) }
	udp(1, "allow")
	udp(2, "allow")
	udp(2, "allow")
	udp(1, "allow")
	wait(6)
	udp(2, "allow") // the value is as new as its last packet
	wait(5)
	udp(3, "allow") // 1 is too old, 2 is not
	udp(4, "allow")
	udp(7, "allow") // this one moves the machine before it is counted, and what was counted goes on
	udp(5, "deny")
	// Without values each packet counts, and time lets them go.
	l.states = make(map[string][]byte)
	ping := func(verdict string) {
		t.Helper()
		if d := l.packet("icmp 10.0.0.1 > 10.0.0.2 type 8"); d.Verdict.String() != verdict || len(d.Rules) != 0 && verdict == "allow" {
			t.Errorf("%s, want %s; rules %v", policytest.Sum(d), verdict, d.Rules)
		}
	}
	ping("allow")
	ping("allow")
	wait(5)
	ping("allow")
	ping("allow")
	wait(4)
	ping("deny")
	ping("deny")
}

// A repeat of an event counts once and gets the decision that it had.
func TestRepeats(t *testing.T) {
	l := newLab(t, one(`
key: src
forget: 1h
start: a
states: {a: allow, b: {output: 3}, c: deny}
transitions:
  - {from: a, to: b, match: {udp_dst: 1}, count: 2, within: 60s}
  - {from: b, to: c, match: {udp_dst: 1}}`))
	const udp = "udp 10.0.0.1:1 > 10.0.0.2:1"
	l.id = "1"
	for range 5 {
		l.want(udp, "allow (machine: m in a; no rule: m in a may move by such a packet)")
	}
	l.id = "2"
	l.want(udp, "allow (machine: m in b; m moves from a to b; no rule: m in b may move by such a packet)")
	l.want(udp, "allow (machine: m in b; no rule: m in b may move by such a packet)")
	l.id = "3"
	l.want(udp, "deny (machine: m in c; m moves from b to c)")
	l.id = "2" // late, and from before the machine moved on
	if d := l.want(udp, "allow (machine: m in b; no rule: the event was decided before)"); d.Change != nil || len(d.Rules) != 0 {
		t.Errorf("%+v", d)
	}
	l.id = ""
	l.want(udp, "deny (machine: m in c)")
}

func TestUnusableStates(t *testing.T) {
	text := func(onError string) string {
		return one("key: src\nforget: 1h\non_error: " + onError + "\nstart: a\nstates: {a: allow, b: deny}\ntransitions:\n  - {from: a, to: b, match: {udp_dst: 1}}")
	}
	const tcp, udp = "tcp 10.0.0.1:1 > 10.0.0.2:2", "udp 10.0.0.1:1 > 10.0.0.2:1"
	for _, tt := range []struct {
		name, why string
		spoil     func(l *lab, value []byte) []byte
	}{
		{"damaged", "state corrupt", func(_ *lab, b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"cut", "state corrupt", func(_ *lab, b []byte) []byte { return b[:len(b)-1] }},
		{"one byte", "state corrupt", func(_ *lab, b []byte) []byte { return b[:1] }},
		{"longer", "state corrupt", func(_ *lab, b []byte) []byte { return append(b, 0) }},
		{"newer", "state of a newer version of Switchbridge", func(_ *lab, b []byte) []byte { b[0]++; return b }},
		{"another machine's", "state of another version of the machine", func(*lab, []byte) []byte {
			other := newLab(t, strings.Replace(text("deny"), "b: deny", "b: {output: 1}", 1))
			other.packet(udp)
			return other.states["m/10.0.0.1"]
		}},
		{"a clock set back", "state from the future", func(l *lab, b []byte) []byte { l.now = l.now.Add(-time.Hour); return b }},
	} {
		for onError, want := range map[string]string{"deny": "deny (machine: m: " + tt.why + "; no rule: the state is not known)",
			"start": "allow (machine: m in a; m starts again: " + tt.why + "; no rule: the state is not known)"} {
			l := newLab(t, text(onError))
			l.want(udp, "deny (machine: m in b; m moves from a to b)")
			l.states["m/10.0.0.1"] = tt.spoil(l, l.states["m/10.0.0.1"])
			before := l.states["m/10.0.0.1"]
			if d := l.want(tcp, want); len(d.Rules) != 0 || d.Change != nil {
				t.Errorf("%s: rules %v, change %v", tt.name, d.Rules, d.Change)
			}
			l.packet(udp)
			if changed := !bytes.Equal(l.states["m/10.0.0.1"], before); changed != (onError == "start") {
				t.Errorf("%s, on_error %s: it was changed: %v", tt.name, onError, changed)
			}
			if onError == "start" { // and what was written is of use
				l.want(tcp, "deny (machine: m in b)")
			}
		}
	}
	// Clocks differ, and events overtake each other.
	l := newLab(t, text("deny"))
	l.packet(udp)
	l.now = l.now.Add(-4 * time.Second)
	l.want(tcp, "deny (machine: m in b)")

	// Nobody has read, or nobody knows when it is.
	ev, _ := policytest.Event(tcp, flow.OpenFlow13)
	var d flow.Decision
	ev.Time = start
	if err := l.c.Decide(t.Context(), ev, &d); err != nil || policytest.Sum(&d) != "deny (machine: m: state unread; no rule: the state is not known)" || len(d.Rules) != 0 {
		t.Errorf("%s, %v, %v", policytest.Sum(&d), d.Rules, err)
	}
	l.now = time.Time{}
	l.want(tcp, "deny (machine: m: event without a time; no rule: the state is not known)")
}

// Another machine's state that can't be used counts as that machine's on_error says.
func TestUnusableStatesOfOthers(t *testing.T) {
	for onError, want := range map[string]string{
		"deny": "deny (machine: sensor: state corrupt; no rule: the state is not known)", "start": "allow (machine: m in on: quiet; sensor starts again: state corrupt; no rule: the state is not known)",
	} {
		l := newLab(t, `
chain:
  - machine:
      machines:
        - {name: sensor, for: {ip_src: 10.0.0.5}, key: src, forget: 1h, on_error: `+onError+`, start: a, states: {a: allow, b: allow}, transitions: [{from: a, to: b}]}
        - name: m
          key: network
          start: "on"
          states: {"on": {rules: [{name: quiet, when: {sensor: {key: 10.0.0.5, state: a}}, action: allow}], action: deny}}
`)
		const tcp = "tcp 10.0.0.1:1 > 10.0.0.2:2"
		l.want(tcp, "allow (machine: m in on: quiet)")
		l.packet("tcp 10.0.0.5:1 > 10.0.0.2:2")
		if d := l.want(tcp, "deny (machine: m in on)"); len(d.Rules) != 1 || d.Rules[0].HardTimeout != 300*time.Second {
			t.Errorf("rules %v", d.Rules)
		}
		l.states["sensor/10.0.0.5"] = []byte{1}
		if d := l.want(tcp, want); len(d.Rules) != 0 {
			t.Errorf("rules %v", d.Rules)
		}
	}
}

func TestFlagsAndQuotes(t *testing.T) {
	l := newLab(t, one(`
key: network
start: a
states: {a: allow, b: {output: 2}, c: deny}
transitions:
  - {from: a, to: b, tcp_flags: [syn, ack, no-rst]}
  - {from: any, to: c, match: {ip_dst: 10.0.0.1}, quotes: {ip_dst: 10.0.0.2, tcp_dst: 22}}`))
	a, b := frames.Host(1), frames.Host(2)
	ask := func(frame []byte, cut int) *flow.Decision {
		t.Helper()
		m := flow.Parser{}.Parse(frame[:cut], len(frame), 1)
		return l.decide(&flow.Event{Type: flow.EventPacketIn, Switch: policytest.Switch(flow.OpenFlow13),
			PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: m, Data: frame[:cut], Incomplete: m.Missing()}})
	}
	state := func(d *flow.Decision, want string) {
		t.Helper()
		if !strings.HasPrefix(d.Reason, "machine: m in "+want) {
			t.Errorf("%s, want %s", policytest.Sum(d), want)
		}
	}
	tcp := func(flags uint8) []byte { return frames.TCP(a.At(1), b.At(2), flags, nil) }
	state(ask(tcp(frames.SYN), 54), "a; no rule: m in a may move by such a packet")
	state(ask(tcp(frames.SYN|frames.ACK|frames.RST), 54), "a; no rule: m in a may move by such a packet")
	state(ask(tcp(frames.SYN|frames.ACK), 44), "a may move on, but the packet does not show tcp_flags; no rule")
	state(ask(tcp(frames.SYN|frames.ACK), 54), "b; m moves from a to b")
	ssh, web := frames.TCP(a.At(1), b.At(22), frames.SYN, nil), frames.TCP(a.At(1), b.At(80), frames.SYN, nil)
	about := func(frame []byte) []byte { return frames.TooBig(b, frame, 1400) }
	state(ask(frames.Ping(b, a, 1, 1), 98), "b")
	state(ask(about(web), len(about(web))), "b; no rule: m in b may move by such a packet")
	state(ask(about(ssh), 60), "b may move on, but the packet does not show the packet that it quotes")
	state(ask(about(ssh), len(about(ssh))), "c; m moves from b to c")
}

func TestRemovedRules(t *testing.T) {
	l := newLab(t, one(`
key: pair
forget: 1h
start: a
states: {a: allow, b: deny}
transitions:
  - {from: a, to: b, rule_removed: [hard, delete]}`))
	m := flow.ParseFrame(frames.TCP(frames.Host(1).At(1), frames.Host(2).At(2), frames.SYN, nil), 1)
	removed := func(m flow.Match, reason flow.RemovedReason) *flow.Decision {
		return l.decide(&flow.Event{Type: flow.EventFlowRemoved, Switch: policytest.Switch(flow.OpenFlow13), FlowRemoved: &flow.FlowRemoved{Match: m, Reason: reason}})
	}
	wide := m
	wide.SetIPSrc(netip.MustParsePrefix("10.0.0.0/24"))
	for name, d := range map[string]*flow.Decision{"idle": removed(m, flow.RemovedIdle), "group": removed(m, flow.RemovedGroup),
		"of many": removed(wide, flow.RemovedHard), "without addresses": removed(m.Keep(flow.FieldInPort), flow.RemovedHard)} {
		if d.Change != nil {
			t.Errorf("%s moves the machine: %s", name, d.Reason)
		}
	}
	if d := removed(m, flow.RemovedDelete); d.Change == nil || d.Reason != "m moves from a to b" {
		t.Errorf("%+v", d)
	}
	l.want("tcp 10.0.0.1:1 > 10.0.0.2:2", "deny (machine: m in b)")
	l.want("tcp 10.0.0.1:1 > 10.0.0.3:2", "allow (machine: m in a)")
}

// The next link decides, and what is installed hangs on the state all the same.
func TestNext(t *testing.T) {
	l := newLab(t, `
install: mac-pair
chain:
  - blocklist: {addresses: [10.0.0.66]}
  - machine:
      machines:
        - {name: m, key: src, forget: 10s, start: a, states: {a: deny, b: next}, transitions: [{from: a, to: b, match: {udp_dst: 1}}]}
  - header: {rules: [{name: web, match: {tcp_dst: 80}, action: allow}]}
`)
	l.want("tcp 10.0.0.1:1 > 10.0.0.2:80", "deny (machine: m in a)")
	l.want("udp 10.0.0.1:1 > 10.0.0.2:1", "deny (default: no policy of the chain decides; m moves from a to b)")
	d := l.want("tcp 10.0.0.1:1 > 10.0.0.2:80", "allow (header: web)")
	want := flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldIPProto | flow.FieldL4Dst
	if len(d.Rules) != 1 || d.Rules[0].HardTimeout != 10*time.Second || d.Rules[0].Match.Fields != want {
		t.Errorf("rules %v", d.Rules)
	}
	l.want("tcp 10.0.0.66:1 > 10.0.0.2:80", "deny (blocklist: 10.0.0.66...")
}

// Functions that are deployed read these bytes, and values are known by their hash.
func TestBytesStay(t *testing.T) {
	c := machine.Kind{}.Examples()[0].Entry.(*machine.Config)
	w := wire.NewWriter(nil)
	c.Write(w)
	const want = "020663656c6c617200880880100420c000024d0280dddb0100000204736875740000020000046f70656e010377656210880a8010060420c000024dbb03bb03010567756172640001000001" +
		"020000020000030101000010880a8010060420c000024de13ce13c0210000002000100e0d403020003000105677561726400014d0700010002057175696574000105616c61726d0000020000030101" +
		"000000800206000000148020904e01010000000000000100880880100420c000024d000200020002"
	if got := hex.EncodeToString(w.Bytes()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if code := (machine.Kind{}).Code(); code != 5 {
		t.Errorf("code %d, want 5", code)
	}
}

// An edit of one machine leaves the states of others alone.
func TestEditOfAnotherMachine(t *testing.T) {
	policy := func(first, action string) string {
		return "chain:\n  - machine:\n      machines:\n" + first +
			"        - {name: m, for: {in_port: 1}, key: port, start: a, states: {a: deny, b: " + action + "}, transitions: [{from: a, to: b, when: {n: x}}]}\n" +
			"        - {name: n, key: network, start: x, states: {x: allow}}\n"
	}
	l := newLab(t, policy("", "allow"))
	l.want("lldp", "allow (machine: m in b; m moves from a to b)")
	other := newLab(t, policy("        - {name: k, for: {in_port: 9}, key: network, start: x, states: {x: allow}}\n", "allow"))
	other.states = l.states
	other.want("lldp", "allow (machine: m in b)")
	edited := newLab(t, policy("", "{output: 2}"))
	edited.states = l.states
	edited.want("lldp", "deny (machine: m: state of another version of the machine; no rule: the state is not known)")
}

// many is a policy of n machines with eight rules and transitions each.
func many(n int) *policy.Policy {
	var b strings.Builder
	b.WriteString("serial: 1\nchain:\n  - machine:\n      machines:\n")
	for i := range n {
		fmt.Fprintf(&b, "        - {name: device-%d, for: {ip_src: 10.%d.%d.%d}, key: network, start: a, states: {a: {rules: [{match: {tcp_dst: 443}, action: allow}, {match: {udp_dst: 53}, action: allow}], action: deny}, b: deny}, transitions: [{from: a, to: b, match: {tcp_dst: 23}}, {from: b, to: a, after: 60s}]}\n",
			i, i>>16, i>>8&0xff, i&0xff)
	}
	b.WriteString("  - forward: {mode: normal}\n")
	p, err := policyfile.Parse(strings.NewReader(b.String()), "many.yaml", ".")
	if err != nil {
		panic(err)
	}
	return p
}

func TestManyMachines(t *testing.T) { manyMachines(t, 500) }

// TestLongManyMachines is TestManyMachines with as many as a large site may have.
func TestLongManyMachines(t *testing.T) {
	testlong.Need(t)
	manyMachines(t, 10_000)
}

func manyMachines(t *testing.T, n int) {
	packed, err := blob.Pack(many(n))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d machines take %d bytes", n, len(packed))
	p, err := blob.Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, c: controller.New(p), states: make(map[string][]byte), now: start}
	for _, i := range []int{0, 1, n / 2, n - 1} {
		from := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&0xff, i&0xff)
		name := fmt.Sprintf("device-%d", i)
		l.want("tcp "+from+":1 > 192.0.2.1:443", "allow (machine: "+name+" in a: rule 1)")
		l.want("tcp "+from+":1 > 192.0.2.1:23", "deny (machine: "+name+" in b; "+name+" moves from a to b)")
		l.want("tcp "+from+":1 > 192.0.2.1:443", "deny (machine: "+name+" in b)")
	}
	if len(l.states) != 4 {
		t.Errorf("%d states, want 4", len(l.states))
	}
}

func TestExplainAndNotes(t *testing.T) {
	p, err := policyfile.Parse(strings.NewReader(`
chain:
  - machine:
      machines:
        - {name: a, for: {in_port: 1}, key: port, start: x, states: {x: allow, y: deny}, transitions: [{from: x, to: y, match: {tcp_dst: 1}}, {from: y, to: x, after: 1s}]}
        - {name: b, for: {in_port: 2}, key: port, start: x, states: {x: allow, y: deny}, transitions: [{from: any, to: y, count: 3, within: 1s}]}
        - {name: c, for: {in_port: 3}, key: port, start: x, states: {x: allow, y: deny}, transitions: [{from: x, to: y, match: {in_port: 3}, tcp_flags: fin}, {from: y, to: y, quotes: {tcp_dst: 1}}]}
        - {name: d, for: {ip_proto: tcp}, key: port, start: x, states: {x: allow}, transitions: [{from: x, to: x, tcp_flags: fin}]}
`), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	c := p.Chain[0].(*machine.Config)
	const want = "decides by what has been before; a (by port): x, y, starting in x, 2 transitions; b (by port): x, y, starting in x, 1 transitions; " +
		"c (by port): x, y, starting in x, 2 transitions; d (by port): x, starting in x, 1 transitions"
	if got := c.Explain(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	notes := []string{
		"machine b is never settled: every packet that it is for is asked about, and no rule installed",
		"machine c in x: every packet that matches one of these transitions is asked about: 1 looks at TCP flags",
		"machine c in y: every packet that matches one of these transitions is asked about: 2 looks at what ICMP errors quote",
		"machine d is never settled in x: transition 1 looks at TCP flags; every packet that it is for is asked about, and no rule installed",
		"the start state may permit more than another one, so that a store which forgets opens what was closed (memory: with the gateway; memory: and bbolt: where the other gateway of a pair takes over): machine a, b, c",
	}
	if got := c.Notes(); !slices.Equal(got, notes) {
		t.Errorf("%s\nwant %s", strings.Join(got, "\n"), strings.Join(notes, "\n"))
	}
	for range 100 {
		c.Machines = append(c.Machines, c.Machines[1])
	}
	if got := c.Notes(); len(got) != 22 || got[20] != "the same of 84 more machines" || !strings.HasSuffix(got[21], ", b and 83 more") {
		t.Errorf("%d notes, the last %q", len(got), got[20:])
	}
	if got := c.Explain(); !strings.HasSuffix(got, "; and 96 more machines") {
		t.Error(got)
	}
}

// A policy without machines asks for nothing.
func TestNoStates(t *testing.T) {
	p, err := policyfile.Parse(strings.NewReader("chain:\n  - forward: {mode: normal}\n"), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	ev, _ := policytest.Event("tcp 10.0.0.1:1 > 10.0.0.2:2", flow.OpenFlow13)
	for name, m := range map[string]interface {
		StateKeys(*flow.Event, []string) []string
		Stateful() bool
	}{"controller": controller.New(p), "keys": controller.KeysOf(p)} {
		var keys []string
		if n := testing.AllocsPerRun(100, func() { keys = m.StateKeys(ev, keys) }); n != 0 || len(keys) != 0 || m.Stateful() {
			t.Errorf("%s: %v allocations, keys %q, stateful %v", name, n, keys, m.Stateful())
		}
	}
	stateful := newLab(t, one("key: src\nforget: never\nstart: a\nstates: {a: allow}"))
	if keys := controller.KeysOf(stateful.c.Policy()).StateKeys(ev, nil); len(keys) != 1 || keys[0] != "m/10.0.0.1" || keys[0] != stateful.c.StateKeys(ev, nil)[0] {
		t.Errorf("keys %q", keys)
	}
}

// A host that a state shuts out answers nobody, whoever asked it.
func TestNoReplyOfWhatAStateDenies(t *testing.T) {
	l := newLab(t, `
chain:
  - machine:
      machines: [{name: m, for: {ip_src: 10.0.0.9}, key: src, forget: never, start: a, states: {a: next, b: deny}, transitions: [{from: a, to: b, match: {udp_dst: 1}}]}]
  - header: {rules: [{match: {ip_src: 10.0.0.1, tcp_dst: 80}, action: allow, replies: allow}]}
`)
	const question, answer = "tcp 10.0.0.1:40000 > 10.0.0.9:80", "tcp 10.0.0.9:80 > 10.0.0.1:40000 port 2"
	l.want(question, "allow (header: rule 1)")
	if d := l.packet(answer); d.Verdict != flow.Deny || d.IfReply == nil {
		t.Errorf("an answer is %s, if it is a reply %+v", policytest.Sum(d), d.IfReply)
	}
	l.packet("udp 10.0.0.9:1 > 10.0.0.1:1")
	if d := l.want(answer, "deny (machine: m in b)"); d.IfReply != nil {
		t.Errorf("an answer of who is shut out may pass: %+v", d.IfReply)
	}
	l.states["m/10.0.0.9"] = []byte{1}
	if d := l.want(answer, "deny (machine: m: state corrupt; no rule: the state is not known)"); d.IfReply != nil {
		t.Errorf("an answer passes where nobody knows the state: %+v", d.IfReply)
	}
}

// Rules that rest on states which events of several switches change are noted, and the keys of one switch are told from all others.
func TestLocalKeys(t *testing.T) {
	p, err := policyfile.Parse(strings.NewReader(`
chain:
  - machine:
      machines:
        - {name: by-port, for: {in_port: 1}, key: port, start: x, states: {x: allow}}
        - {name: by-switch, for: {in_port: 2}, key: switch, start: x, states: {x: {rules: [{match: {tcp_dst: 1}, when: {by-port: x}, action: deny}], action: allow}}}
        - {name: elsewhere, for: {in_port: 3}, key: port, start: x, states: {x: {rules: [{match: {tcp_dst: 1}, when: {by-port: {key: 2a/1, state: x}}, action: deny}], action: allow}}}
        - {name: of-all, for: {in_port: 4}, key: port, start: x, states: {x: {rules: [{match: {tcp_dst: 1}, when: {by-src: x}, action: deny}], action: allow}}}
        - {name: by-flow, for: {in_port: 5}, key: flow, forget: 1h, start: x, states: {x: allow}}
        - {name: by-connection, for: {in_port: 6}, key: connection, forget: 1h, start: x, states: {x: allow}}
        - {name: by-src, for: {in_port: 7}, key: src, forget: 1h, start: x, states: {x: allow}}
        - {name: by-dst, for: {in_port: 8}, key: dst, forget: 1h, start: x, states: {x: allow}}
        - {name: by-pair, for: {in_port: 9}, key: pair, forget: 1h, start: x, states: {x: allow}}
        - {name: by-network, for: {in_port: 10}, key: network, start: x, states: {x: allow}}
`), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	notes := p.Chain[0].(*machine.Config).Notes()
	if want := "rules of machine elsewhere, of-all, by-flow, by-connection, by-src, by-dst, by-pair, by-network live"; len(notes) != 1 || !strings.Contains(notes[0], want) {
		t.Errorf("%q, want %q", notes, want)
	}
	c := controller.New(p)
	for port, want := range map[flow.PortNo]string{1: "true", 2: "true true", 3: "true false", 4: "true false", 5: "false", 6: "false", 7: "false", 8: "false", 9: "false", 10: "false"} {
		for _, line := range []string{"tcp 10.0.0.1:1 > 10.0.0.2:1", "tcp [2001:db8::1]:1 > [2001:db8::2]:1", "arp 10.0.0.1 > 10.0.0.2"} {
			ev, err := policytest.Event(line, flow.OpenFlow13)
			if err != nil {
				t.Fatal(err)
			}
			ev.PacketIn.Match.SetInPort(port)
			var got []string
			for _, key := range c.StateKeys(ev, nil) {
				got = append(got, fmt.Sprint(machine.LocalKey(ev, key)))
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("%s by port %d: keys %q are local: %s, want %s", line, port, c.StateKeys(ev, nil), got, want)
			}
		}
	}
}

// What travels with events is of their own keys, is shared by few, and is not in another gateway's place.
func TestCantTravel(t *testing.T) {
	for _, row := range []struct {
		key, when string
		pair      bool
		want      int
	}{
		{"flow", "", false, 0},
		{"connection", "", false, 0},
		{"src", "", false, 0},
		{"pair", "", false, 0},
		{"port", "", false, 0},
		{"dst", "", false, 1},
		{"switch", "", false, 1},
		{"network", "", false, 1},
		{"src", ", when: {n: x}", false, 0},
		{"src", ", when: {n: {key: 10.0.0.1, state: x}}", false, 1},
		{"src", "", true, 1},
		{"dst", ", when: {n: {key: 10.0.0.1, state: x}}", true, 3},
	} {
		p, err := policyfile.Parse(strings.NewReader(fmt.Sprintf(`
chain:
  - machine:
      machines:
        - {name: n, for: {ip_proto: udp}, key: src, forget: 1h, start: x, states: {x: deny}}
        - {name: m, for: {ip_proto: tcp}, key: %s, forget: 1h, start: x, states: {x: allow, y: deny}, transitions: [{from: x, to: y, match: {tcp_dst: 1}%s}, {from: y, to: x, match: {tcp_dst: 2}%s}]}
`, row.key, row.when, row.when)), "p.yaml", ".")
		if err != nil {
			t.Fatal(err)
		}
		why := p.CantTravel(row.pair)
		if len(why) != row.want {
			t.Errorf("%+v: %q", row, why)
		}
		link := p.Chain[0].Compile().(policy.Machines)
		name, kind, ok := link.Travels("m/whatever")
		if want, _ := flow.ParseStateKey(row.key); name != "m" || kind != want || !ok {
			t.Errorf("%s: %q, %v, %v", row.key, name, kind, ok)
		}
		if _, _, ok := link.Travels("other/whatever"); ok {
			t.Error("another machine's state travels as one of these")
		}
	}
}

// A store that forgets opens what a state has closed where the start state permits more.
func TestForgetful(t *testing.T) {
	const door = "{name: door, match: {tcp_dst: 22}, action: %s}"
	allow, deny := fmt.Sprintf(door, "allow"), fmt.Sprintf(door, "deny")
	for _, row := range []struct {
		start, other string
		forgetful    bool
	}{
		{"deny", "allow", false},
		{"deny", "deny", false},
		{"deny", "next", false},
		{"allow", "allow", false},
		{"next", "next", false},
		{"allow", "deny", true},
		{"next", "deny", true},
		{"next", "allow", true}, // the next link may do what this one's allow does not
		{"{output: 3}", "{output: 4}", true},
		{"{rules: [" + allow + "], action: deny}", "deny", true},
		{"{rules: [" + deny + "], action: deny}", "deny", false},
		{"{rules: [" + allow + "], action: deny}", "{rules: [" + allow + "], action: deny}", false},
		{"{rules: [" + allow + "], action: deny}", "{rules: [" + allow + "], action: allow}", false},
		{"{rules: [" + allow + "], action: deny}", "{rules: [" + deny + ", " + allow + "], action: allow}", true},
		{"{rules: [" + deny + "], action: allow}", "{rules: [" + deny + "], action: allow}", false},
	} {
		p, err := policyfile.Parse(strings.NewReader(fmt.Sprintf(`
chain:
  - machine: {machines: [{name: m, key: port, start: x, states: {y: %s, x: %s}}]}
`, row.other, row.start)), "p.yaml", ".")
		if err != nil {
			t.Fatal(err)
		}
		if got := len(p.Chain[0].(*machine.Config).Forgetful()) > 0; got != row.forgetful {
			t.Errorf("start %s, another state %s: forgetful %v, want %v", row.start, row.other, got, row.forgetful)
		}
	}
}
