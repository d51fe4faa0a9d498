package stats

import (
	"math"
	"slices"
)

// Spread sums up one figure of repeated runs.
type Spread struct {
	Runs   int     `json:"runs"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Mean   float64 `json:"avg"`
	Median float64 `json:"median"`
	Stdev  float64 `json:"stdev"` // of the runs themselves (divided by n, as cbench does)
}

// SpreadOf returns the spread of some runs, or the zero value if there are none.
func SpreadOf(runs []float64) Spread {
	if len(runs) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(runs))
	n := len(sorted)
	s := Spread{Runs: n, Min: sorted[0], Max: sorted[n-1], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2}
	for _, v := range sorted {
		s.Mean += v / float64(n)
	}
	for _, v := range sorted {
		s.Stdev += (v - s.Mean) * (v - s.Mean) / float64(n)
	}
	s.Stdev = math.Sqrt(s.Stdev)
	return s
}
