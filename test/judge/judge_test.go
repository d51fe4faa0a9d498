package judge

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/internal/testlong"
)

var versions = []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13}

// leastShare is the part of the traced packets, in per cent, that must meet a rule with actions: a packet
// that meets none shows nothing. It is 55 to 60 over a minute; a few seconds have some 200 packets.
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

// tryGuards runs source guards until the time is over.
func tryGuards(t *testing.T, v flow.Protocol, budget time.Duration, first uint64) (all Counts, leaks []*Leak) {
	t.Helper()
	for i, end := first, time.Now().Add(budget); i == first || time.Now().Before(end); i++ {
		p, err := GuardPolicy(i)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(p.Name, func(t *testing.T) {
			n, l := TryPolicy(t, v, &p, i, nil)
			all.add(n)
			if l != nil {
				leaks = append(leaks, l)
			}
		})
	}
	return all, leaks
}

// No packet with a forged address passes by a rule that was installed for an honest one.
func TestSourceGuard(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			n, leaks := tryGuards(t, v, 3*time.Second, 0)
			check(t, n, leaks)
		})
	}
}

// TestLongSourceGuard is TestSourceGuard with other seeds.
func TestLongSourceGuard(t *testing.T) {
	testlong.Need(t)
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			n, leaks := tryGuards(t, v, 30*time.Second, uint64(time.Now().Unix())<<20)
			check(t, n, leaks)
		})
	}
}

// TestSourceGuardSpoilt sees that TestSourceGuard would find a rule that leaves out one of the places where a packet says who sent it.
func TestSourceGuardSpoilt(t *testing.T) {
	for _, field := range []flow.Field{flow.FieldInPort, flow.FieldEthSrc, flow.FieldIPSrc, flow.FieldARPSPA, flow.FieldARPSHA} {
		t.Run(field.String(), func(t *testing.T) {
			for seed := range uint64(40) {
				p, err := GuardPolicy(seed)
				if err != nil {
					t.Fatal(err)
				}
				if _, l := TryPolicy(t, flow.OpenFlow13, &p, seed, func(r *flow.Rule) { r.Match = r.Match.Keep(r.Match.Fields &^ field) }); l != nil {
					t.Logf("found with policy %d: %s", seed, l.Why)
					return
				}
			}
			t.Error("40 policies whose rules are too wide, and no packet passes that should not")
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
			t.Parallel()
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
			t.Parallel()
			n, leaks := tryPolicies(t, v, 30*time.Second, uint64(time.Now().Unix())<<20)
			check(t, n, leaks)
		})
	}
}

// rails are the guardrails without which a packet that is denied passes, and where it shows. The test that
// the others find nothing is worth what this one finds. Every guardrail is here or in unseen.
var rails = []struct {
	rail     guard.Rail
	kind     Kind
	versions []flow.Protocol
	twist    string // of every answer
	// second: where the guardrail lets a rule pass, the codec doesn't, and the gateway removes what it has
	// installed that the rule shielded. So it shows where the switch misses what the gateway removes.
	second bool
}{
	{AllRails, Answers, versions, "", false},
	{AllRails, Incomplete, versions, "", false},
	{AllRails, Wide, versions, "", false},
	{AllRails, Foreign, versions, "", false},
	{guard.RailCommand, Answers, versions, "command", false},
	{guard.RailNotExpressible, Answers, versions, "vlan_without_bit", true},
	{guard.RailTable, Table, versions[1:], "", false},
	{guard.RailPriority, Outranked, versions, "", false},
	{guard.RailNotCovering, Stray, versions, "", false},
	{guard.RailTooWide, Broad, versions, "", false},
	{guard.RailProactiveWide, Wide, versions, "", false},
	{guard.RailIncomplete, Incomplete, versions, "", false},
	{guard.RailRoute, Routed, versions, "", false},
	{guard.RailForeign, Foreign, versions, "", false},
	{guard.RailShielded, Refused, versions, "", false},
	{guard.RailOrder, Answers, versions, "equal_priority", false},
	{guard.RailExposed, Answers, versions, "", false},
}

