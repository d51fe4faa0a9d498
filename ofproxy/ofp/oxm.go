package ofp

import (
	"fmt"
	"math/bits"
	"net/netip"

	"switchbridge/flow"
)

// OXM header parts (OpenFlow 1.3.5, 7.2.3.2).
const (
	matchOXM      = 1 // OFPMT_OXM
	oxmClassBasic = 0x8000
)

// Fields (7.2.3.7, enum oxm_ofb_match_fields) that the code names: in actions, and in
// a PACKET_IN beside its frame. flow.Fields has the numbers of all fields.
const (
	oxmInPort   = 0
	oxmMetadata = 2
	oxmEthDst   = 3
	oxmEthSrc   = 4
	oxmEthType  = 5
	oxmVLAN     = 6
	oxmVLANPCP  = 7
	oxmIPDSCP   = 8
	oxmIPv4Src  = 11
	oxmIPv4Dst  = 12
	oxmTCPSrc   = 13
	oxmTCPDst   = 14
	oxmUDPSrc   = 15
	oxmUDPDst   = 16
	oxmSCTPSrc  = 17
	oxmSCTPDst  = 18
	oxmIPv6Src  = 26
	oxmIPv6Dst  = 27
	oxmTunnelID = 38
)

// check13 returns an error that names a field of m without its prerequisite (OpenFlow
// 1.3.5, 7.2.3.8), or nil. A switch would refuse the message with BAD_PREREQ.
func check13(m *flow.Match) error {
	ipv4 := m.Has(flow.FieldEthType) && m.EthType == flow.EthTypeIPv4
	ipv6 := m.Has(flow.FieldEthType) && m.EthType == flow.EthTypeIPv6
	ports, icmp, neighbor := m.Fields&flow.NeedPorts.Fields(), m.Fields&flow.NeedICMP.Fields(), m.Fields&flow.NeedNeighbor.Fields()
	if f := m.Fields&flow.NeedIP.Fields() | ports | icmp; f != 0 && !ipv4 && !ipv6 {
		return prerequisite(f, "eth_type 0x0800 or 0x86dd")
	}
	if f := m.Fields&flow.NeedIPv6.Fields() | neighbor; f != 0 && !ipv6 {
		return prerequisite(f, "eth_type 0x86dd")
	}
	if f := m.Fields & flow.NeedARP.Fields(); f != 0 && (!m.Has(flow.FieldEthType) || m.EthType != flow.EthTypeARP) {
		return prerequisite(f, "eth_type 0x0806")
	}
	proto := -1
	if m.Has(flow.FieldIPProto) {
		proto = int(m.IPProto)
	}
	if ports != 0 && proto != flow.ProtoTCP && proto != flow.ProtoUDP && proto != flow.ProtoSCTP {
		return prerequisite(ports, "ip_proto 6, 17 or 132")
	}
	if icmp != 0 && !(ipv4 && proto == flow.ProtoICMP || ipv6 && proto == flow.ProtoICMPv6) {
		return prerequisite(icmp, "ip_proto 1 of IPv4 or 58 of IPv6")
	}
	if neighbor != 0 && proto != flow.ProtoICMPv6 {
		return prerequisite(neighbor, "ip_proto 58")
	}
	for rest := m.Fields & flow.IPv6.Fields(); rest != 0; rest &= rest - 1 {
		if f := rest & -rest; !f.Info().Addr(m).Is6() {
			return fmt.Errorf("match: %v %v is not an IPv6 address", f, f.Info().Addr(m))
		}
	}
	if err := checkVID(m); err != nil {
		return err
	}
	if m.Has(flow.FieldVLANPCP) && (!m.Has(flow.FieldVLAN) || m.VLAN&m.VLANMask&flow.VLANPresent == 0) {
		return prerequisite(flow.FieldVLANPCP, "a vlan_vid with a tag")
	}
	if f := otherFamily(m, ipv4); f != 0 {
		if x := f.Info(); x.Need == flow.NeedARP {
			return fmt.Errorf("match: %v %v is not an IPv4 prefix", f, x.Prefix(m))
		}
		return fmt.Errorf("match: %v %v is not of eth_type %#04x", f, f.Info().Prefix(m), m.EthType)
	}
	return nil
}

