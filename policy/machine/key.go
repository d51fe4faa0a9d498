package machine

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"switchbridge/flow"
)

// Key says what has a state of its own.
type Key uint8

const (
	Flow       Key = iota // VLAN, network addresses, protocol and ports, in one direction; without network addresses, Ethernet's and the EtherType
	Connection            // the same, both directions one
	Src                   // the network address; of a packet without one, the Ethernet address
	Dst
	Pair // both addresses, in one direction
	Port // of one switch
	Switch
	Network // everything
	keys
)

var keyNames = [keys]string{"flow", "connection", "src", "dst", "pair", "port", "switch", "network"}

func (k Key) String() string {
	if k < keys {
		return keyNames[k]
	}
	return fmt.Sprintf("key %d", uint8(k))
}

// many reports whether anybody's packets can make new states.
func (k Key) many() bool { return k <= Pair }

// local reports whether only events of one switch change a state of the key.
func (k Key) local() bool { return k == Port || k == Switch }

// of reports whether an event that triggers can have the key.
func (k Key) of(on Trigger) bool {
	switch on {
	case OnPort:
		return k >= Port
	case OnSwitch:
		return k >= Switch
	}
	return true
}

var triggerNames = [triggers]string{"a packet", "after", "port", "rule", "switch"}

func (t Trigger) String() string { return triggerNames[t%triggers] }

// shows are the fields that such an event may have.
func (t Trigger) shows() flow.Field {
	switch t {
	case OnPort:
		return flow.FieldInPort
	case OnSwitch:
		return 0
	}
	return flow.AllFields
}

const (
	srcFields = flow.FieldIPSrc | flow.FieldARPSPA
	dstFields = flow.FieldIPDst | flow.FieldARPTPA
	l4Fields  = flow.FieldL4Src | flow.FieldL4Dst
)

// need returns the fields that a packet's key rests on. They may be missing.
func (k Key) need(m *flow.Match) (f flow.Field) {
	if k >= Switch {
		return 0
	}
	if k == Port {
		return flow.FieldInPort
	}
	src, dst := flow.FieldEthSrc, flow.FieldEthDst
	f = flow.FieldEthType
	switch m.EthType {
	case flow.EthTypeIPv4, flow.EthTypeIPv6:
		src, dst = flow.FieldIPSrc, flow.FieldIPDst
		if k <= Connection {
			if f |= flow.FieldIPProto; m.IPProto == flow.ProtoTCP || m.IPProto == flow.ProtoUDP || m.IPProto == flow.ProtoSCTP {
				f |= l4Fields
			}
		}
	case flow.EthTypeARP:
		src, dst = flow.FieldARPSPA, flow.FieldARPTPA
	case flow.EthTypeVLAN, flow.EthTypeQinQ: // whose addresses are behind a tag that is not looked behind
		src, dst = flow.FieldIPSrc, flow.FieldIPDst
	}
	switch k {
	case Src:
		return f | src
	case Dst:
		return f | dst
	case Pair:
		return f | src | dst
	}
	return f | src | dst | flow.FieldVLAN
}

// append appends the key of an event of switch sw with headers m, which show what need says. It reports false where they don't.
func (k Key) append(b []byte, sw *flow.Switch, m *flow.Match) ([]byte, bool) {
	if k.need(m)&^m.Fields != 0 || (k == Port || k == Switch) && sw == nil {
		return b, false
	}
	switch k {
	case Network:
		return append(b, Network.String()...), true
	case Switch:
		return strconv.AppendUint(b, uint64(sw.DPID), 16), true
	case Port:
		b = strconv.AppendUint(b, uint64(sw.DPID), 16)
		return strconv.AppendUint(append(b, '/'), uint64(m.InPort), 10), true
	case Src, Dst:
		return appendEnd(b, m, k == Src)
	case Pair:
		b, ok1 := appendEnd(b, m, true)
		b, ok2 := appendEnd(append(b, '/'), m, false)
		return b, ok1 && ok2
	}
	var room [64]byte
	raw, ok := k.conversation(room[:0], m)
	return base64.RawURLEncoding.AppendEncode(b, raw), ok
}

// end returns a network address of m, the zero Prefix where it has none.
func end(m *flow.Match, src bool) netip.Prefix {
	switch {
	case m.Has(flow.FieldIPSrc) && src:
		return m.IPSrc
	case m.Has(flow.FieldIPDst) && !src:
		return m.IPDst
	case m.Has(flow.FieldARPSPA) && src:
		return m.ARPSPA
	case m.Has(flow.FieldARPTPA) && !src:
		return m.ARPTPA
	}
	return netip.Prefix{}
}

