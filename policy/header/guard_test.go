package header

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/policy"
)

// Hours are those of a clock on the wall, over two years of a place with summer time, and what a rule is told of their end is true.
func TestHours(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"} {
		place, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, uint64(len(name))))
		for range 40 {
			days := [7]bool{}
			for d := range days {
				days[d] = coin(r, 2)
			}
			from, to := r.IntN(day), r.IntN(day)
			if from == to {
				continue
			}
			if to < from {
				to += day
			}
			g := guard{hours: spans(days, [][2]int{{from, to}}), zone: ShiftsOf(place)}
			wall := func(at time.Time) bool {
				in := at.In(place)
				minute, d := in.Hour()*60+in.Minute(), (int(in.Weekday())+6)%7
				return days[d] && from <= minute && minute < to || days[(d+6)%7] && minute+day < to
			}
			at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
			for at.Year() < 2027 {
				open, left := Open(g.hours, g.zone, at)
				if open != wall(at) {
					t.Fatalf("%s, days %v from %d to %d: %v is open: %v", name, days, from, to, at.In(place), open)
				}
				if left <= 0 || left > 8*24*time.Hour {
					t.Fatalf("%v of it are left", left)
				}
				for range 3 {
					if inside := at.Add(time.Duration(r.Int64N(int64(left)))); wall(inside) != open {
						t.Fatalf("%s, days %v from %d to %d: from %v on it is said to stay so for %v, and is not so at %v", name, days, from, to, at.In(place), left, inside.In(place))
					}
				}
				at = at.Add(min(left, time.Duration(1+r.Int64N(int64(40*time.Hour)))))
			}
		}
	}
}

// flagged is a packet of TCP with flags.
func flagged(flags uint8) *flow.PacketIn {
	frame := frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(22), flags, nil)
	return &flow.PacketIn{Match: flow.ParseFrame(frame, 1), Data: frame}
}

// Rules with hours and flags decide as if those that they don't hold for were not there.
func TestGuardsAgainstOracle(t *testing.T) {
	var open, shut, byFlags int
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		c := randomConfig(r, 1+r.IntN(30))
		for i := range c.Rules {
			rule := &c.Rules[i]
			switch r.IntN(4) {
			case 0:
				rule.Hours = spans([7]bool{coin(r, 2), true, coin(r, 2)}, [][2]int{{r.IntN(700), 800 + r.IntN(600)}})
			case 1:
				rule.Flags, rule.Match, rule.Or = Flags{Set: flow.SYN}, Condition{}, nil
				rule.Match.Header.SetIPProto(flow.ProtoTCP)
			}
		}
		if err := c.Validate(nil); err != nil {
			t.Fatal(err)
		}
		link := c.Compile()
		for range 200 {
			now := time.Unix(1_780_000_000+r.Int64N(7*86400), 0)
			m := randomPacket(r)
			in := &flow.PacketIn{Match: m, TCPFlags: flow.TCPFlags(r.Uint32N(4)), HasTCPFlags: true}
			if m.IPProto != flow.ProtoTCP {
				in.HasTCPFlags = false
			}
			rest := &Config{}
			for _, rule := range c.Rules {
				g := guard{hours: rule.Hours}
				if now, _ := Open(g.hours, g.zone, now); len(rule.Hours) > 0 && !now {
					shut++
					continue
				}
				if rule.Flags != (Flags{}) && !rule.Flags.Match(in.TCPFlags) {
					continue
				}
				rest.Rules = append(rest.Rules, rule)
			}
			p := policy.NewPacket(&m)
			p.In, p.Now = in, now
			out := link.Decide(p)
			want, reason := oracle(rest, &m), ""
			if want >= 0 {
				reason = "header: " + rest.Rules[want].Name
				if len(rest.Rules[want].Hours) > 0 {
					if open++; !out.Limited {
						t.Errorf("seed %d: what %s decides is for ever", seed, reason)
					}
				}
				if rest.Rules[want].Flags != (Flags{}) {
					if byFlags++; out.NoRule == "" {
						t.Errorf("seed %d: what %s decides may get a rule", seed, reason)
					}
				}
			}
			if out.Reason != reason {
				t.Fatalf("seed %d, %v at %v: %q, want %q", seed, m, now, out.Reason, reason)
			}
			if out.Limited && out.Left <= 0 {
				t.Errorf("it holds for %v", out.Left)
			}
		}
	}
	if open == 0 || shut == 0 || byFlags == 0 {
		t.Errorf("%d rules decide in their hours, %d are out of them, %d decide by flags", open, shut, byFlags)
	}
}