// checkVID refuses a VLAN id without the bit that says that there is a tag. Such a value
// means neither "no tag" nor that VLAN.
func checkVID(m *flow.Match) error {
	if m.Has(flow.FieldVLAN) && m.VLANMask&flow.VLANPresent != 0 && m.VLAN&flow.VLANPresent == 0 && m.VLAN&m.VLANMask != 0 {
		return fmt.Errorf("match: vlan_vid %#04x without the bit %#04x of a tag", m.VLAN, flow.VLANPresent)
	}
	return nil
}

func family(p netip.Prefix, ipv4 bool) bool { return p.IsValid() && p.Addr().Is4() == ipv4 }

// CheckMatch returns why v can't express m, or nil. The error is an [UnsupportedError], or
// it names a missing prerequisite, which [flow.Match.Complete] can add.
func CheckMatch(v flow.Protocol, m *flow.Match) error {
	if v == flow.OpenFlow10 {
		return check10(m)
	}
	return check13(m)
}

// appendMatch13 appends struct ofp_match with its padding (OpenFlow 1.3.5,
// 7.2.3), for a match that check13 has accepted. Fields are written in the order of their
// numbers, so that each stands behind its prerequisites.
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

// A mask without a bit matches everything, so the field is left out.

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

func oxmVLANs(b []byte, field uint8, v, mask uint16) []byte {
	switch mask & flow.VLANExact {
	case 0:
		return b
	case flow.VLANExact:
		return oxm16(b, field, v&flow.VLANExact)
	}
	return be.AppendUint16(be.AppendUint16(oxmMasked(b, field, 2), v&mask&flow.VLANExact), mask&flow.VLANExact)
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

func oxmIPv6(b []byte, field uint8, a netip.Addr) []byte {
	v := a.As16()
	return append(oxm(b, field, 16), v[:]...)
}

func sliceOf4(a netip.Addr) []byte { b := a.As4(); return b[:] }

// portFields returns a protocol's fields for source and destination port.
func portFields(proto uint8) (src, dst uint8) {
	switch proto {
	case flow.ProtoUDP:
		return oxmUDPSrc, oxmUDPDst
	case flow.ProtoSCTP:
		return oxmSCTPSrc, oxmSCTPDst
	}
	return oxmTCPSrc, oxmTCPDst
}

// rawOXM is one field of a message, not yet decoded.
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

// known reports whether package flow has the field, and whether its length is right.
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

// parseMatch13 reads struct ofp_match and returns what follows it. It calls lacking for
// each field that package flow does not have. If lacking is nil or returns an error,
// parseMatch13 fails.
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

// passOver lets parseMatch13 leave out the fields that package flow does not have.
func passOver(rawOXM) error { return nil }

// inexpressible returns why package flow can't express the mask of a known field, or nil.
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

// empty reports whether a mask has no bit of the field.
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

// set puts a known field into m. If the mask has no bit, it sets nothing.
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
	if m.Fields == before { // the same field again, or IPv6's after IPv4's, UDP's after TCP's
		return fmt.Errorf("match: field %d is one that it has already", x.field)
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
		mask = flow.MAC(x.mask)
		return flow.MAC(x.value).And(mask), mask
	}
	return flow.MAC(x.value), flow.MACExact
}

func (x *rawOXM) vlan() (v, mask uint16) {
	mask = flow.VLANExact
	if x.masked {
		mask &= be.Uint16(x.mask)
	}
	return be.Uint16(x.value) & mask, mask
}

// protocol sets the ip_proto that a port or an ICMP field stands for. Prerequisites come
// first in a message (OpenFlow 1.3.5, 7.2.3.6), so a missing or contradicting one is an
// error.
func (x *rawOXM) protocol(m *flow.Match) error {
	proto := protoOf(x.field)
	if !m.Has(flow.FieldIPProto) || m.IPProto != proto {
		return fmt.Errorf("match: field %d without ip_proto %d before it", x.field, proto)
	}
	return nil
}

func addr4(b []byte) netip.Addr  { return netip.AddrFrom4([4]byte(b[:4])) }
func addr16(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[:16])) }

func (x *rawOXM) prefix() netip.Prefix {
	a, _ := netip.AddrFromSlice(x.value)
	n := a.BitLen()
	if x.masked {
		n, _ = maskLen(x.mask)
	}
	return netip.PrefixFrom(a, n).Masked()
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
