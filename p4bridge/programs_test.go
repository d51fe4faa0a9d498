package p4bridge

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"

	"switchbridge/bridge"
	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/p4test"
	"switchbridge/p4bridge/pipeline"
	"switchbridge/p4bridge/propose"
)

// other is a configuration with a program of testdata.
func other(t testing.TB, r rig, name string, miss Miss) Config {
	t.Helper()
	cfg := fastConfig(r)
	cfg.Miss = miss
	var err error
	base := "testdata/" + name
	if cfg.Pipeline, cfg.Mapping, err = LoadProgram(base+".p4info.txtpb", base+".json", base+".yaml"); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// read returns the entries of a table of any program.
func read(t testing.TB, r rig, table *pipeline.Table) (out []*p4v1.TableEntry) {
	t.Helper()
	rd, err := reader(t, r).Read(context.Background(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{
		{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{TableId: table.ID}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		resp, err := rd.Recv()
		if err != nil {
			return out
		}
		for _, e := range resp.GetEntities() {
			if te := e.GetTableEntry(); te != nil && !te.GetIsDefaultAction() {
				out = append(out, te)
			}
		}
	}
}

// proactive answers switch_connected with rules, and nothing else.
func proactive(rules ...flow.Rule) local {
	return local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.Type == flow.EventSwitchConnected {
			d.Rules = append(d.Rules, rules...)
		}
		return nil
	}}
}

func ipv4(set func(*flow.Match)) (m flow.Match) {
	m.SetInPort(1)
	m.SetEthType(flow.EthTypeIPv4)
	set(&m)
	return m
}

// Each kind of key is written to the switch and read back as the rule that it was.
func TestKindsOfKeys(t *testing.T) {
	rows := map[string]flow.Match{
		"exact":           ipv4(func(*flow.Match) {}),
		"lpm":             ipv4(func(m *flow.Match) { m.SetIPDst(netip.MustParsePrefix("10.1.0.0/16")) }),
		"lpm, whole":      ipv4(func(m *flow.Match) { m.SetIPDst(netip.MustParsePrefix("10.1.2.3/32")) }),
		"ternary":         ipv4(func(m *flow.Match) { m.SetEthSrc(flow.MAC{2}, flow.MAC{0xff}) }),
		"ternary, whole":  ipv4(func(m *flow.Match) { m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 9}, flow.MACExact) }),
		"optional":        ipv4(func(m *flow.Match) { m.SetIPProto(89) }),
		"optional, range": ipv4(func(m *flow.Match) { m.SetIPProto(flow.ProtoTCP); m.SetL4Dst(22) }),
	}
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissPunt)
		var rules []flow.Rule
		p := uint16(100)
		for _, m := range rows {
			rules = append(rules, flow.Rule{Priority: p, Match: m, Actions: []flow.Action{flow.OutputTo(flow.PortNo(1 + p%3))}})
			p++
		}
		s := run(t, cfg, proactive(rules...))
		serving(t, s)
		mixed := cfg.Pipeline.Table("mixed")
		eventually(t, "all rules are in the switch", func() bool { return len(read(t, r, mixed)) == len(rules) })
		for _, e := range read(t, r, mixed) {
			got, shown, _ := cfg.Mapping.Rule(e)
			found := false
			for _, want := range rules {
				found = found || shown && got.Priority == want.Priority && got.Match == want.Match.Canonical() && got.Actions[0] == want.Actions[0]
			}
			if !found {
				t.Errorf("%v (shown: %v) is none of the rules that were written", &got, shown)
			}
		}
	})
}

// A table whose actions come from a plain profile: one member for all entries of
// one action, which goes with the last of them; and its idle timeouts are the
// gateway's.
func TestMembersOfAProfile(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissPunt)
		conversation := func(to byte) (m flow.Match) {
			m.SetInPort(1)
			m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
			m.SetEthDst(flow.MAC{2, 0, 0, 0, 0, to}, flow.MACExact)
			return m
		}
		rule := func(to byte, port flow.PortNo, idle time.Duration) flow.Rule {
			return flow.Rule{Priority: 100, Match: conversation(to), IdleTimeout: idle, Actions: []flow.Action{flow.OutputTo(port)}}
		}
		s := run(t, cfg, proactive(rule(2, 2, 0), rule(3, 2, 0), rule(4, 3, time.Second)))
		serving(t, s)
		profile := cfg.Pipeline.Table("plain").Profile
		members := func() (n int) {
			rd, err := reader(t, r).Read(context.Background(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{{Entity: &p4v1.Entity_ActionProfileMember{
				ActionProfileMember: &p4v1.ActionProfileMember{ActionProfileId: profile.ID}}}}})
			if err != nil {
				t.Fatal(err)
			}
			for {
				resp, err := rd.Recv()
				if err != nil {
					return n
				}
				n += len(resp.GetEntities())
			}
		}
		eventually(t, "three entries, two members", func() bool { return len(read(t, r, cfg.Pipeline.Table("plain"))) == 3 && members() == 2 })
		var shown []flow.Rule
		if err := s.serves.Load().List(context.Background(), bridge.Filter{}, func(in *bridge.Installed) error {
			if !in.Hidden {
				shown = append(shown, in.Rule)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		outputs := map[flow.PortNo]int{}
		for _, r := range shown {
			for _, a := range r.Actions {
				outputs[a.Port]++
			}
		}
		if outputs[2] != 2 || outputs[3] != 1 {
			t.Errorf("the rules are shown as %v", shown)
		}
		eventually(t, "the gateway removes what is idle, and its member", func() bool { return len(read(t, r, cfg.Pipeline.Table("plain"))) == 2 && members() == 1 })
	})
}

