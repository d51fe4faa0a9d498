package p4bridge

import (
	"context"
	"testing"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc"

	"switchbridge/bridge"
	"switchbridge/p4bridge/p4test"
)

// marshalling answers at once, when it has made the bytes that a session sends.
type marshalling struct{ p4v1.P4RuntimeClient }

func (marshalling) Write(_ context.Context, r *p4v1.WriteRequest, _ ...grpc.CallOption) (*p4v1.WriteResponse, error) {
	_, err := newWireCodec().Marshal(r)
	return new(p4v1.WriteResponse), err
}

// BenchmarkWritePath is what a session adds to a Write of one entry, without gRPC and the switch: bare is the bytes alone.
func BenchmarkWritePath(b *testing.B) {
	r := newSimulated(b, p4test.Options{DeviceID: 1})
	o, ctx := bareOwner(b, r)
	o.c.rpc = marshalling{}
	const block = 256
	b.Run("bridge", func(b *testing.B) {
		b.ReportAllocs()
		changes := make([]bridge.Change, 1)
		for i := 0; b.Loop(); i++ {
			changes[0].Rule = flowRule(i % block)
			if err := o.Write(1, changes, nil, false); err != nil {
				b.Fatal(err)
			}
			if err := o.flush(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("rule", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_ = flowRule(i % block)
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		e, _, err := binding().Entry(flowRule(1), nil)
		if err != nil {
			b.Fatal(err)
		}
		u := tableUpdate(p4v1.Update_INSERT, e)
		for b.Loop() {
			_, _ = o.c.rpc.Write(ctx, &p4v1.WriteRequest{DeviceId: 1, ElectionId: o.c.electionID(), Updates: []*p4v1.Update{u}})
		}
	})
}
