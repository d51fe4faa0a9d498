package bridge

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
)

// member is one gateway of a pair, that leads.
type member uint32

func (m member) Member() uint32                          { return uint32(m) }
func (member) Term(flow.DPID) Term                       { return Term{Leads: true} }
func (member) Newest() uint64                            { return 0 }
func (member) Seen(flow.DPID, uint64)                    {}
func (member) Lost(flow.DPID, uint64)                    {}
func (member) PassOn(_ flow.DPID, _ *flow.PacketIn) bool { return false }

// lister is a table that lists its rules.
type lister struct{ table }

func (l *lister) List(_ context.Context, _ Filter, each func(*Installed) error) error {
	l.mu.Lock()
	rules := make([]flow.Rule, 0, len(l.rules))
	for _, r := range l.rules {
		rules = append(rules, r)
	}
	l.mu.Unlock()
	for i := range rules {
		if err := each(&Installed{Rule: rules[i], Forwards: true}); err != nil {
			return err
		}
	}
	return nil
}

// pairOf makes both gateways of a pair, which decide by a function, and the session of each with one switch.
func pairOf(t *testing.T, logs *logbuffer.Buffer, decide flow.DeciderFunc) (bridges [2]*Bridge, switches [2]*lister) {
	t.Helper()
	for i := range bridges {
		b, err := New(Config{Decider: local{decide}, LookInterval: -1, Pair: member(i), Logger: slog.New(slog.NewTextHandler(logs, nil))})
		if err != nil {
			t.Fatal(err)
		}
		bridges[i] = b
		switches[i] = &lister{table{dpid: 1, protocol: flow.OpenFlow13, rules: make(map[uint64]flow.Rule)}}
	}
	return bridges, switches
}

// lead has a gateway take the switch as the other one has left it.
func (l *lister) lead(t *testing.T, b *Bridge, from *lister) {
	if from != nil {
		l.rules = from.rules
	}
	l.core = b.NewSession(t.Context(), l, SessionOptions{})
	l.core.Ready()
	time.Sleep(time.Second)
	synctest.Wait()
}

// TestNumbersOfMembers: both gateways of a pair have one id, and each knows its own numbers and the other's, also long after, by one bit.
func TestNumbersOfMembers(t *testing.T) {
	var logs logbuffer.Buffer
	bridges, _ := pairOf(t, &logs, func(context.Context, *flow.Event, *flow.Decision) error { return nil })
	for i, b := range bridges {
		b.numbers.Store(numberMask - 101) // they come round
		other := bridges[1-i]
		for range 200 {
			for _, ev := range []*flow.Event{{Type: flow.EventPacketIn, PacketIn: new(flow.PacketIn)}, {Type: flow.EventSwitchConnected}} {
				n := b.decision(ev)
				if n == 0 || n&^numberMask != 0 || answersPacket(n) != (ev.PacketIn != nil) || b.peers(n) || !other.peers(n) || other.issued(n) {
					t.Fatalf("member %d: number %#x: its own says the peer's: %t, the other's: %t, and that it gave it: %t", i, n, b.peers(n), other.peers(n), other.issued(n))
				}
			}
		}
	}
	if bridges[0].OwnCookie() != bridges[1].OwnCookie() {
		t.Error("the two have different ids")
	}
}

// TestNewLeaderTakesRules: the gateway that takes the lead keeps what the other one has installed, removes what rests on a state, since nobody tells it
// when that one moves, and doesn't take the other's rules for a stranger's.
func TestNewLeaderTakesRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs logbuffer.Buffer
		bridges, switches := pairOf(t, &logs, func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
			d.Policy = flow.PolicyVersion{Serial: 3, Hash: 3}
			if ev.PacketIn == nil {
				return nil
			}
			m := ev.PacketIn.Match
			if m.L4Src == 2 {
				d.Read = append(d.Read, at(1, 1))
			}
			d.Rules = append(d.Rules, flow.Rule{Priority: 9, HardTimeout: time.Minute, Match: m, Actions: []flow.Action{flow.OutputTo(flow.PortFlood)}})
			return nil
		})
		switches[0].lead(t, bridges[0], nil)
		for from := range uint16(3) {
			switches[0].packet(1 + from)
		}
		synctest.Wait()
		sources := func(l *lister) (list []uint16) {
			for _, r := range l.rules {
				list = append(list, r.Match.L4Src)
			}
			slices.Sort(list)
			return list
		}
		if got := sources(switches[0]); !slices.Equal(got, []uint16{1, 2, 3}) {
			t.Fatalf("rules of conversations from %v", got)
		}
		switches[0].core.Close()
		switches[1].lead(t, bridges[1], switches[0])
		if got := sources(switches[1]); !slices.Equal(got, []uint16{1, 3}) {
			t.Errorf("the new leader left rules of conversations from %v, want 1 and 3\n%s", got, logs.String())
		}
		if ours, err := switches[1].core.survey(true, time.Minute); err != nil || ours != 2 { // the next look
			t.Errorf("%d rules are the pair's, %v", ours, err)
		}
		if strings.Contains(logs.String(), "another gateway") {
			t.Errorf("it takes the other one for a stranger:\n%s", logs.String())
		}
		switches[1].core.Close()
	})
}

