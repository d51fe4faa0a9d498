// Package conformance is the one suite that every host of a function passes: the same events get
// the same decisions, whatever runs the controller and in whatever encoding it is asked.
package conformance

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/kinds"
	"switchbridge/policy/policytest"
)

// Policy uses every kind of policy: its chain is the first example of each, and before forward an entry that lets answers of host 10.0.0.9 in.
func Policy() *policy.Policy {
	web := flow.Match{}
	web.SetIPProto(flow.ProtoTCP)
	web.SetIPDst(netip.MustParsePrefix("10.0.0.9/32"))
	from := flow.Match{}
	from.SetIPSrc(netip.MustParsePrefix("10.0.0.9/32"))
	p := examples()
	last := slices.IndexFunc(p.Chain, func(s policy.Source) bool { return s.Name() == forward.Name })
	p.Chain = slices.Insert(p.Chain, last, policy.Source(&header.Config{Rules: []header.Rule{
		{Name: "web", Priority: 100, Match: header.Condition{Header: web, Dst: &header.PortRange{First: 80, Last: 80}}, Action: header.Action{Replies: true}},
		{Name: "from-9", Priority: 50, Match: header.Condition{Header: from}, Action: header.Action{Deny: true}},
	}}))
	return p
}

func examples() *policy.Policy {
	p := &policy.Policy{Serial: 7, Hash: 0xc0ffee, Install: policy.DefaultInstall}
	for _, kind := range kinds.All {
		p.Chain = append(p.Chain, kind.Examples()[0].Entry)
	}
	return p
}

// BenchmarkPolicy is the part of Policy that benchmarks decide by, so that their figures are not of another policy with every new
// kind.
func BenchmarkPolicy() *policy.Policy {
	p := examples()
	p.Chain = slices.DeleteFunc(p.Chain, func(s policy.Source) bool {
		return s.Name() != blocklist.Name && s.Name() != header.Name && s.Name() != forward.Name
	})
	return p
}

// Case is one event.
type Case struct {
	Name  string
	Event *flow.Event

	// Covers says that the answer has rules, and that all of them say covers_incomplete. No other
	// answer's do.
	Covers bool

	// Reply says that the answer says what becomes of the packet if it is a reply. No other's does.
	Reply bool
}

