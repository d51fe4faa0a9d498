package machine_test

import (
	"strings"
	"testing"

	"switchbridge/policy/machine"
	"switchbridge/policy/policyfile"
)

func TestNeedsSources(t *testing.T) {
	for _, tt := range []struct {
		key, match string
		want       bool
	}{
		{"src", "tcp_dst: 7", true}, {"connection", "tcp_dst: 7", true}, {"dst", "tcp_dst: 7", false}, {"port", "tcp_dst: 7", false},
		{"network", "ip_src: 10.0.0.1", true}, {"dst", `eth_src: "02:00:00:00:00:01"`, true}, {"network", "ip_dst: 10.0.0.1", false},
	} {
		text := "chain: [{machine: {machines: [{name: m, key: " + tt.key + ", forget: 1h, start: a, states: {a: deny, b: allow}, transitions: [{from: a, to: b, match: {" + tt.match + "}}]}]}}]\n"
		p, err := policyfile.Parse(strings.NewReader(text), "p.yaml", ".")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Chain[0].(*machine.Config).NeedsSources(); got != tt.want {
			t.Errorf("key %s, match %s: %v, want %v", tt.key, tt.match, got, tt.want)
		}
	}
}
