package pipeline_test

import (
	"testing"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"switchbridge/p4bridge/pipeline"
)

// everyKind has a match of each kind, in order and in canonical form.
func everyKind() *p4v1.TableEntry {
	return &p4v1.TableEntry{TableId: 0x02000003, Priority: 9, Match: []*p4v1.FieldMatch{
		{FieldId: 1, FieldMatchType: &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: []byte{1}}}},
		{FieldId: 2, FieldMatchType: &p4v1.FieldMatch_Ternary_{Ternary: &p4v1.FieldMatch_Ternary{Value: []byte{1}, Mask: []byte{1, 0}}}},
		{FieldId: 3, FieldMatchType: &p4v1.FieldMatch_Lpm{Lpm: &p4v1.FieldMatch_LPM{Value: []byte{10, 0}, PrefixLen: 8}}},
		{FieldId: 4, FieldMatchType: &p4v1.FieldMatch_Range_{Range: &p4v1.FieldMatch_Range{Low: []byte{0}, High: []byte{5}}}},
		{FieldId: 300, FieldMatchType: &p4v1.FieldMatch_Optional_{Optional: &p4v1.FieldMatch_Optional{Value: []byte{7}}}},
		{FieldId: 301, FieldMatchType: &p4v1.FieldMatch_Other{Other: &anypb.Any{TypeUrl: "x", Value: []byte{1}}}},
	}}
}

func TestKey(t *testing.T) {
	e := everyKind()
	key := pipeline.KeyOf(e)
	back, err := pipeline.EntryOf(key)
	if err != nil || !proto.Equal(back, e) {
		t.Errorf("back it is %v, %v; want %v", back, err, e)
	}
	shuffled := proto.CloneOf(e)
	shuffled.Match[0], shuffled.Match[4] = shuffled.Match[4], shuffled.Match[0]
	shuffled.Match[1].GetTernary().Value = []byte{0, 0, 1}
	shuffled.ControllerMetadata, shuffled.IdleTimeoutNs = 5, 6
	if pipeline.KeyOf(shuffled) != key {
		t.Error("order, leading zeros, metadata and timeout are no part of an entry's identity")
	}
	for name, change := range map[string]func(*p4v1.TableEntry){
		"table":    func(e *p4v1.TableEntry) { e.TableId++ },
		"priority": func(e *p4v1.TableEntry) { e.Priority++ },
		"value":    func(e *p4v1.TableEntry) { e.Match[0].GetExact().Value = []byte{2} },
		"mask":     func(e *p4v1.TableEntry) { e.Match[1].GetTernary().Mask = []byte{1} },
		"prefix":   func(e *p4v1.TableEntry) { e.Match[2].GetLpm().PrefixLen = 7 },
		"bound":    func(e *p4v1.TableEntry) { e.Match[3].GetRange().High = []byte{6} },
		"field":    func(e *p4v1.TableEntry) { e.Match[4].FieldId = 299 },
		"a key":    func(e *p4v1.TableEntry) { e.Match = e.Match[:5] },
	} {
		other := proto.CloneOf(e)
		if change(other); pipeline.KeyOf(other) == key {
			t.Errorf("%s: two entries, one key", name)
		}
	}
	for n := range len(key) {
		if e, err := pipeline.EntryOf(key[:n]); err == nil && pipeline.KeyOf(e) != key[:n] {
			t.Errorf("%d of %d bytes are taken for %v", n, len(key), e)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add(pipeline.KeyOf(everyKind()))
	f.Fuzz(func(t *testing.T, key string) {
		e, err := pipeline.EntryOf(key)
		if err != nil {
			return
		}
		again, err := pipeline.EntryOf(pipeline.KeyOf(e))
		if err != nil || pipeline.KeyOf(again) != pipeline.KeyOf(e) {
			t.Errorf("%q is %v, and back %v, %v", key, e, again, err)
		}
	})
}
