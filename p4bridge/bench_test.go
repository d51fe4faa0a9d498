package p4bridge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/p4test"
)

// onEach runs a benchmark against p4test, and against BMv2 where it is found.
func onEach(b *testing.B, f func(b *testing.B, r rig)) {
	b.Run("p4test", func(b *testing.B) { f(b, newSimulated(b, p4test.Options{DeviceID: 1})) })
	b.Run("bmv2", func(b *testing.B) { f(b, newReal(b)) })
}

// silent is fastConfig without a log.
func silent(r rig) Config {
	c := fastConfig(r)
	c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	c.ProbeEvery = time.Hour
	return c
}

// quantiles reports the median and the 99th percentile.
func quantiles(b *testing.B, took []time.Duration, name string) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), name+"-p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), name+"-p99-us")
	b.ReportMetric(0, "ns/op")
}

// flowRule is rule i of 65536.
func flowRule(i int) *flow.Rule {
	m := flow.ParseFrame(udp(byte(1+i>>16), 2, uint16(i)), 1).Keep(binding().EventFields)
	return &flow.Rule{Priority: 100, Match: m, Actions: []flow.Action{flow.OutputTo(2)}}
}

// BenchmarkWrite compares entries written through a session's own path (rule,
// mapping, checks, book, Write) with a bare loop of the generated client that
// sends the same bytes, made beforehand. The two take turns on one connection
// to one switch, a block each of the same entries into tables of the same
// fill, so that a slow moment of the machine meets both.
func BenchmarkWrite(b *testing.B) {
	for _, batch := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			onEach(b, func(b *testing.B, r rig) { compareWrites(b, r, batch) })
		})
	}
}

// compareWrites writes a block of entries both ways for each iteration.
func compareWrites(b *testing.B, r rig, batch int) {
	const block = 256
	o, ctx := bareOwner(b, r)
	rules, updates := make([]*flow.Rule, block), make([]*p4v1.Update, block)
	for i := range rules {
		rules[i] = flowRule(i)
		e, _, err := binding().Entry(rules[i], nil)
		if err != nil {
			b.Fatal(err)
		}
		e.ControllerMetadata = gatewayID.Cookie(flow.PolicyVersion{}, uint32(i+1))
		updates[i] = tableUpdate(p4v1.Update_INSERT, e)
	}
	var took [2][]time.Duration // of a Write: bare, bridge
	var ratios []float64        // of each round: what a block took that way, by medians
	bare := func(at int) error {
		_, err := o.c.rpc.Write(ctx, &p4v1.WriteRequest{DeviceId: 1, ElectionId: o.c.electionID(), Updates: updates[at : at+batch]})
		return err
	}
	changes := make([]bridge.Change, batch)
	ours := func(at int) error {
		for i, rule := range rules[at : at+batch] {
			changes[i].Rule = rule
		}
		if err := o.Write(1, changes, nil, false); err != nil {
			return err
		}
		return o.flush(ctx)
	}
	for i := 0; b.Loop(); i++ {
		for turn := range 2 {
			way := (i + turn) % 2 // neither is always the first
			write := [...]func(int) error{bare, ours}[way]
			for at := 0; at+batch <= block; at += batch {
				start := time.Now()
				if err := write(at); err != nil {
					b.Fatal(err)
				}
				took[way] = append(took[way], time.Since(start))
			}
			wipe(b, o, ctx)
		}
		median := func(way int) float64 {
			last := slices.Sorted(slices.Values(took[way][len(took[way])-block/batch:]))
			return float64(last[len(last)/2])
		}
		ratios = append(ratios, median(0)/median(1))
	}
	var rate [2]float64
	for way, name := range []string{"bare", "bridge"} {
		var sum time.Duration
		for _, d := range took[way] {
			sum += d
		}
		rate[way] = float64(len(took[way])*batch) / sum.Seconds()
		b.ReportMetric(rate[way], name+"-entries/s")
		quantiles(b, took[way], name)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "bridge/bare") // rates: that of the middle round, by each round's middle Writes
	b.ReportMetric(ratios[len(ratios)/4], "bridge/bare-lower-quarter")
}

// bareOwner brings a switch to where a session would serve, and hands the
// owner over.
func bareOwner(b testing.TB, r rig) (*owner, context.Context) {
	b.Helper()
	cfg := silent(r)
	cfg.Bridge = bridgeOf(b, local{exactNormal}, nil)
	s, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	c, err := s.connect(context.Background(), s.cfg.Election, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.close)
	<-c.arbitration
	t := c.term.Load()
	if t == nil {
		b.Fatal("not primary")
	}
	o := newOwner(s, c, t.ctx)
	b.Cleanup(o.end)
	if err := o.pushPipeline(t.ctx); err != nil {
		b.Fatal(err)
	}
	return o, t.ctx
}

