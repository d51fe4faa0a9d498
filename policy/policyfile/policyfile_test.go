package policyfile

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/kinds"
	"switchbridge/policy/promise"
	"switchbridge/policy/syntax"
)

// parse reads a policy whose lists are in files.
func parse(text string, files map[string]string) (*policy.Policy, error) {
	d := decoder{File: syntax.File{Name: "p.yaml"}, dir: "dir", open: func(path string) (io.ReadCloser, time.Time, error) {
		body, ok := files[filepath.ToSlash(path)]
		if !ok {
			return nil, time.Time{}, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return io.NopCloser(strings.NewReader(body)), time.UnixMilli(1234), nil
	}}
	doc, err := d.read(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return doc.Policy, nil
}

func match(set func(*flow.Match)) (m flow.Match) {
	set(&m)
	return m
}

func TestParse(t *testing.T) {
	const text = `
serial: 12
install: host-pair
idle_timeout: 10
hard_timeout: 2m
priority: 0x200
table: 2
chain:
  - header:
      max_proactive: 100
      rules:
        - name: allow-ssh
          comment: "from the office: to the jump host"
          priority: 200
          match:
            in_port: LOCAL
            eth_src: 02:00:00:00:00:00/ff:ff:ff:00:00:00
            eth_dst: "02:00:00:00:00:02"
            vlan_vid: 7
            ip_src: 10.0.0.0/8
            ip_dst: 10.0.0.2
            tcp_src: 1024-65535
            tcp_dst: 22
          action: {output: [2, normal], set-queue: 0, meter: 3}
          proactive: false
        - match: {eth_type: arp, arp_op: reply, arp_spa: 10.0.0.0/8, arp_tpa: 10.1.0.0/16, vlan_vid: none}
          action: deny
        - match: {ip_src: "2001:db8::/32", icmpv6_type: 135, icmpv6_code: 0, vlan_vid: any}
          action: allow
        - {match: {ip_proto: 50, eth_type: 0x0800}, action: {output: 4}}
  - blocklist:
      match: src
      addresses: [10.0.0.3, "2001:db8::/32"]
      files: [a.txt, /abs/b.txt]
  - forward:
`
	files := map[string]string{
		"dir/a.txt":  "# a list\n192.0.2.1\n\n  192.0.2.128/25  # half of it\r\n2001:db8::1\t7\n",
		"/abs/b.txt": "",
	}
	want := &policy.Policy{
		Serial: 12,
		Install: policy.Install{
			Rule: policy.InstallHostPair, IdleTimeout: 10 * time.Second, HardTimeout: 2 * time.Minute, Priority: 0x200, Table: 2,
		},
		Files: []string{"dir/a.txt", "/abs/b.txt"},
		Chain: []policy.Source{
			&header.Config{MaxProactive: 100, Rules: []header.Rule{
				{
					Name: "allow-ssh", Comment: "from the office: to the jump host", Priority: 200,
					Match: header.Condition{
						Header: match(func(m *flow.Match) {
							m.SetInPort(flow.PortLocal)
							m.SetEthSrc(flow.MAC{2}, flow.MAC{0xff, 0xff, 0xff})
							m.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 2}, flow.MACExact)
							m.SetVLAN(flow.VLANPresent|7, flow.VLANExact)
							m.SetIPSrc(netip.MustParsePrefix("10.0.0.0/8"))
							m.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
							m.SetIPProto(flow.ProtoTCP)
						}),
						Src: &header.PortRange{First: 1024, Last: 65535},
						Dst: &header.PortRange{First: 22, Last: 22},
					},
					Action: header.Action{Output: []flow.PortNo{2, flow.PortNormal}, SetQueue: true, Meter: 3},
				},
				{
					Priority: 100,
					Match: header.Condition{Header: match(func(m *flow.Match) {
						m.SetEthType(flow.EthTypeARP)
						m.Fields |= flow.FieldARPOp
						m.ARPOp = 2
						m.SetARPSPA(netip.MustParsePrefix("10.0.0.0/8"))
						m.SetARPTPA(netip.MustParsePrefix("10.1.0.0/16"))
						m.SetVLAN(flow.VLANNone, flow.VLANExact)
					})},
					Action: header.Action{Deny: true},
				},
				{
					Priority: 100,
					Match: header.Condition{Header: match(func(m *flow.Match) {
						m.SetIPSrc(netip.MustParsePrefix("2001:db8::/32"))
						m.SetIPProto(flow.ProtoICMPv6)
						m.SetICMP(135, 0)
						m.SetVLAN(flow.VLANPresent, flow.VLANPresent)
					})},
				},
				{
					Priority: 100,
					Match: header.Condition{Header: match(func(m *flow.Match) {
						m.SetIPProto(50)
						m.SetEthType(flow.EthTypeIPv4)
					})},
					Action: header.Action{Output: []flow.PortNo{4}},
				},
			}},
			&blocklist.Config{Match: blocklist.Src, Lists: []blocklist.List{
				{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.3/32"), netip.MustParsePrefix("2001:db8::/32")}},
				{Name: "a.txt", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.128/25"), netip.MustParsePrefix("2001:db8::1/128")}},
				{Name: "/abs/b.txt", Prefixes: []netip.Prefix{}},
			}},
			&forward.Config{Mode: policy.Normal},
		},
	}
	got, err := parse(text, files)
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash == 0 {
		t.Error("no hash")
	}
	byValue := []cmp.Option{cmpopts.EquateComparable(netip.Prefix{}, flow.Match{}), cmpopts.IgnoreFields(policy.Policy{}, "Hash")}
	if diff := cmp.Diff(want, got, byValue...); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("it parses, but is not valid: %v", err)
	}
}

func TestErrors(t *testing.T) {
	var list []string
	for _, k := range kinds.All {
		list = append(list, k.Name())
	}
	names := strings.Join(list, ", ")
	rule := func(s string) string {
		return "chain:\n  - header:\n      rules:\n        - {name: r1, action: deny, match: {in_port: 1}}\n        - " + s + "\n"
	}
	tests := []struct {
		name, text string
		want       string // lines of the message
	}{
		{"empty", "", "p.yaml: the file is empty"},
		{"no YAML", "chain: [", "p.yaml:1: want a value"},
		{"not a mapping", "- chain", "p.yaml:1: policy: want a mapping"},
		{"two documents", "chain: [{forward: {}}]\n---\nchain: []\n", "p.yaml:2: a second YAML document"},
		{"no chain", "serial: 1\n", "p.yaml:1: policy: want a chain of at least one policy"},
		{"unknown key", "serial: 1\nchian: []\n", `p.yaml:2: policy: unknown key "chian": want one of groups, time_zone, resolve, serial, install,`},
		{"key twice", "serial: 1\nserial: 2\nchain: [{forward: {}}]", "p.yaml:2: policy: serial is given twice"},
		{"serial", "serial: 0\nchain: [{forward: {}}]", `p.yaml:1: serial: "0": want a number from 1`},
		{"install", "install: pair\nchain: [{forward: {}}]", `p.yaml:1: install: "pair": want flow, host-pair, mac-pair, widest or none`},
		{"timeout", "idle_timeout: 1500ms\nchain: [{forward: {}}]", `p.yaml:1: idle_timeout: "1500ms": want whole seconds`},
		{"timeout, too long", "hard_timeout: 65536\nchain: [{forward: {}}]", `p.yaml:1: hard_timeout: "65536": want whole seconds, such as 30s, at most 65535`},
		{"no timeout", "idle_timeout: 0\nhard_timeout: 0\nchain: [{forward: {}}]", "p.yaml:1: idle_timeout and hard_timeout are both 0"},
		{"priority", "priority: 60001\nchain: [{forward: {}}]", `p.yaml:1: priority: "60001": want a number from 1 to 60000`},
		{"table", "table: 254\nchain: [{forward: {}}]", `p.yaml:1: table: "254": want a number from 0 to 253`},
		{"chain entry", "chain:\n  - blocklst: {}\n", `p.yaml:2: chain entry 1: unknown key "blocklst": want one of ` + names},
		{"chain entry, empty", "chain:\n  - {}\n", "p.yaml:2: chain entry 1: want one of " + names},
		{"chain entry, null", "chain:\n  -\n", "p.yaml:2: chain entry 1: want one of " + names},
		{"two in one entry", "chain:\n  - {forward: {}, blocklist: {}}\n", "p.yaml:2: chain entry 1: two policies in one entry"},
		{"two forwards", "chain:\n  - forward: {}\n  - forward: {mode: flood}\n", "p.yaml:3: forward: entry 1 of the chain is a forward already"},
		{"mode", "chain:\n  - forward: {mode: hub}\n", `p.yaml:2: forward: mode: "hub": want normal, flood or learn`},
		{"learn without rules", "install: none\nchain: [{forward: {mode: learn}}]", "p.yaml:1: install none: forward's mode learn"},
		{"learn without end", "hard_timeout: 0\nchain: [{forward: {mode: learn}}]", "p.yaml:1: hard_timeout 0: forward's mode learn"},
		{"learn without a table", "table: 253\nchain: [{forward: {mode: learn}}]", "p.yaml:1: table 253: learn uses the one after it"},
		{"alias", "chain:\n  - blocklist: &a {addresses: [10.0.0.3]}\n  - blocklist: *a\n", "p.yaml:2: blocklist: anchors and aliases are not allowed\np.yaml:3: blocklist: anchors and aliases"},

		{"direction", "chain:\n  - blocklist: {match: to}\n", `p.yaml:2: blocklist: match: "to": want src, dst or both`},
		{"address", "chain:\n  - blocklist:\n      addresses:\n        - 10.0.0.1\n        - 10.0.0.256\n", `p.yaml:5: blocklist: address 2: "10.0.0.256" is not an address or prefix`},
		{"prefix with host bits", "chain:\n  - blocklist: {addresses: [10.0.0.1/8]}\n", "p.yaml:2: blocklist: address 1: 10.0.0.1/8 has bits beyond its length: write 10.0.0.0/8"},
		{"mapped address", "chain:\n  - blocklist: {addresses: [\"::ffff:10.0.0.1\"]}\n", `p.yaml:2: blocklist: address 1: "::ffff:10.0.0.1" is not`},
		{"zone", "chain:\n  - blocklist: {addresses: [\"fe80::1%eth0\"]}\n", `p.yaml:2: blocklist: address 1: "fe80::1%eth0" is not`},
		{"addresses, not a list", "chain:\n  - blocklist: {addresses: 10.0.0.1}\n", "p.yaml:2: blocklist: addresses: want a list"},
		{"no file", "chain:\n  - blocklist:\n      files:\n        - gone.txt\n", "p.yaml:4: blocklist: file dir/gone.txt: file does not exist"},
		{"lines of a file", "chain:\n  - blocklist: {files: [bad.txt]}\n",
			"dir/bad.txt:2: \"10.0.0\" is not an address\ndir/bad.txt:4: \"10.0.0.2 10.0.0.3\": want one address a line\ndir/bad.txt:5: \"10.0.0.4 5 6\": want"},

		{"rule without an action", rule("{match: {in_port: 2}}"), "p.yaml:5: header: rule 2: want an action"},
		{"rule's name", rule("{name: a b, action: deny}"), `p.yaml:5: header: rule a b: name: "a b": want`},
		{"name taken", rule("{name: r1, action: deny}"), "p.yaml:5: header: rule r1: the name is that of the rule on line 4"},
		{"rule's priority", rule("{name: x, priority: 0, action: deny}"), `p.yaml:5: header: rule x: priority: "0": want a number from 1 to 60000`},
		{"no space", "chain:\n  - forward: {mode:normal}\n", `p.yaml:2: forward: unknown key "mode:normal": want one of mode, replies, tcp, log; did you mean mode: normal, with a space after the colon?`},
		{"rule's key", rule("{name: x, prio: 1, action: deny}"), `p.yaml:5: header: rule x: unknown key "prio"`},
		{"action", rule("{name: x, action: drop}"), `p.yaml:5: header: rule x: action: "drop": want allow, deny, reject, or`},
		{"action's port", rule("{name: x, action: {output: eth0}}"), `p.yaml:5: header: rule x: action: output: port "eth0"`},
		{"output to the controller", rule("{name: x, action: {output: CONTROLLER}}"), "p.yaml:5: header: x: action: output to CONTROLLER is not allowed"},
		{"output to the table", rule("{name: x, action: {output: table}}"), "p.yaml:5: header: x: action: output to TABLE is not allowed"},
		{"output to no port", rule("{name: x, action: {output: 0xfffffff0}}"), "p.yaml:5: header: x: action: output to 4294967280: no such"},
		{"meter", rule("{name: x, action: {meter: 0}}"), `p.yaml:5: header: rule x: action: meter: "0": want`},
		{"proactive", rule("{name: x, action: deny, proactive: yes}"), `p.yaml:5: header: rule x: proactive: "yes": want true or false`},
		{"match's key", rule("{name: x, action: deny, match: {nw_src: 10.0.0.1}}"), `p.yaml:5: header: rule x: match: unknown key "nw_src"`},
		{"in_port", rule("{name: x, action: deny, match: {in_port: FLOOD}}"), `p.yaml:5: header: rule x: match: in_port: "FLOOD": packets come from`},
		{"MAC", rule("{name: x, action: deny, match: {eth_src: 02-00-00-00-00-01}}"), "p.yaml:5: header: rule x: match: eth_src: MAC address"},
		{"MAC's mask", rule(`{name: x, action: deny, match: {eth_src: "02:00:00:00:00:01/ff:00:00:00:00:00"}}`), "p.yaml:5: header: rule x: match: eth_src: 02:00:00:00:00:01/ff:00:00:00:00:00 has bits that its mask leaves out"},
		{"VLAN", rule("{name: x, action: deny, match: {vlan_vid: 4096}}"), `p.yaml:5: header: rule x: match: vlan_vid: "4096": want 0 to 4095 in decimal or in hexadecimal after 0x, none or any`},
		{"octal VLAN", rule("{name: x, action: deny, match: {vlan_vid: 010}}"), `p.yaml:5: header: rule x: match: vlan_vid: "010": want 0 to 4095 in decimal`},
		{"binary protocol", rule("{name: x, action: deny, match: {ip_proto: 0b11}}"), `p.yaml:5: header: rule x: match: ip_proto: "0b11": want`},
		{"octal protocol", rule("{name: x, action: deny, match: {ip_proto: 0o7}}"), `p.yaml:5: header: rule x: match: ip_proto: "0o7": want`},
		{"underscore", rule("{name: x, action: deny, match: {eth_type: 0x08_00}}"), `p.yaml:5: header: rule x: match: eth_type: "0x08_00": want`},
		{"octal ICMP type", rule("{name: x, action: deny, match: {icmp_type: 010}}"), `p.yaml:5: header: rule x: match: icmp_type: "010": want`},
		{"octal ARP operation", rule("{name: x, action: deny, match: {arp_op: 02}}"), `p.yaml:5: header: rule x: match: arp_op: "02": want`},
		{"octal in_port", rule("{name: x, action: deny, match: {in_port: 010}}"), `p.yaml:5: header: rule x: match: in_port: port "010": want a number`},
		{"octal output", rule("{name: x, action: {output: 010}}"), `p.yaml:5: header: rule x: action: output: port "010": want a number`},
		{"octal port", rule("{name: x, action: deny, match: {tcp_dst: 0022}}"), `p.yaml:5: header: rule x: match: tcp_dst: "0022": want a port`},
		{"octal serial", "serial: 010\nchain: [{forward: {}}]", `p.yaml:1: serial: "010": want a number from 1`},
		{"serial with an underscore", "serial: 1_0\nchain: [{forward: {}}]", `p.yaml:1: serial: "1_0": want a number from 1`},
		{"octal timeout", "idle_timeout: 010\nchain: [{forward: {}}]", `p.yaml:1: idle_timeout: "010": want whole seconds`},
		{"EtherType", rule("{name: x, action: deny, match: {eth_type: 0x8100}}"), `p.yaml:5: header: rule x: match: eth_type: "0x8100": want`},
		{"protocol", rule("{name: x, action: deny, match: {ip_proto: 256}}"), `p.yaml:5: header: rule x: match: ip_proto: "256": want`},
		{"ports", rule("{name: x, action: deny, match: {tcp_dst: 80-22}}"), `p.yaml:5: header: rule x: match: tcp_dst: "80-22": want a port`},
		{"port", rule("{name: x, action: deny, match: {tcp_dst: 65536}}"), `p.yaml:5: header: rule x: match: tcp_dst: "65536": want a port`},
		{"two protocols", rule("{name: x, action: deny, match: {tcp_dst: 22, udp_dst: 22}}"), "p.yaml:5: header: rule x: match: udp_dst: it is of udp, and tcp_dst of tcp: a packet has one protocol"},
		{"two families", rule(`{name: x, action: deny, match: {ip_src: 10.0.0.1, ip_dst: "2001:db8::1"}}`), "p.yaml:5: header: x: match: ip_src is of ipv4, and ip_dst of ipv6: a packet is of one of them"},
		{"ARP with ports", rule("{name: x, action: deny, match: {eth_type: arp, tcp_dst: 1}}"), "p.yaml:5: header: x: match: ip_proto needs eth_type 0x0800 or 0x86dd, not 0x0806"},
		{"IPv6 in ARP", rule(`{name: x, action: deny, match: {arp_spa: "2001:db8::1"}}`), "p.yaml:5: header: rule x: match: arp_spa: 2001:db8::1/128 is not IPv4"},
		{"ICMP type", rule("{name: x, action: deny, match: {icmp_type: 256}}"), `p.yaml:5: header: rule x: match: icmp_type: "256": want a number from 0 to 255`},

		{"too many ports", rule("{name: x, action: deny, proactive: true, match: {tcp_dst: 1-31}}"),
			"p.yaml:5: header: x: proactive: it becomes 62 rules in a switch, 62 together with the rules before it, and max_proactive is 60"},
		{"proactive behind another rule", rule("{name: x, action: allow, proactive: true, match: {ip_src: 10.0.0.0/8}}"),
			"p.yaml:5: header: x: proactive: rule r1 comes first, may match the same packets and is not proactive"},
		{"proactive beside another", "chain:\n  - header:\n      rules:\n        - {name: a, proactive: true, action: deny, match: {in_port: 1}}\n        - {name: b, proactive: true, action: allow, match: {eth_type: arp}}\n",
			"p.yaml:4: header: a: proactive: rule b has the same priority and may match the same packets"},
		{"proactive behind a blocklist", "chain:\n  - blocklist: {addresses: [10.0.0.3]}\n  - header:\n      rules:\n        - {name: a, proactive: true, action: allow}\n",
			"p.yaml:5: header: a: proactive: the chain asks blocklist first"},
		{"proactive behind another header policy", "chain:\n  - header: {rules: [{name: o, action: deny, match: {eth_type: arp}}]}\n  - header:\n      rules:\n        - {name: a, proactive: true, action: deny}\n",
			"p.yaml:5: header: a: proactive: rule o of an earlier header policy may match the same packets"},

		{"all of them", "serial: x\ninstall: y\nchain:\n  - forward: {mode: z}\n", "p.yaml:1: serial\np.yaml:2: install\np.yaml:4: forward"},
	}
	files := map[string]string{"dir/bad.txt": "10.0.0.1\n10.0.0\n#\n10.0.0.2 10.0.0.3\n10.0.0.4 5 6\n10.0.0.5 # fine\n"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := parse(tt.text, files)
			if err == nil {
				t.Fatalf("no error, but %+v", p)
			}
			if p != nil {
				t.Error("a policy beside the error")
			}
			got, want := strings.Split(err.Error(), "\n"), strings.Split(tt.want, "\n")
			if len(got) != len(want) {
				t.Fatalf("got\n%v\nwant\n%s", err, tt.want)
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("got  %s\nwant %s...", got[i], want[i])
				}
			}
			var e *Error
			var all Errors
			if !errors.As(err, &e) && !errors.As(err, &all) {
				t.Errorf("the error is a %T", err)
			}
		})
	}
}