// The default action has parameters, and what else asks is known by its name.
func TestDefaultActionWithParameters(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissFlood)
		s := run(t, cfg, proactive())
		serving(t, s)
		last := cfg.Pipeline.Table("last")
		eventually(t, "the default action floods to group 7", func() bool {
			rd, err := reader(t, r).Read(context.Background(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{
				{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{TableId: last.ID, IsDefaultAction: true}}}}})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rd.Recv()
			if err != nil || len(resp.GetEntities()) != 1 {
				return false
			}
			k, ok := cfg.Mapping.Miss.Kind(resp.GetEntities()[0].GetTableEntry().GetAction().GetAction())
			return ok && k == MissFlood
		})
	})
}

// without22 is what most operators write: no SSH, nothing of VLAN 30, and all else
// by NORMAL, one rule for each flow.
func without22(events *[]flow.Match, mu *sync.Mutex) local {
	return local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		d.Policy = flow.PolicyVersion{Serial: 1, Hash: 1}
		switch {
		case ev.Type == flow.EventSwitchConnected:
			var m flow.Match
			m.SetEthType(flow.EthTypeIPv4)
			m.SetIPProto(flow.ProtoTCP)
			m.SetL4Dst(22)
			var vlan flow.Match
			vlan.SetVLAN(flow.VLANPresent|30, flow.VLANExact)
			d.Rules = append(d.Rules, flow.Rule{Priority: 500, Match: m}, flow.Rule{Priority: 501, Match: vlan})
		case ev.PacketIn != nil:
			mu.Lock()
			*events = append(*events, ev.PacketIn.Match)
			mu.Unlock()
			d.Rules = append(d.Rules, flow.Rule{Priority: 100, Match: ev.PacketIn.Match, IdleTimeout: 30 * time.Second,
				Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}})
		}
		return nil
	}}
}

func ssh(a, b byte) []byte { return frames.TCP(frames.Host(a).At(5000), frames.Host(b).At(22), 0, nil) }

// A program in the style of fabrics: its default actions are fixed, it has no
// idle timeouts, no NORMAL and no flooding but by a group's number. The miss is
// an entry, and the gateway resolves NORMAL.
func TestNextHopProgramOnBMv2(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	cfg := other(t, r, "next", MissPunt)
	var mu sync.Mutex
	var events []flow.Match
	asked := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(events)
	}
	s, stop := runUntil(t, cfg, without22(&events, &mu))
	serving(t, s)
	acl := cfg.Pipeline.Table("acl")
	eventually(t, "the denies and the miss are in", func() bool { return len(read(t, r, acl)) == 3 })

	there, back := udp(1, 2, 1000), udp(2, 1, 1000)
	r.packet(t, 1, there)
	expect(t, r, 2, there) // flooded: nobody knows station 2
	eventually(t, "the gateway floods until the station is known", func() bool { return len(read(t, r, acl)) == 4 })
	r.packet(t, 2, back)
	expect(t, r, 1, back)
	eventually(t, "both ways have rules", func() bool { return len(read(t, r, acl)) == 5 })
	n := asked()
	for range 5 {
		r.packet(t, 1, there)
		expect(t, r, 2, there)
		r.packet(t, 2, back)
		expect(t, r, 1, back)
	}
	if asked() != n {
		t.Errorf("%d events of flows that have rules", asked()-n)
	}
	r.packet(t, 1, ssh(1, 2))
	quiet(t, r, ssh(1, 2), 300*time.Millisecond)

	// A tag is part of a flow, and a flow without one is another.
	tagged := frames.Tagged(there, 20, 0)
	r.packet(t, 1, tagged)
	expect(t, r, 2, there) // the tag is in it, and the kernel takes it off for the socket
	mu.Lock()
	last := events[len(events)-1]
	mu.Unlock()
	if last.VLAN != flow.VLANPresent|20 || last.VLANMask != flow.VLANExact {
		t.Errorf("the event's VLAN is %#x/%#x", last.VLAN, last.VLANMask)
	}

	r.packet(t, 1, frames.Tagged(there, 30, 0))
	quiet(t, r, there, 300*time.Millisecond)

	// The station moves: rules that lead to it follow.
	leavesBy := func(port uint32) func() bool {
		return func() bool {
			r.packet(t, 1, there)
			for {
				select {
				case f := <-r.out():
					if f.Port == port && string(f.Data) == string(there) {
						return true
					}
				case <-time.After(50 * time.Millisecond):
					return false
				}
			}
		}
	}
	moved := udp(2, 1, 2000)
	r.packet(t, 3, moved)
	expect(t, r, 1, moved)
	eventually(t, "what is for station 2 leaves by its new port", leavesBy(3))

	// A gateway that restarts finds rules and knows no stations: these rules follow, too.
	stop()
	mu.Lock()
	n = len(events)
	mu.Unlock()
	cfg.Bridge, cfg.Election = bridgeOf(t, without22(&events, &mu), nil), ElectionID{Low: 11}
	cfg.Bridge.Versions().Checked(flow.PolicyVersion{Serial: 1, Hash: 1}) // as a policy_check does
	serving(t, run(t, cfg, nil))
	r.packet(t, 1, there)
	expect(t, r, 3, there)
	if asked() != n {
		t.Fatalf("%d events of a flow whose rule is there after a restart", asked()-n)
	}
	moved = udp(2, 1, 3000)
	r.packet(t, 2, moved)
	expect(t, r, 1, moved)
	eventually(t, "what is for station 2 leaves by the port that it has moved to since", leavesBy(2))
}