// hardware returns an Ethernet address of m. ok is false where it is masked, as a rule's may be.
func hardware(m *flow.Match, src bool) (a flow.MAC, ok bool) {
	if src {
		return m.EthSrc, m.EthSrcMask == flow.MACExact
	}
	return m.EthDst, m.EthDstMask == flow.MACExact
}

func appendEnd(b []byte, m *flow.Match, src bool) ([]byte, bool) {
	if p := end(m, src); p.IsValid() {
		return p.Addr().AppendTo(b), p.IsSingleIP()
	}
	a, ok := hardware(m, src)
	return append(b, a.String()...), ok
}

// conversation appends what tells a flow, or a connection, from all others.
func (k Key) conversation(b []byte, m *flow.Match) ([]byte, bool) {
	b = binary.BigEndian.AppendUint16(b, m.EthType)
	b = binary.BigEndian.AppendUint16(b, m.VLAN)
	ok := m.VLANMask == flow.VLANExact
	var ends [2][18]byte
	for i := range ends {
		if p := end(m, i == 0); p.IsValid() {
			a := p.Addr().As16()
			copy(ends[i][:], a[:])
			ok = ok && p.IsSingleIP()
		} else {
			a, exact := hardware(m, i == 0)
			copy(ends[i][:], a[:])
			ok = ok && exact
		}
	}
	if m.Has(flow.FieldIPProto) {
		b = append(b, m.IPProto)
	}
	if m.Has(l4Fields) {
		binary.BigEndian.PutUint16(ends[0][16:], m.L4Src)
		binary.BigEndian.PutUint16(ends[1][16:], m.L4Dst)
	}
	if k == Connection && string(ends[0][:]) > string(ends[1][:]) {
		ends[0], ends[1] = ends[1], ends[0]
	}
	return append(append(b, ends[0][:]...), ends[1][:]...), ok
}

// parse reads a key that a policy names and returns it as it is written.
func (k Key) parse(s string) (string, error) {
	one := func(s string) (string, error) {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
			return a.String(), nil
		}
		if a, err := flow.ParseMAC(s); err == nil {
			return a.String(), nil
		}
		return "", fmt.Errorf("%.60q: want a network address such as 10.0.0.5, or an Ethernet address of what has none", s)
	}
	switch k {
	case Src, Dst:
		return one(s)
	case Pair:
		src, dst, _ := strings.Cut(s, "/")
		a, err := one(src)
		if err != nil {
			return "", err
		}
		b, err := one(dst)
		return a + "/" + b, err
	case Switch:
		dpid, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			return "", fmt.Errorf("%.60q: want a datapath id in hexadecimal, such as 1f", s)
		}
		return strconv.FormatUint(dpid, 16), nil
	case Port:
		sw, port, _ := strings.Cut(s, "/")
		dpid, err := strconv.ParseUint(sw, 16, 64)
		no, err2 := flow.ParseNumber(port, 32)
		if err != nil || err2 != nil {
			return "", fmt.Errorf("%.60q: want a datapath id in hexadecimal and a port, such as 1f/3", s)
		}
		return fmt.Sprintf("%x/%d", dpid, no), nil
	}
	return "", fmt.Errorf("a machine of key %v takes none", k)
}

// storeKey returns the key of a machine's state in a store: [switchbridge/state.Store] says what it may consist of.
func storeKey(name string, value []byte) string {
	b := make([]byte, 0, len(name)+1+len(value))
	return string(append(append(append(b, name...), '/'), value...))
}

// LocalKey reports whether a key of a store is that of ev's own switch or of one of its ports: no other switch's events change that state. Other
// keys' values can't be taken for such a one: they have dots, colons, or more digits than a datapath id.
func LocalKey(ev *flow.Event, key string) bool {
	_, value, ok := strings.Cut(key, "/")
	dpid, _, _ := strings.Cut(value, "/")
	return ok && ev.Switch != nil && dpid == strconv.FormatUint(uint64(ev.Switch.DPID), 16)
}

// parseName takes what can stand in a store's key.
func parseName(s string) (string, error) {
	if s == "" || len(s) > 40 || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) {
		return "", fmt.Errorf("%.80q: want at most 40 letters, digits, hyphens, dots and underscores", s)
	}
	return s, nil
}
