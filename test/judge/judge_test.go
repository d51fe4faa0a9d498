package judge

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/testlong"
)

var versions = []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13}

// leastShare is the part of the traced packets, in per cent, that must meet a rule with actions: a packet
// that meets none shows nothing.
const leastShare = 30

// shownLeaks are printed whole.
const shownLeaks = 5

// check fails the test where a court found a leak, or looked where there is nothing to see.
func check(t *testing.T, n Counts, leaks []*Leak) {
	t.Helper()
	t.Log(n)
	for i, l := range leaks {
		if i == shownLeaks {
			t.Errorf("and %d more", len(leaks)-i)
			break
		}
		t.Error(l)
	}
	if n.Share() < leastShare {
		t.Errorf("%.0f %% of the packets met a rule with actions, want %d", n.Share(), leastShare)
	}
	if n.Denied == 0 {
		t.Error("no packet was denied")
	}
	if n.Unasked*20 > n.Cases {
		t.Errorf("the switch reported nothing in %d of %d cases", n.Unasked, n.Cases)
	}
}

// try runs cases from a first seed on until the time is over, or enough leaks are found.
func try(c *Court, o Options, first uint64, budget time.Duration, enough int) (leaks []*Leak) {
	for seed, end := first, time.Now().Add(budget); time.Now().Before(end) && len(leaks) < enough; seed++ {
		if l := c.Try(Generate(seed, o)); l != nil {
			leaks = append(leaks, l)
		}
	}
	return leaks
}

// No packet that an answer denies passes a real Open vSwitch.
func TestAnswers(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			c := NewCourt(t, v)
			leaks := try(c, Options{}, 0, 3*time.Second, 50)
			check(t, c.Counts, leaks)
		})
	}
}

// TestLongAnswers is TestAnswers with other seeds, a minute long.
func TestLongAnswers(t *testing.T) {
	testlong.Need(t)
	first := uint64(time.Now().Unix()) << 20
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			c := NewCourt(t, v)
			leaks := try(c, Options{}, first, time.Minute, 50)
			check(t, c.Counts, leaks)
		})
	}
}

// tryPolicies runs policies until the time is over.
func tryPolicies(t *testing.T, v flow.Protocol, budget time.Duration, first uint64) (all Counts, leaks []*Leak) {
	t.Helper()
	examples, err := ExamplePolicies("../../configs/policies")
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(budget)
	for i := uint64(0); int(i) < len(examples) || time.Now().Before(end); i++ {
		p := new(Policy)
		if int(i) < len(examples) {
			p = &examples[i]
		} else if *p, err = GeneratePolicy(first + i); err != nil {
			t.Fatal(err)
		}
		t.Run(p.Name, func(t *testing.T) { // its Open vSwitch ends with it
			n, l := TryPolicy(t, v, p, first+i, nil)
			all.add(n)
			if l != nil {
				leaks = append(leaks, l)
			}
		})
	}
	return all, leaks
}

// No packet that one of our own policies denies passes by the rules that its other decisions installed.
func TestPolicies(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			n, leaks := tryPolicies(t, v, 3*time.Second, 0)
			check(t, n, leaks)
		})
	}
}

// TestPoliciesSpoilt sees that TestPolicies would find rules that are wider than the decision.
func TestPoliciesSpoilt(t *testing.T) {
	spoils := map[string]flow.Field{"no destination port": flow.FieldL4Dst, "no source": flow.FieldEthSrc | flow.FieldIPSrc}
	for name, field := range spoils {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(40) {
				p, err := GeneratePolicy(seed)
				if err != nil {
					t.Fatal(err)
				}
				if _, l := TryPolicy(t, flow.OpenFlow13, &p, seed, func(r *flow.Rule) { r.Match = r.Match.Keep(r.Match.Fields &^ field) }); l != nil {
					t.Logf("found with policy %d", seed)
					return
				}
			}
			t.Error("40 policies whose rules are too wide, and no packet passes that should not")
		})
	}
}

// TestLongPolicies is TestPolicies with other seeds.
func TestLongPolicies(t *testing.T) {
	testlong.Need(t)
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			n, leaks := tryPolicies(t, v, 30*time.Second, uint64(time.Now().Unix())<<20)
			check(t, n, leaks)
		})
	}
}

// rails are the guardrails without which a packet that is denied passes, and where it shows. The test that
// the others find nothing is worth what this one finds.
var rails = []struct {
	rail     string
	kinds    []Kind
	versions []flow.Protocol
}{
	{AllRails, []Kind{Answers}, versions},
	{AllRails, []Kind{Incomplete}, versions},
	{AllRails, []Kind{Wide}, versions},
	{AllRails, []Kind{Foreign}, versions},
	{"exposed", []Kind{Answers}, versions},
	{"not-expressible", []Kind{Answers}, versions},
	{"incomplete", []Kind{Incomplete}, versions},
	{"proactive-wide", []Kind{Wide}, versions},
	{"foreign", []Kind{Foreign}, versions},
}

// TestLongRails switches one guardrail off at a time: within a minute a leak must be found.
func TestLongRails(t *testing.T) {
	testlong.Need(t)
	for _, rail := range rails {
		for _, v := range rail.versions {
			t.Run(fmt.Sprintf("%s %s %v", rail.rail, rail.kinds[0], v), func(t *testing.T) {
				c := NewCourt(t, v, rail.rail)
				start := time.Now()
				leaks := try(c, Options{Kinds: rail.kinds}, 0, time.Minute, 1)
				t.Log(c.Counts)
				if len(leaks) == 0 {
					t.Fatalf("without the guardrail %q nothing that is denied passes: it does nothing, or the test does not see it", rail.rail)
				}
				t.Logf("found after %v and %d answers: %v", time.Since(start), c.Counts.Cases, leaks[0])
			})
		}
	}
}

// FuzzJudge takes seeds of cases. `go test -fuzz Judge ./test/judge` runs it for as long as one likes.
func FuzzJudge(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed)
	}
	b := &bench{TB: f}
	var courts []*Court
	for _, v := range versions {
		courts = append(courts, NewCourt(b, v))
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		b.enter(t)
		defer b.enter(nil)
		for _, c := range courts {
			if l := c.Try(Generate(seed, Options{})); l != nil {
				t.Error(l)
			}
		}
	})
}

// bench lets courts outlive one call of a fuzz target: what they report is the call's, where one runs.
type bench struct {
	testing.TB
	mu  sync.Mutex
	now testing.TB
}

func (b *bench) enter(t testing.TB) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = t
	if t, ok := t.(*testing.T); ok && t == nil {
		b.now = nil
	}
}

func (b *bench) at() testing.TB {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now != nil {
		return b.now
	}
	return b.TB
}

func (b *bench) Helper()                           {}
func (b *bench) Fatal(args ...any)                 { b.at().Fatal(args...) }
func (b *bench) Fatalf(format string, args ...any) { b.at().Fatalf(format, args...) }
func (b *bench) Logf(format string, args ...any)   { b.at().Logf(format, args...) }
