package embedded_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/instance/embedded"
	"switchbridge/flow"
	"switchbridge/functiontest/conformance"
	"switchbridge/internal/built"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
)

func run(t testing.TB, p *policy.Policy) *embedded.Function {
	t.Helper()
	f, err := embedded.New(embedded.Options{
		Wasm: built.Guest(t, "switchbridge/cmd/function-wasm", true), Policy: p, CacheDir: built.CacheDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	start(t, f)
	return f
}

// start runs f until the test ends.
func start(t testing.TB, f *embedded.Function) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-f.Ready()
}

// packet is one of the suite's, which the policy allows with a rule.
func packet() *flow.Event {
	for _, row := range conformance.Cases() {
		if row.Name == "OpenFlow 1.0/allowed" {
			return row.Event
		}
	}
	panic("the suite has no packet that is allowed")
}

func TestGuestOfTheBinary(t *testing.T) {
	f, err := embedded.New(embedded.Options{Policy: conformance.Policy(), CacheDir: built.CacheDir(t)})
	if built := embedded.Built(); built != nil {
		if !errors.Is(built, embedded.ErrNotBuilt) || !errors.Is(err, embedded.ErrNotBuilt) {
			t.Error(built, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	start(t, f)
	var d flow.Decision
	if err := f.Decide(t.Context(), packet(), &d); err != nil || d.Verdict != flow.Allow {
		t.Fatal(d, err)
	}
}

func TestSetPolicyWhileEventsAreDecided(t *testing.T) {
	next := func(serial uint64) *policy.Policy {
		p := conformance.Policy()
		p.Serial = serial
		return p
	}
	f := run(t, next(1))
	var stop atomic.Bool
	var callers sync.WaitGroup
	for range 2 {
		callers.Go(func() {
			last := uint64(0)
			for !stop.Load() {
				var d flow.Decision
				if err := f.Decide(context.Background(), packet(), &d); err != nil || d.Policy.Serial < last {
					t.Errorf("serial %d after %d, %v", d.Policy.Serial, last, err)
					return
				}
				last = d.Policy.Serial
			}
		})
	}
	for serial := uint64(2); serial < 8; serial++ {
		if err := f.SetPolicy(t.Context(), next(serial)); err != nil {
			t.Error(err)
		}
	}
	bad := next(9)
	bad.Install.Priority = 0
	if err := f.SetPolicy(t.Context(), bad); err == nil {
		t.Error("a policy that isn't valid was taken")
	}
	stop.Store(true)
	callers.Wait()
	if f.Version() != next(7).Version() {
		t.Errorf("version %v", f.Version())
	}
	if s := f.Stats(); s.Traps+s.Deadlines+s.BadAnswers+s.Grew > 0 {
		t.Errorf("%+v", s)
	}
}

// large is a policy of n blocked addresses.
func large(n int) *policy.Policy {
	list := blocklist.List{Name: "large"}
	for i := range n {
		v := uint32(i)*35459 + 1<<24
		list.Prefixes = append(list.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), 32))
	}
	return &policy.Policy{Serial: 1, Install: policy.DefaultInstall,
		Chain: []policy.Source{&blocklist.Config{Lists: []blocklist.List{list}}, &forward.Config{Mode: policy.Normal}}}
}

func TestLargePolicy(t *testing.T) {
	f := run(t, large(120430))
	for range 50 {
		var d flow.Decision
		if err := f.Decide(t.Context(), packet(), &d); err != nil || d.Verdict != flow.Allow {
			t.Fatal(d, err)
		}
	}
	// What one decision costs must not grow the instance's memory, or each would need a new one.
	if s := f.Stats(); s.Grew > 0 || s.Created != 1 {
		t.Errorf("%+v", s)
	}
}

// benchmark also reports the median and the 99th percentile of the last calls, which include the
// clock's some 50 ns.
func benchmark(b *testing.B, d flow.Decider) { benchmarkOf(b, d, packet()) }

func benchmarkOf(b *testing.B, d flow.Decider, ev *flow.Event) {
	var decision flow.Decision
	took := make([]time.Duration, 0, 1<<16)
	for b.Loop() {
		if len(took) == cap(took) {
			took = took[:0]
		}
		began := time.Now()
		decision.Reset()
		if err := d.Decide(b.Context(), ev, &decision); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
}

// ofBinary runs the guest of the binary until the benchmark ends, and waits for its lean part.
func ofBinary(b testing.TB, p *policy.Policy) *embedded.Function {
	f, err := embedded.New(embedded.Options{Policy: p, CacheDir: built.CacheDir(b)})
	if errors.Is(err, embedded.ErrNotBuilt) {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	start(b, f)
	for !f.Stats().Lean {
		time.Sleep(time.Millisecond)
	}
	return f
}

// BenchmarkDecide is one decision after the other on one core: the controller compiled in, and in
// a pristine instance.
func BenchmarkDecide(b *testing.B) {
	b.Run("native", func(b *testing.B) { benchmark(b, controller.New(conformance.BenchmarkPolicy())) })
	f := ofBinary(b, conformance.BenchmarkPolicy())
	b.Run("pristine", func(b *testing.B) {
		before := f.Stats()
		benchmark(b, f)
		after := f.Stats()
		b.ReportMetric(float64(after.BytesRestored-before.BytesRestored)/float64(after.Events-before.Events), "B-restored/op")
	})
	b.Run("pristine, all cores", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			ev := packet()
			var decision flow.Decision
			for pb.Next() {
				decision.Reset()
				if err := f.Decide(context.Background(), ev, &decision); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkStart is from nothing to the first decision.
func BenchmarkStart(b *testing.B) {
	if err := embedded.Built(); err != nil {
		b.Skip(err)
	}
	start := func(b *testing.B, dir string, first bool) {
		f, err := embedded.New(embedded.Options{Policy: conformance.Policy(), CacheDir: dir})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		var d flow.Decision
		if err := f.Decide(ctx, packet(), &d); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		for first && !f.Stats().Lean { // then its image is kept
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-done
		b.StartTimer()
	}
	b.Run("warm cache", func(b *testing.B) {
		dir := b.TempDir()
		start(b, dir, true)
		for b.Loop() {
			start(b, dir, false)
		}
	})
	b.Run("cold cache", func(b *testing.B) {
		for b.Loop() {
			dir, err := os.MkdirTemp(b.TempDir(), "")
			if err != nil {
				b.Fatal(err)
			}
			start(b, dir, false)
		}
	})
}

// BenchmarkSetPolicy replaces a policy of 120,430 addresses while events are decided, and reports
// the longest that one of them took.
func BenchmarkSetPolicy(b *testing.B) {
	p := large(120430)
	f := ofBinary(b, p)
	var stop atomic.Bool
	var longest atomic.Int64
	var caller sync.WaitGroup
	caller.Go(func() {
		var d flow.Decision
		for !stop.Load() {
			began := time.Now()
			if err := f.Decide(context.Background(), packet(), &d); err != nil {
				b.Error(err)
			}
			longest.Store(max(longest.Load(), int64(time.Since(began))))
			time.Sleep(100 * time.Microsecond)
		}
	})
	for b.Loop() {
		if err := f.SetPolicy(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	stop.Store(true)
	caller.Wait()
	b.ReportMetric(float64(longest.Load())/1000, "longest-µs")
}
