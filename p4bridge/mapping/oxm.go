package mapping

import (
	"errors"
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
	tag      tagForm
	tos      bool     // a part of the 8 bits of IPv4's type of service (RFC 2474), IPv6's traffic class
	shift    int      // how many bits of them are below it
	ethTypes []uint16 // empty: any
	protos   []uint8  // empty: any
}

// tagForm is what a key holds of vlan_vid, whose bit 12 says whether there is a
// tag. Most P4 programs have the 12 bits of the header alone.
type tagForm uint8

const (
	tagWhole    tagForm = iota // bit 12 and the 12 bits of the VLAN's number
	tagNumber                  // the 12 bits; another key says whether there is a tag
	tagPresent                 // that other key: one bit
	tagOrZero                  // the 12 bits, and 0 is no tag
	tagExpected                // the 12 bits; packets without a tag don't come here
)

// bits are those of vlan_vid that a key of the form compares.
func (f tagForm) bits() uint16 {
	switch f {
	case tagNumber:
		return flow.VLANExact &^ flow.VLANPresent
	case tagPresent:
		return flow.VLANPresent
	}
	return flow.VLANExact
}

// as returns vlan_vid in another form, of so many bits.
func (o *oxm) as(f tagForm, width int) *oxm {
	c := *o
	c.tag, c.width = f, width
	return &c
}

// The forms of vlan_vid.
var (
	vlanWhole    = oxms["vlan_vid"]
	vlanNumber   = vlanWhole.as(tagNumber, 12)
	vlanPresent  = vlanWhole.as(tagPresent, 1)
	vlanOrZero   = vlanWhole.as(tagOrZero, 12)
	vlanExpected = vlanWhole.as(tagExpected, 12)
)

// The type of service, which many programs have in one piece.
const tosBits = 8

var tosParts = map[*oxm]*oxm{oxms["ip_dscp"]: oxms["ip_dscp"].inTOS(2), oxms["ip_ecn"]: oxms["ip_ecn"].inTOS(0)}

func (o *oxm) inTOS(shift int) *oxm {
	c := *o
	c.tos, c.shift = true, shift
	return &c
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
	if o.tag == tagNumber && untagged(m) {
		return false, false
	}
	return may, sure
}

