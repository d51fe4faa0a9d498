package blob

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/header"
)

// The body's parts as mirror pairs of writer and reader.

type writer struct{ b []byte }

type reader struct {
	b   []byte
	at  int
	err error // the first; after it everything reads as zero
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (w *writer) byte(v byte) { w.b = append(w.b, v) }

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (w *writer) bytes(v []byte) { w.b = append(w.b, v...) }

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b)-r.at {
		r.fail("%d bytes wanted, %d left", n, len(r.b)-r.at)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

// uint reads a number of at most limit.
func (r *reader) uint(limit uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || v > limit {
		r.fail("number is cut short or more than %d", limit)
		return 0
	}
	r.at += n
	return v
}

// count reads how many items follow, each of at least size bytes: no more than there are bytes for.
func (r *reader) count(size int) int {
	n := r.uint(1 << 31)
	if left := len(r.b) - r.at; n*uint64(size) > uint64(left) {
		r.fail("%d items in %d bytes", n, left)
		return 0
	}
	return int(n)
}

func (w *writer) text(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (r *reader) text() string { return string(r.take(r.count(1))) }

func (w *writer) install(i *policy.Install) {
	w.byte(byte(i.Rule))
	w.uint(uint64(i.IdleTimeout / time.Second))
	w.uint(uint64(i.HardTimeout / time.Second))
	w.uint(uint64(i.Priority))
	w.byte(i.Table)
}

func (r *reader) install(i *policy.Install) {
	*i = policy.Install{
		Rule:        policy.Granularity(r.byte()),
		IdleTimeout: time.Duration(r.uint(0xffff)) * time.Second,
		HardTimeout: time.Duration(r.uint(0xffff)) * time.Second,
		Priority:    uint16(r.uint(0xffff)),
		Table:       r.byte(),
	}
}

func (w *writer) blocklist(c *blocklist.Config) {
	w.byte(byte(c.Match))
	w.uint(uint64(len(c.Lists)))
	for i := range c.Lists {
		w.text(c.Lists[i].Name)
		w.prefixes(c.Lists[i].Prefixes)
	}
}

func (r *reader) blocklist() *blocklist.Config {
	c := &blocklist.Config{Match: blocklist.Direction(r.byte())}
	for n := r.count(2); n > 0 && r.err == nil; n-- {
		c.Lists = append(c.Lists, blocklist.List{Name: r.text(), Prefixes: r.prefixes()})
	}
	return c
}

// prefixes writes groups of prefixes of one family and length, sorted: for IPv4 each as the
// difference to the one before, which takes 3 or 4 bytes.
func (w *writer) prefixes(list []netip.Prefix) {
	list = slices.Clone(list)
	for i := range list {
		list[i] = list[i].Masked()
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()), cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	list = slices.Compact(list)
	var groups [][]netip.Prefix
	for first := 0; first < len(list); {
		end := first + 1
		for end < len(list) && list[end].Bits() == list[first].Bits() && list[end].Addr().BitLen() == list[first].Addr().BitLen() {
			end++
		}
		groups = append(groups, list[first:end])
		first = end
	}
	w.uint(uint64(len(groups)))
	for _, g := range groups {
		w.byte(family(g[0].Addr()))
		w.byte(byte(g[0].Bits()))
		w.uint(uint64(len(g)))
		last := uint32(0)
		for _, p := range g {
			if p.Addr().Is6() {
				w.bytes(p.Addr().AsSlice())
				continue
			}
			a := p.Addr().As4()
			v := binary.BigEndian.Uint32(a[:])
			w.uint(uint64(v - last))
			last = v
		}
	}
}

func (r *reader) prefixes() (list []netip.Prefix) {
	for groups := r.count(3); groups > 0 && r.err == nil; groups-- {
		is6 := r.byte() == 6
		bits := int(r.byte())
		size := 1
		if is6 {
			size = 16
		}
		n := r.count(size)
		list = slices.Grow(list, n)
		last := uint32(0)
		for ; n > 0 && r.err == nil; n-- {
			var addr netip.Addr
			if is6 {
				addr, _ = netip.AddrFromSlice(r.take(16))
			} else {
				last += uint32(r.uint(0xffffffff))
				addr = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, last)))
			}
			list = append(list, r.prefix(addr, bits))
		}
	}
	return list
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return 4
	}
	return 6
}

