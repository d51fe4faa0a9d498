package pipeline

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/protobuf/proto"
)

// The kinds of match in a key.
const (
	keyExact = iota
	keyTernary
	keyLPM
	keyRange
	keyOptional
	keyOther // a target's own kind: the marshalled message
)

// KeyOf returns an entry's identity (P4Runtime 1.3, 9.1), table, match and
// priority, as a string: shorter to keep than the message, comparable, and
// enough to delete the entry by. Fields stand in the order of their ids and
// values in canonical form, since a switch may give them back in another.
//
//	table uint32 | priority uint32 | { id uvarint | kind byte | length uvarint, value | ... }*
//
// What follows the value is a mask (ternary) or high bound (range), each with
// its length, or a prefix length (LPM).
func KeyOf(e *p4v1.TableEntry) string {
	var room [256]byte // most keys fit, so that the string is all that is kept
	b := binary.BigEndian.AppendUint32(room[:0], e.GetTableId())
	b = binary.BigEndian.AppendUint32(b, uint32(e.GetPriority()))
	match := e.GetMatch()
	byID := func(x, y *p4v1.FieldMatch) int { return cmp.Compare(x.GetFieldId(), y.GetFieldId()) }
	if !slices.IsSortedFunc(match, byID) {
		match = slices.SortedFunc(slices.Values(match), byID)
	}
	for _, m := range match {
		b = appendField(b, m)
	}
	return string(b)
}

// FieldKey is one key's part of [KeyOf].
func FieldKey(m *p4v1.FieldMatch) string { return string(appendField(nil, m)) }

func appendField(b []byte, m *p4v1.FieldMatch) []byte {
	b = binary.AppendUvarint(b, uint64(m.GetFieldId()))
	switch k := m.GetFieldMatchType().(type) {
	case *p4v1.FieldMatch_Exact_:
		b = appendValue(append(b, keyExact), k.Exact.GetValue())
	case *p4v1.FieldMatch_Ternary_:
		b = appendValue(append(b, keyTernary), k.Ternary.GetValue())
		b = appendValue(b, k.Ternary.GetMask())
	case *p4v1.FieldMatch_Lpm:
		b = appendValue(append(b, keyLPM), k.Lpm.GetValue())
		b = binary.AppendUvarint(b, uint64(uint32(k.Lpm.GetPrefixLen())))
	case *p4v1.FieldMatch_Range_:
		b = appendValue(append(b, keyRange), k.Range.GetLow())
		b = appendValue(b, k.Range.GetHigh())
	case *p4v1.FieldMatch_Optional_:
		b = appendValue(append(b, keyOptional), k.Optional.GetValue())
	default:
		other, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m) // fails on invalid UTF-8 only, and there are no strings
		b = binary.AppendUvarint(append(b, keyOther), uint64(len(other)))
		b = append(b, other...)
	}
	return b
}

func appendValue(b, value []byte) []byte {
	value = Canonical(value)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// EntryOf is KeyOf's inverse: what a delete needs.
func EntryOf(key string) (*p4v1.TableEntry, error) {
	r := bytes.NewReader([]byte(key))
	var head [8]byte
	if n, _ := r.Read(head[:]); n != len(head) {
		return nil, fmt.Errorf("key %q: %d bytes are no table and priority", key, n)
	}
	e := &p4v1.TableEntry{TableId: binary.BigEndian.Uint32(head[:4]), Priority: int32(binary.BigEndian.Uint32(head[4:]))}
	for r.Len() > 0 {
		m, err := keyField(r)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		e.Match = append(e.Match, m)
	}
	return e, nil
}

func keyField(r *bytes.Reader) (*p4v1.FieldMatch, error) {
	id, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	kind, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	value, err := readValue(r)
	if err != nil {
		return nil, err
	}
	m := &p4v1.FieldMatch{FieldId: uint32(id)}
	switch kind {
	case keyExact:
		m.FieldMatchType = &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: value}}
	case keyTernary:
		mask, err := readValue(r)
		if err != nil {
			return nil, err
		}
		m.FieldMatchType = &p4v1.FieldMatch_Ternary_{Ternary: &p4v1.FieldMatch_Ternary{Value: value, Mask: mask}}
	case keyLPM:
		n, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, err
		}
		m.FieldMatchType = &p4v1.FieldMatch_Lpm{Lpm: &p4v1.FieldMatch_LPM{Value: value, PrefixLen: int32(uint32(n))}}
	case keyRange:
		high, err := readValue(r)
		if err != nil {
			return nil, err
		}
		m.FieldMatchType = &p4v1.FieldMatch_Range_{Range: &p4v1.FieldMatch_Range{Low: value, High: high}}
	case keyOptional:
		m.FieldMatchType = &p4v1.FieldMatch_Optional_{Optional: &p4v1.FieldMatch_Optional{Value: value}}
	case keyOther:
		return m, proto.Unmarshal(value, m)
	default:
		return nil, fmt.Errorf("match kind %d", kind)
	}
	return m, nil
}

func readValue(r *bytes.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > uint64(r.Len()) {
		return nil, fmt.Errorf("a value of %d bytes where %d are left", n, r.Len())
	}
	b := make([]byte, n)
	_, err = r.Read(b)
	return b, err
}
