package controller_test

import (
	"os"
	"path/filepath"
	"testing"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/policytest"
	"switchbridge/replay/capture"
)

// everything has an entry of every kind that looks at packets.
const everything = `
serial: 5
chain:
  - header:
      rules:
        - {name: a, priority: 9, match: {ip_src: 10.0.0.0/31, tcp_dst: 20-30}, action: allow}
        - {name: b, priority: 8, match: {eth_dst: "02:00:00:00:00:02", vlan_vid: any}, action: deny}
        - {name: c, priority: 7, match: {icmp_type: 8, icmp_code: 0}, action: {output: 3}}
        - {name: d, priority: 6, match: {arp_op: request, arp_spa: 10.0.0.0/8}, action: deny}
        - {name: e, priority: 5, match: {in_port: 2, ip_src: "2001:db8::/32", udp_src: 53}, action: {meter: 1}}
        - {name: f, priority: 4, match: {eth_src: "00:00:00:00:00:00/01:00:00:00:00:00", icmpv6_type: 135}, action: {set-queue: 1}}
  - blocklist: {addresses: [10.0.0.3, "2001:db8::3", 192.0.2.0/24]}
  - forward: {mode: `

// FuzzDecide feeds frames to the controller as every kind of switch would.
// Whatever the frame, the gateway's guardrails let each rule pass, and an
// answer always says what becomes of the packet.
func FuzzDecide(f *testing.F) {
	for _, line := range []string{
		ssh, "lldp", "arp 10.0.0.1 > 10.0.0.2", "fragment 10.0.0.1 > 10.0.0.2", "icmp 10.0.0.1 > 10.0.0.2 type 8",
		"icmpv6 2001:db8::1 > 2001:db8::2 type 135", "udp [2001:db8::1]:53 > [2001:db8::3]:53 port 2 vlan 5",
	} {
		frame, port, err := policytest.Packet(line)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, uint32(port))
		f.Add(frame[:len(frame)/3], uint32(port))
		f.Add(frame[:len(frame)/2], uint32(port))
	}
	f.Add([]byte{}, uint32(0))
	var controllers []*controller.Controller
	for _, mode := range []string{"normal}", "flood}", "learn}"} {
		for _, install := range []string{"flow", "host-pair", "mac-pair", "widest"} {
			controllers = append(controllers, newController(f, "install: "+install+everything+mode))
		}
	}
	controllers = append(controllers, newController(f, "install: none"+everything+"normal}"))
	f.Fuzz(func(t *testing.T, frame []byte, port uint32) {
		ev := flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{
			BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: flow.ParseFrame(frame, flow.PortNo(port)),
		}}
		var d flow.Decision
		for _, c := range controllers {
			for _, proto := range []flow.Protocol{of10, of13, p4} {
				ev.Switch = &flow.Switch{DPID: 1, Protocol: proto}
				d.Reset()
				if err := c.Decide(t.Context(), &ev, &d); err != nil {
					t.Fatal(err)
				}
				if d.Verdict == flow.NoVerdict || d.Reason == "" {
					t.Fatalf("no verdict: %+v", d)
				}
				if !d.HasPacketOut {
					if _, rule := d.PacketActions(&ev.PacketIn.Match); rule != 0 {
						t.Fatalf("nothing says what becomes of the packet: %v", policytest.Whole(&d))
					}
				}
				if actions, _ := d.PacketActions(&ev.PacketIn.Match); d.Verdict == flow.Deny && len(actions) > 0 || d.Verdict == flow.Allow && len(actions) == 0 {
					t.Fatalf("the packet does not what the verdict says: %v", policytest.Whole(&d))
				}
				if port > uint32(flow.PortMax) && flow.PortNo(port) != flow.PortLocal || port == 0 {
					continue // no packet comes by it, and what is learned of it is refused
				}
				if v := violations(c, &ev, &d); v != nil {
					t.Fatalf("refused: %v", v)
				}
			}
		}
	})
}

// Real captures: what an exact flow's rule says of its packets is what the
// controller says of each of them.
func TestCaptures(t *testing.T) {
	dir := os.Getenv("SWITCHBRIDGE_DATA")
	if dir == "" {
		dir = "../../shared/data"
	}
	c := newController(t, "install: flow"+everything+"normal}")
	for _, name := range []string{"iot-hue-switch.pcap", "home-web.pcapng", "home-mail.pcapng", "synscan.pcapng"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err != nil {
				t.Skipf("no capture to read: %v", err)
			}
			r, err := capture.NewReader(nil, path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			sw := policytest.Switch(of13)
			installed := make(map[flow.Match]flow.Verdict) // by the rule's match
			asked, covered := 0, 0
			for {
				p, err := r.Next()
				if err != nil {
					break
				}
				m := flow.ParseFrame(p.Frame, 1)
				ev := flow.Event{Type: flow.EventPacketIn, Switch: sw, PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: p.WireLen, Data: p.Frame, Match: m}}
				var d flow.Decision
				if err := c.Decide(t.Context(), &ev, &d); err != nil {
					t.Fatal(err)
				}
				asked++
				if len(d.Rules) == 0 {
					continue
				}
				rule := d.Rules[0].Match
				if verdict, ok := installed[rule]; ok {
					covered++
					if verdict != d.Verdict {
						t.Fatalf("packet %d: %v, where the rule that it made before says %v: %v", p.Number, d.Verdict, verdict, rule)
					}
				}
				installed[rule] = d.Verdict
			}
			if asked == 0 || len(installed) == 0 || covered == 0 {
				t.Errorf("%d packets, %d rules, %d packets of rules there already", asked, len(installed), covered)
			}
			t.Logf("%d packets, %d rules, %d packets of rules there already", asked, len(installed), covered)
		})
	}
}
