package judge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/distribution/policyhost"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

// Policy is one that the project's own controller decides by.
type Policy struct {
	Name string
	Text string // as people write it
	Hold *policy.Policy
	// Hints are headers that the policy looks at, which packets are made of.
	Hints []flow.Match
}

// ExamplePolicies are those of configs/policies. Their hints are the packets of which they say what they expect.
func ExamplePolicies(dir string) (list []Policy, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no policies in %s: %v", dir, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		p := Policy{Name: filepath.Base(path), Text: string(text)}
		if p.Hold, err = policyfile.Load(path); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(p.Hold.Chain, func(s policy.Source) bool { return s.Name() == "machine" }) {
			continue // the court's memory tells no gateway which states an answer rests on, so that rules of older ones stay
		}
		for line := range strings.Lines(p.Text) {
			said, ok := strings.CutPrefix(line, "# expect: ")
			if !ok {
				continue
			}
			packet, _, _ := strings.Cut(said, " => ")
			frame, port, err := policytest.Packet(packet)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			p.Hints = append(p.Hints, flow.ParseFrame(frame, port))
		}
		list = append(list, p)
	}
	return list, nil
}

// GeneratePolicy returns the policy of a seed: a blocklist, header rules with and without exceptions above
// them, and a forward or none.
func GeneratePolicy(seed uint64) (Policy, error) {
	r := rand.New(rand.NewPCG(seed, 0x706f6c696379))
	var b strings.Builder
	fmt.Fprintf(&b, "serial: 1\ninstall: %s\nchain:\n", pick(r, []string{"flow", "host-pair", "mac-pair", "widest", "widest"}))
	if once(r, 2) {
		fmt.Fprintf(&b, "  - blocklist: {match: %s, addresses: [%s]}\n", pick(r, []string{"src", "dst", "both"}), pick(r, []string{"10.0.0.3", `"2001:db8::3"`, "10.0.0.2/31"}))
	}
	var hints []flow.Match
	b.WriteString("  - header:\n      rules:\n")
	conditions := []func() (string, func(*flow.Match)){
		func() (string, func(*flow.Match)) {
			port := pick(r, ports[:5])
			return fmt.Sprintf("tcp_dst: %d", port), func(m *flow.Match) { m.SetIPProto(flow.ProtoTCP); m.SetL4Dst(port) }
		},
		func() (string, func(*flow.Match)) {
			port := pick(r, ports[:5])
			return fmt.Sprintf("udp_dst: %d", port), func(m *flow.Match) { m.SetIPProto(flow.ProtoUDP); m.SetL4Dst(port) }
		},
		func() (string, func(*flow.Match)) {
			return "tcp_dst: 1-79", func(m *flow.Match) { m.SetIPProto(flow.ProtoTCP); m.SetL4Dst(22) }
		},
		func() (string, func(*flow.Match)) {
			return "icmp_type: 8", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(flow.ProtoICMP); m.SetICMP(8, 0) }
		},
		func() (string, func(*flow.Match)) {
			return "eth_type: arp", func(m *flow.Match) { m.SetEthType(flow.EthTypeARP) }
		},
	}
	others := []func() (string, func(*flow.Match)){
		func() (string, func(*flow.Match)) {
			port := flow.PortNo(1 + r.IntN(3))
			return fmt.Sprintf("in_port: %d", port), func(m *flow.Match) { m.SetInPort(port) }
		},
		func() (string, func(*flow.Match)) {
			a := mac(1 + r.IntN(3))
			return fmt.Sprintf("eth_src: %q", a), func(m *flow.Match) { m.SetEthSrc(a, flow.MACExact) }
		},
		func() (string, func(*flow.Match)) {
			a := mac(1 + r.IntN(3))
			return fmt.Sprintf("eth_dst: %q", a), func(m *flow.Match) { m.SetEthDst(a, flow.MACExact) }
		},
		func() (string, func(*flow.Match)) {
			return "vlan_vid: 5", func(m *flow.Match) { m.SetVLAN(flow.VLANPresent|5, flow.VLANExact) }
		},
	}
	for i := range 2 + r.IntN(5) {
		var m flow.Match
		var words []string
		if !once(r, 4) {
			word, set := pick(r, conditions)()
			words = append(words, word)
			set(&m)
		}
		if len(words) == 0 || once(r, 2) {
			word, set := pick(r, others)()
			words = append(words, word)
			set(&m)
		}
		fmt.Fprintf(&b, "        - {name: r%d, priority: %d, match: {%s}, action: %s}\n", i, 100+r.IntN(5), strings.Join(words, ", "), pick(r, []string{"allow", "deny"}))
		hints = append(hints, m)
	}
	if !once(r, 4) {
		b.WriteString("  - forward: {mode: normal}\n")
	}
	return parsePolicy(Policy{Name: fmt.Sprintf("seed %d", seed), Text: b.String(), Hints: hints})
}

