package flow

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"strings"
	"unsafe"
)

// Field is one bit for each field of a [Match].
type Field uint32

// The fields, in the order of [Fields]. Compiled policies contain these bits, and values in their order, so a new field goes to the end.
const (
	FieldInPort Field = 1 << iota
	FieldEthDst
	FieldEthSrc
	FieldEthType
	FieldVLAN
	FieldVLANPCP
	FieldIPDSCP
	FieldIPECN
	FieldIPProto
	FieldIPSrc
	FieldIPDst
	FieldL4Src
	FieldL4Dst
	FieldICMPType
	FieldICMPCode
	FieldARPOp
	FieldARPSPA
	FieldARPTPA
	FieldARPSHA
	FieldARPTHA
	FieldFlowLabel
	FieldNDTarget
	FieldMetadata
	FieldTunnelID
	FieldNDSLL

	fieldEnd
)

// AllFields has the bits of all fields.
const AllFields = fieldEnd - 1

// FieldInfo describes a field of a [Match]. Everything that handles fields reads it:
// comparing, encoding, checking, printing, and the tests of documents. A new field
// is a row in Fields, a bit above, a member of Match, and the code that fills it
// (docs/adding-a-field.md).
type FieldInfo struct {
	Field Field
	Kind  Kind
	Bits  uint8 // of a value; of [Prefix] those of the longest
	Need  Need

	value, mask uintptr // where in a Match they lie; mask is 0 where the kind has none

	Name string
	OXM  []OXM  // its names in OpenFlow 1.3; the first is that of a match that does not say which
	Verb string // how [Match.String] writes a number

	// Its place in OpenFlow 1.0's struct ofp_match (1.0.0, 5.2.3), 0 where it has none; the bit of wildcards,
	// of a Prefix the lowest of six; and ofctl_rest's name in 1.0.
	Place10 uint8
	Wild10  uint32
	Name10  string

	// Compact is its place in the compact encoding; a match with a field that has none goes in another encoding.
	Compact uint8

	// P4 says that a mapping to P4 tables may name it.
	P4 bool

	// ICMPType is of which of the messages of NeedNeighbor the field is; 0 is both.
	ICMPType uint8

	// Later says that the contract's first version had no such field. Functions of that time take no event with it, so JSON's events
	// leave it out; the packet's data have it.
	Later bool
}

// OXM is one of OpenFlow 1.3's names of a field (1.3.5, 7.2.3.7), its number,
// and what the name says of the packet: tcp_dst can't be said of a UDP packet. 0
// is nothing.
type OXM struct {
	Name    string
	Number  uint8
	EthType uint16
	Proto   uint8
}

// Kind is how a field lies in a Match, how two values are compared, and how one
// is written.
type Kind uint8

const (
	Number8    Kind = iota + 1
	Number16        //
	Number32        //
	Number64        // with a mask
	PortNumber      // a PortNo
	VLANTag         // as [Match.SetVLAN] has it, with a mask
	Address         // a MAC
	MaskedMAC       // a MAC with a mask
	Prefix          // a netip.Prefix, of the family that the OXM name says
	IPv6            // a netip.Addr
)

// Need is what a packet's other headers must say for it to have a field: the
// prerequisites of OpenFlow 1.3.5, 7.2.3.8.
type Need uint8

const (
	NeedNothing  Need = iota
	NeedTag           // a vlan_vid with a tag
	NeedIP            // eth_type 0x0800 or 0x86dd
	NeedIPv6          // eth_type 0x86dd
	NeedARP           // eth_type 0x0806
	NeedPorts         // IP, and ip_proto 6, 17 or 132
	NeedICMP          // ip_proto 1 of IPv4, or 58 of IPv6
	NeedNeighbor      // neighbour discovery: IPv6, ip_proto 58, icmp_type 135 or 136, icmp_code 0
)

