package header

import "math/bits"

// table holds the rules of one tuple by the bits that they look at. Built for what a decision
// does with it, which is to look one packet up: the built-in map hashes all of a key, and in
// WebAssembly without the processor's help.
type table struct {
	words []uint8  // of the key that the mask has bits in
	keys  []uint64 // of each rule: these words
	ranks []int32
	slots []int32 // by hash, at most half of them taken: which rule, from 1; 0 is none
	shift uint8   // 64 less the bits of an index of slots
}

func newTable(mask *key) table {
	t := table{slots: make([]int32, 2), shift: 63}
	for w, m := range mask {
		if m != 0 {
			t.words = append(t.words, uint8(w))
		}
	}
	return t
}

// find returns the slot of the rule that k, masked, has the bits of, or the free one where it
// would be. Packets can't choose which slots are taken, so none searches longer than the policy
// makes it.
func (t *table) find(k, mask *key) (slot uint64, rule int32) {
	var h uint64
	for _, w := range t.words {
		h = bits.RotateLeft64(h^k[w&15]&mask[w&15], 32) * 0x9e3779b97f4a7c15
	}
search:
	for slot = h >> t.shift; ; slot = (slot + 1) & uint64(len(t.slots)-1) {
		if rule = t.slots[slot]; rule == 0 {
			return slot, 0
		}
		own := t.keys[int(rule-1)*len(t.words):]
		for i, w := range t.words {
			if own[i] != k[w&15]&mask[w&15] {
				continue search
			}
		}
		return slot, rule
	}
}

// add makes rank that of the rules with k's bits, unless there is one already.
func (t *table) add(k, mask *key, rank int32) {
	slot, taken := t.find(k, mask)
	if taken != 0 {
		return
	}
	for _, w := range t.words {
		t.keys = append(t.keys, k[w]&mask[w])
	}
	t.ranks = append(t.ranks, rank)
	t.slots[slot] = int32(len(t.ranks))
	if 2*len(t.ranks) > len(t.slots) {
		t.grow(mask)
	}
}

func (t *table) grow(mask *key) {
	t.slots = make([]int32, 2*len(t.slots))
	t.shift--
	for i := range t.ranks {
		k := t.key(i)
		slot, _ := t.find(&k, mask)
		t.slots[slot] = int32(i + 1)
	}
}

// key returns the bits of a rule.
func (t *table) key(rule int) (k key) {
	for i, w := range t.words {
		k[w] = t.keys[rule*len(t.words)+i]
	}
	return k
}

// lookup returns the rank of the first rule with the bits that k has under mask, or noRule.
func (t *table) lookup(k, mask *key) int32 {
	if _, rule := t.find(k, mask); rule != 0 {
		return t.ranks[rule-1]
	}
	return noRule
}
