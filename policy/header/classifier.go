package header

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
)

// key holds the bits of a packet's headers that rules may look at, and a rule's
// value or mask. IPv4 addresses are the topmost bits of IPv6's place; an ARP
// packet's addresses take the place of an IP packet's, since no packet has
// both. Fields that most policies look at have places that cost the least:
//
//	0: in_port 32, eth_type 16, vlan_vid 16
//	1: eth_dst 48, ip_proto 8, icmp_type 8
//	2: eth_src 48, icmp_code 8
//	3: l4_src 16, l4_dst 16, arp_op 16
//	4, 5: source address
//	6, 7: destination address
//
// What follows has all other fields, in the places that [places] gives them.
type key [16]uint64

// places are the words of a key that a field outside of a conversation begins in,
// and how far it is shifted there.
var places = func() (list [len(flow.Fields)]struct{ word, shift uint8 }) {
	next, used := uint8(8), uint8(0) // bits of the word
	for i := range flow.Fields {
		x := &flow.Fields[i]
		if x.Field&rareFields == 0 {
			continue
		}
		if used > 0 && used+x.Bits > 64 {
			next, used = next+1, 0
		}
		list[i].word, list[i].shift = next, used
		if used += x.Bits; used > 64 { // an address has two words
			next, used = next+2, 0
		}
	}
	return list
}()

func mac(m flow.MAC) uint64 {
	return uint64(binary.BigEndian.Uint16(m[:]))<<48 | uint64(binary.BigEndian.Uint32(m[2:]))<<16
}

// of fills k, which is zero, with a packet's headers: those in used.
func (k *key) of(p *policy.Packet, used flow.Field) {
	m := p.Match
	k[0] = uint64(m.InPort)<<32 | uint64(m.EthType)<<16 | uint64(m.VLAN)
	k[1] = mac(m.EthDst) | uint64(m.IPProto)<<8 | uint64(m.ICMPType)
	k[2] = mac(m.EthSrc) | uint64(m.ICMPCode)<<8
	k[3] = uint64(m.L4Src)<<48 | uint64(m.L4Dst)<<32 | uint64(m.ARPOp)<<16
	k[4], k[5] = p.Src.Hi, p.Src.Lo
	k[6], k[7] = p.Dst.Hi, p.Dst.Lo
	for rest := used & m.Fields & rareFields; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros32(uint32(rest))
		x, at := &flow.Fields[i], places[i]
		switch x.Kind {
		case flow.Address, flow.MaskedMAC:
			a, _ := x.MAC(m)
			k[at.word] |= mac(a) >> 16 << at.shift
		case flow.IPv6:
			a := policy.AddressOf(x.Addr(m))
			k[at.word], k[at.word+1] = a.Hi, a.Lo
		default:
			v, _ := x.Number(m)
			k[at.word] |= v << at.shift
		}
	}
}

// keyOf returns the bits of a match's values.
func keyOf(m *flow.Match) (k key) {
	p := policy.NewPacket(m)
	k.of(&p, m.Fields)
	return k
}

// maskKey returns the bits that a match looks at.
func maskKey(m *flow.Match) key {
	var ones flow.Match
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		switch x := (rest & -rest).Info(); x.Kind {
		case flow.Address, flow.MaskedMAC:
			_, mask := x.MAC(m)
			x.SetMAC(&ones, mask, mask)
		case flow.Prefix:
			p := x.Prefix(m)
			all := allOnes6
			if p.Addr().Is4() {
				all = allOnes4
			}
			x.SetPrefix(&ones, netip.PrefixFrom(all, p.Bits()).Masked())
		case flow.IPv6:
			x.SetAddr(&ones, allOnes6)
		default:
			_, mask := x.Number(m)
			x.SetNumber(&ones, mask, mask)
		}
	}
	return keyOf(&ones)
}

var (
	allOnes4 = netip.AddrFrom4([4]byte(bytes.Repeat([]byte{0xff}, 4)))
	allOnes6 = netip.AddrFrom16([16]byte(bytes.Repeat([]byte{0xff}, 16)))
)

// noRule is a rank that loses to every rule's.
const noRule = int32(1<<31 - 1)

// shape is what the rules of one hash table have in common.
type shape struct {
	fields flow.Field // all that the rules look at
	mask   key        // the bits of them, less what the classifier leaves out
}