// A copy comes to the gateway while the packet goes its way: it is sent once.
func TestPuntByCloneOnBMv2(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	cfg := other(t, r, "next", MissClone)
	events := make(chan flow.Match, 100)
	s := run(t, cfg, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			events <- ev.PacketIn.Match
			d.Rules = append(d.Rules, flow.Rule{Priority: 100, Match: ev.PacketIn.Match, IdleTimeout: 30 * time.Second, Actions: []flow.Action{flow.OutputTo(3)}})
			d.HasPacketOut, d.PacketOut = true, []flow.Action{flow.OutputTo(3)}
		}
		return nil
	}})
	serving(t, s)
	frame := udp(1, 2, 1000)
	r.packet(t, 1, frame)
	select {
	case m := <-events:
		if m.InPort != 1 || !m.Has(flow.FieldL4Dst) {
			t.Errorf("the copy tells %v", m)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no copy came")
	}
	quiet(t, r, frame, 300*time.Millisecond) // this program sends nothing on, and nor does the gateway
	r.packet(t, 1, frame)
	expect(t, r, 3, frame)
}

// What the gateway sent itself comes to it again where a program lets it: it is
// dropped, and no event.
func TestPacketsFromTheCPUPort(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "next", MissPunt)
		var mu sync.Mutex
		var events []flow.Match
		s := run(t, cfg, without22(&events, &mu))
		serving(t, s)
		o := s.serves.Load()
		if sim, ok := r.(*simulated); ok {
			sim.PacketIn(map[string]uint64{"ingress_port": 510}, udp(1, 2, 3))
		} else {
			outs, err := cfg.Mapping.PacketOuts(udp(1, 2, 3), 1, []flow.Action{flow.OutputTo(510)})
			if err != nil {
				t.Fatal(err)
			}
			o.c.post(&p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_Packet{Packet: outs[0]}})
		}
		eventually(t, "it is counted", func() bool { return s.Status().Drops == 1 })
		mu.Lock()
		defer mu.Unlock()
		if len(events) != 0 {
			t.Errorf("events %v", events)
		}
	})
}

// What the gateway keeps in tables comes back when somebody takes it out, and goes
// with the mapping that wanted it.
func TestSetupEntries(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "next", MissPunt)
		cfg.Bridge = bridgeOf(t, proactive(), func(c *bridge.Config) { c.LookInterval = 100 * time.Millisecond })
		s, stop := runUntil(t, cfg, nil)
		serving(t, s)
		next := cfg.Pipeline.Table("next")
		eventually(t, "a next hop for each port", func() bool { return len(read(t, r, next)) == 4 })
		e := read(t, r, next)[0]
		o := s.serves.Load()
		if err := o.c.write(context.Background(), []*p4v1.Update{tableUpdate(p4v1.Update_DELETE, &p4v1.TableEntry{TableId: e.TableId, Match: e.Match})}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is back", func() bool { return len(read(t, r, next)) == 4 })
		stop()
		cfg.Ports, cfg.Election = []uint32{1, 2}, ElectionID{Low: 11}
		s = run(t, cfg, nil)
		serving(t, s)
		eventually(t, "only those of the ports that there are", func() bool { return len(read(t, r, next)) == 2 })
	})
}

