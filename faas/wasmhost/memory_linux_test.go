package wasmhost

import "testing"

func TestTracker(t *testing.T) {
	tr, err := newTracker()
	if err != nil {
		t.Skip(err)
	}
	defer tr.close()
}

func BenchmarkTracker(b *testing.B) {
	tr, err := newTracker()
	if err != nil {
		b.Skip(err)
	}
	defer tr.close()
	m, _ := newMemory(64 << 20)
	m.Reallocate(2560 << 10)
	clear(m.bytes())
	tr.register(m)
	tr.arm(m)
	var buf [64]region
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			tr.written(m, buf[:])
		}
	})
	b.Run("3pages", func(b *testing.B) {
		for b.Loop() {
			m.mapping[0]++
			m.mapping[1<<20]++
			m.mapping[2<<20]++
			if r, err := tr.written(m, buf[:]); len(r) != 3 {
				b.Fatal(r, err)
			}
			tr.arm(m)
		}
	})
	m.mapping[0]++
	m.mapping[1<<20]++
	m.mapping[2<<20]++
	b.Run("3pages-unarmed", func(b *testing.B) {
		for b.Loop() {
			m.mapping[0]++
			m.mapping[1<<20]++
			m.mapping[2<<20]++
			tr.written(m, buf[:])
		}
	})
}
