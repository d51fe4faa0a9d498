package p4bridge

import (
	"testing"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/protobuf/proto"

	"switchbridge/p4bridge/p4test"
)

func digestMessage(samples int) *p4v1.StreamMessageResponse {
	list := &p4v1.DigestList{DigestId: binding().Digest.P4.ID, ListId: 7, Timestamp: 9}
	for i := range samples {
		list.Data = append(list.Data, p4test.Sample(binding().Digest.P4, 1, udp(1, 2, uint16(i+1))))
	}
	return &p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Digest{Digest: list}}
}

// What is read step by step is what the generated code reads.
func TestDigestListOnTheWire(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		want := digestMessage(n).GetDigest()
		b, err := proto.Marshal(digestMessage(n))
		if err != nil {
			t.Fatal(err)
		}
		list, ok := digestBytes(b)
		if !ok {
			t.Fatal("not taken for a digest")
		}
		h, err := parseDigestList(list)
		if err != nil || h != (digestHeader{want.DigestId, want.ListId, n}) {
			t.Errorf("header %+v, %v", h, err)
		}
		i := 0
		eachSample(list, func(b []byte) {
			if got, err := parseSample(b); err != nil || !proto.Equal(got, want.Data[i]) {
				t.Errorf("sample %d is %v, %v", i, got, err)
			}
			i++
		})
		if i != n {
			t.Errorf("%d samples, want %d", i, n)
		}
		for cut := range list { // a list cut short is refused, or one with fewer samples
			if h, err := parseDigestList(list[:cut]); err == nil && h.samples >= n && cut > 0 && n > 0 && cut < len(list)-10 {
				t.Errorf("%d of %d bytes have %d samples", cut, len(list), h.samples)
			}
		}
	}
	other, _ := proto.Marshal(&p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Packet{Packet: &p4v1.PacketIn{Payload: []byte{1}}}})
	if _, ok := digestBytes(other); ok {
		t.Error("a packet_in is taken for a digest")
	}
}

func FuzzDigestList(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		b, _ := proto.Marshal(digestMessage(n).GetDigest())
		f.Add(b)
	}
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseDigestList(b)
		if err != nil {
			return
		}
		n := 0
		eachSample(b, func(s []byte) {
			n++
			if d, err := parseSample(s); err == nil {
				binding().DigestMatch(d) //nolint:errcheck // it must not panic
			}
		})
		if n != h.samples {
			t.Errorf("%d samples, and the header says %d", n, h.samples)
		}
		var want p4v1.DigestList
		if proto.Unmarshal(b, &want) == nil && (len(want.Data) != n || want.DigestId != h.digestID || want.ListId != h.listID) {
			t.Errorf("%+v, where the generated code reads %v", h, &want)
		}
	})
}
