package p4bridge

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
	"switchbridge/internal/testlong"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/p4test"
)

// lead is a pair of which the test says who leads.
type lead struct {
	member uint32

	mu      sync.Mutex
	term    bridge.Term
	changed chan struct{}
	lost    int
	peer    func(*flow.PacketIn) error // takes the packets that are passed on; nil: nobody does
	passed  int
}

func newLead(member uint32) *lead {
	l := &lead{member: member, changed: make(chan struct{})}
	l.term.Changed = l.changed
	return l
}

func (l *lead) set(leads bool, generation uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	l.term = bridge.Term{Leads: leads, Generation: generation, Changed: l.changed}
}

func (l *lead) Term(flow.DPID) bridge.Term {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// hold says that the lead is about to be handed over.
func (l *lead) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	l.term.Holds, l.term.Changed = true, l.changed
}

// PassOn gives a packet to the other gateway, as soon as that takes it.
func (l *lead) PassOn(_ flow.DPID, p *flow.PacketIn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer == nil {
		return false
	}
	l.passed++
	in := flow.PacketIn{Reason: p.Reason, Data: bytes.Clone(p.Data)}
	in.Match.SetInPort(p.Match.InPort)
	go func(peer func(*flow.PacketIn) error) {
		for range 12000 {
			if peer(&in) == nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}(l.peer)
	return true
}

func (l *lead) Lost(flow.DPID, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost++
}

func (l *lead) losses() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func (l *lead) Member() uint32         { return l.member }
func (l *lead) Newest() uint64         { return 0 }
func (l *lead) Seen(flow.DPID, uint64) {}

// TestPair has two gateways serve one switch: the one that leads is its primary, the other writes nothing, and one that does not know
// that it has lost the lead learns it from the switch.
func TestPair(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		leads := [2]*lead{newLead(0), newLead(1)}
		var sessions [2]*Session
		for i := range sessions {
			cfg := fastConfig(r)
			cfg.Miss = MissPunt
			cfg.Bridge = bridgeOf(t, local{toPort(flow.PortNo(2 + i))}, func(c *bridge.Config) { c.Pair = leads[i] })
			sessions[i] = run(t, cfg, nil)
		}
		state := func(i int, want string) {
			t.Helper()
			eventually(t, "gateway "+string('0'+rune(i))+" is "+want, func() bool { return sessions[i].Status().State == want })
		}
		state(0, "standby")
		leads[0].set(true, 100)
		state(0, "serving")
		r.packet(t, 1, udp(1, 9, 1000))
		expect(t, r, 2, udp(1, 9, 1000))

		// The other one claims with a higher generation, and the first learns of it from the switch alone.
		leads[1].set(true, 103)
		state(1, "serving")
		eventually(t, "the first gateway learns that it has lost the lead", func() bool { return leads[0].losses() > 0 })
		leads[0].set(false, 103)
		state(0, "standby")
		r.packet(t, 1, udp(1, 9, 2000))
		expect(t, r, 3, udp(1, 9, 2000))
		quiet(t, r, udp(1, 9, 2000), 100*time.Millisecond) // and nobody sends it twice

		leads[1].set(false, 103) // it yields by itself
		state(1, "standby")
		leads[0].set(true, 110)
		state(0, "serving")
		r.packet(t, 1, udp(1, 9, 3000))
		expect(t, r, 2, udp(1, 9, 3000))
	})
}

// TestPairChanges has the lead change many times: the leader is gone, it doesn't know, or it hands over.
func TestPairChanges(t *testing.T) { pairChanges(t, 12) }

// TestLongPairChanges is that a hundred times.
func TestLongPairChanges(t *testing.T) {
	testlong.Need(t)
	pairChanges(t, 100)
}

