package flow

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

var (
	macA = MAC{2, 0, 0, 0, 0, 0xa}
	macB = MAC{2, 0, 0, 0, 0, 0xb}
)

// tcpMatch is what ParseFrame makes of a TCP segment from A to B.
func tcpMatch() (m Match) {
	m.SetInPort(1)
	m.SetEthSrc(macA, MACExact)
	m.SetEthDst(macB, MACExact)
	m.SetVLAN(VLANNone, VLANExact)
	m.SetEthType(EthTypeIPv4)
	m.SetIPProto(ProtoTCP)
	m.SetIPSrc(netip.MustParsePrefix("10.0.0.1/32"))
	m.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	m.SetL4Src(40000)
	m.SetL4Dst(80)
	return m
}

// Each row has two values of one field that no packet can have at once, and a
// third that shares packets with the first.
func TestOverlap(t *testing.T) {
	pfx := netip.MustParsePrefix
	set := func(f Field, edit func(*Match)) Match {
		m := Match{Fields: f}
		edit(&m)
		return m
	}
	for f, row := range map[Field][3]func(*Match){
		FieldInPort:  {func(m *Match) { m.InPort = 1 }, func(m *Match) { m.InPort = 2 }, func(m *Match) { m.InPort = 1 }},
		FieldEthDst:  {func(m *Match) { m.SetEthDst(macA, MACExact) }, func(m *Match) { m.SetEthDst(macB, MACExact) }, func(m *Match) { m.SetEthDst(macA, MAC{2}) }},
		FieldEthSrc:  {func(m *Match) { m.SetEthSrc(macA, MACExact) }, func(m *Match) { m.SetEthSrc(MAC{1}, MAC{1}) }, func(m *Match) { m.SetEthSrc(macA, MAC{2}) }},
		FieldEthType: {func(m *Match) { m.EthType = 0x800 }, func(m *Match) { m.EthType = 0x806 }, func(m *Match) { m.EthType = 0x800 }},
		FieldVLAN: {func(m *Match) { m.SetVLAN(VLANPresent|5, VLANExact) }, func(m *Match) { m.SetVLAN(VLANNone, VLANExact) },
			func(m *Match) { m.SetVLAN(VLANPresent, VLANPresent) }},
		FieldVLANPCP:   {func(m *Match) { m.VLANPCP = 1 }, func(m *Match) { m.VLANPCP = 2 }, func(m *Match) { m.VLANPCP = 1 }},
		FieldIPDSCP:    {func(m *Match) { m.IPDSCP = 1 }, func(m *Match) { m.IPDSCP = 2 }, func(m *Match) { m.IPDSCP = 1 }},
		FieldIPECN:     {func(m *Match) { m.IPECN = 1 }, func(m *Match) { m.IPECN = 2 }, func(m *Match) { m.IPECN = 1 }},
		FieldIPProto:   {func(m *Match) { m.IPProto = 6 }, func(m *Match) { m.IPProto = 17 }, func(m *Match) { m.IPProto = 6 }},
		FieldIPSrc:     {func(m *Match) { m.IPSrc = pfx("10.0.0.0/24") }, func(m *Match) { m.IPSrc = pfx("10.0.1.0/24") }, func(m *Match) { m.IPSrc = pfx("10.0.0.9/32") }},
		FieldIPDst:     {func(m *Match) { m.IPDst = pfx("10.0.0.0/24") }, func(m *Match) { m.IPDst = pfx("fe80::/10") }, func(m *Match) { m.IPDst = pfx("0.0.0.0/0") }},
		FieldL4Src:     {func(m *Match) { m.L4Src = 1 }, func(m *Match) { m.L4Src = 2 }, func(m *Match) { m.L4Src = 1 }},
		FieldL4Dst:     {func(m *Match) { m.L4Dst = 1 }, func(m *Match) { m.L4Dst = 2 }, func(m *Match) { m.L4Dst = 1 }},
		FieldICMPType:  {func(m *Match) { m.ICMPType = 1 }, func(m *Match) { m.ICMPType = 2 }, func(m *Match) { m.ICMPType = 1 }},
		FieldICMPCode:  {func(m *Match) { m.ICMPCode = 1 }, func(m *Match) { m.ICMPCode = 2 }, func(m *Match) { m.ICMPCode = 1 }},
		FieldARPOp:     {func(m *Match) { m.ARPOp = 1 }, func(m *Match) { m.ARPOp = 2 }, func(m *Match) { m.ARPOp = 1 }},
		FieldARPSPA:    {func(m *Match) { m.ARPSPA = pfx("10.0.0.0/24") }, func(m *Match) { m.ARPSPA = pfx("10.0.1.0/24") }, func(m *Match) { m.ARPSPA = pfx("10.0.0.9/32") }},
		FieldARPTPA:    {func(m *Match) { m.ARPTPA = pfx("10.0.0.0/24") }, func(m *Match) { m.ARPTPA = pfx("10.0.1.0/24") }, func(m *Match) {}},
		FieldARPSHA:    {func(m *Match) { m.ARPSHA = macA }, func(m *Match) { m.ARPSHA = macB }, func(m *Match) { m.ARPSHA = macA }},
		FieldARPTHA:    {func(m *Match) { m.ARPTHA = macA }, func(m *Match) { m.ARPTHA = macB }, func(m *Match) { m.ARPTHA = macA }},
		FieldFlowLabel: {func(m *Match) { m.FlowLabel = 1 }, func(m *Match) { m.FlowLabel = 2 }, func(m *Match) { m.FlowLabel = 1 }},
		FieldNDTarget: {func(m *Match) { m.NDTarget = netip.MustParseAddr("fe80::1") }, func(m *Match) { m.NDTarget = netip.MustParseAddr("fe80::2") },
			func(m *Match) { m.NDTarget = netip.MustParseAddr("fe80::1") }},
		FieldMetadata: {func(m *Match) { m.Metadata, m.MetadataMask = 0x12, 0xff }, func(m *Match) { m.Metadata, m.MetadataMask = 0x20, 0xf0 },
			func(m *Match) { m.Metadata, m.MetadataMask = 0x102, 0xf0f }},
		FieldTunnelID: {func(m *Match) { m.TunnelID, m.TunnelMask = 0x12, 0xff }, func(m *Match) { m.TunnelID, m.TunnelMask = 0x20, 0xf0 },
			func(m *Match) { m.TunnelID, m.TunnelMask = 0x10, 0xf0 }},
		FieldNDSLL: {func(m *Match) { m.NDSLL = macA }, func(m *Match) { m.NDSLL = macB }, func(m *Match) { m.NDSLL = macA }},
	} {
		a, b, c := set(f, row[0]), set(f, row[1]), set(f, row[2])
		if a.Overlaps(&b) || b.Overlaps(&a) {
			t.Errorf("%v: %v and %v are apart", f, a, b)
		}
		if !a.Overlaps(&c) || !c.Overlaps(&a) {
			t.Errorf("%v: %v and %v share packets", f, a, c)
		}
		if any := (Match{}); !a.Overlaps(&any) || !any.Overlaps(&b) {
			t.Errorf("%v: everything overlaps with a match of all", f)
		}
	}
}