// Fields has a row for each field, in the order of their bits.
var Fields = [...]FieldInfo{
	{Field: FieldInPort, Name: "in_port", Kind: PortNumber, Bits: 32, value: unsafe.Offsetof(Match{}.InPort), Verb: "%v",
		OXM: []OXM{{"in_port", 0, 0, 0}}, Place10: 4, Wild10: 1 << 0, Compact: 4, P4: true},
	{Field: FieldEthDst, Name: "eth_dst", Kind: MaskedMAC, Bits: 48, value: unsafe.Offsetof(Match{}.EthDst), mask: unsafe.Offsetof(Match{}.EthDstMask),
		OXM: []OXM{{"eth_dst", 3, 0, 0}}, Place10: 12, Wild10: 1 << 3, Name10: "dl_dst", Compact: 8, P4: true},
	{Field: FieldEthSrc, Name: "eth_src", Kind: MaskedMAC, Bits: 48, value: unsafe.Offsetof(Match{}.EthSrc), mask: unsafe.Offsetof(Match{}.EthSrcMask),
		OXM: []OXM{{"eth_src", 4, 0, 0}}, Place10: 6, Wild10: 1 << 2, Name10: "dl_src", Compact: 14, P4: true},
	{Field: FieldEthType, Name: "eth_type", Kind: Number16, Bits: 16, value: unsafe.Offsetof(Match{}.EthType), Verb: "%#04x",
		OXM: []OXM{{"eth_type", 5, 0, 0}}, Place10: 22, Wild10: 1 << 4, Name10: "dl_type", Compact: 20, P4: true},
	{Field: FieldVLAN, Name: "vlan_vid", Kind: VLANTag, Bits: 13, value: unsafe.Offsetof(Match{}.VLAN), mask: unsafe.Offsetof(Match{}.VLANMask),
		OXM: []OXM{{"vlan_vid", 6, 0, 0}}, Place10: 18, Wild10: 1 << 1, Name10: "dl_vlan", Compact: 22, P4: true},
	{Field: FieldVLANPCP, Name: "vlan_pcp", Kind: Number8, Bits: 3, Need: NeedTag, value: unsafe.Offsetof(Match{}.VLANPCP), Verb: "%d",
		OXM: []OXM{{"vlan_pcp", 7, 0, 0}}, Place10: 20, Wild10: 1 << 20, Name10: "dl_vlan_pcp", Compact: 24, P4: true},
	{Field: FieldIPDSCP, Name: "ip_dscp", Kind: Number8, Bits: 6, Need: NeedIP, value: unsafe.Offsetof(Match{}.IPDSCP), Verb: "%d",
		OXM: []OXM{{"ip_dscp", 8, 0, 0}}, Place10: 24, Wild10: 1 << 21, Compact: 25, P4: true},
	{Field: FieldIPECN, Name: "ip_ecn", Kind: Number8, Bits: 2, Need: NeedIP, value: unsafe.Offsetof(Match{}.IPECN), Verb: "%d",
		OXM: []OXM{{"ip_ecn", 9, 0, 0}}, Compact: 26, P4: true},
	{Field: FieldIPProto, Name: "ip_proto", Kind: Number8, Bits: 8, Need: NeedIP, value: unsafe.Offsetof(Match{}.IPProto), Verb: "%d",
		OXM: []OXM{{"ip_proto", 10, 0, 0}}, Place10: 25, Wild10: 1 << 5, Name10: "nw_proto", Compact: 27, P4: true},
	{Field: FieldIPSrc, Name: "ip_src", Kind: Prefix, Bits: 128, Need: NeedIP, value: unsafe.Offsetof(Match{}.IPSrc),
		OXM: []OXM{{"ipv4_src", 11, EthTypeIPv4, 0}, {"ipv6_src", 26, EthTypeIPv6, 0}}, Place10: 28, Wild10: 1 << 8, Name10: "nw_src", Compact: 40, P4: true},
	{Field: FieldIPDst, Name: "ip_dst", Kind: Prefix, Bits: 128, Need: NeedIP, value: unsafe.Offsetof(Match{}.IPDst),
		OXM: []OXM{{"ipv4_dst", 12, EthTypeIPv4, 0}, {"ipv6_dst", 27, EthTypeIPv6, 0}}, Place10: 32, Wild10: 1 << 14, Name10: "nw_dst", Compact: 56, P4: true},
	{Field: FieldL4Src, Name: "l4_src", Kind: Number16, Bits: 16, Need: NeedPorts, value: unsafe.Offsetof(Match{}.L4Src), Verb: "%d",
		OXM:     []OXM{{"tcp_src", 13, 0, ProtoTCP}, {"udp_src", 15, 0, ProtoUDP}, {"sctp_src", 17, 0, ProtoSCTP}},
		Place10: 36, Wild10: 1 << 6, Name10: "tp_src", Compact: 32, P4: true},
	{Field: FieldL4Dst, Name: "l4_dst", Kind: Number16, Bits: 16, Need: NeedPorts, value: unsafe.Offsetof(Match{}.L4Dst), Verb: "%d",
		OXM:     []OXM{{"tcp_dst", 14, 0, ProtoTCP}, {"udp_dst", 16, 0, ProtoUDP}, {"sctp_dst", 18, 0, ProtoSCTP}},
		Place10: 38, Wild10: 1 << 7, Name10: "tp_dst", Compact: 34, P4: true},
	{Field: FieldICMPType, Name: "icmp_type", Kind: Number8, Bits: 8, Need: NeedICMP, value: unsafe.Offsetof(Match{}.ICMPType), Verb: "%d",
		OXM:     []OXM{{"icmpv4_type", 19, EthTypeIPv4, ProtoICMP}, {"icmpv6_type", 29, EthTypeIPv6, ProtoICMPv6}},
		Place10: 37, Wild10: 1 << 6, Name10: "tp_src", Compact: 28, P4: true},
	{Field: FieldICMPCode, Name: "icmp_code", Kind: Number8, Bits: 8, Need: NeedICMP, value: unsafe.Offsetof(Match{}.ICMPCode), Verb: "%d",
		OXM:     []OXM{{"icmpv4_code", 20, EthTypeIPv4, ProtoICMP}, {"icmpv6_code", 30, EthTypeIPv6, ProtoICMPv6}},
		Place10: 39, Wild10: 1 << 7, Name10: "tp_dst", Compact: 29, P4: true},
	{Field: FieldARPOp, Name: "arp_op", Kind: Number16, Bits: 16, Need: NeedARP, value: unsafe.Offsetof(Match{}.ARPOp), Verb: "%d",
		OXM: []OXM{{"arp_op", 21, EthTypeARP, 0}}, Place10: 25, Wild10: 1 << 5, Name10: "nw_proto", Compact: 30, P4: true},
	{Field: FieldARPSPA, Name: "arp_spa", Kind: Prefix, Bits: 32, Need: NeedARP, value: unsafe.Offsetof(Match{}.ARPSPA),
		OXM: []OXM{{"arp_spa", 22, EthTypeARP, 0}}, Place10: 28, Wild10: 1 << 8, Name10: "nw_src", Compact: 40, P4: true},
	{Field: FieldARPTPA, Name: "arp_tpa", Kind: Prefix, Bits: 32, Need: NeedARP, value: unsafe.Offsetof(Match{}.ARPTPA),
		OXM: []OXM{{"arp_tpa", 23, EthTypeARP, 0}}, Place10: 32, Wild10: 1 << 14, Name10: "nw_dst", Compact: 56, P4: true},
	{Field: FieldARPSHA, Name: "arp_sha", Kind: Address, Bits: 48, Need: NeedARP, value: unsafe.Offsetof(Match{}.ARPSHA),
		OXM: []OXM{{"arp_sha", 24, EthTypeARP, 0}}, Compact: 72, P4: true},
	{Field: FieldARPTHA, Name: "arp_tha", Kind: Address, Bits: 48, Need: NeedARP, value: unsafe.Offsetof(Match{}.ARPTHA),
		OXM: []OXM{{"arp_tha", 25, EthTypeARP, 0}}, Compact: 78, P4: true},
	{Field: FieldFlowLabel, Name: "ipv6_flabel", Kind: Number32, Bits: 20, Need: NeedIPv6, value: unsafe.Offsetof(Match{}.FlowLabel), Verb: "%#x",
		OXM: []OXM{{"ipv6_flabel", 28, EthTypeIPv6, 0}}, Compact: 84, P4: true},
	{Field: FieldNDTarget, Name: "ipv6_nd_target", Kind: IPv6, Bits: 128, Need: NeedNeighbor, value: unsafe.Offsetof(Match{}.NDTarget),
		OXM: []OXM{{"ipv6_nd_target", 31, EthTypeIPv6, ProtoICMPv6}}, Compact: 88},
	{Field: FieldMetadata, Name: "metadata", Kind: Number64, Bits: 64, value: unsafe.Offsetof(Match{}.Metadata), mask: unsafe.Offsetof(Match{}.MetadataMask),
		OXM: []OXM{{"metadata", 2, 0, 0}}, Compact: 104},
	{Field: FieldTunnelID, Name: "tunnel_id", Kind: Number64, Bits: 64, value: unsafe.Offsetof(Match{}.TunnelID), mask: unsafe.Offsetof(Match{}.TunnelMask),
		OXM: []OXM{{"tunnel_id", 38, 0, 0}}, Compact: 112},
	{Field: FieldNDSLL, Name: "ipv6_nd_sll", Kind: Address, Bits: 48, Need: NeedNeighbor, ICMPType: 135, value: unsafe.Offsetof(Match{}.NDSLL),
		OXM: []OXM{{"ipv6_nd_sll", 32, EthTypeIPv6, ProtoICMPv6}}, Compact: 120, Later: true},
}

