package bridge

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// looked is a switch that takes its time to say what rules it has, and notes what it is told.
type looked struct {
	deaf
	takes time.Duration

	mu      sync.Mutex
	rules   []flow.Rule // as they were written
	looks   int
	under   int // looks under way
	most    int
	fail    error
	packets map[flow.PortNo]int // that were let go, by the port they came by
	xid     uint32
}

func (l *looked) Write(xid uint32, changes []Change, p *Packet, _ bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		if c.Rule != nil {
			l.rules, l.xid = append(l.rules, *c.Rule), xid
		}
	}
	if p != nil && len(p.Actions) > 0 {
		l.packets[p.In.Match.InPort]++
	}
	return nil
}

func (l *looked) List(ctx context.Context, f Filter, each func(*Installed) error) error {
	if f.Match == nil {
		return nil
	}
	l.mu.Lock()
	l.looks++
	l.under++
	l.most = max(l.most, l.under)
	rules, fail, takes := append([]flow.Rule(nil), l.rules...), l.fail, l.takes
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.under--
		l.mu.Unlock()
	}()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, r := range rules {
		if f.Selects(r.Cookie) && f.Match.Covers(&r.Match) {
			if err := each(&Installed{Rule: r, Forwards: r.Forwards()}); err != nil {
				return err
			}
		}
	}
	return fail
}

// seen returns what the switch was told and asked so far.
func (l *looked) seen() (rules []flow.Rule, looks, most int, answers int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(rules, l.rules...), l.looks, l.most, l.packets[2]
}

// becomes changes how it answers.
func (l *looked) becomes(takes time.Duration, fail error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takes, l.fail = takes, fail
}

// answering lets host 1 ask host 2, which may answer.
type answering struct{}

func (answering) Local() bool { return true }

func (answering) Decide(_ context.Context, ev *flow.Event, d *flow.Decision) error {
	d.Policy = flow.PolicyVersion{Serial: 1, Hash: 1}
	if ev.PacketIn == nil {
		return nil
	}
	m := ev.PacketIn.Match.Keep(flow.Conversation)
	if m.IPDst.Addr() == frames.Host(2).IP {
		idle := time.Minute
		if m.L4Dst == 23 {
			idle = time.Second
		}
		d.Verdict, d.Rules = flow.Allow, append(d.Rules, flow.Rule{Priority: 100, IdleTimeout: idle, Match: m, Actions: []flow.Action{flow.OutputTo(2)}})
		return nil
	}
	d.Verdict, d.Reason, d.Rules = flow.Deny, "no", append(d.Rules, flow.Rule{Priority: 100, IdleTimeout: time.Minute, Match: m})
	d.IfReply = &flow.Reply{Rules: []flow.Rule{{Priority: 100, IdleTimeout: time.Minute, Match: m, Actions: []flow.Action{flow.OutputTo(1)}}}}
	return nil
}

// talking runs f with a session of a switch.
func talking(t *testing.T, takes time.Duration, f func(s *Session, l *looked, say func(port flow.PortNo, frame []byte))) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Config{Decider: answering{}, LookInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		l := &looked{deaf: deaf{flow.Switch{DPID: 1, Protocol: flow.OpenFlow13}}, takes: takes, packets: map[flow.PortNo]int{}}
		s := b.NewSession(t.Context(), l, SessionOptions{})
		f(s, l, func(port flow.PortNo, frame []byte) {
			s.PacketIn(&flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: flow.ParseFrame(frame, port)}, time.Now(), nil)
		})
		s.Close()
		synctest.Wait()
	})
}

func question16(n int) []byte {
	return frames.TCP(frames.Host(1).At(uint16(10000+n)), frames.Host(2).At(22), frames.SYN, nil)
}

func answer16(n int) []byte {
	return frames.TCP(frames.Host(2).At(22), frames.Host(1).At(uint16(10000+n)), frames.ACK, nil)
}

// A rule of the last seconds is known without a look; one that the switch has refused, or that it says is gone, is not.
func TestRepliesRemembered(t *testing.T) {
	talking(t, time.Millisecond, func(s *Session, l *looked, say func(flow.PortNo, []byte)) {
		looks := func(what string, want int) {
			t.Helper()
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if _, got, _, _ := l.seen(); got != want {
				t.Errorf("%s: %d looks, want %d", what, got, want)
			}
		}
		say(2, answer16(0)) // from now on the session remembers
		looks("nobody asked", 1)
		say(1, question16(1))
		say(2, answer16(1))
		looks("a question of this moment", 1)
		if _, _, _, answers := l.seen(); answers != 1 {
			t.Error("its answer did not pass")
		}
		say(2, answer16(2))
		looks("another conversation", 2)

		say(1, question16(3))
		s.Written(l.xid, 0, &Refusal{SwitchError: flow.SwitchError{Name: "TABLE_FULL"}})
		say(2, answer16(3))
		looks("a question whose rule was refused", 3)

		say(1, question16(4))
		rules, _, _, _ := l.seen()
		gone := rules[len(rules)-1]
		s.Removed(&flow.FlowRemoved{Cookie: gone.Cookie, Match: gone.Match, Priority: 100}, time.Now())
		say(2, answer16(4))
		looks("a question whose rule has gone", 4)

		say(1, question16(5))
		time.Sleep(memoFor)
		say(2, answer16(5))
		looks("a question of three seconds ago", 5)
		for n := range 2 * memoMax {
			say(1, question16(100+n))
		}
		r := s.replies.Load()
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.memo) > memoMax || len(r.order) > memoMax {
			t.Errorf("%d conversations are remembered, %d in order", len(r.memo), len(r.order))
		}
	})
}

