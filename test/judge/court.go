package judge

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/internal/ovs"
)

// Court is an Open vSwitch whose bridge speaks one version of OpenFlow with a gateway in this process.
type Court struct {
	Counts    Counts
	tb        testing.TB
	sw        *ovs.Switchd
	control   *ovs.Control
	bridge    string
	version   flow.Protocol
	listeners []*tapped
	current   int // index of the listener that the bridge is told to connect to
	opened    chan *tap
	tap       *tap
	function  *function
	standing  string // the rules that the gateway has in an idle switch
	spareUp   bool
	spoilt    bool     // the switch misses what the gateway deletes
	limited   bool     // the bridge's first table takes some rules only
	cookies   []uint64 // of the answers whose rules may be in the switch
	connected chan struct{}
}

// Counts are what a court has tried.
type Counts struct {
	Cases   int // answers
	Unasked int // of these, the switch reported nothing
	Refused int // of these, the switch refused a rule
	Open    int // of these, some rule that forwards was installed, and packets get to it
	Packets int // traced
	Hits    int // of these, met a rule with actions
	Denied  int // of these, are denied by answer or function
	Leaks   int
}

func (n *Counts) add(m Counts) {
	n.Cases += m.Cases
	n.Unasked += m.Unasked
	n.Refused += m.Refused
	n.Open += m.Open
	n.Packets += m.Packets
	n.Hits += m.Hits
	n.Denied += m.Denied
	n.Leaks += m.Leaks
}

// Share is the part of the traced packets that met a rule with actions, in per cent.
func (n Counts) Share() float64 { return 100 * float64(n.Hits) / float64(max(n.Packets, 1)) }

func (n Counts) String() string {
	return fmt.Sprintf("%d answers (%d not asked for, %d partly refused by the switch, %d with a rule that forwards), %d packets traced, %.0f %% met a rule with actions, %d are denied, %d leaks",
		n.Cases, n.Unasked, n.Refused, n.Open, n.Packets, n.Share(), n.Denied, n.Leaks)
}

// Leak is a packet that is denied and would be forwarded.
type Leak struct {
	Seed    uint64
	Version flow.Protocol
	Kind    Kind
	Event   flow.EventType
	Twists  []string
	Why     string   // what denies the packet
	Answer  []string // the function's rules
	Switch  []string // the rules in the switch
	Errors  []string // what the switch refused
	Trace   string   // what Open vSwitch does with the packet; "" where the gateway itself sent it on
}

func (l *Leak) String() string {
	return fmt.Sprintf("seed %d, %v: a denied packet passes\n  kind %s, event %v, twists %q\n  denied by: %s\n  the answer:\n    %s\n  in the switch:\n    %s\n  the switch refused: %q\n%s",
		l.Seed, l.Version, l.Kind, l.Event, l.Twists, l.Why, strings.Join(l.Answer, "\n    "), strings.Join(l.Switch, "\n    "), l.Errors, l.Trace)
}

// function is what the gateway asks: it answers the event that the court waits for as told, and nothing else with a drop.
type function struct {
	mu      sync.Mutex
	want    flow.EventType // 0: nothing is waited for
	answer  func(packet *flow.Match) *flow.Decision
	route   flow.PortNo // it is asked about this port alone, if not 0
	xid     uint32
	packet  *flow.Match    // of the event that was answered
	said    *flow.Decision // as it was said
	decided chan outcome
}

// outcome is a decision whose messages are on their way to the switch.
type outcome struct {
	xid    uint32
	cookie uint64
	packet *flow.Match
	said   *flow.Decision
}

// Decide implements flow.Decider.
func (f *function) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ev.Type != f.want {
		d.HasPacketOut = ev.Type == flow.EventPacketIn
		return nil
	}
	f.want, f.xid, f.packet = 0, ev.XID, nil
	if ev.PacketIn != nil {
		m := ev.PacketIn.Match
		f.packet = &m
	}
	f.said = f.answer(f.packet)
	says := flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
		for i := range f.said.Rules {
			r := f.said.Rules[i]
			r.Actions = slices.Clone(r.Actions)
			d.Rules = append(d.Rules, r)
		}
		d.HasPacketOut, d.PacketOut = f.said.HasPacketOut, append(d.PacketOut, f.said.PacketOut...)
		return nil
	})
	if f.route == 0 {
		return says(ctx, ev, d)
	}
	silent := flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error { return nil })
	return decider.NewRoutes([]decider.Route{{Name: "one port", Ports: []flow.PortNo{f.route}, Decider: says}}, silent).Decide(ctx, ev, d)
}

