package frames

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"switchbridge/flow"
)

// Every builder's frame is read back by gopacket, checksums verified, and by
// the parser that the gateway uses.
func TestFrames(t *testing.T) {
	a, b := Host(1), Host(2)
	a6 := Endpoint{MAC: a.MAC, IP: netip.MustParseAddr("2001:db8::1")}
	b6 := Endpoint{MAC: b.MAC, IP: netip.MustParseAddr("2001:db8::2")}
	tests := []struct {
		name  string
		frame []byte
		want  string // flow.Match of it
	}{
		{"arp request", ARPRequest(a, b.IP), "in_port=3,eth_src=02:00:00:00:00:01,eth_dst=ff:ff:ff:ff:ff:ff,eth_type=0x0806,vlan_vid=0x0000/0x1fff,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_sha=02:00:00:00:00:01,arp_tha=00:00:00:00:00:00"},
		{"arp reply", ARPReply(b, a), "in_port=3,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0806,vlan_vid=0x0000/0x1fff,arp_op=2,arp_spa=10.0.0.2,arp_tpa=10.0.0.1,arp_sha=02:00:00:00:00:02,arp_tha=02:00:00:00:00:01"},
		{"tcp", TCP(a.At(1234), b.At(80), SYN, []byte("odd")), "in_port=3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=1234,l4_dst=80"},
		{"later fragment", LaterFragment(TCP(a.At(1234), b.At(80), SYN, nil)), "in_port=3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2"},
		{"udp", UDP(a.At(68), b.At(67), nil), "in_port=3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=17,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=68,l4_dst=67"},
		{"ping", Ping(a, b, 1, 2), "in_port=3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=1,ip_src=10.0.0.1,ip_dst=10.0.0.2,icmp_type=8,icmp_code=0"},
		{"pong v6", Pong(b6, a6, 1, 2), "in_port=3,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=58,ip_src=2001:db8::2,ip_dst=2001:db8::1,icmp_type=129,icmp_code=0,ipv6_flabel=0x0"},
		{"tcp v6, tagged", Tagged(TCP(a6.At(5), b6.At(6), ACK, nil), 7, 3), "in_port=3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x1007/0x1fff,vlan_pcp=3,ip_dscp=0,ip_ecn=0,ip_proto=6,ip_src=2001:db8::1,ip_dst=2001:db8::2,l4_src=5,l4_dst=6,ipv6_flabel=0x0"},
		{"neighbor solicitation", NeighborSolicitation(a6, b6.IP), "in_port=3,eth_src=02:00:00:00:00:01,eth_dst=33:33:ff:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=58,ip_src=2001:db8::1,ip_dst=ff02::1:ff00:2,icmp_type=135,icmp_code=0,ipv6_flabel=0x0,ipv6_nd_target=2001:db8::2,ipv6_nd_sll=02:00:00:00:00:01"},
		{"lldp", LLDP(a.MAC, 4), "in_port=3,eth_src=02:00:00:00:00:01,eth_dst=01:80:c2:00:00:0e,eth_type=0x88cc,vlan_vid=0x0000/0x1fff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := flow.ParseFrame(tt.frame, 3).String(); got != tt.want {
				t.Errorf("match %s\nwant  %s", got, tt.want)
			}
			p := gopacket.NewPacket(tt.frame, layers.LayerTypeEthernet, gopacket.Default)
			if e := p.ErrorLayer(); e != nil {
				t.Fatalf("gopacket: %v", e.Error())
			}
			for _, l := range p.Layers() {
				if c, ok := l.(interface {
					SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
				}); ok {
					if err := c.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err, bad := p.VerifyChecksums(); err != nil || len(bad) > 0 {
				t.Errorf("checksums: %v %+v", err, bad)
			}
		})
	}
}
