package header

import (
	"encoding/binary"
	"math/bits"
)

// pruneFrom is how many tuples are looked up one by one without asking first
// which of them are worth it.
const pruneFrom = 16

// pruner says which tuples may hold a rule for a packet, by each of its
// addresses and ports alone: of the tuples that look at /24 sources, only those
// are left in which some rule names the /24 that the packet's source is in
// (tuple pruning, of the same paper as the tuple space). So a policy of many
// shapes of rules costs a look-up for each length of prefix, and then for the
// few shapes that are left.
type pruner struct {
	words int        // of a set of tuples
	sets  []tupleSet // each different one once
	addrs [2][]addrLength
	ports [2]portDimension
}

// tupleSet has a bit for each tuple.
type tupleSet []uint64

func (s tupleSet) add(i int) { s[i>>6] |= 1 << (i & 63) }

// addrLength is one mask that rules put on an address. The empty mask, under
// which every packet has the same value, is one too.
type addrLength struct {
	hi, lo uint64
	filter filter
	sets   map[[2]uint64]uint32 // of the tuples that have the value: an index of pruner.sets
}

// filter says which values are certainly not there, with a bit for each hash
// and at least 16 bits for each value: most of a packet's prefixes are in no
// rule, and a map's miss is a cache's, too.
type filter []uint64

func newFilter(n int) filter {
	return make(filter, max(1, 1<<bits.Len(uint(n*16-1))/64))
}

func (f filter) at(hi, lo uint64) (word int, bit uint64) {
	// Two rounds of MurmurHash3's finalizer: prefixes differ in leading bits only.
	h := (bits.RotateLeft64(hi, 32) ^ lo*0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd
	h = (h ^ h>>32) * 0xc4ceb9fe1a85ec53
	h ^= h >> 32
	return int(h>>6) & (len(f) - 1), 1 << (h & 63)
}

// maxLengths is how many masks there are: IPv6's prefixes, of which IPv4's are
// the first.
const maxLengths = 129

// portDimension is the source or the destination port.
type portDimension struct {
	lengths [17]tupleSet // by how many leading bits the rules look at
	hit     []uint32     // by port: bit n where a rule names the port's leading n bits
}

// hits is what a packet hits of each dimension.
type hits struct {
	addrs [2][maxLengths]uint32 // indexes of sets
	count [2]int
	ports [2]uint32
}

func newPruner(tuples []tuple) *pruner {
	p := &pruner{words: (len(tuples) + 63) / 64}
	interned := make(map[string]uint32)
	for side := range p.addrs {
		p.addrs[side] = p.addrLengths(tuples, 4+2*side, interned)
	}
	for i := range tuples {
		for side := range p.ports {
			p.ports[side].add(i, &tuples[i], portShift(side), p.words)
		}
	}
	return p
}

// addrLengths collects the masks of the address at a word of the key.
func (p *pruner) addrLengths(tuples []tuple, word int, interned map[string]uint32) (list []addrLength) {
	type value [2]uint64
	byMask := make(map[value]map[value][]int)
	var order []value
	for i := range tuples {
		t := &tuples[i]
		mask := value{t.mask[word], t.mask[word+1]}
		values := byMask[mask]
		if values == nil {
			values = make(map[value][]int)
			byMask[mask] = values
			order = append(order, mask)
		}
		for rule := range t.rules.ranks {
			k := t.rules.key(rule)
			v := value{k[word], k[word+1]}
			if in := values[v]; len(in) == 0 || in[len(in)-1] != i {
				values[v] = append(in, i)
			}
		}
	}
	set, text := make(tupleSet, p.words), make([]byte, 0, 8*p.words)
	for _, mask := range order {
		l := addrLength{hi: mask[0], lo: mask[1], filter: newFilter(len(byMask[mask])), sets: make(map[[2]uint64]uint32, len(byMask[mask]))}
		for v, in := range byMask[mask] {
			clear(set)
			for _, i := range in {
				set.add(i)
			}
			text = text[:0]
			for _, w := range set {
				text = binary.LittleEndian.AppendUint64(text, w)
			}
			id, ok := interned[string(text)]
			if !ok {
				id = uint32(len(p.sets))
				interned[string(text)] = id
				p.sets = append(p.sets, append(tupleSet(nil), set...))
			}
			l.sets[v] = id
			word, bit := l.filter.at(v[0], v[1])
			l.filter[word] |= bit
		}
		list = append(list, l)
	}
	return list
}

// portShift is where the port of a side is in word 3 of the key.
func portShift(side int) int { return 48 - 16*side }

func (d *portDimension) add(i int, t *tuple, shift, words int) {
	mask := uint16(t.mask[3] >> shift)
	n := bits.OnesCount16(mask)
	if d.lengths[n] == nil {
		d.lengths[n] = make(tupleSet, words)
	}
	d.lengths[n].add(i)
	if n == 0 {
		return
	}
	if d.hit == nil {
		d.hit = make([]uint32, 1<<16)
	}
	for rule := range t.rules.ranks {
		k := t.rules.key(rule)
		first := int(uint16(k[3] >> shift))
		for port := first; port <= first+int(^mask); port++ {
			d.hit[port] |= 1 << n
		}
	}
}

// probe fills h for a packet.
func (p *pruner) probe(k *key, h *hits) {
	for side := range p.addrs {
		hi, lo := k[4+2*side], k[5+2*side]
		for i := range p.addrs[side] {
			l := &p.addrs[side][i]
			v := [2]uint64{hi & l.hi, lo & l.lo}
			if word, bit := l.filter.at(v[0], v[1]); l.filter[word]&bit == 0 {
				continue
			}
			if set, ok := l.sets[v]; ok {
				h.addrs[side][h.count[side]] = set
				h.count[side]++
			}
		}
	}
	for side := range p.ports {
		h.ports[side] = 1
		if hit := p.ports[side].hit; hit != nil {
			h.ports[side] |= hit[uint16(k[3]>>portShift(side))]
		}
	}
}

// candidates returns one word of the set of tuples that are worth a look-up.
func (p *pruner) candidates(word int, h *hits) uint64 {
	set := ^uint64(0)
	for side := range p.addrs {
		var or uint64
		for _, id := range h.addrs[side][:h.count[side]] {
			or |= p.sets[id][word]
		}
		set &= or
	}
	for side := range p.ports {
		if set == 0 {
			break
		}
		var or uint64
		for hit := h.ports[side]; hit != 0; hit &= hit - 1 {
			if l := p.ports[side].lengths[bits.TrailingZeros32(hit)]; l != nil {
				or |= l[word]
			}
		}
		set &= or
	}
	return set
}
