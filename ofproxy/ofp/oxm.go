package ofp

import (
	"fmt"
	"math/bits"
	"net/netip"

	"switchbridge/flow"
)

// OXM header parts (OpenFlow 1.3.5, 7.2.3.2) and fields (7.2.3.7, enum
// oxm_ofb_match_fields).
const (
	matchOXM      = 1 // OFPMT_OXM
	oxmClassBasic = 0x8000

	oxmInPort     = 0
	oxmMetadata   = 2
	oxmEthDst     = 3
	oxmEthSrc     = 4
	oxmEthType    = 5
	oxmVLAN       = 6
	oxmVLANPCP    = 7
	oxmIPDSCP     = 8
	oxmIPECN      = 9
	oxmIPProto    = 10
	oxmIPv4Src    = 11
	oxmIPv4Dst    = 12
	oxmTCPSrc     = 13
	oxmTCPDst     = 14
	oxmUDPSrc     = 15
	oxmUDPDst     = 16
	oxmSCTPSrc    = 17
	oxmSCTPDst    = 18
	oxmICMPv4Type = 19
	oxmICMPv4Code = 20
	oxmARPOp      = 21
	oxmARPSPA     = 22
	oxmARPTPA     = 23
	oxmARPSHA     = 24
	oxmARPTHA     = 25
	oxmIPv6Src    = 26
	oxmIPv6Dst    = 27
	oxmFlowLabel  = 28
	oxmICMPv6Type = 29
	oxmICMPv6Code = 30
	oxmNDTarget   = 31
	oxmTunnelID   = 38
)

// oxmLen is the length of a field's value, without a mask; 0 is a field that
// our nouns lack.
var oxmLen = [...]uint8{
	oxmInPort: 4, oxmMetadata: 8, oxmEthDst: 6, oxmEthSrc: 6, oxmEthType: 2, oxmVLAN: 2, oxmVLANPCP: 1, oxmIPDSCP: 1, oxmIPECN: 1,
	oxmIPProto: 1, oxmIPv4Src: 4, oxmIPv4Dst: 4, oxmTCPSrc: 2, oxmTCPDst: 2, oxmUDPSrc: 2, oxmUDPDst: 2, oxmSCTPSrc: 2, oxmSCTPDst: 2,
	oxmICMPv4Type: 1, oxmICMPv4Code: 1, oxmARPOp: 2, oxmARPSPA: 4, oxmARPTPA: 4, oxmARPSHA: 6, oxmARPTHA: 6, oxmIPv6Src: 16,
	oxmIPv6Dst: 16, oxmFlowLabel: 4, oxmICMPv6Type: 1, oxmICMPv6Code: 1, oxmNDTarget: 16, oxmTunnelID: 8,
}

