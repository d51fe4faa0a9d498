package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/internal/ovs"
	"switchbridge/settings"
)

// Meters of the configuration are in the switch, on the miss entry and in the
// rules of a policy that names one, and essentials have entries without.
func TestMetersOnOpenVSwitch(t *testing.T) {
	t.Parallel()
	sw := ovs.Start(t, ovs.Options{})
	set := settings.Default()
	set.Function.URLs = []string{settings.Native}
	set.OpenFlow.Meters = []settings.Meter{{ID: 3, Rate: 500, Unit: "pktps", Burst: 50}, {ID: 4, Rate: 10000, Unit: "kbps"}}
	set.OpenFlow.MissMeter = 3
	set.Policy = filepath.Join(t.TempDir(), "policy.yaml")
	policy := `
serial: 1
chain:
  - header: {rules: [{name: slow-icmp, priority: 5, match: {ip_proto: icmp}, action: {meter: 4}}]}
  - forward: {mode: normal}
`
	if err := os.WriteFile(set.Policy, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	listener := sw.Listen()
	startGateway(t, set, listener)
	sw.AddBridge("br0", ovs.Bridge{Protocols: []string{"OpenFlow13"}, Controllers: []string{ovs.Target(listener)}})
	h1, h2 := sw.AddHost("br0", "h1"), sw.AddHost("br0", "h2")
	sw.WaitConnected("br0")
	if _, err := h1.Ping(h2.IP, 5*time.Second); err != nil {
		t.Error(err)
	}
	meters := sw.Ofctl("-O", "OpenFlow13", "dump-meters", "br0")
	for _, want := range []string{"meter=3 pktps burst", "rate=500 burst_size=50", "meter=4 kbps", "rate=10000"} {
		if !strings.Contains(meters, want) {
			t.Errorf("no %q among the meters:\n%s", want, meters)
		}
	}
	flows := (&lab{t: t, sw: sw}).flows()
	for _, want := range []string{"meter:3,CONTROLLER:65535", "priority=1,arp actions=CONTROLLER:65535", "meter:4,NORMAL"} {
		if !strings.Contains(flows, want) {
			t.Errorf("no %q among the rules:\n%s", want, flows)
		}
	}
}
