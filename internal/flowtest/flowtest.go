// Package flowtest has one event that tests of rules and decisions share: host A
// at port 1 opens a TCP connection to host B at port 2 of a switch, and a rule
// that answers it well.
package flowtest

import (
	"net/netip"
	"time"

	"switchbridge/flow"
)

// The two hosts.
var (
	MACA = flow.MAC{2, 0, 0, 0, 0, 0xa}
	MACB = flow.MAC{2, 0, 0, 0, 0, 0xb}
)

// The ports they are at.
const (
	PortA flow.PortNo = 1
	PortB flow.PortNo = 2
)

// Switch has the two ports and LOCAL.
func Switch() *flow.Switch {
	return &flow.Switch{DPID: 0x1a, Protocol: flow.OpenFlow13, NTables: 254, Ports: []flow.Port{{No: PortA}, {No: PortB}, {No: flow.PortLocal}}}
}

// TCP is what flow.ParseFrame makes of a TCP segment from A to a port of B.
func TCP(dstPort uint16) *flow.PacketIn {
	var m flow.Match
	m.SetInPort(PortA)
	m.SetEthSrc(MACA, flow.MACExact)
	m.SetEthDst(MACB, flow.MACExact)
	m.SetVLAN(flow.VLANNone, flow.VLANExact)
	m.SetEthType(flow.EthTypeIPv4)
	m.SetIPProto(flow.ProtoTCP)
	m.SetIPSrc(netip.MustParsePrefix("10.0.0.1/32"))
	m.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	m.SetL4Src(40000)
	m.SetL4Dst(dstPort)
	return &flow.PacketIn{BufferID: flow.NoBuffer, Match: m, Data: []byte{1, 2, 3}}
}

// Event asks about a packet.
func Event(pi *flow.PacketIn) *flow.Event {
	return &flow.Event{Type: flow.EventPacketIn, ID: "e1", XID: 7, Switch: Switch(), PacketIn: pi}
}

// Rule passes every guardrail for TCP(80).
func Rule() flow.Rule {
	r := flow.Rule{Priority: 100, IdleTimeout: 30 * time.Second, Actions: []flow.Action{flow.OutputTo(PortB)}}
	r.Match.SetInPort(PortA)
	r.Match.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	return r
}