// Info returns the row of f, which is one field.
func (f Field) Info() *FieldInfo { return &Fields[bits.TrailingZeros32(uint32(f))] }

// String returns the field's name, or names joined by commas.
func (f Field) String() string {
	var names []string
	for rest := f & AllFields; rest != 0; rest &= rest - 1 {
		names = append(names, (rest & -rest).Info().Name)
	}
	return strings.Join(names, ",")
}

// Printed returns the i-th row in the order in which fields are written for
// people, which has the source before the destination everywhere.
func Printed(i int) *FieldInfo {
	switch Field(1) << i {
	case FieldEthDst:
		return FieldEthSrc.Info()
	case FieldEthSrc:
		return FieldEthDst.Info()
	}
	return &Fields[i]
}

// Offsets returns the offsets of the value and of the mask in a Match, in bytes.
// mask is 0 if the field's kind has none.
func (x *FieldInfo) Offsets() (value, mask uintptr) { return x.value, x.mask }

// Ones returns the value in which all of the field's bits are set.
func (x *FieldInfo) Ones() uint64 { return ^uint64(0) >> (64 - x.Bits) }

// OXMOf returns the name that x has in m: by the family of its address, or by
// m's ip_proto. ok is false where m says neither; then the first one is returned.
func (x *FieldInfo) OXMOf(m *Match) (o *OXM, ok bool) {
	if len(x.OXM) == 1 {
		return &x.OXM[0], true
	}
	if x.Kind == Prefix {
		if x.Prefix(m).Addr().Is4() {
			return &x.OXM[0], true
		}
		return &x.OXM[1], true
	}
	if m.Fields&FieldIPProto != 0 {
		for i := range x.OXM {
			if x.OXM[i].Proto == m.IPProto {
				return &x.OXM[i], true
			}
		}
	}
	return &x.OXM[0], false
}

