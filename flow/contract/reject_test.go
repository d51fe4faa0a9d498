package contract_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
)

// TestMarks: that a sender is told, and that a decision is for the log, go in a header beside OpenFlow bodies and in the body of JSON, and to a gateway
// that takes them only.
func TestMarks(t *testing.T) {
	for _, mark := range []struct {
		header, member string
		takes          flow.Accepts
		with           flow.Decision
		of             func(*flow.Decision) bool
	}{
		{contract.HeaderReject, "reject", flow.AcceptsReject, flow.Decision{HasPacketOut: true, Verdict: flow.Deny, Reject: true}, func(d *flow.Decision) bool { return d.Reject }},
		{contract.HeaderLog, "log", flow.AcceptsLog, flow.Decision{HasPacketOut: true, Verdict: flow.Allow, Log: true}, func(d *flow.Decision) bool { return d.Log }},
	} {
		for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
			for _, takes := range []flow.Accepts{mark.takes, flow.AcceptsAll &^ mark.takes} {
				ev := &flow.Event{Type: flow.EventPacketIn, XID: 7, Switch: &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13},
					PacketIn: packet(t, "tcp 10.0.0.2:40000 > 10.0.0.1:22", 0), Accepts: takes}
				d, h := mark.with, http.Header{}
				contract.PutDecision(h, codec.ContentType(), ev, &d)
				body, err := codec.AppendDecision(nil, ev, &d)
				if err != nil {
					t.Fatal(err)
				}
				var back flow.Decision
				if err := errors.Join(codec.ParseDecision(body, ev, &back), contract.GetDecision(h, &back)); err != nil {
					t.Fatal(err)
				}
				if want := takes == mark.takes; mark.of(&back) != want || !want && strings.Contains(string(body), mark.member) {
					t.Errorf("%s: %s to a gateway that takes %b: %v %s is read as %+v", mark.member, codec.ContentType(), takes, h, body, back)
				}
			}
		}
		var d flow.Decision
		if err := contract.GetDecision(http.Header{mark.header: {"yes"}}, &d); err == nil || !strings.Contains(err.Error(), mark.header) {
			t.Errorf("a header that is neither: %v", err)
		}
	}
}
