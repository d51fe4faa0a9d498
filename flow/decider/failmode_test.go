package decider

import (
	"context"
	"errors"
	"slices"
	"testing"

	"switchbridge/flow"
)

func TestFailMode(t *testing.T) {
	normal := []flow.Action{flow.OutputTo(flow.PortNormal)}
	for _, tc := range []struct {
		name    string
		err     error
		mode    Mode
		want    []flow.Action
		verdict flow.Verdict
		reason  string
	}{
		{"unavailable, secure", flow.Errorf(flow.Unavailable, "x"), Secure, nil, flow.Deny, "fail mode secure: no answer"},
		{"unavailable, standalone", flow.Errorf(flow.Unavailable, "x"), Standalone, normal, flow.Allow, "fail mode standalone: no answer"},
		{"no kind, standalone", context.DeadlineExceeded, Standalone, normal, flow.Allow, "fail mode standalone: no answer"},
		{"refused, standalone", flow.Errorf(flow.Refused, "x"), Standalone, nil, flow.Deny, "refused by the function"},
		{"invalid, standalone", flow.Errorf(flow.Invalid, "x"), Standalone, nil, flow.Deny, "invalid answer"},
		{"overload, standalone", flow.Errorf(flow.Overload, "x"), Standalone, nil, flow.Deny, "overload"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			half := flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
				d.Rules = append(d.Rules, goodRule()) // an answer that broke off
				d.State = []byte("s")
				return tc.err
			})
			var told Mode = 9
			f := &FailMode{Next: half, Default: tc.mode, OnFailure: func(_ *flow.Event, d *flow.Decision, mode Mode) {
				if !errors.Is(d.Failure, tc.err) {
					t.Errorf("failure %v", d.Failure)
				}
				told = mode
			}}
			var d flow.Decision
			if err := f.Decide(t.Context(), packetEvent(tcpPacket(80)), &d); err != nil {
				t.Fatal(err)
			}
			if len(d.Rules) != 0 || len(d.State) != 0 || !d.HasPacketOut || !slices.Equal(d.PacketOut, tc.want) {
				t.Errorf("decision %+v", d)
			}
			if d.Verdict != tc.verdict || d.Reason != tc.reason || d.Failure != tc.err || told != tc.mode {
				t.Errorf("verdict %v, reason %q, failure %v, mode told %v", d.Verdict, d.Reason, d.Failure, told)
			}
		})
	}
}

func TestFailModePerSwitch(t *testing.T) {
	f := &FailMode{Next: failing(flow.Errorf(flow.Unavailable, "x")), Default: Secure, PerSwitch: map[flow.DPID]Mode{0x1a: Standalone}}
	var d flow.Decision
	if err := f.Decide(t.Context(), packetEvent(tcpPacket(80)), &d); err != nil || len(d.PacketOut) != 1 {
		t.Fatalf("the switch that is standalone: %v, %v", err, d.PacketOut)
	}
	d.Reset()
	ev := packetEvent(tcpPacket(80))
	ev.Switch.DPID = 0x1b
	if err := f.Decide(t.Context(), ev, &d); err != nil || len(d.PacketOut) != 0 {
		t.Fatalf("another: %v, %v", err, d.PacketOut)
	}
}

func TestFailModeOnlyPackets(t *testing.T) {
	want := flow.Errorf(flow.Unavailable, "x")
	f := &FailMode{Next: failing(want), Default: Standalone}
	var d flow.Decision
	ev := &flow.Event{Type: flow.EventSwitchConnected, Switch: testSwitch()}
	if err := f.Decide(t.Context(), ev, &d); err != want || d.HasPacketOut {
		t.Fatalf("error %v, decision %+v", err, d)
	}
	f.Next = answer(goodRule())
	if err := f.Decide(t.Context(), packetEvent(tcpPacket(80)), &d); err != nil || len(d.Rules) != 1 || d.Failure != nil || d.HasPacketOut {
		t.Fatalf("an answer was touched: %v %+v", err, d)
	}
}