// Cases are events of every type, for both versions of OpenFlow and for P4 digests. Most are of a
// gateway that accepts all that there is; some are of an older one, which says neither what it
// accepts nor what is incomplete.
func Cases() (cases []Case) {
	for _, protocol := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		sw := &flow.Switch{DPID: 0xab, Protocol: protocol, NBuffers: 256, NTables: 254, Ports: []flow.Port{
			{No: 1, HWAddr: flow.MAC{2, 0, 0, 0, 0, 1}, Name: "eth1"}, {No: 4, HWAddr: flow.MAC{2, 0, 0, 0, 0, 4}, Name: "eth4"}}}
		add := func(name string, ev flow.Event) {
			ev.ID, ev.Session, ev.Time, ev.XID, ev.Switch = "id-"+name, "192.0.2.9:4711/1", time.Unix(1700000000, 0).UTC(), 4711, sw
			ev.Accepts = flow.AcceptsAll
			cases = append(cases, Case{Name: protocol.String() + "/" + name, Event: &ev})
		}
		packet := func(name string, frame []byte) {
			m := flow.ParseFrame(frame, 1)
			add(name, flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{
				BufferID: flow.NoBuffer, TotalLen: len(frame), Match: m, Data: frame, Incomplete: m.Missing()}})
		}
		incomplete := func(name string, frame []byte, covers bool) {
			packet(name, frame)
			newer := &cases[len(cases)-1]
			newer.Covers = covers
			packet(name+", older gateway", frame)
			older := cases[len(cases)-1].Event
			older.Accepts, older.PacketIn.Incomplete = 0, 0
		}
		// As a gateway does with handshake full: the packets after these repeat nothing of them.
		add("handshake hello", flow.Event{Type: flow.EventHandshake, Handshake: ofp.AppendHello(nil, 4711, protocol)})
		add("handshake features", flow.Event{Type: flow.EventHandshake, Handshake: ofp.AppendFeaturesReply(nil, protocol, 4711, sw)})
		packet("allowed", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 40000, 443))
		packet("blocked source", ipv4("198.51.100.7", "10.0.0.2", flow.ProtoTCP, 40000, 443))
		packet("blocked destination", ipv4("10.0.0.1", "198.51.100.7", flow.ProtoUDP, 40000, 443))
		packet("denied port", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 40000, 22))
		packet("directed port", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoUDP, 40000, 53))
		incomplete("cut short", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 40000, 22)[:30], false)
		incomplete("cut before the ports", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 40000, 443)[:36], false)
		incomplete("fragment of TCP", frames.LaterFragment(ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 0, 0)), false)
		incomplete("fragment of ICMP", frames.LaterFragment(ipv4("10.0.0.1", "10.0.0.2", flow.ProtoICMP, 0, 0)), true)
		incomplete("fragment from a blocked source", frames.LaterFragment(ipv4("198.51.100.7", "10.0.0.2", flow.ProtoTCP, 0, 0)), true)
		packet("ICMP", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoICMP, 0, 0))
		packet("question", ipv4("10.0.0.1", "10.0.0.9", flow.ProtoTCP, 40000, 80))
		packet("answer", ipv4("10.0.0.9", "10.0.0.1", flow.ProtoTCP, 80, 40000))
		cases[len(cases)-1].Reply = true
		packet("not IP", frames.LLDP(frames.Host(1).MAC, 1))
		packet("a large one", append(ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 1, 2), make([]byte, 8900)...))
		for _, kind := range kinds.All {
			for i, line := range kind.Examples()[0].Packets {
				frame, port, err := policytest.Packet(line)
				if err != nil {
					panic("example of " + kind.Name() + ": " + err.Error()) // TestCases meets it first
				}
				m := flow.ParseFrame(frame, port)
				add(fmt.Sprintf("%s %d", kind.Name(), i+1), flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{
					BufferID: flow.NoBuffer, TotalLen: len(frame), Match: m, Data: frame, Incomplete: m.Missing()}})
			}
		}
		add("buffered", flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{
			BufferID: 77, TotalLen: 1400, Match: flow.ParseFrame(ipv4("10.0.0.1", "10.0.0.3", flow.ProtoTCP, 1, 80), 1),
			Data: ipv4("10.0.0.1", "10.0.0.3", flow.ProtoTCP, 1, 80)}})
		add("switch connected", flow.Event{Type: flow.EventSwitchConnected})
		add("flow removed", flow.Event{Type: flow.EventFlowRemoved, FlowRemoved: &flow.FlowRemoved{
			Priority: 100, Cookie: 1, Match: inPort(1), Duration: time.Second, Idle: 30 * time.Second, Packets: 3, Bytes: 180}})
		add("port status", flow.Event{Type: flow.EventPortStatus, PortStatus: &flow.PortStatus{Reason: flow.PortModified, Port: sw.Ports[0]}})
		add("error", flow.Event{Type: flow.EventError, Error: &flow.SwitchError{Type: 5, Code: 1, Data: make([]byte, 64)}})
		add("policy check", flow.Event{Type: flow.EventPolicyCheck})
	}
	digest := inPort(1)
	digest.SetEthType(flow.EthTypeIPv4)
	digest.Fields |= flow.FieldIPSrc | flow.FieldIPDst
	digest.IPSrc, digest.IPDst = netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("10.0.0.2/32")
	ofDigest := func(name string, incomplete flow.Field, accepts flow.Accepts) Case {
		return Case{Name: "P4Runtime/" + name, Covers: incomplete != 0, Event: &flow.Event{
			Type: flow.EventPacketIn, ID: name, Session: "s", Time: time.Unix(1700000000, 0).UTC(), XID: 4711, Accepts: accepts,
			Switch:   &flow.Switch{DPID: 0xab, Protocol: flow.P4Runtime},
			PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, Match: digest, Incomplete: incomplete}}}
	}
	return append(cases, ofDigest("digest", 0, flow.AcceptsAll), ofDigest("digest, older gateway", 0, 0),
		ofDigest("digest of a fragment", flow.FieldL4Src|flow.FieldL4Dst, flow.AcceptsAll))
}

// typeHello is OFPT_HELLO, in every version. OpenFlow 1.3.5, 7.1.
const typeHello = 0