// tuple is the rules of one shape.
type tuple struct {
	best  int32      // the smallest rank in it
	seen  flow.Field // the fields of this tuple and of all before it
	rules table      // the first rule with each value of these bits
	shape            // last, since its end is seldom read
}

// classifier finds the rule of the smallest rank that matches a packet.
type classifier struct {
	tuples []tuple // by best
	pruner *pruner // nil where there are too few tuples to be worth it
}

// builder makes a classifier, of conditions that come by rank.
type builder struct {
	classifier
	drop   flow.Field // is left out: the rules that match but for these fields are found
	tables map[shape]int
}

func newBuilder(drop flow.Field) *builder {
	return &builder{drop: drop, tables: make(map[shape]int)}
}

// add takes the condition of the next rank, with its prerequisites.
func (b *builder) add(rank int32, c *Condition) {
	header, src, dst := c.Header.Keep(^b.drop), c.Src, c.Dst
	if b.drop&flow.FieldL4Src != 0 {
		src = nil
	}
	if b.drop&flow.FieldL4Dst != 0 {
		dst = nil
	}
	s := shape{fields: c.fields(), mask: maskKey(&header)}
	value := keyOf(&header)
	for _, src := range prefixes(src) {
		for _, dst := range prefixes(dst) {
			s, value := s, value
			s.mask[3] |= uint64(src.mask)<<48 | uint64(dst.mask)<<32
			value[3] |= uint64(src.value)<<48 | uint64(dst.value)<<32
			i, ok := b.tables[s]
			if !ok {
				i = len(b.tuples)
				b.tables[s] = i
				b.tuples = append(b.tuples, tuple{shape: s, best: rank, rules: newTable(&s.mask)})
			}
			b.tuples[i].rules.add(&value, &s.mask, rank)
		}
	}
}

// build returns the classifier, and the builder is used up.
func (b *builder) build() *classifier {
	c := b.classifier
	slices.SortStableFunc(c.tuples, func(a, b tuple) int { return cmp.Compare(a.best, b.best) })
	var seen flow.Field
	for i := range c.tuples {
		seen |= c.tuples[i].fields
		c.tuples[i].seen = seen
	}
	if len(c.tuples) >= pruneFrom {
		c.pruner = newPruner(c.tuples)
	}
	return &c
}

// lookup returns the rank of the first rule that matches a packet, or noRule, and the
// fields that this depends on. Only the packet's fields in known count.
func (c *classifier) lookup(k *key, known flow.Field) (rank int32, seen flow.Field) {
	rank = noRule
	if c.pruner == nil {
		rank = first(c.tuples, k, known, rank)
	} else {
		var hits hits
		c.pruner.probe(k, &hits)
		for word := range c.pruner.words {
			block := c.tuples[word<<6 : min(word<<6+64, len(c.tuples))]
			if block[0].best >= rank {
				break
			}
			for set := c.pruner.candidates(word, &hits); set != 0; set &= set - 1 {
				i := bits.TrailingZeros64(set)
				rank = first(block[i:i+1], k, known, rank)
			}
		}
	}
	// The answer depends on every tuple that has a rule before it, and on its own.
	low, high := 0, len(c.tuples)
	for low < high {
		if mid := (low + high) / 2; c.tuples[mid].best > rank {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low > 0 {
		seen = c.tuples[low-1].seen
	}
	return rank, seen
}

// first looks for a rule of a smaller rank than the one at hand.
func first(tuples []tuple, k *key, known flow.Field, rank int32) int32 {
	for i := range tuples {
		t := &tuples[i]
		if t.best >= rank {
			break
		}
		if t.fields&^known != 0 {
			continue
		}
		rank = min(rank, t.rules.lookup(k, &t.mask))
	}
	return rank
}

// lookupHidden returns the rank of the first rule that looks at a field in
// missing and might match if it were known. c leaves out at least those fields.
func (c *classifier) lookupHidden(k *key, known, missing flow.Field) int32 {
	rank := noRule
	for i := range c.tuples {
		t := &c.tuples[i]
		if t.best >= rank {
			break
		}
		if t.fields&missing == 0 || t.fields&^(known|missing) != 0 {
			continue
		}
		rank = min(rank, t.rules.lookup(k, &t.mask))
	}
	return rank
}
