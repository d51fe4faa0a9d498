// Package elapsed tells times apart by a clock that nobody sets: a machine's time of day may be set back by an hour, and what waits for a moment
// of that hour would wait with it.
package elapsed

import "time"

// began is long before the process: 0, as an atomic has it that nobody has set, is long ago. It is also before 2000, when a test's fake clock begins
// (testing/synctest).
var began = time.Now().Add(-50 * 365 * 24 * time.Hour)

// Now is the time since then, in nanoseconds: for an atomic.Int64.
func Now() int64 { return At(time.Now()) }

// At is the time from then until t, which time.Now has returned.
func At(t time.Time) int64 { return int64(t.Sub(began)) }