// What p4 info says of a parser that takes ports from IPv4 packets with options and from later fragments is so: such a packet to port 22 passes by the rule
// of port 80, whose number its sender has put there. Of a parser that looks first, nothing is said, and the packet asks.
func TestPortsOfOptionsAndFragmentsOnBMv2(t *testing.T) {
	t.Parallel()
	p4c, err := exec.LookPath("p4c-bm2-ss")
	if err != nil {
		t.Skip("p4c-bm2-ss is not on PATH")
	}
	source, err := os.ReadFile("testdata/next.p4")
	if err != nil {
		t.Fatal(err)
	}
	plain := frames.TCP(frames.Host(1).At(1234), frames.Host(2).At(80), frames.SYN, nil)
	forged := func(ip, after []byte) []byte { // a packet to port 22 with such bytes in place of its IPv4 header, and behind it
		return slices.Concat(plain[:14], ip, after, frames.TCP(frames.Host(1).At(1234), frames.Host(2).At(22), frames.SYN, nil)[34:])
	}
	options := slices.Clone(plain[14:34])
	options[0] = 0x46 // one word of options: the ports' bytes
	fragment := slices.Clone(plain[14:34])
	fragment[7] = 1 // 8 bytes into the datagram
	rows := map[string][]byte{
		"with options":             forged(options, plain[34:38]),
		"that are later fragments": forged(fragment, plain[34:38]),
	}
	for name, row := range map[string]struct {
		parser *strings.Replacer
		loose  bool
	}{
		"looks":            {strings.NewReplacer(), false},
		"takes what comes": {strings.NewReplacer("hdr.ipv4.ihl, hdr.ipv4.offset, ", "", "(5, 0, 6)", "6", "(5, 0, 17)", "17"), true},
		"masks it out":     {strings.NewReplacer("(5, 0, 6)", "(_, _, 6)", "(5, 0, 17)", "(_, _, 17)"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := filepath.Join(t.TempDir(), "next")
			if err := os.WriteFile(base+".p4", []byte(row.parser.Replace(string(source))), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(p4c, "--std", "p4-16", "-o", base+".json", "--p4runtime-files", base+".p4info.txtpb", base+".p4").CombinedOutput(); err != nil {
				t.Fatalf("p4c: %v: %s", err, out)
			}
			r := newReal(t)
			cfg := fastConfig(r)
			cfg.Miss = MissPunt
			var err error
			if cfg.Pipeline, cfg.Mapping, err = LoadProgram(base+".p4info.txtpb", base+".json", "testdata/next.yaml"); err != nil {
				t.Fatal(err)
			}
			proposal, err := propose.Propose(cfg.Pipeline, "next")
			if err != nil {
				t.Fatal(err)
			}
			var web, ssh flow.Match
			for port, m := range map[uint16]*flow.Match{80: &web, 22: &ssh} {
				m.SetEthType(flow.EthTypeIPv4)
				m.SetIPProto(flow.ProtoTCP)
				m.SetL4Dst(port)
			}
			asked := make(chan flow.Match, 100)
			s := run(t, cfg, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
				if ev.Type == flow.EventSwitchConnected {
					d.Rules = append(d.Rules, flow.Rule{Priority: 500, Match: ssh}, flow.Rule{Priority: 100, Match: web, Actions: []flow.Action{flow.OutputTo(2)}})
				} else if ev.PacketIn != nil {
					asked <- ev.PacketIn.Match
				}
				return nil
			}})
			serving(t, s)
			eventually(t, "both rules and the one that asks", func() bool { return len(read(t, r, cfg.Pipeline.Table("acl"))) == 3 })
			r.packet(t, 1, plain)
			expect(t, r, 2, plain)
			for kind, frame := range rows {
				if said := slices.ContainsFunc(proposal.Holds(), func(line string) bool { return strings.Contains(line, kind) }); said != row.loose {
					t.Errorf("p4 info warns of packets %s: %t, want %t", kind, said, row.loose)
				}
				r.packet(t, 1, frame)
				if row.loose {
					expect(t, r, 2, frame)
					continue
				}
				select {
				case <-asked:
				case <-time.After(5 * time.Second):
					t.Errorf("a packet of those %s does not ask", kind)
				}
				quiet(t, r, frame, 100*time.Millisecond)
			}
		})
	}
}