// check13 says which field of m lacks its prerequisite (OpenFlow 1.3.5,
// 7.2.3.8), or nil. A switch would refuse the message with BAD_PREREQ.
func check13(m *flow.Match) error {
	ipv4 := m.Has(flow.FieldEthType) && m.EthType == flow.EthTypeIPv4
	ipv6 := m.Has(flow.FieldEthType) && m.EthType == flow.EthTypeIPv6
	if f := m.Fields & (flow.FieldIPDSCP | flow.FieldIPECN | flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Src |
		flow.FieldL4Dst | flow.FieldICMPType | flow.FieldICMPCode); f != 0 && !ipv4 && !ipv6 {
		return prerequisite(f, "eth_type 0x0800 or 0x86dd")
	}
	if f := m.Fields & (flow.FieldFlowLabel | flow.FieldNDTarget); f != 0 && !ipv6 {
		return prerequisite(f, "eth_type 0x86dd")
	}
	if f := m.Fields & (flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA | flow.FieldARPSHA | flow.FieldARPTHA); f != 0 &&
		(!m.Has(flow.FieldEthType) || m.EthType != flow.EthTypeARP) {
		return prerequisite(f, "eth_type 0x0806")
	}
	proto := -1
	if m.Has(flow.FieldIPProto) {
		proto = int(m.IPProto)
	}
	if f := m.Fields & (flow.FieldL4Src | flow.FieldL4Dst); f != 0 && proto != flow.ProtoTCP && proto != flow.ProtoUDP && proto != flow.ProtoSCTP {
		return prerequisite(f, "ip_proto 6, 17 or 132")
	}
	if f := m.Fields & (flow.FieldICMPType | flow.FieldICMPCode); f != 0 && !(ipv4 && proto == flow.ProtoICMP || ipv6 && proto == flow.ProtoICMPv6) {
		return prerequisite(f, "ip_proto 1 of IPv4 or 58 of IPv6")
	}
	if m.Has(flow.FieldNDTarget) {
		if proto != flow.ProtoICMPv6 {
			return prerequisite(flow.FieldNDTarget, "ip_proto 58")
		}
		if !m.NDTarget.Is6() {
			return fmt.Errorf("match: ipv6_nd_target %v is not an IPv6 address", m.NDTarget)
		}
	}
	if err := checkVID(m); err != nil {
		return err
	}
	if m.Has(flow.FieldVLANPCP) && (!m.Has(flow.FieldVLAN) || m.VLAN&m.VLANMask&flow.VLANPresent == 0) {
		return prerequisite(flow.FieldVLANPCP, "a vlan_vid with a tag")
	}
	if m.Has(flow.FieldIPSrc) && !family(m.IPSrc, ipv4) {
		return fmt.Errorf("match: ip_src %v is not of eth_type %#04x", m.IPSrc, m.EthType)
	}
	if m.Has(flow.FieldIPDst) && !family(m.IPDst, ipv4) {
		return fmt.Errorf("match: ip_dst %v is not of eth_type %#04x", m.IPDst, m.EthType)
	}
	if m.Has(flow.FieldARPSPA) && !family(m.ARPSPA, true) {
		return fmt.Errorf("match: arp_spa %v is not an IPv4 prefix", m.ARPSPA)
	}
	if m.Has(flow.FieldARPTPA) && !family(m.ARPTPA, true) {
		return fmt.Errorf("match: arp_tpa %v is not an IPv4 prefix", m.ARPTPA)
	}
	return nil
}

// checkVID refuses a VLAN id without the bit that says that there is a tag: it
// is neither "no tag" nor that VLAN.
func checkVID(m *flow.Match) error {
	if m.Has(flow.FieldVLAN) && m.VLANMask&flow.VLANPresent != 0 && m.VLAN&flow.VLANPresent == 0 && m.VLAN&m.VLANMask != 0 {
		return fmt.Errorf("match: vlan_vid %#04x without the bit %#04x of a tag", m.VLAN, flow.VLANPresent)
	}
	return nil
}

func family(p netip.Prefix, ipv4 bool) bool { return p.IsValid() && p.Addr().Is4() == ipv4 }

// CheckMatch says why v can't express m, or nil: an [UnsupportedError], or a
// prerequisite that is missing and that [flow.Match.Complete] could add.
func CheckMatch(v flow.Protocol, m *flow.Match) error {
	if v == flow.OpenFlow10 {
		return check10(m)
	}
	return check13(m)
}

// appendMatch13 appends struct ofp_match with its padding (OpenFlow 1.3.5,
// 7.2.3), for a match that check13 passed. Fields go in the order of their
// numbers, which is one of their prerequisites.
func appendMatch13(b []byte, m *flow.Match) []byte {
	start := len(b)
	b = append(b, 0, matchOXM, 0, 0)
	b = appendOXMs(b, m)
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	return padTo8(b, start)
}

func oxm(b []byte, field, n uint8) []byte { return append(b, oxmClassBasic>>8, 0, field<<1, n) }
func oxmMasked(b []byte, field, n uint8) []byte {
	return append(b, oxmClassBasic>>8, 0, field<<1|1, 2*n)
}
func oxm8(b []byte, field, v uint8) []byte { return append(oxm(b, field, 1), v) }
func oxm16(b []byte, field uint8, v uint16) []byte {
	return be.AppendUint16(oxm(b, field, 2), v)
}
func oxm32(b []byte, field uint8, v uint32) []byte {
	return be.AppendUint32(oxm(b, field, 4), v)
}

// A mask of no bits says nothing, so the field is left out.

func oxm64(b []byte, field uint8, v, mask uint64) []byte {
	switch mask {
	case 0:
		return b
	case 1<<64 - 1:
		return be.AppendUint64(oxm(b, field, 8), v)
	}
	return be.AppendUint64(be.AppendUint64(oxmMasked(b, field, 8), v&mask), mask)
}

func oxmMAC(b []byte, field uint8, a, mask flow.MAC) []byte {
	switch mask {
	case flow.MAC{}:
		return b
	case flow.MACExact:
		return append(oxm(b, field, 6), a[:]...)
	}
	a = a.And(mask)
	b = append(oxmMasked(b, field, 6), a[:]...)
	return append(b, mask[:]...)
}

