package bridge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

func TestVersions(t *testing.T) {
	v := func(serial uint64, hash uint32) flow.PolicyVersion {
		return flow.PolicyVersion{Serial: serial, Hash: hash}
	}
	var tracker Versions
	for i, step := range []struct {
		version flow.PolicyVersion
		want    Freshness
		latest  flow.PolicyVersion
	}{
		{v(0, 0), Unversioned, v(0, 0)},
		{v(5, 1), Newer, v(5, 1)}, // the first known one: what an earlier run of the gateway left is swept
		{v(5, 1), Same, v(5, 1)},
		{v(4, 9), Older, v(5, 1)},
		{v(0, 0), Unversioned, v(5, 1)},
		{v(6, 2), Newer, v(6, 2)},
		{v(5, 1), Older, v(6, 2)},
		{v(6, 3), Older, v(6, 2)}, // one serial, two contents: no sweeping to and fro
		{v(6, 2), Same, v(6, 2)},
	} {
		got, latest := tracker.Observe(step.version)
		if got != step.want || latest != step.latest || tracker.Latest() != step.latest {
			t.Errorf("step %d, %v: %v and latest %v, want %v and %v", i, step.version, got, latest, step.want, step.latest)
		}
	}
}

func TestVersionsTellsOneCaller(t *testing.T) {
	var tracker Versions
	var newer atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for serial := range uint64(200) {
				if f, _ := tracker.Observe(flow.PolicyVersion{Serial: 199, Hash: 7}); f == Newer {
					newer.Add(1)
				}
				tracker.Observe(flow.PolicyVersion{Serial: serial / 2, Hash: 1})
			}
		})
	}
	wg.Wait()
	if newer.Load() != 1 {
		t.Fatalf("%d callers were told", newer.Load())
	}
}

func TestExpire(t *testing.T) {
	d := flow.Decision{Rules: []flow.Rule{{}, {HardTimeout: 300 * time.Second}, {HardTimeout: 3 * time.Second}}}
	Expire(&d)
	for i, want := range []time.Duration{StaleTimeout, StaleTimeout, 3 * time.Second} {
		if d.Rules[i].HardTimeout != want {
			t.Errorf("rule %d: hard_timeout %v, want %v", i, d.Rules[i].HardTimeout, want)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ids := make(map[string]bool)
		var n int
		function := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			n++
			if ev.Type != flow.EventPolicyCheck || ev.XID == 0 || ids[ev.ID] {
				t.Errorf("event %+v", ev)
			}
			ids[ev.ID] = true
			switch {
			case n == 2:
				return errors.New("away")
			case n == 3: // never answers
				<-ctx.Done()
				return ctx.Err()
			}
			d.Policy = flow.PolicyVersion{Serial: uint64(n / 4), Hash: 1}
			return nil
		})
		var newer []flow.PolicyVersion
		var when []time.Duration
		var failures int
		check := &PolicyCheck{
			Decider: function, Versions: new(Versions),
			OnNewer: func(v flow.PolicyVersion) { newer, when = append(newer, v), append(when, time.Since(start)) },
			OnCheck: func(_ flow.PolicyVersion, _ Freshness, err error) {
				if err != nil {
					failures++
				}
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
		defer cancel()
		if err := check.Run(ctx); err != nil {
			t.Fatal(err)
		}
		// Checks at 0, 10, 20 (which lasts until 30), 30, 40, 50 and 60 s.
		if n != 7 || failures != 2 {
			t.Errorf("%d checks, %d failures", n, failures)
		}
		if len(newer) != 2 || newer[0].Serial != 0 || newer[1].Serial != 1 || when[0] != 0 || when[1] != 30*time.Second {
			t.Errorf("newer versions %v at %v", newer, when)
		}
	})
}

// Of a function that answers no policy_check, rules are swept by a version that was
// announced and that answers bring, and by no other. Nothing is confirmed by that:
// the rules of a next version live as long as they say.
func TestAnnouncedVersion(t *testing.T) {
	serial := func(n uint64) flow.PolicyVersion { return flow.PolicyVersion{Serial: n} }
	type step struct {
		announce, answer, checked uint64 // one of the three
		sweeping                  uint64
	}
	for name, steps := range map[string][]step{
		"the notice is first":  {{answer: 1}, {announce: 2}, {answer: 1}, {answer: 2, sweeping: 2}, {answer: 2, sweeping: 2}},
		"the answer is first":  {{answer: 1}, {answer: 2}, {announce: 2, sweeping: 2}},
		"another is announced": {{answer: 1}, {announce: 3}, {answer: 2}, {answer: 3, sweeping: 3}},
		"nobody announced it":  {{announce: 2}, {answer: 2, sweeping: 2}, {answer: 3}, {answer: 4}},
		"an edge of before":    {{announce: 2}, {answer: 2, sweeping: 2}, {answer: 1, sweeping: 2}},
		"checks answer":        {{checked: 1, sweeping: 1}, {announce: 2, sweeping: 1}, {answer: 2, sweeping: 1}, {checked: 2, sweeping: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			var v Versions
			for i, s := range steps {
				switch {
				case s.announce > 0:
					if got := v.Announce(serial(s.announce)); got != (s.sweeping == s.announce) {
						t.Errorf("step %d: %v", i, got)
					}
				case s.answer > 0:
					if f, _ := v.Observe(serial(s.answer)); f == Unconfirmed && v.Confirmed().IsZero() {
						t.Errorf("step %d: an answer is %v", i, f)
					}
				default:
					v.Checked(serial(s.checked))
				}
				if got := v.Sweeping(); got.Serial != s.sweeping {
					t.Errorf("step %d: rules are swept by %v, want %d", i, got, s.sweeping)
				}
			}
		})
	}
}