// A default action that the mapping sets is put back when somebody else changes it, in tables with their own actions and with those of a profile.
func TestSetupDefaultActions(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissPunt)
		text, err := os.ReadFile("testdata/kinds.yaml")
		if err != nil {
			t.Fatal(err)
		}
		file, err := mapping.Parse(strings.NewReader(string(text)+"setup:\n  - {table: mixed, default_action: {action: paced, params: {port: 3}}}\n"), "kinds.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Mapping, err = file.Bind(cfg.Pipeline); err != nil {
			t.Fatal(err)
		}
		cfg.Bridge = bridgeOf(t, proactive(), func(c *bridge.Config) { c.LookInterval = 100 * time.Millisecond })
		s := run(t, cfg, nil)
		serving(t, s)
		mixed := cfg.Pipeline.Table("mixed")
		port := func() string {
			rd, err := reader(t, r).Read(context.Background(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{
				{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{TableId: mixed.ID, IsDefaultAction: true}}}}})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rd.Recv()
			if err != nil || len(resp.GetEntities()) != 1 {
				return fmt.Sprint("nothing: ", err)
			}
			a := mapping.ActionOf(resp.GetEntities()[0].GetTableEntry().GetAction())
			if a.GetActionId() != mixed.Action("paced").ID || len(a.GetParams()) != 1 {
				return a.String()
			}
			return fmt.Sprint(a.GetParams()[0].GetValue())
		}
		eventually(t, "the default action sends to port 3", func() bool { return port() == "[3]" })
		change := func(a *p4v1.Action) {
			e := &p4v1.TableEntry{TableId: mixed.ID, IsDefaultAction: true, Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: a}}}
			if err := s.serves.Load().c.write(context.Background(), []*p4v1.Update{tableUpdate(p4v1.Update_MODIFY, e)}); err != nil {
				t.Fatal(err)
			}
		}
		change(&p4v1.Action{ActionId: mixed.Action("paced").ID, Params: []*p4v1.Action_Param{{ParamId: 1, Value: []byte{2}}}})
		eventually(t, "another port is put back", func() bool { return port() == "[3]" })
		change(&p4v1.Action{ActionId: mixed.Action("drop").ID})
		eventually(t, "another action is put back", func() bool { return port() == "[3]" })
	})
}

// A multicast group of all others for each port, beside one of all.
func TestGroups(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissDrop)
		cfg.Ports = []uint32{1, 2, 3}
		s := run(t, cfg, proactive())
		serving(t, s)
		rd, err := reader(t, r).Read(context.Background(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{{Entity: &p4v1.Entity_PacketReplicationEngineEntry{
			PacketReplicationEngineEntry: &p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_MulticastGroupEntry{MulticastGroupEntry: new(p4v1.MulticastGroupEntry)}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		have := map[uint32]string{}
		for resp, err := rd.Recv(); err == nil; resp, err = rd.Recv() {
			for _, e := range resp.GetEntities() {
				g := e.GetPacketReplicationEngineEntry().GetMulticastGroupEntry()
				for _, m := range g.GetReplicas() {
					have[g.GetMulticastGroupId()] += fmt.Sprint(m.GetEgressPort()) //nolint:staticcheck // what BMv2 speaks
				}
			}
		}
		for id, want := range map[uint32]string{7: "123", 101: "23", 102: "13", 103: "12"} {
			if have[id] != want {
				t.Errorf("group %d has the ports %s, want %s", id, have[id], want)
			}
		}
	})
}

// A table with entries of the program's own takes no others in BMv2, so that a
// mapping of it is refused beforehand.
func TestTableWithEntriesOfTheProgram(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissPunt)
		b := newBare(t, r, 10)
		b.arbitration(t)
		b.pushProgram(t, cfg.Pipeline)
		fixed := cfg.Pipeline.Table("fixed")
		_, each := b.write(b.id, tableUpdate(p4v1.Update_INSERT, &p4v1.TableEntry{TableId: fixed.ID, Priority: 5,
			Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: &p4v1.Action{ActionId: fixed.Action("drop").ID}}}}))
		if len(each) != 1 || each[0] != 2 || !fixed.Const {
			t.Errorf("it answers %v, and the program counts as fixed: %v", each, fixed.Const)
		}
	})
}

// Members and one-shot sets are as PI has them.
func TestProfileConformance(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissPunt)
		b := newBare(t, r, 10)
		b.arbitration(t)
		b.pushProgram(t, cfg.Pipeline)
		plain := cfg.Pipeline.Table("plain")
		out := &p4v1.Action{ActionId: plain.Action("output").ID, Params: []*p4v1.Action_Param{{ParamId: 1, Value: []byte{2}}}}
		id := memberID{profile: plain.Profile.ID, id: memberBase}
		entry := func(a *p4v1.TableAction) *p4v1.TableEntry {
			e := &p4v1.TableEntry{TableId: plain.ID, Action: a}
			for i, v := range [][]byte{{1}, {2}, {3}} {
				e.Match = append(e.Match, &p4v1.FieldMatch{FieldId: uint32(i + 1), FieldMatchType: &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: v}}})
			}
			return e
		}
		byMember := func(id uint32) *p4v1.TableEntry {
			return entry(&p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileMemberId{ActionProfileMemberId: id}})
		}
		for i, step := range []struct {
			update *p4v1.Update
			want   uint32 // 0: taken
		}{
			{memberUpdate(p4v1.Update_INSERT, id, out), 0},
			{memberUpdate(p4v1.Update_INSERT, id, out), 6},
			{tableUpdate(p4v1.Update_INSERT, entry(&p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: out}})), 3},
			{tableUpdate(p4v1.Update_INSERT, entry(&p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileActionSet{ActionProfileActionSet: &p4v1.ActionProfileActionSet{
				ActionProfileActions: []*p4v1.ActionProfileAction{{Action: out, Weight: 1}}}}})), 3},
			{tableUpdate(p4v1.Update_INSERT, byMember(77)), 3},
			{tableUpdate(p4v1.Update_INSERT, byMember(memberBase)), 0},
			{memberUpdate(p4v1.Update_DELETE, id, nil), 2},
			{tableUpdate(p4v1.Update_DELETE, byMember(memberBase)), 0},
			{memberUpdate(p4v1.Update_DELETE, id, nil), 0},
			{memberUpdate(p4v1.Update_DELETE, id, nil), 5},
		} {
			_, each := b.write(b.id, step.update)
			switch {
			case step.want == 0 && len(each) > 0, step.want != 0 && (len(each) != 1 || uint32(each[0]) != step.want):
				t.Errorf("step %d: %v, want %d", i, each, step.want)
			}
		}
	})
}

