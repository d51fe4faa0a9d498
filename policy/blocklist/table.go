package blocklist

import (
	"math/bits"
	"slices"

	"switchbridge/policy"
)

// key is an address as a number.
type key policy.Address

func (a key) less(b key) bool { return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo }

// contains reports whether b is in the prefix of n bits that starts at a.
func (a key) contains(b key, n uint8) bool {
	if n <= 64 {
		return (a.Hi^b.Hi)>>(64-n) == 0
	}
	return a.Hi == b.Hi && (a.Lo^b.Lo)>>(128-n) == 0
}

// entry is one prefix.
type entry struct {
	first key
	bits  uint8
	list  uint32
}

// table finds the prefix that holds an address. Its entries are sorted and
// disjoint (two prefixes either nest or have nothing in common, and one nested
// in another adds nothing), so that the only candidate is the last that starts
// at or before the address. An index over the leading bits that tell entries
// apart leaves a few of them to search, however many there are.
type table struct {
	entries []entry
	index   []uint32 // entries[index[i]:index[i+1]] have the leading bits i
	skip    uint8    // leading bits that all entries share
	shift   uint8    // 64 less the index's bits
}

func newTable(list []entry) table {
	slices.SortStableFunc(list, func(a, b entry) int {
		switch {
		case a.first.less(b.first):
			return -1
		case b.first.less(a.first):
			return 1
		}
		return int(a.bits) - int(b.bits)
	})
	kept := list[:0]
	for _, e := range list {
		if n := len(kept); n > 0 && kept[n-1].first.contains(e.first, kept[n-1].bits) {
			continue
		}
		kept = append(kept, e)
	}
	t := table{entries: slices.Clip(kept)}
	if len(t.entries) == 0 {
		return t
	}
	// Two to four slots an entry, at most 2^20 (4 MiB).
	width := uint8(min(bits.Len(uint(len(t.entries)))+1, 20))
	first, last := t.entries[0].first, t.entries[len(t.entries)-1].first
	t.skip = uint8(bits.LeadingZeros64(first.Hi ^ last.Hi))
	t.skip = min(t.skip, 64-width)
	t.shift = 64 - width
	t.index = make([]uint32, 1<<width+1)
	for _, e := range t.entries {
		t.index[t.slot(e.first)+1]++
	}
	for i := 1; i < len(t.index); i++ {
		t.index[i] += t.index[i-1]
	}
	return t
}

func (t *table) slot(k key) uint64 { return k.Hi << t.skip >> t.shift }

// lookup returns the entry that holds k, or nil.
func (t *table) lookup(k key) *entry {
	if len(t.entries) == 0 || k.less(t.entries[0].first) {
		return nil
	}
	last := &t.entries[len(t.entries)-1]
	if !k.less(last.first) {
		if last.first.contains(k, last.bits) {
			return last
		}
		return nil
	}
	// k lies between the first and the last entry, so it shares their leading bits.
	slot := t.slot(k)
	low, high := t.index[slot], t.index[slot+1]
	for low < high { // the number of entries that start at or before k
		if mid := (low + high) / 2; k.less(t.entries[mid].first) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	// Every slot before holds only smaller entries, so low counts them too.
	if e := &t.entries[low-1]; e.first.contains(k, e.bits) {
		return e
	}
	return nil
}
