package bridge

import (
	"runtime"
	"sync/atomic"
	"time"

	"switchbridge/internal/elapsed"
)

// turns keep switches that flood from taking the cores that other switches' packets
// need. To read, decide or drop what one switch says takes a core as long as it says
// more, and whoever is then one core short waits for the kernel, milliseconds at a
// time.
//
// So every owner of a connection has a budget of time, which work spends and waiting
// earns. Who works more than half of the time floods; those who flood may take a
// quarter of the cores together, and pause beyond that, while one who does not has
// something to say. Where there is none, nobody pauses, and no core is idle.
type turns struct {
	calm   atomic.Int64 // when one within its budget was last heard, in Unix nanoseconds
	floods atomic.Int32 // how many are not within theirs
}

const (
	// turnBudget is how long an owner may work at a stretch.
	turnBudget = time.Millisecond
	// turnDebt bounds what one long piece of work costs afterwards.
	turnDebt = 20 * time.Millisecond
	// TurnPause is how long it rests then. What its switch says meanwhile waits in
	// the connection, answers to our echo requests, too, for at most the second or
	// so that the connection's buffers hold.
	TurnPause = time.Millisecond
	// turnCalm is for how long a switch that was heard counts as one that has
	// something to say.
	turnCalm = 200 * time.Millisecond
)

// Turn is the budget of one goroutine that takes a switch's messages. Only that
// goroutine uses it.
type Turn struct {
	all   *turns
	left  time.Duration
	flood bool
	calm  *atomic.Int64 // what the switch's goroutines last noted in turns.calm
}

// Turn returns the budget of one more connection. It must be ended.
func (b *Bridge) Turn() *Turn { return &Turn{all: &b.turns, left: turnBudget, calm: new(atomic.Int64)} }

// Beside returns the budget of another goroutine of the same connection, for which
// the two don't rest. It must be ended.
func (t *Turn) Beside() *Turn { return &Turn{all: t.all, left: turnBudget, calm: t.calm} }

// Spend tells how long the goroutine has waited for its switch and worked for it
// since it last did, and returns how long it should pause; 0 as a rule.
func (t *Turn) Spend(waited, worked time.Duration, now time.Time) time.Duration {
	pauses := t.flood
	if t.flood {
		cores, floods := runtime.GOMAXPROCS(0), 4*int(t.all.floods.Load())
		if pauses = floods > cores; pauses {
			waited = waited * time.Duration(cores) / time.Duration(floods-cores)
		}
	}
	t.left = max(min(t.left+waited, turnBudget)-worked, -turnDebt)
	t.set(t.left < 0 || t.flood && t.left < turnBudget)
	calm := t.all.calm.Load()
	switch since := time.Duration(elapsed.At(now) - calm); {
	case !t.flood && since > turnCalm/8:
		at := elapsed.At(now)
		t.calm.Store(at)
		t.all.calm.Store(at)
	case pauses && t.left < 0 && since < turnCalm && calm != t.calm.Load():
		return TurnPause
	}
	return 0
}

// End gives the budget back.
func (t *Turn) End() { t.set(false) }

func (t *Turn) set(flood bool) {
	switch {
	case flood && !t.flood:
		t.all.floods.Add(1)
	case !flood && t.flood:
		t.all.floods.Add(-1)
	}
	t.flood = flood
}