// prefix checks a prefix's length.
func (r *reader) prefix(addr netip.Addr, bits int) netip.Prefix {
	p := netip.PrefixFrom(addr, bits)
	if !p.IsValid() {
		r.fail("%v/%d is no prefix", addr, bits)
	}
	return p
}

func (w *writer) address(p netip.Prefix) {
	w.byte(family(p.Addr()))
	w.byte(byte(p.Bits()))
	w.bytes(p.Addr().AsSlice())
}

func (r *reader) address() netip.Prefix {
	size := 4
	if r.byte() == 6 {
		size = 16
	}
	bits := int(r.byte())
	addr, _ := netip.AddrFromSlice(r.take(size))
	return r.prefix(addr, bits)
}

// Flags of a header rule.
const (
	flagProactive = 1 << iota
	flagDeny
	flagQueue
	flagSrcPorts
	flagDstPorts
)

func (w *writer) header(c *header.Config) {
	w.uint(uint64(c.MaxProactive))
	w.uint(uint64(len(c.Rules)))
	for i := range c.Rules {
		w.rule(&c.Rules[i])
	}
}

func (r *reader) header() *header.Config {
	c := &header.Config{MaxProactive: int(r.uint(0xffff))}
	for n := r.count(8); n > 0 && r.err == nil; n-- {
		c.Rules = append(c.Rules, r.rule())
	}
	return c
}