// Lists have comments of several kinds, and may begin with a byte order mark.
func TestComments(t *testing.T) {
	for name, list := range map[string]string{
		"number sign": "# 192.0.2.9\n192.0.2.1 # one\n#\n192.0.2.2#two\n",
		"semicolon":   "; 192.0.2.9\r\n192.0.2.1 ; SBL1\r\n192.0.2.2;SBL2\r\n",
		"slashes":     "// 192.0.2.9\n192.0.2.1 // one\n192.0.2.2\n//\n",
		"exclamation": "! 192.0.2.9\n192.0.2.1\n  ! Title: a list\n192.0.2.2\n",
		"mark":        "\ufeff192.0.2.1\n192.0.2.2\n",
		"mark first":  "\ufeff# 192.0.2.9\n192.0.2.1\n192.0.2.2\n",
	} {
		p, err := parse("chain: [{blocklist: {files: [a.txt]}}]", map[string]string{"dir/a.txt": list})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := p.Chain[0].(*blocklist.Config).Lists[0].Prefixes
		if want := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if _, err := parse("chain: [{blocklist: {files: [a.txt]}}]", map[string]string{"dir/a.txt": "192.0.2.1 ! no comment\n"}); err == nil {
		t.Error("a ! after an address is taken for a comment")
	}
}

// What a file promises is read in its order, and what can't be promised is an error with its line.
func TestPromises(t *testing.T) {
	read := func(promises string) (*Document, error) {
		return ParseDocument(strings.NewReader("chain: [{forward: {}}]\npromises:\n"+promises), "p.yaml", ".")
	}
	doc, err := read("  - never: {from: [10.0.0.0/24, 02:00:00:00:00:01], tcp_dst: 22, to: 10.1.0.0/16}\n  - only: {udp_dst: 53, to: 10.0.0.53}\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Promises) != 2 || doc.Promises[0].Line != 3 || doc.Promises[1].Line != 4 {
		t.Fatalf("%+v", doc.Promises)
	}
	if p := doc.Promises[0]; p.Kind != promise.Never || len(p.Parts) != 3 || p.Parts[0].Hosts.To || !p.Parts[1].Hosts.To || p.Parts[2].Fields[0].Dst.First != 22 {
		t.Errorf("%+v", p)
	}
	if p := doc.Promises[1]; p.Kind != promise.Only || len(p.Parts) != 2 || p.Parts[0].Fields[0].Dst == nil || p.Parts[1].Hosts == nil || p.Text != "only: {udp_dst: 53, to: 10.0.0.53}" {
		t.Errorf("%+v", p)
	}
	for promises, want := range map[string]string{
		"  - never: {from: guests}\n":                               `p.yaml:3: promise 1: never: from: "guests": want an address or prefix`,
		"  - {never: {tcp_dst: 22}, always: {tcp_dst: 80}}\n":       "p.yaml:3: promise 1: never and always in one promise",
		"  - never: {tcp_dst: 22}\n    unless: {machine: sensor}\n": `p.yaml:4: promise 1: unless: the chain has no machine "sensor"`,
		"  - never: {tcp_dst: 22}\n    unless: {state: motion}\n":   "p.yaml:4: promise 1: unless: want a machine and its state, such as {machine: sensor, state: motion}",
		"  - only: {to: 10.0.0.9}\n":                                "p.yaml:3: promise 1: only: want a condition that says which packets are meant",
		"  - never: {}\n":                                           "p.yaml:3: promise 1: never: want at least one condition",
		"  - never: {form: 10.0.0.1}\n":                             `p.yaml:3: promise 1: never: unknown key "form": want one of from, to, service, not, in_port`,
		"  - never: {to: 10.0.0.1, to: 10.0.0.2}\n":                 "p.yaml:3: promise 1: never: to is given twice",
		"  - never: {to: []}\n":                                     "p.yaml:3: promise 1: never: to: want an address or prefix such as 10.0.0.0/8, an Ethernet address, a name such as www.example.org, a group, or a list of them",
		"  - never: [22]\n":                                         "p.yaml:3: promise 1: never: want a mapping",
		"  - {}\n":                                                  "p.yaml:3: promise 1: want never, always or only",
		"  - never: {eth_type: arp, ip_src: 10.0.0.1}\n":            "p.yaml:3: promise 1: never: match: eth_type is arp, and ip_src needs ipv4",
	} {
		if _, err := read(promises); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", promises, err, want)
		}
	}
}

