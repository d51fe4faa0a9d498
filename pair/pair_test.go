package pair

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/flow"
	"switchbridge/internal/certs/certstest"
)

// arbiter is a switch: it obeys the claim with the highest generation.
type arbiter struct {
	dpid       flow.DPID
	master     int // member; -1: nobody
	generation uint64
	sessions   [2]uint64 // generation of the claim by which each member's session believes to govern; 0: it stands by
}

// meet is what a session does with its member's term: one that governs asks whether it is still obeyed, one that does not claims where its
// member leads.
func (a *arbiter) meet(m *Member) {
	member := int(m.Member())
	if a.sessions[member] != 0 && a.master != member {
		a.sessions[member] = 0
		m.Lost(a.dpid, a.generation)
	}
	t := m.Term(a.dpid)
	switch {
	case !t.Leads:
		a.sessions[member] = 0
	case t.Generation == a.sessions[member]:
	case t.Generation >= a.generation:
		a.master, a.generation, a.sessions[member] = member, t.Generation, t.Generation
	default:
		m.Seen(a.dpid, a.generation)
	}
}

func pairOf(t testing.TB) [2]*Member {
	t.Helper()
	var list [2]*Member
	for i := range list {
		m, err := New(Config{Peer: "peer", Server: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}, Client: new(tls.Config), Member: uint32(i), Prefer: i == 0})
		if err != nil {
			t.Fatal(err)
		}
		list[i] = m
	}
	return list
}

// hears has a member hear of its peer at a time.
func (m *Member) hears(peer *Member, now time.Time) {
	peer.mu.Lock()
	st := peer.state()
	peer.mu.Unlock()
	m.mu.Lock()
	m.hear(now, st)
	m.mu.Unlock()
}

func leaders(pair [2]*Member) (list []int) {
	for i, m := range pair {
		if m.Term(0).Leads {
			list = append(list, i)
		}
	}
	return list
}

// TestPairModel drives two members and three switches through random failures: of the link, of either gateway's way to the switches, and of a
// gateway that is stopped for a while. Whatever happens, a switch that obeyed one claim never obeys an earlier one, and no packet of its is decided by a state that
// is older than what the other gateway has made of it since, though each has its own; and once all is well again, exactly one gateway leads, all switches obey it,
// and it stays so.
func TestPairModel(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) { model(t, seed) })
	}
}

func model(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	pair := pairOf(t)
	switches := []*arbiter{{dpid: 1, master: -1}, {dpid: 2, master: -1}, {dpid: 3, master: -1}}
	link := true
	reach := [2]bool{true, true}
	var states [2]map[flow.DPID]int // of each member: the change that it knows of a switch's state
	latest := map[flow.DPID]int{}   // of all changes
	for i, m := range pair {
		m.cfg.Claims = func() { states[i] = map[flow.DPID]int{} }
		m.cfg.Switches = func() []flow.DPID {
			if !reach[i] {
				return nil
			}
			return []flow.DPID{1, 2, 3}
		}
	}
	stopped := [2]bool{}
	step := func() {
		time.Sleep(DefaultPoll)
		now := time.Now()
		for i, m := range pair {
			if stopped[i] {
				continue
			}
			if link && !stopped[1-i] {
				m.hears(pair[1-i], now)
			}
			m.look(now)
			if !reach[i] {
				continue
			}
			for _, s := range switches {
				before := s.generation
				s.meet(m)
				if s.generation < before {
					t.Fatalf("seed %d: a switch goes back from generation %d to %d", seed, before, s.generation)
				}
				if s.master != i || s.sessions[i] != s.generation {
					continue // it sends its packets to the other one
				}
				if known := states[i][s.dpid]; known != 0 && known != latest[s.dpid] {
					t.Fatalf("seed %d: member %d decides by change %d of a state of which %d were made", seed, i, known, latest[s.dpid])
				}
				if random.IntN(2) == 0 {
					latest[s.dpid]++
					states[i][s.dpid] = latest[s.dpid]
				}
			}
		}
	}
	for range 300 {
		switch random.IntN(20) {
		case 0:
			link = !link
		case 1:
			i := random.IntN(2)
			reach[i] = !reach[i]
		case 2:
			i := random.IntN(2)
			stopped[i] = !stopped[i]
		}
		step()
	}
	link, reach, stopped = true, [2]bool{true, true}, [2]bool{}
	for range 20 {
		step()
	}
	who := leaders(pair)
	if len(who) != 1 {
		t.Fatalf("seed %d: when all is well %v lead: %+v, %+v", seed, who, pair[0].Status(), pair[1].Status())
	}
	for range 100 {
		step()
		if again := leaders(pair); !slices.Equal(again, who) {
			t.Fatalf("seed %d: the lead goes from %v to %v though all is well", seed, who, again)
		}
	}
	for i, s := range switches {
		if s.master != who[0] {
			t.Errorf("seed %d: switch %d obeys %d, and %d leads", seed, i, s.master, who[0])
		}
	}
}