// checkHandshake looks at what a switch is sent, which a gateway that doesn't know the controller
// relies on: HELLO is answered by HELLO and FEATURES_REQUEST, FEATURES_REPLY by an acknowledgement.
func checkHandshake(t *testing.T, ev *flow.Event, d *flow.Decision) {
	t.Helper()
	var want []byte
	if ev.Type == flow.EventHandshake && ev.Handshake[1] == typeHello {
		v := ev.Switch.Protocol
		want = append(want, byte(v), typeHello, 0, 8, 0, 0, 0x12, 0x67) // no bitmap: the version is settled
		want = ofp.AppendFeaturesRequest(want, v, ev.XID)
	}
	if !bytes.Equal(d.Handshake, want) {
		t.Errorf("the switch is sent %x, want %x", d.Handshake, want)
	}
	if ev.Type == flow.EventHandshake && (d.Verdict != flow.NoVerdict || len(d.Rules) > 0) {
		t.Errorf("a handshake is answered with %s and %d rules", d.Verdict, len(d.Rules))
	}
}

func inPort(no flow.PortNo) (m flow.Match) {
	m.SetInPort(no)
	return m
}

// ipv4 is a frame of TCP, UDP or an ICMP echo request, which has no ports.
func ipv4(src, dst string, proto byte, srcPort, dstPort uint16) []byte {
	from, to := frames.Host(1).At(srcPort), frames.Host(2).At(dstPort)
	from.IP, to.IP = netip.MustParseAddr(src), netip.MustParseAddr(dst)
	switch proto {
	case flow.ProtoTCP:
		return frames.TCP(from, to, frames.SYN, nil)
	case flow.ProtoUDP:
		return frames.UDP(from, to, make([]byte, 12))
	}
	return frames.Ping(from, to, 1, 1)
}

// Run asks d all cases and compares its answers with those of the controller in process, asked in
// the same encoding. d decides by Policy.
func Run(t *testing.T, d flow.Decider, codec contract.Codec) {
	t.Helper()
	RunBy(t, Policy(), d, codec)
}

// Stateless is [Policy] without entries that remember, for functions that have no store.
func Stateless() *policy.Policy {
	p := Policy()
	p.Chain = slices.DeleteFunc(p.Chain, func(s policy.Source) bool {
		r, ok := s.(policy.Remembering)
		return ok && r.Remembers()
	})
	return p
}

// RunBy is Run for a function that decides by p: [Policy], or [Stateless].
func RunBy(t *testing.T, p *policy.Policy, d flow.Decider, codec contract.Codec) {
	t.Helper()
	c := controller.New(p)
	codecs := function.Codecs{OpenFlow: codec}
	if codec.ContentType() == contract.TypeJSON {
		codecs = function.Codecs{JSON: codec}
	}
	native := function.NewDecider(function.New(c, codecs), codec)
	for _, row := range Cases() {
		t.Run(row.Name, func(t *testing.T) {
			var want, got, direct flow.Decision
			if err := native.Decide(t.Context(), row.Event, &want); err != nil {
				t.Fatal("the controller in process:", err)
			}
			// The encoding itself must not change what is decided.
			if err := c.Decide(t.Context(), row.Event, &direct); err != nil {
				t.Fatal(err)
			}
			if direct.Verdict != want.Verdict || direct.Reason != want.Reason || len(direct.Rules) != len(want.Rules) || direct.Policy != want.Policy {
				t.Errorf("asked in %s the controller says %+v, without it %+v", codec.ContentType(), want, direct)
			}
			if err := d.Decide(t.Context(), row.Event, &got); err != nil {
				t.Fatal(err)
			}
			for _, d := range []*flow.Decision{&want, &got} { // what no message of OpenFlow came by has 0, which says the same
				lists := [][]flow.Rule{d.Rules}
				for _, r := range []*flow.Reply{d.IfReply, d.Reuse.Reply} {
					if r != nil {
						lists = append(lists, r.Rules)
					}
				}
				for _, list := range lists {
					for i := range list {
						if list[i].OutPort == 0 {
							list[i].OutPort = flow.PortAny
						}
					}
				}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			covers := 0
			for i := range got.Rules {
				if got.Rules[i].CoversIncomplete {
					covers++
				}
			}
			if row.Covers && (len(got.Rules) == 0 || covers < len(got.Rules)) || !row.Covers && covers > 0 {
				t.Errorf("%d of %d rules say covers_incomplete; want all: %v", covers, len(got.Rules), row.Covers)
			}
			if (got.IfReply != nil) != row.Reply {
				t.Errorf("the answer says %+v of a reply; want anything: %t", got.IfReply, row.Reply)
			}
			checkHandshake(t, row.Event, &got)
		})
	}
}
