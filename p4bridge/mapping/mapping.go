package mapping

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// Mapping is a [File] that was checked against a program: its names are resolved and its
// widths fit. It is immutable.
type Mapping struct {
	Pipeline *pipeline.Pipeline
	File     *File    // that was bound
	Tables   []*Table // in the file's order, which is the order of preference

	Digest    *Digest    // nil: the program tells of misses in no digest
	PacketIn  *PacketIn  // nil: no packet comes to the gateway
	PacketOut *PacketOut // nil: the gateway can't send
	Miss      *Miss      // nil: nothing is known of what a miss does
	L2        *L2        // nil: NORMAL is no table of the gateway's

	Multicast []Multicast
	Clones    []Clone
	CPUPort   flow.PortNo // 0: not known
	Counters  []*pipeline.Counter

	// EventFields are the fields that an event of this program may carry, from a
	// digest and from a frame alike.
	EventFields flow.Field

	setup   []setup
	meters  map[uint32]Meter // by the number that a rule names
	ports   portNames
	matched []*oxm // what the tables' rules may say, each once
}

// Table maps the rules of one OpenFlow table to one P4 table.
type Table struct {
	OpenFlow uint8
	P4       *pipeline.Table
	MinPrio  uint16
	MaxPrio  uint16

	keys    []key
	implied []implied
	tagBits uint16 // of vlan_vid, that the keys compare
	actions map[string]*action
	order   []*action // in which an entry's action is read
	above   int32     // what a rule's priority is raised by, so that an entry for misses is below all
}

// implied is a field that the table's or digest's place in the program fixes: a
// rule must say this value, and no key holds it.
type implied struct {
	*oxm
	value uint64
}

// key is a P4 key, a digest's member or the like, and the fields it may hold, or
// what it is in every entry.
type key struct {
	pipeline.Member
	kind   pipeline.Kind
	oxms   []*oxm
	always *p4v1.FieldMatch // nil with no oxms: any value
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
	keys   []key            // what else the header tells of the packet
}

// PacketOut names the packet_out header's fields.
type PacketOut struct {
	header *pipeline.Header
	port   pipeline.Member
	inPort *pipeline.Member
	modes  map[flow.PortNo]map[string]uint64 // 0 is a port's own number
}

// L2 is the table of learned addresses.
type L2 struct {
	Table  *pipeline.Table
	MAC    *pipeline.Field
	Action *pipeline.Action
	Port   pipeline.Member
}

// portNames are the names of ports in programs whose port numbers are texts to
// P4Runtime.
type portNames struct {
	names   map[uint32]string
	numbers map[string]uint32
}

// name returns the name of a port, its number where it has none.
func (p *portNames) name(n uint32) string {
	if name, ok := p.names[n]; ok {
		return name
	}
	return strconv.FormatUint(uint64(n), 10)
}

// number is name's inverse.
func (p *portNames) number(name string) (uint32, bool) {
	if n, ok := p.numbers[name]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return uint32(n), err == nil
}

// binder resolves names and collects what does not resolve.
type binder struct {
	file string
	p    *pipeline.Pipeline
	errs []error
}

func (b *binder) errorf(line int, entry, format string, args ...any) {
	at := b.file
	if line > 0 {
		at = fmt.Sprintf("%s:%d", b.file, line)
	}
	b.errs = append(b.errs, fmt.Errorf("%s: %s: %s", at, entry, fmt.Sprintf(format, args...)))
}

