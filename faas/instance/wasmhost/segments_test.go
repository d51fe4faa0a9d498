package wasmhost

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// dataSection has active segments of one byte value each: {offset, length}.
func dataSection(segments ...[2]int) []byte {
	body := leb(len(segments))
	for i, s := range segments {
		body = append(body, code(0, i32Const(s[0]), opEnd, leb(s[1]), bytes.Repeat([]byte{byte(i + 1)}, s[1]))...)
	}
	return body
}

// filled is memory after the segments of a section, none of them past its end.
func filled(t *testing.T, section []byte, size int) []byte {
	t.Helper()
	memory := make([]byte, size)
	r := &reader{b: section}
	for range r.u32() {
		r.take(2)
		at := r.s32()
		r.take(1)
		copy(memory[at:], r.take(r.u32()))
	}
	if r.err != nil || r.at != len(section) {
		t.Fatal(r.err, r.at)
	}
	return memory
}

func TestJoinSegments(t *testing.T) {
	for name, row := range map[string]struct {
		section []byte
		want    uint32 // segments left
	}{
		"none":                     {dataSection(), 0},
		"one":                      {dataSection([2]int{8, 4}), 1},
		"close":                    {dataSection([2]int{8, 4}, [2]int{12, 4}, [2]int{16 + maxGap, 1}), 1},
		"far":                      {dataSection([2]int{8, 4}, [2]int{13 + maxGap, 4}), 2},
		"backwards":                {dataSection([2]int{80, 4}, [2]int{8, 4}, [2]int{20, 4}), 1},
		"the second in the first":  {dataSection([2]int{8, 40}, [2]int{12, 4}), 2},
		"the first in the second":  {dataSection([2]int{12, 4}, [2]int{8, 40}), 2},
		"one over another's end":   {dataSection([2]int{8, 8}, [2]int{40, 1}, [2]int{15, 4}), 3},
		"empty ones":               {dataSection([2]int{8, 0}, [2]int{8, 4}, [2]int{9, 0}), 3},
		"empty ones at the border": {dataSection([2]int{8, 0}, [2]int{8, 4}, [2]int{12, 0}), 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := joinSegments(row.section)
			if n := (&reader{b: got}).u32(); n != row.want {
				t.Errorf("%d segments, want %d", n, row.want)
			}
			if !bytes.Equal(filled(t, got, 400), filled(t, row.section, 400)) {
				t.Error("memory differs")
			}
		})
	}
	for name, section := range map[string][]byte{
		"passive":            {2, 0, opI32Const, 0, opEnd, 1, 9, 1, 1, 9},
		"of a memory":        {1, 2, 0, opI32Const, 0, opEnd, 1, 9},
		"at a global":        {1, 0, opGlobalGet, 0, opEnd, 1, 9},
		"at a sum":           {1, 0, opI32Const, 0, opI32Const, 0, opI32Add, opEnd, 1, 9},
		"cut short":          {1, 0, opI32Const, 0, opEnd, 2, 9},
		"too many":           {200, 200, 200, 200, 15},
		"with something new": {1, 0, opI32Const, 0, opEnd, 1, 9, 9},
		"nothing":            nil,
	} {
		if got := joinSegments(section); !bytes.Equal(got, section) {
			t.Errorf("%s: changed to %x", name, got)
		}
	}
}

// TestJoinedMemoryIsTheSame fills memory by random segments.
func TestJoinedMemoryIsTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	joined := 0
	for range 2000 {
		var segments [][2]int
		for at := 0; at < 3000; at += random.IntN(100) {
			n := random.IntN(30)
			segments = append(segments, [2]int{at, n})
			if random.IntN(200) > 0 { // else the next may overlap
				at += n
			}
		}
		if random.IntN(2) == 0 {
			random.Shuffle(len(segments), func(i, j int) { segments[i], segments[j] = segments[j], segments[i] })
		}
		section := dataSection(segments...)
		got := joinSegments(section)
		if !slices.Equal(filled(t, got, 4000), filled(t, section, 4000)) {
			t.Fatalf("memory differs for %v", segments)
		}
		if len(got) != len(section) {
			joined++
		}
	}
	if joined < 200 {
		t.Errorf("only %d of 2,000 sections were joined", joined)
	}
}
