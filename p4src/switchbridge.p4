/*
 * switchbridge.p4: a v1model switch that asks a gateway about flows it does not know.
 *
 *   parser -> acl -> flow_exact -> flow -> miss     (the first that hits decides)
 *                |          |         |
 *                '----------'---------'-- next --> l2 --> flood
 *
 * acl and flow are ternary, flow_exact has the same keys and is exact, since
 * BMv2's ternary lookup slows with each entry and its exact one does not. What
 * the miss does is the gateway's choice: the default action of a keyless table.
 *
 * Ids, and the short @name keys, are fixed: a gateway's mapping names them, and
 * they must not change when a line is moved.
 */
#include <core.p4>
#include <v1model.p4>

/* Ports are numbered from 1: BMv2 refuses a multicast replica on port 0, and 511 is its drop port. */
const bit<9> CPU_PORT = 510;

/* The multicast group that holds every port; the gateway fills it. */
const bit<16> FLOOD_GROUP = 1;

const bit<16> TYPE_IPV4 = 0x0800;
const bit<16> TYPE_ARP  = 0x0806;
const bit<16> TYPE_VLAN = 0x8100;
const bit<16> TYPE_IPV6 = 0x86dd;

const bit<8> PROTO_ICMP   = 1;
const bit<8> PROTO_TCP    = 6;
const bit<8> PROTO_UDP    = 17;
const bit<8> PROTO_ICMPV6 = 58;
const bit<8> PROTO_SCTP   = 132;

/* v1model's instance_type of a multicast copy. */
const bit<32> INSTANCE_REPLICATION = 5;

/* What a packet_in is about. */
const bit<3> REASON_MISS   = 0;
const bit<3> REASON_ACTION = 1;

/* What the switch shall do with a packet_out. */
const bit<3> SEND_PORT  = 0;    // to egress_port
const bit<3> SEND_FLOOD = 1;    // to every port but in_port
const bit<3> SEND_NEXT  = 2;    // through l2, as action next

@controller_header("packet_in")
header packet_in_h {
    @id(1) bit<9> ingress_port;
    @id(2) bit<3> reason;
    @id(3) bit<4> _pad;
}

@controller_header("packet_out")
header packet_out_h {
    @id(1) bit<9> egress_port;
    @id(2) bit<9> ingress_port;     // as if the packet had come in here
    @id(3) bit<3> send;
    @id(4) bit<3> _pad;
}

header ethernet_h {
    bit<48> dst;
    bit<48> src;
    bit<16> ethertype;
}

header vlan_h {
    bit<3>  pcp;
    bit<1>  dei;
    bit<12> vid;
    bit<16> ethertype;
}

/* ARP for Ethernet and IPv4 (RFC 826); others are left unparsed. */
header arp_h {
    bit<16> hardware;
    bit<16> protocol;
    bit<8>  hardware_len;
    bit<8>  protocol_len;
    bit<16> op;
    bit<48> sha;
    bit<32> spa;
    bit<48> tha;
    bit<32> tpa;
}

header ipv4_h {
    bit<4>  version;
    bit<4>  ihl;
    bit<8>  tos;
    bit<16> total_len;
    bit<16> id;
    bit<3>  flags;
    bit<13> offset;
    bit<8>  ttl;
    bit<8>  proto;
    bit<16> checksum;
    bit<32> src;
    bit<32> dst;
}

header ipv6_h {
    bit<4>   version;
    bit<8>   class;
    bit<20>  label;
    bit<16>  payload_len;
    bit<8>   next;
    bit<8>   hops;
    bit<128> src;
    bit<128> dst;
}

/* The first four bytes of TCP, UDP and SCTP. */
header ports_h {
    bit<16> src;
    bit<16> dst;
}

header icmp_h {
    bit<8> kind;
    bit<8> code;
}

struct headers_t {
    packet_in_h  packet_in;
    packet_out_h packet_out;
    ethernet_h   ethernet;
    vlan_h       vlan;
    arp_h        arp;
    ipv4_h       ipv4;
    ipv6_h       ipv6;
    ports_h      ports;
    icmp_h       icmp;
}

/*
 * What a packet is, in one shape for every protocol; zero where a packet has no
 * such field. As in OpenFlow 1.0, ARP's operation and addresses take the place
 * of IP's protocol and addresses, and ICMP's type and code that of the ports.
 */