// TestClaimsNeverTie: two claims at the same moment have different generations.
func TestClaimsNeverTie(t *testing.T) {
	pair := pairOf(t)
	now := time.Now()
	for i, m := range pair {
		m.mu.Lock()
		m.claim(now, "test")
		m.mu.Unlock()
		if got := m.Term(0).Generation & 1; got != uint64(i) {
			t.Errorf("the generation of member %d ends in %d", i, got)
		}
	}
	if pair[0].Term(0).Generation == pair[1].Term(0).Generation {
		t.Error("two claims tie")
	}
	later := pair[0].Term(0).Generation + 1<<20
	pair[0].Seen(1, later)
	if g := pair[0].Term(0).Generation; g <= later || g&1 != 0 {
		t.Errorf("after a switch has seen %d the claim is %d", later, g)
	}
}

// TestLyingSwitch: one switch that says it obeys the other gateway, or names generations without end, costs no other switch its gateway.
func TestLyingSwitch(t *testing.T) {
	pair := pairOf(t)
	now := time.Now()
	m := pair[0]
	m.hears(pair[1], now)
	m.look(now)
	before := m.Term(0)
	if !before.Leads {
		t.Fatal("nobody leads")
	}
	for _, generation := range []uint64{0, before.Generation + 1, 1 << 62, 1<<64 - 1, 1<<64 - 2} {
		m.Lost(1, generation)
	}
	for _, generation := range []uint64{1 << 62, 1<<64 - 1, 1<<64 - 2} {
		m.Seen(1, generation)
	}
	if after := m.Term(0); !after.Leads || after.Generation != before.Generation {
		t.Errorf("the pair has gone from %+v to %+v", before, after)
	}
	pair[1].mu.Lock()
	pair[1].claim(now, "test")
	pair[1].mu.Unlock()
	m.hears(pair[1], now)
	if m.Lost(1, pair[1].Term(0).Generation); m.Term(0).Leads {
		t.Error("a switch that obeys the other gateway, which leads, is not believed")
	}
}

// TestLyingSwitchCutLink has one of three switches say that it obeys the other gateway, and name a higher generation each time, while the link is cut:
// the others keep their gateway and hear of few claims, and this one is claimed again after a while. When most of them say so they are believed.
func TestLyingSwitchCutLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := pairOf(t)[0]
		m.cfg.Switches = func() []flow.DPID { return []flow.DPID{1, 2, 3} }
		look := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				time.Sleep(DefaultPoll)
				m.look(time.Now())
			}
		}
		look(startWait*DefaultTimeout + time.Second)
		if !m.Term(1).Leads {
			t.Fatal("it does not lead alone")
		}
		claims, last := 0, m.Term(2).Generation
		for began := time.Now(); time.Since(began) < 20*time.Minute; look(DefaultPoll) {
			t1 := m.Term(1)
			if t1.Leads {
				m.Lost(1, 0)
				m.Lost(1, t1.Generation+2)
				m.Seen(1, t1.Generation+2)
			}
			now := m.Term(2)
			if !now.Leads || !m.Term(3).Leads {
				t.Fatalf("after %v the liar has cost the others their gateway", time.Since(began))
			}
			if now.Generation != last {
				claims, last = claims+1, now.Generation
			}
		}
		if claims < 3 || claims > 12 {
			t.Errorf("the others were claimed %d times in 20 minutes", claims)
		}
		m.Lost(2, 0)
		if m.Term(3).Leads {
			t.Error("two of three switches obey the other gateway, and are not believed")
		}
	})
}

