package p4bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/p4test"
	"switchbridge/p4bridge/pipeline"
)

// metricSum adds up a metric's series that carry the label values, of a
// histogram how much it has seen.
func metricSum(t testing.TB, reg *prometheus.Registry, name string, values ...string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			all := true
			for _, v := range values {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetValue() == v
				}
				all = all && found
			}
			if all {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

const (
	drops  = "switchbridge_packet_in_drops_total"
	events = "switchbridge_events_total"
)

// counted has a bridge count in reg.
func counted(reg *prometheus.Registry) func(*bridge.Config) {
	return func(c *bridge.Config) { c.Metrics = bridge.NewMetrics(reg) }
}

// small returns the program with its flow_exact reduced to n entries.
func small(t testing.TB, n int64) (*pipeline.Pipeline, *mapping.Mapping) {
	return sized(t, map[string]int64{"flow_exact": n})
}

// sized returns the program with tables of other sizes.
func sized(t testing.TB, sizes map[string]int64) (*pipeline.Pipeline, *mapping.Mapping) {
	t.Helper()
	p, info := program(), proto.CloneOf(program().Info)
	for _, tab := range info.GetTables() {
		if n, ok := sizes[tab.GetPreamble().GetAlias()]; ok {
			tab.Size = n
		}
	}
	text, err := prototext.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	p, err = pipeline.Load(text, resize(t, p.Device, sizes))
	if err != nil {
		t.Fatal(err)
	}
	m, err := mapping.Default().Bind(p)
	if err != nil {
		t.Fatal(err)
	}
	return p, m
}

// resize sets the tables' max_size in BMv2's JSON.
func resize(t testing.TB, device []byte, sizes map[string]int64) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(device, &doc); err != nil {
		t.Fatal(err)
	}
	for _, pl := range doc["pipelines"].([]any) {
		for _, tab := range pl.(map[string]any)["tables"].([]any) {
			tab := tab.(map[string]any)
			if n, ok := sizes[strings.TrimPrefix(tab["name"].(string), "switch_ingress.")]; ok {
				tab["max_size"] = n
			}
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDigestOfAnotherLayout(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	reg := prometheus.NewRegistry()
	cfg := fastConfig(r)
	cfg.Bridge = bridgeOf(t, local{exactNormal}, counted(reg))
	s := run(t, cfg, nil)
	serving(t, s)
	bits := func(b ...byte) *p4v1.P4Data { return &p4v1.P4Data{Data: &p4v1.P4Data_Bitstring{Bitstring: b}} }
	wide := make([]*p4v1.P4Data, 10)
	for i := range wide {
		wide[i] = bits(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	}
	for _, d := range []*p4v1.P4Data{
		bits(1),
		{},
		{Data: &p4v1.P4Data_Struct{Struct: &p4v1.P4StructLike{Members: []*p4v1.P4Data{bits(1)}}}},
		{Data: &p4v1.P4Data_Struct{Struct: &p4v1.P4StructLike{Members: wide}}},
		{Data: &p4v1.P4Data_Struct{Struct: &p4v1.P4StructLike{Members: make([]*p4v1.P4Data, 10)}}},
	} {
		if r.Digest("miss_t", d) != 1 {
			t.Fatal("the target kept the digest")
		}
	}
	eventually(t, "five are counted as bad", func() bool {
		return metricSum(t, reg, drops, "p4", "malformed") == 5
	})
	eventually(t, "and acknowledged all the same", func() bool { return r.Stats().Acks == 5 })
	r.Packet(1, udp(1, 2, 1))
	eventually(t, "the next good one gets its rule", func() bool { return len(r.Entries("flow_exact")) == 1 })
}

// A rule that no table can hold is not installed, and the verdict on the packet holds.
func TestDecisionThatFitsNoTable(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		log := new(logbuffer.Buffer)
		cfg := fastConfig(r)
		cfg.Miss, cfg.Logger = MissPunt, log.JSON()
		s := run(t, cfg, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn != nil {
				m := ev.PacketIn.Match
				d.Rules = append(d.Rules, flow.Rule{Priority: 100, Match: m, IdleTimeout: time.Minute, Actions: []flow.Action{
					{Type: flow.SetEthDst, MAC: flow.MAC{2, 0, 0, 0, 0, 9}}, flow.OutputTo(2)}})
				d.HasPacketOut, d.PacketOut = true, []flow.Action{flow.OutputTo(4)}
			}
			return nil
		}})
		serving(t, s)
		frame := udp(1, 2, 7000)
		r.packet(t, 1, frame)
		expect(t, r, 4, frame)
		if !log.Has("0000000000000001", "flow_exact", "set_eth_dst,output") {
			t.Errorf("no log line names switch, table and action:\n%v", log)
		}
		if n := len(entries(t, r, "flow_exact")) + len(entries(t, r, "flow")); n != 0 {
			t.Errorf("%d entries, want none: the rule must not be narrowed or widened to fit", n)
		}
	})
}

