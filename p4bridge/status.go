package p4bridge

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/p4bridge/pipeline"
)

// Status is what a session is doing, for `status` and the admin page.
type Status struct {
	Device   uint64
	DPID     string // its datapath id, in events and records
	Addr     string
	State    string // standby, connecting, arbitrating, backup, a set-up step's name, serving, waiting, stopped
	Since    time.Time
	Error    string // what ended the last session, while State is waiting; why there is no stream, while it is standby
	Pipeline string
	Miss     string
	Policy   string // empty unless it is served
	Events   uint64
	Drops    uint64
	Pending  int    // events that wait for a decision or are being decided
	Missing  string // why the switch is not governed, though it is served; else empty
	Learned  int    // addresses in the L2 table
	Tables   []TableStatus
	Counters map[string]CounterStatus // indirect counters, summed over their index
}

// StateServing is the state of a session that is primary and has set its switch up.
const StateServing = "serving"

// TableStatus is one P4 table. Packets and Bytes are sums over its entries, as
// of the last reading of counters.
type TableStatus struct {
	Name    string
	Entries int
	Size    int64
	CounterStatus
}

// CounterStatus is what a counter counted.
type CounterStatus struct{ Packets, Bytes int64 }

// statusBoard is what others may read of a session.
type statusBoard struct {
	mu sync.Mutex
	s  Status
}

func (b *statusBoard) init(cfg *Config) {
	b.s = Status{Device: cfg.Device, DPID: cfg.DPID.String(), Addr: cfg.Addr, State: "new", Since: time.Now(), Pipeline: cfg.Pipeline.Name, Miss: cfg.Miss.String(), Counters: map[string]CounterStatus{}}
}

func (b *statusBoard) set(state string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.State, b.s.Since, b.s.Error = state, time.Now(), ""
	if err != nil {
		b.s.Error = err.Error()
	}
}

// Status returns what the session is doing. The caller owns it.
func (s *Session) Status() Status {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	st := s.status.s
	st.Tables = append([]TableStatus(nil), st.Tables...)
	st.Counters = maps.Clone(st.Counters)
	if o := s.serves.Load(); o != nil {
		core := o.core.Status()
		st.Policy, st.Events, st.Drops, st.Pending, st.Missing = core.Policy.String(), core.Events, core.Drops, core.Pending, core.Missing
	}
	return st
}

// publish puts what only the owner knows onto the board.
func (o *owner) publish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := &o.s.status
	b.mu.Lock()
	defer b.mu.Unlock()
	old := map[string]CounterStatus{}
	for _, t := range b.s.Tables {
		old[t.Name] = t.CounterStatus
	}
	b.s.Learned = len(o.l2)
	b.s.Tables = b.s.Tables[:0]
	for _, t := range o.tables() {
		b.s.Tables = append(b.s.Tables, TableStatus{Name: t.Name, Entries: o.book.count[t.ID], Size: t.Size, CounterStatus: old[t.Name]})
	}
}

// readCounters sums the counters of entries, and the indirect ones that the
// mapping names, in parts: BMv2 takes no writes while it reads.
func (o *owner) readCounters(ctx context.Context) error {
	sums := map[string]CounterStatus{}
	for _, t := range o.tables() {
		if !t.DirectCounter {
			continue
		}
		var sum CounterStatus
		o.reading.Lock()
		err := o.readTable(ctx, t, true, false, func(e *p4v1.TableEntry, _ *booked) error {
			sum.Packets += e.GetCounterData().GetPacketCount()
			sum.Bytes += e.GetCounterData().GetByteCount()
			return nil
		})
		o.reading.Unlock()
		if err != nil {
			return err
		}
		sums[t.Name] = sum
		o.s.metrics.packets.WithLabelValues(o.s.metrics.device, t.Name).Set(float64(sum.Packets))
		o.s.metrics.bytes.WithLabelValues(o.s.metrics.device, t.Name).Set(float64(sum.Bytes))
	}
	counters := map[string]CounterStatus{}
	for _, ctr := range o.s.cfg.Mapping.Counters {
		sum, err := o.readCounter(ctx, ctr)
		if err != nil {
			return fmt.Errorf("read counter %s: %w", ctr.Name, err)
		}
		counters[ctr.Name] = sum
	}
	b := &o.s.status
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.s.Tables {
		b.s.Tables[i].CounterStatus = sums[b.s.Tables[i].Name]
	}
	b.s.Counters = counters
	return nil
}

// readCounter sums the cells of an indirect counter.
func (o *owner) readCounter(ctx context.Context, ctr *pipeline.Counter) (sum CounterStatus, err error) {
	for from := int64(0); from < max(1, ctr.Size); from += readPart {
		asked := []*p4v1.CounterEntry{{CounterId: ctr.ID}} // all of them
		if ctr.Size > readWhole {
			asked = asked[:0]
			for i := from; i < min(ctr.Size, from+readPart); i++ {
				asked = append(asked, &p4v1.CounterEntry{CounterId: ctr.ID, Index: &p4v1.Index{Index: i}})
			}
		}
		ask := make([]*p4v1.Entity, len(asked))
		for i, e := range asked {
			ask[i] = &p4v1.Entity{Entity: &p4v1.Entity_CounterEntry{CounterEntry: e}}
		}
		entities, err := o.c.read(ctx, ask...)
		if err != nil {
			return sum, err
		}
		for _, e := range entities {
			sum.Packets += e.GetCounterEntry().GetData().GetPacketCount()
			sum.Bytes += e.GetCounterEntry().GetData().GetByteCount()
		}
		if ctr.Size <= readWhole {
			break
		}
	}
	return sum, nil
}
