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

// A rule may look at every field that a frame shows, and at in_port. Ports are
// not in Header but in ranges.
const (
	ruleFields      = flow.AllFields &^ (flow.FieldMetadata | flow.FieldTunnelID)
	conditionFields = ruleFields &^ rangeFields
	rangeFields     = flow.FieldL4Src | flow.FieldL4Dst
)

// openFields are those that packets of IPv4 and of IPv6 have alike.
var openFields = flow.NeedIP.Fields() &^ flow.Prefix.Fields()

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

// Validate says what is wrong with the condition.
func (c *Condition) Validate() error {
	if bad := c.Header.Fields &^ conditionFields; bad != 0 {
		return fmt.Errorf("match: a rule can't look at %v", bad)
	}
	if f := c.Header.Beyond(); f != 0 {
		v, _ := f.Info().Number(&c.Header)
		return fmt.Errorf("match: %v %d: want at most %d", f, v, f.Info().Ones())
	}
	m, err := complete(c.Header)
	if err != nil {
		return err
	}
	if f, want := m.NotDiscovery(); f != 0 {
		return fmt.Errorf("match: %v needs %s", f, want)
	}
	for rest := m.Fields & (flow.NeedARP.Fields()&flow.Prefix.Fields() | flow.IPv6.Fields()); rest != 0; rest &= rest - 1 {
		switch x := (rest & -rest).Info(); {
		case x.Kind == flow.IPv6 && !x.Addr(&m).Is6():
			return fmt.Errorf("match: %s %v is not an IPv6 address", x.Name, x.Addr(&m))
		case x.Kind == flow.Prefix && !x.Prefix(&m).Addr().Is4():
			return fmt.Errorf("match: %s %v is not IPv4", x.Name, x.Prefix(&m))
		}
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
// contradict it. What IPv4 and IPv6 packets have alike stays open to both.
func complete(m flow.Match) (flow.Match, error) {
	v6 := m
	if err := completeFor(flow.EthTypeIPv4, &m); err != nil {
		return m, err
	}
	if err := completeFor(flow.EthTypeIPv6, &v6); err == nil && v6.EthType != m.EthType {
		m.Fields &^= flow.FieldEthType
	}
	return m.Canonical(), nil
}

// completeFor completes a header for packets of an EtherType, if the header leaves the EtherType open.
func completeFor(ethType uint16, m *flow.Match) error {
	var packet flow.Match
	packet.SetEthType(ethType)
	return m.Complete(&packet)
}

// covers reports whether a packet satisfies the condition, by the plainest code: the
// classifier is tested against it.
func (c *Condition) covers(p *flow.Match) bool {
	if !c.Header.Covers(p) {
		return false
	}
	if c.Src != nil && (!p.Has(flow.FieldL4Src) || p.L4Src < c.Src.First || p.L4Src > c.Src.Last) {
		return false
	}
	return c.Dst == nil || p.Has(flow.FieldL4Dst) && p.L4Dst >= c.Dst.First && p.L4Dst <= c.Dst.Last
}

// overlaps reports whether a packet may satisfy both conditions. If it can't tell, it
// returns true.
func (c *Condition) overlaps(o *Condition) bool {
	if c.Src != nil && o.Src != nil && !c.Src.overlaps(*o.Src) || c.Dst != nil && o.Dst != nil && !c.Dst.overlaps(*o.Dst) {
		return false
	}
	a, b := &c.Header, &o.Header
	// A protocol whose EtherType is open is IPv4 or IPv6 all the same.
	return a.Overlaps(b) && !(needsIP(a) && notIP(b) || needsIP(b) && notIP(a))
}

func needsIP(m *flow.Match) bool { return m.Fields&openFields != 0 }

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
