package bridge

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// owner is a goroutine that takes a switch's messages, on a core of its own: each
// batch is work, and until the next it waits.
type owner struct {
	work, wait time.Duration

	worked, paused time.Duration
}

func (o *owner) run(b *Bridge, end time.Time) {
	t := b.Turn()
	defer t.End()
	for time.Now().Before(end) {
		time.Sleep(o.wait + o.work)
		o.worked += o.work
		pause := t.Spend(o.wait, o.work, time.Now())
		for pause > 0 {
			o.paused += pause
			time.Sleep(pause)
			pause = t.Spend(pause, 0, time.Now())
		}
	}
}

// Switches that flood get a quarter of the cores together beside one that does not, and
// whoever does not flood never rests. Where nobody is held up, nobody rests.
func TestFloodsRestBesideOthers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	calm := owner{work: 20 * time.Microsecond, wait: 50 * time.Millisecond}
	busy := owner{work: 100 * time.Microsecond, wait: 150 * time.Microsecond} // 4,000 times a second
	flood := owner{work: 300 * time.Microsecond}
	for _, row := range []struct {
		name   string
		owners []owner
		share  float64 // of a core, that all who flood have; 0: all of their time
	}{
		{"one alone", []owner{flood}, 0},
		{"all flood", []owner{flood, flood, flood}, 0},
		{"nobody floods", []owner{calm, busy, busy}, 0},
		{"one beside others", []owner{flood, calm, calm}, .5},
		{"four beside one", []owner{flood, flood, flood, flood, calm}, .5},
		{"two beside a busy one", []owner{flood, busy, flood}, .5},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b Bridge
				const seconds = 2
				end := time.Now().Add(seconds * time.Second)
				for i := range row.owners {
					go row.owners[i].run(&b, end)
				}
				time.Sleep(seconds*time.Second + 100*time.Millisecond)
				synctest.Wait()
				var worked time.Duration
				for i, o := range row.owners {
					if o.wait > 0 || row.share == 0 {
						if o.paused > turnCalm || o.wait > 0 && o.paused > 0 { // who begins to flood was calm before
							t.Errorf("owner %d rested for %v", i, o.paused)
						}
						continue
					}
					worked += o.worked
				}
				if got := worked.Seconds() / seconds; row.share > 0 && (got < row.share*.8 || got > row.share*1.2) {
					t.Errorf("those who flood had %.2f cores, want %.2f", got, row.share)
				}
				if n := b.turns.floods.Load(); n != 0 {
					t.Errorf("%d floods are left when all have ended", n)
				}
			})
		})
	}
}

// A switch does not rest for what its own connection says by another goroutine, and does for other switches.
func TestFloodRestsForOthersAlone(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	for _, row := range []struct {
		name string
		calm func(b *Bridge, t *Turn) *Turn
		rest bool
	}{
		{"the same switch", func(_ *Bridge, t *Turn) *Turn { return t.Beside() }, false},
		{"another switch", func(b *Bridge, _ *Turn) *Turn { return b.Turn() }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b Bridge
				flood := b.Turn()
				defer flood.End()
				calm := row.calm(&b, flood)
				defer calm.End()
				rested := time.Duration(0)
				for range 100 {
					time.Sleep(10 * time.Millisecond)
					if pause := calm.Spend(10*time.Millisecond, 10*time.Microsecond, time.Now()); pause > 0 {
						t.Errorf("the calm one rests for %v", pause)
					}
					rested += flood.Spend(0, 10*time.Millisecond, time.Now())
				}
				if rested > 0 != row.rest {
					t.Errorf("the flood rested for %v", rested)
				}
			})
		})
	}
}
