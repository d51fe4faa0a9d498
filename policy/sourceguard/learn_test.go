package sourceguard_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// host keeps the states of one controller, and lets a test spoil what is read of them.
type host struct {
	c      *controller.Controller
	states map[string][]byte
	now    time.Time
	spoil  func(ev *flow.Event)
}

func newHost(p *policy.Policy) *host {
	return &host{c: controller.New(p), states: make(map[string][]byte), now: noon}
}

func (h *host) decide(t *testing.T, ev *flow.Event) *flow.Decision {
	t.Helper()
	ev.Time = h.now
	for _, key := range h.c.StateKeys(ev, nil) {
		ev.States = append(ev.States, flow.State{Key: key, Data: h.states[key]})
	}
	if h.spoil != nil {
		h.spoil(ev)
	}
	d := decide(t, h.c, ev)
	if d.Change != nil {
		h.states[ev.States[d.Change.Index].Key] = d.Change.Data
	}
	return d
}

func (h *host) ask(t *testing.T, packet string) *flow.Decision {
	t.Helper()
	ev, err := policytest.Event(packet, flow.OpenFlow13)
	if err != nil {
		t.Fatal(err)
	}
	return h.decide(t, ev)
}

// A state that is not known, or can't be read, opens nothing and installs nothing.
func TestFailsClosed(t *testing.T) {
	const packet = "tcp 10.0.0.1:1 > 10.0.0.2:2"
	for name, spoil := range map[string]func(*flow.Event){
		"no states":       func(ev *flow.Event) { ev.States = nil },
		"one of two":      func(ev *flow.Event) { ev.States = ev.States[:1] },
		"no time":         func(ev *flow.Event) { ev.Time = time.Time{} },
		"cut":             func(ev *flow.Event) { ev.States[1].Data = ev.States[1].Data[:10] },
		"another version": func(ev *flow.Event) { ev.States[1].Data = append([]byte{2}, ev.States[1].Data[1:]...) },
		"too long":        func(ev *flow.Event) { ev.States[1].Data = append(ev.States[1].Data[:31:31], 0) },
		"another's": func(ev *flow.Event) {
			ev.States[1].Data = append(append([]byte(nil), ev.States[1].Data[:18]...), append([]byte{9}, ev.States[1].Data[19:]...)...)
		},
		"another switch's": func(ev *flow.Event) { ev.States[1].Data = append([]byte{1, 9}, ev.States[1].Data[2:]...) },
	} {
		h := newHost(parse(t, `{learn: first, trusted: [4]}`))
		for range 2 {
			h.ask(t, packet)
		}
		if d := h.ask(t, packet); d.Verdict != flow.Allow || len(d.Rules) != 1 {
			t.Fatalf("%s: before: %s", name, policytest.Whole(d))
		}
		h.spoil = spoil
		if d := h.ask(t, packet); d.Verdict != flow.Deny || d.Change != nil || len(d.Rules) > 0 && strings.Contains(d.Reason, "can't be read") {
			t.Errorf("%s: %s", name, policytest.Whole(d))
		}
	}
}

// Rules live no longer than what they rest on, and a clock that was set back frees no address.
func TestLife(t *testing.T) {
	const packet, forged = "tcp 10.0.0.1:1 > 10.0.0.2:2", "tcp 10.0.0.1:1 > 10.0.0.2:2 port 2 eth 2"
	h := newHost(parse(t, `{learn: first, trusted: [4], for: 1m}`))
	h.ask(t, packet)
	h.ask(t, packet)
	h.now = noon.Add(20 * time.Second)
	d := h.ask(t, packet)
	if len(d.Rules) != 1 || d.Rules[0].HardTimeout != 40*time.Second {
		t.Errorf("after 20 s of 60: %s", policytest.Whole(d))
	}
	if d = h.ask(t, forged); d.Verdict != flow.Deny || len(d.Rules) != 1 || d.Rules[0].HardTimeout > 40*time.Second {
		t.Errorf("forged: %s", policytest.Whole(d))
	}
	for _, now := range []time.Duration{-time.Hour, -3000 * time.Hour, 59 * time.Second} {
		h.now = noon.Add(now)
		if d := h.ask(t, forged); d.Verdict != flow.Deny {
			t.Errorf("forged, %v later: %s", now, policytest.Whole(d))
		}
	}
	// It is renewed by who has it in the second half of its life, address by address.
	for _, what := range []string{"02:00:00:00:00:01", "10.0.0.1"} {
		d := h.ask(t, packet)
		if d.Change == nil || d.Change.TTL != time.Minute || !strings.Contains(d.Reason, "sourceguard: "+what+" is bound") || len(d.Rules) > 0 {
			t.Errorf("renewed: %s", policytest.Whole(d))
		}
	}
	h.now = noon.Add(59*time.Second + time.Minute)
	if d := h.ask(t, forged); d.Verdict != flow.Allow {
		t.Errorf("after its life: %s", policytest.Whole(d))
	}
}