func oxmVLANs(b []byte, v, mask uint16) []byte {
	switch mask & flow.VLANExact {
	case 0:
		return b
	case flow.VLANExact:
		return oxm16(b, oxmVLAN, v&flow.VLANExact)
	}
	return be.AppendUint16(be.AppendUint16(oxmMasked(b, oxmVLAN, 2), v&mask&flow.VLANExact), mask&flow.VLANExact)
}

// oxmPrefix appends an address of either family; field4 is IPv4's.
func oxmPrefix(b []byte, field4, field6 uint8, p netip.Prefix) []byte {
	n := p.Bits()
	if n == 0 {
		return b
	}
	if p.Addr().Is4() {
		a := be.Uint32(sliceOf4(p.Addr()))
		if n == 32 {
			return oxm32(b, field4, a)
		}
		mask := ^uint32(0) << (32 - n)
		return be.AppendUint32(be.AppendUint32(oxmMasked(b, field4, 4), a&mask), mask)
	}
	if n == 128 {
		a := p.Addr().As16()
		return append(oxm(b, field6, 16), a[:]...)
	}
	a := p.Masked().Addr().As16()
	b = append(oxmMasked(b, field6, 16), a[:]...)
	for i := range 16 { // the mask, n leading bits
		b = append(b, ^uint8(0xff>>min(max(n-8*i, 0), 8)))
	}
	return b
}

func sliceOf4(a netip.Addr) []byte { b := a.As4(); return b[:] }

func appendOXMs(b []byte, m *flow.Match) []byte {
	if m.Has(flow.FieldInPort) {
		b = oxm32(b, oxmInPort, uint32(m.InPort))
	}
	if m.Has(flow.FieldMetadata) {
		b = oxm64(b, oxmMetadata, m.Metadata, m.MetadataMask)
	}
	if m.Has(flow.FieldEthDst) {
		b = oxmMAC(b, oxmEthDst, m.EthDst, m.EthDstMask)
	}
	if m.Has(flow.FieldEthSrc) {
		b = oxmMAC(b, oxmEthSrc, m.EthSrc, m.EthSrcMask)
	}
	if m.Has(flow.FieldEthType) {
		b = oxm16(b, oxmEthType, m.EthType)
	}
	if m.Has(flow.FieldVLAN) {
		b = oxmVLANs(b, m.VLAN, m.VLANMask)
	}
	if m.Has(flow.FieldVLANPCP) {
		b = oxm8(b, oxmVLANPCP, m.VLANPCP&7)
	}
	if m.Has(flow.FieldIPDSCP) {
		b = oxm8(b, oxmIPDSCP, m.IPDSCP&0x3f)
	}
	if m.Has(flow.FieldIPECN) {
		b = oxm8(b, oxmIPECN, m.IPECN&3)
	}
	if m.Has(flow.FieldIPProto) {
		b = oxm8(b, oxmIPProto, m.IPProto)
	}
	if m.Has(flow.FieldIPSrc) {
		b = oxmPrefix(b, oxmIPv4Src, oxmIPv6Src, m.IPSrc)
	}
	if m.Has(flow.FieldIPDst) {
		b = oxmPrefix(b, oxmIPv4Dst, oxmIPv6Dst, m.IPDst)
	}
	if m.Fields&(flow.FieldL4Src|flow.FieldL4Dst) != 0 {
		src, dst := portFields(m.IPProto)
		if m.Has(flow.FieldL4Src) {
			b = oxm16(b, src, m.L4Src)
		}
		if m.Has(flow.FieldL4Dst) {
			b = oxm16(b, dst, m.L4Dst)
		}
	}
	if m.Fields&(flow.FieldICMPType|flow.FieldICMPCode) != 0 {
		typ, code := uint8(oxmICMPv4Type), uint8(oxmICMPv4Code)
		if m.IPProto == flow.ProtoICMPv6 {
			typ, code = oxmICMPv6Type, oxmICMPv6Code
		}
		if m.Has(flow.FieldICMPType) {
			b = oxm8(b, typ, m.ICMPType)
		}
		if m.Has(flow.FieldICMPCode) {
			b = oxm8(b, code, m.ICMPCode)
		}
	}
	if m.Has(flow.FieldARPOp) {
		b = oxm16(b, oxmARPOp, m.ARPOp)
	}
	if m.Has(flow.FieldARPSPA) {
		b = oxmPrefix(b, oxmARPSPA, oxmARPSPA, m.ARPSPA)
	}
	if m.Has(flow.FieldARPTPA) {
		b = oxmPrefix(b, oxmARPTPA, oxmARPTPA, m.ARPTPA)
	}
	if m.Has(flow.FieldARPSHA) {
		b = oxmMAC(b, oxmARPSHA, m.ARPSHA, flow.MACExact)
	}
	if m.Has(flow.FieldARPTHA) {
		b = oxmMAC(b, oxmARPTHA, m.ARPTHA, flow.MACExact)
	}
	if m.Has(flow.FieldFlowLabel) {
		b = oxm32(b, oxmFlowLabel, m.FlowLabel&0xfffff)
	}
	if m.Has(flow.FieldNDTarget) {
		a := m.NDTarget.As16()
		b = append(oxm(b, oxmNDTarget, 16), a[:]...)
	}
	if m.Has(flow.FieldTunnelID) {
		b = oxm64(b, oxmTunnelID, m.TunnelID, m.TunnelMask)
	}
	return b
}

