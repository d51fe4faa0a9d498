package wasmhost

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// dataSegment fills memory at the start.
type dataSegment struct {
	offset uint32
	bytes  []byte
}

func (s dataSegment) end() uint64 { return uint64(s.offset) + uint64(len(s.bytes)) }

// maxGap is how many zero bytes are worth a segment less.
const maxGap = 64

// joinSegments joins the segments of a data section (5.5.14) that are close to each other. Go's
// linker leaves out every run of a few zero bytes, which makes tens of thousands of segments, and a
// runtime takes longer for each than for the zeros. A section stays as it is where two segments
// overlap, or one is not placed by a constant, and where it is malformed, of which the rewriter will
// tell. No instruction may refer to a segment.
func joinSegments(section []byte) []byte {
	r := &reader{b: section}
	count := r.u32()
	if uint64(count) > uint64(len(section)) {
		return section
	}
	segments := make([]dataSegment, count)
	for i := range segments {
		if r.u32() != 0 || r.byte() != opI32Const {
			return section
		}
		segments[i].offset = uint32(r.s32())
		if r.byte() != opEnd {
			return section
		}
		segments[i].bytes = r.take(r.u32())
	}
	if r.err != nil || r.at != len(section) {
		return section
	}
	slices.SortStableFunc(segments, func(a, b dataSegment) int { return cmp.Compare(a.offset, b.offset) })

	var joined []dataSegment
	for i, s := range segments {
		if i > 0 && uint64(s.offset) < segments[i-1].end() {
			return section
		}
		if i == 0 || uint64(s.offset)-segments[i-1].end() > maxGap {
			joined = append(joined, dataSegment{offset: s.offset, bytes: append([]byte(nil), s.bytes...)})
			continue
		}
		last := &joined[len(joined)-1]
		last.bytes = append(last.bytes, make([]byte, uint64(s.offset)-last.end())...)
		last.bytes = append(last.bytes, s.bytes...)
	}
	out := binary.AppendUvarint(make([]byte, 0, len(section)), uint64(len(joined)))
	for _, s := range joined {
		out = appendSigned(append(out, 0, opI32Const), int64(int32(s.offset)))
		out = binary.AppendUvarint(append(out, opEnd), uint64(len(s.bytes)))
		out = append(out, s.bytes...)
	}
	return out
}
