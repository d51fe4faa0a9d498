package state_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/memory"
)

// counter is a controller that counts the events of each key and denies all but the first three.
type counter struct {
	stateless atomic.Bool
	version   atomic.Uint64
	during    func(ev *flow.Event) // runs while an event is decided
	rule      bool                 // allows by a rule
	ttl       time.Duration
}

func (*counter) Local() bool { return true }
func (c *counter) Version() flow.PolicyVersion {
	return flow.PolicyVersion{Serial: c.version.Load() + 1}
}
func (c *counter) Stateful() bool { return !c.stateless.Load() }

func (c *counter) StateKeys(ev *flow.Event, keys []string) []string {
	if ev.PacketIn == nil || !c.Stateful() {
		return keys
	}
	return append(keys, "network", fmt.Sprintf("port:%d", ev.PacketIn.Match.InPort))
}

func (*counter) OwnKeys(*flow.Event) int { return math.MaxInt }

func (c *counter) Decide(_ context.Context, ev *flow.Event, d *flow.Decision) error {
	if c.during != nil {
		c.during(ev)
	}
	d.Policy, d.Verdict = c.Version(), flow.Allow
	if ev.PacketIn == nil || !c.Stateful() {
		return nil
	}
	if len(ev.States) != 2 || ev.States[0].Key != "network" {
		return flow.Errorf(flow.Refused, "without its states")
	}
	n := uint64(1)
	if data := ev.States[1].Data; data != nil {
		n += binary.BigEndian.Uint64(data)
	}
	d.Change = &flow.StateChange{Index: 1, Data: binary.BigEndian.AppendUint64(nil, n), TTL: c.ttl}
	if d.Reason = fmt.Sprintf("event %d", n); n > 3 {
		d.Verdict = flow.Deny
	} else if c.rule {
		d.Rules = append(d.Rules, flow.Rule{Match: ev.PacketIn.Match, Actions: []flow.Action{flow.OutputTo(2)}, HardTimeout: time.Hour})
	}
	return nil
}

func (*counter) Travels(string) (name string, kind flow.StateKey, ok bool) { return "", 0, false }

func packet(port flow.PortNo) *flow.Event {
	ev := &flow.Event{Type: flow.EventPacketIn, XID: 1, PacketIn: &flow.PacketIn{}}
	ev.PacketIn.Match.SetInPort(port)
	return ev
}

func newMemory(t testing.TB, o access.Options) state.Store {
	s, err := memory.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// troubled is a store that fails when it is told to.
type troubled struct {
	state.Store
	get, swap func(ctx context.Context) error // nil: it does not
	asked     int
}

func (s *troubled) Get(ctx context.Context, keys []string, values []state.Value) error {
	s.asked++
	if s.get != nil {
		if err := s.get(ctx); err != nil {
			return err
		}
	}
	return s.Store.Get(ctx, keys, values)
}

func (s *troubled) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	if s.swap != nil {
		if err := s.swap(ctx); err != nil {
			return 0, err
		}
	}
	return s.Store.CompareAndSwap(ctx, key, old, data, ttl)
}

func (*troubled) Promise() state.Promise { return state.Promise{} }