// Listed bindings come first: what one names is not learned, and a learned address is nobody else's at a listed port either.
func TestListedAndLearned(t *testing.T) {
	h := newHost(parse(t, `{learn: first, bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}, {port: 2, mac: "02:00:00:00:00:02"}]}`))
	for _, step := range []struct {
		packet string
		allow  bool
		states int // that are known then
	}{
		{"tcp 10.0.0.1:1 > 10.0.0.9:2", true, 0},
		{"tcp 10.0.0.1:1 > 10.0.0.9:2 port 3 eth 3", false, 0},
		{"tcp 10.0.0.1:1 > 10.0.0.9:2 port 3", false, 0},
		{"tcp 10.0.0.2:1 > 10.0.0.9:2 port 2", true, 1}, // any address that is nobody else's: it is its own now
		{"tcp 10.0.0.2:1 > 10.0.0.9:2 port 3 eth 3", false, 1},
		{"tcp 10.0.0.3:1 > 10.0.0.9:2 port 3", true, 2},
		{"tcp 10.0.0.3:1 > 10.0.0.9:2 port 3", true, 3},
		{"tcp 10.0.0.3:1 > 10.0.0.9:2 port 2 eth 2", false, 3},
		{"tcp 10.0.0.4:1 > 10.0.0.9:2 port 3 eth 3", true, 4},  // a second address of one station
		{"tcp 10.0.0.4:1 > 10.0.0.9:2 port 3 eth 5", false, 4}, // no second station for one address, and nothing is learned of it
	} {
		d := h.ask(t, step.packet)
		if (d.Verdict == flow.Allow) != step.allow || len(h.states) != step.states {
			t.Errorf("%s: %s, %d states; want allowed %v, %d", step.packet, policytest.Sum(d), len(h.states), step.allow, step.states)
		}
	}
}

// What DHCP says is believed from a trusted port, whole, and of those who asked.
func TestDHCP(t *testing.T) {
	const ask, ack, use = "dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3 port 3 eth 7", "dhcp 10.0.0.53:67 > 10.0.0.7:68 type 5 port 4", "tcp 10.0.0.7:1 > 10.0.0.2:2 port 3"
	for name, tt := range map[string]struct {
		packets []string // which are asked about before use
		change  func(*flow.Event)
		allow   bool
	}{
		"as it should be":         {[]string{ask, ack}, nil, true},
		"nobody asked":            {[]string{ack}, nil, false},
		"offered":                 {[]string{ask, "dhcp 10.0.0.53:67 > 10.0.0.7:68 type 2 port 4"}, nil, false},
		"to another":              {[]string{ask, ack + " sha 8"}, nil, false},
		"another address":         {[]string{ask, "dhcp 10.0.0.53:67 > 10.0.0.8:68 type 5 port 4 sha 7"}, nil, false},
		"taken away":              {[]string{ask, ack, "dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3 port 2 eth 8", ack + " sha 8"}, nil, false},
		"a server elsewhere":      {[]string{ask, "dhcp 10.0.0.53:67 > 10.0.0.7:68 type 5 port 2"}, nil, false},
		"the asker is elsewhere":  {[]string{"dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3 port 2 eth 7", ack}, nil, false},
		"a digest":                {[]string{ask, ack}, func(ev *flow.Event) { ev.PacketIn.Data, ev.PacketIn.TotalLen = nil, 0 }, false},
		"cut":                     {[]string{ask, ack}, func(ev *flow.Event) { ev.PacketIn.TotalLen++ }, false},
		"no magic":                {[]string{ask, ack}, func(ev *flow.Event) { ev.PacketIn.Data[14+20+8+236]++ }, false},
		"a length beyond the end": {[]string{ask, ack}, func(ev *flow.Event) { ev.PacketIn.Data[14+20+8+236+4+1] = 250 }, false},
		"no Ethernet address":     {[]string{ask, ack}, func(ev *flow.Event) { ev.PacketIn.Data[14+20+8+2] = 16 }, false},
		"a question as an answer": {[]string{ask, ack}, func(ev *flow.Event) { ev.PacketIn.Data[14+20+8] = 1 }, false},
	} {
		h := newHost(parse(t, `{learn: dhcp, trusted: [4]}`))
		for i, packet := range tt.packets {
			ev, err := policytest.Event(packet, flow.OpenFlow13)
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil && i == len(tt.packets)-1 {
				tt.change(ev)
			}
			if d := h.decide(t, ev); len(d.Rules) > 0 && d.Verdict == flow.Allow {
				t.Errorf("%s: %s: a rule that hides DHCP: %s", name, packet, policytest.Whole(d))
			}
		}
		if d := h.ask(t, use); (d.Verdict == flow.Allow) != tt.allow {
			t.Errorf("%s: %s", name, policytest.Sum(d))
		} else if !tt.allow && len(d.Rules) > 0 && d.Rules[0].HardTimeout > 2*time.Second && strings.Contains(d.Reason, "nobody") {
			t.Errorf("%s: a denial that outlives a server's answer: %s", name, policytest.Whole(d))
		}
	}
	// Who asks, asks for itself.
	h := newHost(parse(t, `{learn: dhcp, trusted: [4]}`))
	h.ask(t, ask)
	h.ask(t, ack)
	for _, forged := range []string{
		"dhcp 0.0.0.0:68 > 255.255.255.255:67 type 7 port 2 eth 8 sha 7", // releases
		"dhcp 10.0.0.7:68 > 10.0.0.53:67 type 7 port 2 eth 8",
		"udp 10.0.0.7:68 > 10.0.0.53:67 port 3", // no DHCP
		"fragment 10.0.0.8 > 10.0.0.2 port 2",
	} {
		if d := h.ask(t, forged); d.Verdict != flow.Deny || d.Change != nil {
			t.Errorf("%s: %s", forged, policytest.Whole(d))
		}
	}
}