// unseen are the guardrails without which no packet passes that is denied, and why.
var unseen = map[guard.Rail]string{
	guard.RailTooManyRules: "all rules of a long answer are installed, the denies with them",
	guard.RailMatch:        "the guard asks Fit next, which refuses whatever the codec can't write or would write otherwise",
	guard.RailTimeout:      "the codec writes the next whole second, and so no deny ends before it is to",
	guard.RailNoTimeout:    "a rule that stays is still one that the answer means",
	guard.RailHardTimeout:  "the same; and without it no rule's life is cut, so no deny ends before the allows below it",
	guard.RailFlags:        "the codec and the switch refuse flags that they don't know, and what the rule shielded goes with it",
	guard.RailMeter:        "the switch refuses a rule with a meter that it has not",
	guard.RailController:   "a packet that goes to the gateway alone has not passed",
	guard.RailOutputTable:  "the switch refuses a rule that outputs to TABLE; in a PACKET_OUT it has the packet meet the rules",
	guard.RailUnknownPort:  "a port that is not there lets nothing pass, and what an answer forwards it does not deny",
	guard.RailOutputs:      "it bounds how often a packet goes out that the answer forwards",
	guard.RailExperimenter: "the codec refuses an action that it can't write",
	guard.RailSetField:     "it is about what a packet is rewritten to that the answer forwards",
}

// A new guardrail has its place in one of the two lists.
func TestRailsListed(t *testing.T) {
	seen := map[guard.Rail]bool{}
	for _, rail := range rails {
		seen[rail.rail] = true
	}
	for i := range guard.Rails {
		name := guard.Rails[i].Name
		if _, not := unseen[name]; seen[name] == not {
			t.Errorf("the guardrail %q is in rails: %v, in unseen: %v; want one of them", name, seen[name], not)
		}
		delete(seen, name)
	}
	delete(seen, AllRails)
	for name := range seen {
		t.Errorf("rails has %q, which is no guardrail", name)
	}
}

// TestLongRails switches one guardrail off at a time: soon a leak must be found, and none with all of them on.
func TestLongRails(t *testing.T) {
	testlong.Need(t)
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			courts := map[bool]*Court{false: NewCourt(t, v), true: newSpoilt(t, v)}
			for _, rail := range rails {
				if !slices.Contains(rail.versions, v) {
					continue
				}
				t.Run(fmt.Sprintf("%s %s", rail.rail, rail.kind), func(t *testing.T) {
					whole, c := courts[rail.second], NewCourt(t, v, rail.rail)
					if rail.second {
						c.Spoil()
					}
					start := time.Now()
					for seed := range uint64(1000) { // answers, not seconds: the machine may be slow
						o := Options{Kinds: []Kind{rail.kind}, Twist: rail.twist}
						l := c.Try(Generate(seed, o))
						if l == nil {
							continue
						}
						if same := whole.Try(Generate(seed, o)); same != nil {
							if !rail.second { // else it may be the switch that refuses something
								t.Errorf("with all guardrails: %v", same)
							}
							continue
						}
						t.Logf("found after %v, %v: %v", time.Since(start), c.Counts, l)
						return
					}
					t.Errorf("without the guardrail %q nothing that is denied passes, of %v: it does nothing, or the test does not see it", rail.rail, c.Counts)
				})
			}
		})
	}
}

func newSpoilt(t *testing.T, v flow.Protocol) *Court {
	c := NewCourt(t, v)
	c.Spoil()
	return c
}

// TestLongUnseen holds the other guardrails to what is said of them.
func TestLongUnseen(t *testing.T) {
	testlong.Need(t)
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			c := NewCourt(t, v, slices.Collect(maps.Keys(unseen))...)
			leaks := try(c, Options{}, 1<<40, 20*time.Second, shownLeaks)
			check(t, c.Counts, leaks)
		})
	}
}

// TestRefused has the switch refuse rules of sound answers, and sees that a gateway that removed nothing then
// would be found.
func TestRefused(t *testing.T) {
	for _, v := range versions {
		for _, spoilt := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, spoilt %v", v, spoilt), func(t *testing.T) {
				t.Parallel()
				c := NewCourt(t, v)
				budget, enough := 2*time.Second, 50
				if spoilt {
					c.Spoil()
					budget, enough = time.Minute, 1
				}
				leaks := try(c, Options{Kinds: []Kind{Refused}}, 0, budget, enough)
				t.Log(c.Counts)
				switch {
				case !spoilt && len(leaks) > 0:
					t.Error(leaks[0])
				case spoilt && len(leaks) == 0:
					t.Error("a gateway whose deletes don't reach the switch, and no packet passes that should not")
				case c.Counts.Refused*2 < c.Counts.Cases:
					t.Errorf("the switch refused something of %d answers in %d", c.Counts.Refused, c.Counts.Cases)
				}
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
