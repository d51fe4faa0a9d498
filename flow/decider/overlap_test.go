package decider

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"switchbridge/flow"
)

// Each row has two values of one field that no packet can have at once, and a
// third that shares packets with the first.
func TestOverlap(t *testing.T) {
	pfx := netip.MustParsePrefix
	set := func(f flow.Field, edit func(*flow.Match)) flow.Match {
		m := flow.Match{Fields: f}
		edit(&m)
		return m
	}
	for f, row := range map[flow.Field][3]func(*flow.Match){
		flow.FieldInPort:  {func(m *flow.Match) { m.InPort = 1 }, func(m *flow.Match) { m.InPort = 2 }, func(m *flow.Match) { m.InPort = 1 }},
		flow.FieldEthDst:  {func(m *flow.Match) { m.SetEthDst(macA, flow.MACExact) }, func(m *flow.Match) { m.SetEthDst(macB, flow.MACExact) }, func(m *flow.Match) { m.SetEthDst(macA, flow.MAC{2}) }},
		flow.FieldEthSrc:  {func(m *flow.Match) { m.SetEthSrc(macA, flow.MACExact) }, func(m *flow.Match) { m.SetEthSrc(flow.MAC{1}, flow.MAC{1}) }, func(m *flow.Match) { m.SetEthSrc(macA, flow.MAC{2}) }},
		flow.FieldEthType: {func(m *flow.Match) { m.EthType = 0x800 }, func(m *flow.Match) { m.EthType = 0x806 }, func(m *flow.Match) { m.EthType = 0x800 }},
		flow.FieldVLAN: {func(m *flow.Match) { m.SetVLAN(flow.VLANPresent|5, flow.VLANExact) }, func(m *flow.Match) { m.SetVLAN(flow.VLANNone, flow.VLANExact) },
			func(m *flow.Match) { m.SetVLAN(flow.VLANPresent, flow.VLANPresent) }},
		flow.FieldVLANPCP:   {func(m *flow.Match) { m.VLANPCP = 1 }, func(m *flow.Match) { m.VLANPCP = 2 }, func(m *flow.Match) { m.VLANPCP = 1 }},
		flow.FieldIPDSCP:    {func(m *flow.Match) { m.IPDSCP = 1 }, func(m *flow.Match) { m.IPDSCP = 2 }, func(m *flow.Match) { m.IPDSCP = 1 }},
		flow.FieldIPECN:     {func(m *flow.Match) { m.IPECN = 1 }, func(m *flow.Match) { m.IPECN = 2 }, func(m *flow.Match) { m.IPECN = 1 }},
		flow.FieldIPProto:   {func(m *flow.Match) { m.IPProto = 6 }, func(m *flow.Match) { m.IPProto = 17 }, func(m *flow.Match) { m.IPProto = 6 }},
		flow.FieldIPSrc:     {func(m *flow.Match) { m.IPSrc = pfx("10.0.0.0/24") }, func(m *flow.Match) { m.IPSrc = pfx("10.0.1.0/24") }, func(m *flow.Match) { m.IPSrc = pfx("10.0.0.9/32") }},
		flow.FieldIPDst:     {func(m *flow.Match) { m.IPDst = pfx("10.0.0.0/24") }, func(m *flow.Match) { m.IPDst = pfx("fe80::/10") }, func(m *flow.Match) { m.IPDst = pfx("0.0.0.0/0") }},
		flow.FieldL4Src:     {func(m *flow.Match) { m.L4Src = 1 }, func(m *flow.Match) { m.L4Src = 2 }, func(m *flow.Match) { m.L4Src = 1 }},
		flow.FieldL4Dst:     {func(m *flow.Match) { m.L4Dst = 1 }, func(m *flow.Match) { m.L4Dst = 2 }, func(m *flow.Match) { m.L4Dst = 1 }},
		flow.FieldICMPType:  {func(m *flow.Match) { m.ICMPType = 1 }, func(m *flow.Match) { m.ICMPType = 2 }, func(m *flow.Match) { m.ICMPType = 1 }},
		flow.FieldICMPCode:  {func(m *flow.Match) { m.ICMPCode = 1 }, func(m *flow.Match) { m.ICMPCode = 2 }, func(m *flow.Match) { m.ICMPCode = 1 }},
		flow.FieldARPOp:     {func(m *flow.Match) { m.ARPOp = 1 }, func(m *flow.Match) { m.ARPOp = 2 }, func(m *flow.Match) { m.ARPOp = 1 }},
		flow.FieldARPSPA:    {func(m *flow.Match) { m.ARPSPA = pfx("10.0.0.0/24") }, func(m *flow.Match) { m.ARPSPA = pfx("10.0.1.0/24") }, func(m *flow.Match) { m.ARPSPA = pfx("10.0.0.9/32") }},
		flow.FieldARPTPA:    {func(m *flow.Match) { m.ARPTPA = pfx("10.0.0.0/24") }, func(m *flow.Match) { m.ARPTPA = pfx("10.0.1.0/24") }, func(m *flow.Match) {}},
		flow.FieldARPSHA:    {func(m *flow.Match) { m.ARPSHA = macA }, func(m *flow.Match) { m.ARPSHA = macB }, func(m *flow.Match) { m.ARPSHA = macA }},
		flow.FieldARPTHA:    {func(m *flow.Match) { m.ARPTHA = macA }, func(m *flow.Match) { m.ARPTHA = macB }, func(m *flow.Match) { m.ARPTHA = macA }},
		flow.FieldFlowLabel: {func(m *flow.Match) { m.FlowLabel = 1 }, func(m *flow.Match) { m.FlowLabel = 2 }, func(m *flow.Match) { m.FlowLabel = 1 }},
		flow.FieldNDTarget: {func(m *flow.Match) { m.NDTarget = netip.MustParseAddr("fe80::1") }, func(m *flow.Match) { m.NDTarget = netip.MustParseAddr("fe80::2") },
			func(m *flow.Match) { m.NDTarget = netip.MustParseAddr("fe80::1") }},
		flow.FieldMetadata: {func(m *flow.Match) { m.Metadata, m.MetadataMask = 0x12, 0xff }, func(m *flow.Match) { m.Metadata, m.MetadataMask = 0x20, 0xf0 },
			func(m *flow.Match) { m.Metadata, m.MetadataMask = 0x102, 0xf0f }},
		flow.FieldTunnelID: {func(m *flow.Match) { m.TunnelID, m.TunnelMask = 0x12, 0xff }, func(m *flow.Match) { m.TunnelID, m.TunnelMask = 0x20, 0xf0 },
			func(m *flow.Match) { m.TunnelID, m.TunnelMask = 0x10, 0xf0 }},
	} {
		a, b, c := set(f, row[0]), set(f, row[1]), set(f, row[2])
		if overlap(&a, &b) || overlap(&b, &a) {
			t.Errorf("%v: %v and %v are apart", f, a, b)
		}
		if !overlap(&a, &c) || !overlap(&c, &a) {
			t.Errorf("%v: %v and %v share packets", f, a, c)
		}
		if any := (flow.Match{}); !overlap(&a, &any) || !overlap(&any, &b) {
			t.Errorf("%v: everything overlaps with a match of all", f)
		}
	}
}

// Two matches that cover one packet overlap, by definition.
func TestOverlapOfCovering(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	packet := tcpPacket(80).Match
	widen := func() flow.Match {
		m := packet.Keep(flow.Field(rng.Uint32()))
		if m.Has(flow.FieldIPSrc) {
			m.SetIPSrc(netip.PrefixFrom(m.IPSrc.Addr(), rng.IntN(33)))
		}
		if m.Has(flow.FieldEthDst) {
			m.SetEthDst(m.EthDst, flow.MAC{byte(rng.Uint32()), 0, byte(rng.Uint32()), 0, 0, byte(rng.Uint32())})
		}
		return m
	}
	for range 2000 {
		a, b := widen(), widen()
		if !a.Covers(&packet) || !b.Covers(&packet) {
			t.Fatalf("%v or %v does not cover %v", a, b, packet)
		}
		if !overlap(&a, &b) {
			t.Fatalf("%v and %v both cover %v", a, b, packet)
		}
	}
}
