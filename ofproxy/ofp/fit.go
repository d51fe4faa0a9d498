package ofp

import (
	"fmt"

	"switchbridge/flow"
)

// This file has the checks of [Fit], [FitActions] and [FitPacketOut]. Encoders make the
// same checks before they write, so that the two can't disagree. A check that finds
// nothing wrong allocates nothing.

// OpenFlow 1.3 gives numbers above these special meanings (1.3.5, 7.3.1, 7.3.4.3,
// 7.3.4.4).
const (
	tableMax = 0xfe       // OFPTT_MAX
	meterMax = 0xffff0000 // OFPM_MAX

	flags13 = flow.SendFlowRemoved | flow.CheckOverlap | flow.ResetCounts | flow.NoPacketCounts | flow.NoByteCounts

	// maxTags is how many VLAN tags Open vSwitch reads: the two of IEEE 802.1ad.
	maxTags = 2
)

// Fit returns why v can't express r as a rule to be added, or why every switch of v
// would refuse it. It is the error that [AppendFlowMod] returns. Fit ignores r's Command,
// and does not know which tables, groups, meters and ports the switch has.
func Fit(v flow.Protocol, r *flow.Rule) error { return fitFlowMod(v, r, flow.Add) }

// FitActions returns why v can't express a PACKET_OUT's actions, whatever the packet is.
// [FitPacketOut] also checks them against the packet: 1.3 refuses an action that rewrites a
// header which the packet does not have.
func FitActions(v flow.Protocol, actions []flow.Action) error {
	_, err := fitActions(v, actions, headers{later: true})
	return err
}

// FitPacketOut returns why v can't express p. It is the error that [AppendPacketOut]
// returns, except that a message longer than 64 KiB is no error here.
func FitPacketOut(v flow.Protocol, p *PacketOut) error {
	h := p.headers(v)
	_, err := fitPacketOut(v, p, h)
	return err
}

func fitPacketOut(v flow.Protocol, p *PacketOut, h headers) (length int, err error) {
	if v == flow.OpenFlow10 {
		if _, ok := port16(p.InPort); !ok {
			return 0, unsupported(v, "in_port "+p.InPort.String())
		}
	}
	return fitActions(v, p.Actions, h)
}

func fitFlowMod(v flow.Protocol, r *flow.Rule, command flow.Command) error {
	if command > flow.DeleteStrict {
		return fmt.Errorf("FLOW_MOD: %v is not one of OpenFlow's", command)
	}
	deletes := command == flow.Delete || command == flow.DeleteStrict
	if v == flow.OpenFlow10 {
		return fitFlowMod10(r, deletes)
	}
	return fitFlowMod13(r, deletes)
}

func fitFlowMod10(r *flow.Rule, deletes bool) error {
	const v = flow.OpenFlow10
	switch {
	case r.Table != 0 && !(deletes && r.Table == tableAll):
		return unsupported(v, fmt.Sprintf("table %d", r.Table))
	case r.CookieMask != 0:
		return unsupported(v, "a selection by cookie")
	case r.Meter != 0:
		return unsupported(v, fmt.Sprintf("meter %d", r.Meter))
	case r.Goto != 0:
		return unsupported(v, fmt.Sprintf("a goto to table %d", r.Goto))
	case r.Flags&^flags10 != 0:
		return unsupported(v, fmt.Sprintf("flags %#x", uint16(r.Flags&^flags10)))
	}
	if deletes {
		if _, ok := port16(r.OutPort); !ok {
			return unsupported(v, "out_port "+r.OutPort.String())
		}
	}
	if err := check10(&r.Match); err != nil {
		return err
	}
	if err := holds(v, &r.Match); err != nil {
		return err
	}
	n, err := fitActions10(r.Actions, true)
	if err == nil && HeaderLen+flowModLen10+n > maxLen {
		err = errTooLong
	}
	return err
}

func fitFlowMod13(r *flow.Rule, deletes bool) error {
	const v = flow.OpenFlow13
	switch {
	case r.Table > tableMax && !deletes:
		return unsupported(v, fmt.Sprintf("table %d but in a delete", r.Table))
	case r.Meter > meterMax:
		return unsupported(v, fmt.Sprintf("meter %d", r.Meter))
	case r.Flags&^flags13 != 0:
		return unsupported(v, fmt.Sprintf("flags %#x", uint16(r.Flags&^flags13)))
	}
	if err := check13(&r.Match); err != nil {
		return err
	}
	if err := holds(v, &r.Match); err != nil {
		return err
	}
	h := headersOf(&r.Match)
	h.rule, h.known = true, !deletes // a delete's actions have no meaning
	n, err := fitInstructions(r, h)
	if err != nil {
		return err
	}
	if n > maxLen-1024 { // no match is as long as 1024 bytes
		var match [1024]byte
		if HeaderLen+flowModLen13+len(appendMatch13(match[:0], &r.Match))+n > maxLen {
			return errTooLong
		}
	}
	return nil
}