func decide(t *testing.T, x *state.Decider, ev *flow.Event) *flow.Decision {
	t.Helper()
	d := new(flow.Decision)
	if err := x.Decide(t.Context(), ev, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDecider(t *testing.T) {
	c, s := new(counter), &troubled{Store: newMemory(t, access.Options{})}
	x := state.New(state.Config{Next: c, Machines: c, Store: s})
	var last uint64
	for n := 1; n <= 5; n++ {
		ev := packet(1)
		d := decide(t, x, ev)
		if want := n <= 3; (d.Verdict == flow.Allow) != want || d.Reason != fmt.Sprintf("event %d", n) || !d.Stateful || d.Failure != nil {
			t.Errorf("packet %d: %v, %s", n, d.Verdict, d.Reason)
		}
		if len(d.Read) != 2 || d.Read[1].Version <= last || d.Read[0].Key == d.Read[1].Key {
			t.Errorf("packet %d: read %v after version %d", n, d.Read, last)
		}
		last = d.Read[1].Version
		if ev.States != nil {
			t.Error("the caller's event was changed")
		}
	}
	if d := decide(t, x, packet(2)); d.Reason != "event 1" {
		t.Errorf("another port: %s", d.Reason)
	}
	if s.asked != 6 {
		t.Errorf("6 packets, and the store was asked %d times", s.asked)
	}
	if d := decide(t, x, &flow.Event{Type: flow.EventPolicyCheck}); !d.Stateful || len(d.Read) != 0 || s.asked != 6 {
		t.Errorf("policy check: %+v, asked %d times", d, s.asked)
	}
}

// A rehearsal is decided by the states that there are, and changes none.
func TestRehearsalSwapsNothing(t *testing.T) {
	c := new(counter)
	x := state.New(state.Config{Next: c, Machines: c, Store: newMemory(t, access.Options{})})
	decide(t, x, packet(1))
	for range 3 {
		ev := packet(1)
		ev.Rehearsal = true
		if d := decide(t, x, ev); d.Reason != "event 2" {
			t.Errorf("a rehearsal after one event: %s", d.Reason)
		}
	}
	if d := decide(t, x, packet(1)); d.Reason != "event 2" || x.Stats().Swaps != 2 {
		t.Errorf("after the rehearsals: %s, %d swaps", d.Reason, x.Stats().Swaps)
	}
}

// Rules that rest on what another gateway may change live as long as the staleness allows.
func TestStaleness(t *testing.T) {
	const second = time.Second
	local := func(_ *flow.Event, key string) bool { return strings.HasPrefix(key, "port:") }
	keysOf := map[string][]string{"of none": nil, "of this switch": {"port:1"}, "of all": {"network"}, "of this switch and of all": {"port:1", "network"}}
	for _, row := range []struct {
		states             string
		staleness          time.Duration
		idle, hard         time.Duration
		wantIdle, wantHard time.Duration
	}{
		{states: "of all", staleness: 0, idle: 60 * second, hard: 0, wantIdle: 60 * second, wantHard: 0},
		{states: "of all", staleness: 5 * second, idle: 60 * second, hard: 0, wantIdle: 5 * second, wantHard: 5 * second},
		{states: "of all", staleness: 5 * second, idle: 0, hard: 60 * second, wantIdle: 0, wantHard: 5 * second},
		{states: "of all", staleness: 5 * second, idle: 2 * second, hard: 3 * second, wantIdle: 2 * second, wantHard: 3 * second},
		{states: "of all", staleness: 5 * second, idle: 4 * second, hard: 60 * second, wantIdle: 4 * second, wantHard: 5 * second},
		{states: "of this switch", staleness: 5 * second, idle: 60 * second, hard: 0, wantIdle: 60 * second, wantHard: 0},
		{states: "of this switch and of all", staleness: 5 * second, idle: 60 * second, hard: 60 * second, wantIdle: 5 * second, wantHard: 5 * second},
		{states: "of none", staleness: 5 * second, idle: 60 * second, hard: 0, wantIdle: 60 * second, wantHard: 0},
	} {
		c := &ruled{keys: keysOf[row.states], rule: flow.Rule{IdleTimeout: row.idle, HardTimeout: row.hard}}
		x := state.New(state.Config{Next: c, Machines: c, Store: newMemory(t, access.Options{}), Staleness: row.staleness, Local: local})
		d := decide(t, x, packet(1))
		for what, rules := range map[string][]flow.Rule{"rule": d.Rules, "rule of a reply": d.IfReply.Rules} {
			for i := range rules {
				if r := &rules[i]; r.IdleTimeout != row.wantIdle || r.HardTimeout != row.wantHard {
					t.Errorf("states %s, staleness %v, %s %d of %v and %v: %v and %v, want %v and %v", row.states, row.staleness, what, i, row.idle, row.hard,
						r.IdleTimeout, r.HardTimeout, row.wantIdle, row.wantHard)
				}
			}
		}
	}
}

// ruled answers with a rule twice, also for a reply.
type ruled struct {
	counter
	keys []string
	rule flow.Rule
}

func (r *ruled) StateKeys(_ *flow.Event, keys []string) []string { return append(keys, r.keys...) }

func (r *ruled) Decide(_ context.Context, _ *flow.Event, d *flow.Decision) error {
	d.Policy, d.Verdict, d.Rules = r.Version(), flow.Deny, append(d.Rules, r.rule, r.rule)
	d.IfReply = &flow.Reply{Rules: []flow.Rule{r.rule, r.rule}}
	return nil
}

// asking has a state of its own, and one of the packet that its own may answer.
type asking struct {
	ruled
	allows bool
}

func (*asking) OwnKeys(*flow.Event) int { return 1 }

func (a *asking) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	err := a.ruled.Decide(ctx, ev, d)
	if a.allows {
		d.Verdict, d.IfReply = flow.Allow, nil
	}
	return err
}

// What is allowed rests on the packet's own states, and what is denied on those of the packet that it may answer, too.
func TestWhatAnAnswerRestsOn(t *testing.T) {
	for allows, want := range map[bool]int{true: 1, false: 2} {
		a := &asking{ruled: ruled{keys: []string{"own", "asked"}, rule: flow.Rule{IdleTimeout: time.Minute}}, allows: allows}
		x := state.New(state.Config{Next: a, Machines: a, Store: newMemory(t, access.Options{}), Staleness: 5 * time.Second,
			Local: func(_ *flow.Event, key string) bool { return key == "own" }})
		var d flow.Decision
		if err := x.Decide(t.Context(), packet(1), &d); err != nil {
			t.Fatal(err)
		}
		if len(d.Read) != want {
			t.Errorf("allowed %v: it rests on %d states, want %d", allows, len(d.Read), want)
		}
		if bounded := d.Rules[0].HardTimeout == 5*time.Second; bounded == allows {
			t.Errorf("allowed %v: its rule lives %v", allows, d.Rules[0].HardTimeout)
		}
	}
}

// Every event counts once, however many race for a key.
func TestRaces(t *testing.T) {
	c := &counter{}
	x := state.New(state.Config{Next: c, Machines: c, Store: newMemory(t, access.Options{}), Timeout: time.Minute})
	c.during = func(*flow.Event) { time.Sleep(10 * time.Microsecond) }
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	const workers, each = 64, 10
	for range workers {
		wg.Go(func() {
			for range each {
				var d flow.Decision
				if err := x.Decide(t.Context(), packet(1), &d); err != nil || d.Failure != nil {
					t.Error(err, d.Failure)
				}
				mu.Lock()
				if seen[d.Reason] {
					t.Errorf("%s happened twice", d.Reason)
				}
				seen[d.Reason] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if !seen[fmt.Sprintf("event %d", workers*each)] {
		t.Errorf("%d events were counted as fewer", workers*each)
	}
	if s := x.Stats(); s.Conflicts == 0 {
		t.Error("no event lost a race: this shows nothing")
	} else {
		t.Logf("%+v", s)
	}
}

// What goes wrong is counted, denies or leaves the start state, and never installs a rule.
func TestFailures(t *testing.T) {
	for _, row := range []struct {
		name string
		set  func(*troubled)
		want state.Failure
	}{
		{"away", func(s *troubled) { s.get = func(context.Context) error { return errors.New("connection refused") } }, state.Away},
		{"slow", func(s *troubled) { s.get = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() } }, state.Slow},
		{"slow, as its connection says", func(s *troubled) {
			s.get = func(context.Context) error { return &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded} }
		}, state.Slow},
		{"slow to write", func(s *troubled) {
			s.swap = func(ctx context.Context) error { <-ctx.Done(); return errors.New("i/o timeout") }
		}, state.Slow},
		{"full", func(s *troubled) { s.swap = func(context.Context) error { return fmt.Errorf("x: %w", state.ErrFull) } }, state.Full},
		{"corrupt", func(s *troubled) { s.get = func(context.Context) error { return state.ErrCorrupt } }, state.Corrupt},
		{"newer", func(s *troubled) { s.get = func(context.Context) error { return state.ErrNewer } }, state.Newer},
		{"always too late", func(s *troubled) { s.swap = func(context.Context) error { return state.ErrConflict } }, state.Conflict},
	} {
		for _, onFailure := range []state.OnFailure{state.Deny, state.Start} {
			t.Run(row.name+" "+onFailure.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, s := &counter{rule: true}, &troubled{Store: newMemory(t, access.Options{})}
					told := 0
					x := state.New(state.Config{Next: c, Machines: c, Store: s, OnFailure: onFailure, Report: func(kind state.Failure, err error, untold int) {
						if told++; kind != row.want || err == nil {
							t.Errorf("reported %v, %v", kind, err)
						}
					}})
					for range 4 { // past what the start state allows
						decide(t, x, packet(1))
					}
					row.set(s)
					began := time.Now()
					d := decide(t, x, packet(1))
					if took := time.Since(began); took > state.DefaultTimeout {
						t.Errorf("took %v", took)
					}
					passes := len(d.PacketOut) > 0
					if d.Failure == nil || !d.HasPacketOut || len(d.Rules) > 0 || d.Change != nil || len(d.Read) > 0 {
						t.Errorf("%+v", d)
					}
					if onFailure == state.Deny && (d.Verdict != flow.Deny || passes || !strings.HasPrefix(d.Reason, "state: ")) {
						t.Errorf("denying: %v, %v, %s", d.Verdict, d.PacketOut, d.Reason)
					}
					if onFailure == state.Start && (d.Verdict != flow.Allow || !passes) {
						t.Errorf("by the start state: %v, %v, %s", d.Verdict, d.PacketOut, d.Reason)
					}
					decide(t, x, packet(1))
					if n := x.Stats().Failed[row.want]; n != 2 || told != 1 {
						t.Errorf("counted %d, told %d times", n, told)
					}
					s.get, s.swap = nil, nil
					if d := decide(t, x, packet(1)); d.Verdict != flow.Deny || d.Failure != nil {
						t.Errorf("the store is back: %v, %s", d.Verdict, d.Reason)
					}
				})
			})
		}
	}
}

