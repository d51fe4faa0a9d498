package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"switchbridge/internal/frames"
)

// The API lists the rules of a P4 switch as those of one of OpenFlow, which the page and `status --rules` show: in the order in which the program looks its tables up,
// what it does with an unknown flow last.
func TestRulesOfBothProtocols(t *testing.T) {
	t.Parallel()
	r := startFile(t, "function: {urls: [native]}\npolicy: policy.yaml\n", map[string]string{"policy.yaml": `serial: 1
chain:
  - header: {rules: [{name: no-telnet, match: {tcp_dst: 23}, action: deny}]}
  - header: {rules: [{name: quiet, match: {ip_proto: udp, udp_dst: 9}, action: deny, proactive: true}]}
  - forward: {mode: normal}
`})
	frame := frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(23), frames.SYN, nil)
	if err := r.of.PacketIn(1, frame); err != nil {
		t.Fatal(err)
	}
	r.eventually("the P4 switch is served", func() bool { return r.gateway.p4[0].Status().State == "serving" })
	r.p4.Packet(1, frame)
	list := func(dpid string) (rules []RuleStatus) {
		code, body := r.call(http.MethodGet, "/api/v1/switches/"+dpid+"/rules", "", "", "")
		if code != http.StatusOK {
			t.Logf("%s: %d %s", dpid, code, body)
			return nil
		}
		if err := json.Unmarshal([]byte(body), &rules); err != nil {
			t.Fatal(err)
		}
		return rules
	}
	// denies finds the rule of one conversation, which a packet asked for, or the one that the policy installs beforehand.
	denies := func(rules []RuleStatus, what string) (at int) {
		return slices.IndexFunc(rules, func(r RuleStatus) bool {
			return r.Actions == "drop" && r.Decision != 0 && strings.Contains(r.Match, what)
		})
	}
	const asked, beforehand = "l4_src=40000,l4_dst=23", "l4_dst=9"
	r.eventually("both lists have the denial, and the P4 switch's the rule that nobody asked for", func() bool {
		return denies(list("2a"), asked) >= 0 && denies(list("1"), asked) >= 0 && denies(list("1"), beforehand) >= 0
	})
	rules := list("1")
	deny, last := rules[denies(rules, asked)], rules[len(rules)-1]
	if deny.P4Table != "flow_exact" {
		t.Errorf("the denial is said to be in table %q: %+v", deny.P4Table, deny)
	}
	if last.P4Table != "miss" || last.Match != "any" || last.Decision != 0 || last.Actions != "output:CONTROLLER" {
		t.Errorf("the last rule is not the one that asks: %+v", last)
	}
	turn := map[string]int{"acl": 0, "flow_exact": 1, "flow": 2, "miss": 3}
	for i := 1; i < len(rules); i++ {
		if a, b := rules[i-1], rules[i]; turn[a.P4Table] > turn[b.P4Table] || a.P4Table == b.P4Table && a.Priority < b.Priority {
			t.Errorf("%+v\nis listed before\n%+v", a, b)
		}
	}
	if code, body := r.call(http.MethodGet, "/api/v1/switches/77/rules", "", "", ""); code != http.StatusNotFound {
		t.Errorf("rules of no switch: %d %s", code, body)
	}
}