// fitInstructions checks the instructions of a 1.3 rule, and returns their length.
func fitInstructions(r *flow.Rule, h headers) (length int, err error) {
	n := 0
	if len(r.Actions) > 0 {
		if n, err = fitActions13(r.Actions, h); err != nil {
			return 0, err
		}
		if n += 8; n > maxLen {
			return 0, errTooLong
		}
	}
	if r.Meter != 0 {
		n += 8
	}
	if r.Goto != 0 {
		if r.Goto <= r.Table {
			return 0, fmt.Errorf("goto table %d from table %d: want a larger number", r.Goto, r.Table)
		}
		if r.Goto > tableMax {
			return 0, unsupported(flow.OpenFlow13, fmt.Sprintf("a goto to table %d", r.Goto))
		}
		n += 8
	}
	return n, nil
}

// holds returns why a switch would refuse a rule for m, or would install another one
// instead, although m can be written. [CheckMatch] accepts such a match, since a switch may
// report it.
func holds(v flow.Protocol, m *flow.Match) error {
	if v == flow.OpenFlow10 && m.Has(flow.FieldEthType) && m.EthType < 0x0600 && m.EthType != ethTypeLength {
		return unsupported(v, fmt.Sprintf("a match on eth_type %#04x: it is a length, and %#04x is what frames with one have", m.EthType, ethTypeLength))
	}
	beyond := m.Beyond()
	outOfRange := func(f flow.Field, value uint64) error {
		return fmt.Errorf("match: %v %#x is out of range", f, value)
	}
	switch {
	case m.Has(flow.FieldVLAN) && m.VLAN&m.VLANMask&^flow.VLANExact != 0:
		return outOfRange(flow.FieldVLAN, uint64(m.VLAN))
	case beyond != 0:
		n, _ := beyond.Info().Number(m)
		return outOfRange(beyond, n)
	case m.Has(flow.FieldARPOp) && m.ARPOp > 0xff: // Open vSwitch: BAD_VALUE
		return outOfRange(flow.FieldARPOp, uint64(m.ARPOp))
	}
	if f, want := m.NotDiscovery(); f != 0 {
		return prerequisite(f, want)
	}
	return nil
}

// ethTypeLength is OFP_DL_TYPE_NOT_ETH_TYPE: the frame has an 802.3 length
// (OpenFlow 1.0.0, 3.4).
const ethTypeLength = 0x05ff

// headers are the known headers of the packets that a list of actions is for. 1.3 refuses
// an action that rewrites a header which the packets don't have (OpenFlow 1.3.5, 7.2.5).
type headers struct {
	rule  bool // the list is that of a rule: it can't send packets to the first table
	known bool // the packets have no other headers, or may have none
	later bool // the packets will show the protocol that an action does not name

	ethType uint16
	proto   uint8
	tags    int // VLAN tags that they have
}

// headersOf returns the headers that a rule's match or a packet shows.
func headersOf(m *flow.Match) (h headers) {
	h.known = true
	if m.Has(flow.FieldEthType) {
		h.ethType = m.EthType
	}
	if m.Has(flow.FieldIPProto) {
		h.proto = m.IPProto
	}
	if m.Has(flow.FieldVLAN) && m.VLAN&m.VLANMask&flow.VLANPresent != 0 {
		h.tags = 1
	}
	return h
}

func (h *headers) ip() bool { return h.ethType == flow.EthTypeIPv4 || h.ethType == flow.EthTypeIPv6 }

// protoOf returns the protocol whose port an action rewrites.
func (h *headers) protoOf(a *flow.Action) uint8 {
	if a.IPProto != 0 {
		return a.IPProto
	}
	return h.proto
}

func hasPorts(proto uint8) bool {
	return proto == flow.ProtoTCP || proto == flow.ProtoUDP || proto == flow.ProtoSCTP
}

// fitActions checks a list and returns its length when written.
func fitActions(v flow.Protocol, list []flow.Action, h headers) (length int, err error) {
	if v == flow.OpenFlow10 {
		length, err = fitActions10(list, h.rule)
	} else {
		length, err = fitActions13(list, h)
	}
	if err == nil && length > maxLen {
		err = errTooLong
	}
	return length, err
}

