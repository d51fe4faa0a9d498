package p4bridge

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
	"switchbridge/p4bridge/p4test"
	"switchbridge/p4bridge/pipeline"
)

// looking has a bridge compare the switch's tables with what must be in them all
// the time.
func looking(c *bridge.Config) { c.LookInterval = 50 * time.Millisecond }

// Proactive rules that somebody deletes, and the default action that asks, come
// back without a packet; until then the switch is not governed.
func TestWhatMustBeThereComesBack(t *testing.T) {
	for name, lose := range map[string]func(*simulated){
		"entries":        func(r *simulated) { r.Wipe() },
		"default action": func(r *simulated) { r.SetDefault("miss", "drop") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSimulated(t, p4test.Options{DeviceID: 1})
			p := new(versioned)
			p.set(1)
			cfg := fastConfig(r)
			cfg.Bridge = bridgeOf(t, p, looking)
			log := new(logbuffer.Buffer)
			cfg.Logger = log.JSON()
			serving(t, run(t, cfg, nil))
			eventually(t, "the proactive rule", func() bool { return len(r.Entries("flow")) == 1 })
			lose(r)
			eventually(t, "it is said", func() bool { return log.Has("has lost a rule", "CONTROLLER") || log.Has("lost entries", "flow") })
			eventually(t, "the proactive rule is back", func() bool { return len(r.Entries("flow")) == 1 })
			n := len(r.Entries("flow_exact"))
			eventually(t, "a new flow asks", func() bool {
				r.Packet(1, udp(1, 2, 1))
				return len(r.Entries("flow_exact")) == n+1
			})
		})
	}
}

// A default action that the switch does not take leaves it ungoverned, in status
// and readiness, and is tried again.
func TestDefaultActionRefused(t *testing.T) {
	t.Parallel() // the bridge tries again later and later
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	r.Inject(p4test.Faults{Write: func(u *p4v1.Update) error {
		if u.GetEntity().GetTableEntry().GetIsDefaultAction() {
			return status.Error(codes.Internal, "not today")
		}
		return nil
	}})
	cfg := fastConfig(r)
	b, log := bridgeOf(t, local{exactNormal}, nil), new(logbuffer.Buffer)
	cfg.Bridge, cfg.Logger = b, log.JSON()
	s := run(t, cfg, nil)
	serving(t, s)
	eventually(t, "it is said, in the switch's words", func() bool { return log.Has("refuses a rule that brings packets", "not today") })
	if s.Status().Missing == "" || b.Ready() == nil {
		t.Error("the gateway is ready with a switch that does not ask")
	}
	r.Inject(p4test.Faults{})
	eventually(t, "it is governed", func() bool { return s.Status().Missing == "" && b.Ready() == nil })
	r.Packet(1, udp(1, 2, 1))
	eventually(t, "and asks", func() bool { return len(r.Entries("flow_exact")) == 1 })
}

// A switch that is to flood what no rule is for does so once the proactive rules,
// which may deny, are in.
func TestFloodAfterProactiveRules(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	log := new(logbuffer.Buffer)
	cfg := fastConfig(r)
	cfg.Miss, cfg.Logger = MissFlood, log.JSON()
	answer := make(chan struct{})
	serving(t, run(t, cfg, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		<-answer
		deny := wideDeny(100)
		deny.IdleTimeout = 0
		d.Rules = append(d.Rules, deny)
		return nil
	})))
	flooded, denied := udp(1, 2, 1), udp(3, 4, 1)
	r.Packet(2, flooded)
	quiet(t, r, flooded, 50*time.Millisecond)
	close(answer)
	eventually(t, "it floods", func() bool { r.Packet(2, flooded); return len(r.Out()) > 0 })
	r.Packet(1, denied)
	quiet(t, r, denied, 50*time.Millisecond)
	if log.Has("has lost a rule") {
		t.Errorf("nothing was lost:\n%v", log)
	}
}

