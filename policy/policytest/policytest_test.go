package policytest

import (
	"strings"
	"testing"

	"switchbridge/flow"
)

// A line is the words of the headers that it makes.
func TestWords(t *testing.T) {
	for _, line := range []string{
		"tcp 10.0.0.1:40000 > 10.0.0.2:22", "udp [2001:db8::1]:5353 > [2001:db8::2]:5353 in_port 3 vlan_vid 7", "sctp 10.0.0.1:0 > 10.0.0.2:1",
		"icmp 10.0.0.1 > 10.0.0.2 icmp_type 8", "icmp 10.0.0.1 > 10.0.0.2", "icmpv6 2001:db8::1 > 2001:db8::2 icmp_type 128",
		"icmpv6 2001:db8::1 > 2001:db8::2 icmp_type 135 ipv6_nd_target 2001:db8::2 ipv6_nd_sll 02:00:00:00:00:01", "icmpv6 2001:db8::1 > 2001:db8::2 icmp_type 136",
		"arp 10.0.0.1 > 10.0.0.2", "arp 10.0.0.1 > 10.0.0.2 arp_op 2 arp_sha 02:00:00:00:00:09 arp_tha 02:00:00:00:00:08", "lldp", "lldp in_port LOCAL vlan_vid 0 vlan_pcp 5",
		"ip 10.0.0.1 > 10.0.0.2 ip_proto 47 ip_dscp 46 ip_ecn 1", "ip 10.0.0.1 > 10.0.0.2 ip_proto 0", "ip 2001:db8::1 > 2001:db8::2 ip_proto 59 ipv6_flabel 0x1",
		"eth eth_type 0x88b5", "eth eth_type 0x05ff", "eth eth_type 0x05ff vlan_vid 4095", "tcp 10.0.0.1:40000 > 10.0.0.2:22 eth_src 01:00:00:00:00:00 eth_dst ff:ff:ff:ff:ff:ff",
	} {
		m, err := ParsePacket(line)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if got := Words(&m); got != line {
			t.Errorf("%s\nbecomes %s", line, got)
		}
		if hidden := m.Missing(); hidden != 0 {
			t.Errorf("%s does not show %v", line, hidden)
		}
	}
}

