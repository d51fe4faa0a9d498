package stats

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Quantiles are compared with those of the sorted values themselves.
func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func() time.Duration{
		"uniform":     func() time.Duration { return time.Duration(r.Int64N(1e6)) },
		"exponential": func() time.Duration { return time.Duration(r.ExpFloat64() * 1e5) },
		"wide":        func() time.Duration { return time.Duration(math.Exp(r.Float64() * 40)) },
		"constant":    func() time.Duration { return 1234567 },
		"tiny":        func() time.Duration { return time.Duration(r.Int64N(100)) },
	}
	for name, draw := range shapes {
		t.Run(name, func(t *testing.T) {
			var h, first, second Histogram
			values := make([]time.Duration, 10_001)
			for i := range values {
				values[i] = draw()
				h.Record(values[i])
				if i%3 == 0 {
					first.Record(values[i])
				} else {
					second.Record(values[i])
				}
			}
			slices.Sort(values)
			first.Merge(&second)
			for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 1} {
				want := values[max(0, int(math.Ceil(q*float64(len(values))))-1)]
				got := h.Quantile(q)
				if diff := math.Abs(float64(got - want)); diff > 0.008*float64(want) {
					t.Errorf("quantile %v is %v, want %v", q, got, want)
				}
				if merged := first.Quantile(q); merged != got {
					t.Errorf("quantile %v merged is %v, want %v", q, merged, got)
				}
			}
			if l := h.Latency(); l.Min != values[0] || l.Max != values[len(values)-1] || l.Count != uint64(len(values)) {
				t.Errorf("%+v", l)
			}
		})
	}
}

func TestHistogramExtremes(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Latency() != (Latency{}) {
		t.Error("an empty histogram is not zero")
	}
	h.Record(-5)
	h.Record(math.MaxInt64)
	if h.Quantile(0) != 0 || h.Quantile(1) != math.MaxInt64 {
		t.Errorf("%v to %v", h.Quantile(0), h.Quantile(1))
	}
	for _, d := range []time.Duration{0, 1, 127, 128, 129, 255, 256, 1 << 40, math.MaxInt64} {
		if v := valueOf(bucketOf(d)); math.Abs(float64(v-d)) > 0.008*float64(d) {
			t.Errorf("%d comes back as %d", d, v)
		}
	}
}

func TestCDF(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{10, 10, 20, 100} {
		h.Record(d)
	}
	var at []time.Duration
	var shares []float64
	h.CDF(func(d time.Duration, share float64) { at, shares = append(at, d), append(shares, share) })
	if !slices.Equal(at, []time.Duration{10, 20, 100}) || !slices.Equal(shares, []float64{0.5, 0.75, 1}) {
		t.Errorf("%v %v", at, shares)
	}
}

func TestLatencyJSON(t *testing.T) {
	var h Histogram
	h.Record(1500 * time.Nanosecond)
	b, err := json.Marshal(h.Latency())
	want := `{"count":1,"min_us":1.5,"p10_us":1.5,"p50_us":1.5,"p90_us":1.5,"p99_us":1.5,"max_us":1.5,"mean_us":1.5,"stdev_us":0}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v\nwant %s", b, err, want)
	}
}

func TestSpread(t *testing.T) {
	if got, want := SpreadOf([]float64{4, 1, 3, 2}), (Spread{4, 1, 4, 2.5, 2.5, math.Sqrt(1.25)}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := SpreadOf([]float64{7}); got.Median != 7 || got.Stdev != 0 {
		t.Errorf("%+v", got)
	}
	if SpreadOf(nil) != (Spread{}) {
		t.Error("no runs are not zero")
	}
}

func BenchmarkRecord(b *testing.B) {
	var h Histogram
	for i := range b.N {
		h.Record(time.Duration(i))
	}
}
