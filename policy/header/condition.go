package header

import (
	"fmt"

	"switchbridge/flow"
)

// PortRange is the ports of a TCP, UDP or SCTP header from First to Last.
type PortRange struct{ First, Last uint16 }

// AnyPort is the range that does not restrict.
var AnyPort = PortRange{0, 0xffff}

func (r PortRange) size() int { return int(r.Last) - int(r.First) + 1 }

func (r PortRange) overlaps(o PortRange) bool { return r.First <= o.Last && o.First <= r.Last }

// Condition is what a rule matches: Header, which holds no layer-4 ports, and
// one range of ports on each side. The zero value of a range pointer is any
// port, and also matches a packet that has none.
type Condition struct {
	Header flow.Match
	Src    *PortRange
	Dst    *PortRange
}

// conditionFields are the fields that a rule may look at.
const conditionFields = flow.FieldInPort | flow.FieldEthDst | flow.FieldEthSrc | flow.FieldEthType | flow.FieldVLAN |
	flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldICMPType | flow.FieldICMPCode |
	flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA

// fields returns every field that the condition looks at.
func (c *Condition) fields() flow.Field {
	f := c.Header.Fields
	if c.Src != nil {
		f |= flow.FieldL4Src
	}
	if c.Dst != nil {
		f |= flow.FieldL4Dst
	}
	return f
}

func (c *Condition) validate() error {
	if bad := c.Header.Fields &^ conditionFields; bad != 0 {
		return fmt.Errorf("match: a rule can't look at %v", bad)
	}
	if _, err := complete(c.Header); err != nil {
		return err
	}
	for _, r := range []*PortRange{c.Src, c.Dst} {
		if r == nil {
			continue
		}
		if r.First > r.Last {
			return fmt.Errorf("match: ports %d-%d: the first is larger than the last", r.First, r.Last)
		}
		if p := c.Header.IPProto; !c.Header.Has(flow.FieldIPProto) || p != flow.ProtoTCP && p != flow.ProtoUDP && p != flow.ProtoSCTP {
			return fmt.Errorf("match: ports need the protocol TCP, UDP or SCTP")
		}
	}
	return nil
}

// complete returns the header with its prerequisites, or an error where they
// contradict it. A protocol without an EtherType stays open to IPv4 and IPv6.
func complete(m flow.Match) (flow.Match, error) {
	open := m.Has(flow.FieldIPProto) && !m.Has(flow.FieldEthType)
	var hint flow.Match
	hint.SetEthType(flow.EthTypeIPv4)
	if err := m.Complete(&hint); err != nil {
		return m, err
	}
	if open && m.Fields&(flow.FieldIPSrc|flow.FieldIPDst|flow.FieldICMPType|flow.FieldICMPCode) == 0 {
		m.Fields &^= flow.FieldEthType
	}
	return m.Canonical(), nil
}

// covers is the condition's meaning, word for word: whether a packet of which
// the fields in known are known satisfies it. The classifier must agree.
func (c *Condition) covers(p *flow.Match) bool {
	if !c.Header.Covers(p) {
		return false
	}
	if c.Src != nil && (!p.Has(flow.FieldL4Src) || p.L4Src < c.Src.First || p.L4Src > c.Src.Last) {
		return false
	}
	return c.Dst == nil || p.Has(flow.FieldL4Dst) && p.L4Dst >= c.Dst.First && p.L4Dst <= c.Dst.Last
}

// overlaps reports whether a packet may satisfy both conditions. It errs on the
// side of yes.
func (c *Condition) overlaps(o *Condition) bool {
	if c.Src != nil && o.Src != nil && !c.Src.overlaps(*o.Src) || c.Dst != nil && o.Dst != nil && !c.Dst.overlaps(*o.Dst) {
		return false
	}
	a, b := &c.Header, &o.Header
	both := a.Fields & b.Fields
	if both&flow.FieldInPort != 0 && a.InPort != b.InPort ||
		both&flow.FieldEthType != 0 && a.EthType != b.EthType ||
		both&flow.FieldIPProto != 0 && a.IPProto != b.IPProto ||
		both&flow.FieldICMPType != 0 && a.ICMPType != b.ICMPType ||
		both&flow.FieldICMPCode != 0 && a.ICMPCode != b.ICMPCode ||
		both&flow.FieldARPOp != 0 && a.ARPOp != b.ARPOp ||
		both&flow.FieldVLAN != 0 && (a.VLAN^b.VLAN)&a.VLANMask&b.VLANMask != 0 ||
		both&flow.FieldIPSrc != 0 && !a.IPSrc.Overlaps(b.IPSrc) ||
		both&flow.FieldIPDst != 0 && !a.IPDst.Overlaps(b.IPDst) ||
		both&flow.FieldARPSPA != 0 && !a.ARPSPA.Overlaps(b.ARPSPA) ||
		both&flow.FieldARPTPA != 0 && !a.ARPTPA.Overlaps(b.ARPTPA) {
		return false
	}
	if both&flow.FieldEthSrc != 0 {
		if mask := a.EthSrcMask.And(b.EthSrcMask); a.EthSrc.And(mask) != b.EthSrc.And(mask) {
			return false
		}
	}
	if both&flow.FieldEthDst != 0 {
		if mask := a.EthDstMask.And(b.EthDstMask); a.EthDst.And(mask) != b.EthDst.And(mask) {
			return false
		}
	}
	// A protocol whose EtherType is open is IPv4 or IPv6 all the same.
	return !(needsIP(a) && notIP(b) || needsIP(b) && notIP(a))
}

func needsIP(m *flow.Match) bool { return m.Has(flow.FieldIPProto) }

func notIP(m *flow.Match) bool {
	return m.Has(flow.FieldEthType) && m.EthType != flow.EthTypeIPv4 && m.EthType != flow.EthTypeIPv6
}

// entries is how many prefixes of ports the condition splits into.
func (c *Condition) entries() int { return len(prefixes(c.Src)) * len(prefixes(c.Dst)) }

// portPrefix is a block of ports that share their leading bits.
type portPrefix struct{ value, mask uint16 }

// prefixes splits a range into at most 30 blocks; no range is one block that
// looks at nothing.
func prefixes(r *PortRange) []portPrefix {
	if r == nil {
		return []portPrefix{{}}
	}
	var list []portPrefix
	for first := int(r.First); first <= int(r.Last); {
		size := 1 << 16
		for first%size != 0 || first+size-1 > int(r.Last) {
			size >>= 1
		}
		list = append(list, portPrefix{value: uint16(first), mask: ^uint16(size - 1)})
		first += size
	}
	return list
}