// An entry that the switch refuses leaves no member behind: there is room for 32, and each answer may want others.
func TestRefusedEntriesLeaveNoMembers(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissPunt)
		plain := cfg.Pipeline.Table("plain")
		b := newBare(t, r, 1)
		b.arbitration(t)
		b.pushProgram(t, cfg.Pipeline)
		updates := []*p4v1.Update{memberUpdate(p4v1.Update_INSERT, memberID{profile: plain.Profile.ID, id: 7}, &p4v1.Action{ActionId: plain.Action("drop").ID})}
		for i := range plain.Size - 2 { // another controller's entries leave room for two
			e := &p4v1.TableEntry{TableId: plain.ID, Action: &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileMemberId{ActionProfileMemberId: 7}}}
			for k, v := range [][]byte{{1}, {2}, {byte(100 + i)}} {
				e.Match = append(e.Match, &p4v1.FieldMatch{FieldId: uint32(k + 1), FieldMatchType: &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: v}}})
			}
			updates = append(updates, tableUpdate(p4v1.Update_INSERT, e))
		}
		for _, u := range updates {
			if code, each := b.write(b.id, u); code != codes.OK {
				t.Fatal(code, each)
			}
		}
		var rules []flow.Rule
		for i := range 8 {
			rule := flow.Rule{Priority: 9, Actions: []flow.Action{flow.OutputTo(flow.PortNo(1 + i%4))}}
			rule.Match.SetInPort(1)
			rule.Match.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, byte(i)}, flow.MACExact)
			rule.Match.SetEthDst(flow.MAC{2, 0, 0, 0, 1, byte(i)}, flow.MACExact)
			rules = append(rules, rule)
		}
		s := run(t, cfg, proactive(rules...))
		serving(t, s)
		eventually(t, "a full table", func() bool { return len(read(t, r, plain)) == int(plain.Size) })
		eventually(t, "the members that entries have, and no other", func() bool {
			used := map[uint32]bool{}
			for _, e := range read(t, r, plain) {
				used[e.GetAction().GetActionProfileMemberId()] = true
			}
			members, _ := profileOf(t, r, plain.Profile)
			return members == len(used)
		})
	})
}

// Numbers of members that others have given do not take the gateway's away: one that is the last of its range, say.
func TestMemberNumbers(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "kinds", MissPunt)
		plain := cfg.Pipeline.Table("plain")
		b := newBare(t, r, 1)
		b.arbitration(t)
		b.pushProgram(t, cfg.Pipeline)
		out := func(port byte) *p4v1.Action {
			return &p4v1.Action{ActionId: plain.Action("output").ID, Params: []*p4v1.Action_Param{{ParamId: 1, Value: []byte{port}}}}
		}
		for i, id := range []uint32{2*memberBase - 1, memberBase + 1} {
			if code, each := b.write(b.id, memberUpdate(p4v1.Update_INSERT, memberID{profile: plain.Profile.ID, id: id}, out(byte(100+i)))); code != codes.OK {
				t.Fatal(code, each)
			}
		}
		var rules []flow.Rule
		for i := range 3 {
			rule := flow.Rule{Priority: 9, Actions: []flow.Action{flow.OutputTo(flow.PortNo(1 + i))}}
			rule.Match.SetInPort(flow.PortNo(1 + i))
			rule.Match.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
			rule.Match.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 2}, flow.MACExact)
			rules = append(rules, rule)
		}
		s := run(t, cfg, proactive(rules...))
		serving(t, s)
		eventually(t, "three entries", func() bool { return len(read(t, r, plain)) == 3 })
		seen := map[uint32]bool{}
		for _, e := range read(t, r, plain) {
			id := e.GetAction().GetActionProfileMemberId()
			if seen[id] || id < memberBase || id >= 2*memberBase {
				t.Errorf("member %#x", id)
			}
			seen[id] = true
		}
	})
}

