package header

import (
	"net/netip"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// Flags of a header rule.
const (
	flagProactive = 1 << iota // of an action without a rule: its decisions are logged
	flagDeny
	flagQueue
	flagSrcPorts
	flagDstPorts
	flagReplies // a function that is older than these two lets no replies in
	flagNoReply
	flagReject // one that is older than this denies without a word
)

// extended is a bit of the number that a compiled entry begins with. It says that rules have more parts than in the first version. A function that doesn't
// know the bit refuses the entry, since it would decide without these parts.
const extended = 1 << 16

// logging is another bit there: each rule has one more byte, which says whether its decisions are logged.
const logging = 1 << 17

// Write implements [policy.Source]. Comments stay behind.
func (c *Config) Write(w *wire.Writer) {
	more := len(c.Zone) > 0 || slices.ContainsFunc(c.Rules, func(r Rule) bool { return len(r.Or) > 0 || r.guarded() })
	first := uint64(c.MaxProactive)
	if more {
		first |= extended
	}
	logged := slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Action.Log })
	if logged {
		first |= logging
	}
	w.Uint(first)
	w.Uint(uint64(len(c.Rules)))
	for i := range c.Rules {
		if writeRule(w, &c.Rules[i]); more {
			c.Rules[i].writeMore(w)
		}
		if logged {
			w.Byte(wire.Bit(1, c.Rules[i].Action.Log))
		}
	}
	if more {
		w.Uint(uint64(len(c.Zone)))
		for _, s := range c.Zone {
			w.Uint(uint64(s.From))
			w.Uint(uint64(s.Offset + 86400))
		}
	}
}

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	first := r.Uint(logging | extended | 0xffff)
	c := &Config{MaxProactive: int(first & 0xffff)}
	for n := r.Count(minRule); n > 0 && r.Err() == nil; n-- {
		rule := readRule(r)
		if first&extended != 0 {
			rule.readMore(r)
		}
		if first&logging != 0 {
			rule.Action.Log = r.Byte() != 0
		}
		c.Rules = append(c.Rules, rule)
	}
	if first&extended == 0 {
		return c
	}
	for n := r.Count(2); n > 0 && r.Err() == nil; n-- {
		c.Zone = append(c.Zone, Shift{From: int64(r.Uint(1 << 62)), Offset: int32(r.Uint(2*86400)) - 86400})
	}
	return c
}

func (r *Rule) writeMore(w *wire.Writer) {
	w.Uint(uint64(len(r.Or)))
	for i := range r.Or {
		r.Or[i].Write(w)
	}
	w.Byte(byte(r.Flags.Set))
	w.Byte(byte(r.Flags.Clear))
	w.Uint(uint64(len(r.Hours)))
	for _, s := range r.Hours {
		w.Uint(uint64(s.From))
		w.Uint(uint64(s.To))
	}
}

func (r *Rule) readMore(rd *wire.Reader) {
	for n := rd.Count(2); n > 0 && rd.Err() == nil; n-- {
		r.Or = append(r.Or, ReadCondition(rd))
	}
	r.Flags = Flags{Set: flow.TCPFlags(rd.Byte()), Clear: flow.TCPFlags(rd.Byte())}
	for n := rd.Count(2); n > 0 && rd.Err() == nil; n-- {
		r.Hours = append(r.Hours, Span{uint16(rd.Uint(Week)), uint16(rd.Uint(Week))})
	}
}

// minRule is how many bytes a rule takes at least: the lengths of its name and
// outputs, its priority, flags, fields and meter.
const minRule = 6

func writeRule(w *wire.Writer, rule *Rule) {
	flags := rule.Action.flags() | rule.Match.portFlags()
	if rule.Proactive {
		flags |= flagProactive
	}
	w.Text(rule.Name)
	w.Uint(uint64(rule.Priority))
	w.Byte(flags)
	writeMatch(w, &rule.Match.Header)
	rule.Match.writePorts(w)
	rule.Action.writeRest(w)
}

func readRule(r *wire.Reader) (rule Rule) {
	rule.Name = r.Text()
	rule.Priority = uint16(r.Uint(0xffff))
	flags := r.Byte()
	rule.Proactive = flags&flagProactive != 0
	readMatch(r, &rule.Match.Header)
	rule.Match.readPorts(r, flags)
	rule.Action.readRest(r, flags)
	return rule
}

