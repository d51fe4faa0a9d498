package header

import (
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
	for n := r.Count(8); n > 0 && r.Err() == nil; n-- {
		c.Rules = append(c.Rules, readRule(r))
	}
	return c
}

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
	for n := r.Count(1); n > 0 && r.Err() == nil; n-- {
		a.Output = append(a.Output, flow.PortNo(r.Uint(0xffffffff)))
	}
	if a.SetQueue {
		a.Queue = uint32(r.Uint(0xffffffff))
	}
	a.Meter = uint32(r.Uint(0xffffffff))
}

// matchFields are the fields that a header rule may look at, in the order in which they are written.
var matchFields = []struct {
	field flow.Field
	write func(*wire.Writer, *flow.Match)
	read  func(*wire.Reader, *flow.Match)
}{
	{flow.FieldInPort,
		func(w *wire.Writer, m *flow.Match) { w.Uint(uint64(m.InPort)) },
		func(r *wire.Reader, m *flow.Match) { m.InPort = flow.PortNo(r.Uint(0xffffffff)) }},
	{flow.FieldEthDst,
		func(w *wire.Writer, m *flow.Match) { w.MAC(m.EthDst, m.EthDstMask) },
		func(r *wire.Reader, m *flow.Match) { m.EthDst, m.EthDstMask = r.MAC() }},
	{flow.FieldEthSrc,
		func(w *wire.Writer, m *flow.Match) { w.MAC(m.EthSrc, m.EthSrcMask) },
		func(r *wire.Reader, m *flow.Match) { m.EthSrc, m.EthSrcMask = r.MAC() }},
	{flow.FieldEthType,
		func(w *wire.Writer, m *flow.Match) { w.Uint(uint64(m.EthType)) },
		func(r *wire.Reader, m *flow.Match) { m.EthType = uint16(r.Uint(0xffff)) }},
	{flow.FieldVLAN,
		func(w *wire.Writer, m *flow.Match) { w.Uint(uint64(m.VLAN)); w.Uint(uint64(m.VLANMask)) },
		func(r *wire.Reader, m *flow.Match) {
			m.VLAN, m.VLANMask = uint16(r.Uint(0xffff)), uint16(r.Uint(0xffff))
		}},
	{flow.FieldIPProto,
		func(w *wire.Writer, m *flow.Match) { w.Byte(m.IPProto) },
		func(r *wire.Reader, m *flow.Match) { m.IPProto = r.Byte() }},
	{flow.FieldIPSrc,
		func(w *wire.Writer, m *flow.Match) { w.Prefix(m.IPSrc) },
		func(r *wire.Reader, m *flow.Match) { m.IPSrc = r.Prefix() }},
	{flow.FieldIPDst,
		func(w *wire.Writer, m *flow.Match) { w.Prefix(m.IPDst) },
		func(r *wire.Reader, m *flow.Match) { m.IPDst = r.Prefix() }},
	{flow.FieldICMPType,
		func(w *wire.Writer, m *flow.Match) { w.Byte(m.ICMPType) },
		func(r *wire.Reader, m *flow.Match) { m.ICMPType = r.Byte() }},
	{flow.FieldICMPCode,
		func(w *wire.Writer, m *flow.Match) { w.Byte(m.ICMPCode) },
		func(r *wire.Reader, m *flow.Match) { m.ICMPCode = r.Byte() }},
	{flow.FieldARPOp,
		func(w *wire.Writer, m *flow.Match) { w.Uint(uint64(m.ARPOp)) },
		func(r *wire.Reader, m *flow.Match) { m.ARPOp = uint16(r.Uint(0xffff)) }},
	{flow.FieldARPSPA,
		func(w *wire.Writer, m *flow.Match) { w.Prefix(m.ARPSPA) },
		func(r *wire.Reader, m *flow.Match) { m.ARPSPA = r.Prefix() }},
	{flow.FieldARPTPA,
		func(w *wire.Writer, m *flow.Match) { w.Prefix(m.ARPTPA) },
		func(r *wire.Reader, m *flow.Match) { m.ARPTPA = r.Prefix() }},
}

func writeMatch(w *wire.Writer, m *flow.Match) {
	w.Uint(uint64(m.Fields))
	for i := range matchFields {
		if f := &matchFields[i]; m.Has(f.field) {
			f.write(w, m)
		}
	}
}

func readMatch(r *wire.Reader, m *flow.Match) {
	m.Fields = flow.Field(r.Uint(0xffffffff)) // Validate refuses what a rule may not look at
	for i := range matchFields {
		if f := &matchFields[i]; m.Has(f.field) {
			f.read(r, m)
		}
	}
}