// A promise may hang on a machine's state, wherever in the file the machine is.
func TestUnless(t *testing.T) {
	read := func(unless string) (*Document, error) {
		return ParseDocument(strings.NewReader("promises:\n  - never: {from: 10.0.0.6}\n    unless: "+unless+
			"\nchain: [{machine: {machines: [{name: sensor, key: src, forget: never, start: quiet, states: {quiet: allow, motion: deny}, transitions: [{from: quiet, to: motion}]}]}}]\n"), "p.yaml", ".")
	}
	doc, err := read("{machine: sensor, state: motion, key: 2001:DB8::5}")
	if err != nil {
		t.Fatal(err)
	}
	if p := doc.Promises[0]; p.Unless == nil || p.Unless.Machine != "sensor" || p.Unless.In != 2 || p.Unless.Key != "2001:db8::5" ||
		p.Text != "never: {from: 10.0.0.6} unless: {machine: sensor, state: motion, key: 2001:DB8::5}" {
		t.Errorf("%+v", p)
	}
	if doc, err = read("{state: [quiet, motion], machine: sensor}"); err != nil || doc.Promises[0].Unless.In != 3 || doc.Promises[0].Unless.Key != "" {
		t.Errorf("%+v, %v", doc, err)
	}
	for unless, want := range map[string]string{
		"{machine: censor, state: motion}":          `p.yaml:3: promise 1: unless: the chain has no machine "censor"`,
		"{machine: sensor, state: moving}":          `p.yaml:3: promise 1: unless: state: "moving" is no state of the machine`,
		"{machine: sensor}":                         "p.yaml:3: promise 1: unless: want a machine and its state",
		"motion":                                    "p.yaml:3: promise 1: unless: want a mapping",
		"{machine: sensor, state: quiet, key: ten}": `p.yaml:3: promise 1: unless: key: "ten": want a network address`,
	} {
		if _, err := read(unless); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", unless, err, want)
		}
	}
}