func (c *Condition) portFlags() (flags byte) {
	if c.Src != nil {
		flags |= flagSrcPorts
	}
	if c.Dst != nil {
		flags |= flagDstPorts
	}
	return flags
}

func (c *Condition) writePorts(w *wire.Writer) {
	for _, ports := range []*PortRange{c.Src, c.Dst} {
		if ports != nil {
			w.Uint(uint64(ports.First))
			w.Uint(uint64(ports.Last))
		}
	}
}

func (c *Condition) readPorts(r *wire.Reader, flags byte) {
	ports := func(flag byte) *PortRange {
		if flags&flag == 0 {
			return nil
		}
		return &PortRange{First: uint16(r.Uint(0xffff)), Last: uint16(r.Uint(0xffff))}
	}
	c.Src, c.Dst = ports(flagSrcPorts), ports(flagDstPorts)
}

func (a *Action) flags() (flags byte) {
	if a.Deny {
		flags |= flagDeny
	}
	if a.SetQueue {
		flags |= flagQueue
	}
	if a.Replies {
		flags |= flagReplies
	}
	if a.NoReply || a.Strict { // with flagReplies it is strict; a function that is older takes that for a mistake and refuses the policy
		flags |= flagNoReply
	}
	if a.Reject {
		flags |= flagReject
	}
	return flags
}

func (a *Action) writeRest(w *wire.Writer) {
	w.Uint(uint64(len(a.Output)))
	for _, port := range a.Output {
		w.Uint(uint64(port))
	}
	if a.SetQueue {
		w.Uint(uint64(a.Queue))
	}
	w.Uint(uint64(a.Meter))
}

func (a *Action) readRest(r *wire.Reader, flags byte) {
	a.Deny, a.SetQueue = flags&flagDeny != 0, flags&flagQueue != 0
	a.Reject = flags&flagReject != 0
	a.Replies, a.NoReply = flags&flagReplies != 0, flags&flagNoReply != 0
	if a.Replies && a.NoReply && !a.Deny {
		a.Strict, a.NoReply = true, false
	}
	for n := r.Count(1); n > 0 && r.Err() == nil; n-- {
		a.Output = append(a.Output, flow.PortNo(r.Uint(0xffffffff)))
	}
	if a.SetQueue {
		a.Queue = uint32(r.Uint(0xffffffff))
	}
	a.Meter = uint32(r.Uint(0xffffffff))
}

// writeMatch writes the bits of the fields, and their values in the order of the
// bits.
func writeMatch(w *wire.Writer, m *flow.Match) {
	w.Uint(uint64(m.Fields))
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		x := (rest & -rest).Info()
		v, mask := x.Number(m)
		switch x.Kind {
		case flow.Number8:
			w.Byte(byte(v))
		case flow.VLANTag:
			w.Uint(v)
			w.Uint(mask)
		case flow.Address, flow.MaskedMAC:
			w.MAC(x.MAC(m))
		case flow.Prefix:
			w.Prefix(x.Prefix(m))
		case flow.IPv6:
			w.Prefix(netip.PrefixFrom(x.Addr(m), 128))
		default:
			w.Uint(v)
		}
	}
}

func readMatch(r *wire.Reader, m *flow.Match) {
	fields := flow.Field(r.Uint(0xffffffff))
	m.Fields = fields // Validate refuses what a rule may not look at
	for rest := fields & conditionFields; rest != 0; rest &= rest - 1 {
		switch x := (rest & -rest).Info(); x.Kind {
		case flow.Number8:
			x.SetNumber(m, uint64(r.Byte()), 0)
		case flow.VLANTag:
			v := r.Uint(0xffff)
			x.SetNumber(m, v, r.Uint(0xffff))
		case flow.Address, flow.MaskedMAC:
			a, mask := r.MAC()
			x.SetMAC(m, a, mask)
		case flow.Prefix:
			x.SetPrefix(m, r.Prefix())
		case flow.IPv6:
			x.SetAddr(m, r.Prefix().Addr())
		default:
			x.SetNumber(m, r.Uint(x.Ones()), 0)
		}
	}
}