// Two matches that cover one packet overlap, by definition.
func TestOverlapOfCovering(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	packet := tcpMatch()
	widen := func() Match {
		m := packet.Keep(Field(rng.Uint32()))
		if m.Has(FieldIPSrc) {
			m.SetIPSrc(netip.PrefixFrom(m.IPSrc.Addr(), rng.IntN(33)))
		}
		if m.Has(FieldEthDst) {
			m.SetEthDst(m.EthDst, MAC{byte(rng.Uint32()), 0, byte(rng.Uint32()), 0, 0, byte(rng.Uint32())})
		}
		return m
	}
	for range 2000 {
		a, b := widen(), widen()
		if !a.Covers(&packet) || !b.Covers(&packet) {
			t.Fatalf("%v or %v does not cover %v", a, b, packet)
		}
		if !a.Overlaps(&b) {
			t.Fatalf("%v and %v both cover %v", a, b, packet)
		}
	}
}

// Each row has a match of one field, one that it is inside of, and one that it
// overlaps and yet is not inside of. "Any" and a match of other fields are the
// rows that all share.
func TestInside(t *testing.T) {
	pfx := netip.MustParsePrefix
	in := func(edit func(*Match)) Match { var m Match; edit(&m); return m }
	port := in(func(m *Match) { m.SetInPort(1) })
	for _, row := range [][3]func(*Match){
		{func(m *Match) { m.SetEthDst(macA, MAC{0xff, 0xff}) }, func(m *Match) { m.SetEthDst(macA, MAC{0xff}) }, func(m *Match) { m.SetEthDst(macA, MACExact) }},
		{func(m *Match) { m.SetEthSrc(macA, MAC{0xff, 0xff}) }, func(m *Match) { m.SetEthSrc(macA, MAC{0xff}) }, func(m *Match) { m.SetEthSrc(macA, MACExact) }},
		{func(m *Match) { m.SetVLAN(VLANPresent|5, VLANExact) }, func(m *Match) { m.SetVLAN(VLANPresent, VLANPresent) }, nil},
		{func(m *Match) { m.SetVLAN(VLANPresent, VLANPresent) }, func(m *Match) { m.SetVLAN(VLANPresent, VLANPresent) }, func(m *Match) { m.SetVLAN(VLANPresent|5, VLANExact) }},
		{func(m *Match) { m.SetIPSrc(pfx("10.0.0.0/24")) }, func(m *Match) { m.SetIPSrc(pfx("10.0.0.0/8")) }, func(m *Match) { m.SetIPSrc(pfx("10.0.0.0/25")) }},
		{func(m *Match) { m.SetIPDst(pfx("2001:db8::/48")) }, func(m *Match) { m.SetIPDst(pfx("2001:db8::/32")) }, func(m *Match) { m.SetIPDst(pfx("2001:db8::1/128")) }},
		{func(m *Match) { m.SetARPSPA(pfx("10.0.0.0/24")) }, func(m *Match) { m.SetARPSPA(pfx("10.0.0.0/8")) }, func(m *Match) { m.SetARPSPA(pfx("10.0.0.0/25")) }},
		{func(m *Match) { m.SetARPTPA(pfx("10.0.0.0/24")) }, func(m *Match) { m.SetARPTPA(pfx("10.0.0.0/8")) }, func(m *Match) { m.SetARPTPA(pfx("10.0.0.0/25")) }},
		{func(m *Match) { m.Fields |= FieldMetadata; m.Metadata, m.MetadataMask = 0x10, 0xf0 }, func(m *Match) { m.Fields |= FieldMetadata; m.Metadata, m.MetadataMask = 0x10, 0x10 },
			func(m *Match) { m.Fields |= FieldMetadata; m.Metadata, m.MetadataMask = 0x10, 0xff }},
		{func(m *Match) { m.Fields |= FieldTunnelID; m.TunnelID, m.TunnelMask = 0x10, 0xf0 }, func(m *Match) { m.Fields |= FieldTunnelID; m.TunnelID, m.TunnelMask = 0x10, 0x10 },
			func(m *Match) { m.Fields |= FieldTunnelID; m.TunnelID, m.TunnelMask = 0x10, 0xff }},
		{func(m *Match) { m.SetL4Dst(80) }, func(m *Match) { m.SetL4Dst(80) }, func(m *Match) { m.SetL4Dst(80); m.SetInPort(1) }},
	} {
		a, wider := in(row[0]), in(row[1])
		if !a.Inside(&wider) || !a.Inside(&a) || !a.Inside(&Match{}) {
			t.Errorf("%v is inside %v, itself and any", a, wider)
		}
		if a.Inside(&port) || (&Match{}).Inside(&a) {
			t.Errorf("%v is not inside %v, nor any inside it", a, port)
		}
		if row[2] == nil {
			continue
		}
		if b := in(row[2]); a.Inside(&b) || !a.Overlaps(&b) {
			t.Errorf("%v is not inside %v, though they overlap", a, b)
		}
	}
}

