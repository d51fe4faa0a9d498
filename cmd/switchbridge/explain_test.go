package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/p4bridge"
	"switchbridge/policy/policytest"
)

// Of a switch's rules the one counts that the switch takes for the packet.
func TestExplainInSwitches(t *testing.T) {
	m, err := policytest.ParsePacket("tcp 10.0.0.1:40000 > 10.0.0.2:22 in_port 3")
	if err != nil {
		t.Fatal(err)
	}
	exact := m.Keep(flow.Conversation).String()
	rules := []gateway.RuleStatus{
		{Table: 1, Priority: 60000, Match: "any", Actions: "drop"},
		{Table: 0, Priority: 1, Match: "any", Actions: "output:CONTROLLER"},
		{Table: 0, Priority: 100, Match: exact, Actions: "output:NORMAL", Cookie: "0x99", Decision: 7, Packets: 3},
		{Table: 0, Priority: 200, Match: "in_port=2", Actions: "drop"},
	}
	mux := http.NewServeMux()
	send := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		}
	}
	mux.Handle("GET /api/v1/switches", send([]gateway.SwitchStatus{{DPID: "0000000000000001", State: "ready"}, {DPID: "0000000000000002", State: "ready"}, {DPID: "0000000000000003", State: "connecting"}}))
	// A P4 program looks up exact keys first, whatever another table's priorities are, and what can't be written as a match says nothing of a packet.
	p4 := []gateway.RuleStatus{
		{P4Table: "acl", Priority: 60000, Match: "any", Actions: "drop", More: "table acl: ttl=1"},
		{P4Table: "flow_exact", Priority: 100, Match: exact, Actions: "output:2", Cookie: "0x98", Decision: 8, Packets: 4},
		{P4Table: "flow", Priority: 200, Match: "in_port=3", Actions: "drop"},
	}
	mux.Handle("GET /api/v1/p4", send([]p4bridge.Status{{DPID: "0000000000000004", State: "serving"}, {DPID: "0000000000000005", State: "backup"}}))
	mux.Handle("GET /api/v1/switches/0000000000000004/rules", send(p4))
	mux.Handle("GET /api/v1/switches/0000000000000001/rules", send(rules))
	mux.Handle("GET /api/v1/switches/0000000000000002/rules", send(rules[3:]))
	server := httptest.NewServer(mux)
	defer server.Close()
	for dpid, want := range map[string]string{
		"": "switch 0000000000000001: table=0,priority=100," + exact + " actions=output:NORMAL\n  cookie 0x99, decision 7, 0 s old, 3 packets\n" +
			"switch 0000000000000002: no rule of the gateway covers it now\nswitch 0000000000000003: connecting\n" +
			"switch 0000000000000004: table=flow_exact,priority=100," + exact + " actions=output:2\n  cookie 0x98, decision 8, 0 s old, 4 packets\nswitch 0000000000000005: backup\n",
		"2":  "switch 0000000000000002: no rule of the gateway covers it now\n",
		"2a": "the gateway has no such switch\n",
	} {
		var out strings.Builder
		c := explainCommand()
		c.SetOut(&out)
		var f adminFlags
		f.URL = server.URL
		client, err := f.client()
		if err != nil {
			t.Fatal(err)
		}
		c.SetContext(t.Context())
		if err := inSwitches(c, client, &m, dpid); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("--switch %q:\n%s\nwant\n%s", dpid, out.String(), want)
		}
	}
	if _, err := covering([]gateway.RuleStatus{{Match: "moon=1"}}, &m); err == nil {
		t.Error("a match that can't be read is passed over")
	}
}