func TestFullTable(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		log := new(logbuffer.Buffer)
		cfg := fastConfig(r)
		cfg.Pipeline, cfg.Mapping = small(t, 3)
		cfg.Miss, cfg.Logger = MissPunt, log.JSON()
		s := run(t, cfg, local{toPort(2)})
		serving(t, s)
		for i := range 5 {
			frame := udp(1, 2, uint16(100+i))
			r.packet(t, 1, frame)
			expect(t, r, 2, frame) // the verdict holds, with or without a rule
		}
		if n := len(entries(t, r, "flow_exact")); n != 3 {
			t.Errorf("flow_exact has %d entries, want the 3 it has room for", n)
		}
		if !log.Has("refuses a rule", "table flow_exact", "full", "3 of 3", "l4_src=") {
			t.Errorf("no log line says which table is full, and for which key:\n%v", log)
		}
	})
}

// The switch says full although our count says there is room.
func TestSwitchSaysFull(t *testing.T) {
	for _, spec := range []bool{false, true} {
		r := newSimulated(t, p4test.Options{DeviceID: 1, Specification: spec})
		log := new(logbuffer.Buffer)
		cfg := fastConfig(r)
		cfg.Logger = log.JSON()
		s := run(t, cfg, local{toPort(2)})
		serving(t, s)
		code := codes.Unknown
		if spec {
			code = codes.ResourceExhausted
		}
		r.Inject(p4test.Faults{Write: func(u *p4v1.Update) error {
			if u.GetEntity().GetTableEntry().GetTableId() == program().Table("flow_exact").ID {
				return status.Error(code, "Error when adding match entry to target")
			}
			return nil
		}})
		r.Packet(1, udp(1, 2, 1))
		eventually(t, "the refusal is logged with table, key and decision", func() bool {
			return log.Has("refuses a rule", "flow_exact", "l4_src=1", "Error when adding", `"decision":`)
		})
		r.Inject(p4test.Faults{})
		r.Packet(1, udp(1, 2, 2))
		eventually(t, "the next rule goes in", func() bool { return len(r.Entries("flow_exact")) == 1 })
	}
}

// A function that asked to be told learns which decision's entry was refused, by
// P4 table and key; what it answers to that is not told of when it is refused too.
func TestErrorEvent(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	told := make(chan flow.SwitchError, 16)
	var asked, refusals atomic.Uint32
	cfg := fastConfig(r)
	cfg.Pipeline, cfg.Mapping = small(t, 1)
	cfg.Bridge = bridgeOf(t, local{func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			asked.Store(ev.XID)
		}
		if ev.Error != nil {
			told <- *ev.Error
			d.Rules = append(d.Rules, *flowRule(9))
		}
		return toPort(2)(ctx, ev, d)
	}}, func(b *bridge.Config) { b.Subscribe = map[flow.EventType]bool{flow.EventError: true} })
	s := run(t, cfg, nil)
	serving(t, s)
	r.Inject(p4test.Faults{Write: func(u *p4v1.Update) error {
		if u.GetEntity().GetTableEntry().GetTableId() == program().Table("flow_exact").ID {
			refusals.Add(1)
			return status.Error(codes.Internal, "out of luck")
		}
		return nil
	}})
	r.Packet(1, udp(1, 2, 1))
	e := <-told
	if e.XID != asked.Load() || e.Type != 5 || e.Code != 0 || !strings.Contains(e.Name, "INSERT of an entry of table flow_exact: out of luck") ||
		!strings.Contains(e.Rule, "table flow_exact: in_port=0x01") {
		t.Errorf("%+v, want the refusal of decision %d by P4 table and key", e, asked.Load())
	}
	eventually(t, "the answer is refused too", func() bool { return refusals.Load() == 2 })
	r.Inject(p4test.Faults{})
	r.Packet(1, udp(1, 2, 2))
	eventually(t, "the table's one entry", func() bool { return len(r.Entries("flow_exact")) == 1 })
	r.Packet(1, udp(1, 2, 3))
	if e = <-told; e.Code != 1 || !strings.Contains(e.Name, "flow_exact") || e.XID != asked.Load() {
		t.Errorf("%+v, want a full table", e)
	}
	time.Sleep(50 * time.Millisecond) // there is no event for what must not happen
	if len(told) != 0 {
		t.Errorf("told of the refusal of its own answer: %+v", <-told)
	}
}