// Rules are listed as they were installed; of the gateway's own there is what
// happens to unknown flows.
func TestList(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		o := ownedBy(t, r)
		ctx := o.c.term.Load().ctx
		exact, drop := flowRule(1), flow.Rule{Priority: 300}
		exact.Cookie, exact.HardTimeout, exact.IdleTimeout = gatewayID.Cookie(flow.PolicyVersion{}, 5), time.Minute, 7*time.Second
		drop.Match.SetIPDst(netip.MustParsePrefix("10.0.0.0/8"))
		drop.Match.SetEthType(flow.EthTypeIPv4)
		drop.Cookie = 0x99 // another's
		if err := errors.Join(o.setMiss(ctx), o.Write(2, []bridge.Change{{Rule: exact}, {Rule: &drop}}, nil, false), o.flush(ctx)); err != nil {
			t.Fatal(err)
		}
		list := func(f bridge.Filter) (got []bridge.Installed) {
			t.Helper()
			err := o.List(ctx, f, func(in *bridge.Installed) error {
				if in.Hidden || in.Duration < 0 || in.Duration > time.Minute {
					t.Errorf("%+v", in)
				}
				got = append(got, *in)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		same := func(a, b *flow.Rule) bool {
			return a.Priority == b.Priority && a.Match == b.Match.Canonical() && a.Cookie == b.Cookie && a.IdleTimeout == b.IdleTimeout &&
				a.HardTimeout == b.HardTimeout && flow.ActionsString(a.Actions) == flow.ActionsString(b.Actions)
		}
		want := []*flow.Rule{exact, &drop, {Cookie: o.s.cfg.Bridge.OwnCookie(), Actions: []flow.Action{flow.OutputTo(flow.PortController)}}}
		got := list(bridge.Filter{})
		for _, w := range want {
			if !slices.ContainsFunc(got, func(in bridge.Installed) bool { return same(&in.Rule, w) }) {
				t.Errorf("%v (cookie %#x) is not listed; there are %+v", w, w.Cookie, got)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d rules, want %d", len(got), len(want))
		}
		if got = list(bridge.Filter{Cookie: 0x99, Mask: ^uint64(0)}); len(got) != 1 || !same(&got[0].Rule, &drop) {
			t.Errorf("by cookie: %+v", got)
		}
	})
}

// A large table is read in parts, and what is lost from it noticed.
func TestLargeTableIsReadInParts(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		o := ownedBy(t, r)
		ctx := o.c.term.Load().ctx
		const n = readWhole + 2*readPart + 3
		changes := make([]bridge.Change, n)
		for i := range changes {
			changes[i].Rule = flowRule(i)
		}
		if err := errors.Join(o.Write(1, changes, nil, false), o.flush(ctx)); err != nil {
			t.Fatal(err)
		}
		look := func() (listed int) {
			if err := o.List(ctx, bridge.Filter{}, func(*bridge.Installed) error { listed++; return nil }); err != nil {
				t.Fatal(err)
			}
			return listed - 1 // the default action
		}
		if got := look(); got != n || o.lost {
			t.Errorf("%d entries, want %d, all there", got, n)
		}
		gone := mustEntry(entryKeyOf(t, flowRule(7)))
		if err := o.c.write(ctx, []*p4v1.Update{tableUpdate(p4v1.Update_DELETE, gone)}); err != nil {
			t.Fatal(err)
		}
		if got := look(); got != n-1 || len(o.book.entries) != n-1 || !o.lost {
			t.Errorf("%d entries, %d in the book, want %d; lost %v", got, len(o.book.entries), n-1, o.lost)
		}
	})
}

