package p4bridge

import (
	"errors"
	"fmt"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that wireCodec builds on
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Stream messages are read as bytes and decoded here, digests only as far as
// there is room for what they say: to decode a sample costs microseconds, to
// step over it nanoseconds.

// wireMessage is a stream message as it came. Its buffer is used again.
type wireMessage struct{ data []byte }

// maxKept bounds the buffer that is kept between messages.
const maxKept = 1 << 20

// wireCodec is gRPC's codec for protobuf, that also reads a [wireMessage].
type wireCodec struct{ encoding.CodecV2 }

func newWireCodec() wireCodec { return wireCodec{encoding.GetCodecV2("proto")} }

func (c wireCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*wireMessage)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if n := data.Len(); cap(m.data) < n || cap(m.data) > maxKept {
		m.data = make([]byte, n)
	} else {
		m.data = m.data[:n]
	}
	data.CopyTo(m.data)
	return nil
}

// StreamMessageResponse's fields of a packet and of a digest.
const (
	packetField protowire.Number = 2
	digestField protowire.Number = 3
)

// isPacket reports whether a message is a packet and nothing else, which is not
// looked into.
func isPacket(b []byte) bool {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != packetField || typ != protowire.BytesType {
		return false
	}
	_, m := protowire.ConsumeBytes(b[n:])
	return m >= 0 && n+m == len(b)
}

// digestBytes returns the DigestList of a message that is nothing else.
func digestBytes(b []byte) (list []byte, ok bool) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != digestField || typ != protowire.BytesType {
		return nil, false
	}
	list, m := protowire.ConsumeBytes(b[n:])
	return list, m >= 0 && n+m == len(b)
}

// digestHeader is what a DigestList says besides its samples.
type digestHeader struct {
	digestID uint32
	listID   uint64
	samples  int
}

// The fields of DigestList (p4runtime.proto).
const (
	listDigestID protowire.Number = 1
	listListID   protowire.Number = 2
	listData     protowire.Number = 3
)

// parseDigestList reads the header, and checks that what eachSample steps over
// is well-formed.
func parseDigestList(list []byte) (h digestHeader, err error) {
	for b := list; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h, fmt.Errorf("digest list: %w", protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return h, fmt.Errorf("digest list: field %d: %w", num, protowire.ParseError(size))
		}
		switch {
		case num == listDigestID && typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b[n:])
			h.digestID = uint32(v)
		case num == listListID && typ == protowire.VarintType:
			h.listID, _ = protowire.ConsumeVarint(b[n:])
		case num == listData && typ == protowire.BytesType:
			h.samples++
		case num <= listData:
			return h, errors.New("digest list: a field of another type")
		}
		b = b[n+size:]
	}
	return h, nil
}

// eachSample calls f with every sample of a list that parseDigestList has read.
func eachSample(list []byte, f func(sample []byte)) {
	for b := list; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if num == listData {
			sample, _ := protowire.ConsumeBytes(b[n:])
			f(sample)
		}
		b = b[n+size:]
	}
}

// parseSample decodes one sample; nothing of b is kept.
func parseSample(b []byte) (*p4v1.P4Data, error) {
	data := new(p4v1.P4Data)
	return data, proto.Unmarshal(b, data)
}
