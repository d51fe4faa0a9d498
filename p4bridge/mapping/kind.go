package mapping

import (
	"bytes"
	"errors"
	"slices"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/p4bridge/pipeline"
)

// matchKind writes and reads keys of one kind (P4Runtime 1.3, 9.1.1). Value and mask have
// the width of the key; a mask of ones compares all of it.
type matchKind struct {
	// write fills fm. It is not called for a mask of zero unless the kind is exact: an entry
	// does not have such a key.
	write func(fm *p4v1.FieldMatch, value, mask []byte, width int) error
	// read is the inverse of write; ok is false if no value and mask can express fm.
	read func(fm *p4v1.FieldMatch, width int) (value, mask []byte, ok bool)
}

// matchKinds has a row for each kind that a mapping may use.
var matchKinds = [...]matchKind{
	pipeline.Exact: {
		write: func(fm *p4v1.FieldMatch, value, mask []byte, width int) error {
			if !isOnes(mask, width) {
				return errors.New("a mask, where the key is compared exactly")
			}
			fm.FieldMatchType = &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: pipeline.Canonical(value)}}
			return nil
		},
		read: func(fm *p4v1.FieldMatch, width int) (value, mask []byte, ok bool) {
			return whole(fm.GetExact().GetValue(), width)
		},
	},
	pipeline.LPM: {
		write: func(fm *p4v1.FieldMatch, value, mask []byte, width int) error {
			n, ok := prefixLen(mask, width)
			if !ok {
				return errors.New("the mask is not a prefix")
			}
			fm.FieldMatchType = &p4v1.FieldMatch_Lpm{Lpm: &p4v1.FieldMatch_LPM{Value: pipeline.Canonical(masked(value, mask)), PrefixLen: int32(n)}}
			return nil
		},
		read: func(fm *p4v1.FieldMatch, width int) (value, mask []byte, ok bool) {
			n := int(fm.GetLpm().GetPrefixLen())
			if n < 0 || n > width {
				return nil, nil, false
			}
			value, _, ok = whole(fm.GetLpm().GetValue(), width)
			return value, prefixMask(n, width), ok
		},
	},
	pipeline.Ternary: {
		write: func(fm *p4v1.FieldMatch, value, mask []byte, _ int) error {
			fm.FieldMatchType = &p4v1.FieldMatch_Ternary_{Ternary: &p4v1.FieldMatch_Ternary{
				Value: pipeline.Canonical(masked(value, mask)), Mask: pipeline.Canonical(mask)}}
			return nil
		},
		read: func(fm *p4v1.FieldMatch, width int) (value, mask []byte, ok bool) {
			value, _, ok = whole(fm.GetTernary().GetValue(), width)
			mask, _, okMask := whole(fm.GetTernary().GetMask(), width)
			return value, mask, ok && okMask
		},
	},
	pipeline.Range: {
		write: func(fm *p4v1.FieldMatch, value, mask []byte, width int) error {
			if _, ok := prefixLen(mask, width); !ok {
				return errors.New("the mask is not a range")
			}
			low := masked(value, mask)
			high := slices.Clone(low)
			for i, one := range pipeline.Ones(width) {
				high[i] |= one &^ mask[i]
			}
			fm.FieldMatchType = &p4v1.FieldMatch_Range_{Range: &p4v1.FieldMatch_Range{Low: pipeline.Canonical(low), High: pipeline.Canonical(high)}}
			return nil
		},
		read: func(fm *p4v1.FieldMatch, width int) (value, mask []byte, ok bool) {
			low, mask, ok := whole(fm.GetRange().GetLow(), width)
			high, _, okHigh := whole(fm.GetRange().GetHigh(), width)
			if !ok || !okHigh {
				return nil, nil, false
			}
			for i := range mask { // the bounds must differ in their last bits only, which must be 0 in the lower and 1 in the upper bound
				if mask[i] &^= low[i] ^ high[i]; low[i]&^mask[i] != 0 {
					return nil, nil, false
				}
			}
			_, ok = prefixLen(mask, width)
			return low, mask, ok
		},
	},
	pipeline.Optional: {
		write: func(fm *p4v1.FieldMatch, value, mask []byte, width int) error {
			if !isOnes(mask, width) {
				return errors.New("a mask, where the key is compared as a whole or not at all")
			}
			fm.FieldMatchType = &p4v1.FieldMatch_Optional_{Optional: &p4v1.FieldMatch_Optional{Value: pipeline.Canonical(value)}}
			return nil
		},
		read: func(fm *p4v1.FieldMatch, width int) (value, mask []byte, ok bool) {
			return whole(fm.GetOptional().GetValue(), width)
		},
	},
}

// fieldMatch returns the key's part of an entry, or nil for "any", which an entry leaves out.
func (k *key) fieldMatch(value, mask []byte) (*p4v1.FieldMatch, error) {
	if k.kind != pipeline.Exact && isZero(mask) {
		return nil, nil
	}
	fm := &p4v1.FieldMatch{FieldId: k.ID}
	return fm, matchKinds[k.kind].write(fm, value, mask, k.Width)
}

// textMatch is fieldMatch for a key whose value is a text in P4Runtime.
func (k *key) textMatch(text string) *p4v1.FieldMatch {
	fm := &p4v1.FieldMatch{FieldId: k.ID}
	if k.kind == pipeline.Optional {
		fm.FieldMatchType = &p4v1.FieldMatch_Optional_{Optional: &p4v1.FieldMatch_Optional{Value: []byte(text)}}
	} else {
		fm.FieldMatchType = &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: []byte(text)}}
	}
	return fm
}

// whole reads a value that is compared with all its bits.
func whole(b []byte, width int) (value, mask []byte, ok bool) {
	value, err := pipeline.Pad(b, width)
	return value, pipeline.Ones(width), err == nil
}

// masked returns the bits of value that mask compares.
func masked(value, mask []byte) []byte {
	v := slices.Clone(value)
	for i := range v {
		v[i] &= mask[i]
	}
	return v
}

func isOnes(mask []byte, width int) bool { return bytes.Equal(mask, pipeline.Ones(width)) }

func isZero(b []byte) bool { return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) }

// prefixMask returns a mask of width bits, the first n of them set.
func prefixMask(n, width int) []byte {
	mask := make([]byte, (width+7)/8)
	pad := len(mask)*8 - width
	for i := range n {
		mask[(pad+i)/8] |= 0x80 >> ((pad + i) % 8)
	}
	return mask
}

// prefixLen is the inverse of prefixMask; ok is false for a mask that is no prefix.
func prefixLen(mask []byte, width int) (n int, ok bool) {
	pad := len(mask)*8 - width
	for n < width && mask[(pad+n)/8]&(0x80>>((pad+n)%8)) != 0 {
		n++
	}
	return n, bytes.Equal(mask, prefixMask(n, width))
}
