package httpclient

import "sync/atomic"

// budget lets a share of events cause one more request each: an event puts its
// share in, a repeat takes one out. What a quiet time saves is capped, so that
// an outage after it starts with a few repeats and not with thousands.
type budget struct {
	share int64 // thousandths an event puts in
	cap   int64
	have  atomic.Int64
}

const budgetUnit = 1000

// newBudget returns a full budget that holds at most burst repeats.
func newBudget(share float64, burst int64) *budget {
	b := &budget{share: max(0, int64(share*budgetUnit)), cap: burst * budgetUnit}
	if b.share == 0 {
		b.cap = 0
	}
	b.have.Store(b.cap)
	return b
}

// deposit counts an event.
func (b *budget) deposit() {
	for {
		have := b.have.Load()
		if have >= b.cap || b.have.CompareAndSwap(have, min(b.cap, have+b.share)) {
			return
		}
	}
}

// take reports whether one more request may be made, and if so counts it.
func (b *budget) take() bool {
	for {
		have := b.have.Load()
		if have < budgetUnit {
			return false
		}
		if b.have.CompareAndSwap(have, have-budgetUnit) {
			return true
		}
	}
}
