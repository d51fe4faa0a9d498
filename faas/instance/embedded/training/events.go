package training

import (
	"net/netip"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
)

// Events are what gateways ask: events of every type, of both versions of
// OpenFlow and of P4, from gateways that accept all that there is and from older
// ones, with packets whole, cut short, in fragments and as long as can be.
func Events() (events []*flow.Event) {
	for _, protocol := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		sw := &flow.Switch{DPID: 0x2a, Protocol: protocol, NBuffers: 256, NTables: 254,
			Ports: []flow.Port{{No: 1, Name: "east"}, {No: 2, Name: "west", HWAddr: flow.MAC{2, 1, 0, 0, 0, 2}}, {No: flow.PortLocal, Name: "br0"}}}
		add := func(ev flow.Event) { events = append(events, asked(ev, sw)) }
		for _, handshake := range [][]byte{ofp.AppendHello(nil, 1, protocol), ofp.AppendFeaturesReply(nil, protocol, 2, sw)} {
			add(flow.Event{Type: flow.EventHandshake, Handshake: handshake})
		}
		add(flow.Event{Type: flow.EventSwitchConnected})
		add(flow.Event{Type: flow.EventPolicyCheck})
		for _, reason := range []flow.PortReason{flow.PortAdded, flow.PortDeleted, flow.PortModified} {
			add(flow.Event{Type: flow.EventPortStatus, PortStatus: &flow.PortStatus{Reason: reason, Port: sw.Ports[1]}})
		}
		add(flow.Event{Type: flow.EventError, Error: &flow.SwitchError{Type: 3, Code: 1, Data: make([]byte, 64)}})
		removed := flow.ParseFrame(packets()[0], 1).Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst)
		add(flow.Event{Type: flow.EventFlowRemoved, FlowRemoved: &flow.FlowRemoved{Priority: 10, Cookie: 1 << 48, Match: removed,
			Duration: time.Minute, Idle: 10 * time.Second, Packets: 7, Bytes: 4000}})
		for _, frame := range packets() {
			add(packet(frame, flow.NoBuffer))
			add(packet(frames.Tagged(frame, 7, 0), flow.NoBuffer))
			for _, cut := range []int{18, 30, 36, 56} {
				if cut < len(frame) {
					add(packet(frame[:cut], flow.NoBuffer))
				}
			}
		}
		add(packet(packets()[0], 9)) // the rest is in the switch
		for _, length := range []int{1500, 9000, longest} {
			add(packet(append(packets()[0], make([]byte, length)...), flow.NoBuffer))
		}
	}
	return append(events, digests()...)
}

// longest is close to what a PACKET_IN can hold; the guest must make a larger
// buffer for it.
const longest = 60_000

// asked fills in what every event has.
func asked(ev flow.Event, sw *flow.Switch) *flow.Event {
	ev.ID, ev.Session, ev.Time, ev.XID, ev.Switch = "training-1", "192.0.2.1:1/1", time.Unix(1, 0).UTC(), 1, sw
	ev.Accepts = flow.AcceptsAll
	return &ev
}

func packet(data []byte, buffer uint32) flow.Event {
	m := flow.ParseFrame(data, 1)
	return flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{BufferID: buffer, TotalLen: len(data), Match: m, Data: data, Incomplete: m.Missing()}}
}

// digests are events of P4 switches, which have headers and no packet data.
func digests() (events []*flow.Event) {
	sw := &flow.Switch{DPID: 0x2b, Protocol: flow.P4Runtime}
	for _, frame := range packets() {
		for _, missing := range []flow.Field{0, flow.FieldL4Src | flow.FieldL4Dst} {
			m := flow.ParseFrame(frame, 1).Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldIPProto |
				flow.FieldIPSrc | flow.FieldIPDst | (flow.FieldL4Src|flow.FieldL4Dst)&^missing)
			events = append(events, asked(flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, Match: m, Incomplete: missing}}, sw))
		}
	}
	return events
}

// packets are one of every kind that has headers of its own, between hosts that
// the policies let pass, and some that they deny.
func packets() (list [][]byte) {
	a, b := frames.Host(1), frames.Host(2)
	a6, b6, group := a, b, b
	a6.IP, b6.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	group.MAC, group.IP = flow.MAC{1, 0, 0x5e, 0, 0, 0xfb}, netip.MustParseAddr("224.0.0.251")
	listed, listed6 := b, b6
	listed.IP, listed6.IP = netip.MustParseAddr(listedAddress), netip.MustParseAddr(listedAddress6)
	for _, denied := range [][2]frames.Endpoint{{a, listed}, {listed, a}, {a6, listed6}, {listed6, a6}} {
		list = append(list, frames.TCP(denied[0].At(40000), denied[1].At(443), frames.SYN, nil))
	}
	list = append(list, frames.LaterFragment(frames.TCP(listed, a, 0, nil)))
	for _, pair := range [][2]frames.Endpoint{{a, b}, {a6, b6}} {
		from, to := pair[0], pair[1]
		list = append(list, frames.TCP(from.At(40000), to.At(443), frames.SYN, nil), frames.TCP(from.At(40000), to.At(deniedPort), frames.SYN, nil),
			frames.UDP(from.At(40000), to.At(443), make([]byte, 20)), frames.UDP(from.At(40000), to.At(sentPort), make([]byte, 20)),
			frames.UDP(from.At(40000), to.At(answeredPort), make([]byte, 20)), frames.UDP(from.At(answeredPort), to.At(40000), make([]byte, 20)))
		list = append(list, frames.Ping(from, to, 1, 1), frames.Pong(from, to, 1, 1))
		if from.IP.Is4() {
			list = append(list, frames.LaterFragment(frames.TCP(from, to, 0, nil)), frames.LaterFragment(frames.UDP(from, to, nil)),
				frames.LaterFragment(frames.Ping(from, to, 1, 1)), frames.ARPRequest(from, to.IP), frames.ARPReply(from, to))
		} else {
			list = append(list, frames.NeighborSolicitation(from, to.IP))
		}
	}
	return append(list, frames.GratuitousARP(a), frames.UDP(a.At(5353), group.At(5353), nil), frames.LLDP(a.MAC, 1))
}
