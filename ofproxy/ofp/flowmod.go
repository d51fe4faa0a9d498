package ofp

import (
	"fmt"
	"time"

	"switchbridge/flow"
)

// Instructions, OFPIT_* (OpenFlow 1.3.5, 7.2.4).
const (
	instGoto         = 1
	instApplyActions = 4
	instMeter        = 6
)

const (
	tableAll = 0xff       // OFPTT_ALL
	groupAny = 0xffffffff // OFPG_ANY

	flags10 = flow.SendFlowRemoved | flow.CheckOverlap
)

const (
	flowModLen10 = matchLen10 + 24 // after the header, without actions
	flowModLen13 = 40              // without match and instructions
)

// seconds rounds a timeout up to whole seconds, at most 65535. Only a timeout of zero
// becomes 0, which means "never".
func seconds(d time.Duration) uint16 {
	switch {
	case d == 0:
		return 0
	case d < 0:
		return 1
	}
	return uint16(min((d-1)/time.Second+1, 0xffff))
}

// AppendFlowMod changes a flow table (OpenFlow 1.0.0, 5.3.3; 1.3.5, 7.3.4.1).
// bufferID names the packet that the switch holds, or is [flow.NoBuffer]; r.BufferID is
// ignored. Timeouts are rounded up to whole seconds, and are at most 65535.
//
// If v can't express r, the error is an [UnsupportedError]. A match without a
// prerequisite and an action with an impossible value have other errors. [Fit] returns
// the same errors before anything is written.
func AppendFlowMod(b []byte, v flow.Protocol, xid uint32, r *flow.Rule, bufferID uint32) ([]byte, error) {
	if err := fitFlowMod(v, r, r.Command); err != nil {
		return b, err
	}
	start := len(b)
	if v == flow.OpenFlow10 {
		b = appendFlowMod10(b, xid, r, bufferID)
	} else {
		b = appendFlowMod13(b, xid, r, bufferID)
	}
	return end(b, start)
}

// outPortOf returns the port that restricts a delete. Other commands are not restricted,
// and a switch may refuse a number that it does not know there.
func outPortOf(r *flow.Rule) flow.PortNo {
	if r.Command != flow.Delete && r.Command != flow.DeleteStrict {
		return flow.PortAny
	}
	return anyPort(r.OutPort)
}

func appendFlowMod10(b []byte, xid uint32, r *flow.Rule, bufferID uint32) []byte {
	outPort, _ := port16(outPortOf(r))
	b = begin(b, flow.OpenFlow10, TypeFlowMod, xid)
	b = appendMatch10(b, &r.Match)
	b = be.AppendUint64(b, r.Cookie)
	b = append(b, 0, uint8(r.Command))
	b = be.AppendUint16(b, seconds(r.IdleTimeout))
	b = be.AppendUint16(b, seconds(r.HardTimeout))
	b = be.AppendUint16(b, r.Priority)
	b = be.AppendUint32(b, bufferID)
	b = be.AppendUint16(b, outPort)
	b = be.AppendUint16(b, uint16(r.Flags))
	return appendActions(b, flow.OpenFlow10, r.Actions, 0)
}

func appendFlowMod13(b []byte, xid uint32, r *flow.Rule, bufferID uint32) []byte {
	b = begin(b, flow.OpenFlow13, TypeFlowMod, xid)
	b = be.AppendUint64(b, r.Cookie)
	b = be.AppendUint64(b, r.CookieMask)
	b = append(b, r.Table, uint8(r.Command))
	b = be.AppendUint16(b, seconds(r.IdleTimeout))
	b = be.AppendUint16(b, seconds(r.HardTimeout))
	b = be.AppendUint16(b, r.Priority)
	b = be.AppendUint32(b, bufferID)
	b = be.AppendUint32(b, uint32(outPortOf(r)))
	b = be.AppendUint32(b, groupAny)
	b = be.AppendUint16(b, uint16(r.Flags))
	b = pad(b, 2)
	b = appendMatch13(b, &r.Match)
	return appendInstructions(b, r)
}

func anyPort(p flow.PortNo) flow.PortNo {
	if p == 0 {
		return flow.PortAny
	}
	return p
}

// appendInstructions appends meter, actions and goto, in the order in which a switch
// executes them (OpenFlow 1.3.5, 5.9). fitInstructions has accepted the rule.
func appendInstructions(b []byte, r *flow.Rule) []byte {
	if r.Meter != 0 {
		b = append(b, 0, instMeter, 0, 8)
		b = be.AppendUint32(b, r.Meter)
	}
	if len(r.Actions) > 0 {
		start := len(b)
		b = append(b, 0, instApplyActions, 0, 0, 0, 0, 0, 0)
		b = appendActions(b, flow.OpenFlow13, r.Actions, r.Match.IPProto)
		be.PutUint16(b[start+2:], uint16(len(b)-start))
	}
	if r.Goto != 0 {
		b = append(b, 0, instGoto, 0, 8, r.Goto, 0, 0, 0)
	}
	return b
}

