package compact

import (
	"fmt"
	"math"
	"time"

	"switchbridge/flow"
)

const (
	judgementVersion = 2
	judgementHeader  = 44

	ruleBit   = 1 << 0 // in byte 2
	coversBit = 1 << 1
	changeBit = 1 << 2
	saidBit   = 1 << 3 // to the sender: it is rejected
	loggedBit = 1 << 4
)

// AppendJudgement appends the short form of an answer and reports whether all of it fits.
func AppendJudgement(b []byte, j *flow.Judgement) ([]byte, bool) {
	idle, hard := uint64(j.IdleTimeout/time.Second), uint64(j.HardTimeout/time.Second)
	if idle|hard > math.MaxUint16 || len(j.Actions) > math.MaxUint8 {
		return b, false
	}
	start := len(b)
	if cap(b)-start >= judgementHeader { // a guest's call of memmove is worth doing without
		b = b[:start+judgementHeader]
	} else {
		b = append(b, room[:judgementHeader]...)
	}
	h := b[start : start+judgementHeader]
	h[0], h[1], h[3], h[4], h[5] = judgementVersion, byte(j.Verdict), byte(len(j.Actions)), j.Table, j.Goto
	if h[2] = 0; j.Rule {
		h[2] = ruleBit
		if j.CoversIncomplete {
			h[2] = ruleBit | coversBit
		}
	}
	if j.Change != nil {
		h[2] |= changeBit
	}
	if j.Reject {
		h[2] |= saidBit
	}
	if j.Log {
		h[2] |= loggedBit
	}
	le.PutUint16(h[6:], j.Priority)
	le.PutUint32(h[8:], uint32(j.Fields))
	le.PutUint32(h[12:], j.Meter)
	le.PutUint16(h[16:], uint16(idle))
	le.PutUint16(h[18:], uint16(hard))
	le.PutUint32(h[20:], uint32(len(j.Reason)))
	le.PutUint64(h[24:], j.Policy.Serial)
	le.PutUint32(h[32:], j.Policy.Hash)
	le.PutUint64(h[36:], reuseBits(&j.Reuse))
	b, ok := appendActions(b, j.Actions)
	if ok && j.Change != nil {
		b, ok = appendChange(b, j.Change)
	}
	if !ok {
		return b[:start], false
	}
	return append(b, j.Reason...), true
}

// Parse reads an answer of either form, to an event of a packet with the headers m, into d, which the
// caller has reset.
func (rd *Reader) Parse(b []byte, m *flow.Match, d *flow.Decision) error {
	if len(b) == 0 || b[0] != judgementVersion {
		return rd.ParseDecision(b, d)
	}
	if len(b) < judgementHeader {
		return errShort
	}
	h := b[:judgementHeader]
	if flow.Verdict(h[1]) > flow.Deny || h[2]&(ruleBit|coversBit) == coversBit || h[2] > ruleBit|coversBit|changeBit|saidBit|loggedBit {
		return fmt.Errorf("compact encoding: verdict %d, rule %d", h[1], h[2])
	}
	actions, rest, err := rd.list(b[judgementHeader:], int(h[3]))
	if err != nil {
		return err
	}
	var change *flow.StateChange
	if h[2]&changeBit != 0 {
		if change, rest, err = parseChange(rest); err != nil {
			return err
		}
	}
	if reason := int(le.Uint32(h[20:])); len(rest) != reason {
		return fmt.Errorf("compact encoding: a reason of %d bytes, %d left", reason, len(rest))
	}
	fields := flow.Field(le.Uint32(h[8:]))
	if fields&^m.Fields != 0 {
		return fmt.Errorf("compact encoding: a rule for %v of a packet that doesn't show it", fields&^m.Fields)
	}
	reuse, err := reuseOf(le.Uint64(h[36:]))
	if err != nil {
		return err
	}
	j := flow.Judgement{
		Verdict: flow.Verdict(h[1]), Reason: rd.reason(rest), Rule: h[2]&ruleBit != 0, CoversIncomplete: h[2]&coversBit != 0, Fields: fields, Change: change, Reject: h[2]&saidBit != 0, Log: h[2]&loggedBit != 0,
		Policy:      flow.PolicyVersion{Serial: le.Uint64(h[24:]), Hash: le.Uint32(h[32:])},
		Priority:    le.Uint16(h[6:]),
		Table:       h[4],
		IdleTimeout: time.Duration(le.Uint16(h[16:])) * time.Second,
		HardTimeout: time.Duration(le.Uint16(h[18:])) * time.Second,
		Reuse:       reuse,
		Effect:      flow.Effect{Meter: le.Uint32(h[12:]), Goto: h[5], Actions: actions},
	}
	j.Spell(m, d)
	return nil
}
