// Package compact is how a host in this process asks our own guest about a packet: the headers
// that were found in it instead of the packet, and the decision's rules in the same form, in
// places that are known beforehand. To parse a PACKET_IN and to write FLOW_MODs takes a guest
// longer than to decide; this takes it a tenth of that.
//
// Nothing of it crosses a network: both ends are built from the same source, the guest says by an
// export that it has it (docs/guest-abi.md), and whatever does not fit is asked again in
// application/openflow. Numbers are little-endian, WebAssembly's order; addresses are in the
// network's.
//
// A match, 72 bytes, or 120 where it has one of the fields of the last lines:
//
//	 0  fields, 32 bits: flow.Field
//	 4  in_port, 32 bits
//	 8  eth_dst, 6 bytes
//	14  eth_src, 6 bytes
//	20  eth_type, vlan (flow.VLANPresent or 0, and the VID), 16 bits each
//	24  vlan_pcp, ip_dscp, ip_ecn, ip_proto, icmp_type, icmp_code, 8 bits each
//	30  arp_op, l4_src, l4_dst, 16 bits each
//	36  bit 0: the source is IPv4, bit 1: the destination is; 3 bytes of 0
//	40  ip_src or arp_spa, 16 bytes, of which IPv4 has the first 4
//	56  ip_dst or arp_tpa
//	72  arp_sha, arp_tha, 6 bytes each
//	84  ipv6_flabel, 32 bits
//	88  ipv6_nd_target, 16 bytes
//	104 metadata, tunnel_id, 64 bits each
//
// An event:
//
//	 0  1, the version; flow.Protocol, 8 bits; 6 bytes of 0
//	 8  the datapath's id, 64 bits
//	16  the packet's headers: a match
//
// A decision; one byte of 0 instead of it means that the event must be asked in another encoding:
//
//	 0  1, the version
//	 1  flow.Verdict, 8 bits
//	 2  1: the packet has its own actions, 0: it takes those of the rules
//	 3  how many rules there are, and how many actions of the packet's own, 8 bits each; 3 bytes of 0
//	 8  the policy's serial, 64 bits
//	16  the policy's hash, 32 bits
//	20  the length of the reason, 32 bits
//	24  the rules, the packet's actions, the reason
//
// A judgement, which is a decision of one rule for the packet's own headers, or of none, in short:
//
//	 0  2, which tells it from a decision
//	 1  flow.Verdict, 8 bits
//	 2  1: there is a rule, 0: the actions are the packet's own
//	 3  how many actions there are, table, the table that follows or 0, 8 bits each
//	 6  priority, 16 bits
//	 8  the fields of the packet's headers that the rule matches, 32 bits
//	12  meter, 32 bits
//	16  idle_timeout, hard_timeout in seconds, 16 bits each
//	20  the length of the reason, 32 bits
//	24  the policy's serial, 64 bits
//	32  the policy's hash, 32 bits; 4 bytes of 0
//	40  the actions, the reason
//
// A rule, which is to be added:
//
//	 0  priority, idle_timeout, hard_timeout in seconds, OFPFF flags, 16 bits each
//	 8  table, the table that follows or 0, how many actions there are, 8 bits each; a byte of 0
//	12  meter, 32 bits
//	16  its match, then its actions
//
// An action:
//
//	0  flow.ActionType, ip_proto, 8 bits each
//	2  max_len, 16 bits
//	4  the port, the id or the value, 32 bits
package compact
