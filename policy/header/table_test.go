package header

import (
	"math/rand/v2"
	"testing"
)

// A table finds what a map from the masked key would.
func TestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		var mask key
		for w := range mask {
			switch r.IntN(3) {
			case 0:
				mask[w] = r.Uint64()
			case 1:
				mask[w] = 0xff << (8 * r.IntN(8))
			}
		}
		if round == 0 {
			mask = key{}
		}
		masked := func(k key) key {
			for w := range k {
				k[w] &= mask[w]
			}
			return k
		}
		random := func() (k key) {
			for w := range k {
				k[w] = r.Uint64() >> (8 * r.IntN(8))
			}
			return k
		}
		oracle, tab := map[key]int32{}, newTable(&mask)
		for rank := range int32(1 + r.IntN(800)) {
			k := random()
			if rank%5 == 4 { // one that is there, with bits beside the mask
				for known := range oracle {
					k = known
					break
				}
				for w := range k {
					k[w] |= r.Uint64() &^ mask[w]
				}
			}
			if _, taken := oracle[masked(k)]; !taken {
				oracle[masked(k)] = rank
			}
			tab.add(&k, &mask, rank)
		}
		if len(tab.ranks) != len(oracle) || 2*len(tab.ranks) > len(tab.slots) {
			t.Fatalf("mask %x: %d rules in %d slots, want %d", mask, len(tab.ranks), len(tab.slots), len(oracle))
		}
		for k, want := range oracle {
			for w := range k {
				k[w] |= r.Uint64() &^ mask[w]
			}
			if got := tab.lookup(&k, &mask); got != want {
				t.Fatalf("mask %x: key %x has rank %d, want %d", mask, k, got, want)
			}
		}
		for range 1000 {
			k := random()
			want, ok := oracle[masked(k)]
			if !ok {
				want = noRule
			}
			if got := tab.lookup(&k, &mask); got != want {
				t.Fatalf("mask %x: key %x has rank %d, want %d", mask, k, got, want)
			}
		}
	}
}

// The search for a key that no rule has ends at a free slot, for a million keys.
func TestTableMisses(t *testing.T) {
	mask := key{0: ^uint64(0), 3: 0xffff}
	tab := newTable(&mask)
	for rank := range int32(256) { // as full as a table gets
		tab.add(&key{0: uint64(rank)}, &mask, rank)
	}
	if n := tab.lookup(&key{0: 255, 3: 1 << 16}, &mask); n != 255 {
		t.Errorf("rank %d, want 255", n)
	}
	for i := range uint64(1_000_000) {
		if n := tab.lookup(&key{0: i, 3: 1 + i%0xffff}, &mask); n != noRule {
			t.Fatalf("key %d has rank %d", i, n)
		}
	}
}
