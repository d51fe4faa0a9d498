package decider

import (
	"context"

	"switchbridge/flow"
)

// Mode is what happens to a packet that the controller gave no answer for.
type Mode uint8

const (
	Secure     Mode = iota // it is dropped
	Standalone             // the switch forwards it as NORMAL would; no rule is installed
)

func (m Mode) String() string {
	if m == Standalone {
		return "standalone"
	}
	return "secure"
}

// failReason is what a decision's Reason says, by what was met: the kind of the
// error, the mode.
var failReason = [4][2]string{
	flow.Unavailable: {"fail mode secure: no answer", "fail mode standalone: no answer"},
	flow.Refused:     {"refused by the function", "refused by the function"},
	flow.Invalid:     {"invalid answer", "invalid answer"},
	flow.Overload:    {"overload", "overload"},
}

// FailMode answers packets in place of a controller that doesn't answer
// ([flow.Unavailable]). With any other error the packet is dropped, whatever the
// mode: if the controller has refused, or its answer can't be understood, it may
// have meant to deny the packet.
//
// FailMode's answer is a decision with Failure set and without rules, so the next
// packet of the flow asks again. For events other than packets it returns the error,
// and the caller may ask again.
type FailMode struct {
	Next      flow.Decider
	Default   Mode
	PerSwitch map[flow.DPID]Mode // read-only once in use

	// OnFailure, if set, is told of each packet answered here, with the decision
	// made. It keeps neither pointer and is called by many goroutines.
	OnFailure func(ev *flow.Event, d *flow.Decision, mode Mode)
}

// Decide asks Next and answers in its place if it fails on a packet.
func (f *FailMode) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	err := f.Next.Decide(ctx, ev, d)
	if err == nil || ev.Type != flow.EventPacketIn {
		return err
	}
	f.answer(ev, d, err)
	return nil
}

// Recall answers with what Next has at hand.
func (f *FailMode) Recall(ev *flow.Event, d *flow.Decision) bool { return flow.Recall(f.Next, ev, d) }

// answer fills d in place of a controller that failed with err. It is a function of its own because its stack frame is large.
func (f *FailMode) answer(ev *flow.Event, d *flow.Decision, err error) {
	mode := f.Mode(ev.Switch)
	kind := flow.KindOf(err)
	calls := d.Calls
	d.Reset() // of what was filled in before the failure
	d.Failure, d.HasPacketOut, d.Calls = err, true, calls
	d.Verdict, d.Reason = flow.Deny, failReason[kind&3][mode&1]
	if mode == Standalone && kind == flow.Unavailable {
		d.Verdict = flow.Allow
		d.PacketOut = append(d.PacketOut, flow.OutputTo(flow.PortNormal))
	}
	if f.OnFailure != nil {
		f.OnFailure(ev, d, mode)
	}
}

// Mode returns the mode that holds for sw.
func (f *FailMode) Mode(sw *flow.Switch) Mode {
	if sw != nil {
		if m, ok := f.PerSwitch[sw.DPID]; ok {
			return m
		}
	}
	return f.Default
}

// Local reports whether Next is [flow.Local].
func (f *FailMode) Local() bool { return flow.IsLocal(f.Next) }