func TestDuplicateEntry(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	s := run(t, fastConfig(r), local{toPort(2)})
	serving(t, s)
	var modified atomic.Int32
	r.Inject(p4test.Faults{Write: func(u *p4v1.Update) error {
		if u.GetEntity().GetTableEntry().GetTableId() != program().Table("flow_exact").ID {
			return nil
		}
		if u.GetType() == p4v1.Update_INSERT {
			return status.Error(codes.AlreadyExists, "Match entry exists, use MODIFY if you wish to change action")
		}
		modified.Add(1)
		return nil
	}})
	r.Packet(1, udp(1, 2, 1))
	eventually(t, "INSERT becomes MODIFY", func() bool { return modified.Load() > 0 })
}

// The switch goes down in the middle of a batch, and comes back empty.
func TestRestartInTheMiddleOfABatch(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	s := run(t, fastConfig(r), local{toPort(2)})
	serving(t, s)
	r.Inject(p4test.Faults{AfterUpdates: 3})
	for i := range 50 {
		r.Packet(1, udp(1, 2, uint16(i+1)))
	}
	eventually(t, "every flow has its rule again", func() bool {
		for i := range 50 {
			r.Packet(1, udp(1, 2, uint16(i+1)))
		}
		return len(r.Entries("flow_exact")) == 50
	})
	if p := r.Stats().Pushes; p != 2 {
		t.Errorf("%d pipeline pushes, want 2: one at the start, one after the restart", p)
	}
}

// Somebody empties the tables behind our back.
func TestTablesLost(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	proactive := flow.Rule{Priority: 200, Match: flow.Match{}, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}
	proactive.Match.SetEthType(0x88cc)
	cfg := fastConfig(r)
	cfg.Settle = time.Millisecond
	s := run(t, cfg, local{func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.Type == flow.EventSwitchConnected {
			d.Rules = append(d.Rules, proactive)
			return nil
		}
		return toPort(2)(ctx, ev, d)
	}})
	serving(t, s)
	r.Packet(1, udp(1, 2, 1))
	eventually(t, "an entry", func() bool { return len(r.Entries("flow_exact")) == 1 })
	r.Wipe()
	eventually(t, "the reactive rule is back by a miss, the proactive one by itself", func() bool {
		r.Packet(1, udp(1, 2, 1))
		return len(r.Entries("flow_exact")) == 1 && len(r.Entries("flow")) == 1
	})
}

// A backup is promoted when the primary goes: by BMv2 itself, and with a new id
// where the switch is left without a primary.
func TestPromotion(t *testing.T) {
	for name, spec := range map[string]bool{"bmv2": false, "specification": true} {
		t.Run(name, func(t *testing.T) {
			r := newSimulated(t, p4test.Options{DeviceID: 1, Specification: spec})
			first, stop := runUntil(t, fastConfig(r), local{toPort(2)})
			serving(t, first)
			cfg := fastConfig(r)
			cfg.Election = ElectionID{Low: 5}
			second := run(t, cfg, local{toPort(3)})
			eventually(t, "the second is backup", func() bool { return second.Status().State == "backup" })
			stop()
			serving(t, second)
			r.Packet(1, udp(1, 2, 1))
			eventually(t, "it writes", func() bool { return len(r.Entries("flow_exact")) == 1 })
		})
	}
}