// Where the time or the flags are not known, a rule that hangs on them denies, or the packet is asked about again in an encoding that says them.
func TestGuardsUnknown(t *testing.T) {
	c := &Config{Rules: []Rule{{Name: "work", Priority: 100, Hours: []Span{{0, 100}}}, {Name: "syn", Priority: 90, Flags: Flags{Set: flow.SYN}}}}
	c.Rules[0].Match.Header.SetIPProto(flow.ProtoUDP)
	c.Rules[1].Match.Header.SetIPProto(flow.ProtoTCP)
	link := c.Compile()
	udp := frames.UDP(frames.Host(1).At(40000), frames.Host(2).At(53), nil)
	for name, row := range map[string]struct {
		in     flow.PacketIn
		want   string
		unseen bool
	}{
		"no time":        {flow.PacketIn{Match: flow.ParseFrame(udp, 1)}, "header: work may apply, but the packet does not show its time", false},
		"time withheld":  {flow.PacketIn{Match: flow.ParseFrame(udp, 1), Withheld: true}, "", true},
		"no flags":       {flow.PacketIn{Match: flagged(0).Match}, "header: syn may apply, but the packet does not show tcp_flags", false},
		"flags withheld": {flow.PacketIn{Match: flagged(0).Match, Withheld: true}, "", true},
		"flags":          {*flagged(frames.SYN), "header: syn", false},
		"other flags":    {*flagged(frames.ACK), "", false},
	} {
		p := policy.NewPacket(&row.in.Match)
		p.In = &row.in
		if out := link.Decide(p); out.Reason != row.want || out.Unseen != row.unseen {
			t.Errorf("%s: %q, unseen %v", name, out.Reason, out.Unseen)
		}
	}
}

func TestGuardsValidate(t *testing.T) {
	tcp := Condition{}
	tcp.Header.SetIPProto(flow.ProtoTCP)
	work := []Span{{60, 120}}
	many := &Config{}
	for i := range 70 {
		many.Rules = append(many.Rules, Rule{Priority: 100, Match: tcp, Hours: []Span{{uint16(i), uint16(i + 1)}}})
	}
	for what, c := range map[string]*Config{
		"flags of UDP":       {Rules: []Rule{{Priority: 1, Flags: Flags{Set: flow.SYN}}}},
		"both":               {Rules: []Rule{{Priority: 1, Match: tcp, Flags: Flags{Set: flow.SYN, Clear: flow.SYN}}}},
		"out of order":       {Rules: []Rule{{Priority: 1, Hours: []Span{{60, 120}, {0, 10}}}}},
		"beyond the week":    {Rules: []Rule{{Priority: 1, Hours: []Span{{60, Week + 1}}}}},
		"empty":              {Rules: []Rule{{Priority: 1, Hours: []Span{{60, 60}}}}},
		"all the week":       {Rules: []Rule{{Priority: 1, Hours: []Span{{0, Week}}}}},
		"proactive":          {Rules: []Rule{{Priority: 1, Hours: work, Proactive: true}}},
		"replies to flags":   {Rules: []Rule{{Priority: 1, Match: tcp, Flags: Flags{Set: flow.SYN}, Action: Action{Replies: true}}}},
		"reject proactively": {Rules: []Rule{{Priority: 1, Action: Action{Deny: true, Reject: true}, Proactive: true}}},
		"shifts":             {Zone: []Shift{{5, 0}, {5, 3600}}, Rules: []Rule{{Priority: 1, Hours: work}}},
		"far away":           {Zone: []Shift{{5, 90000}}, Rules: []Rule{{Priority: 1, Hours: work}}},
		"too many changes":   many,
	} {
		if c.Validate(nil) == nil {
			t.Errorf("%s: it is valid", what)
		}
	}
	slices.Reverse(many.Rules)
	for i := range many.Rules {
		many.Rules[i].Hours = work
	}
	if err := many.Validate(nil); err != nil {
		t.Errorf("the same hours: %v", err)
	}
}