// portFields returns the fields of a protocol's source and destination port.
func portFields(proto uint8) (src, dst uint8) {
	switch proto {
	case flow.ProtoUDP:
		return oxmUDPSrc, oxmUDPDst
	case flow.ProtoSCTP:
		return oxmSCTPSrc, oxmSCTPDst
	}
	return oxmTCPSrc, oxmTCPDst
}

// rawOXM is one field as it stands in a message.
type rawOXM struct {
	class        uint16
	field        uint8
	masked       bool
	experimenter uint32 // of class oxmClassExperimenter
	value, mask  []byte
}

// nextOXM splits the first field off b.
func nextOXM(b []byte) (x rawOXM, rest []byte, err error) {
	if len(b) < 4 {
		return x, nil, short("match: a field's header", len(b), 4)
	}
	x.class, x.field, x.masked = be.Uint16(b), b[2]>>1, b[2]&1 != 0
	n := int(b[3])
	if n > len(b)-4 {
		return x, nil, fmt.Errorf("match: field %d of class %#04x has %d bytes, of %d left", x.field, x.class, n, len(b)-4)
	}
	x.value, rest = b[4:4+n], b[4+n:]
	if x.class == oxmClassExperimenter { // OpenFlow 1.3.5, 7.2.3.9: its number comes first
		if n < 4 {
			return x, nil, fmt.Errorf("match: field %d of class %#04x has %d bytes, want at least 4", x.field, x.class, n)
		}
		x.experimenter, x.value = be.Uint32(x.value), x.value[4:]
	}
	if x.masked {
		half := len(x.value) / 2
		x.value, x.mask = x.value[:half], x.value[half:]
		if len(x.value) != len(x.mask) {
			return x, nil, fmt.Errorf("match: field %d of class %#04x has %d bytes for a value and a mask", x.field, x.class, n)
		}
	}
	return x, rest, nil
}

// known reports whether our nouns have the field, and whether its length is right.
func (x *rawOXM) known() (bool, error) {
	if x.class != oxmClassBasic || int(x.field) >= len(oxmLen) || oxmLen[x.field] == 0 {
		return false, nil
	}
	n := int(oxmLen[x.field])
	if len(x.value) != n || x.masked && len(x.mask) != n {
		return false, fmt.Errorf("match: field %d has a value of %d bytes, mask %d; want %d", x.field, len(x.value), len(x.mask), n)
	}
	return true, nil
}

// splitMatch13 checks struct ofp_match and returns its fields and what follows
// its padding.
func splitMatch13(b []byte) (oxms, rest []byte, err error) {
	if len(b) < 8 {
		return nil, nil, short("match", len(b), 8)
	}
	typ, n := be.Uint16(b), int(be.Uint16(b[2:]))
	if typ != matchOXM {
		return nil, nil, fmt.Errorf("match: type %d, want %d (OXM)", typ, matchOXM)
	}
	if n < 4 || aligned(n) > len(b) {
		return nil, nil, fmt.Errorf("match: length %d, of %d bytes left", n, len(b))
	}
	return b[4:n], b[aligned(n):], nil
}