// A rule that the switch may have dropped by its idle timeout is looked for, however short ago it was installed.
func TestRepliesOfShortRules(t *testing.T) {
	talking(t, time.Millisecond, func(s *Session, l *looked, say func(flow.PortNo, []byte)) {
		say(2, answer16(0)) // from now on the session remembers
		question := frames.TCP(frames.Host(1).At(9), frames.Host(2).At(23), frames.SYN, nil)
		answer := frames.TCP(frames.Host(2).At(23), frames.Host(1).At(9), frames.ACK, nil)
		say(1, question)
		time.Sleep(900 * time.Millisecond)
		say(2, answer)
		synctest.Wait()
		if _, looks, _, answers := l.seen(); looks != 1 || answers != 1 {
			t.Errorf("while it must be there: %d looks, %d answers passed, want 1 of the start, and 1", looks, answers)
		}
		time.Sleep(200 * time.Millisecond)
		l.mu.Lock()
		l.rules = nil // it was idle
		l.mu.Unlock()
		say(2, answer)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if _, looks, _, answers := l.seen(); looks != 2 || answers != 1 {
			t.Errorf("when it has gone: %d looks, %d answers passed", looks, answers)
		}
	})
}

// Looks are bounded in number and rate, also where each takes long, and a flood from one port leaves others their places.
func TestRepliesBounded(t *testing.T) {
	for _, takes := range []time.Duration{time.Millisecond, 50 * time.Millisecond} {
		talking(t, takes, func(s *Session, l *looked, say func(flow.PortNo, []byte)) {
			say(1, question16(0))
			start := time.Now()
			for n := range 5000 {
				say(3, answer16(1+n))
				if n%50 == 0 {
					time.Sleep(10 * time.Millisecond)
				}
				if n == 2500 {
					say(2, answer16(0))
				}
			}
			time.Sleep(4 * lookRest * takes)
			synctest.Wait()
			_, looks, atOnce, answers := l.seen()
			if answers != 1 {
				t.Errorf("looks that take %v: the answer in the flood's midst did not pass", takes)
			}
			seconds := time.Since(start).Seconds()
			most := 100 + 200*seconds
			if busy := seconds/takes.Seconds() + lookers; busy < most { // as of one look after the other
				most = busy
			}
			if float64(looks) > most || atOnce > lookers {
				t.Errorf("looks that take %v: %d in %v s, %.0f at most; %d at a time", takes, looks, seconds, most, atOnce)
			}
			if looks < 20 {
				t.Errorf("looks that take %v: only %d", takes, looks)
			}
		})
	}
}

// Where the switch does not say what it has, the packet is dropped and nothing is left of it.
func TestRepliesUnknown(t *testing.T) {
	talking(t, time.Millisecond, func(s *Session, l *looked, say func(flow.PortNo, []byte)) {
		l.becomes(time.Millisecond, errors.New("no statistics"))
		say(2, answer16(0))
		time.Sleep(time.Second)
		l.becomes(time.Hour, nil)
		say(2, answer16(1))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if rules, _, _, answers := l.seen(); len(rules) != 0 || answers != 0 {
			t.Errorf("rules %v, %d answers", rules, answers)
		}
	})
}

// What is looked for when the gateway ends is carried out.
func TestRepliesDrained(t *testing.T) {
	talking(t, 300*time.Millisecond, func(s *Session, l *looked, say func(flow.PortNo, []byte)) {
		say(1, question16(0))
		say(2, answer16(0))
		s.b.Drain()
		if _, _, _, answers := l.seen(); answers != 1 {
			t.Error("the answer did not pass")
		}
	})
}

// A number says by itself, also after a restart, whether it is of a decision about a packet.
func TestNumbersOfPackets(t *testing.T) {
	b, err := New(Config{Decider: answering{}})
	if err != nil {
		t.Fatal(err)
	}
	first := b.Number()
	for range 1000 {
		packet, other, own := b.decision(&flow.Event{PacketIn: &flow.PacketIn{}}), b.decision(&flow.Event{}), b.Number()
		if !answersPacket(packet) || answersPacket(other) || answersPacket(own) || packet == 0 {
			t.Fatalf("%d, %d, %d", packet, other, own)
		}
		for _, n := range []uint32{packet, other, own} {
			if !b.issuedSince(n, first) || b.issued(n+1000) {
				t.Fatalf("%d: issued since %d: %t; %d issued: %t", n, first, b.issuedSince(n, first), n+1000, b.issued(n+1000))
			}
		}
	}
	if b.issuedSince(first-2, first) {
		t.Error("a number of before counts as given since")
	}
}