// Demoted in the middle of a decision: what comes of it is not written.
func TestDemotionStopsWriting(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	first := run(t, fastConfig(r), flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			asked <- struct{}{}
			<-answer
		}
		return toPort(2)(ctx, ev, d)
	}))
	serving(t, first)
	r.Packet(1, udp(1, 2, 1))
	<-asked
	cfg := fastConfig(r)
	cfg.Election = ElectionID{Low: 99}
	second := run(t, cfg, local{func(context.Context, *flow.Event, *flow.Decision) error { return nil }})
	serving(t, second)
	eventually(t, "the first is backup", func() bool { return first.Status().State == "backup" })
	close(answer)
	time.Sleep(50 * time.Millisecond) // there is no event for what must not happen
	if n := len(r.Entries("flow_exact")); n != 0 {
		t.Errorf("%d entries written by a gateway that is no longer primary", n)
	}
}

func TestSwitchAnswersUnknown(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	log := new(logbuffer.Buffer)
	cfg := fastConfig(r)
	cfg.Logger = log.JSON()
	s := run(t, cfg, local{toPort(2)})
	serving(t, s)
	r.Inject(p4test.Faults{WriteStatus: status.Error(codes.Unknown, "")})
	r.Packet(1, udp(1, 2, 1))
	eventually(t, "it is logged with table and key", func() bool { return log.Has("refuses a rule", "flow_exact", "l4_src=", "no reason") })
	if st := s.Status().State; st != "serving" {
		t.Errorf("state %s, want serving: one refusal is no broken session", st)
	}
	r.Inject(p4test.Faults{})
	eventually(t, "the rule goes in with a later miss", func() bool {
		r.Packet(1, udp(1, 2, 1))
		return len(r.Entries("flow_exact")) == 1
	})
}

// The switch stops answering, with its connections up.
func TestSwitchStopsAnswering(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	cfg := fastConfig(r)
	cfg.CallTimeout, cfg.DialTimeout, cfg.ProbeEvery = 200*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
	s := run(t, cfg, local{toPort(2)})
	serving(t, s)
	hang := make(chan struct{})
	r.Inject(p4test.Faults{Hang: hang})
	eventually(t, "the session gives up", func() bool {
		st := s.Status()
		return st.State == "waiting" && (strings.Contains(st.Error, "DeadlineExceeded") || strings.Contains(st.Error, "no answer"))
	})
	r.Inject(p4test.Faults{})
	close(hang)
	serving(t, s)
	r.Packet(1, udp(1, 2, 1))
	eventually(t, "and serves again", func() bool { return len(r.Entries("flow_exact")) == 1 })
}

func TestOneElectionIDTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		first := run(t, fastConfig(r), local{toPort(2)})
		serving(t, first)
		log := new(logbuffer.Buffer)
		cfg := fastConfig(r)
		cfg.Logger = log.JSON()
		second := run(t, cfg, local{toPort(3)})
		eventually(t, "the second says what is wrong", func() bool {
			return strings.Contains(second.Status().Error, "another gateway is connected with our election id 0:10")
		})
		if st := first.Status().State; st != "serving" {
			t.Errorf("the first is %s, want serving", st)
		}
	})
}

