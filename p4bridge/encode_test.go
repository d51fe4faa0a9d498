package p4bridge

import (
	"bytes"
	"testing"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/protobuf/proto"
)

// FuzzWrite compares requests with what the generated code makes of them: whatever message comes out of the bytes.
func FuzzWrite(f *testing.F) {
	e, _, err := binding().Entry(flowRule(1), nil)
	if err != nil {
		f.Fatal(err)
	}
	e.ControllerMetadata = 1 << 60
	ternary := &p4v1.TableEntry{TableId: 3, Priority: -1, Match: []*p4v1.FieldMatch{
		{FieldId: 1, FieldMatchType: &p4v1.FieldMatch_Ternary_{Ternary: &p4v1.FieldMatch_Ternary{Value: []byte{1}, Mask: []byte{3}}}},
		{FieldId: 2, FieldMatchType: &p4v1.FieldMatch_Exact_{}}, {FieldId: 3}, {}}}
	set := &p4v1.TableEntry{TableId: 4, Action: &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileActionSet{ActionProfileActionSet: &p4v1.ActionProfileActionSet{
		ActionProfileActions: []*p4v1.ActionProfileAction{{Action: e.GetAction().GetAction(), Weight: 1}}}}}}
	long := proto.CloneOf(e)
	long.Match[0].GetExact().Value = bytes.Repeat([]byte{7}, 300)
	for _, r := range []*p4v1.WriteRequest{
		{}, {DeviceId: 1, Role: "edge", ElectionId: &p4v1.Uint128{Low: 7}, Updates: []*p4v1.Update{tableUpdate(p4v1.Update_INSERT, e), tableUpdate(p4v1.Update_MODIFY, ternary)}},
		{ElectionId: &p4v1.Uint128{High: 1 << 63}, Updates: []*p4v1.Update{tableUpdate(p4v1.Update_DELETE, set), tableUpdate(p4v1.Update_INSERT, long), {}, {Entity: &p4v1.Entity{}}}},
		{Updates: []*p4v1.Update{tableUpdate(p4v1.Update_MODIFY, &p4v1.TableEntry{TableId: 1, IsDefaultAction: true, MeterConfig: &p4v1.MeterConfig{Cir: 9}, IdleTimeoutNs: -1}),
			tableUpdate(p4v1.Update_MODIFY, &p4v1.TableEntry{IsDefaultAction: true, IdleTimeoutNs: 1e9, Action: &p4v1.TableAction{}}),
			memberUpdate(p4v1.Update_INSERT, memberID{profile: 1, id: 2}, e.GetAction().GetAction())}},
		{RoleId: 4, Atomicity: p4v1.WriteRequest_DATAPLANE_ATOMIC, Updates: []*p4v1.Update{tableUpdate(p4v1.Update_INSERT, e)}},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, got := new(p4v1.WriteRequest), new(p4v1.WriteRequest)
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, want) != nil {
			return
		}
		wire, err := newWireCodec().Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(wire.Materialize(), got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%.2000v\nis read as\n%.2000v: %v", want, got, err)
		}
	})
}

// BenchmarkEncode compares it with the generated code, for one entry of flow_exact.
func BenchmarkEncode(b *testing.B) {
	e, _, err := binding().Entry(flowRule(1), nil)
	if err != nil {
		b.Fatal(err)
	}
	e.ControllerMetadata = 1 << 60
	r := &p4v1.WriteRequest{DeviceId: 1, ElectionId: &p4v1.Uint128{Low: 7}, Updates: []*p4v1.Update{tableUpdate(p4v1.Update_INSERT, e)}}
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := newWireCodec().Marshal(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := newWireCodec().CodecV2.Marshal(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