// ParseFlowMod reads a FLOW_MOD into r. It uses the memory of r.Actions again. An action
// that package flow has no kind for becomes [flow.Unsupported]. A match field, instruction,
// flag or mask that package flow does not have is an error, mostly an [UnsupportedError].
func ParseFlowMod(msg []byte, r *flow.Rule) error {
	v, b, err := body(msg, TypeFlowMod, flowModLen13)
	if err != nil {
		return err
	}
	got := flow.Rule{Actions: r.Actions[:0]}
	if v == flow.OpenFlow10 {
		err = parseFlowMod10(b, &got)
	} else {
		err = parseFlowMod13(b, &got)
	}
	switch deletes := got.Command == flow.Delete || got.Command == flow.DeleteStrict; {
	case err != nil:
		return err
	case got.Command > flow.DeleteStrict:
		return fmt.Errorf("FLOW_MOD: %v is not one of OpenFlow's", got.Command)
	case !deletes:
		got.OutPort = flow.PortAny // the number has no meaning here
	case got.OutPort == 0:
		return unsupported(v, "out_port 0") // package flow has 0 for any port
	}
	*r = got
	return nil
}

func parseFlowMod10(b []byte, r *flow.Rule) (err error) {
	if len(b) < flowModLen10 {
		return short(TypeFlowMod, len(b), flowModLen10)
	}
	if r.Match, err = parseMatch10(b); err != nil {
		return err
	}
	b = b[matchLen10:]
	r.Cookie = be.Uint64(b)
	command := be.Uint16(b[8:])
	if command > uint16(flow.DeleteStrict) {
		return fmt.Errorf("FLOW_MOD: command %d is not one of OpenFlow's", command)
	}
	r.Command = flow.Command(command)
	r.IdleTimeout, r.HardTimeout = secondsOf(b[10:]), secondsOf(b[12:])
	r.Priority = be.Uint16(b[14:])
	r.BufferID = be.Uint32(b[16:])
	r.OutPort = port32(be.Uint16(b[20:]))
	r.Flags = flow.RuleFlags(be.Uint16(b[22:]))
	if r.Flags&^flags10 != 0 {
		return unsupported(flow.OpenFlow10, fmt.Sprintf("flags %#x", uint16(r.Flags)))
	}
	r.Actions, err = parseActions(r.Actions, b[24:], flow.OpenFlow10, r.Match.IPProto)
	return err
}

func parseFlowMod13(b []byte, r *flow.Rule) (err error) {
	r.Cookie, r.CookieMask = be.Uint64(b), be.Uint64(b[8:])
	r.Table, r.Command = b[16], flow.Command(b[17])
	r.IdleTimeout, r.HardTimeout = secondsOf(b[18:]), secondsOf(b[20:])
	r.Priority = be.Uint16(b[22:])
	r.BufferID = be.Uint32(b[24:])
	r.OutPort = flow.PortNo(be.Uint32(b[28:]))
	if g := be.Uint32(b[32:]); g != groupAny && (r.Command == flow.Delete || r.Command == flow.DeleteStrict) {
		return unsupported(flow.OpenFlow13, fmt.Sprintf("out_group %d", g))
	}
	r.Flags = flow.RuleFlags(be.Uint16(b[36:]))
	if r.Match, b, err = parseMatch13(b[flowModLen13:], nil); err != nil {
		return err
	}
	return parseInstructions(b, r, false)
}

func secondsOf(b []byte) time.Duration { return time.Duration(be.Uint16(b)) * time.Second }

// parseInstructions reads the rest of a rule. An instruction that package flow does not
// have is an UnsupportedError. With lenient, it becomes an action flow.Unsupported whose
// ID is 0xffff.
func parseInstructions(b []byte, r *flow.Rule, lenient bool) (err error) {
	var seen uint32
	for len(b) > 0 {
		if len(b) < 8 {
			return short("instruction", len(b), 8)
		}
		typ, n := be.Uint16(b), int(be.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return fmt.Errorf("instruction %d: length %d, of %d bytes left", typ, n, len(b))
		}
		switch typ {
		case instGoto, instApplyActions, instMeter:
			if seen>>typ&1 != 0 {
				return fmt.Errorf("instruction %d twice", typ)
			}
			seen |= 1 << typ
			if typ != instApplyActions && n != 8 {
				return fmt.Errorf("instruction %d: length %d, want 8", typ, n)
			}
		}
		switch typ {
		case instGoto:
			if r.Goto = b[4]; r.Goto <= r.Table {
				return fmt.Errorf("goto table %d from table %d: want a larger number", r.Goto, r.Table)
			}
		case instMeter:
			r.Meter = be.Uint32(b[4:])
		case instApplyActions:
			r.Actions, err = parseActions(r.Actions, b[8:n], flow.OpenFlow13, 0)
		default:
			if lenient {
				r.Actions = append(r.Actions, flow.Action{Type: flow.Unsupported, ID: 0xffff})
			} else {
				err = unsupported(flow.OpenFlow13, fmt.Sprintf("instruction %d", typ))
			}
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