// A switch sends far more digests than its function decides, which has stopped to
// answer about them: it holds half of the workers and no more than its queue, what is
// beyond is dropped, counted and logged once in a while, and a quiet switch of the
// same gateway loses nothing and waits for nothing. When the function answers again,
// so is the flooded one served.
func TestDigestStormBesideAQuietSwitch(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		const workers, queue = 8, 64
		quiet := newSimulated(t, p4test.Options{DeviceID: 2})
		reg := prometheus.NewRegistry()
		gate := make(chan struct{})
		var under, most atomic.Int32
		decider := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.Type == flow.EventPacketIn && ev.Switch.DPID == 1 {
				n := under.Add(1)
				defer under.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				<-gate
			}
			return toPort(2)(ctx, ev, d)
		})
		var logs logbuffer.Buffer
		log := slog.New(slog.NewTextHandler(&logs, nil))
		flooded, other := fastConfig(r), fastConfig(quiet)
		flooded.Bridge = bridgeOf(t, decider, func(b *bridge.Config) {
			counted(reg)(b)
			b.QueuePerSwitch, b.Workers, b.Logger = queue, workers, log
		})
		flooded.Logger, other.Logger, other.Bridge, other.Device = log, log, flooded.Bridge, 2
		s, calm := run(t, flooded, nil), run(t, other, nil)
		serving(t, s)
		serving(t, calm)
		end, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for i := uint16(0); ; i++ {
				select {
				case <-end:
					return
				default:
					r.packet(t, 1, udp(1, 2, i))
				}
				if i%50 == 0 { // BMv2 has its share of two cores, too
					time.Sleep(time.Millisecond)
				}
			}
		}()
		lost := func() float64 {
			return metricSum(t, reg, drops, "p4", "not_read") + metricSum(t, reg, drops, "p4", "queue_full")
		}
		eventually(t, "the flood has all that it may have", func() bool { return under.Load() == workers/2 && lost() > 0 })
		const packets = 30
		for i := range packets {
			quiet.Packet(1, udp(3, 4, uint16(i)))
			eventually(t, "the quiet switch gets its rule", func() bool { return len(quiet.Entries("flow_exact")) == i+1 })
		}
		eventually(t, "the flood is ten times what there is room for", func() bool { return lost() > 10*queue })
		close(end)
		<-ended
		if n := most.Load(); n != workers/2 {
			t.Errorf("the flood had %d questions under way, want at most half of %d", n, workers)
		}
		if st := calm.Status(); st.Drops != 0 || st.Events != packets {
			t.Errorf("the quiet switch has %d events and %d drops, want %d and none", st.Events, st.Drops, packets)
		}
		if st := s.Status(); st.Pending > queue+workers/2 {
			t.Errorf("%d events of the flood wait", st.Pending)
		}
		if n := len(logs.String()); n > 20_000 {
			t.Errorf("%d bytes of log:\n%.2000s", n, logs.String())
		}
		close(gate)
		eventually(t, "the flooded switch is served again", func() bool {
			r.packet(t, 2, udp(7, 8, 9))
			return metricSum(t, reg, events, "p4", "packet_in") > queue && under.Load() == 0
		})
	})
}

// As many events of a switch wait as limits.queue says, whether the function is in
// this process or away, and a reload changes it.
func TestQueueIsOfTheLimits(t *testing.T) {
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
			r := newSimulated(t, p4test.Options{DeviceID: 1})
			reg := prometheus.NewRegistry()
			gate := make(chan struct{})
			wait := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
				if ev.Type == flow.EventPacketIn {
					<-gate
				}
				return toPort(2)(ctx, ev, d)
			})
			var decider flow.Decider = wait
			if !remote {
				decider = local{wait}
			}
			cfg := fastConfig(r)
			var live bridge.Live
			cfg.Bridge = bridgeOf(t, decider, func(b *bridge.Config) {
				counted(reg)(b)
				b.QueuePerSwitch, b.Workers = 64, 2 // one of them for a switch
				live = b.Live()
			})
			serving(t, run(t, cfg, nil))
			lost := func() int {
				return int(metricSum(t, reg, drops, "p4", "not_read") + metricSum(t, reg, drops, "p4", "queue_full"))
			}
			port := uint16(0)
			sent := 0
			for _, limit := range []int{64, 7, 300} {
				live.QueuePerSwitch = limit
				if err := cfg.Bridge.Update(live); err != nil {
					t.Fatal(err)
				}
				before, decided := lost(), len(r.Entries("flow_exact"))
				const packets = 1000
				for range packets {
					port++
					r.Packet(1, udp(1, 2, port))
				}
				sent += packets
				// One is being decided. In place all others wait before the bridge; else they
				// wait in it, and those on the way there are dropped by it.
				want := packets - limit - 1
				eventually(t, fmt.Sprintf("%d of %d are dropped with room for %d, not %d", want, packets, limit, lost()-before), func() bool { return lost()-before == want })
				for range packets - want {
					gate <- struct{}{}
				}
				eventually(t, "the rest is decided", func() bool { return len(r.Entries("flow_exact")) == decided+limit+1 })
			}
		})
	}
}