func BenchmarkCovers(b *testing.B) {
	p := ParseFrame(unhex(b, tcpSYN), 1)
	wide := p.Keep(FieldInPort | FieldEthType | FieldIPProto | FieldIPSrc | FieldIPDst | FieldL4Dst)
	for _, row := range []struct {
		name string
		m    Match
	}{{"exact", p}, {"wide", wide}} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				if !row.m.Covers(&p) {
					b.Fatal(row.m)
				}
			}
		})
	}
}

func BenchmarkOverlaps(b *testing.B) {
	p := ParseFrame(unhex(b, tcpSYN), 1)
	wide := p.Keep(FieldInPort | FieldEthType | FieldIPProto | FieldIPSrc | FieldIPDst | FieldL4Dst)
	for b.Loop() {
		if !wide.Overlaps(&p) {
			b.Fatal(wide)
		}
	}
}

func BenchmarkInside(b *testing.B) {
	p := ParseFrame(unhex(b, tcpSYN), 1)
	wide := p.Keep(FieldInPort | FieldEthType | FieldIPProto | FieldIPSrc | FieldIPDst | FieldL4Dst)
	for b.Loop() {
		if !p.Inside(&wide) {
			b.Fatal(wide)
		}
	}
}

func BenchmarkString(b *testing.B) {
	p := ParseFrame(unhex(b, tcpSYN), 1)
	for b.Loop() {
		_ = p.String()
	}
}