// GuardPolicy returns the policy of a seed that ties the stations 1 to 3 to ports 1 to 3, each with some of its addresses or all, or learns
// where some of them are. Its hints
// are packets of the stations, and what they send before they have an address; of two of them together comes a forged one.
func GuardPolicy(seed uint64) (Policy, error) {
	r := rand.New(rand.NewPCG(seed, 0x6775617264))
	var b strings.Builder
	fmt.Fprintf(&b, "serial: 1\ninstall: %s\nchain:\n  - sourceguard:\n      %s\n      bindings:\n", pick(r, []string{"flow", "flow", "host-pair", "mac-pair"}), pick(r, []string{"others: next", "others: deny", "learn: first"}))
	var hints []flow.Match
	learned := strings.Contains(b.String(), "learn")
	for n := 1; n <= 3; n++ {
		a4, a6 := host4(n), host6(n)
		switch r.IntN(6) {
		case 0:
			fmt.Fprintf(&b, "        - {port: %d, mac: %q}\n", n, mac(n))
		case 1:
			fmt.Fprintf(&b, "        - {port: %d, addresses: [%v, %q]}\n", n, a4, a6)
		default:
			if learned && n > 1 {
				break // its port learns
			}
			fmt.Fprintf(&b, "        - {port: %d, mac: %q, addresses: [%v, %q]}\n", n, mac(n), a4, a6)
		}
		var of, ip, arp, ip6, discovery flow.Match
		of.SetInPort(flow.PortNo(n))
		of.SetEthSrc(mac(n), flow.MACExact)
		ip, arp, ip6 = of, of, of
		ip.SetEthType(flow.EthTypeIPv4)
		ip.SetIPSrc(netip.PrefixFrom(a4, 32))
		arp.SetEthType(flow.EthTypeARP)
		arp.SetARPSPA(netip.PrefixFrom(a4, 32))
		arp.Fields |= flow.FieldARPSHA
		arp.ARPSHA = mac(n)
		ip6.SetEthType(flow.EthTypeIPv6)
		ip6.SetIPSrc(netip.PrefixFrom(a6, 128))
		discovery = ip6
		discovery.SetIPProto(flow.ProtoICMPv6)
		discovery.Fields |= flow.FieldNDTarget
		discovery.NDTarget = a6
		probe, dhcp := arp, ip
		probe.SetARPSPA(netip.PrefixFrom(netip.IPv4Unspecified(), 32))
		probe.SetARPTPA(netip.PrefixFrom(a4, 32))
		dhcp.SetIPSrc(netip.PrefixFrom(netip.IPv4Unspecified(), 32))
		dhcp.SetIPProto(flow.ProtoUDP)
		dhcp.SetL4Src(68)
		dhcp.SetL4Dst(67)
		hints = append(hints, ip, ip, arp, arp, ip6, discovery, probe, dhcp)
	}
	b.WriteString("  - forward: {mode: normal}\n")
	return parsePolicy(Policy{Name: fmt.Sprintf("seed %d", seed), Text: b.String(), Hints: hints})
}

func parsePolicy(p Policy) (_ Policy, err error) {
	if p.Hold, err = policyfile.Parse(strings.NewReader(p.Text), p.Name, "."); err != nil {
		err = fmt.Errorf("%w in\n%s", err, p.Text)
	}
	return p, err
}

// remembering is a controller whose decisions rest on states, with the states.
type remembering struct {
	c      *controller.Controller
	mu     sync.Mutex
	states map[string][]byte
}

// Decide implements flow.Decider.
func (r *remembering) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	return r.ask(ctx, ev, d, true)
}

// ask decides, and keeps what is learned if it is to.
func (r *remembering) ask(ctx context.Context, ev *flow.Event, d *flow.Decision, keep bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := *ev
	asked.Time, asked.States = time.Now(), nil
	for _, key := range r.c.StateKeys(&asked, nil) {
		asked.States = append(asked.States, flow.State{Key: key, Data: r.states[key]})
	}
	err := r.c.Decide(ctx, &asked, d)
	if d.Change != nil && keep {
		r.states[asked.States[d.Change.Index].Key] = d.Change.Data
	}
	d.Change = nil
	return err
}

// Local implements flow.Local.
func (*remembering) Local() bool { return true }

// watched is the native controller, with the rules that it has answered with.
type watched struct {
	next  flow.Decider
	spoil func(*flow.Rule) // makes a mistake that is to be found; nil: none

	mu    sync.Mutex
	sw    *flow.Switch
	rules []flow.Rule
	asked int
}

// Decide implements flow.Decider.
func (w *watched) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	err := w.next.Decide(ctx, ev, d)
	w.mu.Lock()
	defer w.mu.Unlock()
	if ev.PacketIn != nil {
		w.asked++
		w.sw = ev.Switch
	}
	for i := range d.Rules {
		if w.spoil != nil {
			w.spoil(&d.Rules[i])
		}
		r := d.Rules[i]
		r.Actions = slices.Clone(r.Actions)
		w.rules = append(w.rules, r)
	}
	return err
}

// Local implements flow.Local.
func (w *watched) Local() bool { return true }

