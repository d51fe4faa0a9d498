package prove

import (
	"testing"

	"switchbridge/policy/policytest"
)

// The entry that a decision's reason names is said to decide, also where it does so by more than headers; the others may.
func TestExplainNamesWhoDecides(t *testing.T) {
	prover, err := New(document(t, `
chain:
  - header: {rules: [{name: night, match: {udp_dst: 123}, hours: 22:00-06:00, action: deny}]}
  - machine:
      machines:
        - name: camera
          for: {in_port: 2}
          key: network
          start: quiet
          states: {quiet: deny, live: next}
          transitions: [{from: quiet, to: live, match: {udp_dst: 7}}]
  - forward: {}
`).Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ packet, reason, want string }{
		{"udp 10.0.0.6:5004 > 10.0.0.9:123 in_port 2", "machine: camera in quiet; no rule: camera in quiet may move by such a packet",
			"decided by machine: camera, in the state in which it begins; in another state it may decide otherwise\nor before, by more than what the packet shows, by header: night\nwithout it: forward (chain entry 3) allow\n"},
		{"udp 10.0.0.6:5004 > 10.0.0.9:123 in_port 2", "header: night", "decided by header: night\nwithout it: machine: camera, or what follows it, by more than what the packet shows\n"},
		{"udp 10.0.0.6:5004 > 10.0.0.9:123 in_port 1", "forward: normal", "decided by forward (chain entry 3)\nor before, by more than what the packet shows, by header: night\nwithout it: the end of the chain deny\n"},
	} {
		m, err := policytest.ParsePacket(tt.packet)
		if err != nil {
			t.Fatal(err)
		}
		e := prover.Explain(&m, nil, tt.reason)
		if got := e.String(); got != tt.want {
			t.Errorf("%s, %s:\n%s\nwant\n%s", tt.packet, tt.reason, got, tt.want)
		}
	}
}
