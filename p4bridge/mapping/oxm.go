package mapping

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// oxm is one OpenFlow match field under its OXM name (OpenFlow 1.3.5, 7.2.3.7).
// Several of them may share a P4 key, and a [flow.Field]: eth_type and ip_proto,
// OpenFlow's prerequisites, tell which one a packet has.
type oxm struct {
	name     string
	field    flow.Field
	width    int
	ethTypes []uint16 // empty: any
	protos   []uint8  // empty: any

	// get returns value and mask, both of width bits; all ones is exact.
	get func(m *flow.Match) (value, mask bits)
	// set is get's inverse.
	set func(m *flow.Match, value, mask []byte)
}

// may reports whether a packet that m covers can have the field, as far as m
// says what such a packet is; sure, whether every one has it.
func (o *oxm) may(m *flow.Match) (may, sure bool) {
	may, sure = true, true
	if len(o.ethTypes) > 0 {
		if !m.Has(flow.FieldEthType) {
			sure = false
		} else if !slices.Contains(o.ethTypes, m.EthType) {
			return false, false
		}
	}
	if len(o.protos) > 0 {
		if !m.Has(flow.FieldIPProto) {
			sure = false
		} else if !slices.Contains(o.protos, m.IPProto) {
			return false, false
		}
	}
	return may, sure
}

var (
	ipv4Only = []uint16{flow.EthTypeIPv4}
	ipv6Only = []uint16{flow.EthTypeIPv6}
	ipAny    = []uint16{flow.EthTypeIPv4, flow.EthTypeIPv6}
	arpOnly  = []uint16{flow.EthTypeARP}
)

var oxms = func() map[string]*oxm {
	list := []*oxm{
		number("in_port", flow.FieldInPort, 32, nil, nil,
			func(m *flow.Match) uint64 { return uint64(m.InPort) }, func(m *flow.Match, v uint64) { m.InPort = flow.PortNo(v) }),
		mac("eth_src", flow.FieldEthSrc, nil,
			func(m *flow.Match) (*flow.MAC, *flow.MAC) { return &m.EthSrc, &m.EthSrcMask }),
		mac("eth_dst", flow.FieldEthDst, nil,
			func(m *flow.Match) (*flow.MAC, *flow.MAC) { return &m.EthDst, &m.EthDstMask }),
		number("eth_type", flow.FieldEthType, 16, nil, nil,
			func(m *flow.Match) uint64 { return uint64(m.EthType) }, func(m *flow.Match, v uint64) { m.EthType = uint16(v) }),
		{
			// With bit 12 for "has a tag", as in OpenFlow 1.3.
			name: "vlan_vid", field: flow.FieldVLAN, width: 13,
			get: func(m *flow.Match) (bits, bits) { return bits{lo: uint64(m.VLAN)}, bits{lo: uint64(m.VLANMask)} },
			set: func(m *flow.Match, v, mask []byte) {
				m.SetVLAN(binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(mask))
			},
		},
		number("vlan_pcp", flow.FieldVLANPCP, 3, nil, nil,
			func(m *flow.Match) uint64 { return uint64(m.VLANPCP) }, func(m *flow.Match, v uint64) { m.VLANPCP = uint8(v) }),
		number("ip_dscp", flow.FieldIPDSCP, 6, ipAny, nil,
			func(m *flow.Match) uint64 { return uint64(m.IPDSCP) }, func(m *flow.Match, v uint64) { m.IPDSCP = uint8(v) }),
		number("ip_ecn", flow.FieldIPECN, 2, ipAny, nil,
			func(m *flow.Match) uint64 { return uint64(m.IPECN) }, func(m *flow.Match, v uint64) { m.IPECN = uint8(v) }),
		number("ip_proto", flow.FieldIPProto, 8, ipAny, nil,
			func(m *flow.Match) uint64 { return uint64(m.IPProto) }, func(m *flow.Match, v uint64) { m.IPProto = uint8(v) }),
		number("arp_op", flow.FieldARPOp, 16, arpOnly, nil,
			func(m *flow.Match) uint64 { return uint64(m.ARPOp) }, func(m *flow.Match, v uint64) { m.ARPOp = uint16(v) }),
		prefix("ipv4_src", flow.FieldIPSrc, 32, ipv4Only, func(m *flow.Match) *netip.Prefix { return &m.IPSrc }),
		prefix("ipv4_dst", flow.FieldIPDst, 32, ipv4Only, func(m *flow.Match) *netip.Prefix { return &m.IPDst }),
		prefix("ipv6_src", flow.FieldIPSrc, 128, ipv6Only, func(m *flow.Match) *netip.Prefix { return &m.IPSrc }),
		prefix("ipv6_dst", flow.FieldIPDst, 128, ipv6Only, func(m *flow.Match) *netip.Prefix { return &m.IPDst }),
		prefix("arp_spa", flow.FieldARPSPA, 32, arpOnly, func(m *flow.Match) *netip.Prefix { return &m.ARPSPA }),
		prefix("arp_tpa", flow.FieldARPTPA, 32, arpOnly, func(m *flow.Match) *netip.Prefix { return &m.ARPTPA }),
		mac("arp_sha", flow.FieldARPSHA, arpOnly,
			func(m *flow.Match) (*flow.MAC, *flow.MAC) { return &m.ARPSHA, nil }),
		mac("arp_tha", flow.FieldARPTHA, arpOnly,
			func(m *flow.Match) (*flow.MAC, *flow.MAC) { return &m.ARPTHA, nil }),
		number("ipv6_flabel", flow.FieldFlowLabel, 20, ipv6Only, nil,
			func(m *flow.Match) uint64 { return uint64(m.FlowLabel) }, func(m *flow.Match, v uint64) { m.FlowLabel = uint32(v) }),
	}
	for _, l4 := range []struct {
		name  string
		proto uint8
	}{{"tcp", flow.ProtoTCP}, {"udp", flow.ProtoUDP}, {"sctp", flow.ProtoSCTP}} {
		list = append(list,
			number(l4.name+"_src", flow.FieldL4Src, 16, ipAny, []uint8{l4.proto},
				func(m *flow.Match) uint64 { return uint64(m.L4Src) }, func(m *flow.Match, v uint64) { m.L4Src = uint16(v) }),
			number(l4.name+"_dst", flow.FieldL4Dst, 16, ipAny, []uint8{l4.proto},
				func(m *flow.Match) uint64 { return uint64(m.L4Dst) }, func(m *flow.Match, v uint64) { m.L4Dst = uint16(v) }))
	}
	for _, icmp := range []struct {
		name  string
		eth   []uint16
		proto uint8
	}{{"icmpv4", ipv4Only, flow.ProtoICMP}, {"icmpv6", ipv6Only, flow.ProtoICMPv6}} {
		list = append(list,
			number(icmp.name+"_type", flow.FieldICMPType, 8, icmp.eth, []uint8{icmp.proto},
				func(m *flow.Match) uint64 { return uint64(m.ICMPType) }, func(m *flow.Match, v uint64) { m.ICMPType = uint8(v) }),
			number(icmp.name+"_code", flow.FieldICMPCode, 8, icmp.eth, []uint8{icmp.proto},
				func(m *flow.Match) uint64 { return uint64(m.ICMPCode) }, func(m *flow.Match, v uint64) { m.ICMPCode = uint8(v) }))
	}
	byName := map[string]*oxm{}
	for _, o := range list {
		byName[o.name] = o
	}
	return byName
}()