struct metadata_t {
    bit<9>   in_port;
    bit<13>  vlan;          // bit 12: tagged, as OpenFlow 1.3's vlan_vid
    bit<16>  eth_type;      // after the tag; 0x05ff for an 802.3 length
    bit<8>   ip_proto;
    bit<128> ip_src;        // an IPv4 address is the low 32 bits
    bit<128> ip_dst;
    bit<16>  l4_src;
    bit<16>  l4_dst;
    bit<1>   next;          // go on to l2
}

/*
 * The digest of a miss. Nothing in it changes from packet to packet of a flow,
 * or the switch could not suppress repeats. Plain bit<> members only: with any
 * other, BMv2 fails to set the digest up without a word.
 */
struct miss_t {
    bit<9>   in_port;
    bit<13>  vlan;
    bit<48>  eth_src;
    bit<48>  eth_dst;
    bit<16>  eth_type;
    bit<8>   ip_proto;
    bit<128> ip_src;
    bit<128> ip_dst;
    bit<16>  l4_src;
    bit<16>  l4_dst;
}

parser switch_parser(packet_in pkt, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t std) {
    state start {
        meta.in_port = std.ingress_port;
        transition select(std.ingress_port) {
            CPU_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }

    state parse_packet_out {
        pkt.extract(hdr.packet_out);
        meta.in_port = hdr.packet_out.ingress_port;
        transition parse_ethernet;
    }

    state parse_ethernet {
        pkt.extract(hdr.ethernet);
        meta.eth_type = hdr.ethernet.ethertype;
        transition select(hdr.ethernet.ethertype) {
            TYPE_VLAN: parse_vlan;
            TYPE_ARP: look_arp;
            TYPE_IPV4: parse_ipv4;
            TYPE_IPV6: parse_ipv6;
            default: accept;
        }
    }

    state parse_vlan {
        pkt.extract(hdr.vlan);
        meta.vlan = 1w1 ++ hdr.vlan.vid;
        meta.eth_type = hdr.vlan.ethertype;
        transition select(hdr.vlan.ethertype) {
            TYPE_ARP: look_arp;
            TYPE_IPV4: parse_ipv4;
            TYPE_IPV6: parse_ipv6;
            default: accept;
        }
    }

    /* Hardware 1, protocol 0x0800, lengths 6 and 4. */
    state look_arp {
        transition select(pkt.lookahead<bit<48>>()) {
            0x000108000604: parse_arp;
            default: accept;
        }
    }

    state parse_arp {
        pkt.extract(hdr.arp);
        meta.ip_proto = hdr.arp.op[7:0];
        meta.ip_src = 96w0 ++ hdr.arp.spa;
        meta.ip_dst = 96w0 ++ hdr.arp.tpa;
        transition accept;
    }

    /* Options or a later fragment: what follows is no layer-4 header. */
    state parse_ipv4 {
        pkt.extract(hdr.ipv4);
        meta.ip_proto = hdr.ipv4.proto;
        meta.ip_src = 96w0 ++ hdr.ipv4.src;
        meta.ip_dst = 96w0 ++ hdr.ipv4.dst;
        transition select(hdr.ipv4.ihl, hdr.ipv4.offset, hdr.ipv4.proto) {
            (5, 0, PROTO_TCP): parse_ports;
            (5, 0, PROTO_UDP): parse_ports;
            (5, 0, PROTO_SCTP): parse_ports;
            (5, 0, PROTO_ICMP): parse_icmp;
            default: accept;
        }
    }

    /* Extension headers are not walked: ip_proto is then the first one's number. */
    state parse_ipv6 {
        pkt.extract(hdr.ipv6);
        meta.ip_proto = hdr.ipv6.next;
        meta.ip_src = hdr.ipv6.src;
        meta.ip_dst = hdr.ipv6.dst;
        transition select(hdr.ipv6.next) {
            PROTO_TCP: parse_ports;
            PROTO_UDP: parse_ports;
            PROTO_SCTP: parse_ports;
            PROTO_ICMPV6: parse_icmp;
            default: accept;
        }
    }

    state parse_ports {
        pkt.extract(hdr.ports);
        meta.l4_src = hdr.ports.src;
        meta.l4_dst = hdr.ports.dst;
        transition accept;
    }

    state parse_icmp {
        pkt.extract(hdr.icmp);
        meta.l4_src = 8w0 ++ hdr.icmp.kind;
        meta.l4_dst = 8w0 ++ hdr.icmp.code;
        transition accept;
    }
}

control verify_sum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control switch_ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std) {
    @id(0x13000001) @name("acl_counter")
    direct_counter(CounterType.packets_and_bytes) acl_counter;
    @id(0x13000002) @name("flow_exact_counter")
    direct_counter(CounterType.packets_and_bytes) flow_exact_counter;
    @id(0x13000003) @name("flow_counter")
    direct_counter(CounterType.packets_and_bytes) flow_counter;
    @id(0x13000004) @name("l2_counter")
    direct_counter(CounterType.packets_and_bytes) l2_counter;

    /* By ingress port: every miss (what digests arrive is fewer), and those the meter held back. */
    @id(0x12000001) @name("miss_counter")
    counter(512, CounterType.packets_and_bytes) miss_counter;
    @id(0x12000002) @name("miss_limited_counter")
    counter(512, CounterType.packets_and_bytes) miss_limited_counter;
    @id(0x14000001) @name("miss_meter")
    meter(512, MeterType.packets) miss_meter;

    @id(0x01000001) @name("output")
    action output(@id(1) bit<9> port) {
        std.egress_spec = port;
    }

    @id(0x01000002) @name("flood")
    action flood() {
        std.mcast_grp = FLOOD_GROUP;
    }

    @id(0x01000003) @name("drop")
    action drop() {
        mark_to_drop(std);
    }

    action to_cpu(bit<3> reason) {
        hdr.packet_in.setValid();
        hdr.packet_in.ingress_port = meta.in_port;
        hdr.packet_in.reason = reason;
        std.egress_spec = CPU_PORT;
    }

    @id(0x01000004) @name("punt")
    action punt() {
        to_cpu(REASON_ACTION);
    }

    @id(0x01000005) @name("next")
    action next() {
        meta.next = 1;
    }

    @id(0x01000006) @name("miss_digest")
    action miss_digest() {
        digest<miss_t>(1, {
            meta.in_port, meta.vlan, hdr.ethernet.src, hdr.ethernet.dst, meta.eth_type,
            meta.ip_proto, meta.ip_src, meta.ip_dst, meta.l4_src, meta.l4_dst });
        mark_to_drop(std);
    }

    @id(0x01000007) @name("miss_punt")
    action miss_punt() {
        to_cpu(REASON_MISS);
    }

    @id(0x01000008) @name("miss_flood")
    action miss_flood() {
        flood();
    }

    @id(0x02000001) @name("acl")
    table acl {
        key = {
            meta.in_port:     ternary @id(1)  @name("in_port");
            meta.vlan:        ternary @id(2)  @name("vlan");
            hdr.ethernet.src: ternary @id(3)  @name("eth_src");
            hdr.ethernet.dst: ternary @id(4)  @name("eth_dst");
            meta.eth_type:    ternary @id(5)  @name("eth_type");
            meta.ip_proto:    ternary @id(6)  @name("ip_proto");
            meta.ip_src:      ternary @id(7)  @name("ip_src");
            meta.ip_dst:      ternary @id(8)  @name("ip_dst");
            meta.l4_src:      ternary @id(9)  @name("l4_src");
            meta.l4_dst:      ternary @id(10) @name("l4_dst");
        }
        actions = { output; flood; drop; punt; next; @defaultonly NoAction; }
        default_action = NoAction();
        counters = acl_counter;
        size = 1024;
        support_timeout = true;
    }

    @id(0x02000002) @name("flow_exact")
    table flow_exact {
        key = {
            meta.in_port:     exact @id(1)  @name("in_port");
            meta.vlan:        exact @id(2)  @name("vlan");
            hdr.ethernet.src: exact @id(3)  @name("eth_src");
            hdr.ethernet.dst: exact @id(4)  @name("eth_dst");
            meta.eth_type:    exact @id(5)  @name("eth_type");
            meta.ip_proto:    exact @id(6)  @name("ip_proto");
            meta.ip_src:      exact @id(7)  @name("ip_src");
            meta.ip_dst:      exact @id(8)  @name("ip_dst");
            meta.l4_src:      exact @id(9)  @name("l4_src");
            meta.l4_dst:      exact @id(10) @name("l4_dst");
        }
        actions = { output; flood; drop; punt; next; @defaultonly NoAction; }
        default_action = NoAction();
        counters = flow_exact_counter;
        size = 65536;
        support_timeout = true;
    }

    @id(0x02000003) @name("flow")
    table flow {
        key = {
            meta.in_port:     ternary @id(1)  @name("in_port");
            meta.vlan:        ternary @id(2)  @name("vlan");
            hdr.ethernet.src: ternary @id(3)  @name("eth_src");
            hdr.ethernet.dst: ternary @id(4)  @name("eth_dst");
            meta.eth_type:    ternary @id(5)  @name("eth_type");
            meta.ip_proto:    ternary @id(6)  @name("ip_proto");
            meta.ip_src:      ternary @id(7)  @name("ip_src");
            meta.ip_dst:      ternary @id(8)  @name("ip_dst");
            meta.l4_src:      ternary @id(9)  @name("l4_src");
            meta.l4_dst:      ternary @id(10) @name("l4_dst");
        }
        actions = { output; flood; drop; punt; next; @defaultonly NoAction; }
        default_action = NoAction();
        counters = flow_counter;
        size = 4096;
        support_timeout = true;
    }

    /* Where NORMAL goes. Which addresses it holds is the gateway's work; an unknown one is flooded. */
    @id(0x02000004) @name("l2")
    table l2 {
        key = {
            hdr.ethernet.dst: exact @id(1) @name("eth_dst");
        }
        actions = { output; flood; drop; }
        default_action = flood();
        counters = l2_counter;
        size = 8192;
        support_timeout = true;
    }

    /* Until a gateway has chosen, an unknown flow is dropped. */
    @id(0x02000005) @name("miss")
    table miss {
        actions = { miss_digest; miss_punt; miss_flood; drop; }
        default_action = drop();
    }

    apply {
        if (meta.eth_type < 0x0600) {
            meta.eth_type = 0x05ff;
        }
        if (!hdr.ethernet.isValid()) {
            drop();
        } else if (hdr.packet_out.isValid()) {
            if (hdr.packet_out.send == SEND_PORT) {
                std.egress_spec = hdr.packet_out.egress_port;
            } else if (hdr.packet_out.send == SEND_FLOOD) {
                flood();
            } else if (hdr.packet_out.send == SEND_NEXT) {
                next();
            } else {
                drop();
            }
            hdr.packet_out.setInvalid();
        } else if (!acl.apply().hit) {
            if (!flow_exact.apply().hit) {
                if (!flow.apply().hit) {
                    bit<2> color = 0;
                    miss_counter.count((bit<32>)meta.in_port);
                    miss_meter.execute_meter((bit<32>)meta.in_port, color);
                    if (color == 2) {
                        miss_limited_counter.count((bit<32>)meta.in_port);
                        drop();
                    } else {
                        miss.apply();
                    }
                }
            }
        }
        if (meta.next == 1) {
            l2.apply();
        }
    }
}

control switch_egress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std) {
    apply {
        /* A flooded packet does not go back where it came from, and neither does one that l2 sends there. */
        if (std.instance_type == INSTANCE_REPLICATION && std.egress_port == meta.in_port) {
            mark_to_drop(std);
        } else if (meta.next == 1 && std.egress_port == meta.in_port) {
            mark_to_drop(std);
        }
    }
}

control update_sum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control switch_deparser(packet_out pkt, in headers_t hdr) {
    apply {
        pkt.emit(hdr.packet_in);
        pkt.emit(hdr.ethernet);
        pkt.emit(hdr.vlan);
        pkt.emit(hdr.arp);
        pkt.emit(hdr.ipv4);
        pkt.emit(hdr.ipv6);
        pkt.emit(hdr.ports);
        pkt.emit(hdr.icmp);
    }
}

@pkginfo(name="switchbridge", version="1")
V1Switch(switch_parser(), verify_sum(), switch_ingress(), switch_egress(), update_sum(), switch_deparser()) main;