// A table without idle timeouts whose entries count: what is used stays, and what
// is not goes.
func TestIdleByCountersOnBMv2(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	cfg := other(t, r, "next", MissDrop)
	to := func(port flow.PortNo, kind uint16) flow.Rule {
		rule := flow.Rule{Priority: 9, IdleTimeout: 2 * time.Second, Actions: []flow.Action{flow.OutputTo(port)}}
		rule.Match.SetEthType(kind)
		return rule
	}
	used, idle := to(2, flow.EthTypeIPv4), to(3, 0x9000)
	s := run(t, cfg, proactive(used, idle))
	serving(t, s)
	acl := cfg.Pipeline.Table("acl")
	rules := func() (list []flow.Rule) {
		for _, e := range read(t, r, acl) {
			if e.GetPriority() > 1 { // that of misses is the last one
				got, _, _ := cfg.Mapping.Rule(e)
				list = append(list, got)
			}
		}
		return list
	}
	eventually(t, "both rules", func() bool { return len(rules()) == 2 })
	frame := udp(1, 2, 3)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		r.packet(t, 1, frame)
		expect(t, r, 2, frame)
		time.Sleep(200 * time.Millisecond) // the switch counts by its own clock
	}
	if left := rules(); len(left) != 1 || left[0].Match != used.Match {
		t.Fatalf("%v are left, want the one that is used", left)
	}
	eventually(t, "without packets it goes, too", func() bool { return len(rules()) == 0 })
}

// With digests alone there is nothing to send: a rule floods until its station is
// known, follows it then, and goes where the program can't follow.
func TestNormalByDigests(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	cfg := other(t, r, "kinds", MissDigest)
	conversation := func(port flow.PortNo, from, to byte) (m flow.Match) {
		m.SetInPort(port)
		m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, from}, flow.MACExact)
		m.SetEthDst(flow.MAC{2, 0, 0, 0, 0, to}, flow.MACExact)
		return m
	}
	normal := []flow.Action{flow.OutputTo(flow.PortNormal)}
	rules := proactive(flow.Rule{Priority: 9, Match: conversation(1, 1, 2), Actions: normal}, flow.Rule{Priority: 9, Match: conversation(3, 3, 2), Actions: normal})
	s := run(t, cfg, local{func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil { // a packet that is denied teaches nothing
			d.HasPacketOut, d.PacketOut = true, normal
		}
		return rules.Decide(ctx, ev, d)
	}})
	serving(t, s)
	plain := cfg.Pipeline.Table("plain")
	does := func(port flow.PortNo) string {
		o := s.serves.Load()
		for _, e := range r.Entries("plain") {
			e.Action = &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: o.members.action(e)}}
			if got, shown, _ := cfg.Mapping.Rule(e); shown && got.Match.InPort == port {
				return flow.ActionsString(got.Actions)
			}
		}
		return "nothing"
	}
	seen := func(port, mac byte) { seenAt(r, port, mac) }
	eventually(t, "both flood", func() bool { return does(1) == "output:FLOOD" && does(3) == "output:FLOOD" })
	seen(2, 2)
	eventually(t, "both lead to the station", func() bool { return does(1) == "output:2" && does(3) == "output:2" })
	seen(3, 2)
	eventually(t, "it moves: one follows, and one would lead back", func() bool { return does(1) == "output:3" && does(3) == "drop" })
	if plain.IdleTimeout {
		t.Error("the case is about a table without idle timeouts")
	}
	wide := flow.Rule{Priority: 9, Match: conversation(1, 1, 2).Keep(flow.FieldInPort | flow.FieldEthSrc), Actions: normal}
	if err := s.serves.Load().Fit(&wide, nil); err == nil || !strings.Contains(err.Error(), "resolves it for rules that name in_port and one eth_dst") {
		t.Errorf("a rule that says no station: %v", err)
	}
}

// seenAt is a digest of kinds.p4's.
func seenAt(r *simulated, port, mac byte) {
	r.Digest("seen_t", &p4v1.P4Data{Data: &p4v1.P4Data_Struct{Struct: &p4v1.P4StructLike{Members: []*p4v1.P4Data{
		{Data: &p4v1.P4Data_Bitstring{Bitstring: []byte{port}}}, {Data: &p4v1.P4Data_Bitstring{Bitstring: []byte{2, 0, 0, 0, 0, mac}}}}}}})
}

