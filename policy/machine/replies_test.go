package machine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/policy/policytest"
)

// asking is a policy that lets 10.0.0.2 answer on port 80 whom a machine lets ask.
func asking(machines string) string {
	return "chain:\n  - machine: {machines: [" + machines + "]}\n  - header: {rules: [{name: web, match: {ip_dst: 10.0.0.2, tcp_dst: 80}, action: allow, replies: allow}]}\n"
}

const (
	webQuestion = "tcp 10.0.0.1:40000 > 10.0.0.2:80"
	webAnswer   = "tcp 10.0.0.2:80 > 10.0.0.1:40000 port 2"
	notAsked    = "deny (default: no policy of the chain decides)"
)

// answers asks about the web server's answer, and holds whether it may pass, the states that it rests on and the rule of its denial to what is wanted.
func (l *lab) answers(t *testing.T, passes bool, keys []string, want string) *flow.Decision {
	t.Helper()
	ev, err := policytest.Event(webAnswer, flow.OpenFlow13)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.c.StateKeys(ev, nil); !slices.Equal(got, keys) {
		t.Errorf("the answer rests on %q, want %q", got, keys)
	}
	if passes {
		want += ", if a reply allow (header: web (a reply))"
	}
	if own := l.c.OwnKeys(ev); own > len(keys) || len(keys) > 0 && own > 1 {
		t.Errorf("%d of these states are the answer's own", own)
	}
	d := l.want(webAnswer, want)
	if got := d.IfReply != nil; got != passes {
		t.Errorf("the answer may pass if it is one: %v, want %v\n%s", got, passes, policytest.Whole(d))
	}
	return d
}

// TestRepliesBehindMachines has a machine stand before the entry that lets replies in: whether it lets the question through hangs on the state of the
// question's key as it is when the answer comes, and the answer's rule rests on that state and on the answer's own.
func TestRepliesBehindMachines(t *testing.T) {
	const scan = "{name: scan, for: {ip_proto: tcp}, key: src, forget: never, start: good, states: {good: next, bad: deny}, transitions: [{from: good, to: bad, match: {tcp_dst: 23}}, {from: bad, to: good, after: 60s}]}"
	both := []string{"scan/10.0.0.2", "scan/10.0.0.1"}
	l := newLab(t, asking(scan))
	l.want(webQuestion, "allow (header: web)")
	d := l.answers(t, true, both, notAsked)
	if r := d.IfReply.Rules; len(r) != 1 || r[0].HardTimeout != flow.ConversationHard || r[0].Match.L4Src != 80 {
		t.Errorf("as a reply it has the rules %+v", r)
	}

	l.packet("tcp 10.0.0.1:40000 > 10.0.0.2:23") // the client is shut out
	d = l.answers(t, false, both, notAsked)
	if len(d.Rules) != 1 || d.Rules[0].HardTimeout != 60*time.Second {
		t.Errorf("it is denied for as long as the client is shut out, not by %s", policytest.Whole(d))
	}
	l.now = l.now.Add(59500 * time.Millisecond)
	l.answers(t, false, both, strings.TrimSuffix(notAsked, ")")+"; no rule: a state changes within a second)")
	l.now = l.now.Add(500 * time.Millisecond)
	d = l.answers(t, true, both, notAsked)
	if len(d.IfReply.Rules) != 1 {
		t.Errorf("as a reply it has no rule: %+v", d.IfReply)
	}

	l.packet("tcp 10.0.0.2:1 > 10.0.0.1:23 port 2") // the server itself
	l.answers(t, false, both, "deny (machine: scan in bad)")
}