// in returns a pointer to the member of m at an offset.
func in[T any](m *Match, at uintptr) *T { return (*T)(unsafe.Add(unsafe.Pointer(m), at)) }

// Number returns the value of a field that is a number, and its mask.
func (x *FieldInfo) Number(m *Match) (v, mask uint64) {
	switch x.Kind {
	case Number8:
		return uint64(*in[uint8](m, x.value)), x.Ones()
	case Number16:
		return uint64(*in[uint16](m, x.value)), x.Ones()
	case Number32, PortNumber:
		return uint64(*in[uint32](m, x.value)), x.Ones()
	case VLANTag:
		return uint64(*in[uint16](m, x.value)), uint64(*in[uint16](m, x.mask))
	case Number64:
		return *in[uint64](m, x.value), *in[uint64](m, x.mask)
	}
	return 0, 0
}

// SetNumber is [FieldInfo.Number]'s inverse. It does not mask the value, and has
// no use for the mask where the kind has none.
func (x *FieldInfo) SetNumber(m *Match, v, mask uint64) {
	m.Fields |= x.Field
	switch x.Kind {
	case Number8:
		*in[uint8](m, x.value) = uint8(v)
	case Number16:
		*in[uint16](m, x.value) = uint16(v)
	case Number32, PortNumber:
		*in[uint32](m, x.value) = uint32(v)
	case VLANTag:
		*in[uint16](m, x.value), *in[uint16](m, x.mask) = uint16(v), uint16(mask)
	case Number64:
		*in[uint64](m, x.value), *in[uint64](m, x.mask) = v, mask
	}
}

