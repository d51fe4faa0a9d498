package policytest

import (
	"switchbridge/flow"
	"switchbridge/policy"
)

// Denial is a packet, and why an entry that denies by lists refuses it.
type Denial struct {
	Entry   policy.Source
	Packet  flow.Match
	Reason  string // empty: passed on
	Depends flow.Field
}

// Check compiles the entry and asks it. t is a [testing.T].
func (d *Denial) Check(t interface {
	Helper()
	Fatal(args ...any)
	Errorf(format string, args ...any)
}) {
	t.Helper()
	if err := d.Entry.Validate(nil); err != nil {
		t.Fatal(err)
	}
	verdict := flow.Deny
	if d.Reason == "" {
		verdict = flow.NoVerdict
	}
	out := d.Entry.Compile().Decide(policy.NewPacket(&d.Packet))
	if out.Verdict != verdict || out.Reason != d.Reason || out.Depends != d.Depends {
		t.Errorf("%v (%q) hanging on %v, want %v (%q) on %v", out.Verdict, out.Reason, out.Depends, verdict, d.Reason, d.Depends)
	}
}
