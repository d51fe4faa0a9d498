// Package policy holds what all kinds of policy have in common: the source form of a
// chain, and the terms in which a link of the chain says what it decided.
//
// A [Policy] is plain data, read from YAML by policy/policyfile or unpacked
// from a blob. Each kind of entry is a folder below this one; policy/kinds lists
// them. An entry's [Source] compiles into a [Link], which decides packets. The
// first link that decides wins.
//
// Nothing here, nor in the folders of the kinds, reads files, a clock or a
// network, or imports encoding/json or net, since all of it also runs inside a
// WebAssembly guest.
package policy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/policy/syntax"
	"switchbridge/policy/wire"
)

// Policy is the source form of a policy. It is not changed once a controller
// has been made of it.
type Policy struct {
	Serial uint64 // only grows from one version of a policy to the next
	Hash   uint32 // of the file's content and that of every list file it names

	Install Install
	Chain   []Source

	// Files are the lists that the policy was read from besides its own file,
	// for those who watch for changes.
	Files []string
}

// Version is what the gateway compares to tell an older policy from a newer one.
func (p *Policy) Version() flow.PolicyVersion {
	return flow.PolicyVersion{Serial: p.Serial, Hash: p.Hash}
}

// Mode returns what allowed packets do: the mode of the chain's first forward entry,
// or NORMAL.
func (p *Policy) Mode() ForwardMode {
	for _, s := range p.Chain {
		if f, ok := s.(interface{ Forward() ForwardMode }); ok {
			return f.Forward()
		}
	}
	return Normal
}

// LooksAt returns the match fields that the chain's entries name, as far as they
// say so.
func (p *Policy) LooksAt() (fields flow.Field) {
	for _, s := range p.Chain {
		if l, ok := s.(interface{ LooksAt() flow.Field }); ok {
			fields |= l.LooksAt()
		}
	}
	return fields
}

// Replies reports whether an entry of the chain lets replies in.
func (p *Policy) Replies() bool {
	for _, s := range p.Chain {
		if r, ok := s.(interface{ Replies() bool }); ok && r.Replies() {
			return true
		}
	}
	return false
}

