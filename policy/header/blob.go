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
	var flags byte
	for _, f := range []struct {
		set  bool
		flag byte
	}{
		{rule.Proactive, flagProactive}, {rule.Action.Deny, flagDeny}, {rule.Action.SetQueue, flagQueue},
		{rule.Match.Src != nil, flagSrcPorts}, {rule.Match.Dst != nil, flagDstPorts},
		{rule.Action.Replies, flagReplies}, {rule.Action.NoReply, flagNoReply},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	w.Text(rule.Name)
	w.Uint(uint64(rule.Priority))
	w.Byte(flags)
	writeMatch(w, &rule.Match.Header)
	for _, ports := range []*PortRange{rule.Match.Src, rule.Match.Dst} {
		if ports != nil {
			w.Uint(uint64(ports.First))
			w.Uint(uint64(ports.Last))
		}
	}
	w.Uint(uint64(len(rule.Action.Output)))
	for _, port := range rule.Action.Output {
		w.Uint(uint64(port))
	}
	if rule.Action.SetQueue {
		w.Uint(uint64(rule.Action.Queue))
	}
	w.Uint(uint64(rule.Action.Meter))
}

func readRule(r *wire.Reader) (rule Rule) {
	rule.Name = r.Text()
	rule.Priority = uint16(r.Uint(0xffff))
	flags := r.Byte()
	rule.Proactive = flags&flagProactive != 0
	rule.Action.Deny = flags&flagDeny != 0
	rule.Action.Replies, rule.Action.NoReply = flags&flagReplies != 0, flags&flagNoReply != 0
	rule.Action.SetQueue = flags&flagQueue != 0
	readMatch(r, &rule.Match.Header)
	ports := func(flag byte) *PortRange {
		if flags&flag == 0 {
			return nil
		}
		return &PortRange{First: uint16(r.Uint(0xffff)), Last: uint16(r.Uint(0xffff))}
	}
	rule.Match.Src = ports(flagSrcPorts)
	rule.Match.Dst = ports(flagDstPorts)
	for n := r.Count(1); n > 0 && r.Err() == nil; n-- {
		rule.Action.Output = append(rule.Action.Output, flow.PortNo(r.Uint(0xffffffff)))
	}
	if rule.Action.SetQueue {
		rule.Action.Queue = uint32(r.Uint(0xffffffff))
	}
	rule.Action.Meter = uint32(r.Uint(0xffffffff))
	return rule
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