// wipe empties flow_exact.
func wipe(b *testing.B, o *owner, ctx context.Context) {
	b.Helper()
	if err := o.readTables(ctx); err != nil {
		b.Fatal(err)
	}
	r := new(request)
	for key, e := range o.book.entries {
		r.changes = append(r.changes, &change{remove: true, key: key, meant: exactly(e.cookie), priority: anyPriority})
	}
	o.queue = append(o.queue, r)
	if err := o.flush(ctx); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFirstPacket is the time from a packet on a host's interface to its
// entry being written (digest), or to the packet leaving the switch (punt), and
// of the second packet of the flow, which the switch forwards by itself.
func BenchmarkFirstPacket(b *testing.B) {
	for _, miss := range []Miss{MissDigest, MissPunt} {
		b.Run(miss.String(), func(b *testing.B) {
			onEach(b, func(b *testing.B, r rig) {
				cfg := silent(r)
				cfg.Miss = miss
				written := make(chan time.Time, 1)
				cfg.afterFlush = func() {
					select {
					case written <- time.Now():
					default:
					}
				}
				s := run(b, cfg, local{toPort(2)})
				serving(b, s)
				var entry, first, second []time.Duration
				for i := 0; b.Loop(); i++ {
					frame := udp(byte(1+i>>16), 2, uint16(i))
					select {
					case <-written:
					default:
					}
					start := time.Now()
					r.packet(b, 1, frame)
					entry = append(entry, (<-written).Sub(start))
					if miss == MissPunt {
						expect(b, r, 2, frame)
						first = append(first, time.Since(start))
					}
					start = time.Now()
					r.packet(b, 1, frame)
					expect(b, r, 2, frame)
					second = append(second, time.Since(start))
				}
				if first != nil {
					quantiles(b, first, "first")
				}
				quantiles(b, entry, "entry")
				quantiles(b, second, "second")
			})
		})
	}
}

// BenchmarkDigests offers new flows at a rate, and counts what was decided,
// dropped by the gateway, and lost in the switch.
func BenchmarkDigests(b *testing.B) {
	for _, rate := range []int{1000, 4000, 16000} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) {
			onEach(b, func(b *testing.B, r rig) {
				reg := prometheus.NewRegistry()
				cfg := silent(r)
				cfg.Metrics, cfg.Bridge = NewMetrics(reg), bridgeOf(b, local{toPort(2)}, counted(reg))
				serving(b, run(b, cfg, nil))
				start, sent := time.Now(), 0
				for b.Loop() {
					for sent >= int(time.Since(start).Seconds()*float64(rate)) {
						time.Sleep(100 * time.Microsecond)
					}
					r.packet(b, 1, udp(byte(1+sent>>16), 2, uint16(sent)))
					sent++
				}
				count := func(name string, labels ...string) float64 { return metricSum(b, reg, name, labels...) }
				for decided := -1.0; ; time.Sleep(100 * time.Millisecond) { // until what waits is through
					now := count("switchbridge_stage_seconds", "p4", "total")
					if now == decided {
						break
					}
					decided = now
				}
				b.ReportMetric(count("switchbridge_p4_updates_total", "flow_exact", "written")/float64(sent)*100, "%written")
				b.ReportMetric(count(drops, "not_read")/float64(sent)*100, "%dropped-by-gateway")
				b.ReportMetric((1-(count(events, "packet_in")+count(drops, "not_read"))/float64(sent))*100, "%lost-in-switch")
				b.ReportMetric(0, "ns/op")
			})
		})
	}
}

// BenchmarkManySwitches has 64 switches, of which one floods, and measures
// another: calm and beside the flood.
func BenchmarkManySwitches(b *testing.B) {
	const switches = 64
	var rigs []*simulated
	for range switches {
		r := newSimulated(b, p4test.Options{DeviceID: 1})
		rigs = append(rigs, r)
		serving(b, run(b, silent(r), local{toPort(2)}))
	}
	measure := func(b *testing.B, base int) {
		var took []time.Duration
		for i := 0; b.Loop(); i++ {
			frame := udp(byte(base), 2, uint16(i))
			start := time.Now()
			n := rigs[1].Stats().Updates
			rigs[1].Packet(1, frame)
			for rigs[1].Stats().Updates == n {
				runtime.Gosched()
			}
			took = append(took, time.Since(start))
		}
		quantiles(b, took, "entry")
	}
	b.Run("calm", func(b *testing.B) { measure(b, 1) })
	b.Run("beside-a-flood", func(b *testing.B) {
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					rigs[0].Packet(1, udp(byte(i>>16), 3, uint16(i)))
				}
			}
		}()
		measure(b, 4)
		close(stop)
		<-done
	})
}

// BenchmarkSessionMemory is what 64 sessions take, each with the target it
// speaks to (both ends of gRPC are in this process) and then without: what a
// bare client with its stream takes beside the same targets is taken off.
func BenchmarkSessionMemory(b *testing.B) {
	const switches = 64
	inUse := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what the first freed in pools
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	var rigs []*simulated
	for range switches {
		rigs = append(rigs, newSimulated(b, p4test.Options{DeviceID: 1}))
	}
	before := inUse()
	for _, r := range rigs {
		newBare(b, r, 1).arbitration(b)
	}
	bare := inUse()
	for _, r := range rigs {
		serving(b, run(b, silent(r), local{toPort(2)}))
	}
	both := inUse()
	const flows = 1000
	for i := range flows {
		for _, r := range rigs {
			r.Packet(1, udp(1, 2, uint16(i+1)))
		}
		if i%100 == 99 {
			for _, r := range rigs {
				eventually(b, "each has its entries", func() bool { return r.Stats().Updates >= i })
			}
		}
	}
	for b.Loop() {
		runtime.Gosched() // there is nothing to repeat
	}
	per := func(bytes float64) float64 { return bytes / switches / 1024 }
	b.ReportMetric(per(bare-before), "KiB/bare-client+target's-end")
	b.ReportMetric(per(both-bare), "KiB/session+target's-end")
	b.ReportMetric(per(inUse()-both), "KiB/1000-flows+target's-entries")
	b.ReportMetric(0, "ns/op")
}
