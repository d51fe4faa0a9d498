package compact

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"switchbridge/flow"
)

var le = binary.LittleEndian

const (
	narrow = 72  // bytes of a match
	wide   = 128 // of one with a field in wideFields

	src4 = 1 << 0 // the source address is IPv4
	dst4 = 1 << 1
)

// room is memory for a match that is written in place.
var room [wide]byte

// appendMatch appends m, which is canonical. It reports false for a match with masks, and for one
// of IP and ARP at once: no packet has either.
func appendMatch(b []byte, m *flow.Match) ([]byte, bool) {
	f := m.Fields
	if !fits(m) || f&ipFields != 0 && f&arpFields != 0 {
		return b, false
	}
	size := narrow
	if f&wideFields != 0 {
		size = wide
	}
	start := len(b)
	b = append(b, room[:size]...)
	r := b[start:]
	le.PutUint32(r[0:], uint32(f))
	putNarrow(r, m)
	ok := true
	switch {
	case f&ipFields != 0:
		ok = putAddr(r, 40, f&flow.FieldIPSrc, &m.IPSrc, src4) && putAddr(r, 56, f&flow.FieldIPDst, &m.IPDst, dst4)
	case f&arpFields != 0:
		ok = putAddr(r, 40, f&flow.FieldARPSPA, &m.ARPSPA, src4) && putAddr(r, 56, f&flow.FieldARPTPA, &m.ARPTPA, dst4)
	}
	if !ok {
		return b[:start], false
	}
	if size == wide {
		putWide(r, m)
	}
	return b, true
}

func putAddr(r []byte, at int, has flow.Field, p *netip.Prefix, is4 byte) bool {
	if has == 0 {
		return true
	}
	a := p.Addr()
	if a.Is4() {
		r[36] |= is4
		*(*[4]byte)(r[at:]) = a.As4()
		return p.Bits() == 32
	}
	*(*[16]byte)(r[at:]) = a.As16()
	return p.Bits() == 128
}

var (
	errShort  = errors.New("compact encoding: it ends too early")
	errFields = errors.New("compact encoding: fields that no match has")
)

// parseMatch reads a match into m and returns what follows it.
func parseMatch(r []byte, m *flow.Match) ([]byte, error) {
	if len(r) < narrow {
		return nil, errShort
	}
	f := flow.Field(le.Uint32(r))
	if f&^allFields != 0 || f&ipFields != 0 && f&arpFields != 0 {
		return nil, errFields
	}
	*m = flow.Match{}
	m.Fields = f
	getNarrow(r, m)
	switch {
	case f&ipFields != 0:
		getAddr(r, 40, f&flow.FieldIPSrc, &m.IPSrc, src4)
		getAddr(r, 56, f&flow.FieldIPDst, &m.IPDst, dst4)
	case f&arpFields != 0:
		getAddr(r, 40, f&flow.FieldARPSPA, &m.ARPSPA, src4)
		getAddr(r, 56, f&flow.FieldARPTPA, &m.ARPTPA, dst4)
	}
	if f&wideFields == 0 {
		return r[narrow:], nil
	}
	if len(r) < wide {
		return nil, errShort
	}
	getWide(r, m)
	return r[wide:], nil
}

func getAddr(r []byte, at int, has flow.Field, p *netip.Prefix, is4 byte) {
	switch {
	case has == 0:
	case r[36]&is4 != 0:
		*p = netip.PrefixFrom(netip.AddrFrom4([4]byte(r[at:])), 32)
	default:
		*p = netip.PrefixFrom(netip.AddrFrom16([16]byte(r[at:])), 128)
	}
}
