package pipeline

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	configv1 "github.com/p4lang/p4runtime/go/p4/config/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// Kind is how a match field compares (P4Runtime 1.3, 9.1.1).
type Kind uint8

const (
	Exact Kind = iota
	LPM
	Ternary
	Range
	Optional
	Other // a target's own
)

func (k Kind) String() string {
	return [...]string{"exact", "lpm", "ternary", "range", "optional", "of the target's own kind"}[k]
}

// Member is a named value: a match field, an action parameter, a digest's
// member or a packet header's field.
type Member struct {
	ID    uint32
	Name  string
	Width int // bits; 0 of a String
	// String: P4Runtime speaks of the value as a text (a type translated to
	// sdn_string, 1.3, 8.3), which the switch translates.
	String bool
	// Padding: the program says that it means nothing.
	Padding bool
	// Problem says why the value can't be read or written; empty: it can.
	Problem string
}

// Usable says why a mapping can't use the value, or nil.
func (m *Member) Usable() error {
	if m.Problem != "" {
		return fmt.Errorf("%s: %s", m.Name, m.Problem)
	}
	return nil
}

// Field is one key of a table.
type Field struct {
	Member
	Kind Kind
}

// Action is a P4 action with its parameters in P4Info's order.
type Action struct {
	ID       uint32
	Name     string // the alias
	FullName string
	Params   []Member
}

// Param returns the parameter with the given name, or nil.
func (a *Action) Param(name string) *Member { return find(a.Params, name) }

// Table is a P4 table.
type Table struct {
	ID          uint32
	Name        string // the alias
	FullName    string
	Size        int64
	Fields      []Field
	Actions     []*Action // those that an entry may name
	Defaults    []*Action // those that the default action may be
	ConstMiss   *Action   // the default action, where it can't be changed
	Initial     *Action   // the default action that the program begins with; nil: P4Info does not say
	IdleTimeout bool
	// Priority: entries need one, since a key is ternary, range or optional.
	Priority      bool
	DirectCounter bool
	DirectMeter   *Meter   // of each entry; nil: none
	Profile       *Profile // entries take their actions from it; nil: they have their own
	Const         bool     // entries are the program's own, and it takes no others
}

// Profile is an action profile, or with Selector one that chooses among members.
type Profile struct {
	ID       uint32
	Name     string
	Selector bool
	Size     int64 // members, or as P4Info's selector_size_semantics says
}

// Field returns the key with the given name, or nil.
func (t *Table) Field(name string) *Field {
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return &t.Fields[i]
		}
	}
	return nil
}

// FieldByID returns the key with the given P4Info id, or nil.
func (t *Table) FieldByID(id uint32) *Field {
	for i := range t.Fields {
		if t.Fields[i].ID == id {
			return &t.Fields[i]
		}
	}
	return nil
}

// Action returns the action with the given alias or full name that entries of t may have, or nil.
func (t *Table) Action(name string) *Action { return findAction(t.Actions, name) }

// Default returns the action with the given alias or full name that t may have as its default, or nil.
func (t *Table) Default(name string) *Action { return findAction(t.Defaults, name) }

// Digest is a digest's layout.
type Digest struct {
	ID      uint32
	Name    string
	Members []Member // IDs are zero: a digest's members have none
	Plain   bool     // it is one value, and no struct
	NoBits  string   // the first member that is of another type than bit<>; empty: none
}

// Header is the layout of packet_in or packet_out metadata.
type Header struct {
	ID     uint32
	Name   string
	Fields []Member
}

// Field returns the field with the given name, or nil.
func (h *Header) Field(name string) *Member { return find(h.Fields, name) }

// Counter is an indirect counter array.
type Counter struct {
	ID       uint32
	Name     string // the alias
	FullName string
	Size     int64
}

// Meter is a meter array, or one of each entry of a table.
type Meter struct {
	ID       uint32
	Name     string // the alias
	FullName string
	Size     int64 // of an array
	Packets  bool  // it counts packets, not bytes
}

