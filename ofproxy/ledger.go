package ofproxy

import (
	"bytes"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// ledgerSize is how many of a session's latest decisions an error can still be
// tied to. A power of two.
const ledgerSize = 256

// ledger remembers what was sent for the latest decisions, so that an error
// from the switch can name the decision and the rule. It is guarded by the
// outbox's lock: an entry is made while its messages are appended.
type ledger struct {
	entries []ledgerEntry // made with the first decision
}

type ledgerEntry struct {
	xid    uint32
	event  flow.EventType
	reason string
	policy flow.PolicyVersion
	sent   []byte // the FLOW_MODs as sent
}

func (l *ledger) note(xid uint32, ev *flow.Event, d *flow.Decision, sent []byte) {
	if l.entries == nil {
		l.entries = make([]ledgerEntry, ledgerSize)
	}
	e := &l.entries[xid%ledgerSize]
	e.xid, e.event, e.reason, e.policy = xid, ev.Type, d.Reason, d.Policy
	e.sent = append(e.sent[:0], sent...)
}

// find returns the decision with the given number and, where the error's data
// shows which of its rules the switch refused, that rule.
func (l *ledger) find(xid uint32, data []byte) (e ledgerEntry, rule *flow.Rule, ok bool) {
	if l.entries == nil {
		return e, nil, false
	}
	e = l.entries[xid%ledgerSize]
	if e.xid != xid || xid == 0 {
		return ledgerEntry{}, nil, false
	}
	for rest := e.sent; len(rest) >= ofp.HeaderLen; {
		h, err := ofp.ParseHeader(rest)
		if err != nil || h.Length > len(rest) {
			break
		}
		msg := rest[:h.Length]
		rest = rest[h.Length:]
		only := len(rest) == 0 && len(msg) == len(e.sent)
		if !only && !bytes.HasPrefix(msg, data[:min(len(data), len(msg))]) {
			continue
		}
		r := new(flow.Rule)
		if ofp.ParseFlowMod(msg, r) == nil {
			return e, r, true
		}
	}
	return e, nil, true
}
