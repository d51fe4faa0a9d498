package mapping

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// Mapping is a [File] that has been held against a program: its names are
// resolved and its widths checked. It is immutable.
type Mapping struct {
	Pipeline *pipeline.Pipeline
	Tables   []*Table // in the file's order, which is the order of preference

	Digest    *Digest    // nil: the program tells of misses in no digest
	PacketIn  *PacketIn  // nil: no packet comes to the gateway
	PacketOut *PacketOut // nil: the gateway can't send
	Miss      *Miss      // nil: what a miss does is the program's choice
	L2        *L2        // nil: NORMAL is no table of the gateway's

	FloodGroup uint32 // the multicast group that holds every port; 0 is none
	CPUPort    uint32

	// EventFields are the fields that an event of this program carries, from a
	// digest and from a frame alike.
	EventFields flow.Field

	matched []*oxm // what the tables' rules may say, each once
}

// Table maps the rules of one OpenFlow table to one P4 table.
type Table struct {
	OpenFlow uint8
	P4       *pipeline.Table
	MinPrio  uint16
	MaxPrio  uint16

	keys    []key
	always  []constant
	implied []implied
	actions map[string]*action
}

// constant is a key of the program's own, with the value that every entry has.
type constant struct {
	key
	value []byte
}

// implied is a field that the table's or digest's place in the program fixes: a
// rule must say this value, and no key holds it.
type implied struct {
	*oxm
	value uint64
}

// key is a P4 key, a digest's member or the like, and the fields it may hold.
type key struct {
	pipeline.Member
	kind pipeline.Kind
	oxms []*oxm
}

// action maps a list of flow actions, by its signature, to a P4 action.
type action struct {
	p4     *pipeline.Action
	params []param
}

type param struct {
	pipeline.Member
	source string
}

// Digest maps a digest's members.
type Digest struct {
	P4      *pipeline.Digest
	keys    []key // by member; no oxms: ignored
	implied []implied
}

// PacketIn names the packet_in header's fields.
type PacketIn struct {
	InPort pipeline.Member
	Reason *pipeline.Member // nil: every packet is a miss
}

// PacketOut names the packet_out header's fields.
type PacketOut struct {
	header *pipeline.Header
	port   pipeline.Member
	inPort *pipeline.Member
	modes  map[flow.PortNo]map[string]uint64 // 0 is a port's own number
}

// Miss names the actions that the table's default may be set to; nil where the
// program has none.
type Miss struct {
	Table                     *pipeline.Table
	Digest, Punt, Flood, Drop *pipeline.Action
	// Meter holds misses back, by ingress port; nil where the program has none.
	Meter *pipeline.Meter
}

// L2 is the table of learned addresses.
type L2 struct {
	Table  *pipeline.Table
	MAC    *pipeline.Field
	Action *pipeline.Action
	Port   pipeline.Member
}

// binder resolves names and collects what does not resolve.
type binder struct {
	file string
	p    *pipeline.Pipeline
	errs []error
}

func (b *binder) errorf(line int, entry, format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("%s:%d: %s: %s", b.file, line, entry, fmt.Sprintf(format, args...)))
}

// Bind holds the file against a program. Its error lists everything that does
// not fit, each with file, line and entry.
func (f *File) Bind(p *pipeline.Pipeline) (*Mapping, error) {
	b := &binder{file: f.name, p: p}
	m := &Mapping{Pipeline: p, FloodGroup: f.raw.FloodGroup, CPUPort: f.raw.CPUPort}
	if f.raw.Pipeline != "" && p.Name != "" && f.raw.Pipeline != p.Name {
		b.errorf(1, "pipeline", "is for %q, and P4Info is that of %q", f.raw.Pipeline, p.Name)
	}
	for i := range f.raw.Tables {
		if t := b.table(&f.raw.Tables[i]); t != nil {
			m.Tables = append(m.Tables, t)
		}
	}
	if f.raw.Digest != nil {
		m.Digest = b.digest(f.raw.Digest)
	}
	if f.raw.PacketIn != nil {
		m.PacketIn = b.packetIn(f.raw.PacketIn)
	}
	if f.raw.PacketOut != nil {
		m.PacketOut = b.packetOut(f.raw.PacketOut)
	}
	if f.raw.Miss != nil {
		m.Miss = b.miss(f.raw.Miss)
	}
	if f.raw.L2 != nil {
		m.L2 = b.l2(f.raw.L2)
	}
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	m.EventFields, m.matched = m.eventFields(), m.matchedFields()
	return m, nil
}

