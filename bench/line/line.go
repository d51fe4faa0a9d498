// Package line counts how often a function is asked about a capture, by the rules that its answers install: a line of switches in the time of
// the capture, without any network.
package line

import (
	"context"
	"io"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/policy"
	"switchbridge/replay/capture"
)

// Line is a line of switches. Each has the rules that it would have; what it has none for it asks about.
type Line struct {
	Calls   int           // of the function
	Packets int           // that were played
	Lasts   time.Duration // until the last of them

	now      time.Time
	decider  flow.Decider
	switches []*table
}

// table is a switch's rules, by the fields that they match. All are of one priority and exact in these.
type table struct {
	sw    flow.Switch
	rules map[flow.Field]map[flow.Match]*installed
}

type installed struct {
	idle, hard time.Duration
	made, used time.Time
}

func (t *table) hit(m *flow.Match, now time.Time) bool {
	for fields, rules := range t.rules {
		if m.Fields&fields != fields {
			continue
		}
		key := m.Keep(fields)
		r := rules[key]
		switch {
		case r == nil:
		case r.idle > 0 && now.Sub(r.used) >= r.idle || r.hard > 0 && now.Sub(r.made) >= r.hard:
			delete(rules, key)
		default:
			r.used = now
			return true
		}
	}
	return false
}

func (t *table) add(r *flow.Rule, now time.Time) {
	rules := t.rules[r.Match.Fields]
	if rules == nil {
		rules = make(map[flow.Match]*installed)
		t.rules[r.Match.Fields] = rules
	}
	rules[r.Match] = &installed{idle: r.IdleTimeout, hard: r.HardTimeout, made: now, used: now}
}

// New makes a line of n switches and the function that they ask. With reuse the gateway uses answers again.
func New(p *policy.Policy, n int, reuse bool) *Line {
	l := &Line{}
	c := controller.New(p)
	function := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		l.Calls++
		return c.Decide(ctx, ev, d)
	})
	l.decider = function
	if reuse {
		memo := decider.NewReuse(function, decider.ReuseLimits{}, c.Version)
		memo.Now = func() time.Time { return l.now }
		l.decider = memo
	}
	for i := range n {
		l.switches = append(l.switches, &table{sw: flow.Switch{DPID: flow.DPID(1 + i), Protocol: flow.OpenFlow13}, rules: make(map[flow.Field]map[flow.Match]*installed)})
	}
	return l
}

// pass has a frame pass the line: by port 1 of its first switch, or, from a MAC address whose last bit is set, by port 2 of its last one.
func (l *Line) pass(ctx context.Context, frame []byte, size int) error {
	m := flow.ParseFrame(frame, 1)
	first, step := 0, 1
	if m.EthSrc[5]&1 != 0 {
		m.InPort, first, step = 2, len(l.switches)-1, -1
	}
	for i := first; i >= 0 && i < len(l.switches); i += step {
		t := l.switches[i]
		if t.hit(&m, l.now) {
			continue
		}
		pi := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: size, Match: m, Data: frame, Incomplete: m.Missing()}
		ev := flow.Event{Type: flow.EventPacketIn, XID: 1, Switch: &t.sw, PacketIn: &pi, Accepts: flow.AcceptsAll}
		var d flow.Decision
		if err := l.decider.Decide(ctx, &ev, &d); err != nil {
			return err
		}
		for j := range d.Rules {
			t.add(&d.Rules[j], l.now)
		}
		if d.Verdict == flow.Deny {
			return nil
		}
	}
	return nil
}

// Play has the line's switches get a capture's packets, limit of them or all where that is 0.
func (l *Line) Play(ctx context.Context, r *capture.Reader, limit int) error {
	begin := time.Unix(1_700_000_000, 0)
	for ctx.Err() == nil && (limit == 0 || l.Packets < limit) {
		p, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		l.Packets++
		l.Lasts = p.Offset
		l.now = begin.Add(p.Offset)
		if err := l.pass(ctx, p.Frame, p.WireLen); err != nil {
			return err
		}
	}
	return ctx.Err()
}