// Bind holds the file against a program. Its error lists everything that does
// not fit, each with file, line and entry.
func (f *File) Bind(p *pipeline.Pipeline) (*Mapping, error) {
	b := &binder{file: f.name, p: p}
	m := &Mapping{Pipeline: p, File: f, CPUPort: flow.PortNo(f.raw.CPUPort), ports: portNames{f.raw.PortNames, map[string]uint32{}}}
	if f.raw.Pipeline != "" && p.Name != "" && f.raw.Pipeline != p.Name {
		b.errorf(1, "pipeline", "is for %q, and P4Info is that of %q", f.raw.Pipeline, p.Name)
	}
	for number, name := range f.raw.PortNames {
		if _, twice := m.ports.numbers[name]; twice || name == "" {
			b.errorf(0, "port_names", "%q is no name of one port", name)
		}
		m.ports.numbers[name] = number
	}
	for i := range f.raw.Tables {
		if t := b.table(&f.raw.Tables[i]); t != nil {
			m.Tables = append(m.Tables, t)
			if d := f.raw.Tables[i].Default; d != nil {
				m.setup = append(m.setup, b.defaultAction("table "+t.P4.Name, f.raw.Tables[i].Table.line, t.P4, d)...)
			}
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
		m.Miss = b.miss(f.raw.Miss, m.Tables)
	}
	if f.raw.L2 != nil {
		m.L2 = b.l2(f.raw.L2)
	}
	for i := range f.raw.Setup {
		m.setup = append(m.setup, b.setup(&f.raw.Setup[i])...)
	}
	m.Multicast = b.multicast(&f.raw)
	m.Clones = b.clones(&f.raw)
	for _, n := range f.raw.Counters {
		if c := p.Counter(n.string); c != nil {
			m.Counters = append(m.Counters, c)
		} else {
			b.errorf(n.line, "counters", "P4Info has no indirect counter %q; it has %v", n.string,
				pipeline.Names(p.Counters, func(c *pipeline.Counter) string { return c.Name }))
		}
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

// Turns says when the program looks tables up, by name: how many others of their OpenFlow table come before them.
func (m *Mapping) Turns() map[string]int {
	turns := map[string]int{}
	for _, t := range m.Tables {
		n := 0
		for _, other := range m.Tables {
			if m.Before(other, t) {
				n++
			}
		}
		turns[t.P4.Name] = max(turns[t.P4.Name], n)
	}
	if m.Miss != nil && m.Miss.Table != nil {
		if _, holdsRules := turns[m.Miss.Table.Name]; !holdsRules {
			turns[m.Miss.Table.Name] = len(m.Tables)
		}
	}
	return turns
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
	for _, d := range m.Pipeline.Digests {
		if len(m.Pipeline.Device) > 0 && d.NoBits != "" {
			list = append(list, fmt.Sprintf("digest %q: its member %s is no bit<>, and BMv2 takes no program with such a digest", d.Name, d.NoBits))
		}
	}
	for _, t := range m.Tables {
		if !t.P4.IdleTimeout {
			by := "from the moment at which an entry is written, used or not"
			if t.P4.DirectCounter {
				by = "by the entries' counters"
			}
			list = append(list, fmt.Sprintf("table %q has no idle timeouts: the gateway keeps them, %s", t.P4.Name, by))
		}
		if m.Miss != nil && m.Miss.asksIn(t.P4) {
			for _, later := range m.Tables {
				if follows, known := m.Pipeline.Follows(t.P4, later.P4); known && follows && later.P4 != t.P4 {
					list = append(list, fmt.Sprintf("table %q comes after table %q, whose last entry takes every packet that asks: rules there may never be looked up", later.P4.Name, t.P4.Name))
				}
			}
		}
	}
	return list
}

func (m *Mapping) eventFields() (f flow.Field) {
	f = flow.FieldInPort
	add := func(keys []key, implied []implied) {
		for _, k := range keys {
			for _, o := range k.oxms {
				f |= o.field
			}
		}
		for _, i := range implied {
			f |= i.field
		}
	}
	if m.Digest != nil {
		add(m.Digest.keys, m.Digest.implied)
	}
	if m.PacketIn != nil {
		add(m.PacketIn.keys, nil)
	}
	for _, t := range m.Tables {
		add(t.keys, t.implied)
	}
	return f
}

// Resolves reports whether somebody else has to say what NORMAL is: some rules or
// packets can have it, and the program has no action for it.
func (m *Mapping) Resolves() bool {
	return !m.Sends(flow.PortNormal) || !slices.ContainsFunc(m.Tables, func(t *Table) bool { return t.actions["normal"] != nil })
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

// HoldsPorts reports whether a table's rules can be of TCP's or UDP's ports.
func (m *Mapping) HoldsPorts() bool {
	return slices.ContainsFunc(m.Tables, func(t *Table) bool {
		return slices.ContainsFunc(t.keys, func(k key) bool {
			return slices.ContainsFunc(k.oxms, func(o *oxm) bool { return o.field == flow.FieldL4Src || o.field == flow.FieldL4Dst })
		})
	})
}

// named finds a table that a section names.
func (b *binder) named(section string, n name) *pipeline.Table {
	if n.string == "" {
		b.errorf(n.line, section, "table is missing: the name of a P4 table; there are %v", b.tableNames())
		return nil
	}
	t := b.p.Table(n.string)
	if t == nil {
		b.errorf(n.line, section, "P4Info has no table %q; it has %v", n.string, b.tableNames())
	}
	return t
}

func (b *binder) tableNames() []string {
	return pipeline.Names(b.p.Tables, func(t *pipeline.Table) string { return t.Name })
}

func (b *binder) table(raw *rawTable) *Table {
	entry := fmt.Sprintf("table %s", raw.Table.string)
	p4 := b.named("tables", raw.Table)
	if p4 == nil {
		return nil
	}
	if err := takesEntries(p4); err != nil {
		b.errorf(raw.Table.line, entry, "%v", err)
	}
	t := &Table{OpenFlow: raw.OpenFlow, P4: p4, MinPrio: raw.Priority.Min, MaxPrio: 0xffff, actions: map[string]*action{}}
	if raw.Priority.Max != nil {
		t.MaxPrio = *raw.Priority.Max
	}
	if t.MaxPrio < t.MinPrio {
		b.errorf(raw.Table.line, entry, "priority: min %d is above max %d", t.MinPrio, t.MaxPrio)
	}
	values := make([]pipeline.Member, len(p4.Fields))
	for i := range p4.Fields {
		values[i] = p4.Fields[i].Member
	}
	t.keys = b.keys(entry, "key", values, raw.Fields, raw.Tagged)
	for i := range t.keys {
		k := &t.keys[i]
		k.kind = p4.Fields[i].Kind
		if k.String && len(k.oxms) > 0 && k.kind != pipeline.Exact && k.kind != pipeline.Optional {
			b.errorf(raw.Table.line, entry, "key %s is a text in P4Runtime and %v, which is not supported", k.Name, k.kind)
		}
		parts := 0
		for _, o := range k.oxms {
			if o.field == flow.FieldVLAN {
				t.tagBits |= o.tag.bits()
			}
			if o.tos {
				parts++
			}
		}
		if parts == 1 && (k.kind == pipeline.Exact || k.kind == pipeline.Optional) {
			b.errorf(raw.Table.line, entry, "key %s is compared as a whole, and is the type of service: it holds both ip_dscp and ip_ecn", k.Name)
		}
	}
	for _, n := range sortedNames(raw.Always) {
		i := slices.IndexFunc(t.keys, func(k key) bool { return k.Name == n.string })
		if i < 0 || len(t.keys[i].oxms) > 0 {
			b.errorf(n.line, entry, "always: %q is no key, or has a field", n.string)
			continue
		}
		fm, err := directKey(&p4.Fields[i], raw.Always[n].string)
		if err != nil {
			b.errorf(n.line, entry, "always: %s: %v", n.string, err)
		}
		t.keys[i].always = fm
	}
	t.implied = b.implied(entry+": implied", raw.Implied)
	for i := range t.keys {
		if k := &t.keys[i]; k.kind == pipeline.Exact && len(k.oxms) == 0 && k.always == nil && len(b.errs) == 0 {
			b.errorf(raw.Table.line, entry, "key %s is compared exactly and has no field", k.Name)
		}
	}
	// P4Info's order by number, so that equal rules make equal entries.
	slices.SortFunc(t.keys, func(x, y key) int { return int(x.ID) - int(y.ID) })
	if len(raw.Actions) == 0 {
		b.errorf(raw.Table.line, entry, "actions: none is mapped")
	}
	for _, sig := range sortedNames(raw.Actions) {
		if a := b.action(entry, p4, sig, raw.Actions[sig]); a != nil {
			t.actions[sig.string] = a
		}
	}
	t.order = slices.SortedFunc(maps.Values(t.actions), (*action).compare)
	return t
}

// takesEntries says why a table has no entries of a controller's.
func takesEntries(t *pipeline.Table) error {
	switch {
	case t.Const:
		return errors.New("its entries are the program's own, and the switch takes no others beside them")
	case len(t.Fields) == 0:
		return errors.New("it has no keys, and so no entries")
	}
	return nil
}

// The words of `tagged` that name no key.
const (
	taggedNonzero = "nonzero"
	taggedAlways  = "always"
)

// keys binds fields to values of the program's, in their order: a table's keys,
// a digest's members, a header's fields; what is the word for one of them.
func (b *binder) keys(entry, what string, values []pipeline.Member, fields map[name]nameList, tagged name) []key {
	keys := make([]key, len(values))
	for i, v := range values {
		keys[i].Member = v
	}
	index := func(n string) int {
		return slices.IndexFunc(values, func(v pipeline.Member) bool { return v.Name == n })
	}
	form, tag := vlanWhole, -1
	switch {
	case tagged.string == taggedNonzero:
		form = vlanOrZero
	case tagged.string == taggedAlways:
		form = vlanExpected
	case tagged.string != "":
		form, tag = vlanNumber, index(tagged.string)
		if tag < 0 {
			b.errorf(tagged.line, entry, "tagged: %q is no %s; there are %v, and the words %s and %s", tagged.string, what, memberNames(values), taggedNonzero, taggedAlways)
		}
	}
	used := map[*oxm]string{}
	for _, n := range sortedNames(fields) {
		i := index(n.string)
		if i < 0 {
			b.errorf(n.line, entry, "it has no %s %q; it has %v", what, n.string, memberNames(values))
			continue
		}
		for _, want := range fields[n] {
			o, err := oxmNamed(want.string)
			if err != nil {
				b.errorf(want.line, entry, "%s: %v", n.string, err)
				continue
			}
			if o == vlanWhole {
				o = form
			}
			if part := tosParts[o]; part != nil && values[i].Width == tosBits {
				o = part
			}
			if other, twice := used[o]; twice {
				b.errorf(want.line, entry, "%s: %s is what %s %s holds", n.string, o.name, what, other)
			}
			used[o] = n.string
			keys[i].oxms = append(keys[i].oxms, o)
		}
		if err := fits(&values[i], keys[i].oxms); err != nil {
			b.errorf(n.line, entry, "%s %v", what, err)
		}
	}
	if tag >= 0 {
		if len(keys[tag].oxms) > 0 {
			b.errorf(tagged.line, entry, "tagged: %s %s has a field", what, tagged.string)
		}
		keys[tag].oxms = []*oxm{vlanPresent}
		if err := fits(&values[tag], keys[tag].oxms); err != nil {
			b.errorf(tagged.line, entry, "tagged: %s %v", what, err)
		}
	}
	return keys
}

func memberNames(list []pipeline.Member) []string {
	return pipeline.Names(list, func(m pipeline.Member) string { return m.Name })
}

func (b *binder) implied(entry string, raw map[name]uint64) (list []implied) {
	for _, n := range sortedNames(raw) {
		o, err := oxmNamed(n.string)
		if err == nil {
			_, err = pipeline.Uint(raw[n], o.width)
		}
		if err != nil {
			b.errorf(n.line, entry, "%v", err)
			continue
		}
		list = append(list, implied{o, raw[n]})
	}
	return list
}

// find resolves an action among those that a table's entries, or its default, may have.
func (b *binder) find(entry string, n name, list []*pipeline.Action, what string) *pipeline.Action {
	for _, a := range list {
		if n.string != "" && (a.Name == n.string || a.FullName == n.string) {
			return a
		}
	}
	have := pipeline.Names(list, func(a *pipeline.Action) string { return a.Name })
	if n.string == "" {
		b.errorf(n.line, entry, "action is missing: the name of a P4 action; %s %v", what, have)
	} else {
		b.errorf(n.line, entry, "no action %q; %s %v", n.string, what, have)
	}
	return nil
}

// action binds a list of actions to a P4 action that entries of t may have.
func (b *binder) action(entry string, t *pipeline.Table, sig name, raw rawCall) *action {
	entry += ": action " + sig.string
	list, err := signature(sig.string)
	if err != nil {
		b.errorf(sig.line, entry, "%v", err)
		return nil
	}
	if raw.Action.line == 0 {
		raw.Action.line = sig.line
	}
	p4 := b.find(entry, raw.Action, t.Actions, "entries can have")
	if p4 == nil {
		return nil
	}
	a := &action{sig: sig.string, p4: p4, parts: list, only: b.implied(entry+": only", raw.Only)}
	var have []string
	for _, p := range list {
		if p.source != "" {
			have = append(have, p.source)
		}
	}
	used := map[string]bool{}
	for _, prm := range b.params(entry, p4, raw) {
		if i := slices.IndexFunc(list, func(p part) bool { return p.source != "" && p.source == prm.text.string }); i >= 0 {
			p := &list[i]
			used[p.source] = true
			switch {
			case prm.String && p.value != portValue:
				b.errorf(prm.text.line, entry, "parameter %s is a text in P4Runtime, and %s a number", prm.Name, p.source)
			case !prm.String && (prm.Width < p.min || prm.Width > p.max):
				b.errorf(prm.text.line, entry, "parameter %s is %d bits wide, and %s wants %s", prm.Name, prm.Width, p.source, widthRange(p.min, p.max))
			}
			a.params = append(a.params, param{Member: prm.Member, source: p.source})
			continue
		}
		v, err := constant(&prm.Member, prm.text.string)
		if err != nil {
			if isSource(prm.text.string) || len(have) > 0 && !startsWithDigit(prm.text.string) {
				err = fmt.Errorf("%q is not among what the actions give: %v", prm.text.string, have)
			}
			b.errorf(prm.text.line, entry, "parameter %s: %v", prm.Name, err)
			continue
		}
		a.params = append(a.params, param{Member: prm.Member, constant: v})
	}
	for _, source := range have {
		if !used[source] {
			b.errorf(raw.Action.line, entry, "P4 action %s does not take %s, so it does something else", p4.Name, source)
		}
	}
	return a
}

func isSource(s string) bool {
	for _, p := range parts {
		if p.source == s && s != "" {
			return true
		}
	}
	return false
}

func startsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

func widthRange(low, high int) string {
	if low == high {
		return strconv.Itoa(low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}

// given is a parameter and what a mapping writes for it.
type given struct {
	pipeline.Member
	text name
}

// params lines up what a mapping gives with an action's parameters, by number.
func (b *binder) params(entry string, p4 *pipeline.Action, raw rawCall) (list []given) {
	for _, n := range sortedNames(raw.Params) {
		if prm := p4.Param(n.string); prm != nil {
			list = append(list, given{*prm, raw.Params[n]})
		} else {
			b.errorf(n.line, entry, "P4 action %s has no parameter %q; it has %v", p4.Name, n.string, memberNames(p4.Params))
		}
	}
	for i := range p4.Params {
		prm := &p4.Params[i]
		if !slices.ContainsFunc(list, func(g given) bool { return g.ID == prm.ID }) {
			b.errorf(raw.Action.line, entry, "parameter %s of P4 action %s is given nothing", prm.Name, p4.Name)
		} else if err := prm.Usable(); err != nil {
			b.errorf(raw.Action.line, entry, "parameter %v", err)
		}
	}
	slices.SortFunc(list, func(x, y given) int { return int(x.ID) - int(y.ID) })
	return list
}

// call binds an action with constant parameters.
func (b *binder) call(entry string, list []*pipeline.Action, what string, raw *rawCall) *Call {
	p4 := b.find(entry, raw.Action, list, what)
	if p4 == nil {
		return nil
	}
	if len(raw.Only) > 0 {
		b.errorf(raw.Action.line, entry, "only: it can stand only with the actions of rules, not here")
	}
	c := &Call{P4: p4}
	for _, prm := range b.params(entry, p4, *raw) {
		v, err := constant(&prm.Member, prm.text.string)
		if err != nil {
			b.errorf(prm.text.line, entry, "parameter %s: %v", prm.Name, err)
		}
		c.params = append(c.params, &p4v1.Action_Param{ParamId: prm.ID, Value: v})
	}
	return c
}

func (b *binder) digest(raw *rawDigest) *Digest {
	entry := "digest " + raw.Name.string
	p4 := b.p.Digest(raw.Name.string)
	if p4 == nil {
		b.errorf(raw.Name.line, "digest", "P4Info has no digest %q; it has %v", raw.Name.string,
			pipeline.Names(b.p.Digests, func(d *pipeline.Digest) string { return d.Name }))
		return nil
	}
	d := &Digest{P4: p4, keys: b.keys(entry, "member", p4.Members, raw.Fields, raw.Tagged), implied: b.implied(entry+": implied", raw.Implied)}
	port := false
	for i := range d.keys {
		k := &d.keys[i]
		port = port || slices.Contains(k.oxms, oxms["in_port"])
		for _, imp := range d.implied {
			if slices.Contains(k.oxms, imp.oxm) {
				b.errorf(raw.Name.line, entry, "implied: %s is what member %s tells", imp.name, k.Name)
			}
		}
	}
	if !port {
		b.errorf(raw.Name.line, entry, "no member is mapped to in_port")
	}
	return d
}

// headerField finds a field of a packet header that a section wants for meaning.
func (b *binder) headerField(section, wants string, h *pipeline.Header, n name, least int) *pipeline.Member {
	f := h.Field(n.string)
	switch {
	case n.string == "":
		b.errorf(n.line, section, "%s is missing; header %s has the fields %v", wants, h.Name, memberNames(h.Fields))
	case f == nil:
		b.errorf(n.line, section, "%s: header %s has no field %q; it has %v", wants, h.Name, n.string, memberNames(h.Fields))
	case f.Usable() != nil:
		b.errorf(n.line, section, "%s: %v", wants, f.Usable())
	case f.Padding || padding.MatchString(f.Name):
		b.errorf(n.line, section, "%s: field %s of header %s is padding, which the program does not read", wants, f.Name, h.Name)
	case !f.String && f.Width < least:
		b.errorf(n.line, section, "%s: field %s of header %s is %d bits wide, and a port's number at least %d", wants, f.Name, h.Name, f.Width, least)
	default:
		return f
	}
	return nil
}

// padding matches the names that programs give to what fills a header up.
var padding = regexp.MustCompile(`(?i)^_|^(pad|padding|reserved|rsvd|unused|spare)[0-9_]*$`)

func (b *binder) packetIn(raw *rawPacketIn) *PacketIn {
	h := b.p.PacketIn
	if h == nil {
		b.errorf(raw.InPort.line, "packet_in", "P4Info has no packet_in header")
		return nil
	}
	in := b.headerField("packet_in", "in_port", h, raw.InPort, portBits)
	if in == nil {
		return nil
	}
	p := &PacketIn{InPort: *in}
	if raw.Reason.string != "" {
		p.Reason = b.headerField("packet_in", "reason", h, raw.Reason, 1)
	}
	p.keys = b.keys("packet_in", "field", h.Fields, raw.Fields, raw.Tagged)
	return p
}

func (b *binder) packetOut(raw *rawPacketOut) *PacketOut {
	h := b.p.PacketOut
	if h == nil {
		b.errorf(raw.Port.line, "packet_out", "P4Info has no packet_out header")
		return nil
	}
	port := b.headerField("packet_out", "port", h, raw.Port, portBits)
	if port == nil {
		return nil
	}
	p := &PacketOut{header: h, port: *port, modes: map[flow.PortNo]map[string]uint64{}}
	if raw.InPort.string != "" {
		p.inPort = b.headerField("packet_out", "in_port", h, raw.InPort, portBits)
	}
	for out, values := range map[flow.PortNo]map[name]uint64{0: raw.Output, flow.PortFlood: raw.Flood, flow.PortNormal: raw.Normal} {
		if values == nil && out != 0 {
			continue
		}
		mode := map[string]uint64{}
		for n, v := range values {
			f := h.Field(n.string)
			if f == nil {
				b.errorf(n.line, "packet_out", "header %s has no field %q; it has %v", h.Name, n.string, memberNames(h.Fields))
			} else if _, err := pipeline.Uint(v, f.Width); err != nil {
				b.errorf(n.line, "packet_out", "%s: %v", n.string, err)
			}
			mode[n.string] = v
		}
		p.modes[out] = mode
	}
	return p
}

func (b *binder) l2(raw *rawL2) *L2 {
	t := b.named("l2", raw.Table)
	if t == nil {
		return nil
	}
	l := &L2{Table: t, MAC: t.Field(raw.MAC.string), Action: t.Action(raw.Action.string)}
	switch {
	case l.MAC == nil || l.MAC.Width != 48 || l.MAC.Kind != pipeline.Exact || len(t.Fields) != 1:
		b.errorf(raw.MAC.line, "l2", "table %s does not have %q, 48 bits and exact, as its only key", t.Name, raw.MAC.string)
	case l.Action == nil || len(l.Action.Params) != 1 || l.Action.Param(raw.Port.string) == nil:
		b.errorf(raw.Action.line, "l2", "table %s has no action %q with %q as its only parameter", t.Name, raw.Action.string, raw.Port.string)
	case t.Profile != nil && !t.Profile.Selector:
		b.errorf(raw.Table.line, "l2", "the actions of table %s come from an action profile", t.Name)
	default:
		l.Port = *l.Action.Param(raw.Port.string)
		return l
	}
	return nil
}

func sortedNames[V any](m map[name]V) []name {
	return slices.SortedFunc(maps.Keys(m), func(x, y name) int { return strings.Compare(x.string, y.string) })
}
