package header

import (
	"net/netip"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// Flags of a header rule.
const (
	flagProactive = 1 << iota
	flagDeny
	flagQueue
	flagSrcPorts
	flagDstPorts
	flagReplies // a function that is older than these two lets no replies in
	flagNoReply
	flagReject // one that is older than this denies without a word
)

// Write implements [policy.Source]. Comments stay behind.
func (c *Config) Write(w *wire.Writer) {
	w.Uint(uint64(c.MaxProactive))
	w.Uint(uint64(len(c.Rules)))
	for i := range c.Rules {
		writeRule(w, &c.Rules[i])
	}
}

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	c := &Config{MaxProactive: int(r.Uint(0xffff))}
	for n := r.Count(minRule); n > 0 && r.Err() == nil; n-- {
		c.Rules = append(c.Rules, readRule(r))
	}
	return c
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
	if a.NoReply {
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