// Pipeline is a P4 program's description and compiled form.
type Pipeline struct {
	Name    string // pkg_info's, may be empty
	Version string
	Info    *configv1.P4Info
	Device  []byte // the device configuration, for BMv2 its JSON
	// Cookie is a hash of Info and Device, never zero: a switch that reports it
	// runs this program.
	Cookie uint64

	Tables   []*Table
	Digests  []*Digest
	Counters []*Counter
	Meters   []*Meter
	// PacketIn and PacketOut are nil where the program has none.
	PacketIn  *Header
	PacketOut *Header

	tables   map[string]*Table
	tableIDs map[uint32]*Table
	digests  map[uint32]*Digest
	follows  map[string]map[string]bool // by full name: the tables that come after one; nil: not known
}

// Table returns the table with the given alias or full name, or nil.
func (p *Pipeline) Table(name string) *Table { return p.tables[name] }

// TableByID returns the table with the given P4Info id, or nil.
func (p *Pipeline) TableByID(id uint32) *Table { return p.tableIDs[id] }

// Follows reports whether a packet that was looked up in table before may be
// looked up in table t later on; known is false where the device configuration
// does not say in which order the program has its tables.
func (p *Pipeline) Follows(before, t *Table) (follows, known bool) {
	return p.follows[before.FullName][t.FullName], p.follows != nil
}

// DigestByID returns the digest with the given P4Info id, or nil.
func (p *Pipeline) DigestByID(id uint32) *Digest { return p.digests[id] }

// Meter returns the meter with the given alias or full name, or nil.
func (p *Pipeline) Meter(name string) *Meter {
	for _, m := range p.Meters {
		if m.Name == name || m.FullName == name {
			return m
		}
	}
	return nil
}

// Counter returns the indirect counter with the given alias or full name, or nil.
func (p *Pipeline) Counter(name string) *Counter {
	for _, c := range p.Counters {
		if c.Name == name || c.FullName == name {
			return c
		}
	}
	return nil
}