// behind is a gateway of a pair whose other one knows a policy of a serial.
type behind struct {
	member
	newest *atomic.Uint64
}

func (b behind) Newest() uint64 { return b.newest.Load() }

// TestOlderPolicySweepsNothing: a gateway that takes the lead with an older policy than the other one's removes none of its rules, and its own don't live for
// long. It sweeps as any other when the other one has gone back to its policy, or when an operator has said so here.
func TestOlderPolicySweepsNothing(t *testing.T) {
	older, newer := flow.PolicyVersion{Serial: 4, Hash: 0x44444444}, flow.PolicyVersion{Serial: 5, Hash: 0x55555555}
	for name, row := range map[string]struct {
		then func(t *testing.T, b *Bridge, newest *atomic.Uint64)
		gone bool
	}{
		"nothing":                     {func(*testing.T, *Bridge, *atomic.Uint64) {}, false},
		"the other one has gone back": {func(_ *testing.T, _ *Bridge, newest *atomic.Uint64) { newest.Store(4) }, true},
		"an operator has rolled it back": {func(t *testing.T, b *Bridge, _ *atomic.Uint64) {
			v := b.Versions()
			v.mu.Lock()
			v.confirmed, v.lower, v.offered = newer, older, true
			v.mu.Unlock()
			if err := v.Rollback(older); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var newest atomic.Uint64
				var logs logbuffer.Buffer
				var bridges [2]*Bridge
				var switches [2]*lister
				for i, version := range []flow.PolicyVersion{newer, older} {
					versions := new(Versions)
					versions.Confirm(version)
					b, err := New(Config{LookInterval: -1, Pair: behind{member(i), &newest}, Versions: versions, Logger: slog.New(slog.NewTextHandler(&logs, nil)),
						Decider: local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
							if d.Policy = version; ev.PacketIn != nil {
								d.Rules = append(d.Rules, flow.Rule{Priority: 9, HardTimeout: time.Minute, Match: ev.PacketIn.Match, Actions: []flow.Action{flow.OutputTo(flow.PortFlood)}})
							}
							return nil
						}}})
					if err != nil {
						t.Fatal(err)
					}
					bridges[i], switches[i] = b, &lister{table{dpid: 1, protocol: flow.OpenFlow13, rules: make(map[uint64]flow.Rule)}}
				}
				switches[0].lead(t, bridges[0], nil)
				switches[0].packet(1)
				synctest.Wait()
				switches[0].core.Close()

				newest.Store(5)
				sw := switches[1]
				sw.lead(t, bridges[1], switches[0])
				sw.packet(2)
				synctest.Wait()
				life := make(map[uint16]time.Duration)
				for _, r := range sw.rules {
					life[r.Match.L4Src] = r.HardTimeout
				}
				if len(life) != 2 || life[1] != time.Minute || life[2] != StaleTimeout {
					t.Fatalf("rules by their conversation live for %v: want the newer policy's untouched, and its own for %v\n%s", life, StaleTimeout, logs.String())
				}
				row.then(t, bridges[1], &newest)
				if _, err := sw.core.survey(true, time.Minute); err != nil { // the next look
					t.Fatal(err)
				}
				left := 0
				for _, r := range sw.rules {
					if r.Match.L4Src == 1 {
						left++
					}
				}
				if (left == 0) != row.gone {
					t.Errorf("afterwards it has left %d of the newer policy's rules\n%s", left, logs.String())
				}
				sw.core.Close()
			})
		})
	}
}
