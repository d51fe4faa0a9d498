// Package stats sums measurements up: a histogram that costs the same however
// many values it holds, and the spread of repeated runs.
package stats

import (
	"encoding/json"
	"math"
	"math/bits"
	"time"
)

const (
	subBits    = 7 // buckets an octave: 128, so a value is known to 0.8 %
	subCount   = 1 << subBits
	numBuckets = (64 - subBits) * subCount
)

// Histogram counts durations in buckets whose width grows with the value. It
// takes 57 KiB, never allocates, and its zero value is empty. It is not safe for
// concurrent use; give each goroutine its own and Merge them.
type Histogram struct {
	buckets    [numBuckets]uint64
	count      uint64
	min, max   time.Duration
	sum, sumSq float64
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < subCount {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift<<subBits + int(v>>shift)
}

// valueOf is the middle of a bucket.
func valueOf(bucket int) time.Duration {
	if bucket < subCount {
		return time.Duration(bucket)
	}
	shift := bucket>>subBits - 1
	low := uint64(bucket&(subCount-1)|subCount) << shift
	return time.Duration(low + 1<<shift>>1)
}

// Record adds one value; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucketOf(d)]++
	if h.count == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.count++
	f := float64(d)
	h.sum += f
	h.sumSq += f * f
}

// Merge adds all of o's values.
func (h *Histogram) Merge(o *Histogram) {
	if o.count == 0 {
		return
	}
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	if h.count == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.count += o.count
	h.sum += o.sum
	h.sumSq += o.sumSq
}

// Count is how many values were recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Quantile returns the value that the share q (0 to 1) of all values does not
// exceed, to within 0.8 %; 0 where there is none. The extremes are exact.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	if q <= 0 {
		return h.min
	}
	rank := uint64(math.Ceil(q * float64(h.count)))
	if rank >= h.count {
		return h.max
	}
	var seen uint64
	for i, n := range h.buckets {
		if seen += n; seen >= rank {
			return min(max(valueOf(i), h.min), h.max)
		}
	}
	return h.max
}

// CDF calls yield for each bucket that holds values, in order, with the bucket's
// middle and the share of all values up to and including it.
func (h *Histogram) CDF(yield func(d time.Duration, share float64)) {
	var seen uint64
	for i, n := range h.buckets {
		if n > 0 {
			seen += n
			yield(min(max(valueOf(i), h.min), h.max), float64(seen)/float64(h.count))
		}
	}
}

// Latency is the summary of a [Histogram] that reports show. In JSON its
// durations are microseconds.
type Latency struct {
	Count                        uint64
	Min, P10, P50, P90, P99, Max time.Duration
	Mean, Stdev                  time.Duration
}

// Latency sums the histogram up.
func (h *Histogram) Latency() Latency {
	l := Latency{
		Count: h.count, Min: h.min, Max: h.max,
		P10: h.Quantile(0.1), P50: h.Quantile(0.5), P90: h.Quantile(0.9), P99: h.Quantile(0.99),
	}
	if h.count > 0 {
		n := float64(h.count)
		mean := h.sum / n
		l.Mean = time.Duration(mean)
		l.Stdev = time.Duration(math.Sqrt(max(0, h.sumSq/n-mean*mean)))
	}
	return l
}

// MarshalJSON writes microseconds.
func (l Latency) MarshalJSON() ([]byte, error) {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return json.Marshal(struct {
		Count uint64  `json:"count"`
		Min   float64 `json:"min_us"`
		P10   float64 `json:"p10_us"`
		P50   float64 `json:"p50_us"`
		P90   float64 `json:"p90_us"`
		P99   float64 `json:"p99_us"`
		Max   float64 `json:"max_us"`
		Mean  float64 `json:"mean_us"`
		Stdev float64 `json:"stdev_us"`
	}{l.Count, us(l.Min), us(l.P10), us(l.P50), us(l.P90), us(l.P99), us(l.Max), us(l.Mean), us(l.Stdev)})
}