// What a line can't mean is an error and not passed over.
func TestPacketErrors(t *testing.T) {
	for line, want := range map[string]string{
		"":                                      "want a protocol",
		"tcp 10.0.0.1:1":                        "want SOURCE > DESTINATION",
		"tcp 10.0.0.1:1 > 10.0.0.2:2 prot 3":    `no word "prot"`,
		"tcp 10.0.0.1:1 > 10.0.0.2:2 in_port":   "want a value after in_port",
		"tcp 10.0.0.1:1 > 10.0.0.2:2 type 3":    "tcp has no icmp_type",
		"tcp 10.0.0.1:1 > 10.0.0.2:2 arp_op 1":  "tcp has no arp_op",
		"tcp 10.0.0.1:1 > 10.0.0.2:2 vlan 4096": "more than 12 bits",
		"tcp 10.0.0.1:1 > 10.0.0.2:2 tcp_dst 5": `no word "tcp_dst"`,
		"tcp 10.0.0.1:1 > [2001:db8::2]:2":      "of two families",
		"icmp 10.0.0.1 > 10.0.0.2 icmp_type x":  "icmp_type",
		"arp 2001:db8::1 > 2001:db8::2":         "ARP is IPv4's",
		"nd 10.0.0.1 > 10.0.0.2":                "neighbour discovery is IPv6's",
		"eth":                                   "want an eth_type",
		"ip 10.0.0.1 > 10.0.0.2":                "want an ip_proto",
		"icmpv6 2001:db8::1 > 2001:db8::2 ipv6_nd_target 10.0.0.1": "want an IPv6 address",
		"lldp eth_src 02":                 "MAC address",
		"carrier 10.0.0.1 > 10.0.0.2":     `no protocol "carrier": want one of tcp, udp, `,
		"tcp 10.0.0.1:70000 > 10.0.0.2:2": `"10.0.0.1:70000": want an address, or an address and a port from 0 to 65535`,
	} {
		if _, _, err := Packet(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
}

func TestExpectations(t *testing.T) {
	list, err := ReadExpectations("chain:\n# expect: lldp => deny (x)\n# expected: no\n  #expect:lldp => allow\n- x # expect: y\n", "p.yaml", true)
	if err != nil || len(list) != 2 || list[0].Line != 2 || list[1].File != "p.yaml" || list[1].Want != "allow" {
		t.Fatalf("%+v, %v", list, err)
	}
	beside, err := ReadExpectations("# what is wanted\n\nlldp => allow (forward: normal)\n", "p.expect", false)
	if err != nil || len(beside) != 1 || beside[0].Line != 3 {
		t.Fatalf("%+v, %v", beside, err)
	}
	for text, want := range map[string]string{ // what looks like one is not left out silently
		"lldp -> allow":             `p:1: expectation "lldp -> allow": want PACKET => VERDICT (REASON)`,
		"lldp => alow":              `p:1: expectation "lldp => alow": "alow": want allow, deny, reject, none, and the reason in parentheses`,
		"\n# expect lldp => allow":  `p:2: "expect": want expect: and a colon behind it`,
		"# Expects: lldp => allow":  `p:1: "Expects:": want expect: and a colon behind it`,
		"# expect: lldp deny (x)\n": `p:1: expectation "lldp deny (x)": want PACKET => VERDICT (REASON)`,
	} {
		if _, err := ReadExpectations(text, "p", strings.Contains(text, "#")); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	d := flow.Decision{Verdict: flow.Deny, Reason: "x"}
	if !list[0].Met(&d) || list[1].Met(&d) {
		t.Errorf("%+v: met %v, %v", list, list[0].Met(&d), list[1].Met(&d))
	}
	if d.Reason = "y"; list[0].Met(&d) {
		t.Error("another reason is taken for the one that is wanted")
	}
}

// Events that are no packets can be written, of any switch, and all flags of TCP.
func TestEvents(t *testing.T) {
	for line, want := range map[string]func(ev *flow.Event) bool{
		"event port 3 down":       func(ev *flow.Event) bool { return ev.PortStatus.Port.No == 3 && !ev.PortStatus.Port.Up() },
		"event port 3 added":      func(ev *flow.Event) bool { return ev.PortStatus.Reason == flow.PortAdded && ev.PortStatus.Port.Up() },
		"event port 3 added down": func(ev *flow.Event) bool { return ev.PortStatus.Reason == flow.PortAdded && !ev.PortStatus.Port.Up() },
		"event port 3 deleted":    func(ev *flow.Event) bool { return ev.PortStatus.Reason == flow.PortDeleted },
		"event switch switch 1f":  func(ev *flow.Event) bool { return ev.Type == flow.EventSwitchConnected && ev.Switch.DPID == 0x1f },
		"event removed hard tcp 10.0.0.1:1 > 10.0.0.2:2": func(ev *flow.Event) bool {
			return ev.FlowRemoved.Reason == flow.RemovedHard && ev.FlowRemoved.Match.L4Dst == 2 && ev.Switch.DPID == 1
		},
		"tcp 10.0.0.1:1 > 10.0.0.2:2 flags urg+cwr switch 2": func(ev *flow.Event) bool {
			flags, ok := ev.PacketIn.ReadTCPFlags()
			return ok && flags == flow.URG|flow.CWR && FlagWords(flags) == "urg+cwr" && ev.Switch.DPID == 2
		},
		"tcp 10.0.0.1:1 > 10.0.0.2:2 flags none": func(ev *flow.Event) bool {
			flags, ok := ev.PacketIn.ReadTCPFlags()
			return ok && flags == 0 && FlagWords(flags) == "none"
		},
	} {
		ev, err := Event(line, flow.OpenFlow13)
		if err != nil || !want(ev) {
			t.Errorf("%s: %+v, %v", line, ev, err)
		}
	}
	for _, line := range []string{"event port 3 sideways", "event removed slowly lldp", "event moon", "lldp switch x"} {
		if _, err := Event(line, flow.OpenFlow13); err == nil {
			t.Errorf("%s is taken", line)
		}
	}
}
