package judge

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"switchbridge/flow"
)

// Classified is a packet as Open vSwitch sees it.
type Classified struct {
	// Match has each header that Open vSwitch looks up, with the value that it looks up: of a header that
	// the frame lacks, that is zero.
	Match flow.Match
	// Fragment says that it is a part of a datagram. Open vSwitch looks up each of these, the first too,
	// as if its ports were 0 (OFPC_FRAG_NORMAL).
	Fragment bool
}

// protocols are the words with which Open vSwitch begins a flow, for EtherType and protocol.
var protocols = map[string]struct {
	ethType uint16
	proto   uint8
	l4      flow.Field
}{
	"ip": {flow.EthTypeIPv4, 0, 0}, "icmp": {flow.EthTypeIPv4, flow.ProtoICMP, icmpFields}, "tcp": {flow.EthTypeIPv4, flow.ProtoTCP, portFields},
	"udp": {flow.EthTypeIPv4, flow.ProtoUDP, portFields}, "sctp": {flow.EthTypeIPv4, flow.ProtoSCTP, portFields},
	"ipv6": {flow.EthTypeIPv6, 0, 0}, "icmp6": {flow.EthTypeIPv6, flow.ProtoICMPv6, icmpFields}, "tcp6": {flow.EthTypeIPv6, flow.ProtoTCP, portFields},
	"udp6": {flow.EthTypeIPv6, flow.ProtoUDP, portFields}, "sctp6": {flow.EthTypeIPv6, flow.ProtoSCTP, portFields},
	"arp": {flow.EthTypeARP, 0, 0}, "rarp": {0x8035, 0, 0},
}

const (
	portFields = flow.FieldL4Src | flow.FieldL4Dst
	icmpFields = flow.FieldICMPType | flow.FieldICMPCode
)

// Classify reads a flow as ofproto/trace prints it. A field that it does not know is an error, so that no
// header is overlooked.
func Classify(text string) (c Classified, err error) {
	m := &c.Match
	m.SetVLAN(flow.VLANNone, flow.VLANExact)
	m.Fields |= flow.FieldMetadata | flow.FieldTunnelID // both zero
	for item := range strings.SplitSeq(text, ",") {
		name, value, valued := strings.Cut(item, "=")
		if !valued {
			p, ok := protocols[name]
			if !ok {
				return c, fmt.Errorf("flow %q: unknown protocol %q", text, name)
			}
			m.SetEthType(p.ethType)
			if p.proto != 0 {
				m.SetIPProto(p.proto)
			}
			m.Fields |= p.l4 // zero unless it is told
			continue
		}
		if err := c.field(name, value); err != nil {
			return c, fmt.Errorf("flow %q: %s: %w", text, name, err)
		}
	}
	if c.Fragment {
		m.L4Src, m.L4Dst, m.ICMPType, m.ICMPCode = 0, 0, 0, 0
	}
	return c, nil
}

func (c *Classified) field(name, value string) (err error) {
	m := &c.Match
	number := func(bits int) uint64 {
		n, e := strconv.ParseUint(value, 0, bits)
		if e != nil {
			err = e
		}
		return n
	}
	addr := func() netip.Prefix {
		a, e := netip.ParseAddr(value)
		if e != nil {
			err = e
			return netip.Prefix{}
		}
		return netip.PrefixFrom(a, a.BitLen())
	}
	ether := func() flow.MAC {
		a, e := flow.ParseMAC(value)
		if e != nil {
			err = e
		}
		return a
	}
	switch name {
	case "in_port":
		port, e := flow.ParsePort(value)
		m.SetInPort(port)
		err = e
	case "vlan_tci":
		if tci := number(16); tci != 0 {
			c.vlan(uint16(tci)&0xfff, uint8(tci>>13))
		}
	case "dl_vlan":
		c.vlan(uint16(number(12)), m.VLANPCP)
	case "dl_vlan_pcp":
		m.VLANPCP = uint8(number(3))
	case "dl_src":
		m.SetEthSrc(ether(), flow.MACExact)
	case "dl_dst":
		m.SetEthDst(ether(), flow.MACExact)
	case "dl_type":
		m.SetEthType(uint16(number(16)))
	case "nw_src", "ipv6_src":
		m.SetIPSrc(addr())
	case "nw_dst", "ipv6_dst":
		m.SetIPDst(addr())
	case "nw_proto":
		m.SetIPProto(uint8(number(8)))
	case "nw_tos":
		m.Fields |= flow.FieldIPDSCP
		m.IPDSCP = uint8(number(8)) >> 2
	case "nw_ecn":
		m.Fields |= flow.FieldIPECN
		m.IPECN = uint8(number(2))
	case "ipv6_label":
		m.Fields |= flow.FieldFlowLabel
		m.FlowLabel = uint32(number(20))
	case "tp_src":
		m.SetL4Src(uint16(number(16)))
	case "tp_dst":
		m.SetL4Dst(uint16(number(16)))
	case "icmp_type":
		m.ICMPType = uint8(number(8))
	case "icmp_code":
		m.ICMPCode = uint8(number(8))
	case "arp_spa":
		m.SetARPSPA(addr())
	case "arp_tpa":
		m.SetARPTPA(addr())
	case "arp_op":
		m.Fields |= flow.FieldARPOp
		m.ARPOp = uint16(number(16))
	case "arp_sha":
		m.Fields |= flow.FieldARPSHA
		m.ARPSHA = ether()
	case "arp_tha":
		m.Fields |= flow.FieldARPTHA
		m.ARPTHA = ether()
	case "nd_target":
		m.Fields |= flow.FieldNDTarget
		m.NDTarget, err = netip.ParseAddr(value)
	case "nw_frag":
		c.Fragment = value != "no"
	case "nw_ttl", "tcp_flags", "nd_sll", "nd_tll", "nd_reserved", "nd_options_type", "vlan_tci1", "dl_vlan1", "dl_vlan_pcp1":
		// Nothing of ours matches on these.
	default:
		return fmt.Errorf("unknown field")
	}
	return err
}

func (c *Classified) vlan(vid uint16, pcp uint8) {
	c.Match.SetVLAN(flow.VLANPresent|vid, flow.VLANExact)
	c.Match.Fields |= flow.FieldVLANPCP
	c.Match.VLANPCP = pcp
}
