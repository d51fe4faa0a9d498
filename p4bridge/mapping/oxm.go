package mapping

import (
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
	info     *flow.FieldInfo
	field    flow.Field
	width    int
	ethTypes []uint16 // empty: any
	protos   []uint8  // empty: any
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

// oxms are the names of flow.Fields that a mapping may use. A VLAN has bit 12 for
// "has a tag", as in OpenFlow 1.3.
var oxms = func() map[string]*oxm {
	byName := map[string]*oxm{}
	for i := range flow.Fields {
		x := &flow.Fields[i]
		if !x.P4 {
			continue
		}
		for _, n := range x.OXM {
			o := &oxm{name: n.Name, info: x, field: x.Field, width: int(x.Bits)}
			switch {
			case n.EthType != 0:
				o.ethTypes = []uint16{n.EthType}
			case x.Need == flow.NeedIP || x.Need == flow.NeedPorts:
				o.ethTypes = []uint16{flow.EthTypeIPv4, flow.EthTypeIPv6}
			}
			if n.Proto != 0 {
				o.protos = []uint8{n.Proto}
			}
			if n.EthType == flow.EthTypeIPv4 && x.Kind == flow.Prefix {
				o.width = 32
			}
			byName[n.Name] = o
		}
	}
	return byName
}()

// get returns value and mask, both of width bits; all ones is exact.
func (o *oxm) get(m *flow.Match) (value, mask bits) {
	switch x := o.info; x.Kind {
	case flow.Address, flow.MaskedMAC:
		v, mask := x.MAC(m)
		return fromBytes(v[:]), fromBytes(mask[:])
	case flow.Prefix:
		p := x.Prefix(m)
		a := p.Addr().As16() // an IPv4 address is the low 32 bits
		return fromBytes(a[16-o.width/8:]), ones(o.width).and(ones(o.width - p.Bits()).not())
	case flow.IPv6:
		a := x.Addr(m).As16()
		return fromBytes(a[:]), ones(o.width)
	default:
		v, mask := x.Number(m)
		return bits{lo: v}, bits{lo: mask}
	}
}

// set is get's inverse.
func (o *oxm) set(m *flow.Match, value, mask []byte) {
	switch x := o.info; x.Kind {
	case flow.Address, flow.MaskedMAC:
		x.SetMAC(m, flow.MAC(value), flow.MAC(mask))
	case flow.Prefix:
		n := 0
		for n < o.width && mask[n/8]&(0x80>>(n%8)) != 0 {
			n++
		}
		addr, _ := netip.AddrFromSlice(value) // 4 or 16 bytes: width says so
		x.SetPrefix(m, netip.PrefixFrom(addr, n).Masked())
	case flow.IPv6:
		x.SetAddr(m, netip.AddrFrom16([16]byte(value)))
	default:
		v, _ := pipeline.ToUint(value) // its width was checked
		msk, _ := pipeline.ToUint(mask)
		if x.Kind == flow.VLANTag {
			v &= msk
		}
		x.SetNumber(m, v, msk)
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