// Local implements flow.Local: the gateway decides where it reads, in order.
func (f *function) Local() bool { return true }

func (f *function) onDecision(_ flow.EventType, xid uint32, cookie uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.xid == xid && f.said != nil {
		f.decided <- outcome{xid, cookie, f.packet, f.said}
		f.xid, f.said = 0, nil
	}
}

// expect has the next event of a type answered.
func (f *function) expect(t flow.EventType, answer func(*flow.Match) *flow.Decision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want, f.answer = t, answer
	for len(f.decided) > 0 {
		<-f.decided
	}
}

var versionNames = map[flow.Protocol]string{flow.OpenFlow10: "OpenFlow10", flow.OpenFlow13: "OpenFlow13"}

// NewCourt makes a bridge on a private Open vSwitch of its own, and a gateway without the named guardrails.
func NewCourt(tb testing.TB, version flow.Protocol, off ...guard.Rail) *Court {
	tb.Helper()
	c := newCourt(tb, version)
	c.function = &function{decided: make(chan outcome, 16)}
	c.run(gatewayConfig{function: c.function, off: off, onDecision: c.function.onDecision})
	c.standing = strings.Join(c.flows(), "\n")
	return c
}

// Spoil has the switch miss what the gateway deletes from now on: to see that such a mistake is found.
func (c *Court) Spoil() {
	c.spoilt = true
	c.tap.spoil(true)
}

// newCourt makes all but the gateway.
func newCourt(tb testing.TB, version flow.Protocol) *Court {
	tb.Helper()
	c := &Court{tb: tb, version: version, bridge: "br0", opened: make(chan *tap, 4), connected: make(chan struct{}, 4), spareUp: true}
	c.sw = ovs.Start(tb, ovs.Options{Dummy: true})
	c.control = c.sw.Control()
	// Open vSwitch waits a second before it connects to the same controller again, and not at all before it connects to another.
	for range 2 {
		c.listeners = append(c.listeners, &tapped{Listener: c.sw.ListenUnix(), opened: c.opened})
	}
	return c
}

// run starts the gateway and connects the bridge to it.
func (c *Court) run(cfg gatewayConfig) {
	c.tb.Helper()
	for _, l := range c.listeners {
		cfg.listeners = append(cfg.listeners, l)
	}
	next := cfg.onDecision
	cfg.onDecision = func(t flow.EventType, xid uint32, cookie uint64) {
		next(t, xid, cookie)
		if t == flow.EventSwitchConnected {
			c.connected <- struct{}{}
		}
	}
	stop, err := startGateway(cfg)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(stop)
	c.sw.AddBridge(c.bridge, ovs.Bridge{DPID: 0x2a, Protocols: []string{versionNames[c.version]}})
	for i := range 3 {
		c.sw.AddPort(c.bridge, fmt.Sprintf("p%d", i+1), uint32(i+1))
	}
	c.sw.AddPort(c.bridge, "spare", 9)
	c.tb.Cleanup(func() {
		if c.tap != nil {
			c.tap.close()
		}
	})
	c.connect()
	c.settle()
}

// connect gives the bridge a new connection to the gateway, which waits until the gateway is done with the
// one before (see served). The rules in the bridge stay.
func (c *Court) connect() {
	c.tb.Helper()
	c.current = 1 - c.current
	c.sw.SetController(c.bridge, ovs.Target(c.listeners[c.current].Listener)) // in place of the other: a bridge's first one clears its tables
	deadline := time.After(20 * time.Second)
	select {
	case c.tap = <-c.opened:
		c.tap.spoil(c.spoilt)
	case <-deadline:
		c.tb.Fatal("the switch does not connect to the gateway")
	}
	for {
		select {
		case <-c.connected: // the answer to switch_connected is on its way
			return
		case <-c.tap.closed:
			c.tb.Fatal("the gateway closes the connection of a switch")
		case <-deadline:
			c.tb.Fatal("the gateway does not ask about a switch that has connected")
		case <-time.After(5 * time.Millisecond):
			c.call("version") // a message that came with the HELLO Open vSwitch reads when it wakes, half a second later by itself
		}
	}
}

