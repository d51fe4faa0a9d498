package p4bridge

import (
	"context"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"switchbridge/flow"
)

// A flood of new flows on one port is held back in the switch and counted there,
// another port's flows are not, and a gateway without a limit takes it away.
func TestMissLimit(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		asked := make(chan flow.PortNo, 4096)
		ask := local{func(_ context.Context, ev *flow.Event, _ *flow.Decision) error {
			if ev.PacketIn != nil {
				asked <- ev.PacketIn.Match.InPort
			}
			return nil
		}}
		cfg := fastConfig(r)
		cfg.Miss, cfg.Counters = MissPunt, 50*time.Millisecond
		cfg.MissLimit = MissLimit{Rate: 1, Burst: 20}
		s, stop := runUntil(t, cfg, ask)
		serving(t, s)
		send := func(from byte) { // at a pace: BMv2 takes bursts of some thirty packets
			for i := range 200 {
				r.packet(t, 1, udp(from, 2, uint16(i+1)))
				time.Sleep(500 * time.Microsecond)
			}
		}
		send(1)
		var misses, held int
		eventually(t, "every miss is held back or asked", func() bool {
			c := s.Status().Counters
			misses, held = int(c["miss_counter"].Packets), int(c["miss_limited_counter"].Packets)
			return misses > 100 && len(asked) == misses-held
		})
		if n := misses - held; n < 20 || n > 20+10 { // ten seconds are more than this takes
			t.Errorf("%d of %d misses asked, want the burst of 20", n, misses)
		}
		r.packet(t, 2, udp(3, 4, 1))
		eventually(t, "another port's flow asks", func() bool {
			for len(asked) > 0 {
				if <-asked == 2 {
					return true
				}
			}
			return false
		})
		stop()

		cfg.MissLimit = MissLimit{}
		serving(t, run(t, cfg, ask))
		for len(asked) > 0 {
			<-asked
		}
		send(5)
		eventually(t, "without a limit far more ask", func() bool { return len(asked) > 100 })
	})
}

// A meter is modified, read back, and put back to its default.
func TestMeterConformance(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		b := newBare(t, r, 10)
		b.arbitration(t)
		b.push(t)
		id := program().Meter("miss_meter").ID
		update := func(op p4v1.Update_Type, index int64, c *p4v1.MeterConfig) *p4v1.Update {
			return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_MeterEntry{MeterEntry: &p4v1.MeterEntry{
				MeterId: id, Index: &p4v1.Index{Index: index}, Config: c}}}}
		}
		config := &p4v1.MeterConfig{Cir: 10, Cburst: 20, Pir: 10, Pburst: 20}
		code, each := b.write(b.id, update(p4v1.Update_MODIFY, 1, config), update(p4v1.Update_INSERT, 1, config), update(p4v1.Update_MODIFY, 512, config))
		if code != codes.Unknown || len(each) != 3 || each[0] != codes.OK || each[1] != codes.InvalidArgument || each[2] != codes.Unknown {
			t.Errorf("modify, insert, beyond its size: %v %v", code, each)
		}
		read := func() *p4v1.MeterEntry {
			rd, err := b.Read(context.Background(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{{Entity: &p4v1.Entity_MeterEntry{
				MeterEntry: &p4v1.MeterEntry{MeterId: id, Index: &p4v1.Index{Index: 1}}}}}})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rd.Recv()
			if err != nil || len(resp.GetEntities()) != 1 {
				t.Fatalf("%v, %v", resp, err)
			}
			return resp.GetEntities()[0].GetMeterEntry()
		}
		if got := read().GetConfig(); !proto.Equal(got, config) {
			t.Errorf("it reads back as %v, want %v", got, config)
		}
		if code, each := b.write(b.id, update(p4v1.Update_MODIFY, 1, nil)); code != codes.OK {
			t.Errorf("to the default: %v %v", code, each)
		}
		if got := read().GetConfig(); got != nil {
			t.Errorf("the default reads back as %v, want none", got)
		}
	})
}