// TestRaisingSwitch has a switch name a higher generation after each claim while the link is whole: it is left alone, and not claimed above without end.
func TestRaisingSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := pairOf(t)
		m := pair[0]
		claims, last := 0, uint64(0)
		for range int(10 * time.Minute / DefaultPoll) {
			time.Sleep(DefaultPoll)
			m.hears(pair[1], time.Now())
			m.look(time.Now())
			if t1 := m.Term(1); t1.Leads {
				m.Seen(1, t1.Generation+2)
			}
			if now := m.Term(2); now.Generation != last {
				claims, last = claims+1, now.Generation
				if !now.Leads {
					t.Fatal("another switch has lost its gateway")
				}
			}
		}
		if claims < 2 || claims > 15 {
			t.Errorf("a switch that is honest was claimed %d times in ten minutes", claims)
		}
	})
}

// TestSplitSwitches cuts the link while each gateway reaches switches that the other does not, and one that both reach: each keeps its own, and the one
// between them changes its gateway seldom.
func TestSplitSwitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := pairOf(t)
		switches := []*arbiter{{dpid: 1, master: -1}, {dpid: 2, master: -1}, {dpid: 3, master: -1}}
		reach := [2][]*arbiter{switches[:2], switches[1:]}
		for i, m := range pair {
			m.cfg.Switches = func() []flow.DPID { return []flow.DPID{reach[i][0].dpid, reach[i][1].dpid} }
		}
		changes := 0
		for i := range int(20 * time.Minute / DefaultPoll) {
			time.Sleep(DefaultPoll)
			before := switches[1].master
			for who, m := range pair {
				m.look(time.Now())
				for _, s := range reach[who] {
					s.meet(m)
				}
			}
			if switches[1].master != before {
				changes++
			}
			if i > int(3*time.Second/DefaultPoll) && (!pair[0].Term(1).Leads || !pair[1].Term(3).Leads) {
				t.Fatalf("a gateway gives up a switch that only it reaches: %+v, %+v", pair[0].Status(), pair[1].Status())
			}
		}
		if changes < 2 || changes > 12 {
			t.Errorf("the switch between them has changed its gateway %d times in 20 minutes", changes)
		}
	})
}

// TestCutLink: with the link cut and both reaching the switches, the two do not claim in turn for ever.
func TestCutLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := pairOf(t)
		s := &arbiter{master: -1}
		changes := 0
		for range int(20 * time.Minute / DefaultPoll) {
			time.Sleep(DefaultPoll)
			for _, m := range pair {
				m.look(time.Now())
				before := s.master
				s.meet(m)
				if s.master != before {
					changes++
				}
			}
		}
		if changes < 2 || changes > 12 {
			t.Errorf("the switch has changed its master %d times in 20 minutes of a cut link", changes)
		}
	})
}

