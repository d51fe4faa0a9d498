package machine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/internal/testlong"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

// pick returns one of some texts.
func pick(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

// randomMatch is a match of few values, so that packets meet it.
func randomMatch(r *rand.Rand) string {
	var keys []string
	maybe := func(key, value string) {
		if r.IntN(4) == 0 {
			keys = append(keys, key+": "+value)
		}
	}
	maybe("in_port", pick(r, "1", "2"))
	maybe("ip_src", pick(r, "10.0.0.1", "10.0.0.0/30", "10.0.0.2"))
	maybe("ip_dst", pick(r, "10.0.0.1", "10.0.0.3", "10.0.0.2/31"))
	switch r.IntN(5) {
	case 0:
		keys = append(keys, "tcp_dst: "+pick(r, "1", "1-2", "3"))
	case 1:
		keys = append(keys, "udp_dst: "+pick(r, "1", "2-3"))
	case 2:
		keys = append(keys, "ip_proto: "+pick(r, "tcp", "udp", "icmp"))
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

func randomAction(r *rand.Rand, allows bool) string {
	if allows {
		return pick(r, "deny", "next", "allow", "{output: 2}", "{set-queue: 1}")
	}
	return pick(r, "deny", "next")
}

// randomPolicy is a chain with up to three machines, whose states allow by themselves only if it says so.
func randomPolicy(r *rand.Rand, allows bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "install: %s\nchain:\n  - machine:\n      machines:\n", pick(r, "flow", "host-pair", "mac-pair"))
	machines := 1 + r.IntN(3)
	when := func(self int) string {
		if other := r.IntN(machines); other != self && r.IntN(3) == 0 {
			return fmt.Sprintf(", when: {m%d: %s}", other, pick(r, "a", "b", "[b, c]"))
		}
		return ""
	}
	for i := range machines {
		key := pick(r, "flow", "connection", "src", "dst", "pair", "port", "switch", "network")
		fmt.Fprintf(&b, "        - name: m%d\n          for: %s\n          key: %s\n          forget: %s\n          on_error: %s\n          start: %s\n          states:\n",
			i, randomMatch(r), key, pick(r, "never", "30s", "1h"), pick(r, "deny", "start"), pick(r, "a", "b", "c"))
		for _, name := range []string{"a", "b", "c"} {
			fmt.Fprintf(&b, "            %s:\n              action: %s\n              rules:\n", name, randomAction(r, allows))
			rules := r.IntN(3)
			if r.IntN(4) == 0 {
				rules = 12 // which has a table
			}
			for range rules {
				fmt.Fprintf(&b, "                - {match: %s, action: %s%s}\n", randomMatch(r), randomAction(r, allows), when(i))
			}
			if rules == 0 {
				b.WriteString("                []\n")
			}
		}
		b.WriteString("          transitions:\n")
		timed := ""
		for range 1 + r.IntN(5) {
			from, to := pick(r, "a", "b", "c", "[a, b]", "any"), pick(r, "a", "b", "c")
			how := ""
			switch r.IntN(8) {
			case 0:
				if from = pick(r, "a", "b", "c"); strings.Contains(timed, from) {
					continue
				}
				timed += from
				how = "after: " + pick(r, "1500ms", "7s", "40s")
			case 1:
				how = "tcp_flags: " + pick(r, "syn", "[syn, no-ack]", "fin") + when(i)
			case 2:
				how = "count: 3, within: 10s, distinct: " + pick(r, "tcp_dst", "ip_dst", "in_port")
			case 3:
				how = "match: " + randomMatch(r) + ", count: 4, within: 20s" + when(i)
			case 4:
				quoted := randomMatch(r)
				for strings.Contains(quoted, "in_port") {
					quoted = randomMatch(r)
				}
				how = "quotes: " + quoted + when(i)
			default:
				how = "match: " + randomMatch(r) + when(i)
			}
			fmt.Fprintf(&b, "            - {from: %s, to: %s, %s}\n", from, to, how)
		}
		b.WriteString("            - {from: a, to: a, match: {eth_type: lldp}}\n")
	}
	b.WriteString("  - header: {rules: [{match: {tcp_dst: 1-2}, action: allow}, {match: {ip_src: 10.0.0.2}, action: allow}]}\n")
	return b.String()
}

// randomEvent is a packet, of few values.
func randomEvent(r *rand.Rand) *flow.Event {
	host := func() frames.Endpoint { return frames.Host(uint8(1 + r.IntN(3))).At(uint16(1 + r.IntN(3))) }
	a, b := host(), host()
	var frame []byte
	switch r.IntN(8) {
	case 0, 1, 2:
		frame = frames.TCP(a, b, uint8(r.IntN(32)), nil)
	case 3, 4:
		frame = frames.UDP(a, b, make([]byte, 20))
	case 5:
		frame = frames.Ping(a, b, 1, 1)
	case 6:
		frame = frames.TooBig(b, frames.TCP(a, b, frames.ACK, nil), 1400)
	default:
		frame = frames.ARPRequest(a, b.IP)
	}
	seen := len(frame)
	switch r.IntN(12) {
	case 0:
		frame = frames.Tagged(frame, 7, 0)
		seen = len(frame)
	case 1:
		seen = r.IntN(len(frame))
	case 2:
		if frame[12] == 8 && frame[13] == 0 {
			frame = frames.LaterFragment(frame)
		}
	}
	m := flow.Parser{}.Parse(frame[:seen], len(frame), flow.PortNo(1+r.IntN(2)))
	protocol := flow.OpenFlow13
	if r.IntN(4) == 0 {
		protocol = flow.OpenFlow10
	}
	return &flow.Event{Type: flow.EventPacketIn, Switch: policytest.Switch(protocol), PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: m, Data: frame[:seen], Incomplete: m.Missing()}}
}

// No packet that an installed rule covers would have moved a machine, or been decided otherwise, for as long as the rule lives: of that what makes a
// state settled consists.
func TestRulesHideNoTransition(t *testing.T) { rulesHideNoTransition(t, 0, 60) }

// TestLongRulesHideNoTransition is TestRulesHideNoTransition with other seeds.
func TestLongRulesHideNoTransition(t *testing.T) {
	testlong.Need(t)
	rulesHideNoTransition(t, 60, 500)
}

func rulesHideNoTransition(t *testing.T, first, end uint64) {
	rules, covered, moved := 0, 0, 0
	for seed := first; seed < end; seed++ {
		r := rand.New(rand.NewPCG(seed, 1))
		text := randomPolicy(r, true)
		p, err := policyfile.Parse(strings.NewReader(text), "p.yaml", ".")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		l := &lab{t: t, c: controller.New(p), states: make(map[string][]byte), now: start}
		for range 150 {
			l.now = l.now.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
			ev := randomEvent(r)
			d := l.decide(ev)
			if d.Change != nil {
				moved++
			}
			if len(d.Rules) == 0 {
				continue
			}
			rule := &d.Rules[0]
			rules++
			if rule.HardTimeout <= 0 {
				t.Fatalf("seed %d: %v lives for ever", seed, rule)
			}
			for range 30 {
				other := randomEvent(r)
				other.Switch = ev.Switch
				if seen := other.PacketIn.Match.Seen(); !rule.Match.Covers(&seen) || other.PacketIn.Incomplete != 0 {
					continue
				}
				covered++
				then := *l
				then.now = l.now.Add(time.Duration(r.Int64N(int64(rule.HardTimeout))))
				then.event(other)
				var got flow.Decision
				if err := l.c.Decide(t.Context(), other, &got); err != nil {
					t.Fatal(err)
				}
				actions, _ := got.PacketActions(&other.PacketIn.Match)
				if got.Change != nil || got.Verdict != d.Verdict || flow.ActionsString(actions) != flow.ActionsString(rule.Actions) {
					t.Fatalf("seed %d: %v\nrule %v, for %s\ncovers %v,\nwhich after %v is %s (change %v), %s\n%s", seed, &ev.PacketIn.Match, rule, policytest.Sum(d), &other.PacketIn.Match, then.now.Sub(l.now), policytest.Sum(&got), got.Change != nil, flow.ActionsString(actions), text)
				}
			}
		}
	}
	t.Logf("%d rules, %d packets that they cover, %d changes", rules, covered, moved)
	if want := 20 * int(end-first); rules < want || covered < want || moved < want {
		t.Error("too few of something: this finds nothing")
	}
}

// Whatever a store holds, nothing panics, and where no state allows by itself nothing is allowed that the rest of the chain denies.
func TestRandomStates(t *testing.T) { randomStates(t, 0, 50) }

// TestLongRandomStates is TestRandomStates with other seeds.
func TestLongRandomStates(t *testing.T) {
	testlong.Need(t)
	randomStates(t, 50, 300)
}

func randomStates(t *testing.T, first, end uint64) {
	allowed, used := 0, 0
	for seed := first; seed < end; seed++ {
		r := rand.New(rand.NewPCG(seed, 2))
		text := randomPolicy(r, false)
		p, err := policyfile.Parse(strings.NewReader(text), "p.yaml", ".")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		c := controller.New(p)
		p.Chain = p.Chain[1:]
		rest := controller.New(p)
		l := &lab{t: t, c: c, states: make(map[string][]byte), now: start}
		for range 200 {
			l.now = l.now.Add(time.Duration(r.IntN(8000)-2000) * time.Millisecond)
			ev := randomEvent(r)
			l.decide(ev) // makes states
			l.event(ev)
			for i := range ev.States {
				b := append([]byte(nil), ev.States[i].Data...)
				switch r.IntN(4) {
				case 0:
					b = make([]byte, r.IntN(200))
					for j := range b {
						b[j] = byte(r.Uint32())
					}
				case 1:
					if len(b) > 0 {
						b[r.IntN(len(b))] ^= 1 << r.IntN(8)
					}
				case 2:
					b = b[:r.IntN(len(b)+1)]
				}
				ev.States[i].Data = b
			}
			if r.IntN(8) == 0 && len(ev.States) > 0 {
				ev.States = ev.States[1:]
			}
			var with, without flow.Decision
			if err := c.Decide(t.Context(), ev, &with); err != nil {
				t.Fatal(err)
			}
			if err := rest.Decide(t.Context(), ev, &without); err != nil {
				t.Fatal(err)
			}
			if len(ev.States) > 0 {
				used++
			}
			if with.Verdict == flow.Allow {
				allowed++
				if without.Verdict != flow.Allow {
					t.Fatalf("seed %d: %v is allowed (%s) and the rest of the chain says %s\n%s", seed, &ev.PacketIn.Match, with.Reason, policytest.Sum(&without), text)
				}
			}
		}
	}
	t.Logf("%d with states, %d allowed", used, allowed)
	if n := int(end - first); allowed < 3*n || used < 33*n {
		t.Error("too few of something: this finds nothing")
	}
}