// InPorts returns the ports of in_port that the chain's entries name, sorted, each once. Every entry whose verdict can depend on in_port has a
// method of this name.
func (p *Policy) InPorts() (ports []flow.PortNo) {
	for _, s := range p.Chain {
		if l, ok := s.(interface{ InPorts() []flow.PortNo }); ok {
			ports = append(ports, l.InPorts()...)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// Source is one entry of a chain before it is compiled: plain data, valid
// once Validate has returned nil.
type Source interface {
	// Name is the policy's name as files and reasons write it, such as "header".
	Name() string
	// Validate says what is wrong with the entry. earlier is the chain before it. If one of the entry's items, such as a rule, is
	// wrong, it returns an [ItemError], so that a reader of a file can name the line.
	Validate(earlier []Source) error
	// Explain says in words what the entry does, without its name: what "policy eval" writes of it.
	Explain() string
	// Compile returns the link that decides by a valid entry.
	Compile() Link
	// Write writes the entry as its kind's Read reads it.
	Write(w *wire.Writer)
}

// Kind is one kind of policy, such as blocklist. The list of kinds (policy/kinds) has one of each. It is an interface and not a
// struct of functions because the linker leaves out methods that nobody calls: a guest only reads compiled policies, and so has no
// code that reads files.
type Kind interface {
	// Name is the kind's name as files and reasons write it, and that of its folder.
	Name() string
	// Code says in a compiled policy that an entry is of this kind. It never changes, since functions that are deployed read it.
	Code() byte
	// Parse reads an entry of a policy file and reports errors to f. items are the nodes of the entry's items, in the order in which an
	// [ItemError] counts them, or nil if it has none.
	Parse(f *syntax.File, n *syntax.Node) (s Source, items []*syntax.Node)
	// Read reads an entry of a compiled policy. What it returns need not be valid.
	Read(r *wire.Reader) Source
	// Examples returns entries for tests and for training. The conformance suite of functions puts the first one of each kind into one
	// chain; the embedded guest is trained with all of them.
	Examples() []Example
}

// Example is an entry of a chain, and packets to ask about.
type Example struct {
	Entry Source

	// Packets are in the words of policy/policytest. The entry must decide at least one of them, unless one of the conformance suite's own
	// packets is decided by it.
	Packets []string
}

// ItemError is what is wrong with one item of an entry, such as a rule of a header policy.
type ItemError struct {
	Index int    // from 0
	Item  string // how the entry names it
	Err   error
}

func (e *ItemError) Error() string { return fmt.Sprintf("%s: %v", e.Item, e.Err) }
func (e *ItemError) Unwrap() error { return e.Err }

// Link decides packets. It is immutable, and used by several goroutines at a time.
type Link interface {
	// Decide looks at a packet. It returns what happens to the packet, or an outcome
	// without a verdict to pass it on to the next link. Both say which fields it
	// looked at.
	Decide(p Packet) Outcome
	// Proactive appends the rules that a switch gets when it connects.
	Proactive(c *Connected, rules []flow.Rule) []flow.Rule
}

// Machines is a Link whose decisions rest on states, which outlive an event (see [flow.Event.States]).
type Machines interface {
	Link
	// StateKeys appends the keys of the states that the event's decision reads.
	StateKeys(ev *flow.Event, keys []string) []string
	// SupposedKeys appends the keys of the states that the decision about a packet reads which nobody has sent (see [Packet.Supposed]). byPort
	// says that they hang on in_port.
	SupposedKeys(p Packet, keys []string) (_ []string, byPort bool)
	// Travels returns the name and the kind of a key of StateKeys, if it is one of the link's and of the event's own headers.
	Travels(key string) (name string, kind flow.StateKey, ok bool)
	// DecideBy is Decide with the states of the packet's event: as many as the link appended keys, and those of later links. A supposed packet
	// changes none; of its Recollection, Unsettled says that one of its states can't be used.
	DecideBy(p Packet, ev *flow.Event) (Outcome, Recollection)
	// Notice takes note of an event that is no packet.
	Notice(ev *flow.Event) Recollection
	// StateOf returns the name of the state that a value of a key means at a time, for people.
	StateOf(key string, data []byte, at time.Time) string
}

// Remembering is a Source that compiles into [Machines] if Remembers says so. Packets must reach it: it never sees a packet that a switch decides
// by itself.
type Remembering interface {
	Source
	Remembers() bool

	// CantTravel says why the states must not travel with events and be kept by a gateway, of which there may be a pair; nothing where they may.
	CantTravel(pair bool) []string
}

// Recollection says which states a decision has read and changed.
type Recollection struct {
	Read int // how many of the event's states, from the link's own first one on, it has read

	Change *flow.StateChange // nil: no state changes. Its index is that in the states that the link was given
	Note   string            // what the reason says of it, after a semicolon; empty: nothing

	// Unsettled says why no rule may be installed: a packet that it covers could change the state. Empty: none could.
	Unsettled string

	// Left is how long the outcome holds, where Limited: until time alone changes a state.
	Left    time.Duration
	Limited bool
}

// Add adds one link's recollection to r, which is that of the whole event. first is the index of the link's first state among the event's.
func (r *Recollection) Add(own *Recollection, first int) {
	if own.Change != nil {
		own.Change.Index += first
		r.Change = own.Change
	}
	if r.Note == "" {
		r.Note = own.Note
	} else if own.Note != "" {
		r.Note += "; " + own.Note
	}
	if r.Unsettled == "" {
		r.Unsettled = own.Unsettled
	}
	if own.Limited && (!r.Limited || own.Left < r.Left) {
		r.Limited, r.Left = true, own.Left
	}
}

// Packet is what a link is asked about.
type Packet struct {
	Match *flow.Match // the packet's headers, read only

	// Missing are fields that the packet has, as far as its other headers tell,
	// but that were not seen (see [Missing]). A link for whose verdict one of
	// them counts denies.
	Missing flow.Field

	// Switch is the one that asks, and In the packet as it asked; nil where nothing but headers is known.
	Switch *flow.Switch
	In     *flow.PacketIn

	// Now is when the packet was read; zero where nobody says.
	Now time.Time

	// Supposed says that the packet has not come: the link is asked about it because the packet that has come may be its reply. A link that
	// checks senders lets it pass, since it checked the sender when the packet came.
	Supposed bool

	// Src and Dst are the packet's network addresses as links look them up, from
	// its IP or its ARP header; zero where Match has none.
	Src, Dst Address
}

// NewPacket returns a packet with headers m.
func NewPacket(m *flow.Match) Packet {
	p := Packet{Match: m, Missing: m.Missing()}
	switch {
	case m.Fields&(flow.FieldIPSrc|flow.FieldIPDst) != 0:
		p.Src, p.Dst = AddressOf(m.IPSrc.Addr()), AddressOf(m.IPDst.Addr())
	case m.Fields&(flow.FieldARPSPA|flow.FieldARPTPA) != 0:
		p.Src, p.Dst = AddressOf(m.ARPSPA.Addr()), AddressOf(m.ARPTPA.Addr())
	}
	return p
}

// Address is a network address as a number of 128 bits, of which IPv4's 32 are
// the topmost.
type Address struct{ Hi, Lo uint64 }

// AddressOf returns a as a number; 0 for the zero Addr.
func AddressOf(a netip.Addr) Address {
	switch {
	case a.Is4():
		b := a.As4()
		return Address{Hi: uint64(binary.BigEndian.Uint32(b[:])) << 32}
	case a.Is6():
		b := a.As16()
		return Address{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
	}
	return Address{}
}

// Known returns the packet's fields whose values can be relied on. ICMP in the
// other family's IP is not one: no switch looks into it.
func (p *Packet) Known() flow.Field {
	m := p.Match
	known := m.Fields &^ p.Missing
	if m.IPProto == flow.ProtoICMP && m.EthType != flow.EthTypeIPv4 || m.IPProto == flow.ProtoICMPv6 && m.EthType != flow.EthTypeIPv6 {
		known &^= flow.FieldICMPType | flow.FieldICMPCode
	}
	return known
}

// Outcome is what a link says about a packet.
type Outcome struct {
	Verdict flow.Verdict // NoVerdict: the next link decides
	Reason  string

	// Depends are the fields that the outcome depends on, present in the packet
	// or not: a packet that differs in none of them gets the same outcome. A rule
	// without one of them would be wider than the decision.
	Depends flow.Field

	// Switch says that the outcome depends on the switch, too: a packet with the
	// same fields at another switch may get another outcome.
	Switch bool

	// NoRule names something else that the outcome depends on and that no rule can match, such as an option of neighbour discovery. The
	// answer is then for this packet alone. Empty: there is nothing.
	NoRule string

	// Left is how long the outcome holds, where Limited: until time alone changes it.
	Left    time.Duration
	Limited bool

	// Unseen says that the link had to look at more of the packet than its headers, and that In has withheld it (see
	// [flow.PacketIn.Withheld]). The rest of the outcome counts for nothing then.
	Unseen bool

	// Replies says, of an allowed packet, that what answers it is allowed too.
	// NoReply says, of a denied one, that it is denied even if it is an answer, as
	// a link says that denies by who sends and not by what is said.
	Replies, NoReply bool

	// Strict says, of an allowed packet with Replies, that of TCP only a SYN opens a conversation: any other segment is denied.
	Strict bool

	// Reject says, of a denied packet, that its sender is told so.
	Reject bool

	// Log says that the decision is to be in the gateway's log.
	Log bool

	Treatment
}

// Limit has the outcome hold for no longer than left.
func (o *Outcome) Limit(left time.Duration) {
	if !o.Limited || left < o.Left {
		o.Limited, o.Left = true, left
	}
}

// Treatment is what an allowed packet goes through. Its slices belong to the
// link and are read only.
type Treatment struct {
	Mode    ForwardMode   // 0: that of the chain's forward link
	Actions []flow.Action // nil: those of Mode
	Before  []flow.Action // come before the actions, such as a queue
	Meter   uint32        // 0: none
}

// Connected is a switch that gets its proactive rules.
type Connected struct {
	Switch  *flow.Switch // may be nil
	Install *Install
	Mode    ForwardMode // of packets that are allowed and no more is said
}

// ForwardMode is what happens to packets that are allowed.
type ForwardMode uint8

const (
	Normal ForwardMode = iota + 1 // the switch's own learning pipeline
	Flood
	Learn // OpenFlow 1.3: the controller learns, the switch's second table remembers
)

var forwardNames = [...]string{Normal: "normal", Flood: "flood", Learn: "learn"}

func (m ForwardMode) String() string {
	if int(m) < len(forwardNames) && m != 0 {
		return forwardNames[m]
	}
	return fmt.Sprintf("forward mode %d", uint8(m))
}

// ParseForwardMode is the inverse of [ForwardMode.String].
func ParseForwardMode(s string) (ForwardMode, error) {
	for m := Normal; m <= Learn; m++ {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%q: want normal, flood or learn", s)
}

// Granularity is how much a decision's rule covers, before it is narrowed to
// what the decision depends on.
type Granularity uint8

const (
	InstallFlow     Granularity = iota // every header of the packet's conversation
	InstallHostPair                    // in_port and both network addresses
	InstallMACPair                     // in_port and both Ethernet addresses
	InstallNone                        // no rule: every packet is reviewed
	InstallWidest                      // in_port and the Ethernet source; compiled policies have its number, so it is behind the others
)

var granularityNames = [...]string{"flow", "host-pair", "mac-pair", "none", "widest"}

func (g Granularity) String() string {
	if int(g) < len(granularityNames) {
		return granularityNames[g]
	}
	return fmt.Sprintf("granularity %d", uint8(g))
}

// ParseGranularity is the inverse of [Granularity.String].
func ParseGranularity(s string) (Granularity, error) {
	for i, name := range granularityNames {
		if s == name {
			return Granularity(i), nil
		}
	}
	return 0, fmt.Errorf("%q: want flow, host-pair, mac-pair, widest or none", s)
}

// Install says what a decision leaves in the switch.
type Install struct {
	Rule        Granularity
	IdleTimeout time.Duration // whole seconds; 0 is never
	HardTimeout time.Duration
	Priority    uint16
	Table       uint8
}

// Priorities that a rule may have; the gateway keeps the others for itself.
const (
	MinPriority = 1
	MaxPriority = 60000
)

// MaxTimeout is the longest that OpenFlow's 16 bits of seconds hold.
const MaxTimeout = 65535 * time.Second

// DefaultInstall is what a policy installs that says nothing about it.
var DefaultInstall = Install{
	Rule:        InstallFlow,
	IdleTimeout: 30 * time.Second,
	HardTimeout: 300 * time.Second,
	Priority:    100,
}

// ActionsOf returns what a packet does in a mode, read only. Learn floods: what
// the switch has learned is in its second table.
func ActionsOf(m ForwardMode) []flow.Action {
	switch m {
	case Flood, Learn:
		return floodActions
	}
	return normalActions
}

var (
	normalActions = []flow.Action{flow.OutputTo(flow.PortNormal)}
	floodActions  = []flow.Action{flow.OutputTo(flow.PortFlood)}
)

// Validate says what is wrong with the settings.
func (i *Install) Validate() error {
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"idle_timeout", i.IdleTimeout}, {"hard_timeout", i.HardTimeout}} {
		if t.d < 0 || t.d > MaxTimeout || t.d%time.Second != 0 {
			return fmt.Errorf("%s %v: want whole seconds, at most 65535", t.name, t.d)
		}
	}
	if i.Rule != InstallNone && i.IdleTimeout == 0 && i.HardTimeout == 0 {
		return fmt.Errorf("idle_timeout and hard_timeout are both 0: a rule needs one")
	}
	if i.Priority < MinPriority || i.Priority > MaxPriority {
		return fmt.Errorf("priority %d: want %d to %d", i.Priority, MinPriority, MaxPriority)
	}
	if i.Table > 253 {
		return fmt.Errorf("table %d: want 0 to 253", i.Table)
	}
	return nil
}

// Validate says what is wrong with the policy, naming the entry. A policy that
// passes compiles.
func (p *Policy) Validate() error {
	if err := p.ValidateInstall(); err != nil {
		return err
	}
	for i, s := range p.Chain {
		if err := s.Validate(p.Chain[:i]); err != nil {
			return fmt.Errorf("chain entry %d: %s: %w", i+1, s.Name(), err)
		}
	}
	return nil
}

// ValidateInstall says what is wrong with what the policy installs.
func (p *Policy) ValidateInstall() error {
	if err := p.Install.Validate(); err != nil {
		return err
	}
	if p.Mode() != Learn {
		return nil
	}
	switch {
	case p.Install.Rule == InstallNone:
		return fmt.Errorf("install none: forward's mode learn needs rules in the switch")
	case p.Install.HardTimeout == 0:
		return fmt.Errorf("hard_timeout 0: forward's mode learn needs rules that end: want more than 0")
	case p.Install.Table > 252:
		return fmt.Errorf("table %d: learn uses the one after it, too", p.Install.Table)
	}
	return nil
}
