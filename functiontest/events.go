package functiontest

import (
	"net/netip"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
)

// Case is one event.
type Case struct {
	Name  string
	Event *flow.Event
}

// Switch is what the cases of a protocol come from.
func Switch(p flow.Protocol) *flow.Switch {
	return &flow.Switch{DPID: 0xab, Protocol: p, NBuffers: 256, NTables: 254, Ports: []flow.Port{
		{No: 1, HWAddr: flow.MAC{2, 0, 0, 0, 0, 1}, Name: "eth1"}, {No: 4, HWAddr: flow.MAC{2, 0, 0, 0, 0, 4}, Name: "eth4"}}}
}

// PacketIn is a frame that a switch has kept nothing of.
func PacketIn(frame []byte, port flow.PortNo) *flow.PacketIn {
	m := flow.ParseFrame(frame, port)
	return &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: m, Data: frame, Incomplete: m.Missing()}
}

// PacketCase is a frame that a switch of protocol p asks about.
func PacketCase(name string, p flow.Protocol, frame []byte, port flow.PortNo) Case {
	return Case{p.String() + "/" + name, &flow.Event{Type: flow.EventPacketIn, ID: "id-" + name, Session: "192.0.2.9:4711/1",
		Time: time.Unix(1700000000, 0).UTC(), XID: 4711, Switch: Switch(p), Accepts: flow.AcceptsAll, PacketIn: PacketIn(frame, port)}}
}

// Cases are events of every type, for both versions of OpenFlow and for P4 digests. Most are of a gateway that accepts all that there is;
// some are of an older one, which says neither what it accepts nor what is incomplete.
func Cases() (cases []Case) {
	for _, protocol := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		sw := Switch(protocol)
		add := func(name string, ev flow.Event) {
			ev.ID, ev.Session, ev.Time, ev.XID, ev.Switch = "id-"+name, "192.0.2.9:4711/1", time.Unix(1700000000, 0).UTC(), 4711, sw
			ev.Accepts = flow.AcceptsAll
			cases = append(cases, Case{protocol.String() + "/" + name, &ev})
		}
		packet := func(name string, frame []byte) {
			add(name, flow.Event{Type: flow.EventPacketIn, PacketIn: PacketIn(frame, 1)})
		}
		incomplete := func(name string, frame []byte) {
			packet(name, frame)
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
		incomplete("cut short", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 40000, 22)[:30])
		incomplete("cut before the ports", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 40000, 443)[:36])
		incomplete("fragment of TCP", frames.LaterFragment(ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 0, 0)))
		incomplete("fragment of ICMP", frames.LaterFragment(ipv4("10.0.0.1", "10.0.0.2", flow.ProtoICMP, 0, 0)))
		incomplete("fragment from a blocked source", frames.LaterFragment(ipv4("198.51.100.7", "10.0.0.2", flow.ProtoTCP, 0, 0)))
		packet("ICMP", ipv4("10.0.0.1", "10.0.0.2", flow.ProtoICMP, 0, 0))
		packet("question", ipv4("10.0.0.1", "10.0.0.9", flow.ProtoTCP, 40000, 80))
		packet("answer", ipv4("10.0.0.9", "10.0.0.1", flow.ProtoTCP, 80, 40000))
		packet("not IP", frames.LLDP(frames.Host(1).MAC, 1))
		packet("a large one", append(ipv4("10.0.0.1", "10.0.0.2", flow.ProtoTCP, 1, 2), make([]byte, 8900)...))
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
		return Case{"P4Runtime/" + name, &flow.Event{
			Type: flow.EventPacketIn, ID: name, Session: "s", Time: time.Unix(1700000000, 0).UTC(), XID: 4711, Accepts: accepts,
			Switch:   &flow.Switch{DPID: 0xab, Protocol: flow.P4Runtime},
			PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, Match: digest, Incomplete: incomplete}}}
	}
	return append(cases, ofDigest("digest", 0, flow.AcceptsAll), ofDigest("digest, older gateway", 0, 0),
		ofDigest("digest of a fragment", flow.FieldL4Src|flow.FieldL4Dst, flow.AcceptsAll))
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
