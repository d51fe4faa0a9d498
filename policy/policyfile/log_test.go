package policyfile

import (
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/blob"
	"switchbridge/policy/eval"
	"switchbridge/policy/policytest"
)

// Each kind's entries have their decisions logged that say so, and reject that say so, from a file and from a compiled policy.
func TestLogAndReject(t *testing.T) {
	const packet = "tcp 10.0.0.1:40000 > 192.0.2.1:22"
	for name, row := range map[string]struct {
		chain  string
		log    bool
		want   string
		wanted flow.Verdict
	}{
		"blocklist":          {"{blocklist: {addresses: [192.0.2.1], log: true}}", true, "deny", flow.Deny},
		"blocklist, reject":  {"{blocklist: {addresses: [192.0.2.1], action: reject}}", false, "reject", flow.Deny},
		"mac":                {`{mac: {addresses: ["02:00:00:00:00:01"], log: true, action: reject}}`, true, "reject", flow.Deny},
		"mac, unlisted":      {`{mac: {deny: unlisted, addresses: ["02:00:00:00:00:09"], action: deny}}`, false, "deny", flow.Deny},
		"header":             {"{header: {rules: [{match: {tcp_dst: 22}, action: allow, log: true}]}}", true, "allow", flow.Allow},
		"header, another":    {"{header: {rules: [{match: {tcp_dst: 23}, action: deny, log: true}, {match: {tcp_dst: 22}, action: reject}]}}", false, "reject", flow.Deny},
		"header, hours":      {"{header: {rules: [{match: {tcp_dst: 22}, hours: 00:00-23:59, action: allow, log: true}]}}", true, "allow", flow.Allow},
		"forward":            {"{forward: {log: true, replies: allow}}", true, "allow", flow.Allow},
		"forward, silent":    {"{forward: {}}", false, "allow", flow.Allow},
		"sourceguard":        {`{sourceguard: {bindings: [{port: 9, addresses: [10.0.0.1]}], log: true}}`, true, "deny", flow.Deny},
		"machine, a state":   {"{machine: {machines: [{name: m, key: network, start: s, states: {s: {action: reject, log: true}}}]}}", true, "reject", flow.Deny},
		"machine, a rule":    {"{machine: {machines: [{name: m, key: network, start: s, states: {s: {rules: [{match: {tcp_dst: 22}, action: allow, log: true}], action: deny}}}]}}", true, "allow", flow.Allow},
		"machine, elsewhere": {"{machine: {machines: [{name: m, key: network, start: s, states: {s: {rules: [{match: {tcp_dst: 23}, action: allow, log: true}], action: deny}}}]}}", false, "deny", flow.Deny},
	} {
		doc, err := ParseDocument(strings.NewReader("chain: ["+row.chain+"]"), "p.yaml", ".")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, err := blob.Pack(doc.Policy)
		if err != nil {
			t.Fatal(err)
		}
		compiled, err := blob.Unpack(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for form, p := range map[string]*controller.Controller{"file": controller.New(doc.Policy), "compiled": controller.New(compiled)} {
			ev, err := policytest.Event(packet, flow.OpenFlow13)
			if err != nil {
				t.Fatal(err)
			}
			ev.Time = time.Unix(1000, 0)
			var d flow.Decision
			if err := eval.NewTrial(p).Decide(t.Context(), ev, &d); err != nil {
				t.Fatal(err)
			}
			if d.Log != row.log || d.Word() != row.want || d.Verdict != row.wanted {
				t.Errorf("%s, %s: log %t, %s (%s); want log %t, %s", name, form, d.Log, d.Word(), d.Reason, row.log, row.want)
			}
		}
	}
	for text, want := range map[string]string{
		"chain: [{blocklist: {addresses: [10.0.0.1], action: allow}}]":                                                `p.yaml:1: blocklist: action: "allow": want deny or reject`,
		"chain: [{mac: {addresses: [b8:27:eb], action: rejct}}]":                                                      `p.yaml:1: mac: action: "rejct": want deny or reject; did you mean reject?`,
		"chain: [{header: {rules: [{action: deny, log: yes}]}}]":                                                      `p.yaml:1: header: rule 1: log: "yes": want true or false`,
		"chain: [{header: {rules: [{action: deny, proactive: true, log: true}]}}]":                                    "log: the switch decides the packets of a proactive rule, so the gateway can't log them",
		"chain: [{machine: {machines: [{name: m, key: network, start: s, states: {s: {action: next, log: true}}}]}}]": "next leaves the decision to the next entry of the chain, so it takes no output, queue, meter or log",
	} {
		if _, err := parse(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
