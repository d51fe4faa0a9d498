package bridge

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

// table is a switch that is nothing but a table. It confirms what it was told when confirms says so.
type table struct {
	dpid flow.DPID
	core *Session

	mu       sync.Mutex
	rules    map[uint64]flow.Rule // by cookie
	sent     []flow.Match         // of packets that were sent on
	mute     bool                 // it confirms nothing
	unheard  []uint32
	protocol flow.Protocol
}

func (s *table) Describe() *flow.Switch                                     { return &flow.Switch{DPID: s.dpid, Protocol: s.protocol} }
func (s *table) Fit(*flow.Rule, *flow.Match) error                          { return nil }
func (s *table) FitActions([]flow.Action, *flow.Match) error                { return nil }
func (s *table) Before(_, _ *flow.Rule) bool                                { return false }
func (s *table) Flush() error                                               { return nil }
func (s *table) Standing() []flow.Rule                                      { return nil }
func (s *table) DeletesByCookie() bool                                      { return false }
func (s *table) List(context.Context, Filter, func(*Installed) error) error { return nil }

func (s *table) Write(xid uint32, changes []Change, p *Packet, confirm bool) error {
	s.mu.Lock()
	for _, c := range changes {
		if c.Remove != nil {
			delete(s.rules, c.Remove.Rule.Cookie)
			continue
		}
		s.rules[c.Rule.Cookie] = *c.Rule
	}
	if p != nil && len(p.Actions) > 0 {
		s.sent = append(s.sent, p.In.Match)
	}
	mute := s.mute
	if mute && confirm {
		s.unheard = append(s.unheard, xid)
	}
	s.mu.Unlock()
	if confirm && !mute {
		go s.core.Written(xid, -1, nil)
	}
	return nil
}

func (s *table) state() (rules, sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rules), len(s.sent)
}

// local is a decider in place.
type local struct{ flow.DeciderFunc }

func (local) Local() bool { return true }

// tables makes a bridge with n switches whose decisions are made by decide.
func tables(t *testing.T, n int, decide flow.DeciderFunc) (*Bridge, []*table) {
	t.Helper()
	b, err := New(Config{Decider: local{decide}, LookInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	list := make([]*table, n)
	for i := range list {
		list[i] = &table{dpid: flow.DPID(i + 1), protocol: flow.OpenFlow13, rules: make(map[uint64]flow.Rule)}
		list[i].core = b.NewSession(t.Context(), list[i], SessionOptions{})
	}
	return b, list
}

// packet has a packet of TCP come in at a switch.
func (s *table) packet(from uint16) {
	var m flow.Match
	m.SetInPort(1)
	m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
	m.SetEthType(flow.EthTypeIPv4)
	m.SetIPProto(flow.ProtoTCP)
	m.SetL4Src(from)
	s.core.PacketIn(&flow.PacketIn{BufferID: flow.NoBuffer, Match: m, Data: []byte{1}, TotalLen: 1}, time.Now(), nil)
}

// on1 decides by one state, whose version is what version returns, and by a rule.
func on1(version func(p *flow.Match) uint64) flow.DeciderFunc {
	return func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn == nil {
			return nil
		}
		m := ev.PacketIn.Match
		d.Read = append(d.Read, at(1, version(&m)))
		d.Rules = append(d.Rules, flow.Rule{Priority: 9, HardTimeout: time.Minute, Match: m, Actions: []flow.Action{flow.OutputTo(flow.PortFlood)}})
		return nil
	}
}

// TestRevokeOnEverySwitch: a packet that moves a state waits until each switch has confirmed that the rules of the older one are gone.
func TestRevokeOnEverySwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, sw := tables(t, 3, on1(func(m *flow.Match) uint64 { return uint64(m.L4Src) }))
		sw[0].packet(1)
		sw[1].packet(1)
		synctest.Wait()
		sw[1].mu.Lock()
		sw[1].mute = true
		sw[1].mu.Unlock()
		sw[2].packet(2)
		synctest.Wait()
		if rules, sent := sw[2].state(); rules != 0 || sent != 0 {
			t.Errorf("before the other switch has confirmed: %d rules, %d packets sent", rules, sent)
		}
		for i := range 2 {
			if rules, _ := sw[i].state(); rules != 0 {
				t.Errorf("switch %d still has %d rules", i+1, rules)
			}
		}
		sw[1].core.Written(sw[1].unheard[0], -1, nil)
		synctest.Wait()
		if rules, sent := sw[2].state(); rules != 1 || sent != 1 {
			t.Errorf("when all have confirmed: %d rules, %d packets sent, want 1 and 1", rules, sent)
		}
		if n := b.revoking.Load(); n != 0 {
			t.Errorf("%d packets wait", n)
		}
		for _, s := range sw {
			s.core.Close()
		}
	})
}