func pairChanges(t *testing.T, changes int) {
	onBoth(t, func(t *testing.T, r rig) {
		var leads [2]*lead
		var sessions [2]*Session
		var stop [2]func()
		start := func(i int) {
			leads[i] = newLead(uint32(i))
			cfg := fastConfig(r)
			cfg.Miss = MissPunt
			cfg.Bridge = bridgeOf(t, local{toPort(flow.PortNo(2 + i))}, func(c *bridge.Config) { c.Pair = leads[i] })
			sessions[i], stop[i] = runUntil(t, cfg, nil)
		}
		state := func(i int, want string) {
			t.Helper()
			eventually(t, "gateway "+string('0'+rune(i))+" is "+want, func() bool { return sessions[i].Status().State == want })
		}
		for i := range sessions {
			start(i)
			defer func() { stop[i]() }()
		}
		generation := uint64(100)
		leads[0].set(true, generation)
		state(0, "serving")
		for n := range changes {
			from, to := n%2, 1-n%2
			generation += 2
			switch n % 3 {
			case 0: // it is gone
				stop[from]()
				leads[to].set(true, generation|uint64(to))
			case 1: // it doesn't know, as one that was stopped, and learns it from the switch
				leads[to].set(true, generation|uint64(to))
				eventually(t, "the old leader learns that it has lost the lead", func() bool { return leads[from].losses() > 0 })
				leads[from].set(false, generation|uint64(to))
			case 2: // a handover
				leads[from].set(false, generation|uint64(to))
				state(from, "standby")
				leads[to].set(true, generation|uint64(to))
			}
			state(to, "serving")
			if n%3 == 0 {
				start(from)
			}
			state(from, "standby")
			frame := udp(1, 9, uint16(1000+n))
			r.packet(t, 1, frame)
			expect(t, r, uint32(2+to), frame)
			quiet(t, r, frame, 20*time.Millisecond) // and by nobody else
		}
	})
}

// TestHandoverLosesNothing hands the lead over again and again while packets of new flows come: each leaves once, though for a moment neither gateway may
// write, and whichever of them the switch gave it to.
func TestHandoverLosesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		leads, sessions, _ := pairOf(t, r, nil)
		state := func(i int, want string) {
			t.Helper()
			eventually(t, "gateway "+string('0'+rune(i))+" is "+want, func() bool { return sessions[i].Status().State == want })
		}
		generation := uint64(100)
		leads[0].set(true, generation)
		state(0, "serving")

		stop, sent := make(chan struct{}), make(chan int, 1)
		go func() {
			n := 0
			for ticker := time.NewTicker(10 * time.Millisecond); ; n++ {
				select {
				case <-stop:
					sent <- n
					return
				case <-ticker.C:
					r.packet(t, 1, udp(1, 9, uint16(1000+n)))
				}
			}
		}()
		for n := range 6 {
			from, to := n%2, 1-n%2
			time.Sleep(50 * time.Millisecond) // so that there are packets on either side
			leads[from].hold()
			if err := sessions[from].Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			generation = (generation>>1+1)<<1 | uint64(to)
			leads[to].set(true, generation)
			leads[from].set(false, generation)
			state(to, "serving")
			state(from, "standby")
		}
		close(stop)
		want := <-sent
		left := make(map[string]int)
		over := time.After(time.Minute) // it comes sooner or later: this is about what is lost
		for waiting := true; waiting; {
			select {
			case f := <-r.out():
				if f.Port == 1 {
					continue
				}
				if left[string(f.Data)]++; len(left) == want {
					over = time.After(2 * time.Second) // so long for what comes twice
				}
			case <-over:
				waiting = false
			}
		}
		for n := range want {
			if times := left[string(udp(1, 9, uint16(1000+n)))]; times != 1 {
				t.Errorf("packet %d of %d left %d times", n, want, times)
			}
		}
		if leads[0].passed+leads[1].passed == 0 {
			t.Error("no packet came while the lead was handed over: nothing was tried")
		}
	})
}

// pairOf has two gateways serve a switch, each of which sends what it decides by a port of its own. change may change their configurations.
func pairOf(t *testing.T, r rig, change func(i int, c *Config)) (leads [2]*lead, sessions [2]*Session, stop [2]func()) {
	t.Helper()
	for i := range sessions {
		leads[i] = newLead(uint32(i))
		cfg := fastConfig(r)
		cfg.Miss = MissPunt
		cfg.Bridge = bridgeOf(t, local{toPort(flow.PortNo(2 + i))}, func(c *bridge.Config) { c.Pair = leads[i] })
		if change != nil {
			change(i, &cfg)
		}
		sessions[i], stop[i] = runUntil(t, cfg, nil)
		stop[i] = sync.OnceFunc(stop[i])
		t.Cleanup(stop[i])
	}
	for i, l := range leads {
		l.peer = sessions[1-i].Receive
	}
	return leads, sessions, stop
}