func (w *writer) rule(rule *header.Rule) {
	var flags byte
	for _, f := range []struct {
		set  bool
		flag byte
	}{
		{rule.Proactive, flagProactive}, {rule.Action.Deny, flagDeny}, {rule.Action.SetQueue, flagQueue},
		{rule.Match.Src != nil, flagSrcPorts}, {rule.Match.Dst != nil, flagDstPorts},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	w.text(rule.Name)
	w.uint(uint64(rule.Priority))
	w.byte(flags)
	w.match(&rule.Match.Header)
	for _, ports := range []*header.PortRange{rule.Match.Src, rule.Match.Dst} {
		if ports != nil {
			w.uint(uint64(ports.First))
			w.uint(uint64(ports.Last))
		}
	}
	w.uint(uint64(len(rule.Action.Output)))
	for _, port := range rule.Action.Output {
		w.uint(uint64(port))
	}
	if rule.Action.SetQueue {
		w.uint(uint64(rule.Action.Queue))
	}
	w.uint(uint64(rule.Action.Meter))
}

func (r *reader) rule() (rule header.Rule) {
	rule.Name = r.text()
	rule.Priority = uint16(r.uint(0xffff))
	flags := r.byte()
	rule.Proactive = flags&flagProactive != 0
	rule.Action.Deny = flags&flagDeny != 0
	rule.Action.SetQueue = flags&flagQueue != 0
	r.match(&rule.Match.Header)
	ports := func(flag byte) *header.PortRange {
		if flags&flag == 0 {
			return nil
		}
		return &header.PortRange{First: uint16(r.uint(0xffff)), Last: uint16(r.uint(0xffff))}
	}
	rule.Match.Src = ports(flagSrcPorts)
	rule.Match.Dst = ports(flagDstPorts)
	for n := r.count(1); n > 0 && r.err == nil; n-- {
		rule.Action.Output = append(rule.Action.Output, flow.PortNo(r.uint(0xffffffff)))
	}
	if rule.Action.SetQueue {
		rule.Action.Queue = uint32(r.uint(0xffffffff))
	}
	rule.Action.Meter = uint32(r.uint(0xffffffff))
	return rule
}

// matchFields are the fields that a header rule may look at, in the order in which they are written.
var matchFields = []struct {
	field flow.Field
	write func(*writer, *flow.Match)
	read  func(*reader, *flow.Match)
}{
	{flow.FieldInPort,
		func(w *writer, m *flow.Match) { w.uint(uint64(m.InPort)) },
		func(r *reader, m *flow.Match) { m.InPort = flow.PortNo(r.uint(0xffffffff)) }},
	{flow.FieldEthDst,
		func(w *writer, m *flow.Match) { w.mac(m.EthDst, m.EthDstMask) },
		func(r *reader, m *flow.Match) { m.EthDst, m.EthDstMask = r.mac() }},
	{flow.FieldEthSrc,
		func(w *writer, m *flow.Match) { w.mac(m.EthSrc, m.EthSrcMask) },
		func(r *reader, m *flow.Match) { m.EthSrc, m.EthSrcMask = r.mac() }},
	{flow.FieldEthType,
		func(w *writer, m *flow.Match) { w.uint(uint64(m.EthType)) },
		func(r *reader, m *flow.Match) { m.EthType = uint16(r.uint(0xffff)) }},
	{flow.FieldVLAN,
		func(w *writer, m *flow.Match) { w.uint(uint64(m.VLAN)); w.uint(uint64(m.VLANMask)) },
		func(r *reader, m *flow.Match) { m.VLAN, m.VLANMask = uint16(r.uint(0xffff)), uint16(r.uint(0xffff)) }},
	{flow.FieldIPProto,
		func(w *writer, m *flow.Match) { w.byte(m.IPProto) },
		func(r *reader, m *flow.Match) { m.IPProto = r.byte() }},
	{flow.FieldIPSrc,
		func(w *writer, m *flow.Match) { w.address(m.IPSrc) },
		func(r *reader, m *flow.Match) { m.IPSrc = r.address() }},
	{flow.FieldIPDst,
		func(w *writer, m *flow.Match) { w.address(m.IPDst) },
		func(r *reader, m *flow.Match) { m.IPDst = r.address() }},
	{flow.FieldICMPType,
		func(w *writer, m *flow.Match) { w.byte(m.ICMPType) },
		func(r *reader, m *flow.Match) { m.ICMPType = r.byte() }},
	{flow.FieldICMPCode,
		func(w *writer, m *flow.Match) { w.byte(m.ICMPCode) },
		func(r *reader, m *flow.Match) { m.ICMPCode = r.byte() }},
	{flow.FieldARPOp,
		func(w *writer, m *flow.Match) { w.uint(uint64(m.ARPOp)) },
		func(r *reader, m *flow.Match) { m.ARPOp = uint16(r.uint(0xffff)) }},
	{flow.FieldARPSPA,
		func(w *writer, m *flow.Match) { w.address(m.ARPSPA) },
		func(r *reader, m *flow.Match) { m.ARPSPA = r.address() }},
	{flow.FieldARPTPA,
		func(w *writer, m *flow.Match) { w.address(m.ARPTPA) },
		func(r *reader, m *flow.Match) { m.ARPTPA = r.address() }},
}

func (w *writer) match(m *flow.Match) {
	w.uint(uint64(m.Fields))
	for i := range matchFields {
		if f := &matchFields[i]; m.Has(f.field) {
			f.write(w, m)
		}
	}
}

func (r *reader) match(m *flow.Match) {
	m.Fields = flow.Field(r.uint(0xffffffff)) // Validate refuses what a rule may not look at
	for i := range matchFields {
		if f := &matchFields[i]; m.Has(f.field) {
			f.read(r, m)
		}
	}
}

func (w *writer) mac(m, mask flow.MAC) {
	w.bytes(m[:])
	w.bytes(mask[:])
}

func (r *reader) mac() (m, mask flow.MAC) {
	copy(m[:], r.take(len(m)))
	copy(mask[:], r.take(len(mask)))
	return m, mask
}