// A gateway that restarts does not know which of its rules were NORMAL. One that leads elsewhere than to where its station is seen now goes, so that
// its packets ask; one that leads there stays, and so does one that drops, which may be a deny.
func TestFoundRulesFollowStations(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	rule := func(port flow.PortNo, to byte, list ...flow.Action) flow.Rule {
		rule := flow.Rule{Priority: 9, IdleTimeout: time.Hour, Actions: list}
		rule.Match.SetInPort(port)
		rule.Match.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 9}, flow.MACExact)
		rule.Match.SetEthDst(flow.MAC{2, 0, 0, 0, 0, to}, flow.MACExact)
		return rule
	}
	normal := flow.OutputTo(flow.PortNormal)
	rules := []flow.Rule{rule(1, 2, normal), rule(2, 2, normal), rule(3, 2), rule(1, 3, normal), rule(1, 4, normal)}
	version := flow.PolicyVersion{Serial: 1, Hash: 1}
	start := func(election uint64, installs bool) (s *Session, stop func()) {
		cfg := other(t, r, "kinds", MissDigest)
		cfg.Election = ElectionID{Low: election}
		cfg.Bridge = bridgeOf(t, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
			d.Policy = version
			switch {
			case ev.PacketIn != nil:
				d.HasPacketOut, d.PacketOut = true, []flow.Action{normal}
			case installs && ev.Type == flow.EventSwitchConnected:
				d.Rules = append(d.Rules, rules...)
			}
			return nil
		}}, nil)
		cfg.Bridge.Versions().Checked(version) // as a policy_check does
		s, stop = runUntil(t, cfg, nil)
		serving(t, s)
		return s, stop
	}
	left := func(s *Session) string { // from port to station: what is done
		var list []string
		for _, e := range r.Entries("plain") {
			got, _, _ := s.cfg.Mapping.Rule(s.serves.Load().members.plain(e))
			list = append(list, fmt.Sprintf("%d to %d: %s", got.Match.InPort, got.Match.EthDst[5], flow.ActionsString(got.Actions)))
		}
		slices.Sort(list)
		return strings.Join(list, "; ")
	}
	s, stop := start(10, true)
	seenAt(r, 2, 2)
	seenAt(r, 3, 3)
	eventually(t, "the rules, of which one floods", func() bool {
		return left(s) == "1 to 2: output:2; 1 to 3: output:3; 1 to 4: output:FLOOD; 2 to 2: drop; 3 to 2: drop"
	})
	stop()
	s, stop = start(11, false)
	defer stop()
	seenAt(r, 2, 2) // where it was
	seenAt(r, 1, 3) // elsewhere
	seenAt(r, 2, 4) // nobody knew
	eventually(t, "those go whose stations are elsewhere", func() bool { return left(s) == "1 to 2: output:2; 2 to 2: drop; 3 to 2: drop" })
	seenAt(r, 3, 2)
	eventually(t, "so does the one whose station was where it was, and moves now", func() bool { return left(s) == "2 to 2: drop; 3 to 2: drop" })
}

// What a station is learned by is bounded, and the newest wins.
func TestStations(t *testing.T) {
	s, now := stations{at: map[flow.MAC]*station{}}, time.Now()
	mac := func(i int) flow.MAC { return flow.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)} }
	for i := range maxStations {
		if !s.see(mac(i), 1, now, time.Minute) {
			t.Fatalf("station %d is not learned", i)
		}
	}
	if s.see(mac(0), 1, now, time.Minute) || !s.see(mac(0), 2, now, time.Minute) || s.at[mac(0)].port != 2 {
		t.Error("the newest port does not win")
	}
	if s.see(mac(maxStations), 1, now, time.Minute) || len(s.at) != maxStations {
		t.Errorf("%d stations", len(s.at))
	}
	s.see(mac(1), 1, now.Add(2*time.Minute), time.Minute)
	if !s.see(mac(maxStations), 1, now.Add(2*time.Minute), time.Minute) || len(s.at) != 2 {
		t.Errorf("%d stations are left when the old ones make room, want 2", len(s.at))
	}
}

// A rule's meter is its entry's own, with the rate that the mapping gives it.
func TestMeterOfARuleOnBMv2(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	cfg := other(t, r, "kinds", MissDrop)
	rule := flow.Rule{Priority: 9, Meter: 3, Match: ipv4(func(*flow.Match) {}), Actions: []flow.Action{flow.OutputTo(2)}}
	cfg.Meters = []mapping.Meter{{ID: 3, Rate: 1, Burst: 2}, {ID: 5, Rate: 8, Kilobits: true}}
	cfg.Bridge = bridgeOf(t, proactive(rule), func(c *bridge.Config) {
		c.Guardrails = guard.Default()
		c.Guardrails.Meters = []uint32{3, 5}
	})
	s := run(t, cfg, nil)
	serving(t, s)
	mixed := cfg.Pipeline.Table("mixed")
	eventually(t, "the rule", func() bool { return len(read(t, r, mixed)) == 1 })
	for range 20 {
		r.packet(t, 1, udp(1, 2, 3))
	}
	passed := 0
	for quiet := time.After(time.Second); ; {
		select {
		case <-r.out():
			passed++
			continue
		case <-quiet:
		}
		break
	}
	if passed < 1 || passed > 5 {
		t.Errorf("%d of 20 packets passed a meter of 1 a second, 2 at once", passed)
	}
	for id, want := range map[uint32]string{
		4: "mixed: meter 4: the gateway defines none; plain: meter 4: its entries have no meters",
		5: "mixed: meter 5: one of packets, the other of bytes",
	} {
		other := rule
		other.Meter = id
		if err := s.serves.Load().Fit(&other, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