// wire is a session's way to its switch, which can be cut.
type wire struct {
	dial func(ctx context.Context, addr string) (net.Conn, error)

	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func (w *wire) connect(ctx context.Context, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		return nil, errors.New("the wire is cut")
	}
	c, err := w.dial(ctx, addr)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, c := range w.conns {
		c.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = false
}

// standsBy waits until a session has its stream as a backup.
func standsBy(t *testing.T, s *Session) {
	t.Helper()
	eventually(t, "it stands by, with a stream", func() bool { st := s.Status(); return st.State == "standby" && st.Error == "" })
}

// leftOnce asserts that frames leave by a port, each once and by no other one, until a while after the last.
func leftOnce(t *testing.T, r rig, port uint32, list [][]byte) {
	t.Helper()
	left := make(map[string]int)
	for timeout := time.After(10 * time.Second); len(left) < len(list); {
		select {
		case f := <-r.out():
			if f.Port == port {
				left[string(f.Data)]++
				timeout = time.After(10 * time.Second)
			} else if f.Port != 1 {
				t.Errorf("a frame left by port %d, want %d", f.Port, port)
			}
			continue
		case <-timeout:
		}
		break
	}
	for quiet := time.After(200 * time.Millisecond); ; {
		select {
		case f := <-r.out():
			left[string(f.Data)]++
			continue
		case <-quiet:
		}
		break
	}
	for i, frame := range list {
		if n := left[string(frame)]; n != 1 {
			t.Errorf("frame %d of %d left %d times", i, len(list), n)
		}
	}
}

// TestStandbyKeepsPackets: when the leader is gone, the switch gives its packets to the gateway that stands by, and that decides them as soon as it leads.
func TestStandbyKeepsPackets(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		leads, sessions, stop := pairOf(t, r, nil)
		leads[0].set(true, 100)
		serving(t, sessions[0])
		standsBy(t, sessions[1])
		told := newBare(t, r, 1) // a third one, which is only told of a new primary
		told.arbitration(t)
		stop[0]()
		told.arbitration(t)
		var sent [][]byte
		for n := range 20 {
			sent = append(sent, udp(1, 9, uint16(1000+n)))
			r.packet(t, 1, sent[n])
			time.Sleep(5 * time.Millisecond)
		}
		leads[1].set(true, 103)
		leftOnce(t, r, 3, sent)
		serving(t, sessions[1])
	})
}

// TestStandbyGivesPacketsBack: when the leader has lost its stream and comes back, it decides what the switch gave to the other gateway in the meantime.
func TestStandbyGivesPacketsBack(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		w := wire{dial: r.dial}
		leads, sessions, _ := pairOf(t, r, func(i int, c *Config) {
			if i == 0 {
				c.Dial = w.connect
			}
		})
		leads[0].set(true, 100)
		serving(t, sessions[0])
		standsBy(t, sessions[1])
		told := newBare(t, r, 1) // a third one, which is only told of a new primary
		told.arbitration(t)
		w.cut()
		told.arbitration(t) // until then the switch gives packets to the stream that was cut
		var sent [][]byte
		for n := range 20 {
			sent = append(sent, udp(1, 9, uint16(1000+n)))
			r.packet(t, 1, sent[n])
			time.Sleep(5 * time.Millisecond)
		}
		w.mend()
		leftOnce(t, r, 2, sent)
		leads[1].mu.Lock()
		defer leads[1].mu.Unlock()
		if leads[1].passed == 0 {
			t.Error("the other gateway has received none of them: nothing was tried")
		}
	})
}

// TestStandbyDropsOldPackets: what a gateway has kept for two seconds without taking the lead is not decided by it later, when its sender has sent it again.
func TestStandbyDropsOldPackets(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	leads, sessions, stop := pairOf(t, r, nil)
	leads[0].set(true, 100)
	serving(t, sessions[0])
	standsBy(t, sessions[1])
	stop[0]()
	eventually(t, "the switch gives a packet to the other gateway, which passes it on in vain", func() bool {
		r.packet(t, 1, udp(1, 9, 1000))
		leads[1].mu.Lock()
		defer leads[1].mu.Unlock()
		return leads[1].passed > 0
	})
}

