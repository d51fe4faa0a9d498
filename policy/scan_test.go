package policy_test

import (
	"net/netip"
	"slices"
	"testing"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/policyfile"
)

// probe is a packet of a scan.
type probe struct {
	inPort   flow.PortNo
	proto    uint8
	src, dst netip.Addr
	from, to uint16 // ports
	vlan     uint16
}

func (p *probe) match() (m flow.Match) {
	m.SetInPort(p.inPort)
	m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
	m.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 2}, flow.MACExact)
	m.SetVLAN(flow.VLANNone, flow.VLANExact)
	if p.vlan != 0 {
		m.SetVLAN(flow.VLANPresent|p.vlan, flow.VLANExact)
	}
	m.SetEthType(flow.EthTypeIPv4)
	if p.dst.Is6() {
		m.SetEthType(flow.EthTypeIPv6)
	}
	m.SetIPProto(p.proto)
	m.SetIPSrc(netip.PrefixFrom(p.src, p.src.BitLen()))
	m.SetIPDst(netip.PrefixFrom(p.dst, p.dst.BitLen()))
	m.SetL4Src(p.from)
	m.SetL4Dst(p.to)
	return m
}

// An attacker on any port, with an address of their own or somebody else's, who sends from ports that answers come
// from, opens what the example's text says and nothing else.
func TestScanOfExamples(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	in := func(prefix string, a netip.Addr) bool { return netip.MustParsePrefix(prefix).Contains(a) }
	for _, scan := range []struct {
		file     string
		src, dst []netip.Addr
		from     []uint16
		open     func(p *probe) bool // what the text says
		answers  func(p *probe) bool // which questions may be answered, as far as their ports tell
	}{
		{"office.yaml", addrs("10.0.0.66", "10.0.0.1", "10.1.0.10", "10.1.0.53", "10.1.0.20"),
			addrs("10.1.0.10", "10.1.0.53", "10.1.0.20", "10.0.0.1", "192.0.2.1"), []uint16{443, 53, 22, 80, 8080, 0, 40000},
			func(p *probe) bool {
				tcp, udp := p.proto == flow.ProtoTCP, p.proto == flow.ProtoUDP
				web, dns := netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.1.0.53")
				test := func(port uint16) bool { return port >= 8000 && port <= 8099 }
				toServers, fromServers := in("10.1.0.0/24", p.dst), in("10.1.0.0/24", p.src)
				switch {
				case p.vlan == 20 && toServers:
					return false
				case p.dst == web && tcp && (p.to == 443 || test(p.to)), p.dst == dns && udp && p.to == 53:
					return true // the services, for everybody
				}
				return !toServers && !fromServers // the rest of the office, and the outside
			},
			func(p *probe) bool {
				web, dns := netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.1.0.53")
				return p.vlan != 20 && (p.dst == web && p.proto == flow.ProtoTCP && (p.to == 443 || p.to >= 8000 && p.to <= 8099) ||
					p.dst == dns && p.proto == flow.ProtoUDP && p.to == 53)
			}},
		{"allowlist.yaml", addrs("192.168.5.2", "192.168.5.66", "192.168.5.130", "192.0.2.1"),
			addrs("192.168.5.2", "192.168.5.66", "192.168.5.130", "192.168.5.255"), []uint16{502, 443, 53, 22, 0, 40000},
			func(p *probe) bool {
				station := netip.MustParseAddr("192.168.5.2")
				if p.proto != flow.ProtoTCP {
					return false
				}
				return p.inPort == 1 && p.src == station && in("192.168.5.128/25", p.dst) && p.to == 502
			},
			func(p *probe) bool {
				return p.proto == flow.ProtoTCP && p.src == netip.MustParseAddr("192.168.5.2") && in("192.168.5.128/25", p.dst) && p.to == 502
			}},
	} {
		t.Run(scan.file, func(t *testing.T) {
			p, err := policyfile.Load("../configs/policies/" + scan.file)
			if err != nil {
				t.Fatal(err)
			}
			c := controller.New(p)
			var ports []uint16
			for port := range uint16(1100) {
				ports = append(ports, port)
			}
			ports = append(ports, 3389, 5432, 7999, 8000, 8080, 8099, 8100, 10000, 32767, 32768, 49152, 65535)
			probes := []probe{}
			for inPort := range flow.PortNo(5) {
				for _, src := range scan.src {
					for _, dst := range scan.dst {
						for _, vlan := range []uint16{0, 20} {
							for _, proto := range []uint8{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP} {
								probes = append(probes, probe{inPort: inPort, proto: proto, src: src, dst: dst, vlan: vlan})
							}
						}
					}
				}
			}
			// Over IPv6 nothing is open in either.
			six := addrs("fe80::1", "fe80::10", "2001:db8::10")
			for _, dst := range six {
				probes = append(probes, probe{inPort: 4, proto: flow.ProtoTCP, src: six[0], dst: dst})
			}
			sw := &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13}
			var d flow.Decision
			packets, opened, answered, failed := 0, 0, 0, 0
			for _, q := range probes {
				for _, q.from = range scan.from {
					for i, to := range ports {
						if i%7 != int(q.from)%7 && !slices.Contains([]uint16{22, 53, 443, 502, 1023, 1024}, to) && to < 1100 {
							continue // each of the low ports from one of the ports at least
						}
						q.to = to
						m := q.match()
						d.Reset()
						ev := flow.Event{Type: flow.EventPacketIn, Switch: sw, PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, Match: m}}
						if err := c.Decide(t.Context(), &ev, &d); err != nil {
							t.Fatal(err)
						}
						packets++
						allowed := d.Verdict == flow.Allow
						if allowed {
							opened++
						}
						if want := q.dst.Is4() && scan.open(&q); allowed != want {
							if failed++; failed < 10 {
								t.Errorf("%v is %v (%s), and the file says open: %t", m, d.Verdict, d.Reason, want)
							}
						}
						question := probe{proto: q.proto, src: q.dst, dst: q.src, from: q.to, to: q.from, vlan: q.vlan}
						want := !allowed && q.dst.Is4() && scan.answers(&question)
						if want {
							answered++
						}
						if got := d.IfReply != nil; got != want {
							if failed++; failed < 10 {
								t.Errorf("%v may be an answer: %t, and the file says %t", m, got, want)
							}
						}
					}
				}
			}
			t.Logf("%d packets, %d open, %d that may be answers", packets, opened, answered)
			if opened == 0 || answered == 0 {
				t.Error("nothing is open, or no answer let in: the scan finds nothing")
			}
		})
	}
}
