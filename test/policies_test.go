package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/internal/ovs"
	"switchbridge/settings"
)

// policyLab is a bridge with three hosts and a gateway whose controller is
// compiled in and has the given policy.
func policyLab(t *testing.T, protocol, policy string) *lab {
	t.Helper()
	l := &lab{t: t, policy: filepath.Join(t.TempDir(), "policy.yaml")}
	if err := os.WriteFile(l.policy, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	l.sw = ovs.Start(t, ovs.Options{})
	set := settings.Default()
	set.Function.URLs = []string{settings.Native}
	set.Policy, set.Admin.Listen, set.State.URL = l.policy, "127.0.0.1:0", "memory:"
	listener := l.sw.Listen()
	l.gateway = startGateway(t, set, listener)
	l.sw.AddBridge("br0", ovs.Bridge{DPID: 0x2a, Protocols: []string{protocols[protocol]}, Controllers: []string{ovs.Target(listener)}})
	l.h1, l.h2, l.h3 = l.sw.AddHost("br0", "h1"), l.sw.AddHost("br0", "h2"), l.sw.AddHost("br0", "h3")
	l.sw.WaitConnected("br0")
	return l
}

// rules are the bridge's, as "table=0,priority=..,match actions", without the miss.
func (l *lab) rules() (list []string) {
	for _, f := range l.sw.DumpFlows("br0") {
		if f.Priority != 0 {
			list = append(list, f.Text)
		}
	}
	return list
}

func (l *lab) hasRule(parts ...string) bool {
	return slices.ContainsFunc(l.rules(), func(r string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(r, p) })
	})
}

// A learning switch that the controller runs: senders in the first table,
// addresses in the second, and nothing of the switch's own learning.
func TestLearn(t *testing.T) {
	t.Parallel()
	l := policyLab(t, "1.3", `
serial: 1
hard_timeout: 60
chain:
  - blocklist: {addresses: [10.0.0.3]}
  - forward: {mode: learn}
`)
	eventually(t, "the second table floods what it does not know", func() bool {
		return l.hasRule("table=1", "priority=1", "actions=FLOOD")
	})
	l.pings(l.h1, l.h2)
	l.silent(l.h3, l.h2)
	l.silent(l.h1, l.h3)
	for _, h := range []*ovs.Host{l.h1, l.h2} {
		mac := h.MAC.String()
		if !l.hasRule("dl_src="+mac, "goto_table:1") {
			t.Errorf("no rule sends %s on to the second table:\n%s", mac, l.flows())
		}
		if !l.hasRule("table=1", "dl_dst="+mac, "actions=output:", "hard_timeout=60") {
			t.Errorf("the second table has not learned %s:\n%s", mac, l.flows())
		}
	}
	if l.hasRule("NORMAL") {
		t.Errorf("the switch learns by itself:\n%s", l.flows())
	}
}

// Rules that a policy sends beforehand forward without a question, and those of
// a policy that can't be expressed are asked about.
func TestProactiveRules(t *testing.T) {
	const policy = `
serial: 1
chain:
  - header:
      rules:
        - {name: no-v6-host, priority: 300, match: {ip_src: "2001:db8::66"}, action: deny, proactive: true}
        - {name: arp, priority: 50, match: {eth_type: arp}, action: allow, proactive: true}
        - {name: ping, priority: 200, match: {eth_type: ipv4, ip_proto: icmp}, action: allow, proactive: true}
        - {name: high-ports, priority: 200, match: {eth_type: ipv4, tcp_dst: 81-82}, action: deny, proactive: true}
  - forward: {mode: normal}
`
	for version := range protocols {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l := policyLab(t, version, policy)
			want := 5
			if version == "1.0" {
				want = 4
			}
			eventually(t, "the proactive rules are there", func() bool { return len(l.rules()) == want })
			l.h2.ServeEcho(80)
			l.h2.ServeEcho(81)
			l.pings(l.h1, l.h2)
			if got := l.rules(); len(got) != want {
				t.Errorf("a ping made a rule:\n%s", l.flows())
			}
			if _, err := l.h1.Connect(l.h2.IP, 80, 5*time.Second); err != nil {
				t.Errorf("TCP port 80: %v", err)
			}
			l.dropped("tp_dst=81", func() {
				if _, err := l.h1.Connect(l.h2.IP, 81, 300*time.Millisecond); err == nil {
					t.Error("TCP port 81 answers")
				}
			})
			if !l.hasRule("priority=200", "tp_dst=81", "actions=drop") {
				t.Errorf("another rule dropped it:\n%s", l.flows())
			}
		})
	}
}

// What a decision installs is what the policy says, narrowed to what the chain
// looked at; none installs nothing and still forwards.
func TestInstall(t *testing.T) {
	tests := []struct {
		install string
		parts   []string // of the rule for a ping from h1 to h2; none: no rule at all
		without []string
	}{
		{"flow", []string{"in_port=", "dl_src=", "dl_dst=", "icmp", "nw_src=10.0.0.1", "nw_dst=10.0.0.2", "icmp_type=8"}, nil},
		{"host-pair", []string{"in_port=", "nw_src=10.0.0.1", "nw_dst=10.0.0.2"}, []string{"dl_src=", "icmp_type"}},
		{"mac-pair", []string{"in_port=", "dl_src=", "dl_dst=", "nw_src=10.0.0.1", "nw_dst=10.0.0.2"}, []string{"icmp_type"}},
		{"widest", []string{"in_port=", "dl_src=", "nw_src=10.0.0.1", "nw_dst=10.0.0.2"}, []string{"dl_dst=", "icmp", "dl_vlan"}},
		{"none", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.install, func(t *testing.T) {
			t.Parallel()
			l := policyLab(t, "1.3", "serial: 1\ninstall: "+tt.install+"\nchain:\n  - blocklist: {addresses: [10.0.0.3]}\n  - forward: {mode: normal}\n")
			l.pings(l.h1, l.h2)
			l.silent(l.h3, l.h2)
			if tt.parts == nil {
				if rules := l.rules(); len(rules) > 0 {
					t.Errorf("rules %q, want none", rules)
				}
				return
			}
			i := slices.IndexFunc(l.rules(), func(r string) bool {
				return !slices.ContainsFunc(tt.parts, func(p string) bool { return !strings.Contains(r, p) })
			})
			if i < 0 {
				t.Fatalf("no rule has %q:\n%s", tt.parts, l.flows())
			}
			for _, p := range tt.without {
				if strings.Contains(l.rules()[i], p) {
					t.Errorf("the rule has %s: %s", p, l.rules()[i])
				}
			}
		})
	}
}