// TestStandbySaysWhatItLacks: a gateway that stands by says that it has no stream to the switch, and that the switch runs another program than it would push.
func TestStandbySaysWhatItLacks(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	log := new(logbuffer.Buffer)
	w := wire{dial: r.dial}
	leads, sessions, _ := pairOf(t, r, func(i int, c *Config) {
		if i == 1 {
			c.Dial = w.connect
			c.Logger = slog.New(slog.NewTextHandler(log, nil))
			other := *c.Pipeline
			other.Cookie++
			m, err := mapping.Default().Bind(&other)
			if err != nil {
				t.Fatal(err)
			}
			c.Pipeline, c.Mapping = &other, m
			c.ProbeEvery = 20 * time.Millisecond
		}
	})
	leads[0].set(true, 100)
	serving(t, sessions[0])
	standsBy(t, sessions[1])
	eventually(t, "it says that the switch runs another program", func() bool {
		return strings.Contains(log.String(), "the switch runs another program than this gateway's")
	})
	w.cut()
	eventually(t, "it says that it has no stream", func() bool { st := sessions[1].Status(); return st.State == "standby" && st.Error != "" })
	w.mend()
	standsBy(t, sessions[1])
}

// TestHeldWritesNothing: who hands the lead over removes no entry any more whose time is over. The switch would refuse that and end his term, and
// would have nobody for packets that come before the other one leads.
func TestHeldWritesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		leads, sessions, _ := pairOf(t, r, nil)
		leads[0].set(true, 100)
		eventually(t, "the first gateway leads", func() bool { return sessions[0].Status().State == "serving" })
		frame := udp(1, 9, 1000)
		r.packet(t, 1, frame)
		expect(t, r, 2, frame)
		leads[0].hold()
		if err := sessions[0].Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		o := sessions[0].serves.Load()
		o.mu.Lock()
		keys := slices.Collect(maps.Keys(o.book.entries))
		o.mu.Unlock()
		for _, key := range keys {
			o.retire(key, flow.RemovedIdle)
		}
		if !o.waiting() {
			t.Fatal("there is no entry to remove: nothing was tried")
		}
		o.wakeUp()
		eventually(t, "the owner has looked at them", func() bool { return !o.waiting() })
		if _, err := o.c.installedCookie(t.Context()); err != nil || leads[0].losses() > 0 || sessions[0].serves.Load() != o {
			t.Errorf("the gateway has lost its term: %v", err)
		}
		frame = udp(1, 9, 2000)
		r.packet(t, 1, frame) // to the one that holds, which passes it on
		leads[1].set(true, 103)
		leads[0].set(false, 103)
		expect(t, r, 3, frame)
	})
}

// TestNextElectionIDIsAnothers: a gateway that has asked for no mark takes the next election id for another client's, and learns that it is a backup.
func TestNextElectionIDIsAnothers(t *testing.T) {
	c := &client{cfg: new(Config), ctx: t.Context(), election: ElectionID{Low: 10}, arbitration: make(chan *p4v1.MasterArbitrationUpdate, 1), marked: make(chan struct{}, 1)}
	c.arbitrated(&p4v1.MasterArbitrationUpdate{ElectionId: &p4v1.Uint128{Low: 11}, Status: &status.Status{Code: int32(codes.AlreadyExists)}})
	if len(c.arbitration) != 1 || len(c.marked) != 0 {
		t.Errorf("%d updates and %d marks, want the update", len(c.arbitration), len(c.marked))
	}
}

// TestHandoverWaitsForPackets: a handover waits until the switch has taken the packets that it was sent before, however much faster it answers
// calls; and for a switch that takes nothing, or does not say so, no longer than it may.
func TestHandoverWaitsForPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &client{cfg: new(Config), ctx: t.Context(), election: claimOf(7), send: make(chan *p4v1.StreamMessageRequest, 2), marked: make(chan struct{}, 1)}
		took := func(limit time.Duration) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			c.taken(ctx)
			return time.Since(began)
		}
		c.send <- new(p4v1.StreamMessageRequest) // a packet
		go func() {
			time.Sleep(300 * time.Millisecond) // and the switch takes its time
			<-c.send
			u := (<-c.send).GetArbitration()
			c.arbitrated(&p4v1.MasterArbitrationUpdate{ElectionId: c.electionID()}) // of before
			time.Sleep(100 * time.Millisecond)
			c.arbitrated(&p4v1.MasterArbitrationUpdate{ElectionId: u.GetElectionId()})
		}()
		if d := took(time.Hour); d != 400*time.Millisecond {
			t.Errorf("it waited for %v, want the switch's answer, after 400 ms", d)
		}
		if d := took(time.Hour); d != takenWithin {
			t.Errorf("it waited for %v for a switch that doesn't answer, want %v", d, takenWithin)
		}
		c.send <- nil // and now the queue is full
		if d := took(time.Millisecond); d != time.Millisecond {
			t.Errorf("it waited for %v, want no longer than it was given", d)
		}
	})
}