// parseMatch13 reads struct ofp_match and returns what follows it. A field that
// our nouns lack is passed over by its length and handed to lacking; where that
// is nil, and where it returns an error, this fails.
func parseMatch13(b []byte, lacking func(x rawOXM) error) (m flow.Match, rest []byte, err error) {
	oxms, rest, err := splitMatch13(b)
	if err != nil {
		return m, nil, err
	}
	for len(oxms) > 0 {
		var x rawOXM
		if x, oxms, err = nextOXM(oxms); err != nil {
			return m, rest, err
		}
		has, err := x.known()
		if err == nil && has && lacking != nil {
			has = x.inexpressible() == nil
		}
		switch {
		case err != nil:
		case has:
			err = x.set(&m)
		case lacking != nil:
			err = lacking(x)
		default:
			err = unsupported(flow.OpenFlow13, fmt.Sprintf("a match on field %d of class %#04x", x.field, x.class))
		}
		if err != nil {
			return m, rest, err
		}
	}
	return m, rest, nil
}

// passOver is for parseMatch13: what our nouns lack does not matter.
func passOver(rawOXM) error { return nil }

// maskable are the fields whose mask the specification allows and our nouns
// express.
const maskable = 1<<oxmMetadata | 1<<oxmEthDst | 1<<oxmEthSrc | 1<<oxmVLAN | 1<<oxmIPv4Src | 1<<oxmIPv4Dst | 1<<oxmARPSPA |
	1<<oxmARPTPA | 1<<oxmIPv6Src | 1<<oxmIPv6Dst | 1<<oxmTunnelID

// prefixes are those whose mask must be one.
const prefixes = 1<<oxmIPv4Src | 1<<oxmIPv4Dst | 1<<oxmARPSPA | 1<<oxmARPTPA | 1<<oxmIPv6Src | 1<<oxmIPv6Dst

// inexpressible says why our nouns can't express a known field as it is masked,
// or returns nil.
func (x *rawOXM) inexpressible() error {
	if !x.masked || x.empty() {
		return nil
	}
	if maskable>>x.field&1 == 0 {
		for _, c := range x.mask {
			if c != 0xff {
				return unsupported(flow.OpenFlow13, fmt.Sprintf("a masked match on field %d", x.field))
			}
		}
	}
	if prefixes>>x.field&1 != 0 {
		if _, ok := maskLen(x.mask); !ok {
			return fmt.Errorf("match: the mask %x of field %d is not a prefix", x.mask, x.field)
		}
	}
	return nil
}

// empty reports whether a mask has no bit that counts.
func (x *rawOXM) empty() bool {
	if x.field == oxmVLAN {
		return be.Uint16(x.mask)&flow.VLANExact == 0
	}
	for _, c := range x.mask {
		if c != 0 {
			return false
		}
	}
	return true
}

// set puts a known field into m. A mask of no bits says nothing and sets
// nothing.
func (x *rawOXM) set(m *flow.Match) error {
	if x.masked {
		if err := x.inexpressible(); err != nil || x.empty() {
			return err
		}
	}
	before := m.Fields
	if err := x.put(m); err != nil {
		return err
	}
	if m.Fields == before { // or IPv6's after IPv4's, UDP's after TCP's
		return fmt.Errorf("match: field %d is one that it has already", x.field)
	}
	return nil
}