// untagged reports whether m's packets have no VLAN tag.
func untagged(m *flow.Match) bool {
	return m.Has(flow.FieldVLAN) && m.VLANMask&flow.VLANPresent != 0 && m.VLAN&flow.VLANPresent == 0
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

// portBits is the least width of a value that holds a port's number: a narrower
// one is something else.
const portBits = 8

// fits says why a value of the program's can't hold the fields of a list, one
// at a time. The bits that a field has less than the value are zero in every
// packet; that is so where a wider field shares the value, or in a port's number,
// and else the value is something else.
func fits(v *pipeline.Member, list []*oxm) error {
	if err := v.Usable(); err != nil {
		return err
	}
	widest := 0
	for _, o := range list {
		least := o.width
		if o.tos {
			widest = tosBits
		}
		switch o.field {
		case flow.FieldInPort:
			least, widest = portBits, max(widest, v.Width)
		case flow.FieldARPOp:
			least = 8 // 1 to 25 (IANA)
		case flow.FieldVLAN:
			if o.tag == tagWhole {
				widest = max(widest, min(v.Width, 16)) // as wide as the header's, the rest zero
			}
		}
		widest = max(widest, o.width)
		switch {
		case v.String && o.field == flow.FieldInPort: // a port's name
		case v.String:
			return fmt.Errorf("%s is a text in P4Runtime, and %s a number", v.Name, o.name)
		case o.tag == tagWhole && o.field == flow.FieldVLAN && v.Width == 12:
			return fmt.Errorf("%s is 12 bits wide and does not say whether there is a VLAN tag; add `tagged: NAME` of what says so, or `tagged: nonzero` where 0 is no tag, or `tagged: always` where only tagged packets come", v.Name)
		case v.Width < least:
			return fmt.Errorf("%s is %d bits wide, and %s %d", v.Name, v.Width, o.name, o.width)
		}
	}
	if len(list) > 0 && !v.String && v.Width > widest {
		return fmt.Errorf("%s is %d bits wide, and %s %d", v.Name, v.Width, list[0].name, list[0].width)
	}
	return nil
}

// get returns value and mask, both of width bits; all ones is exact. It fails for
// what the field's form can't say.
func (o *oxm) get(m *flow.Match) (value, mask bits, err error) {
	switch x := o.info; x.Kind {
	case flow.Address, flow.MaskedMAC:
		v, mask := x.MAC(m)
		return fromBytes(v[:]), fromBytes(mask[:]), nil
	case flow.Prefix:
		p := x.Prefix(m)
		a := p.Addr().As16() // an IPv4 address is the low 32 bits
		return fromBytes(a[16-o.width/8:]), ones(o.width).and(ones(o.width - p.Bits()).not()), nil
	case flow.IPv6:
		a := x.Addr(m).As16()
		return fromBytes(a[:]), ones(o.width), nil
	case flow.VLANTag:
		v, mask, err := o.tag.get(m.VLAN, m.VLANMask)
		return bits{lo: uint64(v)}, bits{lo: uint64(mask)}, err
	default:
		v, mask := x.Number(m)
		return bits{lo: v}, bits{lo: mask}, nil
	}
}

// get brings value and mask of vlan_vid into the form.
func (f tagForm) get(v, mask uint16) (value, msk uint16, err error) {
	const number = flow.VLANExact &^ flow.VLANPresent
	switch f {
	case tagNumber:
		return v & number, mask & number, nil
	case tagPresent:
		return v >> 12, mask >> 12, nil
	case tagOrZero:
		switch {
		case mask == 0:
			return 0, 0, nil
		case mask != flow.VLANExact:
			return 0, 0, errors.New("a mask, where 0 is no tag")
		case v == flow.VLANPresent:
			return 0, 0, errors.New("VLAN 0, where 0 is no tag")
		}
		return v & number, number, nil
	case tagExpected:
		if v&mask&flow.VLANPresent == 0 {
			return 0, 0, errors.New("packets without a tag, which don't come here")
		}
		return v & number, mask & number, nil
	}
	return v, mask, nil
}

// set is get's inverse; false is what can't be read.
func (o *oxm) set(m *flow.Match, value, mask []byte) bool {
	switch x := o.info; x.Kind {
	case flow.Address, flow.MaskedMAC:
		if x.Kind == flow.Address && !isOnes(mask, o.width) {
			return false // such a field has no mask
		}
		x.SetMAC(m, flow.MAC(value), flow.MAC(mask))
	case flow.Prefix:
		n, ok := prefixLen(mask, o.width)
		if !ok {
			return false
		}
		addr, _ := netip.AddrFromSlice(value) // 4 or 16 bytes: width says so
		x.SetPrefix(m, netip.PrefixFrom(addr, n).Masked())
	case flow.IPv6:
		if !isOnes(mask, o.width) {
			return false
		}
		x.SetAddr(m, netip.AddrFrom16([16]byte(value)))
	case flow.VLANTag:
		v, _ := pipeline.ToUint(value) // its width was checked
		msk, _ := pipeline.ToUint(mask)
		return o.tag.set(m, uint16(v), uint16(msk))
	default:
		v, _ := pipeline.ToUint(value) // its width was checked
		msk, _ := pipeline.ToUint(mask)
		if x.Kind != flow.Number64 && !isOnes(mask, o.width) {
			return false // likewise
		}
		x.SetNumber(m, v, msk)
	}
	return true
}

func (f tagForm) set(m *flow.Match, v, mask uint16) bool {
	const number = flow.VLANExact &^ flow.VLANPresent
	switch f {
	case tagPresent:
		v, mask = v<<12, mask<<12
	case tagOrZero:
		if mask != number {
			return false
		}
		if mask = flow.VLANExact; v != 0 {
			v |= flow.VLANPresent
		}
	case tagExpected:
		v, mask = v|flow.VLANPresent, mask|flow.VLANPresent
	}
	if m.Has(flow.FieldVLAN) {
		v, mask = v|m.VLAN, mask|m.VLANMask
	}
	if m.SetVLAN(v, mask); untagged(m) {
		m.SetVLAN(flow.VLANNone, flow.VLANExact) // whatever the number says
	}
	return true
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
