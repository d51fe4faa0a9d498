package header

import (
	"fmt"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Flags are those of a TCP header that must be there, and that must not. The zero value asks for nothing.
type Flags struct{ Set, Clear flow.TCPFlags }

// Validate says what is wrong with flags that are asked of packets of a condition.
func (f Flags) Validate(c *Condition) error {
	if f.Set&f.Clear != 0 {
		return fmt.Errorf("tcp_flags: a flag must be there and must not")
	}
	if f != (Flags{}) && !(c.Header.Has(flow.FieldIPProto) && c.Header.IPProto == flow.ProtoTCP) {
		return fmt.Errorf("tcp_flags: want ip_proto tcp, or a port of TCP, in its match")
	}
	return nil
}

// Match reports whether a packet's flags are as f asks.
func (f Flags) Match(flags flow.TCPFlags) bool { return flags&f.Set == f.Set && flags&f.Clear == 0 }

// Week is a week in minutes.
const Week = 7 * 24 * 60

// Span is a part of a week, in minutes since the beginning of Monday: from From until To.
type Span struct{ From, To uint16 }

// Shift says that local time is Offset seconds ahead of UTC from the time From on, which is in seconds since 1970.
type Shift struct {
	From   int64
	Offset int32
}

// guard is what a rule asks for beside a packet's headers: flags of TCP, and hours.
type guard struct {
	flags Flags
	hours []Span // sorted and apart; nil: always
	zone  []Shift
}

// guarded reports whether the rule depends on more than a packet's headers.
func (r *Rule) guarded() bool { return r.Flags != (Flags{}) || len(r.Hours) > 0 }

// sameGuard reports whether two rules ask for the same flags and hours.
func (r *Rule) sameGuard(o *Rule) bool { return r.Flags == o.Flags && slices.Equal(r.Hours, o.Hours) }

func (r *Rule) validateGuard(zone []Shift) error {
	for i := range r.conditions() {
		if err := r.Flags.Validate(r.condition(i)); err != nil {
			return err
		}
	}
	end := -1
	for _, s := range r.Hours {
		if int(s.From) <= end || s.From >= s.To || s.To > Week {
			return fmt.Errorf("hours: want parts of a week in their order, without overlap")
		}
		end = int(s.To)
	}
	if len(r.Hours) == 1 && r.Hours[0] == (Span{0, Week}) {
		return fmt.Errorf("hours: they cover the whole week: leave them out")
	}
	for i, s := range zone {
		if i > 0 && s.From <= zone[i-1].From || s.Offset < -86400 || s.Offset > 86400 {
			return fmt.Errorf("time_zone: want shifts in their order, of a day at most")
		}
	}
	switch {
	case r.Proactive && r.guarded():
		return fmt.Errorf("proactive: no switch can match hours or tcp_flags")
	case r.Action.Replies && r.Flags != (Flags{}):
		return fmt.Errorf("replies: a rule with tcp_flags installs nothing in the switch, so no reply could be recognised")
	}
	return nil
}

// secondOf returns the second of the week that a time is in a zone, and when the zone's offset changes.
func secondOf(at int64, zone []Shift) (second, next int64) {
	var offset int64
	next = 1<<63 - 1
	for _, s := range zone {
		if s.From > at {
			next = s.From
			break
		}
		offset = int64(s.Offset)
	}
	const day = 24 * 3600
	if second = (at + offset + 3*day) % (7 * day); second < 0 { // 1970 began on a Thursday
		second += 7 * day
	}
	return second, next
}

// MinuteOf returns the minute of the week that a time is in a zone.
func MinuteOf(at time.Time, zone []Shift) int {
	second, _ := secondOf(at.Unix(), zone)
	return int(second / 60)
}

// Open reports whether a time is within some hours of a zone, and for how long that stays so. The hours are sorted and apart.
func Open(hours []Span, zone []Shift, now time.Time) (open bool, left time.Duration) {
	at := now.Unix()
	second, next := secondOf(at, zone)
	const day = 24 * 3600
	until := int64(7 * day)
	if len(hours) > 0 {
		until += int64(hours[0].From) * 60
	}
	for _, s := range hours {
		from, to := int64(s.From)*60, int64(s.To)*60
		if second < from {
			until = from
			break
		}
		if second < to {
			open, until = true, to
			break
		}
	}
	return open, time.Unix(min(at+until-second, next), 0).Sub(now)
}

// holds reports whether a packet is as the guard asks, and notes in out what that depends on. If it can't tell, hidden names what isn't known of the packet.
func (g *guard) holds(p *policy.Packet, out *policy.Outcome) (ok bool, hidden string) {
	withheld := p.In != nil && p.In.Withheld
	if g.hours != nil {
		if p.Now.IsZero() {
			out.Unseen = withheld
			return false, "its time"
		}
		open, left := Open(g.hours, g.zone, p.Now)
		out.Limit(left)
		if !open {
			return false, ""
		}
	}
	if g.flags == (Flags{}) {
		return true, ""
	}
	out.NoRule = "tcp_flags"
	if p.In != nil {
		if flags, ok := p.In.ReadTCPFlags(); ok {
			return g.flags.Match(flags), ""
		}
	}
	out.Unseen = withheld
	return false, "tcp_flags"
}

// segment is a run of rules that ask for the same flags and hours.
type segment struct {
	index
	first int32 // rank of its first condition
	guard *guard
}

// decideGuarded is Decide for a policy in which some rules depend on more than headers.
func (l *link) decideGuarded(p *policy.Packet) policy.Outcome {
	var all policy.Outcome
	for i := range l.segments {
		s := &l.segments[i]
		rank, hidden, depends := s.find(p)
		all.Depends |= depends
		if rank == noRule {
			continue
		}
		lacks := ""
		if hidden != 0 {
			lacks = hidden.String()
		}
		if s.guard != nil {
			holds, unknown := s.guard.holds(p, &all)
			if all.Unseen {
				return all
			}
			if !holds && unknown == "" {
				continue
			}
			if lacks == "" {
				lacks = unknown
			}
		}
		out := *l.outcome(rank + s.first)
		if out.Reason = l.reason(rank + s.first); lacks != "" {
			out = policy.Outcome{Verdict: flow.Deny, Reason: out.Reason + " may apply, but the packet does not show " + lacks}
		}
		out.Depends, out.NoRule, out.Limited, out.Left = all.Depends, all.NoRule, all.Limited, all.Left
		return out
	}
	return all
}
