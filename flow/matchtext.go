package flow

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParseMatch reads what [Match.String] writes.
func ParseMatch(s string) (m Match, err error) {
	if s == "any" {
		return m, nil
	}
next:
	for part := range strings.SplitSeq(s, ",") {
		name, text, _ := strings.Cut(part, "=")
		for i := range Fields {
			x := &Fields[i]
			if x.Name != name {
				continue
			}
			if err := x.parse(&m, text); err != nil {
				return Match{}, fmt.Errorf("match %q: %s: %w", s, name, err)
			}
			continue next
		}
		return Match{}, fmt.Errorf("match %q: no field %q", s, name)
	}
	return m, nil
}

// parse gives m the field as [Match.String] writes it.
func (x *FieldInfo) parse(m *Match, s string) error {
	value, mask, masked := strings.Cut(s, "/")
	switch x.Kind {
	case PortNumber:
		p, err := ParsePort(s)
		x.SetNumber(m, uint64(p), 0)
		return err
	case Number64, VLANTag:
		v, err := ParseNumber(value, 64)
		bits, maskErr := ParseNumber(mask, 64)
		if err == nil {
			err = maskErr
		}
		x.SetNumber(m, v, bits)
		return err
	case Address, MaskedMAC:
		a, err := ParseMAC(value)
		bits := MACExact
		if err == nil && masked {
			bits, err = ParseMAC(mask)
		}
		x.SetMAC(m, a, bits)
		return err
	case Prefix:
		p, err := netip.ParsePrefix(s)
		if a, single := netip.ParseAddr(s); single == nil {
			p, err = host(a), nil
		}
		x.SetPrefix(m, p)
		return err
	case IPv6:
		a, err := netip.ParseAddr(s)
		x.SetAddr(m, a)
		return err
	}
	v, err := ParseNumber(s, int(x.Bits))
	x.SetNumber(m, v, 0)
	return err
}