// TestRepliesByAlternatives has machines that are for any of several hosts: the question's state is that of its own machine, whichever of the alternatives
// it meets.
func TestRepliesByAlternatives(t *testing.T) {
	machine := func(name, hosts string) string {
		return "{name: " + name + ", for: {from: " + hosts + ", ip_proto: tcp}, key: src, forget: never, start: good, states: {good: next, bad: deny}, transitions: [{from: good, to: bad, match: {tcp_dst: 23}}]}"
	}
	const last, first = "[10.0.0.7, 10.0.0.8, 10.0.0.1]", "[10.0.0.1, 10.0.0.7]"
	for _, machines := range []string{machine("scan", last), machine("scan", first), machine("scan", last) + ", " + machine("other", "10.0.0.9"),
		machine("other", "[10.0.0.8, 10.0.0.9]") + ", " + machine("scan", last)} {
		l := newLab(t, asking(machines))
		l.want(webQuestion, "allow (header: web)")
		l.answers(t, true, []string{"scan/10.0.0.1"}, notAsked)
		l.packet("tcp 10.0.0.1:40000 > 10.0.0.2:23") // the client is shut out
		l.answers(t, false, []string{"scan/10.0.0.1"}, notAsked)
	}
}

// TestRepliesByUnusableStates has states that say nothing of the question: the answer is denied, whatever the machine makes of such a state otherwise.
func TestRepliesByUnusableStates(t *testing.T) {
	for _, onError := range []string{"deny", "start"} {
		l := newLab(t, asking("{name: m, for: {ip_src: 10.0.0.1}, key: src, forget: never, on_error: "+onError+", start: a, states: {a: next}}"))
		l.answers(t, true, []string{"m/10.0.0.1"}, notAsked)
		l.states["m/10.0.0.1"] = []byte("nothing")
		l.answers(t, false, []string{"m/10.0.0.1"}, strings.TrimSuffix(notAsked, ")")+"; no rule: the state is not known)")
		l.states["m/10.0.0.1"] = flow.Unknown
		if d := l.answers(t, false, []string{"m/10.0.0.1"}, notAsked); len(d.Rules) != 1 {
			t.Errorf("on_error %s: what never passes has no rule: %s", onError, policytest.Whole(d))
		}
	}
}