// MAC returns the value of a field of the kinds Address and MaskedMAC, and its mask.
func (x *FieldInfo) MAC(m *Match) (a, mask MAC) {
	if x.Kind == Address {
		return *in[MAC](m, x.value), MACExact
	}
	return *in[MAC](m, x.value), *in[MAC](m, x.mask)
}

// SetMAC is [FieldInfo.MAC]'s inverse.
func (x *FieldInfo) SetMAC(m *Match, a, mask MAC) {
	m.Fields |= x.Field
	*in[MAC](m, x.value) = a
	if x.Kind == MaskedMAC {
		*in[MAC](m, x.mask) = mask
	}
}

// Copy gives m the field as from has it.
func (x *FieldInfo) Copy(m, from *Match) {
	switch x.Kind {
	case Address, MaskedMAC:
		a, mask := x.MAC(from)
		x.SetMAC(m, a, mask)
	case Prefix:
		x.SetPrefix(m, x.Prefix(from))
	case IPv6:
		x.SetAddr(m, x.Addr(from))
	default:
		v, mask := x.Number(from)
		x.SetNumber(m, v, mask)
	}
}

// AppendKey appends bytes that two matches share if and only if they have the same of the fields in f, with the same values and masks.
// They tell matches apart in a map, in a quarter of a Match's memory or less.
func (m *Match) AppendKey(b []byte, f Field) []byte {
	f &= m.Fields
	b = binary.LittleEndian.AppendUint32(b, uint32(f))
	for ; f != 0; f &= f - 1 {
		x := (f & -f).Info()
		switch x.Kind {
		case Address, MaskedMAC:
			a, mask := x.MAC(m)
			b = append(append(b, a[:]...), mask[:]...)
		case Prefix:
			p := x.Prefix(m)
			b = append(appendAddr(b, p.Addr()), uint8(p.Bits()))
		case IPv6:
			b = appendAddr(b, x.Addr(m))
		default:
			v, mask := x.Number(m)
			b = appendNumber(b, x.Kind, v)
			if x.mask != 0 {
				b = appendNumber(b, x.Kind, mask)
			}
		}
	}
	return b
}

func appendNumber(b []byte, kind Kind, v uint64) []byte {
	switch kind {
	case Number8:
		return append(b, uint8(v))
	case Number16, VLANTag:
		return binary.LittleEndian.AppendUint16(b, uint16(v))
	case Number64:
		return binary.LittleEndian.AppendUint64(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, uint32(v))
}

// appendAddr appends an address, which begins with its length. It has no zone: none comes from a packet.
func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		v4 := a.As4()
		return append(append(b, 4), v4[:]...)
	case a.Is6():
		v6 := a.As16()
		return append(append(b, 16), v6[:]...)
	}
	return append(b, 0)
}

// Prefix returns the value of a field of that kind.
func (x *FieldInfo) Prefix(m *Match) netip.Prefix { return *in[netip.Prefix](m, x.value) }

// SetPrefix is [FieldInfo.Prefix]'s inverse.
func (x *FieldInfo) SetPrefix(m *Match, p netip.Prefix) {
	m.Fields |= x.Field
	*in[netip.Prefix](m, x.value) = p
}

// Addr returns the value of a field of the kind IPv6.
func (x *FieldInfo) Addr(m *Match) netip.Addr { return *in[netip.Addr](m, x.value) }

// SetAddr is [FieldInfo.Addr]'s inverse.
func (x *FieldInfo) SetAddr(m *Match, a netip.Addr) {
	m.Fields |= x.Field
	*in[netip.Addr](m, x.value) = a
}