// TestRevokeUnconfirmed: a switch that does not confirm, or whose connection ends meanwhile, costs the packet.
func TestRevokeUnconfirmed(t *testing.T) {
	for name, end := range map[string]func(s *table){
		"silent": func(*table) { time.Sleep(revokeWait) },
		"ended":  func(s *table) { s.core.Close() },
		"refused": func(s *table) {
			s.core.Written(s.unheard[0], 0, &Refusal{SwitchError: flow.SwitchError{Name: "no"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, sw := tables(t, 2, on1(func(m *flow.Match) uint64 { return uint64(m.L4Src) }))
				sw[0].packet(1)
				synctest.Wait()
				sw[0].mute = true
				sw[1].packet(2)
				synctest.Wait()
				end(sw[0])
				synctest.Wait()
				if rules, sent := sw[1].state(); rules != 0 || sent != 0 {
					t.Errorf("%d rules, %d packets sent, want none", rules, sent)
				}
				if drops := sw[1].core.Status().Drops; drops != 1 || b.revoking.Load() != 0 {
					t.Errorf("%d packets dropped, %d wait; want 1 and 0", drops, b.revoking.Load())
				}
				sw[1].packet(3)
				synctest.Wait()
				if rules, sent := sw[1].state(); rules != 1 || sent != 1 {
					t.Errorf("the next packet: %d rules, %d packets sent, want 1 and 1", rules, sent)
				}
				sw[0].core.Close()
				sw[1].core.Close()
			})
		})
	}
}

// TestRevokeIsBounded: ten times as many packets as may wait for a switch that confirms nothing.
func TestRevokeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, sw := tables(t, 2, func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn == nil {
				return nil
			}
			m := ev.PacketIn.Match
			if m.L4Src < 20000 { // each has a state of its own
				d.Read = append(d.Read, at(uint64(m.L4Src), 1))
				d.Rules = append(d.Rules, flow.Rule{Priority: 9, HardTimeout: time.Minute, Match: m})
				return nil
			}
			d.Revoke = append(d.Revoke, uint64(m.L4Src-20000))
			d.HasPacketOut = true
			return nil
		})
		const n = 10 * maxRevoking
		for i := range uint16(n) {
			sw[0].packet(i)
		}
		synctest.Wait()
		sw[0].mu.Lock()
		sw[0].mute = true
		sw[0].mu.Unlock()
		for i := range uint16(n) {
			sw[1].packet(20000 + i)
			if b.revoking.Load() > maxRevoking {
				t.Fatalf("%d packets wait", b.revoking.Load())
			}
		}
		synctest.Wait()
		if drops := sw[1].core.Status().Drops; drops != n-maxRevoking {
			t.Errorf("%d packets are dropped, want %d", drops, n-maxRevoking)
		}
		if rules, _ := sw[0].state(); rules != 0 {
			t.Errorf("%d rules stay that were revoked", rules)
		}
		sw[0].core.Close()
		sw[1].core.Close()
		synctest.Wait()
	})
}

// TestRevokeRaces has packets move states on several switches at once. Whatever the order: when all is quiet, no switch holds a rule
// that rests on an older version than was seen.
func TestRevokeRaces(t *testing.T) {
	const keys, switches, packets = 3, 4, 2000
	var mu sync.Mutex
	var now, seen [keys]uint64
	versions := make(map[uint16][]flow.StateVersion) // by the port of the packet
	_, sw := tables(t, switches, func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn == nil {
			return nil
		}
		m := ev.PacketIn.Match
		mu.Lock()
		for key := range uint64(keys) {
			if rand.IntN(2) == 0 {
				if rand.IntN(4) == 0 {
					now[key]++
				}
				d.Read = append(d.Read, at(key, now[key]+1))
			}
		}
		versions[m.L4Src] = slices.Clone(d.Read)
		mu.Unlock()
		if rand.IntN(2) == 0 {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
		}
		d.Rules = append(d.Rules, flow.Rule{Priority: 9, HardTimeout: time.Hour, Match: m, Actions: []flow.Action{flow.OutputTo(flow.PortFlood)}})
		return nil
	})
	var wg sync.WaitGroup
	for i, s := range sw {
		wg.Go(func() {
			for n := range uint16(packets) {
				s.packet(uint16(i)*packets + n)
			}
		})
	}
	wg.Wait()
	b := sw[0].core.b
	for end := time.Now().Add(10 * time.Second); b.revoking.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	b.book.mu.Lock()
	for key := range uint64(keys) {
		if k := b.book.keys[key]; k != nil {
			seen[key] = k.version
		}
	}
	b.book.mu.Unlock()
	held := 0
	for _, s := range sw {
		s.mu.Lock()
		for _, r := range s.rules {
			held++
			for _, v := range versions[r.Match.L4Src] {
				if v.Version < seen[v.Key] {
					t.Errorf("switch %d holds a rule of version %d of state %d, of which %d was seen", s.dpid, v.Version, v.Key, seen[v.Key])
				}
			}
		}
		s.mu.Unlock()
		s.core.Close()
	}
	if held == 0 {
		t.Error("no rule is left: the test shows nothing")
	}
}
