package ofp

import (
	"time"

	"switchbridge/flow"
)

const (
	flowRemovedLen10 = matchLen10 + 40 // after the header
	flowRemovedLen13 = 40              // without the match
)

// AppendFlowRemoved reports that the switch has removed a rule (OpenFlow 1.0.0, 5.4.3;
// 1.3.5, 7.4.2). v must be able to express the match; [CheckMatch] checks that. A message
// of 1.0 has neither the hard timeout nor the table.
func AppendFlowRemoved(b []byte, v flow.Protocol, xid uint32, r *flow.FlowRemoved) []byte {
	start := len(b)
	b = begin(b, v, TypeFlowRemoved, xid)
	if v == flow.OpenFlow10 {
		b = appendMatch10(b, &r.Match)
	}
	b = be.AppendUint64(b, r.Cookie)
	b = be.AppendUint16(b, r.Priority)
	b = append(b, uint8(r.Reason))
	if v == flow.OpenFlow10 {
		b = append(b, 0)
	} else {
		b = append(b, r.Table)
	}
	b = appendDuration(b, r.Duration)
	b = be.AppendUint16(b, seconds(r.Idle))
	if v == flow.OpenFlow10 {
		b = pad(b, 2)
	} else {
		b = be.AppendUint16(b, seconds(r.Hard))
	}
	b = be.AppendUint64(b, r.Packets)
	b = be.AppendUint64(b, r.Bytes)
	if v != flow.OpenFlow10 {
		b = appendMatch13(b, &r.Match)
	}
	return mustEnd(b, start)
}

// ParseFlowRemoved reads a FLOW_REMOVED. It leaves out match fields that package flow does
// not have. Only other controllers' rules have such fields; the match is then wider than
// that of the rule.
func ParseFlowRemoved(msg []byte, r *flow.FlowRemoved) error {
	v, b, err := body(msg, TypeFlowRemoved, flowRemovedLen13)
	if err != nil {
		return err
	}
	var got flow.FlowRemoved
	if v == flow.OpenFlow10 {
		if len(b) < flowRemovedLen10 {
			return short(TypeFlowRemoved, len(b), flowRemovedLen10)
		}
		if got.Match, err = parseMatch10(b); err != nil {
			return err
		}
		b = b[matchLen10:]
	} else {
		if got.Match, _, err = parseMatch13(b[flowRemovedLen13:], passOver); err != nil {
			return err
		}
		got.Table, got.Hard = b[11], secondsOf(b[22:])
	}
	got.Cookie, got.Priority, got.Reason = be.Uint64(b), be.Uint16(b[8:]), flow.RemovedReason(b[10])
	got.Duration, got.Idle = durationOf(b[12:]), secondsOf(b[20:])
	got.Packets, got.Bytes = be.Uint64(b[24:]), be.Uint64(b[32:])
	*r = got
	return nil
}

// A duration is 32 bits of seconds and 32 of nanoseconds beyond them, which are
// less than a second.

func appendDuration(b []byte, d time.Duration) []byte {
	d = max(d, 0)
	b = be.AppendUint32(b, uint32(min(d/time.Second, 1<<32-1)))
	return be.AppendUint32(b, uint32(d%time.Second))
}

func durationOf(b []byte) time.Duration {
	return time.Duration(be.Uint32(b))*time.Second + min(time.Duration(be.Uint32(b[4:])), time.Second-1)
}