// Digest returns the digest with the given name, or nil.
func (p *Pipeline) Digest(name string) *Digest {
	for _, d := range p.Digests {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Load reads P4Info, in text or binary form, and the device configuration that
// was compiled with it. It fails where they contradict each other: a table or
// an action that the device configuration lacks, or keys that differ.
func Load(p4info, device []byte) (*Pipeline, error) {
	info := new(configv1.P4Info)
	if err := prototext.Unmarshal(p4info, info); err != nil {
		if proto.Unmarshal(p4info, info) != nil {
			return nil, fmt.Errorf("P4Info: neither text nor binary: %w", err)
		}
	}
	p, err := index(info)
	if err != nil {
		return nil, fmt.Errorf("P4Info: %w", err)
	}
	p.Device = device
	if len(device) > 0 {
		if err := p.agree(device); err != nil {
			return nil, fmt.Errorf("P4Info and device configuration: %w", err)
		}
	}
	p.Cookie, err = cookie(info, device)
	return p, err
}

func cookie(info *configv1.P4Info, device []byte) (uint64, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(info)
	if err != nil {
		return 0, err
	}
	h := sha256.New()
	h.Write(b)
	h.Write(device)
	return binary.BigEndian.Uint64(h.Sum(nil)) | 1, nil
}

func index(info *configv1.P4Info) (*Pipeline, error) {
	p := &Pipeline{
		Name: info.GetPkgInfo().GetName(), Version: info.GetPkgInfo().GetVersion(), Info: info,
		tables: map[string]*Table{}, tableIDs: map[uint32]*Table{}, digests: map[uint32]*Digest{},
	}
	types := info.GetTypeInfo()
	actions := map[uint32]*Action{}
	for _, a := range info.GetActions() {
		act := &Action{ID: a.GetPreamble().GetId(), Name: alias(a.GetPreamble()), FullName: a.GetPreamble().GetName()}
		for _, prm := range a.GetParams() {
			act.Params = append(act.Params, member(prm, types))
		}
		actions[act.ID] = act
	}
	counted, metered := map[uint32]bool{}, map[uint32]*Meter{}
	for _, c := range info.GetDirectCounters() {
		counted[c.GetDirectTableId()] = true
	}
	for _, m := range info.GetDirectMeters() {
		metered[m.GetDirectTableId()] = &Meter{ID: m.GetPreamble().GetId(), Name: alias(m.GetPreamble()), FullName: m.GetPreamble().GetName(),
			Packets: m.GetSpec().GetUnit() == configv1.MeterSpec_PACKETS}
	}
	profiles := map[uint32]*Profile{}
	for _, a := range info.GetActionProfiles() {
		profiles[a.GetPreamble().GetId()] = &Profile{a.GetPreamble().GetId(), alias(a.GetPreamble()), a.GetWithSelector(), a.GetSize()}
	}
	for _, t := range info.GetTables() {
		tab, err := table(t, actions, types)
		if err != nil {
			return nil, err
		}
		if id := t.GetImplementationId(); id != 0 {
			if tab.Profile = profiles[id]; tab.Profile == nil {
				return nil, fmt.Errorf("table %s: action profile %#x is not described", tab.Name, id)
			}
		}
		tab.DirectCounter, tab.DirectMeter = counted[tab.ID], metered[tab.ID]
		if p.tableIDs[tab.ID] != nil {
			return nil, fmt.Errorf("two tables have the id %#x", tab.ID)
		}
		p.Tables = append(p.Tables, tab)
		p.tableIDs[tab.ID] = tab
		p.tables[tab.Name], p.tables[tab.FullName] = tab, tab
	}
	for _, d := range info.GetDigests() {
		dig, err := digest(d, types)
		if err != nil {
			return nil, err
		}
		p.Digests = append(p.Digests, dig)
		p.digests[dig.ID] = dig
	}
	for _, c := range info.GetCounters() {
		p.Counters = append(p.Counters, &Counter{c.GetPreamble().GetId(), alias(c.GetPreamble()), c.GetPreamble().GetName(), c.GetSize()})
	}
	for _, m := range info.GetMeters() {
		p.Meters = append(p.Meters, &Meter{m.GetPreamble().GetId(), alias(m.GetPreamble()), m.GetPreamble().GetName(), m.GetSize(), m.GetSpec().GetUnit() == configv1.MeterSpec_PACKETS})
	}
	for _, h := range info.GetControllerPacketMetadata() {
		head := &Header{ID: h.GetPreamble().GetId(), Name: h.GetPreamble().GetName()}
		for _, f := range h.GetMetadata() {
			head.Fields = append(head.Fields, member(f, types))
		}
		switch head.Name {
		case "packet_in":
			p.PacketIn = head
		case "packet_out":
			p.PacketOut = head
		}
	}
	return p, nil
}

// described is what match fields, action parameters and packet metadata have in common.
type described interface {
	GetId() uint32
	GetName() string
	GetBitwidth() int32
	GetAnnotations() []string
	GetTypeName() *configv1.P4NamedType
}

// member reads a value's description.
func member(d described, types *configv1.P4TypeInfo) Member {
	m := Member{ID: d.GetId(), Name: d.GetName(), Width: int(d.GetBitwidth()), Padding: slices.Contains(d.GetAnnotations(), "@padding")}
	if name := d.GetTypeName().GetName(); name != "" && types.GetNewTypes()[name].GetTranslatedType().GetSdnString() != nil {
		m.Width, m.String = 0, true
	}
	return m.checked()
}

// maxWidth bounds a value: no header field is longer, and what P4Info claims is not memory to take on trust.
const maxWidth = 2048

// checked notes a width that can't be one.
func (m Member) checked() Member {
	if m.Problem == "" && !m.String && (m.Width < 1 || m.Width > maxWidth) {
		m.Problem = fmt.Sprintf("it is %d bits wide, want 1 to %d", m.Width, maxWidth)
		m.Width = 0
	}
	return m
}

func table(t *configv1.Table, actions map[uint32]*Action, types *configv1.P4TypeInfo) (*Table, error) {
	tab := &Table{
		ID: t.GetPreamble().GetId(), Name: alias(t.GetPreamble()), FullName: t.GetPreamble().GetName(), Size: t.GetSize(),
		ConstMiss:   actions[t.GetConstDefaultActionId()],
		Initial:     actions[cmp.Or(t.GetConstDefaultActionId(), t.GetInitialDefaultAction().GetActionId())],
		IdleTimeout: t.GetIdleTimeoutBehavior() == configv1.Table_NOTIFY_CONTROL,
		Const:       t.GetIsConstTable(),
	}
	if id := t.GetConstDefaultActionId(); id != 0 && tab.ConstMiss == nil {
		return nil, fmt.Errorf("table %s: action %#x is not described", tab.Name, id)
	}
	for _, f := range t.GetMatchFields() {
		m := member(f, types)
		kind, ok := kinds[f.GetMatchType()]
		if !ok {
			kind = Other
			m.Problem = fmt.Sprintf("its match type %s is not supported", cmp.Or(f.GetOtherMatchType(), f.GetMatchType().String()))
		}
		tab.Fields = append(tab.Fields, Field{m, kind})
		tab.Priority = tab.Priority || kind == Ternary || kind == Range || kind == Optional
	}
	for _, ref := range t.GetActionRefs() {
		a := actions[ref.GetId()]
		if a == nil {
			return nil, fmt.Errorf("table %s: action %#x is not described", tab.Name, ref.GetId())
		}
		if ref.GetScope() != configv1.ActionRef_DEFAULT_ONLY {
			tab.Actions = append(tab.Actions, a)
		}
		if ref.GetScope() != configv1.ActionRef_TABLE_ONLY {
			tab.Defaults = append(tab.Defaults, a)
		}
	}
	return tab, nil
}

var kinds = map[configv1.MatchField_MatchType]Kind{
	configv1.MatchField_EXACT: Exact, configv1.MatchField_LPM: LPM, configv1.MatchField_TERNARY: Ternary,
	configv1.MatchField_RANGE: Range, configv1.MatchField_OPTIONAL: Optional,
}

// digest resolves a digest's layout, which P4Info gives as a type.
func digest(d *configv1.Digest, types *configv1.P4TypeInfo) (*Digest, error) {
	dig := &Digest{ID: d.GetPreamble().GetId(), Name: d.GetPreamble().GetName()}
	var fields []*configv1.P4StructTypeSpec_Member
	switch t := d.GetTypeSpec(); {
	case t.GetStruct() != nil:
		s := types.GetStructs()[t.GetStruct().GetName()]
		if s == nil {
			return nil, fmt.Errorf("digest %s: struct %q is not described", dig.Name, t.GetStruct().GetName())
		}
		fields = s.GetMembers()
	case t.GetTuple() != nil:
		for i, m := range t.GetTuple().GetMembers() {
			fields = append(fields, &configv1.P4StructTypeSpec_Member{Name: fmt.Sprintf("member%d", i), TypeSpec: m})
		}
	default:
		dig.Plain = true
		fields = []*configv1.P4StructTypeSpec_Member{{Name: dig.Name, TypeSpec: t}}
	}
	for _, f := range fields {
		dig.Members = append(dig.Members, dataMember(f.GetName(), f.GetTypeSpec(), types))
		if bits := f.GetTypeSpec().GetBitstring().GetBit() != nil || f.GetTypeSpec().GetNewType() != nil; !bits && dig.NoBits == "" {
			dig.NoBits = f.GetName()
		}
	}
	return dig, nil
}

// dataMember reads the type of a digest's member.
func dataMember(name string, spec *configv1.P4DataTypeSpec, types *configv1.P4TypeInfo) Member {
	m := Member{Name: name}
	switch t := spec.GetTypeSpec().(type) {
	case *configv1.P4DataTypeSpec_Bitstring:
		if m.Width = int(t.Bitstring.GetBit().GetBitwidth()); m.Width == 0 {
			m.Problem = "it is a signed or a variable number, which no field is"
		}
	case *configv1.P4DataTypeSpec_Bool:
		m.Width = 1
	case *configv1.P4DataTypeSpec_SerializableEnum:
		m.Width = int(types.GetSerializableEnums()[t.SerializableEnum.GetName()].GetUnderlyingType().GetBitwidth())
	case *configv1.P4DataTypeSpec_NewType:
		switch s := types.GetNewTypes()[t.NewType.GetName()]; {
		case s.GetTranslatedType().GetSdnString() != nil:
			m.String = true
		case s.GetTranslatedType() != nil:
			m.Width = int(s.GetTranslatedType().GetSdnBitwidth())
		default: // P4 has no type of a type of a type here that is not one of bits
			m.Width = int(s.GetOriginalType().GetBitstring().GetBit().GetBitwidth())
		}
	default:
		m.Problem = "it is no number"
	}
	return m.checked()
}

// agree compares P4Info with BMv2's JSON, by name.
func (p *Pipeline) agree(device []byte) error {
	var js struct {
		Pipelines []struct {
			Tables []struct {
				Name string
				Key  []struct {
					MatchType string `json:"match_type"`
				}
				Entries []json.RawMessage
				Next    map[string]string `json:"next_tables"`
				Default string            `json:"base_default_next"`
			}
			Conditionals []struct {
				Name  string
				True  string `json:"true_next"`
				False string `json:"false_next"`
			}
		}
	}
	var wrong *json.UnmarshalTypeError
	switch err := json.NewDecoder(bytes.NewReader(device)).Decode(&js); {
	case errors.As(err, &wrong):
		return fmt.Errorf("device configuration is not BMv2 JSON: %s is of JSON's type %s", cmp.Or(strings.ToLower(wrong.Field), "all of it"), wrong.Value)
	case err != nil:
		return fmt.Errorf("device configuration is not BMv2 JSON: %w", err)
	}
	type shape struct {
		kinds []string
		fixed bool
	}
	found, next := map[string]shape{}, map[string][]string{}
	for _, pl := range js.Pipelines {
		for _, t := range pl.Tables {
			var s shape
			for _, k := range t.Key {
				s.kinds = append(s.kinds, k.MatchType)
			}
			s.fixed = len(t.Entries) > 0
			found[t.Name] = s
			next[t.Name] = append(slices.Collect(maps.Values(t.Next)), t.Default)
		}
		for _, c := range pl.Conditionals {
			next[c.Name] = []string{c.True, c.False}
		}
	}
	p.follows = map[string]map[string]bool{}
	for _, t := range p.Tables {
		after := map[string]bool{}
		reach(next, t.FullName, after)
		p.follows[t.FullName] = after
	}
	var errs []error
	for _, t := range p.Tables {
		s, ok := found[t.FullName]
		if !ok {
			errs = append(errs, fmt.Errorf("table %s is in P4Info only", t.FullName))
			continue
		}
		// BMv2 takes no entries beside those of the program, constant or not.
		t.Const = t.Const || s.fixed
		if len(s.kinds) != len(t.Fields) {
			errs = append(errs, fmt.Errorf("table %s has %d keys in P4Info and %d in the device configuration", t.FullName, len(t.Fields), len(s.kinds)))
			continue
		}
		for i, f := range t.Fields {
			want := f.Kind.String()
			if f.Kind == Optional {
				want = Ternary.String() // what p4c makes of it
			}
			if f.Kind != Other && s.kinds[i] != want {
				errs = append(errs, fmt.Errorf("table %s: key %s is %v in P4Info and %s in the device configuration", t.FullName, f.Name, f.Kind, s.kinds[i]))
			}
		}
	}
	return errors.Join(errs...)
}

// reach notes all that comes after a node of the program's graph.
func reach(next map[string][]string, from string, seen map[string]bool) {
	for _, n := range next[from] {
		if n != "" && !seen[n] {
			seen[n] = true
			reach(next, n, seen)
		}
	}
}

func alias(p *configv1.Preamble) string {
	if p.GetAlias() != "" {
		return p.GetAlias()
	}
	return p.GetName()
}

func find(list []Member, name string) *Member {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func findAction(list []*Action, name string) *Action {
	for _, a := range list {
		if a.Name == name || a.FullName == name {
			return a
		}
	}
	return nil
}

// Names lists what a set of named things offers, sorted, for error texts.
func Names[T any](list []T, name func(T) string) []string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = name(v)
	}
	sort.Strings(names)
	return names
}