func number(name string, f flow.Field, width int, ethTypes []uint16, protos []uint8, get func(*flow.Match) uint64, set func(*flow.Match, uint64)) *oxm {
	return &oxm{
		name: name, field: f, width: width, ethTypes: ethTypes, protos: protos,
		get: func(m *flow.Match) (bits, bits) { return bits{lo: get(m)}, ones(width) },
		set: func(m *flow.Match, v, _ []byte) {
			n, _ := pipeline.ToUint(v) // its width was checked
			m.Fields |= f
			set(m, n)
		},
	}
}

func mac(name string, f flow.Field, ethTypes []uint16, at func(*flow.Match) (value, mask *flow.MAC)) *oxm {
	return &oxm{
		name: name, field: f, width: 48, ethTypes: ethTypes,
		get: func(m *flow.Match) (bits, bits) {
			v, mask := at(m)
			if mask == nil {
				mask = &flow.MACExact
			}
			return fromBytes(v[:]), fromBytes(mask[:])
		},
		set: func(m *flow.Match, value, msk []byte) {
			m.Fields |= f
			v, mask := at(m)
			*v = flow.MAC(value)
			if mask != nil {
				*mask = flow.MAC(msk)
			}
		},
	}
}

func prefix(name string, f flow.Field, width int, ethTypes []uint16, at func(*flow.Match) *netip.Prefix) *oxm {
	return &oxm{
		name: name, field: f, width: width, ethTypes: ethTypes,
		get: func(m *flow.Match) (bits, bits) {
			p := at(m)
			a := p.Addr().As16() // an IPv4 address is the low 32 bits
			return fromBytes(a[16-width/8:]), ones(width).and(ones(width - p.Bits()).not())
		},
		set: func(m *flow.Match, value, mask []byte) {
			n := 0
			for n < width && mask[n/8]&(0x80>>(n%8)) != 0 {
				n++
			}
			addr, _ := netip.AddrFromSlice(value) // 4 or 16 bytes: width says so
			m.Fields |= f
			*at(m) = netip.PrefixFrom(addr, n).Masked()
		},
	}
}

// oxmNamed looks a name up for a mapping file.
func oxmNamed(name string) (*oxm, error) {
	o := oxms[name]
	if o == nil {
		names := make([]string, 0, len(oxms))
		for n := range oxms {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("%q is no OXM name that is supported; there are %v", name, names)
	}
	return o, nil
}