func entryKeyOf(t testing.TB, r *flow.Rule) string {
	t.Helper()
	e, _, err := binding().Entry(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.KeyOf(e)
}

// What the owner writes while a table is read is neither lost nor found.
func TestReadBesideWrites(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	o := ownedBy(t, r)
	ctx := o.c.term.Load().ctx
	done := make(chan error, 1)
	go func() {
		var err error
		for range 50 {
			err = errors.Join(err, o.List(ctx, bridge.Filter{}, func(*bridge.Installed) error { return nil }))
		}
		done <- err
	}()
	for i, running := 0, true; running; i++ {
		rule := flowRule(i % 64)
		rule.Cookie = gatewayID.Cookie(flow.PolicyVersion{}, 1)
		change := bridge.Change{Rule: rule}
		if i/64%2 == 1 {
			change = bridge.Change{Remove: &bridge.Installed{Rule: *rule}}
		}
		if err := errors.Join(o.Write(1, []bridge.Change{change}, nil, false), o.flush(ctx)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
	}
	if have := len(r.Entries("flow_exact")); have != o.book.count[program().Table("flow_exact").ID] || o.lost {
		t.Errorf("the switch has %d entries, the book %d; lost: %v", have, len(o.book.entries), o.lost)
	}
}

// A rule is removed only while its entry is the one that was meant.
func TestRemoveOnlyWhatIsMeant(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	o := ownedBy(t, r)
	ctx := o.c.term.Load().ctx
	do := func(changes ...bridge.Change) {
		t.Helper()
		if err := errors.Join(o.Write(1, changes, nil, false), o.flush(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	old, fresh := *flowRule(1), *flowRule(1)
	old.Cookie, fresh.Cookie = gatewayID.Cookie(flow.PolicyVersion{}, 1), gatewayID.Cookie(flow.PolicyVersion{}, 2)
	lower := fresh
	lower.Priority = 50
	do(bridge.Change{Rule: &fresh})
	key := entryKeyOf(t, &fresh)
	for name, in := range map[string]bridge.Installed{
		"another decision's":              {Rule: old},
		"another decision's, by handle":   {Rule: old, Handle: key},
		"another priority":                {Rule: lower},
		"one that is not there":           {Rule: *flowRule(2)},
		"one that no table can ever hold": {Rule: flow.Rule{Table: 9}},
	} {
		do(bridge.Change{Remove: &in})
		if n := len(r.Entries("flow_exact")); n != 1 {
			t.Fatalf("removing %s: %d entries, want the one that was not meant", name, n)
		}
	}
	do(bridge.Change{Remove: &bridge.Installed{Rule: fresh}})
	if n := len(r.Entries("flow_exact")); n != 0 {
		t.Errorf("%d entries, want none", n)
	}
	do(bridge.Change{Rule: &fresh})
	do(bridge.Change{Remove: &bridge.Installed{Rule: fresh, Handle: key}})
	if n := len(r.Entries("flow_exact")); n != 0 {
		t.Errorf("by handle: %d entries, want none", n)
	}
}

// Entries of others are left alone when they are idle.
func TestIdleEntryOfAnother(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	o := ownedBy(t, r)
	ctx := o.c.term.Load().ctx
	ours, theirs := flowRule(1), flowRule(2)
	ours.Cookie, theirs.Cookie = gatewayID.Cookie(flow.PolicyVersion{}, 1), 0x99
	err := errors.Join(o.Write(1, []bridge.Change{{Rule: ours}, {Rule: theirs}}, nil, false), o.flush(ctx))
	o.idle(&p4v1.IdleTimeoutNotification{TableEntry: r.Entries("flow_exact")})
	if err := errors.Join(err, o.flush(ctx)); err != nil {
		t.Fatal(err)
	}
	if left := r.Entries("flow_exact"); len(left) != 1 || left[0].GetControllerMetadata() != 0x99 {
		t.Errorf("left %v, want the other's", left)
	}
}

// Of two rules of one answer that are one entry of a table without priorities,
// the higher is written, whichever comes first.
func TestOneEntryTwiceInAnAnswer(t *testing.T) {
	for _, denyFirst := range []bool{true, false} {
		r := newSimulated(t, p4test.Options{DeviceID: 1})
		o := ownedBy(t, r)
		deny, allow := flowRule(1), flowRule(1)
		deny.Priority, deny.Actions = 200, nil
		changes := []bridge.Change{{Rule: allow}, {Rule: deny}}
		if denyFirst {
			slices.Reverse(changes)
		}
		if err := errors.Join(o.Write(1, changes, nil, false), o.flush(o.c.term.Load().ctx)); err != nil {
			t.Fatal(err)
		}
		e := r.Entries("flow_exact")
		if len(e) != 1 || e[0].GetAction().GetAction().GetActionId() != program().Table("flow_exact").Action("drop").ID {
			t.Errorf("deny first %v: %v, want the drop of priority 200", denyFirst, e)
		}
	}
}

// A sweep of many rules is done in parts, and a packet's rule does not wait for it.
func TestSweepIsPaced(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	o := ownedBy(t, r)
	ctx := o.c.term.Load().ctx
	const n = 2048
	var adds []bridge.Change
	for i := range n {
		adds = append(adds, bridge.Change{Rule: flowRule(i)})
	}
	if err := errors.Join(o.Write(1, adds, nil, false), o.flush(ctx)); err != nil {
		t.Fatal(err)
	}
	for chunk := range slices.Chunk(adds, 256) {
		var removals []bridge.Change
		for _, c := range chunk {
			removals = append(removals, bridge.Change{Remove: &bridge.Installed{Rule: *c.Rule}})
		}
		if err := errors.Join(o.Write(2, removals, nil, false), o.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(o.Write(3, []bridge.Change{{Rule: flowRule(n)}}, nil, false), o.flush(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := len(r.Entries("flow_exact")); got < n-256+1 || got > n+1 || o.book.entries[entryKeyOf(t, flowRule(n))] == nil {
		t.Errorf("%d entries after the packet's rule was written, want all but one part, and the rule", got)
	}
	for range n/256 + 1 {
		if err := o.flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(r.Entries("flow_exact")); got != 1 {
		t.Errorf("%d entries in the end, want the packet's", got)
	}
}

// The exact table is looked up before the ternary one, whatever the priorities.
func TestBefore(t *testing.T) {
	o := &owner{s: &Session{cfg: Config{Mapping: binding()}}}
	exact, wide, high := flowRule(1), &flow.Rule{Priority: 200}, &flow.Rule{Priority: 50000}
	wide.Match.SetInPort(1)
	high.Match.SetInPort(1)
	other := *wide
	other.Table = 1
	for _, c := range []struct {
		a, b *flow.Rule
		want bool
	}{
		{exact, wide, true}, {wide, exact, false}, {high, exact, true}, {exact, high, false},
		{high, wide, true}, {wide, high, false}, {wide, wide, false}, {exact, exact, false},
		{exact, &other, false}, {&flow.Rule{Table: 9}, wide, false},
	} {
		if got := o.Before(c.a, c.b); got != c.want {
			t.Errorf("%v before %v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// Fit speaks of the switch's tables, changes nothing but what is left out, and
// refuses what the program lacks.
func TestFit(t *testing.T) {
	o := &owner{s: &Session{cfg: Config{Mapping: binding()}}}
	tcp := flow.Rule{Priority: 100, Actions: []flow.Action{flow.OutputTo(2)}}
	tcp.Match.SetL4Dst(22)
	var packet flow.Match
	packet.SetEthType(flow.EthTypeIPv4)
	packet.SetIPProto(flow.ProtoTCP)
	if err := o.Fit(&tcp, &packet); err != nil || !tcp.Match.Has(flow.FieldEthType|flow.FieldIPProto) {
		t.Errorf("%v, %v: want the packet's prerequisites", tcp.Match, err)
	}
	for want, change := range map[string]func(*flow.Rule){
		"meter 3":         func(r *flow.Rule) { r.Meter = 3 },
		"no key for":      func(r *flow.Rule) { r.Match.Fields |= flow.FieldIPDSCP },
		"only ADD":        func(r *flow.Rule) { r.Command = flow.Delete },
		"no P4 action is": func(r *flow.Rule) { r.Actions = []flow.Action{flow.OutputTo(1), flow.OutputTo(2)} },
		"ip_proto":        func(r *flow.Rule) { r.Match = flow.Match{}; r.Match.SetL4Dst(22) },
	} {
		r := tcp
		change(&r)
		if err := o.Fit(&r, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
	for _, c := range []struct {
		actions []flow.Action
		fits    bool
	}{
		{nil, true}, {[]flow.Action{flow.OutputTo(2), flow.OutputTo(flow.PortFlood)}, true}, {[]flow.Action{{Type: flow.PopVLAN}}, false},
	} {
		if err := o.FitActions(c.actions, &packet); (err == nil) != c.fits {
			t.Errorf("%v: %v", flow.ActionsString(c.actions), err)
		}
	}
}

// In one answer, an allow for one flow does not pass by a higher deny because its
// table is looked up first; nor does a wide allow stay where the deny above it
// can't be installed, whether the mapping says so or the switch.
func TestDenyIsNotPassedBy(t *testing.T) {
	deny := func(set func(*flow.Match)) flow.Rule {
		r := flow.Rule{Priority: 200, IdleTimeout: time.Minute}
		r.Match.SetInPort(1)
		set(&r.Match)
		return r
	}
	anyone := deny(func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4) })
	unfit := deny(func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.Fields |= flow.FieldIPDSCP })
	wide := flow.Rule{Priority: 100, IdleTimeout: time.Minute, Actions: []flow.Action{flow.OutputTo(2)}}
	wide.Match.SetInPort(1)
	exactAllow := flowRule(1)
	exactAllow.IdleTimeout = time.Minute
	for name, c := range map[string]struct {
		rules  []flow.Rule
		refuse string // the table whose entries the switch refuses
		left   int
	}{
		"an exact allow under a wide deny":   {[]flow.Rule{anyone, *exactAllow}, "", 1},
		"a wide allow under an unfit deny":   {[]flow.Rule{unfit, wide}, "", 0},
		"a wide allow under a refused deny":  {[]flow.Rule{deny(func(m *flow.Match) { *m = exactAllow.Match }), wide}, "flow_exact", 0},
		"an exact allow above a wide deny":   {[]flow.Rule{wideDeny(50), *exactAllow}, "", 2},
		"an exact allow under an acl's deny": {[]flow.Rule{wideDeny(50000), *exactAllow}, "", 2},
	} {
		for _, proactive := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", proactive"}[proactive], func(t *testing.T) {
				t.Parallel()
				r := newSimulated(t, p4test.Options{DeviceID: 1})
				var answered atomic.Bool
				cfg := fastConfig(r)
				cfg.Bridge = bridgeOf(t, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
					if proactive == (ev.Type == flow.EventSwitchConnected) {
						for _, rule := range c.rules {
							rule.Actions = slices.Clone(rule.Actions)
							d.Rules = append(d.Rules, rule)
						}
						answered.Store(true)
					}
					return nil
				}}, nil)
				r.Inject(p4test.Faults{Write: func(u *p4v1.Update) error {
					if c.refuse != "" && u.GetType() == p4v1.Update_INSERT && u.GetEntity().GetTableEntry().GetTableId() == program().Table(c.refuse).ID {
						return status.Error(codes.Internal, "no")
					}
					return nil
				}})
				serving(t, run(t, cfg, nil))
				if !proactive {
					r.Packet(1, udp(1, 2, 1))
				}
				count := func() int { return len(r.Entries("acl")) + len(r.Entries("flow_exact")) + len(r.Entries("flow")) }
				eventually(t, "the answer's rules", func() bool { return answered.Load() && count() == c.left })
				time.Sleep(20 * time.Millisecond) // there is no event for what must not happen
				if n := count(); n != c.left {
					t.Errorf("%d entries, want %d", n, c.left)
				}
			})
		}
	}
}

// An entry that names its table itself and is not installed takes the rules of
// its answer with it: nobody can say which of them it shielded.
func TestRefusedEntryTakesRulesWithIt(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	log := new(logbuffer.Buffer)
	cfg := fastConfig(r)
	cfg.Entries, cfg.Logger = true, log.JSON()
	cfg.Bridge = bridgeOf(t, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.Type == flow.EventSwitchConnected {
			d.Entries = append(d.Entries, flow.Entry{Table: "acl", Priority: 7, Action: "deny"}) // its name is drop
			allow := flow.Rule{Priority: 100, Actions: []flow.Action{flow.OutputTo(2)}}
			allow.Match.SetEthType(flow.EthTypeIPv4)
			d.Rules = append(d.Rules, allow)
		}
		return nil
	}}, nil)
	serving(t, run(t, cfg, nil))
	eventually(t, "the entry is refused, and the rule goes", func() bool {
		return log.Has("refuses a rule", `no action \"deny\"`, "removed_with_it") && len(r.Entries("flow")) == 0
	})
}

func wideDeny(priority uint16) flow.Rule {
	r := flow.Rule{Priority: priority, IdleTimeout: time.Minute}
	r.Match.SetInPort(1)
	return r
}

// Pending decisions come back when the gateway stops, and what they say reaches
// the switch: the rule, and the packet that waited for it.
func TestDrain(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := fastConfig(r)
		cfg.Miss = MissPunt
		asked, answer := make(chan struct{}), make(chan struct{})
		s, stop := runUntil(t, cfg, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn != nil {
				close(asked)
				<-answer
			}
			return toPort(3)(ctx, ev, d)
		}))
		serving(t, s)
		frame := udp(1, 2, 1)
		r.packet(t, 1, frame)
		<-asked
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		select {
		case <-stopped:
			t.Fatal("stopped without the decision that was pending")
		case <-time.After(50 * time.Millisecond):
		}
		close(answer)
		expect(t, r, 3, frame)
		if n := len(entries(t, r, "flow_exact")); n != 1 {
			t.Errorf("%d entries, want the rule", n)
		}
		<-stopped
	})
}

// A function that does not answer costs its event the deadline.
func TestEventDeadline(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	cfg := fastConfig(r)
	late := make(chan error, 1)
	cfg.Bridge = bridgeOf(t, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			<-ctx.Done()
			late <- context.Cause(ctx)
			return ctx.Err()
		}
		return nil
	}), func(b *bridge.Config) { b.EventTimeout = 50 * time.Millisecond })
	serving(t, run(t, cfg, nil))
	r.Packet(1, udp(1, 2, 1))
	select {
	case err := <-late:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ended by %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no deadline")
	}
}

