package ovs

import (
	"encoding/hex"
	"strings"
	"testing"
)

// The control socket answers what ovs-appctl does, and stays good after a command that is refused.
func TestControl(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{Dummy: true})
	s.AddBridge("br0", Bridge{Protocols: []string{"OpenFlow13"}})
	s.AddPort("br0", "p1", 1)
	s.AddPort("br0", "p2", 2)
	s.Ofctl("add-flow", "br0", "cookie=0x99,priority=5,tcp,tp_dst=80,actions=set_field:8080->tcp_dst,output:2")
	s.Ofctl("add-flow", "br0", "priority=6,tcp,tp_dst=22,actions=drop")
	s.Ofctl("add-flow", "br0", "priority=0,actions=controller")
	c := s.Control()

	if _, err := c.Call("no/such-command"); err == nil || !strings.Contains(err.Error(), "not a valid command") {
		t.Errorf("an unknown command: %v", err)
	}
	want := s.Appctl("bridge/dump-flows", "br0")
	if got, err := c.Call("bridge/dump-flows", "br0"); err != nil || strings.Count(got, "\n") != strings.Count(want, "\n") {
		t.Errorf("bridge/dump-flows: %v, %q, ovs-appctl has %q", err, got, want)
	}

	frame, err := hex.DecodeString("020000000002" + "020000000001" + "0800" +
		"4500002800000000400666ce0a0000010a000002" + "00010050" + "00000000000000005002000000000000")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		port     byte
		rule     TraceRule
		actions  string
		forwards bool
	}{
		{80, TraceRule{"0. tcp,tp_dst=80, priority 5, cookie 0x99", "0x99", "set_field:8080->tcp_dst"}, "set(tcp(dst=8080)),2", true},
		{22, TraceRule{"0. tcp,tp_dst=22, priority 6", "", "drop"}, "drop", false},
		{23, TraceRule{"0. priority 0", "", "CONTROLLER:65535"}, "userspace(", false},
	} {
		frame[37] = tt.port
		got, err := c.Trace("br0", 1, frame)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Rules) != 1 || got.Rules[0] != tt.rule || !strings.HasPrefix(got.Actions, tt.actions) || got.Forwards() != tt.forwards {
			t.Errorf("TCP port %d: rules %+v, actions %q, forwards %v; want %+v", tt.port, got.Rules, got.Actions, got.Forwards(), tt)
		}
		if !strings.HasPrefix(got.Flow, "tcp,in_port=1,") {
			t.Errorf("TCP port %d: flow %q", tt.port, got.Flow)
		}
	}
	for actions, want := range map[string]bool{"drop": false, "2": true, "set(tcp(dst=1)),meter(1)": false, "push_vlan(vid=5,pcp=0),1": true,
		"userspace(pid=0,controller(reason=1)),3": true, "clone(2)": true} {
		if got := (&Trace{Actions: actions}).Forwards(); got != want {
			t.Errorf("%q forwards: %v, want %v", actions, got, want)
		}
	}
}