// put adds a field's bit, value and mask to m.
func (x *rawOXM) put(m *flow.Match) error {
	switch x.field {
	case oxmIPv4Src, oxmIPv4Dst, oxmARPSPA, oxmARPTPA, oxmIPv6Src, oxmIPv6Dst:
		x.setPrefix(m)
	case oxmInPort:
		m.SetInPort(flow.PortNo(be.Uint32(x.value)))
	case oxmMetadata:
		m.Fields |= flow.FieldMetadata
		m.Metadata, m.MetadataMask = x.value64()
	case oxmTunnelID:
		m.Fields |= flow.FieldTunnelID
		m.TunnelID, m.TunnelMask = x.value64()
	case oxmEthDst:
		m.SetEthDst(x.mac())
	case oxmEthSrc:
		m.SetEthSrc(x.mac())
	case oxmEthType:
		m.SetEthType(be.Uint16(x.value))
	case oxmVLAN:
		mask := flow.VLANExact
		if x.masked {
			mask &= be.Uint16(x.mask)
		}
		m.SetVLAN(be.Uint16(x.value), mask)
	case oxmVLANPCP:
		m.Fields |= flow.FieldVLANPCP
		m.VLANPCP = x.value[0] & 7
	case oxmIPDSCP:
		m.Fields |= flow.FieldIPDSCP
		m.IPDSCP = x.value[0] & 0x3f
	case oxmIPECN:
		m.Fields |= flow.FieldIPECN
		m.IPECN = x.value[0] & 3
	case oxmIPProto:
		m.SetIPProto(x.value[0])
	case oxmTCPSrc, oxmUDPSrc, oxmSCTPSrc:
		m.SetL4Src(be.Uint16(x.value))
		return x.protocol(m)
	case oxmTCPDst, oxmUDPDst, oxmSCTPDst:
		m.SetL4Dst(be.Uint16(x.value))
		return x.protocol(m)
	case oxmICMPv4Type, oxmICMPv6Type:
		m.Fields |= flow.FieldICMPType
		m.ICMPType = x.value[0]
		return x.protocol(m)
	case oxmICMPv4Code, oxmICMPv6Code:
		m.Fields |= flow.FieldICMPCode
		m.ICMPCode = x.value[0]
		return x.protocol(m)
	case oxmARPOp:
		m.Fields |= flow.FieldARPOp
		m.ARPOp = be.Uint16(x.value)
	case oxmARPSHA:
		m.Fields |= flow.FieldARPSHA
		m.ARPSHA = flow.MAC(x.value)
	case oxmARPTHA:
		m.Fields |= flow.FieldARPTHA
		m.ARPTHA = flow.MAC(x.value)
	case oxmFlowLabel:
		m.Fields |= flow.FieldFlowLabel
		m.FlowLabel = be.Uint32(x.value) & 0xfffff
	case oxmNDTarget:
		m.Fields |= flow.FieldNDTarget
		m.NDTarget = netip.AddrFrom16([16]byte(x.value))
	}
	return nil
}

func (x *rawOXM) value64() (v, mask uint64) {
	v, mask = be.Uint64(x.value), 1<<64-1
	if x.masked {
		mask = be.Uint64(x.mask)
	}
	return v & mask, mask
}

func (x *rawOXM) mac() (a, mask flow.MAC) {
	if x.masked {
		return flow.MAC(x.value), flow.MAC(x.mask)
	}
	return flow.MAC(x.value), flow.MACExact
}

// protocol makes of a port's or an ICMP field's protocol the ip_proto that says
// so in our nouns. Prerequisites come first (OpenFlow 1.3.5, 7.2.3.6), so one
// that is missing or contradicts is an error.
func (x *rawOXM) protocol(m *flow.Match) error {
	proto := protoOf(x.field)
	if !m.Has(flow.FieldIPProto) || m.IPProto != proto {
		return fmt.Errorf("match: field %d without ip_proto %d before it", x.field, proto)
	}
	return nil
}

// protoOf returns the ip_proto of a port's or an ICMP field.
func protoOf(field uint8) uint8 {
	switch field {
	case oxmTCPSrc, oxmTCPDst:
		return flow.ProtoTCP
	case oxmUDPSrc, oxmUDPDst:
		return flow.ProtoUDP
	case oxmSCTPSrc, oxmSCTPDst:
		return flow.ProtoSCTP
	case oxmICMPv4Type, oxmICMPv4Code:
		return flow.ProtoICMP
	}
	return flow.ProtoICMPv6
}

func addr4(b []byte) netip.Addr  { return netip.AddrFrom4([4]byte(b[:4])) }
func addr16(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[:16])) }

func (x *rawOXM) setPrefix(m *flow.Match) {
	a, _ := netip.AddrFromSlice(x.value)
	n := a.BitLen()
	if x.masked {
		n, _ = maskLen(x.mask)
	}
	p := netip.PrefixFrom(a, n)
	switch x.field {
	case oxmIPv4Src, oxmIPv6Src:
		m.SetIPSrc(p)
	case oxmIPv4Dst, oxmIPv6Dst:
		m.SetIPDst(p)
	case oxmARPSPA:
		m.SetARPSPA(p)
	case oxmARPTPA:
		m.SetARPTPA(p)
	}
}

// maskLen returns the number of leading ones of a mask that has no others.
func maskLen(mask []byte) (n int, ok bool) {
	for i, c := range mask {
		ones := bits.LeadingZeros8(^c)
		n += ones
		if ones == 8 {
			continue
		}
		if c<<ones != 0 {
			return 0, false
		}
		for _, c := range mask[i+1:] {
			if c != 0 {
				return 0, false
			}
		}
		break
	}
	return n, true
}