// matchedFields lists what rules of the mapped tables may say.
func (m *Mapping) matchedFields() (list []*oxm) {
	add := func(o *oxm) {
		if !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	for _, t := range m.Tables {
		for _, k := range t.keys {
			for _, o := range k.oxms {
				add(o)
			}
		}
		for _, i := range t.implied {
			add(i.oxm)
		}
	}
	return list
}

// Before reports whether a rule of table a can decide about a packet that the
// program would look up in table b only later, or not at all, whatever the two
// rules' priorities. Where the device configuration does not tell the program's
// order, it is the order of the mapping.
func (m *Mapping) Before(a, b *Table) bool {
	if a.P4 == b.P4 || a.OpenFlow != b.OpenFlow {
		return false
	}
	if follows, known := m.Pipeline.Follows(b.P4, a.P4); known {
		return !follows
	}
	return slices.Index(m.Tables, a) < slices.Index(m.Tables, b)
}

// Advice says what a mapping that fits will not do as its author may expect.
func (m *Mapping) Advice() (list []string) {
	if d := m.Digest; d != nil {
		ip, ethType := false, slices.ContainsFunc(d.implied, func(i implied) bool { return i.field == flow.FieldEthType })
		for _, k := range d.keys {
			for _, o := range k.oxms {
				ip = ip || slices.Equal(o.ethTypes, []uint16{flow.EthTypeIPv4})
				ethType = ethType || o.field == flow.FieldEthType
			}
		}
		if ip && !ethType {
			list = append(list, fmt.Sprintf("digest %q: it does not tell the EtherType, so none of its IP fields is understood; if only IPv4 packets cause it, add `implied: {eth_type: 0x0800}` to it", d.P4.Name))
		}
	}
	return list
}

func (m *Mapping) eventFields() (f flow.Field) {
	f = flow.FieldInPort
	add := func(keys []key) {
		for _, k := range keys {
			for _, o := range k.oxms {
				f |= o.field
			}
		}
	}
	if m.Digest != nil {
		add(m.Digest.keys)
		for _, i := range m.Digest.implied {
			f |= i.field
		}
		return f
	}
	for _, t := range m.Tables {
		add(t.keys)
		for _, i := range t.implied {
			f |= i.field
		}
	}
	return f
}

// Matchable returns the fields that each P4 table can match which rules of the
// OpenFlow table 0 may go to.
func (m *Mapping) Matchable() []flow.Field {
	var fields []flow.Field
	for _, t := range m.Tables {
		if t.OpenFlow != 0 {
			continue
		}
		var can flow.Field
		for _, k := range t.keys {
			for _, o := range k.oxms {
				can |= o.field
			}
		}
		for _, i := range t.implied {
			can |= i.field
		}
		fields = append(fields, can)
	}
	return fields
}

func (b *binder) table(raw *rawTable) *Table {
	entry := fmt.Sprintf("table %s", raw.Table.string)
	p4 := b.p.Table(raw.Table.string)
	if p4 == nil {
		b.errorf(raw.Table.line, "tables", "P4Info has no table %q; it has %v", raw.Table.string,
			pipeline.Names(b.p.Tables, func(t *pipeline.Table) string { return t.Name }))
		return nil
	}
	switch {
	case p4.Const:
		b.errorf(raw.Table.line, entry, "its entries are fixed by the program")
	case p4.Indirect:
		b.errorf(raw.Table.line, entry, "its actions come from an action profile, which is not supported")
	case len(p4.Fields) == 0:
		b.errorf(raw.Table.line, entry, "it has no keys, and so no entries")
	}
	t := &Table{OpenFlow: raw.OpenFlow, P4: p4, MinPrio: raw.Priority.Min, MaxPrio: 0xffff, actions: map[string]*action{}}
	if raw.Priority.Max != nil {
		t.MaxPrio = *raw.Priority.Max
	}
	if t.MaxPrio < t.MinPrio {
		b.errorf(raw.Table.line, entry, "priority: min %d is above max %d", t.MinPrio, t.MaxPrio)
	}
	for _, n := range sortedNames(raw.Fields) {
		field := p4.Field(n.string)
		if field == nil {
			b.errorf(n.line, entry, "no key %q; it has %v", n.string,
				pipeline.Names(p4.Fields, func(f pipeline.Field) string { return f.Name }))
			continue
		}
		t.keys = append(t.keys, key{field.Member, field.Kind, b.oxms(entry, n, raw.Fields[n])})
	}
	for _, n := range sortedNames(raw.Always) {
		field := p4.Field(n.string)
		if field == nil || slices.ContainsFunc(t.keys, func(k key) bool { return k.ID == field.ID }) {
			b.errorf(n.line, entry, "always: %q is no key, or has a field", n.string)
			continue
		}
		v, err := pipeline.Uint(raw.Always[n], field.Width)
		if err != nil {
			b.errorf(n.line, entry, "always: %s: %v", n.string, err)
			continue
		}
		v, _ = pipeline.Pad(v, field.Width) // it fits, by the line above
		k := key{field.Member, field.Kind, nil}
		t.keys = append(t.keys, k)
		t.always = append(t.always, constant{k, v})
	}
	t.implied = b.implied(entry, raw.Implied)
	for i := range p4.Fields {
		if f := &p4.Fields[i]; f.Kind == pipeline.Exact && !slices.ContainsFunc(t.keys, func(k key) bool { return k.ID == f.ID }) {
			b.errorf(raw.Table.line, entry, "key %s is compared exactly and has no field", f.Name)
		}
	}
	// P4Info's order, so that equal rules make equal entries.
	slices.SortFunc(t.keys, func(x, y key) int { return int(x.ID) - int(y.ID) })
	if len(raw.Actions) == 0 {
		b.errorf(raw.Table.line, entry, "actions: none is mapped")
	}
	for _, sig := range slices.Sorted(maps.Keys(raw.Actions)) {
		if a := b.action(entry, p4, sig, raw.Actions[sig]); a != nil {
			t.actions[sig] = a
		}
	}
	return t
}

func (b *binder) implied(entry string, raw map[name]uint64) (list []implied) {
	for _, n := range sortedNames(raw) {
		o, err := oxmNamed(n.string)
		if err == nil {
			_, err = pipeline.Uint(raw[n], o.width)
		}
		if err != nil {
			b.errorf(n.line, entry, "implied: %v", err)
			continue
		}
		list = append(list, implied{o, raw[n]})
	}
	return list
}

func (b *binder) oxms(entry string, n name, list nameList) (out []*oxm) {
	for _, want := range list {
		o, err := oxmNamed(want.string)
		if err != nil {
			b.errorf(want.line, entry, "%s: %v", n.string, err)
			continue
		}
		out = append(out, o)
	}
	return out
}

func (b *binder) action(entry string, t *pipeline.Table, sig string, raw rawAction) *action {
	entry += ": action " + sig
	have, err := signatureSources(sig)
	if err != nil {
		b.errorf(raw.Action.line, entry, "%v", err)
		return nil
	}
	p4 := t.Action(raw.Action.string)
	if p4 == nil {
		b.errorf(raw.Action.line, entry, "the table has no action %q; it has %v", raw.Action.string,
			pipeline.Names(t.Actions, func(a *pipeline.Action) string { return a.Name }))
		return nil
	}
	a := &action{p4: p4}
	given := map[string]bool{}
	for _, n := range sortedNames(raw.Params) {
		prm := p4.Param(n.string)
		if prm == nil {
			b.errorf(n.line, entry, "P4 action %s has no parameter %q", p4.Name, n.string)
			continue
		}
		src := raw.Params[n]
		if !slices.Contains(have, src.string) {
			b.errorf(src.line, entry, "parameter %s: %q is not among what the actions give: %v", n.string, src.string, have)
			continue
		}
		given[n.string] = true
		a.params = append(a.params, param{*prm, src.string})
	}
	for _, prm := range p4.Params {
		if !given[prm.Name] {
			b.errorf(raw.Action.line, entry, "parameter %s of P4 action %s is given nothing", prm.Name, p4.Name)
		}
	}
	slices.SortFunc(a.params, func(x, y param) int { return int(x.ID) - int(y.ID) })
	return a
}

func (b *binder) digest(raw *rawDigest) *Digest {
	entry := "digest " + raw.Name.string
	p4 := b.p.Digest(raw.Name.string)
	if p4 == nil {
		b.errorf(raw.Name.line, "digest", "P4Info has no digest %q; it has %v", raw.Name.string,
			pipeline.Names(b.p.Digests, func(d *pipeline.Digest) string { return d.Name }))
		return nil
	}
	d := &Digest{P4: p4, keys: make([]key, len(p4.Members)), implied: b.implied(entry, raw.Implied)}
	port := false
	for i, member := range p4.Members {
		d.keys[i].Member = member
		for n, list := range raw.Fields {
			if n.string == member.Name {
				d.keys[i].oxms = b.oxms(entry, n, list)
			}
		}
		port = port || slices.Contains(d.keys[i].oxms, oxms["in_port"])
		for _, imp := range d.implied {
			if slices.Contains(d.keys[i].oxms, imp.oxm) {
				b.errorf(raw.Name.line, entry, "implied: %s is what member %s tells", imp.name, member.Name)
			}
		}
	}
	for _, n := range sortedNames(raw.Fields) {
		if !slices.ContainsFunc(p4.Members, func(m pipeline.Member) bool { return m.Name == n.string }) {
			b.errorf(n.line, entry, "it has no member %q; it has %v", n.string,
				pipeline.Names(p4.Members, func(m pipeline.Member) string { return m.Name }))
		}
	}
	if !port {
		b.errorf(raw.Name.line, entry, "no member is mapped to in_port")
	}
	return d
}

func (b *binder) headerField(entry string, h *pipeline.Header, n name) *pipeline.Member {
	f := h.Field(n.string)
	if f == nil {
		b.errorf(n.line, entry, "header %s has no field %q; it has %v", h.Name, n.string,
			pipeline.Names(h.Fields, func(m pipeline.Member) string { return m.Name }))
	}
	return f
}

func (b *binder) packetIn(raw *rawPacketIn) *PacketIn {
	h := b.p.PacketIn
	if h == nil {
		b.errorf(raw.InPort.line, "packet_in", "P4Info has no packet_in header")
		return nil
	}
	in := b.headerField("packet_in", h, raw.InPort)
	if in == nil {
		return nil
	}
	p := &PacketIn{InPort: *in}
	if raw.Reason.string != "" {
		p.Reason = b.headerField("packet_in", h, raw.Reason)
	}
	return p
}

func (b *binder) packetOut(raw *rawPacketOut) *PacketOut {
	h := b.p.PacketOut
	if h == nil {
		b.errorf(raw.Port.line, "packet_out", "P4Info has no packet_out header")
		return nil
	}
	port := b.headerField("packet_out", h, raw.Port)
	if port == nil {
		return nil
	}
	p := &PacketOut{header: h, port: *port, modes: map[flow.PortNo]map[string]uint64{}}
	if raw.InPort.string != "" {
		p.inPort = b.headerField("packet_out", h, raw.InPort)
	}
	for out, values := range map[flow.PortNo]map[name]uint64{0: raw.Output, flow.PortFlood: raw.Flood, flow.PortNormal: raw.Normal} {
		if values == nil && out != 0 {
			continue
		}
		mode := map[string]uint64{}
		for n, v := range values {
			if f := b.headerField("packet_out", h, n); f != nil {
				if _, err := pipeline.Uint(v, f.Width); err != nil {
					b.errorf(n.line, "packet_out", "%s: %v", n.string, err)
				}
				mode[n.string] = v
			}
		}
		p.modes[out] = mode
	}
	return p
}

func (b *binder) miss(raw *rawMiss) *Miss {
	t := b.p.Table(raw.Table.string)
	if t == nil {
		b.errorf(raw.Table.line, "miss", "P4Info has no table %q", raw.Table.string)
		return nil
	}
	if t.ConstMiss {
		b.errorf(raw.Table.line, "miss", "the default action of table %s is constant", t.Name)
	}
	def := func(n name) *pipeline.Action {
		if n.string == "" {
			return nil
		}
		a := t.Default(n.string)
		switch {
		case a == nil:
			b.errorf(n.line, "miss", "table %s can't have %q as its default action; it can have %v", t.Name, n.string,
				pipeline.Names(t.Defaults, func(a *pipeline.Action) string { return a.Name }))
		case len(a.Params) > 0:
			b.errorf(n.line, "miss", "action %s wants parameters", a.Name)
		}
		return a
	}
	miss := &Miss{Table: t, Digest: def(raw.Digest), Punt: def(raw.Punt), Flood: def(raw.Flood), Drop: def(raw.Drop)}
	if n := raw.Meter; n.string != "" {
		miss.Meter = b.p.Meter(n.string)
		switch {
		case miss.Meter == nil:
			b.errorf(n.line, "miss", "P4Info has no meter %q; it has %v", n.string,
				pipeline.Names(b.p.Meters, func(m *pipeline.Meter) string { return m.Name }))
		case !miss.Meter.Packets:
			b.errorf(n.line, "miss", "meter %s counts bytes, and a rate of misses is in packets", n.string)
		}
	}
	return miss
}

func (b *binder) l2(raw *rawL2) *L2 {
	t := b.p.Table(raw.Table.string)
	if t == nil {
		b.errorf(raw.Table.line, "l2", "P4Info has no table %q", raw.Table.string)
		return nil
	}
	l := &L2{Table: t, MAC: t.Field(raw.MAC.string), Action: t.Action(raw.Action.string)}
	switch {
	case l.MAC == nil || l.MAC.Width != 48 || l.MAC.Kind != pipeline.Exact || len(t.Fields) != 1:
		b.errorf(raw.MAC.line, "l2", "table %s does not have %q, 48 bits and exact, as its only key", t.Name, raw.MAC.string)
	case l.Action == nil || len(l.Action.Params) != 1 || l.Action.Param(raw.Port.string) == nil:
		b.errorf(raw.Action.line, "l2", "table %s has no action %q with %q as its only parameter", t.Name, raw.Action.string, raw.Port.string)
	default:
		l.Port = *l.Action.Param(raw.Port.string)
		return l
	}
	return nil
}

func sortedNames[V any](m map[name]V) []name {
	return slices.SortedFunc(maps.Keys(m), func(x, y name) int { return strings.Compare(x.string, y.string) })
}
