package replay

import (
	"encoding/binary"
	"net/netip"
	"time"

	"switchbridge/flow"
)

// maxFlows bounds a generation of remembered flows: with the one before it they
// take about 25 MB.
const maxFlows = 1 << 17

// flowKey is what packets of a flow, in one direction, have in common: the
// addresses, the protocol and its ports, or for packets that are not IP the
// Ethernet addresses, the EtherType and what ARP asks. Later fragments, which
// have no ports, are flows of their own, as they are in a switch.
type flowKey struct {
	src, dst     [16]byte
	sport, dport uint16
	ethType      uint16
	vlan         uint16
	proto        uint8
}

func keyOf(m *flow.Match) flowKey {
	k := flowKey{ethType: m.EthType, vlan: m.VLAN, proto: m.IPProto}
	switch {
	case m.Has(flow.FieldIPSrc | flow.FieldIPDst):
		k.src, k.dst = m.IPSrc.Addr().As16(), m.IPDst.Addr().As16()
		k.sport, k.dport = m.L4Src, m.L4Dst
		if m.Has(flow.FieldICMPType) {
			k.sport, k.dport = uint16(m.ICMPType), uint16(m.ICMPCode)
		}
	case m.Has(flow.FieldARPOp):
		k.src, k.dst = addr16(m.ARPSPA), addr16(m.ARPTPA)
		k.sport = m.ARPOp
	default:
		copy(k.src[:], m.EthSrc[:])
		copy(k.dst[:], m.EthDst[:])
	}
	return k
}

func addr16(p netip.Prefix) [16]byte { return p.Addr().As16() }

// flows remembers which flows are under way. It holds two generations: what has
// been seen since the last turn, and before it. A turn comes after each timeout,
// or when a generation is full; then the flows that have been idle the longest
// are forgotten and ask again, as with a switch whose table is full.
type flows struct {
	timeout   time.Duration
	now, past map[flowKey]time.Duration // when last seen
	turned    time.Duration
}

func newFlows(timeout time.Duration) *flows {
	return &flows{timeout: timeout, now: map[flowKey]time.Duration{}}
}

// isNew reports whether the packet of key k at time at begins a flow, and
// remembers it. Times don't go back.
func (f *flows) isNew(k flowKey, at time.Duration) bool {
	if at-f.turned > f.timeout || len(f.now) >= maxFlows {
		f.past, f.now, f.turned = f.now, make(map[flowKey]time.Duration, len(f.now)/2), at
	}
	last, seen := f.now[k]
	if !seen {
		last, seen = f.past[k]
	}
	f.now[k] = at
	return !seen || at-last > f.timeout
}

// hash spreads hosts over agents: the same host always gets the same.
func hash(m *flow.Match) uint32 {
	k := keyOf(m)
	h := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(k.src); i += 8 {
		h = (h ^ binary.BigEndian.Uint64(k.src[i:])) * 1099511628211
		h ^= h >> 32
	}
	return uint32(h ^ h>>32)
}