// TestStopped: a leader that was stopped for longer than its peer waits says so, from the moment it goes on until it has asked: who asks it in between must not
// take it for the leader where the switch can't tell.
func TestStopped(t *testing.T) {
	for name, row := range map[string]struct {
		peer  func(pair [2]*Member) // what has become of the peer meanwhile; nil: it does not answer
		leads bool
	}{
		"the peer leads":           {func(pair [2]*Member) { pair[1].claim(time.Now(), "test") }, false},
		"the peer stands by":       {func([2]*Member) {}, true},
		"the peer does not answer": {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pair := pairOf(t)
				m := pair[0]
				m.hears(pair[1], time.Now())
				m.look(time.Now())
				for range 20 {
					time.Sleep(DefaultPoll)
					m.hears(pair[1], time.Now())
					m.look(time.Now())
					if term := m.Term(1); !term.Leads || term.Unsure {
						t.Fatalf("%+v: it was not stopped", term)
					}
				}
				changed := m.Term(1).Changed
				time.Sleep(2 * time.Second)
				if !m.Term(1).Unsure {
					t.Error("before anything else has run it is sure that it leads")
				}
				m.look(time.Now())
				if !m.Term(1).Unsure {
					t.Error("it is sure that it leads, and has asked nobody")
				}
				if row.peer != nil {
					pair[1].mu.Lock()
					row.peer(pair)
					pair[1].mu.Unlock()
				}
				for range 5 {
					time.Sleep(DefaultPoll)
					if row.peer != nil {
						m.hears(pair[1], time.Now())
						if !m.Term(1).Unsure && m.Term(1).Leads != row.leads {
							t.Fatal("it is sure before it has looked at the answer")
						}
					}
					m.look(time.Now())
				}
				if term := m.Term(1); term.Leads != row.leads || term.Unsure {
					t.Errorf("in the end %+v", term)
				}
				select {
				case <-changed:
				default:
					t.Error("who waits for it is not told")
				}
			})
		})
	}
}

