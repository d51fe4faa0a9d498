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

// TestLog: that a decision is for the log goes where [contract.HeaderReject] goes.
func TestLog(t *testing.T) {
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		for _, takes := range []flow.Accepts{flow.AcceptsLog, flow.AcceptsAll &^ flow.AcceptsLog} {
			ev := &flow.Event{Type: flow.EventPacketIn, XID: 7, Switch: &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13},
				PacketIn: packet(t, "tcp 10.0.0.2:40000 > 10.0.0.1:22", 0), Accepts: takes}
			d := flow.Decision{HasPacketOut: true, Verdict: flow.Allow, Log: true}
			h := http.Header{}
			contract.PutDecision(h, codec.ContentType(), ev, &d)
			body, err := codec.AppendDecision(nil, ev, &d)
			if err != nil {
				t.Fatal(err)
			}
			var back flow.Decision
			if err := errors.Join(codec.ParseDecision(body, ev, &back), contract.GetDecision(h, &back)); err != nil {
				t.Fatal(err)
			}
			if want := takes == flow.AcceptsLog; back.Log != want {
				t.Errorf("%s to a gateway that takes %b: %v %s is read as %v", codec.ContentType(), takes, h, body, back.Log)
			}
		}
	}
	var d flow.Decision
	if err := contract.GetDecision(http.Header{contract.HeaderLog: {"yes"}}, &d); err == nil || !strings.Contains(err.Error(), contract.HeaderLog) {
		t.Errorf("a header that is neither: %v", err)
	}
}

// TestReject: that a sender is told goes in a header beside OpenFlow bodies and in the body of JSON, and to a gateway that takes it only.
func TestReject(t *testing.T) {
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		for _, takes := range []flow.Accepts{flow.AcceptsReject, flow.AcceptsAll &^ flow.AcceptsReject} {
			ev := &flow.Event{Type: flow.EventPacketIn, XID: 7, Switch: &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13},
				PacketIn: packet(t, "tcp 10.0.0.2:40000 > 10.0.0.1:22", 0), Accepts: takes}
			d := flow.Decision{HasPacketOut: true, Verdict: flow.Deny, Reject: true}
			h := http.Header{}
			contract.PutDecision(h, codec.ContentType(), ev, &d)
			body, err := codec.AppendDecision(nil, ev, &d)
			if err != nil {
				t.Fatal(err)
			}
			var back flow.Decision
			if err := codec.ParseDecision(body, ev, &back); err != nil {
				t.Fatal(err)
			}
			if err := contract.GetDecision(h, &back); err != nil {
				t.Fatal(err)
			}
			if want := takes == flow.AcceptsReject; back.Reject != want || !want && strings.Contains(string(body), "reject") {
				t.Errorf("%s to a gateway that takes %b: %v %s is read as %v", codec.ContentType(), takes, h, body, back.Reject)
			}
		}
	}
	var d flow.Decision
	if err := contract.GetDecision(http.Header{contract.HeaderReject: {"yes"}}, &d); err == nil || !strings.Contains(err.Error(), contract.HeaderReject) {
		t.Errorf("a header that is neither: %v", err)
	}
}
