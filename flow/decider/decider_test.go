package decider

import (
	"context"
	"net/netip"
	"time"

	"switchbridge/flow"
)

// Frames' headers that the tests ask about.

var (
	macA = flow.MAC{2, 0, 0, 0, 0, 0xa}
	macB = flow.MAC{2, 0, 0, 0, 0, 0xb}
)

const (
	portA flow.PortNo = 1
	portB flow.PortNo = 2
)

func testSwitch() *flow.Switch {
	return &flow.Switch{DPID: 0x1a, Protocol: flow.OpenFlow13, NTables: 254, Ports: []flow.Port{{No: portA}, {No: portB}, {No: flow.PortLocal}}}
}

// tcpPacket is what ParseFrame makes of a TCP segment from A to B.
func tcpPacket(dstPort uint16) *flow.PacketIn {
	var m flow.Match
	m.SetInPort(portA)
	m.SetEthSrc(macA, flow.MACExact)
	m.SetEthDst(macB, flow.MACExact)
	m.SetVLAN(flow.VLANNone, flow.VLANExact)
	m.SetEthType(flow.EthTypeIPv4)
	m.SetIPProto(flow.ProtoTCP)
	m.SetIPSrc(netip.MustParsePrefix("10.0.0.1/32"))
	m.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	m.SetL4Src(40000)
	m.SetL4Dst(dstPort)
	return &flow.PacketIn{BufferID: flow.NoBuffer, Match: m, Data: []byte{1, 2, 3}}
}

func packetEvent(pi *flow.PacketIn) *flow.Event {
	return &flow.Event{Type: flow.EventPacketIn, ID: "e1", XID: 7, Switch: testSwitch(), PacketIn: pi}
}

// answer is a Decider that always gives the same rules.
func answer(rules ...flow.Rule) flow.Decider {
	return flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
		d.Rules = append(d.Rules, rules...)
		return nil
	})
}

// failing is a Decider that never answers.
func failing(err error) flow.Decider {
	return flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error { return err })
}

// local is a Decider that says it is in process.
type local struct{ flow.DeciderFunc }

func (local) Local() bool { return true }

// goodRule is about tcpPacket(80).
func goodRule() flow.Rule {
	r := flow.Rule{Priority: 100, IdleTimeout: 30 * time.Second, Actions: []flow.Action{flow.OutputTo(portB)}}
	r.Match.SetInPort(portA)
	r.Match.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	return r
}
