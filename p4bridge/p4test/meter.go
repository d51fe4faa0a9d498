package p4test

import (
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/p4bridge/pipeline"
)

// cell names one of an indirect meter's or counter's.
type cell struct {
	id    uint32
	index int64
}

// meter is a token bucket of a meter's peak rate: what is beyond it is red, and
// nothing else is of interest to switchbridge.p4.
type meter struct {
	config *p4v1.MeterConfig
	tokens float64
	at     time.Time
}

// red takes a token and reports whether there was none.
func (m *meter) red(now time.Time) bool {
	burst := float64(m.config.GetPburst())
	m.tokens = min(burst, m.tokens+now.Sub(m.at).Seconds()*float64(m.config.GetPir()))
	m.at = now
	if m.tokens < 1 {
		return true
	}
	m.tokens--
	return false
}

func (t *Target) updateMeter(op p4v1.Update_Type, e *p4v1.MeterEntry) error {
	var found *pipeline.Meter
	for _, m := range t.pl.Meters {
		if m.ID == e.GetMeterId() {
			found = m
		}
	}
	c := e.GetConfig()
	switch {
	case found == nil:
		return status.Errorf(codes.NotFound, "meter %#x is not in the pipeline", e.GetMeterId())
	case op != p4v1.Update_MODIFY:
		return status.Error(codes.InvalidArgument, "a meter can only be modified")
	case e.GetIndex().GetIndex() < 0 || e.GetIndex().GetIndex() >= found.Size:
		return status.Errorf(codes.Unknown, "meter %s has no index %d", found.Name, e.GetIndex().GetIndex())
	case c != nil && (c.GetCir() < 0 || c.GetPir() < c.GetCir()):
		return status.Errorf(codes.InvalidArgument, "meter %s: rates %d, %d", found.Name, c.GetCir(), c.GetPir())
	}
	at := cell{found.ID, e.GetIndex().GetIndex()}
	if c == nil {
		delete(t.meters, at)
		return nil
	}
	t.meters[at] = &meter{config: c, tokens: float64(c.GetPburst()), at: time.Now()}
	return nil
}

// heldBack counts a miss, and reports whether the program's meter drops it.
func (t *Target) heldBack(port uint32, size int) bool {
	t.count("miss_counter", port, size)
	for _, m := range t.pl.Meters {
		if c := t.meters[cell{m.ID, int64(port)}]; m.Name == "miss_meter" && c != nil && c.red(time.Now()) {
			t.count("miss_limited_counter", port, size)
			return true
		}
	}
	return false
}

func (t *Target) count(name string, port uint32, size int) {
	for _, c := range t.pl.Counters {
		if c.Name != name || int64(port) >= c.Size {
			continue
		}
		at := cell{c.ID, int64(port)}
		if t.counters[at] == nil {
			t.counters[at] = new(p4v1.CounterData)
		}
		t.counters[at].PacketCount++
		t.counters[at].ByteCount += int64(size)
	}
}

// readCounters lists what an indirect counter counted, where it counted anything.
func (t *Target) readCounters(e *p4v1.CounterEntry) (out []*p4v1.Entity) {
	for at, data := range t.counters {
		if at.id == e.GetCounterId() && (e.GetIndex() == nil || e.GetIndex().GetIndex() == at.index) {
			out = append(out, &p4v1.Entity{Entity: &p4v1.Entity_CounterEntry{CounterEntry: &p4v1.CounterEntry{
				CounterId: at.id, Index: &p4v1.Index{Index: at.index},
				Data: &p4v1.CounterData{PacketCount: data.PacketCount, ByteCount: data.ByteCount},
			}}})
		}
	}
	return out
}

// readMeters gives one meter's configuration, none where it has its default.
func (t *Target) readMeters(e *p4v1.MeterEntry) []*p4v1.Entity {
	if e.GetIndex() == nil {
		return nil
	}
	out := &p4v1.MeterEntry{MeterId: e.GetMeterId(), Index: e.GetIndex()}
	if m := t.meters[cell{e.GetMeterId(), e.GetIndex().GetIndex()}]; m != nil {
		out.Config = m.config
	}
	return []*p4v1.Entity{{Entity: &p4v1.Entity_MeterEntry{MeterEntry: out}}}
}
