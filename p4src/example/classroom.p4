/*
 * classroom.p4: a switch as courses write them, with the names that their readers
 * know. A table of flows asks by a digest, a table of stations floods what it does not
 * know, and a list of what is blocked stands before both. classroom.yaml is the
 * mapping that `switchbridge p4 info` proposes.
 */
#include <core.p4>
#include <v1model.p4>

typedef bit<9>  egressSpec_t;
typedef bit<48> macAddr_t;
typedef bit<32> ip4Addr_t;

const bit<16> TYPE_IPV4 = 0x800;
const bit<8>  PROTO_TCP = 6;
const bit<8>  PROTO_UDP = 17;

header ethernet_t {
    macAddr_t dstAddr;
    macAddr_t srcAddr;
    bit<16>   etherType;
}

header ipv4_t {
    bit<4>    version;
    bit<4>    ihl;
    bit<8>    diffserv;
    bit<16>   totalLen;
    bit<16>   identification;
    bit<3>    flags;
    bit<13>   fragOffset;
    bit<8>    ttl;
    bit<8>    protocol;
    bit<16>   hdrChecksum;
    ip4Addr_t srcAddr;
    ip4Addr_t dstAddr;
}

header tcp_t {
    bit<16> srcPort;
    bit<16> dstPort;
    bit<32> seqNo;
    bit<32> ackNo;
    bit<4>  dataOffset;
    bit<12> flags;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgentPtr;
}

header udp_t {
    bit<16> srcPort;
    bit<16> dstPort;
    bit<16> length_;
    bit<16> checksum;
}

struct headers {
    ethernet_t ethernet;
    ipv4_t     ipv4;
    tcp_t      tcp;
    udp_t      udp;
}

struct metadata {
    bit<16> srcPort;
    bit<16> dstPort;
}

struct new_flow_t {
    bit<9>    ingressPort;
    macAddr_t srcAddr;
    macAddr_t dstAddr;
    bit<16>   etherType;
    bit<8>    protocol;
    ip4Addr_t ipSrc;
    ip4Addr_t ipDst;
    bit<16>   srcPort;
    bit<16>   dstPort;
}

parser MyParser(packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.etherType) {
            TYPE_IPV4: parse_ipv4;
            default: accept;
        }
    }
    state parse_ipv4 {
        packet.extract(hdr.ipv4);
        transition select(hdr.ipv4.ihl, hdr.ipv4.fragOffset, hdr.ipv4.protocol) {
            (5, 0, PROTO_TCP): parse_tcp;
            (5, 0, PROTO_UDP): parse_udp;
            default: accept;
        }
    }
    state parse_tcp {
        packet.extract(hdr.tcp);
        meta.srcPort = hdr.tcp.srcPort;
        meta.dstPort = hdr.tcp.dstPort;
        transition accept;
    }
    state parse_udp {
        packet.extract(hdr.udp);
        meta.srcPort = hdr.udp.srcPort;
        meta.dstPort = hdr.udp.dstPort;
        transition accept;
    }
}

control MyVerifyChecksum(inout headers hdr, inout metadata meta) { apply { } }

control MyIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard_metadata) {
    action drop() { mark_to_drop(standard_metadata); }
    action allow() { }
    action forward(egressSpec_t port) { standard_metadata.egress_spec = port; }
    action broadcast() { standard_metadata.mcast_grp = 1; }
    action new_flow() {
        digest<new_flow_t>(1, {
            standard_metadata.ingress_port, hdr.ethernet.srcAddr, hdr.ethernet.dstAddr, hdr.ethernet.etherType,
            hdr.ipv4.protocol, hdr.ipv4.srcAddr, hdr.ipv4.dstAddr, meta.srcPort, meta.dstPort });
        mark_to_drop(standard_metadata);
    }

    table blocked {
        key = {
            standard_metadata.ingress_port: ternary;
            hdr.ethernet.srcAddr:           ternary;
            hdr.ethernet.etherType:         ternary;
            hdr.ipv4.protocol:              ternary;
            hdr.ipv4.srcAddr:               ternary;
            hdr.ipv4.dstAddr:               ternary;
            meta.dstPort:                   ternary;
        }
        actions = { drop; @defaultonly NoAction; }
        const default_action = NoAction();
        size = 512;
    }

    table flows {
        key = {
            standard_metadata.ingress_port: exact;
            hdr.ethernet.srcAddr:           exact;
            hdr.ethernet.dstAddr:           exact;
            hdr.ethernet.etherType:         exact;
            hdr.ipv4.protocol:              exact;
            hdr.ipv4.srcAddr:               exact;
            hdr.ipv4.dstAddr:               exact;
            meta.srcPort:                   exact;
            meta.dstPort:                   exact;
        }
        actions = { allow; drop; forward; @defaultonly new_flow; }
        default_action = new_flow();
        size = 4096;
        support_timeout = true;
    }

    table dmac {
        key = { hdr.ethernet.dstAddr: exact; }
        actions = { forward; @defaultonly broadcast; }
        default_action = broadcast();
        size = 1024;
        support_timeout = true;
    }

    apply {
        if (!blocked.apply().hit) {
            switch (flows.apply().action_run) {
                allow: { dmac.apply(); }
            }
        }
    }
}

control MyEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard_metadata) {
    apply {
        if (standard_metadata.egress_port == standard_metadata.ingress_port) {
            mark_to_drop(standard_metadata);
        }
    }
}

control MyComputeChecksum(inout headers hdr, inout metadata meta) { apply { } }

control MyDeparser(packet_out packet, in headers hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.tcp);
        packet.emit(hdr.udp);
    }
}

@pkginfo(name="classroom", version="1")
V1Switch(MyParser(), MyVerifyChecksum(), MyIngress(), MyEgress(), MyComputeChecksum(), MyDeparser()) main;
