package sourceguard

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Learn says where bindings come from at ports that the policy says nothing of.
type Learn uint8

const (
	Nothing Learn = iota
	First         // an address is bound to the port that shows it first (RFC 6620)
	DHCP          // an IPv4 address is bound to the port of the station that a DHCP server gives it (RFC 7513); all others as by First
)

var learnNames = [...]string{Nothing: "nothing", First: "first", DHCP: "dhcp"}

func (l Learn) String() string {
	if int(l) < len(learnNames) {
		return learnNames[l]
	}
	return fmt.Sprintf("learn %d", uint8(l))
}

// Limits of how long a learned binding lives. The default is that of a policy that doesn't say.
const (
	defaultFor = 12 * time.Hour
	minFor     = time.Minute
	maxFor     = 365 * 24 * time.Hour
)

// subject is an address that something is learned of.
type subject struct {
	mac  flow.MAC
	addr netip.Addr // if valid, it is this one
}

func (s subject) String() string {
	if s.addr.IsValid() {
		return s.addr.String()
	}
	return s.mac.String()
}

// key is the store's. No name of a machine has a colon, so that theirs are others.
func (s subject) key() string { return Name + ":" + s.String() }

// entry is a learned binding.
type entry struct {
	sw    flow.DPID
	port  flow.PortNo
	mac   flow.MAC
	since int64 // milliseconds since 1970
	life  time.Duration
}

const (
	entryVersion = 1
	entryLen     = 1 + 8 + 4 + 6 + 8 + 4
)

func (e *entry) append(b []byte) []byte {
	b = append(b, entryVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(e.sw))
	b = binary.BigEndian.AppendUint32(b, uint32(e.port))
	b = append(b, e.mac[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.since))
	return binary.BigEndian.AppendUint32(b, uint32(e.life/time.Second))
}

func (e *entry) parse(b []byte) bool {
	if len(b) != entryLen || b[0] != entryVersion {
		return false
	}
	e.sw, e.port, e.mac = flow.DPID(binary.BigEndian.Uint64(b[1:])), flow.PortNo(binary.BigEndian.Uint32(b[9:])), flow.MAC(b[13:19])
	e.since, e.life = int64(binary.BigEndian.Uint64(b[19:])), time.Duration(binary.BigEndian.Uint32(b[27:]))*time.Second
	return e.since > 0
}

// left returns how long the binding lives on. A clock that was set back, or differs from another gateway's, lets it live no longer than
// from its beginning.
func (e *entry) left(now int64) time.Duration {
	past := max(0, now-e.since)
	if past >= e.life.Milliseconds() {
		return 0
	}
	return e.life - time.Duration(past)*time.Millisecond
}

func (e *entry) place() string {
	p := Place{Switch: e.sw, Ports: []flow.PortNo{e.port}}
	return p.String()
}

// Renewed returns what a store has of a binding as if it had been learned at a time, and how long it lives from then on. The policy's proofs ask for it, of which
// many times are one.
func Renewed(data []byte, at time.Time) (renewed []byte, life time.Duration, ok bool) {
	var e entry
	if !e.parse(data) {
		return nil, 0, false
	}
	e.since = at.UnixMilli()
	return e.append(nil), e.life, true
}

// learner is a link that learns.
type learner struct{ *link }

// memory is what has been learned of the addresses of one packet. They are numbered as the packet is looked at.
type memory struct {
	keys []string // where nothing but the keys of states is asked for
	only bool     // it is so

	states []flow.State
	rec    policy.Recollection
	now    int64
	looked [mostLooked]subject
	n      int
}

// mostLooked is how many addresses of one packet are looked up. Honest ones have at most two Ethernet addresses and three others.
const mostLooked = 6

// index returns the number of an address; -1 where there are too many.
func (m *memory) index(s subject) int {
	for i, other := range m.looked[:m.n] {
		if other == s {
			return i
		}
	}
	if m.n == mostLooked {
		return -1
	}
	m.looked[m.n] = s
	m.n++
	if m.only {
		m.keys = append(m.keys, s.key())
	} else {
		m.rec.Read = m.n
	}
	return m.n - 1
}

// recall returns what is known of an address; nil where that is nothing. why says why it is not known: no rule is made of that.
func (m *memory) recall(s subject) (e *entry, at int, why string) {
	at = m.index(s)
	switch {
	case at >= 0 && m.only:
		return nil, at, ""
	case at < 0:
		why = "the packet has too many addresses"
	case at >= len(m.states) || m.now <= 0:
		why = "what was learned is not known"
	default:
		data := m.states[at].Data
		if len(data) == 0 {
			return nil, at, ""
		}
		if e = new(entry); e.parse(data) {
			if e.left(m.now) == 0 {
				return nil, at, ""
			}
			return e, at, ""
		}
		why = "what was learned of " + s.String() + " can't be read"
	}
	if !m.only {
		m.rec.Unsettled = Name + " can't tell"
	}
	return nil, at, why
}

// bind has the store remember, unless another address of this packet comes first: it is the next packet's turn then.
func (m *memory) bind(at int, s subject, e *entry) {
	if m.rec.Change != nil {
		return
	}
	e.since = m.now
	m.rec.Change = &flow.StateChange{Index: at, Data: e.append(nil), TTL: e.life}
	m.rec.Note = Name + ": " + s.String() + " is bound to " + e.place()
}