func fitActions10(list []flow.Action, rule bool) (length int, err error) {
	const v = flow.OpenFlow10
	queued := false
	for i := range list {
		a := &list[i]
		n := 8
		switch a.Type {
		case flow.Output:
			if _, ok := port16(a.Port); !ok || a.Port == 0 || a.Port == flow.PortAny || rule && a.Port == flow.PortTable {
				return 0, noOutput(v, a.Port)
			}
			if queued && a.Port != flow.PortController {
				if a.Port.Reserved() && a.Port != flow.PortIn && a.Port != flow.PortLocal { // OpenFlow 1.0.0, 5.2.4
					return 0, unsupported(v, "a queue of port "+a.Port.String())
				}
				n = 16
			}
		case flow.SetQueue:
			queued = a.ID != flow.NoQueue
			n = 0
		case flow.PopVLAN:
		case flow.SetVLANVID:
			if a.Value > 0xfff {
				return 0, badValue(a)
			}
		case flow.SetVLANPCP:
			if a.Value > 7 {
				return 0, badValue(a)
			}
		case flow.SetEthSrc, flow.SetEthDst:
			n = 16
		case flow.SetIPSrc, flow.SetIPDst:
			if !a.Addr.Is4() {
				return 0, unsupported(v, a.Type.String()+" "+a.Addr.String())
			}
		case flow.SetIPDSCP:
			if a.Value > 0x3f {
				return 0, badValue(a)
			}
		case flow.SetL4Src, flow.SetL4Dst:
			if a.Value > 0xffff {
				return 0, badValue(a)
			}
		default:
			return 0, unsupported(v, "the action "+a.String())
		}
		length += n
	}
	return length, nil
}

func fitActions13(list []flow.Action, h headers) (length int, err error) {
	const v = flow.OpenFlow13
	for i := range list {
		a := &list[i]
		n := 8
		switch a.Type {
		case flow.Output:
			if a.Port == 0 || a.Port == flow.PortAny || h.rule && a.Port == flow.PortTable {
				return 0, noOutput(v, a.Port)
			}
			n = 16
		case flow.SetQueue:
			if a.ID == flow.NoQueue {
				return 0, unsupported(v, "the end of a queue")
			}
		case flow.PushVLAN:
			if a.Value != flow.EthTypeVLAN && a.Value != flow.EthTypeQinQ {
				return 0, badValue(a)
			}
			if h.tags++; h.known && h.tags > maxTags {
				return 0, unsupported(v, fmt.Sprintf("%d VLAN tags", h.tags))
			}
		case flow.PopVLAN:
			if h.known && h.tags == 0 {
				return 0, lacks(a, "a VLAN tag")
			}
			h.tags--
		case flow.DecTTL:
			if h.known && !h.ip() {
				return 0, lacks(a, "IP")
			}
		case flow.SetVLANVID, flow.SetVLANPCP:
			if most := uint32(0xfff); a.Value > most || a.Type == flow.SetVLANPCP && a.Value > 7 {
				return 0, badValue(a)
			}
			if h.known && h.tags == 0 {
				return 0, lacks(a, "a VLAN tag")
			}
			n = 16
		case flow.SetEthSrc, flow.SetEthDst:
			n = 16
		case flow.SetIPSrc, flow.SetIPDst:
			family := uint16(flow.EthTypeIPv4)
			switch {
			case a.Addr.Is4():
				n = 16
			case a.Addr.Is6():
				family, n = flow.EthTypeIPv6, 24
			default:
				return 0, fmt.Errorf("action %v without an address", a.Type)
			}
			if h.known && h.ethType != family {
				return 0, lacks(a, "an address of its family")
			}
		case flow.SetIPDSCP:
			if a.Value > 0x3f {
				return 0, badValue(a)
			}
			if h.known && !h.ip() {
				return 0, lacks(a, "IP")
			}
			n = 16
		case flow.SetL4Src, flow.SetL4Dst:
			if a.Value > 0xffff {
				return 0, badValue(a)
			}
			switch proto := h.protoOf(a); {
			case proto == 0 && h.later:
			case !hasPorts(proto):
				return 0, fmt.Errorf("action %v needs packets of ip_proto 6, 17 or 132, not %d", a, proto)
			case h.known && (proto != h.proto || !h.ip()):
				return 0, lacks(a, fmt.Sprintf("ip_proto %d", proto))
			}
			n = 16
		default:
			return 0, unsupported(v, "the action "+a.String())
		}
		length += n
	}
	return length, nil
}

func noOutput(v flow.Protocol, p flow.PortNo) error {
	return unsupported(v, "an output to port "+p.String())
}

func lacks(a *flow.Action, what string) error {
	return unsupported(flow.OpenFlow13, fmt.Sprintf("the action %v of packets that are not known to have %s", a, what))
}

func badValue(a *flow.Action) error {
	return fmt.Errorf("action %v: value %#x is out of range", a.Type, a.Value)
}