// asks asks the controller about a packet as Open vSwitch classifies it. A packet that answers one for which there was a rule is neither denied
// nor allowed: it may pass, and for a moment it may not.
func (w *watched) asks(c *Classified, frame []byte) (reason string, v flow.Verdict, err error) {
	pi := flow.PacketIn{BufferID: flow.NoBuffer, Match: c.Match, Data: frame, TotalLen: len(frame)}
	pi.Match = pi.Match.Keep(pi.Match.Fields &^ (flow.FieldMetadata | flow.FieldTunnelID))
	var d flow.Decision
	ev := flow.Event{Type: flow.EventPacketIn, XID: 1, Switch: w.sw, PacketIn: &pi}
	if r, ok := w.next.(*remembering); ok {
		err = r.ask(context.Background(), &ev, &d, false)
	} else {
		err = w.next.Decide(context.Background(), &ev, &d)
	}
	if d.IfReply != nil && w.opened(&pi.Match) {
		return d.Reason, flow.NoVerdict, err
	}
	return d.Reason, d.Verdict, err
}

// opened reports whether there was a rule of a packet that m answers, by another port.
func (w *watched) opened(m *flow.Match) bool {
	q, ok := m.Question()
	return ok && slices.ContainsFunc(w.rules, func(r flow.Rule) bool { return q.OpenedBy(&r) && r.Match.InPort != m.InPort })
}

const (
	policyRounds  = 3
	policyEvents  = 12  // packets that the switch asks about in a round
	policyPackets = 100 // traced in a round
)

// TryPolicy has the native controller decide by p about packets of every kind, and returns the first packet
// that it would deny and that the rules let pass, or that it would allow and that they drop. spoil, if not nil, changes each rule before the gateway
// has it: to see that a mistake is found.
func TryPolicy(tb testing.TB, version flow.Protocol, p *Policy, seed uint64, spoil func(*flow.Rule)) (Counts, *Leak) {
	tb.Helper()
	c := newCourt(tb, version)
	w := &watched{next: policyhost.NewNative(p.Hold), spoil: spoil}
	if native := controller.New(p.Hold); native.Stateful() {
		w.next = &remembering{c: native, states: make(map[string][]byte)}
	}
	c.run(gatewayConfig{function: w, onDecision: func(flow.EventType, uint32, uint64) {}})
	r := rand.New(rand.NewPCG(seed, 3))
	made := func(whole bool) Packet {
		q := RandomPacket(r, whole)
		for range r.IntN(3) {
			if len(p.Hints) > 0 {
				q.Satisfy(&p.Hints[r.IntN(len(p.Hints))])
			}
		}
		q.Port = max(1, min(q.Port, 3))
		if once(r, 2) {
			q.LinkLayer = q.SHA
		}
		return q
	}
	for range policyRounds {
		for range policyEvents {
			q := made(!once(r, 3))
			c.receive(&q)
		}
		c.settleUntilAsked(w)
		if leak := c.judgePolicy(p, w, r, made); leak != nil {
			leak.Seed = seed
			return c.Counts, leak
		}
	}
	return c.Counts, nil
}

// settleUntilAsked returns when the switch has nothing more to ask: a frame is on its way to the controller
// for a moment after the port has received it.
func (c *Court) settleUntilAsked(w *watched) {
	c.tb.Helper()
	for quiet, before := 0, -1; quiet < 3; quiet++ {
		c.settle()
		w.mu.Lock()
		asked := w.asked
		w.mu.Unlock()
		if asked != before {
			before, quiet = asked, 0
		}
	}
	c.Counts.Cases = w.asked
}

func (c *Court) judgePolicy(p *Policy, w *watched, r *rand.Rand, made func(whole bool) Packet) *Leak {
	c.tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	inSwitch := c.flows()
	allows, _, _ := c.sides(w.rules, inSwitch)
	if len(allows) == 0 {
		return nil
	}
	c.Counts.Open++
	for range policyPackets {
		q := made(true)
		if !once(r, 8) {
			q.Satisfy(pick(r, allows))
		}
		if once(r, 2) && len(p.Hints) > 0 {
			q.Satisfy(&p.Hints[r.IntN(len(p.Hints))])
		}
		if once(r, 4) {
			q.L4Dst = pick(r, ports)
		}
		if once(r, 3) {
			q.forge(r)
		}
		q.Port = max(1, min(q.Port, 3))
		one := traced{port: uint32(q.Port), frame: q.Frame()}
		tr := c.trace(&one)
		if one.class.Fragment {
			continue // which entry decides about it is not for the rules to say
		}
		reason, verdict, err := w.asks(&one.class, one.frame)
		if err != nil {
			c.tb.Fatal(err)
		}
		if verdict == flow.Deny {
			c.Counts.Denied++
		}
		last := len(tr.Rules) - 1
		dropped := verdict == flow.Allow && last >= 0 && tr.Rules[last].Actions == "drop" // as the table-miss rule does not
		if verdict == flow.Deny && tr.Forwards() || dropped {
			c.Counts.Leaks++
			if dropped {
				reason = "nobody, and it is dropped: " + reason
			}
			return &Leak{Version: c.version, Kind: "policy", Twists: []string{p.Name}, Why: reason, Answer: strings.Split(p.Text, "\n"), Switch: inSwitch, Errors: c.tap.refusals(), Trace: tr.Text}
		}
	}
	return nil
}
