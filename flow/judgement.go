package flow

import "time"

// Effect is what becomes of the packets that a rule matches.
type Effect struct {
	Meter   uint32 // OpenFlow 1.3 meter that packets pass first; 0 is none
	Goto    uint8  // OpenFlow 1.3: the table that follows; 0 is none
	Actions []Action
}

// Judgement is what most decisions about a packet come to: a rule for all that has the same headers
// in some fields, or, without one, what becomes of this packet alone. It says so in less than the
// rule itself would take.
type Judgement struct {
	Verdict Verdict
	Reason  string
	Policy  PolicyVersion

	Rule        bool
	Fields      Field // of the packet's headers, which the rule matches
	Priority    uint16
	Table       uint8
	IdleTimeout time.Duration
	HardTimeout time.Duration

	Reject bool // as in [Decision]
	Log    bool // as in [Decision]

	// CoversIncomplete is the rule's (see [Rule]).
	CoversIncomplete bool

	// Reuse is the decision's, which has no Reply.
	Reuse Reuse

	Change *StateChange // as in [Decision]

	// Effect is the rule's. Without a rule its actions are the packet's own, and the rest is zero.
	// It belongs to whoever judged, and is read only.
	Effect
}

// Spell fills d, which is reset, with the decision about a packet that has the headers m, which
// are canonical.
func (j *Judgement) Spell(m *Match, d *Decision) {
	d.Verdict, d.Reason, d.Policy, d.Change, d.Reuse, d.Reject, d.Log = j.Verdict, j.Reason, j.Policy, j.Change, j.Reuse, j.Reject, j.Log
	if !j.Rule {
		d.HasPacketOut, d.PacketOut = true, append(d.PacketOut, j.Actions...)
		return
	}
	d.Rules = append(d.Rules, Rule{
		Command:     Add,
		Table:       j.Table,
		Priority:    j.Priority,
		IdleTimeout: j.IdleTimeout,
		HardTimeout: j.HardTimeout,
		BufferID:    NoBuffer,
		Match:       m.Keep(j.Fields),
		Meter:       j.Meter,
		Actions:     j.Actions,
		Goto:        j.Goto,

		CoversIncomplete: j.CoversIncomplete,
	})
}