// holds says that the outcome does for so long.
func (m *memory) holds(left time.Duration) {
	if !m.rec.Limited || left < m.rec.Left {
		m.rec.Limited, m.rec.Left = true, left
	}
}

// ungiven is how long a rule lives by which an address is denied that a server may give at any moment.
const ungiven = 2 * time.Second

// learned looks an address up that no binding of the policy names, as that of a station with the Ethernet address mac, and learns it.
func (g *guard) learned(s subject, mac flow.MAC) (why string) {
	if g.memory == nil {
		return ""
	}
	e, at, why := g.memory.recall(s)
	if g.memory.only || why != "" {
		return why
	}
	learns := g.at.kind&trusted == 0                           // a listed port learns what its binding leaves open
	given := g.learn == DHCP && s.addr.Is4() && g.at.kind == 0 // and renewed, by a server alone
	switch {
	case e == nil && !learns:
		return ""
	case e == nil && given:
		g.memory.holds(ungiven)
		return s.String() + " was given to nobody by DHCP"
	case e == nil:
		g.memory.bind(at, s, &entry{sw: g.at.sw, port: g.at.port, mac: mac, life: g.life})
		return ""
	case e.sw == g.at.sw && e.port == g.at.port && e.mac == mac:
		left := e.left(g.memory.now)
		g.memory.holds(left)
		if left < e.life/2 && learns && !given {
			e.life = g.life
			g.memory.bind(at, s, e)
		}
		return ""
	}
	g.memory.holds(e.left(g.memory.now))
	switch {
	case e.sw == g.at.sw && e.port == g.at.port:
		return s.String() + " belongs to " + e.mac.String()
	case e.sw != g.at.sw && g.at.kind&trusted != 0:
		return ""
	}
	return s.String() + " belongs to " + e.place() + ", as was learned"
}

// given binds the address of an acknowledgement to the port where the client is.
func (g *guard) given(d *dhcpMessage) bool {
	if g.memory == nil || g.macs[d.mac] != nil || g.owners(d.yours) != nil {
		return true
	}
	client, _, why := g.memory.recall(subject{mac: d.mac})
	if why != "" {
		return g.deny(why)
	}
	s := subject{addr: d.yours}
	has, at, why := g.memory.recall(s)
	if why != "" {
		return g.deny(why)
	}
	if g.memory.only || client == nil {
		return true
	}
	life := g.life
	if d.lease > 0 && d.lease < life {
		life = max(d.lease, time.Second)
	}
	if has == nil || has.sw != client.sw || has.port != client.port || has.mac != d.mac || has.left(g.memory.now) < life/2 {
		g.memory.bind(at, s, &entry{sw: client.sw, port: client.port, mac: d.mac, life: life})
	}
	return true
}

// SupposedKeys implements [policy.Machines]: nothing is looked up about a packet that nobody has sent.
func (*learner) SupposedKeys(_ policy.Packet, keys []string) ([]string, bool) { return keys, false }

// StateKeys implements [policy.Machines].
func (l *learner) StateKeys(ev *flow.Event, keys []string) []string {
	if ev.Type != flow.EventPacketIn || ev.PacketIn == nil {
		return keys
	}
	p := policy.NewPacket(&ev.PacketIn.Match)
	p.Switch, p.In = ev.Switch, ev.PacketIn
	m := memory{keys: keys, only: true}
	g := guard{link: l.link, p: p, m: p.Match, memory: &m}
	g.packet()
	return m.keys
}

// Travels implements [policy.Machines]: none of them does ([Config.CantTravel]).
func (*learner) Travels(string) (name string, kind flow.StateKey, ok bool) { return "", 0, false }

// Decide implements [policy.Link]. Without states nothing is known.
func (l *learner) Decide(p policy.Packet) policy.Outcome {
	out, _ := l.DecideBy(p, &flow.Event{})
	return out
}

// DecideBy implements [policy.Machines].
func (l *learner) DecideBy(p policy.Packet, ev *flow.Event) (policy.Outcome, policy.Recollection) {
	m := memory{states: ev.States}
	if !ev.Time.IsZero() {
		m.now = ev.Time.UnixMilli()
	}
	g := guard{link: l.link, p: p, m: p.Match, memory: &m}
	g.packet()
	switch rec := &m.rec; {
	case rec.Change == nil:
	case g.out.Verdict == flow.Deny: // nothing is learned of a packet with a forged address
		rec.Change, rec.Note = nil, ""
	default:
		rec.Unsettled = Name + " is learning"
	}
	return g.out, m.rec
}

// Notice implements [policy.Machines]. Bindings outlive what happens to ports: a cable that is pulled must not free its address.
func (*learner) Notice(*flow.Event) policy.Recollection { return policy.Recollection{} }

// StateOf implements [policy.Machines]: where the address is.
func (*learner) StateOf(key string, data []byte, at time.Time) string {
	var e entry
	switch {
	case !strings.HasPrefix(key, Name+":"):
		return ""
	case !e.parse(data) || e.left(at.UnixMilli()) == 0:
		return "unbound"
	}
	return e.place()
}
