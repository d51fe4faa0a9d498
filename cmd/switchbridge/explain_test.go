package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/p4bridge"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/p4test"
	"switchbridge/policy/policytest"
	"switchbridge/settings"
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

// What a P4 switch of a running gateway would hold is written by the mapping that the gateway works with, and is what it then holds.
func TestExplainByTheGatewaysMapping(t *testing.T) {
	target := p4test.New(p4test.Options{DeviceID: 7})
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	at := listen()
	target.Start(at)
	t.Cleanup(target.Stop)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Ours without its exact table.
	before, rest, _ := strings.Cut(mapping.Default().Text(), "  - openflow: 0\n    table: flow_exact\n")
	_, after, found := strings.Cut(rest, "    actions: *actions\n")
	if !found {
		t.Fatal("the mapping has no exact table")
	}
	mappingFile := write("narrow.yaml", before+after)
	policy := write("policy.yaml", "serial: 7\nchain:\n  - forward: {mode: normal}\n")
	config := write("switchbridge.yaml", "function: {urls: [native]}\npolicy: policy.yaml\n")
	set, err := settings.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	set.P4.Switches = []settings.P4Switch{{Device: 7, Address: at.Addr().String(), Miss: "punt", Mapping: mappingFile}}
	admin := listen()
	g, err := gateway.New(set, gateway.Options{Logger: slog.New(slog.DiscardHandler), Config: config, Listeners: []net.Listener{listen()}, Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	eventually := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: not after twenty seconds", what)
			}
		}
	}
	eventually("the switch is governed", func() bool { return g.Ready() == nil })
	const line = "tcp 10.0.0.1:40000 > 10.0.0.2:22"
	explained := func(args ...string) string {
		var out strings.Builder
		c := explainCommand()
		c.SetOut(&out)
		c.SetArgs(append([]string{policy, line}, args...))
		if err := c.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	entryIn := func(text, heading string) string {
		_, text, _ = strings.Cut(text, heading)
		for l := range strings.Lines(text) {
			if l = strings.TrimSpace(l); strings.HasPrefix(l, "table ") {
				return l
			}
		}
		return ""
	}
	ours := entryIn(explained(), "P4Runtime:")
	got := explained("--gateway", admin.Addr().String())
	heading := "switch 0000000000000007, by " + mappingFile + ":"
	entry := entryIn(got, heading)
	if !strings.Contains(got, heading) || entry == "" || entry == ours || strings.Contains(entry, "flow_exact") || !strings.Contains(ours, "flow_exact") {
		t.Fatalf("without the gateway %q, and with it:\n%s", ours, got)
	}
	// It is what the switch then has, but for the port that was learned for NORMAL.
	frame, port, err := policytest.Packet(line)
	if err != nil {
		t.Fatal(err)
	}
	target.Packet(uint32(port), frame)
	eventually("the switch has an entry", func() bool { return len(target.Entries("flow")) > 0 })
	if n := len(target.Entries("flow_exact")); n > 0 {
		t.Errorf("%d entries in a table that is not mapped", n)
	}
	if got = explained("--gateway", admin.Addr().String(), "--switch", "7"); !strings.Contains(got, "switch 0000000000000007: table=flow,") {
		t.Errorf("the rule that is there:\n%s", got)
	}
	if got = explained("--gateway", admin.Addr().String(), "--switch", "8"); strings.Contains(got, heading) || !strings.Contains(got, "the gateway has no such switch") {
		t.Errorf("another switch:\n%s", got)
	}
}