// Rates that are configured for packets hold for digests: one over its rate is
// not asked about, and its list is acknowledged all the same.
func TestRateReachesP4(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	cfg := fastConfig(r)
	cfg.Bridge = bridgeOf(t, local{exactNormal}, func(b *bridge.Config) {
		b.Admit = func(ev *flow.Event, _ time.Time) error {
			if ev.PacketIn.Match.InPort == 1 {
				return errors.New("over its rate")
			}
			return nil
		}
	})
	serving(t, run(t, cfg, nil))
	r.Packet(1, udp(1, 2, 1))
	r.Packet(2, udp(3, 4, 1))
	eventually(t, "both are acknowledged", func() bool { return r.Stats().Acks == 2 })
	if e := r.Entries("flow_exact"); len(e) != 1 || !hasPort(e, 2) {
		t.Errorf("%v, want port 2's alone", e)
	}
}

// After another controller has pushed a program over ours, and made groups and
// clone sessions or not, a flood leaves by each port once.
func TestFloodsOnceAfterAPush(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		for _, groups := range []bool{false, true} {
			_, stop := servedUntil(t, r)
			stop()
			b := newBare(t, r, 20)
			if c := b.arbitration(t); c != codes.OK {
				t.Fatal(c)
			}
			p := program()
			for range 2 { // the second push is over the first's groups
				if _, err := b.SetForwardingPipelineConfig(context.Background(), &p4v1.SetForwardingPipelineConfigRequest{
					DeviceId: 1, ElectionId: b.id, Action: p4v1.SetForwardingPipelineConfigRequest_VERIFY_AND_COMMIT,
					Config: &p4v1.ForwardingPipelineConfig{P4Info: p.Info, P4DeviceConfig: p.Device}}); err != nil { // without a cookie
					t.Fatal(err)
				}
				if !groups {
					continue
				}
				replica := []*p4v1.Replica{{PortKind: &p4v1.Replica_EgressPort{EgressPort: 2}, Instance: 1}} //nolint:staticcheck // what BMv2 reads
				pre := func(e *p4v1.PacketReplicationEngineEntry) *p4v1.Update {
					return &p4v1.Update{Type: p4v1.Update_INSERT, Entity: &p4v1.Entity{Entity: &p4v1.Entity_PacketReplicationEngineEntry{PacketReplicationEngineEntry: e}}}
				}
				for id := uint32(1); id < 4; id++ {
					code, each := b.write(b.id,
						pre(&p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_MulticastGroupEntry{MulticastGroupEntry: &p4v1.MulticastGroupEntry{MulticastGroupId: id, Replicas: replica}}}),
						pre(&p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_CloneSessionEntry{CloneSessionEntry: &p4v1.CloneSessionEntry{SessionId: id, Replicas: replica}}}))
					if code != codes.OK {
						t.Fatal(code, each)
					}
				}
			}
			_ = b.stream.CloseSend()
			for b.arbitration(t) == codes.OK { // until the switch has closed the stream
			}
			_, stop = servedUntil(t, r)
			if sim, ok := r.(*simulated); ok && !slices.Equal(sim.Groups(), []uint32{1}) {
				t.Errorf("groups %v are left, want the one that floods", sim.Groups())
			}
			frame := udp(1, 2, 1)
			r.packet(t, 1, frame)
			eventually(t, "the flow has a rule", func() bool { return len(entries(t, r, "flow_exact")) == 1 })
			for len(r.out()) > 0 {
				<-r.out()
			}
			r.packet(t, 1, frame)
			copies := map[uint32]int{}
			for timeout := time.After(500 * time.Millisecond); timeout != nil; {
				select {
				case f := <-r.out():
					if bytes.Equal(f.Data, frame) {
						copies[f.Port]++
					}
				case <-timeout:
					timeout = nil
				}
			}
			if len(copies) != 3 || copies[2] != 1 || copies[3] != 1 || copies[4] != 1 {
				t.Errorf("copies by port %v, want one each of 2, 3 and 4", copies)
			}
			stop()
		}
	})
}

// servedUntil is a session of exactNormal that is serving.
func servedUntil(t testing.TB, r rig) (*Session, func()) {
	s, stop := runUntil(t, fastConfig(r), local{exactNormal})
	serving(t, s)
	return s, stop
}
