package p4bridge

import (
	"sync/atomic"
	"testing"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc"

	"switchbridge/p4bridge/p4test"
	"switchbridge/p4bridge/pipeline"
)

// asked notes how much a single Read asks for.
type asked struct {
	grpc.ServerStream
	reads, most *atomic.Int64
}

func (a asked) RecvMsg(m any) error {
	err := a.ServerStream.RecvMsg(m)
	if r, ok := m.(*p4v1.ReadRequest); ok && err == nil {
		a.reads.Add(1)
		a.most.Store(max(a.most.Load(), int64(len(r.GetEntities()))))
	}
	return err
}

// An indirect counter of many cells is read in parts, so that no read keeps
// writes waiting for long; a small one in one piece.
func TestLargeCounterIsReadInParts(t *testing.T) {
	var reads, most atomic.Int64
	r := newSimulated(t, p4test.Options{DeviceID: 1, ServerOptions: []grpc.ServerOption{
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			return h(srv, asked{s, &reads, &most})
		})}})
	o, ctx := bareOwner(t, r)
	small := program().Counter("miss_counter")
	r.SetDefault("miss", "drop")
	for range 5 {
		r.Packet(1, udp(1, 2, 3))
		r.Packet(3, udp(1, 2, 3))
	}
	for _, c := range []struct {
		size        int64
		reads, most int64
	}{{small.Size, 1, 1}, {readWhole + 1, 5, readPart}, {100 * readPart, 100, readPart}} {
		reads.Store(0)
		most.Store(0)
		sum, err := o.readCounter(ctx, &pipeline.Counter{ID: small.ID, Name: small.Name, Size: c.size})
		if err != nil || sum.Packets != 10 {
			t.Errorf("%d cells: %v, %v; want 10 packets", c.size, sum, err)
		}
		if reads.Load() != c.reads || most.Load() != c.most {
			t.Errorf("%d cells: %d reads of up to %d, want %d of up to %d", c.size, reads.Load(), most.Load(), c.reads, c.most)
		}
	}
}
