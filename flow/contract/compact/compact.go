package compact

import (
	"errors"
	"fmt"
	"math"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

const (
	version = 1

	eventHeader    = 16
	decisionHeader = 24
	replyBit       = 1 << 0 // in byte 5
	changedBit     = 1 << 1
	rejectBit      = 1 << 2
	logBit         = 1 << 3
	reuseWanted    = 1 << 1 // in an event's byte 3
	ruleHeader     = 16
	actionLen      = 8
)

// MaxEvent is the most bytes of an event without states.
const MaxEvent = eventHeader + wide

// AppendEvent appends a packet_in to b and reports whether it fits the encoding: an event of
// another type doesn't, nor does one with state, with masks in the packet's headers, which only
// digests have, or of an ICMP error, which quotes another packet. What else there is of a packet than its headers stays behind, but for
// the TCP flags where the event has states; the event says whether there is something.
func AppendEvent(b []byte, ev *flow.Event) ([]byte, bool) {
	if ev.Type != flow.EventPacketIn || ev.PacketIn == nil || ev.Switch == nil || len(ev.State) > 0 ||
		ev.PacketIn.Match.ICMPError() && len(ev.PacketIn.Data) > 0 {
		return b, false
	}
	withheld := byte(0)
	if len(ev.PacketIn.Data) > 0 || ev.PacketIn.Withheld || len(ev.States) == 0 && !ev.Time.IsZero() {
		withheld = 1
	}
	if ev.Accepts&flow.AcceptsReuse != 0 {
		withheld |= reuseWanted
	}
	b = append(b, version, byte(ev.Switch.Protocol), byte(len(ev.States)), withheld)
	b = le.AppendUint32(b, uint32(ev.PacketIn.Incomplete))
	b = le.AppendUint64(b, uint64(ev.Switch.DPID))
	b, fits := appendMatch(b, &ev.PacketIn.Match)
	if fits && len(ev.States) > 0 {
		return appendStates(b, ev)
	}
	return b, fits
}

// ParseEvent reads an event into ev, whose Switch it overwrites, and of whose PacketIn it sets what the
// encoding has. The packet's TCP flags, and the event's ID and Time, are set of an event with states alone; the States' data and the ID are b's.
func ParseEvent(b []byte, ev *flow.Event) error {
	if len(b) < eventHeader {
		return errShort
	}
	if b[0] != version {
		return errVersion
	}
	ev.Type, ev.Accepts = flow.EventPacketIn, 0
	*ev.Switch = flow.Switch{DPID: flow.DPID(le.Uint64(b[8:])), Protocol: flow.Protocol(b[1])}
	ev.PacketIn.BufferID, ev.PacketIn.Incomplete = flow.NoBuffer, flow.Field(le.Uint32(b[4:]))
	ev.PacketIn.Withheld = b[3]&1 != 0
	if b[3]&reuseWanted != 0 {
		ev.Accepts = flow.AcceptsReuse | flow.AcceptsReply // the other members are always taken
	}
	ev.States = ev.States[:0]
	rest, err := parseMatch(b[eventHeader:], &ev.PacketIn.Match)
	switch states := int(b[2]); {
	case err != nil:
		return err
	case states > 0:
		return parseStates(rest, states, ev)
	case len(rest) != 0:
		return errLong
	}
	return nil
}

var (
	errVersion = errors.New("compact encoding: another version")
	errLong    = errors.New("compact encoding: it goes on after its end")
)

// ErrUnfit is the answer of a guest to an event that it must be asked in another encoding.
var ErrUnfit = errors.New("the decision doesn't fit the compact encoding")

// AppendUnfit appends that answer.
func AppendUnfit(b []byte) []byte { return append(b, 0) }

// AppendDecision appends what d says to a packet_in and reports whether all of it fits: rules that
// are to be added, of matches without masks, and actions other than those that set an address.
func AppendDecision(b []byte, d *flow.Decision) ([]byte, bool) {
	if len(d.State)+len(d.Travel)+len(d.Handshake)+len(d.Entries) > 0 || d.Failure != nil || d.Verdict > flow.Deny ||
		len(d.Rules) > math.MaxUint8 || len(d.PacketOut) > math.MaxUint8 {
		return b, false
	}
	start := len(b)
	var header [decisionHeader]byte
	header[0], header[1], header[3], header[4] = version, byte(d.Verdict), byte(len(d.Rules)), byte(len(d.PacketOut))
	if d.HasPacketOut {
		header[2] = 1
	}
	if d.IfReply != nil {
		header[5] = replyBit
	}
	if d.Change != nil {
		header[5] |= changedBit
	}
	if d.Reject {
		header[5] |= rejectBit
	}
	if d.Log {
		header[5] |= logBit
	}
	reuse := reuseBits(&d.Reuse)
	switch {
	case reuse != 0 && d.Reuse.Reply != nil:
		header[6] = 2
	case reuse != 0:
		header[6] = 1
	}
	le.PutUint64(header[8:], d.Policy.Serial)
	le.PutUint32(header[16:], d.Policy.Hash)
	le.PutUint32(header[20:], uint32(len(d.Reason)))
	b = append(b, header[:]...)
	ok := true
	for i := 0; i < len(d.Rules) && ok; i++ {
		b, ok = appendRule(b, &d.Rules[i])
	}
	if ok {
		b, ok = appendActions(b, d.PacketOut)
	}
	if ok && d.Change != nil {
		b, ok = appendChange(b, d.Change)
	}
	b = append(b, d.Reason...)
	if d.IfReply != nil && ok {
		b, ok = appendReply(b, d.IfReply)
	}
	if header[6] != 0 {
		b = le.AppendUint64(b, reuse)
	}
	if header[6] == 2 && ok {
		b, ok = appendReply(b, d.Reuse.Reply)
	}
	if !ok {
		return b[:start], false
	}
	return b, true
}

// appendReply appends what becomes of a reply, as a decision.
func appendReply(b []byte, r *flow.Reply) ([]byte, bool) {
	return AppendDecision(b, &flow.Decision{Rules: r.Rules, HasPacketOut: r.HasPacketOut, PacketOut: r.PacketOut, Reason: r.Reason})
}

func appendRule(b []byte, r *flow.Rule) ([]byte, bool) {
	idle, hard := uint64(r.IdleTimeout/time.Second), uint64(r.HardTimeout/time.Second)
	if r.Command != flow.Add || r.CookieMask|r.Cookie != 0 || r.OutPort != 0 || r.BufferID != flow.NoBuffer ||
		idle|hard > math.MaxUint16 || len(r.Actions) > math.MaxUint8 {
		return b, false
	}
	var header [ruleHeader]byte
	le.PutUint16(header[0:], r.Priority)
	le.PutUint16(header[2:], uint16(idle))
	le.PutUint16(header[4:], uint16(hard))
	le.PutUint16(header[6:], uint16(r.Flags))
	header[8], header[9], header[10] = r.Table, r.Goto, byte(len(r.Actions))
	if r.CoversIncomplete {
		header[11] = 1
	}
	le.PutUint32(header[12:], r.Meter)
	b, ok := appendMatch(append(b, header[:]...), &r.Match)
	if !ok {
		return b, false
	}
	return appendActions(b, r.Actions)
}

func appendActions(b []byte, list []flow.Action) ([]byte, bool) {
	for i := range list {
		a := &list[i]
		value := a.Value
		switch a.Type {
		case flow.Output:
			value = uint32(a.Port)
		case flow.SetQueue:
			value = a.ID
		case flow.PushVLAN, flow.PopVLAN, flow.SetVLANVID, flow.SetVLANPCP, flow.SetIPDSCP, flow.SetL4Src, flow.SetL4Dst, flow.DecTTL:
		default:
			return b, false
		}
		b = append(b, byte(a.Type), a.IPProto, byte(a.MaxLen), byte(a.MaxLen>>8), byte(value), byte(value>>8), byte(value>>16), byte(value>>24))
	}
	return b, true
}

// Reader reads decisions. It keeps the lists of actions and the reasons that it has met, which are
// few, so that most decisions take no memory. One goroutine uses it at a time.
type Reader struct {
	actions map[string][]flow.Action
	reasons map[string]string
}

const (
	most      = 256  // how many lists and reasons a Reader keeps
	maxReason = 1024 // bytes of a reason that it keeps; more is cut (contract.Printable)
)

// ParseDecision reads what a guest answered into d, which the caller has reset. The actions that
// d's rules get are read only. An answer that refuses the encoding is ErrUnfit.
func (rd *Reader) ParseDecision(b []byte, d *flow.Decision) error {
	if len(b) == 1 && b[0] == 0 {
		return ErrUnfit
	}
	rest, err := rd.decision(b, d, true)
	if err == nil && len(rest) != 0 {
		err = errLong
	}
	return err
}

// decision reads a decision, in which there may be others for replies where outer says so, and returns what follows it.
func (rd *Reader) decision(b []byte, d *flow.Decision, outer bool) (rest []byte, err error) {
	if len(b) < decisionHeader {
		return nil, errShort
	}
	h := b[:decisionHeader]
	if h[0] != version {
		return nil, errVersion
	}
	if flow.Verdict(h[1]) > flow.Deny || h[2] > 1 || h[5] > replyBit|changedBit|rejectBit|logBit || h[6] > 2 || !outer && h[5]|h[6] != 0 {
		return nil, fmt.Errorf("compact encoding: verdict %d, packet_out %d, parts %d, reuse %d", h[1], h[2], h[5], h[6])
	}
	d.Verdict, d.HasPacketOut, d.Reject, d.Log = flow.Verdict(h[1]), h[2] == 1, h[5]&rejectBit != 0, h[5]&logBit != 0
	d.Policy = flow.PolicyVersion{Serial: le.Uint64(h[8:]), Hash: le.Uint32(h[16:])}
	b = b[decisionHeader:]
	for range int(h[3]) {
		d.Rules = append(d.Rules, flow.Rule{BufferID: flow.NoBuffer})
		if b, err = rd.rule(b, &d.Rules[len(d.Rules)-1]); err != nil {
			return nil, err
		}
	}
	actions, b, err := rd.list(b, int(h[4]))
	if err != nil {
		return nil, err
	}
	d.PacketOut = append(d.PacketOut, actions...)
	if h[5]&changedBit != 0 {
		if d.Change, b, err = parseChange(b); err != nil {
			return nil, err
		}
	}
	reason := int(le.Uint32(h[20:]))
	if len(b) < reason {
		return nil, fmt.Errorf("compact encoding: a reason of %d bytes, %d left", reason, len(b))
	}
	d.Reason, b = rd.reason(b[:reason]), b[reason:]
	if h[5]&replyBit != 0 {
		if d.IfReply, b, err = rd.reply(b); err != nil {
			return nil, err
		}
	}
	if h[6] == 0 {
		return b, nil
	}
	if len(b) < reuseSize {
		return nil, errShort
	}
	if d.Reuse, err = reuseOf(le.Uint64(b)); err != nil {
		return nil, err
	}
	if b = b[reuseSize:]; h[6] == 2 {
		d.Reuse.Reply, b, err = rd.reply(b)
	}
	return b, err
}

// reply reads what becomes of a reply.
func (rd *Reader) reply(b []byte) (r *flow.Reply, rest []byte, err error) {
	var d flow.Decision
	if rest, err = rd.decision(b, &d, false); err != nil {
		return nil, nil, err
	}
	return &flow.Reply{Rules: d.Rules, HasPacketOut: d.HasPacketOut, PacketOut: d.PacketOut, Reason: d.Reason}, rest, nil
}

func (rd *Reader) rule(b []byte, r *flow.Rule) ([]byte, error) {
	if len(b) < ruleHeader {
		return nil, errShort
	}
	h := b[:ruleHeader]
	r.Priority = le.Uint16(h[0:])
	r.IdleTimeout, r.HardTimeout = time.Duration(le.Uint16(h[2:]))*time.Second, time.Duration(le.Uint16(h[4:]))*time.Second
	r.Flags = flow.RuleFlags(le.Uint16(h[6:]))
	r.Table, r.Goto = h[8], h[9]
	r.Meter = le.Uint32(h[12:])
	if h[11] > 1 {
		return nil, fmt.Errorf("compact encoding: covers incomplete packets %d", h[11])
	}
	r.CoversIncomplete = h[11] == 1
	b, err := parseMatch(b[ruleHeader:], &r.Match)
	if err != nil {
		return nil, err
	}
	r.Match = r.Match.Canonical() // a guest may leave anything where a field is absent
	r.Actions, b, err = rd.list(b, int(h[10]))
	return b, err
}

// list returns the n actions that b starts with, and what follows them.
func (rd *Reader) list(b []byte, n int) ([]flow.Action, []byte, error) {
	if n*actionLen > len(b) {
		return nil, nil, errShort
	}
	b, rest := b[:n*actionLen], b[n*actionLen:]
	if n == 0 {
		return nil, rest, nil
	}
	if list, ok := rd.actions[string(b)]; ok {
		return list, rest, nil
	}
	list := make([]flow.Action, n)
	for i := range list {
		if err := parseAction(b[i*actionLen:], &list[i]); err != nil {
			return nil, nil, err
		}
	}
	if rd.actions == nil || len(rd.actions) == most {
		rd.actions = make(map[string][]flow.Action)
	}
	rd.actions[string(b)] = list
	return list, rest, nil
}

func parseAction(b []byte, a *flow.Action) error {
	*a = flow.Action{Type: flow.ActionType(b[0]), IPProto: b[1], MaxLen: le.Uint16(b[2:])}
	value := le.Uint32(b[4:])
	switch a.Type {
	case flow.Output:
		a.Port = flow.PortNo(value)
	case flow.SetQueue:
		a.ID = value
	case flow.PushVLAN, flow.PopVLAN, flow.SetVLANVID, flow.SetVLANPCP, flow.SetIPDSCP, flow.SetL4Src, flow.SetL4Dst, flow.DecTTL:
		a.Value = value
	default:
		return fmt.Errorf("compact encoding: action %d", b[0])
	}
	return nil
}

func (rd *Reader) reason(b []byte) string {
	if s, ok := rd.reasons[string(b)]; ok {
		return s
	}
	s := contract.Printable(string(b))
	if len(b) > maxReason {
		return s
	}
	if rd.reasons == nil || len(rd.reasons) == most {
		rd.reasons = make(map[string]string)
	}
	rd.reasons[string(b)] = s
	return s
}
