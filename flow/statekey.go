package flow

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// StateKey says what has a state of its own, and so with which later events a state comes back.
type StateKey uint8

const (
	StateFlow       StateKey = iota // VLAN, network addresses, protocol and ports, in one direction; without network addresses, Ethernet's and the EtherType
	StateConnection                 // the same, both directions one
	StateSrc                        // the network address; of a packet without one, the Ethernet address
	StateDst
	StatePair // both addresses, in one direction
	StatePort // of one switch
	StateSwitch
	StateNetwork // everything

	StateKeys // how many there are
)

var stateKeys = [StateKeys]string{"flow", "connection", "src", "dst", "pair", "port", "switch", "network"}

func (k StateKey) String() string {
	if k < StateKeys {
		return stateKeys[k]
	}
	return fmt.Sprintf("key %d", uint8(k))
}

// ParseStateKey is the inverse of [StateKey.String]; the empty string is StateFlow.
func ParseStateKey(s string) (StateKey, error) {
	if s == "" {
		return StateFlow, nil
	}
	if i := slices.Index(stateKeys[:], s); i >= 0 {
		return StateKey(i), nil
	}
	return 0, fmt.Errorf("state key %q: want one of %s", s, strings.Join(stateKeys[:], ", "))
}

// Travelling is a state that the gateway keeps between two events and never looks into.
type Travelling struct {
	Name    string   // tells it from the other states of its key
	Key     StateKey // of what it is a state: which value that is, the event says
	Version uint64   // grows with each change, and is never 0

	// TTL is how long the gateway keeps it, in whole seconds on the wire, rounded up; 0: as long as it runs. It is of decisions alone.
	TTL time.Duration

	// Data is the state. Nil in an event: there is none any more, and Version was its last. Nil in a decision: it is to be forgotten.
	Data []byte
}

const conversationPorts = FieldL4Src | FieldL4Dst

// Fields returns the fields of a packet with headers m on which the value of the key rests. They may be missing.
func (k StateKey) Fields(m *Match) (f Field) {
	if k >= StateSwitch {
		return 0
	}
	if k == StatePort {
		return FieldInPort
	}
	src, dst := FieldEthSrc, FieldEthDst
	f = FieldEthType
	switch m.EthType {
	case EthTypeIPv4, EthTypeIPv6:
		src, dst = FieldIPSrc, FieldIPDst
		if k <= StateConnection {
			if f |= FieldIPProto; m.IPProto == ProtoTCP || m.IPProto == ProtoUDP || m.IPProto == ProtoSCTP {
				f |= conversationPorts
			}
		}
	case EthTypeARP:
		src, dst = FieldARPSPA, FieldARPTPA
	case EthTypeVLAN, EthTypeQinQ: // whose addresses are behind a tag that is not looked behind
		src, dst = FieldIPSrc, FieldIPDst
	}
	switch k {
	case StateSrc:
		return f | src
	case StateDst:
		return f | dst
	case StatePair:
		return f | src | dst
	}
	return f | src | dst | FieldVLAN
}

// AppendValue appends the value of the key for an event of switch sw with headers m, in the characters that keys of stores may
// have. It reports false where the headers don't show what [StateKey.Fields] says. Keys of different kinds may have the same value.
func (k StateKey) AppendValue(b []byte, sw *Switch, m *Match) ([]byte, bool) {
	if k.Fields(m)&^m.Fields != 0 || (k == StatePort || k == StateSwitch) && sw == nil {
		return b, false
	}
	switch k {
	case StateNetwork:
		return append(b, StateNetwork.String()...), true
	case StateSwitch:
		return strconv.AppendUint(b, uint64(sw.DPID), 16), true
	case StatePort:
		b = strconv.AppendUint(b, uint64(sw.DPID), 16)
		return strconv.AppendUint(append(b, '/'), uint64(m.InPort), 10), true
	case StateSrc, StateDst:
		return appendEnd(b, m, k == StateSrc)
	case StatePair:
		b, ok1 := appendEnd(b, m, true)
		b, ok2 := appendEnd(append(b, '/'), m, false)
		return b, ok1 && ok2
	}
	var room [64]byte
	raw, ok := k.conversation(room[:0], m)
	return base64.RawURLEncoding.AppendEncode(b, raw), ok
}

// end returns a network address of m, the zero Prefix where it has none.
func end(m *Match, src bool) netip.Prefix {
	switch {
	case m.Has(FieldIPSrc) && src:
		return m.IPSrc
	case m.Has(FieldIPDst) && !src:
		return m.IPDst
	case m.Has(FieldARPSPA) && src:
		return m.ARPSPA
	case m.Has(FieldARPTPA) && !src:
		return m.ARPTPA
	}
	return netip.Prefix{}
}

// hardware returns an Ethernet address of m. ok is false where it is masked, as a rule's may be.
func hardware(m *Match, src bool) (a MAC, ok bool) {
	if src {
		return m.EthSrc, m.EthSrcMask == MACExact
	}
	return m.EthDst, m.EthDstMask == MACExact
}

func appendEnd(b []byte, m *Match, src bool) ([]byte, bool) {
	if p := end(m, src); p.IsValid() {
		return p.Addr().AppendTo(b), p.IsSingleIP()
	}
	a, ok := hardware(m, src)
	return append(b, a.String()...), ok
}

// conversation appends what tells a flow, or a connection, from all others.
func (k StateKey) conversation(b []byte, m *Match) ([]byte, bool) {
	b = binary.BigEndian.AppendUint16(b, m.EthType)
	b = binary.BigEndian.AppendUint16(b, m.VLAN)
	ok := m.VLANMask == VLANExact
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
	if m.Has(FieldIPProto) {
		b = append(b, m.IPProto)
	}
	if m.Has(conversationPorts) {
		binary.BigEndian.PutUint16(ends[0][16:], m.L4Src)
		binary.BigEndian.PutUint16(ends[1][16:], m.L4Dst)
	}
	if k == StateConnection && string(ends[0][:]) > string(ends[1][:]) {
		ends[0], ends[1] = ends[1], ends[0]
	}
	return append(append(b, ends[0][:]...), ends[1][:]...), ok
}
