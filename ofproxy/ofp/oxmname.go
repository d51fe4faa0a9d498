package ofp

import (
	"fmt"
	"strings"
)

// oxmNames are the fields of OFPXMC_OPENFLOW_BASIC by their numbers, up to
// OpenFlow 1.5's.
var oxmNames = [...]string{"in_port", "in_phy_port", "metadata", "eth_dst", "eth_src", "eth_type", "vlan_vid", "vlan_pcp", "ip_dscp", "ip_ecn", "ip_proto",
	"ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst", "icmpv4_type", "icmpv4_code", "arp_op", "arp_spa", "arp_tpa",
	"arp_sha", "arp_tha", "ipv6_src", "ipv6_dst", "ipv6_flabel", "icmpv6_type", "icmpv6_code", "ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll", "mpls_label",
	"mpls_tc", "mpls_bos", "pbb_isid", "tunnel_id", "ipv6_exthdr", "", "pbb_uca", "tcp_flags", "actset_output", "packet_type"}

// nxmNames are the fields of class 1 (Nicira's) that Open vSwitch 3 matches on and that no
// other class has. Open vSwitch sends them to 1.3 controllers as well (see its
// meta-flow.h).
var nxmNames = map[uint8]string{24: "nd_sll", 25: "nd_tll", 26: "ip_frag", 29: "nw_ttl", 30: "mpls_ttl", 31: "tun_src", 32: "tun_dst", 33: "pkt_mark",
	34: "tcp_flags", 35: "dp_hash", 36: "recirc_id", 37: "conj_id", 38: "tun_gbp_id", 39: "tun_gbp_flags", 104: "tun_flags", 105: "ct_state",
	106: "ct_zone", 107: "ct_mark", 108: "ct_label", 109: "tun_ipv6_src", 110: "tun_ipv6_dst"}

const (
	oxmClassNicira       = 0x0001
	oxmClassPacketRegs   = 0x8001
	oxmClassExperimenter = 0xffff
	experimenterONF      = 0x4f4e4600
)

// name returns the field's usual name, or its class and number.
func (x *rawOXM) name() string {
	name := ""
	switch {
	case x.class == oxmClassBasic || x.class == oxmClassExperimenter && x.experimenter == experimenterONF:
		if int(x.field) < len(oxmNames) {
			name = oxmNames[x.field]
		}
	case x.class == oxmClassPacketRegs:
		return fmt.Sprintf("xreg%d", x.field)
	case x.class != oxmClassNicira:
	case x.field < 16:
		return fmt.Sprintf("reg%d", x.field)
	case x.field >= 40 && x.field < 104:
		return fmt.Sprintf("tun_metadata%d", x.field-40)
	case x.field >= 111 && x.field < 115:
		return fmt.Sprintf("xxreg%d", x.field-111)
	default:
		name = nxmNames[x.field]
	}
	switch {
	case name != "":
		return name
	case x.class == oxmClassExperimenter:
		return fmt.Sprintf("experimenter %#08x field %d", x.experimenter, x.field)
	}
	return fmt.Sprintf("class %#04x field %d", x.class, x.field)
}

// String writes the field with its bytes: tcp_flags=0x0002/0x0012.
func (x *rawOXM) String() string {
	const most = 16 // bytes shown
	var b strings.Builder
	b.WriteString(x.name())
	sign := byte('=')
	for _, v := range [][]byte{x.value, x.mask} {
		if len(v) == 0 {
			continue
		}
		b.WriteByte(sign)
		sign = '/'
		fmt.Fprintf(&b, "0x%x", v[:min(len(v), most)])
		if len(v) > most {
			b.WriteString("...")
		}
	}
	return b.String()
}