// TestFirst: where neither leads, the newer policy counts first, then who is preferred, then the member.
func TestFirst(t *testing.T) {
	for _, row := range []struct {
		name           string
		serial, peers  uint64
		prefer, peer   bool
		member, theirs uint32
		want           bool
	}{
		{"newer policy", 2, 1, false, true, 1, 0, true},
		{"older policy", 1, 2, true, false, 0, 1, false},
		{"preferred", 1, 1, true, false, 1, 0, true},
		{"peer preferred", 1, 1, false, true, 0, 1, false},
		{"member 0", 1, 1, true, true, 0, 1, true},
		{"member 1", 1, 1, true, true, 1, 0, false},
	} {
		m := &Member{cfg: Config{Serial: func() uint64 { return row.serial }, Prefer: row.prefer, Member: row.member}}
		m.peer = State{Serial: row.peers, Prefer: row.peer, Member: row.theirs}
		if got := m.first(); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

// linked are two members over mutual TLS on loopback.
func linked(t *testing.T, change func(i int, c *Config)) [2]*Member {
	t.Helper()
	ca := certstest.New(t)
	var listeners [2]net.Listener
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
	}
	var pair [2]*Member
	for i := range pair {
		cert := ca.Issue(t, fmt.Sprintf("gateway-%d", i), time.Now().Add(time.Hour))
		cfg := Config{Listener: listeners[i], Peer: listeners[1-i].Addr().String(), Member: uint32(i), Prefer: i == 0, Timeout: 2 * time.Second,
			Server: &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert},
			Client: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: ca.Pool()}}
		if change != nil {
			change(i, &cfg)
		}
		m, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		pair[i] = m
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, m := range pair {
		wg.Go(func() {
			if err := m.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return pair
}

// leads waits until one member leads and its peer knows.
func leads(t *testing.T, pair [2]*Member, who int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		t0 := pair[who].Term(0)
		if st := pair[1-who].Status(); t0.Leads && !st.Leads && st.PeerIs != nil && st.PeerIs.Leads {
			return
		}
		select {
		case <-t0.Changed:
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("member %d does not take the lead: %+v, %+v", who, pair[0].Status(), pair[1].Status())
}

// TestHandover hands the lead over and back, with packets that the old leader still has.
func TestHandover(t *testing.T) {
	var mu sync.Mutex
	var got []string
	held := 0
	pair := linked(t, func(i int, c *Config) {
		c.Hold = func(context.Context) error { held++; return nil }
		refused := false
		c.Receive = func(dpid flow.DPID, p *flow.PacketIn) error {
			mu.Lock()
			defer mu.Unlock()
			if !refused { // it does not govern the switch yet
				refused = true
				return fmt.Errorf("not yet")
			}
			got = append(got, fmt.Sprintf("%d %v %v %s", i, dpid, p.Match.InPort, p.Data))
			return nil
		}
	})
	leads(t, pair, 0)
	if err := pair[1].Handover(t.Context()); err == nil || !strings.Contains(err.Error(), "does not lead") {
		t.Errorf("a handover by the one that stands by: %v", err)
	}
	if err := pair[0].Handover(t.Context()); err != nil {
		t.Fatal(err)
	}
	leads(t, pair, 1)
	for i := range 3 {
		in := flow.PacketIn{Data: fmt.Appendf(nil, "frame %d", i)}
		in.Match.SetInPort(4)
		if !pair[0].PassOn(7, &in) {
			t.Errorf("packet %d is not passed on", i)
		}
	}
	want := []string{"1 0000000000000007 4 frame 0", "1 0000000000000007 4 frame 1", "1 0000000000000007 4 frame 2"}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		have := slices.Clone(got)
		mu.Unlock()
		if slices.Equal(have, want) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the new leader has got %q, want %q", have, want)
		}
	}
	if err := pair[1].Handover(t.Context()); err != nil {
		t.Fatal(err)
	}
	leads(t, pair, 0)
	if held != 2 {
		t.Errorf("the switches were held %d times, want 2", held)
	}
}

// TestHandoverFails: switches that confirm nothing leave the lead where it is.
func TestHandoverFails(t *testing.T) {
	pair := linked(t, func(_ int, c *Config) {
		c.Hold = func(context.Context) error { return fmt.Errorf("a switch is silent") }
	})
	leads(t, pair, 0)
	before := pair[0].Term(0).Generation
	if err := pair[0].Handover(t.Context()); err == nil || !strings.Contains(err.Error(), "a switch is silent") {
		t.Errorf("handover: %v", err)
	}
	if term := pair[0].Term(0); !term.Leads || term.Holds || term.Generation <= before {
		t.Errorf("after a handover that failed: %+v, before generation %d", term, before)
	}
}

// TestHandoverToOlder: a gateway with an older policy is not given the lead.
func TestHandoverToOlder(t *testing.T) {
	pair := linked(t, func(i int, c *Config) { c.Serial = func() uint64 { return 5 - uint64(i) } })
	leads(t, pair, 0)
	if err := pair[0].Handover(t.Context()); err == nil || !strings.Contains(err.Error(), "has an older policy, of serial 4, and this one has 5") {
		t.Errorf("handover: %v", err)
	}
	if term := pair[0].Term(0); !term.Leads || term.Holds {
		t.Errorf("after it: %+v", term)
	}
	if pair[1].Newest() != 5 || pair[0].Newest() != 4 {
		t.Errorf("they know %d and %d of each other", pair[0].Newest(), pair[1].Newest())
	}
}

// TestOlderPolicyLeadsAlone: a gateway with an older policy takes the lead from one that does not answer, says so, and would give it back as soon as that has
// answered for long enough. It does neither where an operator has said that its policy counts.
func TestOlderPolicyLeadsAlone(t *testing.T) {
	for _, rolledBack := range []bool{false, true} {
		t.Run(fmt.Sprint("rolled back: ", rolledBack), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pair := pairOf(t)
				m, newer := pair[0], pair[1]
				reg := prometheus.NewRegistry()
				m.cfg.Metrics = NewMetrics(reg)
				m.cfg.Serial, newer.cfg.Serial = func() uint64 { return 4 }, func() uint64 { return 5 }
				m.cfg.Behind = func(serial uint64) bool { return serial > 4 && !rolledBack }
				older := func() float64 {
					t.Helper()
					families, err := reg.Gather()
					if err != nil {
						t.Fatal(err)
					}
					for _, f := range families {
						if f.GetName() == "switchbridge_pair_older_policy" {
							return f.GetMetric()[0].GetGauge().GetValue()
						}
					}
					t.Fatal("no such metric")
					return 0
				}
				says := func(when string, leads bool) {
					t.Helper()
					want := leads && !rolledBack
					if st := m.Status(); st.Leads != leads || st.Older != want || (older() == 1) != want {
						t.Errorf("%s: leads %v, says that its policy is older: %v, the metric %v; want %v, %v", when, st.Leads, st.Older, older(), leads, want)
					}
				}
				for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(DefaultPoll) {
					m.hears(newer, time.Now())
					m.look(time.Now())
				}
				says("while the newer one answers", false)
				for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(DefaultPoll) {
					m.look(time.Now())
				}
				says("alone", true)
				if m.gives(time.Now()) {
					t.Error("it gives the lead to one that does not answer")
				}
				answered := time.Now()
				gave := 0
				for time.Since(answered) < olderFor+giveAgain-time.Second {
					m.hears(newer, time.Now())
					m.look(time.Now())
					if m.gives(time.Now()) {
						if gave++; time.Since(answered) < olderFor {
							t.Errorf("it gives the lead away after %v", time.Since(answered))
						}
					}
					time.Sleep(DefaultPoll)
				}
				says("beside the newer one", true)
				if want := 1; rolledBack && gave != 0 || !rolledBack && gave != want {
					t.Errorf("it would have given the lead away %d times", gave)
				}
			})
		})
	}
}