// Whatever is cut of an acknowledgement, or is in its place, teaches nothing that it doesn't say.
func TestDHCPCut(t *testing.T) {
	h := newHost(parse(t, `{learn: dhcp, trusted: [4]}`))
	h.ask(t, "dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3 port 3 eth 7")
	r := rand.New(rand.NewPCG(5, 5))
	const options = 14 + 20 + 8 + 240
	taught := 0
	for range 3000 {
		ev, err := policytest.Event("dhcp 10.0.0.53:67 > 10.0.0.7:68 type 5 lease 3600 port 4", flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		in := ev.PacketIn
		for range r.IntN(3) {
			in.Data[options+r.IntN(len(in.Data)-options)] = byte(r.IntN(256))
		}
		in.Data = in.Data[:14+r.IntN(len(in.Data)-13)]
		in.TotalLen = len(in.Data)
		delete(h.states, "sourceguard:10.0.0.7")
		switch d := h.decide(t, ev); {
		case d.Change == nil:
		case len(in.Data) < options+3:
			t.Fatalf("%d bytes teach: %s", len(in.Data), policytest.Whole(d))
		case d.Change.TTL > 12*time.Hour || d.Change.TTL < time.Second:
			t.Fatalf("a lease of %v", d.Change.TTL)
		default:
			taught++
		}
	}
	if taught == 0 {
		t.Error("none of them teaches anything")
	}
}

// A guard that learns and a machine behind it share one event's states. Only one state changes by an event: the packet for which both would
// is dropped, and the next one is decided.
func TestWithMachine(t *testing.T) {
	const text = `serial: 1
chain:
  - sourceguard: {learn: first}
  - machine:
      machines:
        - name: knock
          key: src
          forget: 1h
          start: closed
          states: {closed: deny, open: allow}
          transitions: [{from: closed, to: open, match: {tcp_dst: 7}}]
`
	p, err := policyfile.Parse(strings.NewReader(text), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	trial := eval.NewTrial(controller.New(p))
	for i, want := range []string{
		"deny (two states would change", // the Ethernet address is learned
		"deny (two states would change", // and the network's
		"allow (machine: knock in open",
	} {
		ev, err := policytest.Event("tcp 10.0.0.1:1 > 10.0.0.2:7", flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		ev.Time = noon
		var d flow.Decision
		if err := trial.Decide(t.Context(), ev, &d); err != nil {
			t.Fatal(err)
		}
		if got := policytest.Sum(&d); !strings.HasPrefix(got, want) || d.Change == nil || len(d.Rules) > 0 && i < 2 {
			t.Errorf("packet %d: %s, want %s...", i+1, policytest.Whole(&d), want)
		}
	}
}

// Whoever passes has read all the states that were asked for: the links behind it find theirs.
func TestReadsWhatItAsksFor(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for _, entry := range []string{`{learn: first, trusted: [4], bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}]}`, `{learn: dhcp, trusted: [4]}`} {
		link := parse(t, entry).Chain[0].Compile().(policy.Machines)
		states := make(map[string][]byte)
		passed, most := 0, 0
		for range 3000 {
			packet := pick("tcp 10.0.0.1:1 > 10.0.0.2:2", "tcp 10.0.0.3:1 > 10.0.0.2:2", "arp 10.0.0.3 > 10.0.0.2", "arp 0.0.0.0 > 10.0.0.3", "nd 2001:db8::3 > 2001:db8::2", "nd :: > 2001:db8::3",
				"na 2001:db8::3 > 2001:db8::2", "dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3", "dhcp 10.0.0.53:67 > 10.0.0.3:68 type 5", "lldp") +
				pick("", " eth 1", " eth 3", " eth 4") + pick("", " sha 3", " sha 4") + pick("", " port 2", " port 4", " port 4")
			ev, err := policytest.Event(packet, flow.OpenFlow13)
			if err != nil {
				t.Fatal(err)
			}
			ev.Time = noon
			keys := link.StateKeys(ev, []string{"before"})[1:]
			for _, key := range keys {
				ev.States = append(ev.States, flow.State{Key: key, Data: states[key]})
			}
			p := policy.NewPacket(&ev.PacketIn.Match)
			p.Switch, p.In = ev.Switch, ev.PacketIn
			out, rec := link.DecideBy(p, ev)
			if rec.Change != nil {
				states[keys[rec.Change.Index]] = rec.Change.Data
			}
			if out.Verdict == flow.NoVerdict {
				passed++
				if most = max(most, len(keys)); rec.Read != len(keys) {
					t.Fatalf("%s passes, having read %d of the states %q", packet, rec.Read, keys)
				}
			}
		}
		if passed < 200 || most < 3 {
			t.Errorf("%s: %d packets pass, with %d states at most", entry, passed, most)
		}
	}
}

// What a forged packet answers is not looked up: it is no reply. An honest one may be, although the chain is asked about its question, which nobody
// sends now, and of whose sender nothing may be known.
func TestReplies(t *testing.T) {
	const rest = "\n  - header: {rules: [{name: web, match: {tcp_dst: 443}, action: allow, replies: allow}]}\n"
	for _, entry := range []string{
		`{bindings: [{port: 1, addresses: [10.0.0.1]}, {port: 2, mac: "02:00:00:00:00:02", addresses: [10.0.0.2]}], others: deny}`,
		`{learn: first, for: 10m}`,
	} {
		p, err := policyfile.Parse(strings.NewReader("chain:\n  - sourceguard: "+entry+rest), "p.yaml", ".")
		if err != nil {
			t.Fatal(err)
		}
		h := newHost(p)
		for range 3 {
			if d := h.ask(t, "tcp 10.0.0.1:40000 > 10.0.0.2:443"); d.Verdict != flow.Allow {
				t.Fatalf("%s: the question: %s", entry, policytest.Sum(d))
			}
		}
		const reply = "tcp 10.0.0.2:443 > 10.0.0.1:40000"
		for i := range 3 {
			d := h.ask(t, reply+" port 2")
			if d.Verdict != flow.Deny || d.IfReply == nil {
				t.Fatalf("%s: a reply: %s, %+v", entry, policytest.Sum(d), d.IfReply)
			}
			learning := i < 2 && strings.Contains(entry, "learn")
			if rules := d.IfReply.Rules; len(rules) > 0 == learning || !learning && strings.Contains(entry, "learn") && rules[0].HardTimeout > 10*time.Minute {
				t.Errorf("%s: packet %d: a reply's rules %v", entry, i+1, rules)
			}
		}
		for _, forged := range []string{" port 3", " port 3 eth 3", " port 1"} {
			if d := h.ask(t, reply+forged); d.Verdict != flow.Deny || d.IfReply != nil {
				t.Errorf("%s: forged by %s: %s, %+v", entry, forged, policytest.Sum(d), d.IfReply)
			}
		}
	}
}

// The states of a packet whose bytes were left behind are read when it comes with them.
func TestWithheldLearns(t *testing.T) {
	h := newHost(parse(t, `{learn: first}`))
	ev, err := policytest.Event("nd 2001:db8::1 > 2001:db8::2", flow.OpenFlow13)
	if err != nil {
		t.Fatal(err)
	}
	ev.Time = noon
	for _, key := range h.c.StateKeys(ev, nil) {
		ev.States = append(ev.States, flow.State{Key: key})
	}
	ev.PacketIn.Data, ev.PacketIn.Withheld = nil, true
	var d flow.Decision
	if err := h.c.Decide(context.Background(), ev, &d); err == nil || d.Change != nil {
		t.Errorf("decided without its bytes: %v, %s", err, policytest.Whole(&d))
	}
}