func TestManyErrors(t *testing.T) {
	text := "chain:\n  - blocklist:\n      addresses:\n" + strings.Repeat("        - x\n", 100)
	_, err := parse(text, nil)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || lines[20] != "p.yaml: and 80 more" {
		t.Errorf("%d lines, the last of them %q", len(lines), lines[len(lines)-1])
	}
}

// Versions: the serial is the file's, or the newest file's time; the hash
// changes with every file.
func TestVersion(t *testing.T) {
	dir := t.TempDir()
	write := func(name, body string, ms int64) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.UnixMilli(ms)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	load := func(path string) flow.PolicyVersion {
		t.Helper()
		p, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return p.Version()
	}
	const text = "chain: [{blocklist: {files: [list.txt]}}, {forward: {}}]\n"
	write("list.txt", "10.0.0.3\n", 5000)
	path := write("p.yaml", text, 4000)
	first := load(path)
	if first.Serial != 5000 {
		t.Errorf("serial %d, want the list's time 5000", first.Serial)
	}
	if again := load(path); again != first {
		t.Errorf("version %v, then %v of the same files", first, again)
	}
	write("list.txt", "10.0.0.4\n", 6000)
	second := load(path)
	if second.Serial != 6000 || second.Hash == first.Hash {
		t.Errorf("version %v after %v, another list a second later", second, first)
	}
	path = write("p.yaml", "serial: 7\n"+text, 7000)
	if v := load(path); v.Serial != 7 || v.Hash == second.Hash {
		t.Errorf("version %v, want serial 7", v)
	}
	p, err := Parse(strings.NewReader("chain: [{forward: {}}]"), "x", dir)
	if err != nil || p.Serial != 1 {
		t.Errorf("policy %+v, %v: want serial 1 where there is no file", p, err)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "gone.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that there is no file", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a folder loads")
	}
	path := filepath.Join(dir, "p.yaml")
	if err := os.WriteFile(path, []byte("chain: [{blocklist: {files: [.]}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("error %v, want that the list is a directory", err)
	}
	if _, err := readAll(strings.NewReader(strings.Repeat("x", 1<<20+1)), 1<<20); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("error %v of what is too large", err)
	}
}