// TestRepliesByKeys has machines of each key stand before the entry that lets replies in.
func TestRepliesByKeys(t *testing.T) {
	for _, row := range []struct {
		key    string
		scope  string
		keys   int // that an answer rests on
		passes bool
	}{
		{"flow", "{ip_proto: tcp}", 2, true},
		{"connection", "{ip_proto: tcp}", 1, true},
		{"src", "{ip_proto: tcp}", 2, true},
		{"dst", "{ip_proto: tcp}", 2, true},
		{"pair", "{ip_proto: tcp}", 2, true},
		{"switch", "{ip_proto: tcp}", 1, true},
		{"network", "{ip_proto: tcp}", 1, true},
		{"network", "{tcp_dst: 80}", 1, true},
		{"port", "{ip_proto: tcp}", 1, false}, // only the switch knows by which port the question came
	} {
		forget := ""
		if row.key < "network" || row.key == "pair" || row.key == "src" {
			forget = "forget: 1h, "
		}
		l := newLab(t, asking("{name: m, for: "+row.scope+", key: "+row.key+", "+forget+"start: a, states: {a: next, b: deny}, transitions: [{from: a, to: b, match: {tcp_dst: 23}}]}"))
		ev, err := policytest.Event(webAnswer, flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		keys := l.c.StateKeys(ev, nil)
		if len(keys) != row.keys {
			t.Errorf("%s: an answer rests on %q", row.key, keys)
		}
		l.answers(t, row.passes, keys, notAsked)
		if row.key == "network" {
			l.packet("tcp 10.0.0.7:1 > 10.0.0.2:23")
			if row.scope == "{tcp_dst: 80}" {
				continue // which is no packet of that machine
			}
			l.answers(t, false, keys, "deny (machine: m in b)")
		}
	}
}

// TestRepliesByPort has machines that are for packets of some ports: the question may have come by any of them, and each one's state counts there.
func TestRepliesByPort(t *testing.T) {
	one := func(port int, action string) string {
		return fmt.Sprintf("{name: m%d, for: {in_port: %d}, key: src, forget: never, start: a, states: {a: %s, b: deny}, transitions: [{from: a, to: b, match: {tcp_dst: 23}}]}", port, port, action)
	}
	l := newLab(t, asking(one(1, "next")+", "+one(3, "deny")))
	l.answers(t, true, []string{"m1/10.0.0.1", "m3/10.0.0.1"}, notAsked)
	l = newLab(t, asking(one(1, "next")+", "+one(3, "allow"))) // it lets the same question through and no answer in
	l.answers(t, false, []string{"m1/10.0.0.1", "m3/10.0.0.1"}, notAsked)

	var list []string
	for port := range 60 {
		list = append(list, one(port+10, "deny"))
	}
	l = newLab(t, asking(strings.Join(list, ", "))) // more than are read: who can't be looked up denies, and the ports without a machine let it in
	ev, err := policytest.Event(webAnswer, flow.OpenFlow13)
	if err != nil {
		t.Fatal(err)
	}
	keys := l.c.StateKeys(ev, nil)
	if len(keys) != 48 {
		t.Errorf("%d states are read", len(keys))
	}
	l.answers(t, true, keys, notAsked)
}

// TestRepliesThatMove has an answer move the machine that its question's decision rests on: what counts is the state that it leaves behind.
func TestRepliesThatMove(t *testing.T) {
	l := newLab(t, asking("{name: m, for: {ip_proto: tcp}, key: connection, forget: never, start: a, "+
		"states: {a: next, b: {rules: [{match: {tcp_src: 80}, action: next}], action: deny}}, transitions: [{from: a, to: b, match: {tcp_src: 80}}]}"))
	l.want(webQuestion, "allow (header: web)")
	ev, _ := policytest.Event(webAnswer, flow.OpenFlow13)
	keys := l.c.StateKeys(ev, nil)
	l.answers(t, false, keys, strings.TrimSuffix(notAsked, ")")+"; m moves from a to b)")
	if len(l.states) != 1 {
		t.Errorf("states of %v", l.states)
	}
	l.want(webQuestion, "deny (machine: m in b)")
	if n := len(l.states); n != 1 {
		t.Errorf("asking about the question has made %d states", n)
	}
}

// TestQuotedPacketsBehindMachines has an ICMP error quote a packet, and an answer, of which a machine has a say.
func TestQuotedPacketsBehindMachines(t *testing.T) {
	l := newLab(t, asking("{name: scan, for: {ip_proto: tcp}, key: src, forget: never, start: good, states: {good: next, bad: deny}, transitions: [{from: good, to: bad, match: {tcp_dst: 23}}]}"))
	client, server := frames.Host(1), frames.Host(2)
	router := frames.Endpoint{MAC: server.MAC, IP: frames.Host(200).IP}
	question := frames.TCP(client.At(40000), server.At(80), frames.ACK, make([]byte, 100))
	answer := frames.TCP(server.At(80), client.At(40000), frames.ACK, make([]byte, 100))
	about := func(what string, frame []byte, passes, ifReply bool) {
		t.Helper()
		d := l.decide(&flow.Event{Type: flow.EventPacketIn, Switch: policytest.Switch(flow.OpenFlow13), PacketIn: &flow.PacketIn{
			BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: flow.ParseFrame(frame, 2)}})
		if d.Verdict == flow.Allow != passes || d.IfReply != nil != ifReply || len(d.Rules) > 0 {
			t.Errorf("an error about %s: %s, as a reply %+v", what, policytest.Whole(d), d.IfReply)
		}
	}
	about("a question", frames.TooBig(router, question, 1280), true, false)
	about("an answer", frames.TooBig(client, answer, 1280), false, true)
	l.packet("tcp 10.0.0.1:40000 > 10.0.0.2:23")
	about("a question of who is shut out", frames.TooBig(router, question, 1280), false, false)
	about("an answer to who is shut out", frames.TooBig(client, answer, 1280), false, false)
}
