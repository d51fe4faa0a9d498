package contract_test

import (
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

func TestEventEnvelope(t *testing.T) {
	ev := flow.Event{Type: flow.EventPacketIn, ID: "e-1", Session: "s-1", Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Switch: &flow.Switch{DPID: 0xaabb}, State: []byte{1, 2, 3}, Travel: []flow.Travelling{{Name: "scan", Key: flow.StateSrc, Version: 7, Data: []byte{4}}, {Name: "door", Key: flow.StatePort, Version: 9}}, Accepts: flow.AcceptsAll, PacketIn: fragment()}
	h := http.Header{}
	contract.PutEvent(h, &ev)
	contract.PutMembers(h, contract.TypeOpenFlow, &ev)
	for name, want := range map[string]string{"Ce-Specversion": "1.0", "Ce-Type": "switchbridge.packet_in.v1", "Ce-Source": "/switches/000000000000aabb",
		"Ce-Subject": "s-1", "Ce-Id": "e-1", "Ce-Time": "2026-01-02T03:04:05.000000006Z", "Switchbridge-State": "AQID", "Switchbridge-Travel": "scan;src;7;0;BA==,door;port;9;0;",
		"Switchbridge-Accepts": "covers_incomplete,reply,revoke,reuse,travel,reject,log", "Switchbridge-Incomplete": "tcp_src,tcp_dst"} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var back flow.Event
	if err := contract.GetEvent(h, &back); err != nil {
		t.Fatal(err)
	}
	back.PacketIn = new(flow.PacketIn) // of the body
	if err := contract.GetMembers(h, contract.TypeOpenFlow, &back); err != nil {
		t.Fatal(err)
	}
	if back.Accepts != ev.Accepts || back.PacketIn.Incomplete != ev.PacketIn.Incomplete {
		t.Errorf("accepts %b, incomplete %v; want %b and %v", back.Accepts, back.PacketIn.Incomplete, ev.Accepts, ev.PacketIn.Incomplete)
	}
	if back.Type != ev.Type || back.ID != ev.ID || back.Session != ev.Session || !back.Time.Equal(ev.Time) ||
		back.Switch.DPID != ev.Switch.DPID || string(back.State) != string(ev.State) || !reflect.DeepEqual(back.Travel, ev.Travel) {
		t.Errorf("%+v, want %+v", back, ev)
	}
	contract.PutMembers(h, contract.TypeOpenFlow, &flow.Event{})
	h = http.Header{}
	if contract.PutMembers(h, contract.TypeJSON, &ev); len(h) != 0 {
		t.Errorf("JSON has all in its body, and yet the headers are %v", h)
	}
}

// A rehearsal is said beside the body in either encoding, since functions of other people read it there.
func TestRehearsal(t *testing.T) {
	for _, encoding := range []string{contract.TypeOpenFlow, contract.TypeJSON} {
		for _, said := range []bool{true, false} {
			h := http.Header{}
			contract.PutMembers(h, encoding, &flow.Event{Rehearsal: said})
			var back flow.Event
			if err := contract.GetMembers(h, encoding, &back); err != nil || back.Rehearsal != said || (h.Get("Switchbridge-Rehearsal") == "true") != said {
				t.Errorf("%s: rehearsal %v comes as %v by %v: %v", encoding, said, back.Rehearsal, h, err)
			}
		}
		h := http.Header{"Switchbridge-Rehearsal": {"yes"}}
		if err := contract.GetMembers(h, encoding, new(flow.Event)); err == nil || !strings.Contains(err.Error(), "Switchbridge-Rehearsal") {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

func TestBadEnvelopes(t *testing.T) {
	good := map[string]string{"Ce-Specversion": "1.0", "Ce-Type": "switchbridge.packet_in.v1", "Ce-Source": "/switches/1", "Ce-Id": "1"}
	for _, row := range []struct{ name, value, explain string }{
		{"Ce-Specversion", "", "ce-specversion"},
		{"Ce-Specversion", "0.3", "ce-specversion"},
		{"Ce-Type", "", "ce-type"},
		{"Ce-Type", "switchbridge.packet_in.v2", "ce-type"},
		{"Ce-Id", "", "ce-id"},
		{"Ce-Source", "", "ce-source"},
		{"Ce-Source", "/gateway", "ce-source"},
		{"Ce-Source", "/switches/", "ce-source"},
		{"Ce-Source", "/switches/00000000000000001", "ce-source"},
		{"Ce-Time", "yesterday", "ce-time"},
	} {
		h := http.Header{}
		for k, v := range good {
			h.Set(k, v)
		}
		h.Set(row.name, row.value)
		if err := contract.GetEvent(h, new(flow.Event)); err == nil || !strings.Contains(err.Error(), row.explain) {
			t.Errorf("%s: %q: error %v, want one of %s", row.name, row.value, err, row.explain)
		}
	}
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"switchbridge.policy_check.v1"}, "Ce-Source": {"/gateway"}, "Ce-Id": {"1"}}
	if err := contract.GetEvent(h, new(flow.Event)); err != nil {
		t.Errorf("policy_check of no switch: %v", err)
	}
}

func TestDecisionHeaders(t *testing.T) {
	d := flow.Decision{Verdict: flow.Deny, Reason: "blocklist: ü\r\nX-Evil: 1", Policy: flow.PolicyVersion{Serial: 9, Hash: 0xff},
		State: []byte{0xff}, StateKey: flow.StateDst, Stateful: true, Travel: []flow.Travelling{{Name: "a.b-c_D", Key: flow.StateConnection, Version: 1<<64 - 1, TTL: time.Hour, Data: []byte{1}}}}
	for _, contentType := range []string{contract.TypeOpenFlow, contract.TypeJSON} {
		h := http.Header{}
		contract.PutDecision(h, contentType, &flow.Event{Accepts: flow.AcceptsTravel}, &d)
		var back flow.Decision
		if err := contract.GetDecision(h, &back); err != nil {
			t.Fatal(err)
		}
		if back.Verdict != d.Verdict || back.Policy != d.Policy || back.Reason != "blocklist: ???X-Evil: 1" || !back.Stateful {
			t.Errorf("%s: %+v", contentType, back)
		}
		if inHeader := contentType == contract.TypeOpenFlow; (len(back.State) == 1) != inHeader || (back.StateKey == flow.StateDst) != inHeader ||
			reflect.DeepEqual(back.Travel, d.Travel) != inHeader {
			t.Errorf("%s: state %x by %v", contentType, back.State, back.StateKey)
		}
	}
	h := http.Header{}
	contract.PutDecision(h, contract.TypeOpenFlow, &flow.Event{}, &flow.Decision{})
	if len(h) != 0 {
		t.Errorf("a decision that says nothing has headers %v", h)
	}
}

// TestHeadersWin: what the body said stays unless a header says otherwise.
func TestHeadersWin(t *testing.T) {
	body := flow.Decision{Verdict: flow.Allow, Reason: "body", Policy: flow.PolicyVersion{Serial: 1}, State: []byte("body"), StateKey: flow.StateSrc}
	d := body
	if err := contract.GetDecision(http.Header{}, &d); err != nil || d.Reason != "body" || string(d.State) != "body" || d.StateKey != flow.StateSrc {
		t.Errorf("no headers: %+v (%v)", d, err)
	}
	h := http.Header{"Switchbridge-Reason": {"header"}, "Switchbridge-State": {base64.StdEncoding.EncodeToString([]byte("header"))}, "Switchbridge-Verdict": {"deny"}}
	if err := contract.GetDecision(h, &d); err != nil || d.Reason != "header" || string(d.State) != "header" || d.Verdict != flow.Deny || d.Policy != body.Policy {
		t.Errorf("headers: %+v (%v)", d, err)
	}
}

func TestBadDecisionHeaders(t *testing.T) {
	long := base64.StdEncoding.EncodeToString(make([]byte, flow.MaxState+1))
	for name, values := range map[string][]string{
		contract.HeaderPolicy:           {"7", "7-xyz", "-00000001", "7-1"},
		contract.HeaderVerdict:          {"perhaps"},
		contract.HeaderCoversIncomplete: {"yes", "TRUE", "1", "true,true"},
		contract.HeaderStateful:         {"yes"},
		contract.HeaderTravel: {"scan", "scan;src;1;0", "scan;user;1;0;", "scan;src;x;0;", "scan;src;0;0;", "scan;src;1;x;", "scan;src;1;18446744073709551615;", "scan;src;1;0;###",
			"scan;src;1;0;" + long, ";src;1;0;", "a b;src;1;0;", strings.Repeat("n", 41) + ";src;1;0;", "a;src;1;0;,a;src;2;0;", strings.Repeat("a;src;1;0;,b;src;1;0;,", 5)},
		contract.HeaderStateKey: {"user"},
		contract.HeaderState:    {"###", long, strings.Repeat("A", 1<<20)},
	} {
		for _, v := range values {
			if err := contract.GetDecision(http.Header{name: {v}}, new(flow.Decision)); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %.20q: error %v, want one that names it", name, v, err)
			}
		}
	}
	full := base64.StdEncoding.EncodeToString(make([]byte, flow.MaxState))
	if err := contract.GetDecision(http.Header{contract.HeaderState: {full}}, new(flow.Decision)); err != nil {
		t.Errorf("as much state as there may be: %v", err)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("1.0", "switchbridge.packet_in.v1", "/switches/1", "2026-01-02T03:04:05Z", "AQID", "7-00000001", "allow", "src", "why")
	f.Fuzz(func(t *testing.T, spec, typ, source, time, state, policy, verdict, key, reason string) {
		h := http.Header{}
		for name, v := range map[string]string{contract.HeaderSpecVersion: spec, contract.HeaderType: typ, contract.HeaderSource: source, contract.HeaderTime: time,
			contract.HeaderID: "1", contract.HeaderState: state, contract.HeaderPolicy: policy, contract.HeaderVerdict: verdict,
			contract.HeaderStateKey: key, contract.HeaderReason: reason} {
			h.Set(name, v)
		}
		var ev flow.Event
		if contract.GetEvent(h, &ev) == nil && ev.Switch == nil && ev.Type != flow.EventPolicyCheck {
			t.Errorf("%v of no switch", ev.Type)
		}
		var d, back flow.Decision
		if contract.GetDecision(h, &d) != nil {
			return
		}
		if len(d.State) > flow.MaxState {
			t.Errorf("%d bytes of state", len(d.State))
		}
		again := http.Header{}
		contract.PutDecision(again, contract.TypeOpenFlow, &flow.Event{}, &d)
		if err := contract.GetDecision(again, &back); err != nil {
			t.Fatal(err)
		}
		if back.Policy != d.Policy || back.Verdict != d.Verdict || back.Reason != d.Reason || string(back.State) != string(d.State) {
			t.Errorf("%+v, want %+v", back, d)
		}
	})
}
