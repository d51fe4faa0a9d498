package sourceguard_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/policy"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/policy/sourceguard"
	"switchbridge/policy/wire"
)

func parse(t testing.TB, entry string) *policy.Policy {
	t.Helper()
	p, err := policyfile.Parse(strings.NewReader("serial: 1\nchain:\n  - sourceguard: "+entry+"\n  - forward: {mode: normal}\n"), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	eth   = flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthType
	arp   = eth | flow.FieldARPSPA | flow.FieldARPSHA
	ip    = eth | flow.FieldIPSrc
	proto = ip | flow.FieldIPProto
	icmp6 = proto | flow.FieldICMPType

	options = "what neighbour discovery says of link-layer addresses"
)

// What a packet gets hangs on the fields that were looked at, and on no other.
func TestDepends(t *testing.T) {
	link := parse(t, `{bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1, "2001:db8::1"]}], trusted: [4]}`).Chain[0].Compile()
	for _, tt := range []struct {
		packet  string
		reason  string // after the name; empty: passed on
		depends flow.Field
		noRule  string
	}{
		{"tcp 10.0.0.1:1 > 10.0.0.2:2", "", ip, ""},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 port 2", "02:00:00:00:00:01 belongs to port 1", flow.FieldInPort | flow.FieldEthSrc, ""},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 port 2 eth 2", "10.0.0.1 belongs to port 1", ip, ""},
		{"fragment 10.0.0.1 > 10.0.0.2", "", ip, ""},
		{"udp 0.0.0.0:68 > 255.255.255.255:67 eth 1", "", proto | flow.FieldL4Src | flow.FieldL4Dst, ""},
		{"tcp 0.0.0.0:68 > 10.0.0.2:67 eth 1", "0.0.0.0 is no station's", proto, ""},
		{"tcp 0.0.0.0:68 > 10.0.0.2:67 eth 9 port 4", "", ip, ""},
		{"tcp 224.0.0.1:1 > 10.0.0.2:2 eth 9 port 3", "224.0.0.1 is no station's", ip, ""},
		{"tcp 127.0.0.1:1 > 10.0.0.2:2 eth 9 port 4", "127.0.0.1 is no station's", ip, ""},
		{"tcp 255.255.255.255:1 > 10.0.0.2:2 eth 9 port 3", "255.255.255.255 is no station's", ip, ""},
		{"arp 10.0.0.1 > 10.0.0.2", "", arp, ""},
		{"arp 10.0.0.1 > 10.0.0.2 sha 2", "02:00:00:00:00:02 is not bound to port 1", arp, ""},
		{"arp 0.0.0.0 > 10.0.0.1 eth 1 sha 1", "", arp | flow.FieldARPTPA, ""},
		{"arp 0.0.0.0 > 10.0.0.9 eth 1 sha 1", "10.0.0.9 is not bound to port 1", arp | flow.FieldARPTPA, ""},
		{"tcp [2001:db8::1]:1 > [2001:db8::2]:2", "", proto, ""},
		{"icmpv6 2001:db8::1 > 2001:db8::2 type 128", "", icmp6, ""},
		{"icmpv6 :: > ff02::16 type 143 eth 1", "", icmp6, ""},
		{"icmpv6 :: > 2001:db8::2 type 128 eth 1", ":: is no station's", icmp6, ""},
		{"tcp [::]:1 > [2001:db8::2]:2 eth 1", ":: is no station's", proto, ""},
		{"nd 2001:db8::1 > 2001:db8::2", "", icmp6, options},
		{"nd 2001:db8::1 > 2001:db8::2 sha 9", "02:00:00:00:00:09 is not bound to port 1", icmp6, options},
		{"na 2001:db8::1 > 2001:db8::2", "", icmp6, options},
		{"nd :: > 2001:db8::9 eth 9 port 3", "", icmp6, options},
		{"lldp port 3", "", eth, ""},
		{"lldp", "02:00:00:00:00:00 is not bound to port 1", flow.FieldInPort | flow.FieldEthSrc, ""},
	} {
		ev, err := policytest.Event(tt.packet, flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		p := policy.NewPacket(&ev.PacketIn.Match)
		p.Switch, p.In = ev.Switch, ev.PacketIn
		out := link.Decide(p)
		want := ""
		if tt.reason != "" {
			want = "sourceguard: " + tt.reason
		}
		if out.Reason != want || (out.Verdict == flow.Deny) != (want != "") || out.Verdict == flow.Allow {
			t.Errorf("%s: %v (%s), want %q", tt.packet, out.Verdict, out.Reason, want)
		}
		if out.Depends != tt.depends || out.NoRule != tt.noRule {
			t.Errorf("%s: hangs on %v and %q, want %v and %q", tt.packet, out.Depends, out.NoRule, tt.depends, tt.noRule)
		}
	}
}

// event is what a switch asks about a frame.
func event(p flow.Protocol, frame []byte, port flow.PortNo) *flow.Event {
	m := flow.ParseFrame(frame, port)
	return &flow.Event{Type: flow.EventPacketIn, Switch: policytest.Switch(p), PacketIn: &flow.PacketIn{
		BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: m, Incomplete: m.Missing()}}
}

func decide(t *testing.T, c *controller.Controller, ev *flow.Event) *flow.Decision {
	t.Helper()
	var d flow.Decision
	if err := c.Decide(t.Context(), ev, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// digestFields are what the gateway's own P4 program tells of a packet.
const digestFields = flow.Conversation

// Where a rule can't say what was looked at, there is none; where a switch does not show it, the packet is denied.
func TestProtocols(t *testing.T) {
	c := controller.New(parse(t, `{bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1, "2001:db8::1"]}], others: deny}`))
	punt := func(ev *flow.Event) { ev.PacketIn.Match = ev.PacketIn.Match.Keep(digestFields) }
	digest := func(ev *flow.Event) {
		punt(ev)
		ev.PacketIn.Data, ev.PacketIn.TotalLen = nil, 0
	}
	cut := func(ev *flow.Event) { ev.PacketIn.TotalLen += 100 }
	const alone = "; no rule: no switch can match "
	for _, tt := range []struct {
		name, packet string
		protocol     flow.Protocol
		change       func(*flow.Event)
		want         string
		rule         bool
	}{
		{"1.3", "arp 10.0.0.1 > 10.0.0.2", flow.OpenFlow13, nil, "allow (forward: normal)", true},
		{"1.0", "arp 10.0.0.1 > 10.0.0.2", flow.OpenFlow10, nil, "allow (forward: normal; no rule: OpenFlow 1.0 can't match arp_sha here)", false},
		{"punt", "arp 10.0.0.1 > 10.0.0.2", flow.P4Runtime, punt, "allow (forward: normal" + alone + "arp_sha here)", false},
		{"punt, forged", "arp 10.0.0.1 > 10.0.0.2 sha 9", flow.P4Runtime, punt, "deny (sourceguard: 02:00:00:00:00:09 is not bound to port 1" + alone + "arp_sha here)", false},
		{"digest", "arp 10.0.0.1 > 10.0.0.2", flow.P4Runtime, digest, "deny (sourceguard: the switch does not show the whole packet)", true},
		{"punt, IPv4", "tcp 10.0.0.1:1 > 10.0.0.2:2", flow.P4Runtime, punt, "allow (forward: normal)", true},
		{"digest, IPv4", "tcp 10.0.0.1:1 > 10.0.0.2:2", flow.P4Runtime, digest, "allow (forward: normal)", true},
		{"1.0, IPv6", "tcp [2001:db8::1]:1 > [2001:db8::2]:2", flow.OpenFlow10, nil, "allow (forward: normal; no rule: OpenFlow 1.0 can't match ip_proto,ip_src here)", false},
		{"punt, discovery", "nd 2001:db8::1 > 2001:db8::2", flow.P4Runtime, punt, "allow (forward: normal" + alone + options + ")", false},
		{"digest, discovery", "nd 2001:db8::1 > 2001:db8::2", flow.P4Runtime, digest, "deny (sourceguard: the switch does not show the whole packet" + alone + options + ")", false},
		{"cut discovery", "nd 2001:db8::1 > 2001:db8::2", flow.OpenFlow13, cut, "deny (sourceguard: the switch does not show the whole packet" + alone + options + ")", false},
		{"no switch", "tcp 10.0.0.1:1 > 10.0.0.2:2", flow.OpenFlow13, func(ev *flow.Event) { ev.Switch = nil }, "allow (forward: normal)", true},
		{"no in_port", "tcp 10.0.0.1:1 > 10.0.0.2:2", flow.OpenFlow13, func(ev *flow.Event) { ev.PacketIn.Match = ev.PacketIn.Match.Keep(^flow.FieldInPort) },
			"deny (sourceguard: the packet does not show in_port)", true},
	} {
		ev, err := policytest.Event(tt.packet, tt.protocol)
		if err != nil {
			t.Fatal(err)
		}
		if tt.change != nil {
			tt.change(ev)
		}
		d := decide(t, c, ev)
		if got := policytest.Sum(d); got != tt.want || len(d.Rules) > 0 != tt.rule {
			t.Errorf("%s: %s\n%s\nwant %s, a rule: %v", tt.name, tt.packet, policytest.Whole(d), tt.want, tt.rule)
		}
	}
	// What the encoding left behind is asked for.
	ev, err := policytest.Event("nd 2001:db8::1 > 2001:db8::2", flow.OpenFlow13)
	if err != nil {
		t.Fatal(err)
	}
	ev.PacketIn.Data, ev.PacketIn.Withheld = nil, true
	var d flow.Decision
	var j flow.Judgement
	if c.Judge(ev, &j) || c.Decide(t.Context(), ev, &d) == nil {
		t.Error("neighbour discovery without its bytes is decided, while there are some")
	}
}

// Packets that hide their addresses, or say them twice, are denied; and no rule that comes of them has actions.
func TestHidden(t *testing.T) {
	c := controller.New(parse(t, `{bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1, "2001:db8::1"]}], trusted: [4]}`))
	host, other := frames.Host(1).At(1), frames.Host(2).At(2)
	host6, other6 := host, other
	host6.IP, other6.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	tcp := frames.TCP(host, other, frames.SYN, nil)
	nd := frames.NeighborSolicitation(host6, other6.IP)
	edit := func(frame []byte, at int, b ...byte) []byte {
		frame = append([]byte(nil), frame...)
		copy(frame[at:], b)
		return frame
	}
	// option appends one of neighbour discovery.
	option := func(b ...byte) []byte {
		frame := append(append([]byte(nil), nd...), b...)
		binary.BigEndian.PutUint16(frame[18:], uint16(len(frame)-54))
		return frame
	}
	snap := append(append(edit(tcp[:14], 12, 0, byte(len(tcp)-6)), 0xaa, 0xaa, 3, 0, 0, 0xf8, 8, 0), tcp[14:]...) // IEEE 802.1H
	for name, tt := range map[string]struct {
		frame []byte
		port  flow.PortNo
		want  string
	}{
		"as it is":                   {tcp, 1, "allow (forward: normal)"},
		"a tag":                      {frames.Tagged(tcp, 0, 0), 1, "allow (forward: normal)"},
		"two tags":                   {frames.Tagged(frames.Tagged(tcp, 0, 0), 0, 0), 1, "deny (sourceguard: the packet does not show ip_src; no rule: the packet does not show ip_src)"},
		"two tags, trusted":          {frames.Tagged(frames.Tagged(edit(tcp, 6, 2, 9), 0, 0), 0, 0), 4, "deny (sourceguard: the packet does not show ip_src; no rule: the packet does not show ip_src)"},
		"802.1H":                     {snap, 1, "deny (sourceguard: an 802.3 frame hides its addresses)"},
		"802.1H, trusted":            {edit(snap, 6, 2, 9), 4, "allow (forward: normal)"},
		"an IP header too long":      {edit(tcp, 16, 0xff), 1, "deny (sourceguard: the packet does not show ip_src; no rule: the packet does not show ip_src)"},
		"no Ethernet header":         {tcp[:10], 1, "deny (sourceguard: the packet does not show eth_src; no rule: the packet does not show eth_src)"},
		"from a group":               {edit(tcp, 6, 3), 1, "deny (sourceguard: 03:00:00:00:00:01 is no station's)"},
		"ARP for another medium":     {edit(frames.ARPRequest(host, other.IP), 14, 0, 6), 1, "deny (sourceguard: the packet does not show arp_spa; no rule: the packet does not show arp_spa)"},
		"ARP from a group":           {edit(frames.ARPRequest(host, other.IP), 22, 1), 1, "deny (sourceguard: 01:00:00:00:00:01 is no station's)"},
		"discovery":                  {nd, 1, "allow (forward: normal; no rule: no switch can match " + options + ")"},
		"a second link-layer option": {option(1, 1, 2, 0, 0, 0, 0, 2), 1, "deny (sourceguard: 02:00:00:00:00:02 is not bound to port 1; no rule: no switch can match " + options + ")"},
		"the other option":           {option(2, 1, 2, 0, 0, 0, 0, 2), 1, "deny (sourceguard: 02:00:00:00:00:02 is not bound to port 1; no rule: no switch can match " + options + ")"},
		"a long option":              {option(1, 2, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0), 1, "deny (sourceguard: 02:00:00:00:00:02 is not bound to port 1; no rule: no switch can match " + options + ")"},
		"an option of no length":     {option(1, 0, 2, 0, 0, 0, 0, 1), 1, "deny (sourceguard: neighbour discovery has an option that can't be read; no rule: no switch can match " + options + ")"},
		"an option beyond the end":   {option(1, 4, 2, 0, 0, 0, 0, 1), 1, "deny (sourceguard: neighbour discovery has an option that can't be read; no rule: no switch can match " + options + ")"},
		"half an option":             {option(1), 1, "deny (sourceguard: neighbour discovery has an option that can't be read; no rule: no switch can match " + options + ")"},
		"another option":             {option(14, 1, 2, 0, 0, 0, 0, 2), 1, "allow (forward: normal; no rule: no switch can match " + options + ")"},
		"another code":               {edit(nd, 55, 1), 1, "allow (forward: normal; no rule: no switch can match " + options + ")"},
		"an advertisement":           {edit(nd, 54, 136), 1, "deny (sourceguard: 2001:db8::2 is not bound to port 1; no rule: no switch can match " + options + ")"},
		"a redirect":                 {edit(nd, 54, 137), 1, "deny (sourceguard: neighbour discovery is not whole; no rule: no switch can match " + options + ")"},
		"a router's advertisement":   {edit(nd, 54, 134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1), 1, "allow (forward: normal; no rule: no switch can match " + options + ")"},
	} {
		d := decide(t, c, event(flow.OpenFlow13, tt.frame, tt.port))
		if got := policytest.Sum(d); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
	// A switch that takes two tags off sees behind them, and so does the guard.
	frame := frames.Tagged(frames.Tagged(nd, 0, 0), 0, 0)
	ev := event(flow.OpenFlow13, frame, 1)
	ev.PacketIn.Match = flow.Parser{VLANLimit: 2}.Parse(frame, len(frame), 1)
	ev.PacketIn.Incomplete = 0
	if d := decide(t, c, ev); d.Verdict != flow.Allow {
		t.Errorf("behind two tags: %s", policytest.Sum(d))
	}
	// Bytes that are not those of the headers are no packet.
	ev = event(flow.OpenFlow13, nd, 1)
	ev.PacketIn.Data = frames.NeighborSolicitation(other6, host6.IP)
	if d := decide(t, c, ev); d.Verdict != flow.Deny {
		t.Errorf("another packet's bytes: %s", policytest.Sum(d))
	}
}

func TestPlaces(t *testing.T) {
	c := controller.New(parse(t, `{bindings: [{switch: 1, port: [1, 2], mac: "02:00:00:00:00:01", addresses: [10.0.0.0/24]}, {switch: 1, port: 3, addresses: [10.0.0.7]},
		{switch: 2, port: 1, mac: "02:00:00:00:00:02", addresses: [10.0.0.7]}, {switch: 1, port: LOCAL, mac: "02:00:00:00:00:08"}], trusted: [{switch: 1, port: [4, 5]}, 6]}`))
	for _, tt := range []struct {
		sw     flow.DPID
		packet string
		why    string // empty: allowed
	}{
		{1, "tcp 10.0.0.9:1 > 10.0.0.2:2 eth 1", ""},
		{1, "tcp 10.0.0.9:1 > 10.0.0.2:2 eth 1 port 2", ""},
		{1, "tcp 10.0.0.7:1 > 10.0.0.2:2 eth 1 port 2", "10.0.0.7 belongs to port 1 of switch 0000000000000002"},
		{1, "tcp 10.0.0.7:1 > 10.0.0.2:2 eth 9 port 3", ""},
		{2, "tcp 10.0.0.7:1 > 10.0.0.2:2 eth 2", ""},
		{2, "tcp 10.0.0.7:1 > 10.0.0.2:2 eth 9", "02:00:00:00:00:09 is not bound to port 1"},
		{1, "tcp 10.0.0.8:1 > 10.0.0.2:2 eth 9 port 3", "10.0.0.8 belongs to ports 1 and 2 of switch 0000000000000001"},
		{1, "tcp 10.0.0.7:1 > 10.0.0.2:2 eth 2 port 4", "10.0.0.7 belongs to port 3 of switch 0000000000000001"},
		{2, "tcp 10.0.0.9:1 > 10.0.0.2:2 eth 1 port 6", ""},
		{2, "tcp 10.0.0.7:1 > 10.0.0.2:2 eth 9 port 6", "10.0.0.7 belongs to port 1 of switch 0000000000000002"},
		{3, "tcp 10.0.0.7:1 > 10.0.0.2:2 eth 2 port 6", ""},
		{3, "tcp 10.0.0.7:1 > 10.0.0.2:2 eth 9 port 5", "10.0.0.7 belongs to port 1 of switch 0000000000000002"},
		{1, "tcp 192.0.2.8:1 > 10.0.0.2:2 eth 8 port 65534", "02:00:00:00:00:08 belongs to port LOCAL of switch 0000000000000001"},
		{1, "tcp 10.0.0.1:1 > 10.0.0.2:2 port 3", "02:00:00:00:00:01 belongs to ports 1 and 2 of switch 0000000000000001"},
	} {
		ev, err := policytest.Event(tt.packet, flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		ev.Switch.DPID = tt.sw
		d := decide(t, c, ev)
		want := "allow (forward: normal)"
		if tt.why != "" {
			want = "deny (sourceguard: " + tt.why + ")"
		}
		if got := policytest.Sum(d); got != want {
			t.Errorf("switch %v: %s: %s, want %s", tt.sw, tt.packet, got, want)
		}
	}
	// A binding of an Ethernet address alone leaves its station every address that is nobody else's.
	for src, want := range map[string]flow.Verdict{"192.0.2.8": flow.Allow, "10.0.0.8": flow.Deny} {
		frame, _, err := policytest.Packet("tcp " + src + ":1 > 10.0.0.2:2 eth 8")
		if err != nil {
			t.Fatal(err)
		}
		if d := decide(t, c, event(flow.OpenFlow13, frame, flow.PortLocal)); d.Verdict != want {
			t.Errorf("from LOCAL as %s: %s", src, policytest.Sum(d))
		}
	}
}

// The tables find what a walk over all bindings finds.
func TestAgainstWalk(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	station := func() flow.MAC { return flow.MAC{2, 0, 0, 0, 0, byte(1 + r.IntN(6))} }
	address := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(1 + r.IntN(6))}) }
	denied := 0
	for range 300 {
		c := &sourceguard.Config{Others: sourceguard.Others(r.IntN(2)), Trusted: []sourceguard.Place{{Every: true, Ports: []flow.PortNo{7}}}}
		for range 1 + r.IntN(5) {
			b := sourceguard.Binding{Place: sourceguard.Place{Every: r.IntN(2) == 0, Ports: []flow.PortNo{flow.PortNo(1 + r.IntN(3))}}}
			if !b.Every {
				b.Switch = flow.DPID(1 + r.IntN(2))
			}
			if b.HasMAC = r.IntN(3) > 0; b.HasMAC {
				b.MAC = station()
			}
			if !b.HasMAC || r.IntN(3) > 0 {
				bits := []int{8, 24, 30, 32}[r.IntN(4)]
				p, _ := address().Prefix(bits)
				b.Addresses = []netip.Prefix{p}
			}
			c.Bindings = append(c.Bindings, b)
		}
		if err := c.Validate(nil); err != nil {
			t.Fatal(err)
		}
		link := c.Compile()
		for range 50 {
			sw, port := flow.DPID(1+r.IntN(2)), []flow.PortNo{1, 2, 3, 4, 7}[r.IntN(5)]
			mac, src := station(), address()
			frame := frames.TCP(frames.Endpoint{MAC: mac, IP: src, Port: 1}, frames.Host(9).At(2), 0, nil)
			ev := event(flow.OpenFlow13, frame, port)
			ev.Switch.DPID = sw
			p := policy.NewPacket(&ev.PacketIn.Match)
			p.Switch, p.In = ev.Switch, ev.PacketIn
			out := link.Decide(p)
			want := walk(c, sw, port, mac, src)
			if want {
				denied++
			}
			if got := out.Verdict == flow.Deny; got != want {
				t.Fatalf("%v %v by port %v of %v: denied %v (%s), want %v, by %+v", mac, src, port, sw, got, out.Reason, want, c)
			}
		}
	}
	if denied < 1000 {
		t.Errorf("%d of 15000 packets are denied", denied)
	}
}

// walk is what the README says, word for word: whether a packet is denied.
func walk(c *sourceguard.Config, sw flow.DPID, port flow.PortNo, mac flow.MAC, src netip.Addr) bool {
	here := func(b *sourceguard.Binding) bool { return (b.Every || b.Switch == sw) && b.Ports[0] == port }
	trusted := port == 7
	longest := -1
	for i := range c.Bindings {
		for _, p := range c.Bindings[i].Addresses {
			if p.Contains(src) {
				longest = max(longest, p.Bits())
			}
		}
	}
	var bound, macHere, macElsewhere, anyMAC, ipHere, ipElsewhere, ipOfMAC, anyIP bool
	for i := range c.Bindings {
		b := &c.Bindings[i]
		counts := here(b) || !trusted || b.Every || b.Switch == sw // of what is on other switches nothing does at a trusted port
		bound = bound || here(b)
		anyMAC = anyMAC || here(b) && !b.HasMAC
		if b.HasMAC && b.MAC == mac {
			macHere = macHere || here(b)
			macElsewhere = macElsewhere || !here(b) && counts
			anyIP = anyIP || here(b) && len(b.Addresses) == 0
		}
		for _, p := range b.Addresses {
			if p.Contains(src) && p.Bits() == longest {
				ipHere = ipHere || here(b)
				ipElsewhere = ipElsewhere || !here(b) && counts
				ipOfMAC = ipOfMAC || here(b) && (!b.HasMAC || b.MAC == mac)
			}
		}
	}
	switch {
	case !bound && !trusted && c.Others == sourceguard.Deny:
		return true
	case macElsewhere && !macHere, ipElsewhere && !ipHere:
		return true // it belongs to another port
	case ipHere && !ipOfMAC:
		return true // it belongs to another station
	case !bound:
		return false
	}
	return !macHere && !anyMAC || !ipHere && !anyIP
}

func TestParse(t *testing.T) {
	const want = "denies packets with a sender's address that is bound to another port, by 2 bindings; ports that are not listed are denied"
	p := parse(t, `{bindings: [{port: 1, mac: "02:00:00:00:00:01"}, {switch: "1f", port: [2, LOCAL], addresses: [10.0.0.0/8, "fe80::1"]}], trusted: [3, [4, 5], {switch: 2, port: 6}], others: deny}`)
	if got := p.Chain[0].Explain(); got != want {
		t.Errorf("%s; want %s", got, want)
	}
	for _, tt := range []struct{ entry, want string }{
		{`{}`, "p.yaml:3: sourceguard: no binding: want at least one, or learn, or others: deny"},
		{`{others: allow}`, `p.yaml:3: sourceguard: others: "allow": want next or deny`},
		{`{vlan: 1}`, `p.yaml:3: sourceguard: unknown key "vlan": want one of bindings, trusted, others, learn, log, for`},
		{`{learn: second}`, `p.yaml:3: sourceguard: learn: "second": want first or dhcp`},
		{`{learn: nothing}`, `p.yaml:3: sourceguard: learn: "nothing": want first or dhcp`},
		{`{learn: first, others: deny}`, "p.yaml:3: sourceguard: others: deny and learn:"},
		{`{learn: dhcp}`, "p.yaml:3: sourceguard: learn: dhcp without a trusted port"},
		{`{others: deny, for: 1h}`, "p.yaml:3: sourceguard: for: it says how long learned bindings live"},
		{`{learn: first, for: 59s}`, "p.yaml:3: sourceguard: for: 59s: want whole seconds, 1m0s to 8760h0m0s"},
		{`{learn: first, for: 0s}`, "p.yaml:3: sourceguard: for: 0s: want whole seconds"},
		{`{learn: first, for: 90500ms}`, "p.yaml:3: sourceguard: for: 1m30.5s: want whole seconds"},
		{`{bindings: [{port: 1}]}`, "p.yaml:3: sourceguard: binding 1: want a mac or addresses: without them it binds nothing to the port"},
		{`{bindings: [{mac: "02:00:00:00:00:01"}]}`, "p.yaml:3: sourceguard: binding 1: want a port"},
		{`{bindings: [{port: FLOOD, addresses: [10.0.0.1]}]}`, "p.yaml:3: sourceguard: binding 1: port: port FLOOD: packets come from a port of the switch, or LOCAL"},
		{`{bindings: [{port: [1, 1], addresses: [10.0.0.1]}]}`, "p.yaml:3: sourceguard: binding 1: port 1 is given twice"},
		{`{bindings: [{port: 1, mac: "01:00:00:00:00:01"}]}`, "p.yaml:3: sourceguard: binding 1: mac 01:00:00:00:00:01 is no station's"},
		{`{bindings: [{port: 1, addresses: [10.0.0.1/8]}]}`, "p.yaml:3: sourceguard: binding 1: address 1: 10.0.0.1/8 has bits beyond its length"},
		{`{bindings: [{port: 1, addresses: [224.0.0.1]}]}`, "p.yaml:3: sourceguard: binding 1: address 224.0.0.1 is no station's"},
		{`{bindings: [{port: 1, addresses: [10.0.0.1, 10.0.0.1]}]}`, "p.yaml:3: sourceguard: binding 1: address 10.0.0.1/32 is given twice"},
		{`{bindings: [{port: 1, switch: z, addresses: [10.0.0.1]}]}`, `p.yaml:3: sourceguard: binding 1: switch: datapath id "z"`},
		{`{bindings: [{port: 1, addresses: [10.0.0.1]}, {port: 2, switch: 1, addresses: [10.0.0.2]}], trusted: [{switch: 2, port: 2}, {switch: 1, port: [3, 2]}]}`,
			"p.yaml:3: sourceguard: binding 2: port 2 is trusted: a binding at it has no effect"},
		{`{others: deny, trusted: [[]]}`, "p.yaml:3: sourceguard: trusted 1: want a port"},
		{"{others: deny}\n  - sourceguard: {others: deny}", "p.yaml:4: sourceguard: the chain has one already"},
	} {
		_, err := policyfile.Parse(strings.NewReader("serial: 1\nchain:\n  - sourceguard: "+tt.entry+"\n"), "p.yaml", ".")
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s...", tt.entry, err, tt.want)
		}
	}
}

// What a compiled policy may say and no file can.
func TestValidate(t *testing.T) {
	at := sourceguard.Place{Every: true, Ports: []flow.PortNo{1}}
	for _, c := range []*sourceguard.Config{
		{Others: 2},
		{Learn: 3, For: time.Hour},
		{Learn: sourceguard.First},
		{Bindings: []sourceguard.Binding{{Place: at, MAC: flow.MAC{2}}}},
		{Bindings: []sourceguard.Binding{{Place: at, HasMAC: true}}},
		{Bindings: []sourceguard.Binding{{Place: at, Addresses: []netip.Prefix{{}}}}},
		{Bindings: []sourceguard.Binding{{Place: at, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}}}},
		{Bindings: []sourceguard.Binding{{Place: sourceguard.Place{Every: true, Switch: 1, Ports: at.Ports}, HasMAC: true, MAC: flow.MAC{2}}}},
		{Bindings: []sourceguard.Binding{{Place: sourceguard.Place{Every: true, Ports: []flow.PortNo{flow.PortFlood}}, HasMAC: true, MAC: flow.MAC{2}}}},
	} {
		if c.Validate(nil) == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

// Functions that are deployed read these bytes.
func TestBytesStay(t *testing.T) {
	const want = "01" + "00" + "00" + // others: deny, nothing is learned
		"02" + "03" + "01" + "01" + "020000000001" + "02" + "0420" + "0a000001" + "0640" + "20010db8000000000000000000000000" +
		"00" + "ab02" + "02" + "02" + "feffffff0f" + "01" + "0408" + "0a000000" +
		"01" + "01" + "01" + "04"
	c := &sourceguard.Config{
		Bindings: []sourceguard.Binding{
			{Place: sourceguard.Place{Every: true, Ports: []flow.PortNo{1}}, HasMAC: true, MAC: flow.MAC{2, 0, 0, 0, 0, 1},
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("2001:db8::/64")}},
			{Place: sourceguard.Place{Switch: 0x12b, Ports: []flow.PortNo{2, flow.PortLocal}}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		},
		Trusted: []sourceguard.Place{{Every: true, Ports: []flow.PortNo{4}}},
		Others:  sourceguard.Deny,
	}
	w := wire.NewWriter(nil)
	c.Write(w)
	if got := hex.EncodeToString(w.Bytes()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	w = wire.NewWriter(nil)
	(&sourceguard.Config{Learn: sourceguard.DHCP, For: time.Hour, Trusted: c.Trusted}).Write(w)
	if got, want := hex.EncodeToString(w.Bytes()), "00"+"02"+"901c"+"00"+"01"+"01"+"01"+"04"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if code := (sourceguard.Kind{}).Code(); code != 6 {
		t.Errorf("code %d, want 6", code)
	}
}

// How many bindings there are hardly matters.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := &sourceguard.Config{}
			for i := range n {
				c.Bindings = append(c.Bindings, sourceguard.Binding{Place: sourceguard.Place{Every: true, Ports: []flow.PortNo{flow.PortNo(i + 1)}}, HasMAC: true,
					MAC:       flow.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)},
					Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)}})
			}
			link := c.Compile()
			m := flow.ParseFrame(frames.TCP(frames.Host(7).At(1), frames.Host(9).At(2), 0, nil), 8)
			p := policy.NewPacket(&m)
			for b.Loop() {
				if out := link.Decide(p); out.Verdict != flow.NoVerdict {
					b.Fatal(out.Reason)
				}
			}
		})
	}
}