func TestRealLists(t *testing.T) {
	dir := os.Getenv("SWITCHBRIDGE_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	for name, want := range map[string]int{"ipsum-500.txt": 500, "ipsum-1.txt": 120430} {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Skipf("no list to read: %v", err)
		}
		p, err := Parse(strings.NewReader("chain: [{blocklist: {files: ["+path+"]}}]"), "p.yaml", ".")
		if err != nil {
			t.Fatal(err)
		}
		list := p.Chain[0].(*blocklist.Config).Lists[0].Prefixes
		if len(list) != want {
			t.Errorf("%s: %d addresses, want %d", name, len(list), want)
		}
		link := p.Chain[0].Compile()
		for i, prefix := range list {
			if i%97 != 0 {
				continue
			}
			var m flow.Match
			m.SetEthType(flow.EthTypeIPv4)
			m.SetIPSrc(netip.MustParsePrefix("10.0.0.1/32"))
			m.SetIPDst(prefix)
			if out := link.Decide(policy.NewPacket(&m)); out.Verdict != flow.Deny {
				t.Errorf("%s: %v passes", name, prefix)
			}
		}
	}
}

// FuzzParse: whatever is accepted is valid, compiles and decides.
func FuzzParse(f *testing.F) {
	examples, err := filepath.Glob("../../configs/policies/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range examples {
		body, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(body))
	}
	f.Add("chain: [{header: {rules: [{match: {tcp_dst: 1-20, tcp_src: 5-9, eth_type: ipv6}, action: {output: 1}, proactive: true}]}}]")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			return
		}
		if strings.Contains(text, "max_proactive") {
			return // a long list of proactive rules is no more than slow
		}
		p, err := parse(text, map[string]string{"dir/blocklist.txt": "10.0.0.3\n2001:db8::/32\n"})
		if err != nil {
			if p != nil || err.Error() == "" {
				t.Fatalf("policy %v, error %q", p, err)
			}
			return
		}
		if err := p.Validate(); err != nil {
			t.Fatalf("it parses, but is not valid: %v", err)
		}
		c := controller.New(p)
		var m flow.Match
		m.SetInPort(1)
		for _, ev := range []*flow.Event{
			{Type: flow.EventSwitchConnected},
			{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{Match: m}},
		} {
			var d flow.Decision
			if err := c.Decide(t.Context(), ev, &d); err != nil {
				t.Fatal(err)
			}
		}
	})
}