// A switch sends a million digests a second: the gateway steps over what it has
// no room for, counts it, and grows by no more than its queues; the flooded
// switch's own rules go on being written, and another's come as ever.
func TestMillionDigestsASecond(t *testing.T) {
	flooded, calm := newSimulated(t, p4test.Options{DeviceID: 1}), newSimulated(t, p4test.Options{DeviceID: 2})
	reg := prometheus.NewRegistry()
	cfg := fastConfig(flooded)
	cfg.Bridge = bridgeOf(t, local{toPort(2)}, counted(reg))
	serving(t, run(t, cfg, nil))
	other := fastConfig(calm)
	other.Device = 2
	serving(t, run(t, other, local{toPort(2)}))
	samples := make([]*p4v1.P4Data, 2000)
	for i := range samples {
		samples[i] = p4test.Sample(binding().Digest.P4, 1, udp(1, 2, uint16(i)))
	}

	const total = 1_000_000
	type result struct {
		sent int
		took time.Duration
		err  error
	}
	flood := make(chan result, 1)
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	go func() {
		var r result
		r.sent, r.took, r.err = flooded.Flood("miss_t", samples, 1000, 1e6, total)
		flood <- r
	}()
	var r result
	var took []time.Duration
	grown := int64(0)
	for i, done := 0, false; !done; i++ {
		start := time.Now()
		calm.Packet(1, udp(3, 4, uint16(i+1)))
		eventually(t, "the calm switch gets its rule", func() bool { return len(calm.Entries("flow_exact")) == i+1 })
		took = append(took, time.Since(start))
		runtime.ReadMemStats(&during)
		grown = max(grown, int64(during.HeapAlloc)-int64(before.HeapAlloc))
		select {
		case r = <-flood:
			done = true
		default:
		}
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	slices.Sort(took)
	t.Logf("%d digests in %v, %d on the way; heap grown by up to %d MiB; calm switch: median %v, slowest of %d %v",
		total, r.took.Round(time.Millisecond), r.sent, grown>>20, took[len(took)/2], len(took), took[len(took)-1])
	if grown > 128<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	seen := func() float64 { return metricSum(t, reg, events, "p4", "packet_in") }
	eventually(t, "every digest that was sent is read, or dropped and counted", func() bool {
		return seen()+metricSum(t, reg, drops, "p4", "not_read") == float64(r.sent) && seen() > 1000
	})
	flooded.Packet(2, udp(7, 8, 9))
	eventually(t, "the flooded switch is served as before", func() bool { return hasPort(flooded.Entries("flow_exact"), 2) })
}

// hasPort reports whether an entry of flow_exact is for packets from a port.
func hasPort(entries []*p4v1.TableEntry, port byte) bool {
	return slices.ContainsFunc(entries, func(e *p4v1.TableEntry) bool {
		return bytes.Equal(e.GetMatch()[0].GetExact().GetValue(), []byte{port})
	})
}

// A function that does not answer costs the flows that need it, and no session.
func TestNoDecision(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	reg := prometheus.NewRegistry()
	cfg := fastConfig(r)
	cfg.Miss = MissPunt
	var broken atomic.Bool
	cfg.Bridge = bridgeOf(t, local{func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if broken.Load() {
			return flow.Errorf(flow.Unavailable, "%w", errors.New("503"))
		}
		return toPort(2)(ctx, ev, d)
	}}, counted(reg))
	s := run(t, cfg, nil)
	serving(t, s)
	broken.Store(true)
	frame := udp(1, 2, 1)
	r.Packet(1, frame)
	quiet(t, r, frame, 100*time.Millisecond)
	if n := metricSum(t, reg, drops, "p4", "unavailable"); n != 1 {
		t.Errorf("%v packets counted as without an answer, want 1", n)
	}
	broken.Store(false)
	r.Packet(1, frame)
	expect(t, r, 2, frame)
}