// limit has the bridge's first table take so many rules and refuse others; -1 lifts it.
func (c *Court) limit(rules int) {
	c.tb.Helper()
	if c.limited = rules >= 0; !c.limited {
		c.sw.Vsctl("clear", "bridge", c.bridge, "flow_tables")
		return
	}
	c.sw.Vsctl("--id=@t", "create", "Flow_Table", fmt.Sprintf("flow_limit=%d", rules), "overflow_policy=refuse", "--", "set", "bridge", c.bridge, "flow_tables:0=@t")
}

// rounds is how often gateway and switch get to answer each other: a rule, the ERROR about it, what the
// gateway does because of the ERROR.
const rounds = 2

func (c *Court) settle() {
	c.tb.Helper()
	for range rounds {
		if err := c.tap.settle(c.version); err != nil {
			c.tb.Fatal(err)
		}
	}
}

func (c *Court) call(command string, args ...string) string {
	c.tb.Helper()
	s, err := c.control.Call(command, args...)
	if err != nil {
		c.tb.Fatal(err)
	}
	return s
}

var statistics = regexp.MustCompile(`duration=[^,]*, n_packets=\d+, n_bytes=\d+, `)

// flows are the rules in the bridge's tables, sorted, as Open vSwitch prints them.
func (c *Court) flows() (list []string) {
	c.tb.Helper()
	for line := range strings.Lines(c.call("bridge/dump-flows", c.bridge)) {
		line = statistics.ReplaceAllString(strings.TrimSpace(line), "")
		if line != "" && !strings.HasPrefix(line, "table_id=254") { // its own
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return list
}

// flowPlace reads where a printed rule is.
func flowPlace(line string) (table uint8, priority uint16) {
	if rest, ok := strings.CutPrefix(line, "table_id="); ok {
		number, after, _ := strings.Cut(rest, ", ")
		n, _ := strconv.ParseUint(number, 10, 8)
		table, line = uint8(n), after
	}
	rest, _ := strings.CutPrefix(line, "priority=")
	number, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.ParseUint(number, 10, 16)
	return table, uint16(n)
}

// trigger makes the switch report an event.
func (c *Court) trigger(cs *Case, event flow.EventType) {
	c.tb.Helper()
	mark := func() (m flow.Match) { m.SetEthType(0x88b6); return m }
	switch event {
	case flow.EventPacketIn:
		c.receive(&cs.Packet)
	case flow.EventSwitchConnected:
		c.connect()
	case flow.EventFlowRemoved:
		r := flow.Rule{Priority: 7777, Match: mark(), Flags: flow.SendFlowRemoved, Cookie: foreignCookie}
		gone := r
		gone.Command, gone.OutPort, gone.Flags = flow.DeleteStrict, flow.PortAny, 0
		c.change(r, gone)
	case flow.EventPortStatus:
		c.spareUp = !c.spareUp
		c.call("netdev-dummy/set-admin-state", "spare", map[bool]string{true: "up", false: "down"}[c.spareUp])
	case flow.EventError:
		if err := c.tap.provoke(c.version, c.prime(cs)); err != nil {
			c.tb.Fatal(err)
		}
		return
	}
}

// prime has a packet answered with a harmless rule and returns the decision's number, which an ERROR may carry.
func (c *Court) prime(cs *Case) uint32 {
	c.tb.Helper()
	f := c.function
	f.mu.Lock()
	want, answer := f.want, f.answer
	f.mu.Unlock()
	p := Packet{Port: 1, EthSrc: mac(9), EthDst: mac(9), EthType: 0x88b7}
	for i := range cs.Foreign {
		if m := &cs.Foreign[i].Match; m.Has(flow.FieldInPort) && m.InPort == p.Port {
			p.Port = 1 + p.Port%3 // past somebody else's deny, which may ask for nothing but the port
		}
	}
	f.expect(flow.EventPacketIn, func(m *flow.Match) *flow.Decision {
		return &flow.Decision{Rules: []flow.Rule{{Priority: 1, HardTimeout: time.Minute, Match: m.Canonical().Keep(flow.FieldInPort | flow.FieldEthType)}}}
	})
	c.receive(&p)
	o, ok := c.outcome()
	if !ok {
		c.tb.Fatal("the gateway was not asked about a plain packet")
	}
	c.settle()
	f.expect(want, answer)
	return o.xid
}

func (c *Court) receive(p *Packet) {
	c.tb.Helper()
	c.call("revalidator/purge") // else the datapath may still know what a rule that is gone did with such a packet
	c.call("netdev-dummy/receive", fmt.Sprintf("p%d", p.Port), hex.EncodeToString(p.Frame()))
}

func (c *Court) change(rules ...flow.Rule) {
	c.tb.Helper()
	if err := c.tap.change(c.version, rules...); err != nil {
		c.tb.Fatal(err)
	}
}

// outcome waits for the answer to what was triggered.
func (c *Court) outcome() (outcome, bool) {
	select {
	case o := <-c.function.decided:
		c.cookies = append(c.cookies, o.cookie)
		return o, true
	case <-time.After(2 * time.Second):
		return outcome{}, false
	}
}

// Try runs a case and returns the first leak that it finds, or nil.
func (c *Court) Try(cs *Case) *Leak {
	c.tb.Helper()
	if !cs.For(c.version) {
		return nil
	}
	c.Counts.Cases++
	if len(cs.Foreign) > 0 {
		c.tap.refusals()
		c.change(cs.Foreign...)
		if refused := c.tap.refusals(); len(refused) > 0 {
			c.tb.Fatalf("seed %d: the switch refuses %v: %v", cs.Seed, cs.Foreign, refused)
		}
		if cs.Event != flow.EventSwitchConnected {
			c.connect()
			c.settle()
		}
	}
	if cs.Room >= 0 {
		c.limit(len(c.flows()) + cs.Room) // all that is there is in the first table
	}
	c.tap.show(cs.Shown)
	c.function.route = cs.Route
	defer func() { c.function.route = 0 }()
	o, asked := c.ask(cs, cs.Event, cs.Answer)
	c.tap.show(-1)
	if !asked {
		c.Counts.Unasked++
		c.clean(cs)
		return nil
	}
	rules := Meant(o.said.Rules, o.packet)
	leak := c.judge(cs, &o, rules)
	if leak == nil && cs.next != nil {
		c.limit(-1)
		if o, asked = c.ask(cs, flow.EventPortStatus, cs.next); !asked {
			c.tb.Fatalf("seed %d: a port's change is not asked about", cs.Seed)
		}
		leak = c.judge(cs, &o, append(rules, Meant(o.said.Rules, nil)...))
	}
	c.clean(cs)
	return leak
}

// ask has an event happen and returns its answer when the switch has what the gateway made of it.
func (c *Court) ask(cs *Case, event flow.EventType, answer func(*flow.Match) *flow.Decision) (outcome, bool) {
	c.tb.Helper()
	c.function.expect(event, answer)
	c.tap.refusals()
	c.trigger(cs, event)
	o, asked := c.outcome()
	if !asked {
		c.function.expect(0, nil)
		return o, false
	}
	c.settle()
	return o, true
}

// clean takes the case's rules out again.
func (c *Court) clean(cs *Case) {
	c.tb.Helper()
	if c.limited {
		c.limit(-1)
	}
	all := flow.Rule{Command: flow.Delete, Table: 0xff, OutPort: flow.PortAny}
	if c.version == flow.OpenFlow10 { // it has no standing rules, and no choice by cookie
		c.change(all)
	} else {
		rules := []flow.Rule{all}
		for _, cookie := range append(c.cookies, foreignCookie) {
			all.Cookie, all.CookieMask = cookie, ^uint64(0)
			rules = append(rules, all)
		}
		c.change(rules[1:]...)
	}
	c.cookies = c.cookies[:0]
	if cs.Kind == Refused { // the session remembers what was refused
		c.connect()
		c.settle()
	}
	if strings.Join(c.flows(), "\n") == c.standing {
		return
	}
	c.change(all) // a rule of no cookie that was told
	c.connect()   // the gateway makes what is its own anew
	c.settle()
	if now := strings.Join(c.flows(), "\n"); now != c.standing {
		c.tb.Fatalf("between two cases the switch has the rules\n%s\nwant\n%s", now, c.standing)
	}
}

// packetsPerCase are traced after each answer that leaves a rule that forwards.
const packetsPerCase = 24

// later is the time after which some cases are looked at again: denies that end before they should
// leave allows behind.
const later = 3 * time.Second

// traced is a packet that was asked about, and may be again.
type traced struct {
	port  uint32
	frame []byte
	class Classified
}

// judge looks for a packet that is denied and passes. rules are those of the answer, and of the one before it.
func (c *Court) judge(cs *Case, o *outcome, rules Rules) *Leak {
	c.tb.Helper()
	errors := c.tap.refusals()
	if len(errors) > 0 && cs.Event != flow.EventError { // which has one provoked
		c.Counts.Refused++
	}
	inSwitch := c.flows()
	leak := func(why, trace string) *Leak {
		c.Counts.Leaks++
		l := &Leak{Seed: cs.Seed, Version: c.version, Kind: cs.Kind, Event: cs.Event, Twists: cs.Twists, Why: why, Switch: inSwitch, Errors: errors, Trace: trace}
		for i := range o.said.Rules {
			l.Answer = append(l.Answer, o.said.Rules[i].String())
		}
		if cs.next != nil {
			l.Answer = append(l.Answer, "and, with the answer before, it means")
			for i := range rules {
				l.Answer = append(l.Answer, rules[i].String())
			}
		}
		if o.said.HasPacketOut {
			l.Answer = append(l.Answer, "PACKET_OUT "+flow.ActionsString(o.said.PacketOut))
		}
		return l
	}

	if o.packet != nil && c.tap.released(o.xid) {
		if o.said.HasPacketOut && !forwards(o.said.PacketOut) {
			return leak("the answer's PACKET_OUT", "the gateway sent the packet on")
		}
		if v, by := rules.Says(o.packet, 0); !o.said.HasPacketOut && v == Denied {
			return leak(rules[by].String(), "the gateway sent the packet on")
		}
	}

	allows, installed, gone := c.sides(rules, inSwitch)
	if len(allows) == 0 {
		return nil // nothing forwards, so nothing can be forwarded
	}
	c.Counts.Open++
	for i := range cs.Foreign {
		gone = append(gone, &cs.Foreign[i].Match)
	}
	var here []*flow.Match // rules that deny and are in the switch
	for i := range installed {
		if r := &installed[i]; r.Goto == 0 && !forwards(r.Actions) {
			here = append(here, &r.Match)
		}
	}
	r := rand.New(rand.NewPCG(cs.Seed, 2))
	var again []traced
	packets := packetsPerCase
	exact := !slices.ContainsFunc(allows, func(m *flow.Match) bool { return !m.Has(flow.FieldL4Dst) })
	if len(gone) == 0 && (cs.Kind == Answers || cs.Kind == Refused || cs.knowsOnePort() && exact) {
		packets /= 4 // all of the answer is in the switch, or it opens a port that is not the denied one
	}
	for i := range packets {
		// A deny that is not in the switch is what an allow may show through. Every third packet is one that
		// the rules in the switch let pass as they are written, or the others would show less than they seem to.
		allow := pick(r, allows)
		var p Packet
		if i%3 == 0 {
			p = cs.covered(r, allow, installed)
		} else {
			var deny *flow.Match
			switch {
			case len(gone) > 0 && !once(r, 4):
				deny = pick(r, gone)
			case len(here) > 0 && once(r, 3):
				deny = pick(r, here)
			}
			p = cs.neighbour(r, allow, deny, deny == nil && !once(r, 4))
		}
		one := traced{port: uint32(p.Port), frame: p.Frame()}
		tr := c.trace(&one)
		why := c.denies(cs, rules, &one.class, 0)
		if why == "" {
			continue
		}
		c.Counts.Denied++
		again = append(again, one)
		if tr.Forwards() && len(errors) > 0 {
			// What the gateway does about an ERROR may be on its way still.
			c.settle()
			inSwitch = c.flows()
			tr = c.trace(&one)
		}
		if tr.Forwards() {
			return leak(why, tr.Text)
		}
	}
	if cs.Kind != Answers || r.IntN(8) != 0 {
		return nil
	}
	c.call("time/warp", strconv.Itoa(int(later.Milliseconds())+500), "500")
	for i := range again {
		one := &again[i]
		if why := c.denies(cs, rules, &one.class, later+time.Second); why != "" {
			if tr := c.trace(one); tr.Forwards() {
				inSwitch = c.flows()
				return leak(fmt.Sprintf("%s, %v later", why, later), tr.Text)
			}
		}
	}
	return nil
}

// trace asks Open vSwitch about a packet, and notes how it classified it.
func (c *Court) trace(one *traced) ovs.Trace {
	c.tb.Helper()
	tr, err := c.control.Trace(c.bridge, one.port, one.frame)
	if err != nil {
		c.tb.Fatal(err)
	}
	if one.class, err = Classify(tr.Flow); err != nil {
		c.tb.Fatal(err)
	}
	c.Counts.Packets++
	if slices.ContainsFunc(tr.Rules, func(r ovs.TraceRule) bool {
		return r.Cookie != "" && r.Cookie != fmt.Sprintf("%#x", foreignCookie) && r.Actions != "drop" && !strings.HasPrefix(r.Actions, "CONTROLLER")
	}) {
		c.Counts.Hits++
	}
	return tr
}

// denies says what denies a packet, or "".
func (c *Court) denies(cs *Case, rules Rules, p *Classified, after time.Duration) (why string) {
	switch cs.Kind {
	case Answers, Refused:
		if v, by := rules.Says(&p.Match, after); v == Denied {
			return rules[by].String()
		}
	case Routed:
		if p.Match.InPort != cs.Route && DeniedPort.Denies(p) {
			return fmt.Sprintf("the function of all ports but %d, if it were asked: port %d", cs.Route, DeniedPort)
		}
	case Foreign, Outranked, Table:
		for i := range cs.Foreign {
			if covers(&cs.Foreign[i].Match, &p.Match) {
				return "somebody else's rule " + cs.Foreign[i].String()
			}
		}
	default:
		if DeniedPort.Denies(p) {
			return fmt.Sprintf("the function, if it were asked: port %d", DeniedPort)
		}
	}
	return ""
}

// sides returns the matches of those rules that forward, are in the switch and in a table that packets get
// to; all rules that are in the switch; and the matches of those that deny and are not.
func (c *Court) sides(rules Rules, inSwitch []string) (allows []*flow.Match, installed Rules, gone []*flow.Match) {
	type place struct {
		table    uint8
		priority uint16
		opens    bool
	}
	there, reached := map[place]bool{}, map[uint8]bool{0: true}
	for _, line := range inSwitch { // sorted by table, and a goto leads to a later one
		table, priority := flowPlace(line)
		there[place{table, priority, opens(line)}] = true
		if m := leads.FindStringSubmatch(line); m != nil && reached[table] {
			next, _ := strconv.ParseUint(m[1], 10, 8)
			reached[uint8(next)] = true
		}
	}
	for i := range rules {
		r := &rules[i]
		is := there[place{r.Table, r.Priority, len(r.Actions) > 0 || r.Goto != 0}]
		if is {
			installed = append(installed, *r)
		}
		switch {
		case r.Goto == 0 && !forwards(r.Actions):
			if !is {
				gone = append(gone, &r.Match)
			}
		case is && reached[r.Table]:
			allows = append(allows, &r.Match)
		}
	}
	return allows, installed, gone
}

var leads = regexp.MustCompile(`goto_table:(\d+)`)

// opens reports whether a printed rule does more than drop or ask.
func opens(line string) bool {
	_, actions, _ := strings.Cut(line, "actions=")
	return actions != "drop" && !strings.HasPrefix(actions, "CONTROLLER")
}