// An event that is no packet has nobody to deny: whoever asks gets an error.
func TestFailureOfOtherEvents(t *testing.T) {
	c, s := new(counter), &troubled{Store: newMemory(t, access.Options{}), get: func(context.Context) error { return errors.New("away") }}
	x := state.New(state.Config{Next: c, Machines: allKeys{c}, Store: s})
	err := x.Decide(t.Context(), &flow.Event{Type: flow.EventPortStatus}, new(flow.Decision))
	if err == nil || flow.KindOf(err) != flow.Unavailable {
		t.Error(err)
	}
}

// allKeys reads a state for every event.
type allKeys struct{ *counter }

func (allKeys) StateKeys(_ *flow.Event, keys []string) []string { return append(keys, "key") }

// A policy that takes another's place between an event's states and its decision is noticed.
func TestPolicyChangesMeanwhile(t *testing.T) {
	c := new(counter)
	c.stateless.Store(true)
	x := state.New(state.Config{Next: c, Machines: c, Store: newMemory(t, access.Options{})})
	tries := 0
	c.during = func(*flow.Event) {
		if tries++; tries == 1 {
			c.stateless.Store(false) // as a guest that is a little ahead of its host
			c.version.Add(1)
		}
	}
	// It decides by the new policy, without the states that this one wants, and is asked again with them.
	if d := decide(t, x, packet(1)); d.Reason != "event 1" || len(d.Read) != 2 || tries != 2 {
		t.Errorf("%+v after %d tries", d, tries)
	}
	tries = 0
	c.during = func(*flow.Event) {
		if tries++; tries == 1 {
			c.version.Add(1)
		}
	}
	if d := decide(t, x, packet(1)); d.Reason != "event 2" || tries != 2 {
		t.Errorf("%+v after %d tries", d, tries)
	}
}

// A policy without machines costs nothing, and is decided in place whatever the store is.
func TestStateless(t *testing.T) {
	c := new(counter)
	remote := &troubled{Store: newMemory(t, access.Options{})}
	x := state.New(state.Config{Next: c, Machines: c, Store: remote})
	if flow.IsLocal(x) || x.Rushed() {
		t.Error("a store beyond this process is waited for in place")
	}
	if !flow.IsLocal(state.New(state.Config{Next: c, Machines: c, Store: newMemory(t, access.Options{})})) {
		t.Error("states in this process make packets wait in a queue")
	}
	c.stateless.Store(true)
	if !flow.IsLocal(x) || !x.Rushed() {
		t.Error("a policy without machines waits in a queue")
	}
	ev, d := packet(1), new(flow.Decision)
	if n := testing.AllocsPerRun(100, func() {
		d.Reset()
		if err := x.Decide(t.Context(), ev, d); err != nil {
			t.Fatal(err)
		}
	}); n > 0 || remote.asked > 0 {
		t.Errorf("%v allocations, the store was asked %d times", n, remote.asked)
	}
}
