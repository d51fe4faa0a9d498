package p4bridge

import (
	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A Write of table entries is put into bytes here. The generated code measures each of an entry's forty messages before it
// writes them, by tables of fields: for one entry of flow_exact it takes twice as long (BenchmarkEncode), of the six microseconds
// that a session adds to a Write (BenchmarkWritePath). All else that a Write may hold is left to the generated code.

// Marshal puts a message into bytes. Those of a [p4v1.WriteRequest] are made here.
func (c wireCodec) Marshal(v any) (mem.BufferSlice, error) {
	r, ok := v.(*p4v1.WriteRequest)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	b, err := appendWrite(make([]byte, 0, 64+384*len(r.Updates)), r)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// appendWrite appends a request (p4runtime.proto; fields in the order of their numbers).
func appendWrite(b []byte, r *p4v1.WriteRequest) (_ []byte, err error) {
	if r.RoleId != 0 || r.Atomicity != 0 { // which this gateway never sends
		return proto.MarshalOptions{}.MarshalAppend(b, r)
	}
	b = number(b, 1, r.DeviceId)
	if r.ElectionId != nil {
		var at int
		b, at = begin(b, 3)
		b = number(b, 1, r.ElectionId.High)
		b = number(b, 2, r.ElectionId.Low)
		b = end(b, at)
	}
	for _, u := range r.Updates {
		var at, entity int
		b, at = begin(b, 4)
		b = number(b, 1, uint64(u.Type))
		if u.Entity == nil {
			b = end(b, at)
			continue
		}
		b, entity = begin(b, 2)
		if e := u.GetEntity().GetTableEntry(); plainEntry(e) {
			var entry int
			b, entry = begin(b, 2)
			b, err = appendEntry(b, e)
			b = end(b, entry)
		} else {
			b, err = proto.MarshalOptions{}.MarshalAppend(b, u.GetEntity())
		}
		if err != nil {
			return nil, err
		}
		b = end(end(b, entity), at)
	}
	if r.Role != "" {
		b = protowire.AppendString(protowire.AppendTag(b, 6, protowire.BytesType), r.Role)
	}
	return b, nil
}

// plainEntry reports whether appendEntry knows all that an entry has.
func plainEntry(e *p4v1.TableEntry) bool {
	return e != nil && e.MeterConfig == nil && e.CounterData == nil && e.MeterCounterData == nil && e.TimeSinceLastHit == nil && len(e.Metadata) == 0 && !e.IsConst
}

func appendEntry(b []byte, e *p4v1.TableEntry) (_ []byte, err error) {
	b = number(b, 1, uint64(e.TableId))
	for _, m := range e.Match {
		var at int
		b, at = begin(b, 2)
		if x, ok := m.GetFieldMatchType().(*p4v1.FieldMatch_Exact_); ok {
			var exact int
			b = number(b, 1, uint64(m.FieldId))
			b, exact = begin(b, 2)
			b = text(b, 1, x.Exact.GetValue())
			b = end(b, exact)
		} else if b, err = (proto.MarshalOptions{}).MarshalAppend(b, m); err != nil {
			return nil, err
		}
		b = end(b, at)
	}
	if e.Action != nil {
		var at int
		b, at = begin(b, 3)
		if x, ok := e.Action.GetType().(*p4v1.TableAction_Action); ok {
			var action int
			b, action = begin(b, 1)
			b = number(b, 1, uint64(x.Action.GetActionId()))
			for _, p := range x.Action.GetParams() {
				var param int
				b, param = begin(b, 4)
				b = number(b, 2, uint64(p.GetParamId()))
				b = text(b, 3, p.GetValue())
				b = end(b, param)
			}
			b = end(b, action)
		} else if b, err = (proto.MarshalOptions{}).MarshalAppend(b, e.Action); err != nil {
			return nil, err
		}
		b = end(b, at)
	}
	b = number(b, 4, uint64(int64(e.Priority)))
	b = number(b, 5, e.ControllerMetadata)
	if e.IsDefaultAction {
		b = number(b, 8, 1)
	}
	return number(b, 9, uint64(e.IdleTimeoutNs)), nil
}

// number appends a field that is one, unless it is zero.
func number(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// text appends a field of bytes, unless it is empty.
func text(b []byte, field protowire.Number, value []byte) []byte {
	if len(value) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), value)
}

// begin appends a message's tag and room for its length, of which end is told where it is.
func begin(b []byte, field protowire.Number) (_ []byte, at int) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return append(b, 0), len(b)
}

// end says how long the message is that begins behind at. Most are shorter than 128 bytes, and their length is one.
func end(b []byte, at int) []byte {
	n := len(b) - at - 1
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	b = append(b, make([]byte, more)...)
	copy(b[at+1+more:], b[at+1:])
	protowire.AppendVarint(b[:at], uint64(n))
	return b
}