// TestNewerPolicyIsGivenTheLead: a leader whose policy stays older than that of a peer which answers hands over, if the peer is connected to all switches.
func TestNewerPolicyIsGivenTheLead(t *testing.T) {
	var serials [2]atomic.Uint64
	var switches [2]atomic.Uint64
	var held atomic.Int64
	for i := range serials {
		serials[i].Store(4)
		switches[i].Store(3)
	}
	switches[1].Store(2)
	pair := linked(t, func(i int, c *Config) {
		c.Serial = serials[i].Load
		c.Switches = func() []flow.DPID { return make([]flow.DPID, switches[i].Load()) }
		c.Hold = func(context.Context) error { held.Add(1); return nil }
		c.olderFor = 50 * time.Millisecond
	})
	leads(t, pair, 0)
	serials[1].Store(5)
	pair[0].give(t.Context())
	if term := pair[0].Term(0); !term.Leads || held.Load() != 0 {
		t.Errorf("it has given the lead to one that is connected to fewer switches: %+v, held %d times", term, held.Load())
	}
	switches[1].Store(3)
	pair[0].mu.Lock()
	pair[0].older = time.Time{} // it need not wait for its next attempt
	pair[0].mu.Unlock()
	leads(t, pair, 1)
	if held.Load() == 0 {
		t.Error("the switches were not held: packets may have been lost")
	}
}

// TestStrangers: who shows no certificate of the pair's authority learns and moves nothing.
func TestStrangers(t *testing.T) {
	pair := linked(t, nil)
	leads(t, pair, 0)
	other := certstest.New(t)
	for name, cfg := range map[string]*tls.Config{
		"none":    {InsecureSkipVerify: true},
		"another": {InsecureSkipVerify: true, Certificates: []tls.Certificate{other.Issue(t, "stranger", time.Now().Add(time.Hour))}},
	} {
		stranger := &Member{cfg: Config{Peer: pair[0].cfg.Listener.Addr().String()}, client: newClient(cfg, time.Second)}
		if err := stranger.call(t.Context(), "GET", "/pair/v1/state", nil, new(State)); err == nil {
			t.Errorf("%s: a stranger is answered", name)
		}
		if _, err := stranger.tellClaim(t.Context(), 1<<62); err == nil {
			t.Errorf("%s: a stranger moves the lead", name)
		}
	}
	if g := pair[0].Term(0).Generation; g >= 1<<62 {
		t.Errorf("a stranger has set the generation to %d", g)
	}
}

// TestConfig: what can't be right is refused.
func TestConfig(t *testing.T) {
	good := Config{Server: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}, Client: new(tls.Config)}
	for name, change := range map[string]func(c *Config){
		"member":         func(c *Config) { c.Member = 2 },
		"certificates":   func(c *Config) { c.Server = new(tls.Config) },
		"at least twice": func(c *Config) { c.Poll, c.Timeout = time.Second, time.Second },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
