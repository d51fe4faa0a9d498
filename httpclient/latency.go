package httpclient

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// latencies keeps the times of recent answers and their 95th percentile.
type latencies struct {
	p95 atomic.Int64 // nanoseconds; 0 while there are too few

	mu    sync.Mutex
	ring  [256]time.Duration
	count int // ever seen
}

// recount is how many answers come between two computations of the percentile.
const recount = 32

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.count%len(l.ring)] = d
	l.count++
	if l.count%recount == 0 {
		sorted := l.ring
		seen := sorted[:min(l.count, len(sorted))]
		slices.Sort(seen)
		l.p95.Store(int64(seen[len(seen)*95/100]))
	}
}
