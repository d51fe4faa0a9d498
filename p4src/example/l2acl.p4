/*
 * l2acl.p4: a plain Ethernet switch with an access list for IPv4, as a user might
 * have one. It asks by packet_in only, names things in its own way, and rewrites
 * the destination of what it is told to redirect. l2acl.yaml maps it.
 */
#include <core.p4>
#include <v1model.p4>

const bit<9> CPU = 510;

@controller_header("packet_in")
header cpu_in_h {
    bit<16> port;
}

@controller_header("packet_out")
header cpu_out_h {
    bit<16> port;
}

header eth_h {
    bit<48> daddr;
    bit<48> saddr;
    bit<16> etype;
}

header ip_h {
    bit<8>  version_ihl;
    bit<8>  tos;
    bit<16> len;
    bit<16> id;
    bit<16> frag;
    bit<8>  ttl;
    bit<8>  proto;
    bit<16> sum;
    bit<32> saddr;
    bit<32> daddr;
}

struct hdr_t {
    cpu_in_h  cpu_in;
    cpu_out_h cpu_out;
    eth_h     eth;
    ip_h      ip;
}

struct meta_t { }

parser prs(packet_in pkt, out hdr_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        transition select(std.ingress_port) {
            CPU: from_cpu;
            default: eth;
        }
    }
    state from_cpu {
        pkt.extract(hdr.cpu_out);
        transition eth;
    }
    state eth {
        pkt.extract(hdr.eth);
        transition select(hdr.eth.etype) {
            0x0800: ip;
            default: accept;
        }
    }
    state ip {
        pkt.extract(hdr.ip);
        transition accept;
    }
}

control no_check(inout hdr_t hdr, inout meta_t meta) { apply { } }

control ingress(inout hdr_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    action deny() { mark_to_drop(std); }
    action forward(bit<9> egress) { std.egress_spec = egress; }
    action redirect(bit<48> station, bit<9> egress) {
        hdr.eth.daddr = station;
        std.egress_spec = egress;
    }
    action broadcast() { std.mcast_grp = 7; }
    action ask() {
        hdr.cpu_in.setValid();
        hdr.cpu_in.port = (bit<16>)std.ingress_port;
        std.egress_spec = CPU;
    }
    action permit() { }

    table access_list {
        key = {
            std.ingress_port: optional @name("port");
            hdr.ip.isValid(): exact @name("is_ip");
            hdr.ip.saddr: ternary @name("from");
            hdr.ip.daddr: ternary @name("to");
            hdr.ip.proto: range @name("proto");
        }
        actions = { deny; forward; redirect; permit; @defaultonly NoAction; }
        size = 64;
    }

    table stations {
        key = { hdr.eth.daddr: exact @name("station"); }
        actions = { forward; broadcast; }
        default_action = broadcast();
        size = 256;
    }

    table pairs {
        key = {
            std.ingress_port: exact @name("port");
            hdr.eth.saddr: exact @name("from");
            hdr.eth.daddr: exact @name("to");
        }
        actions = { deny; forward; redirect; permit; @defaultonly ask; @defaultonly broadcast; }
        default_action = ask();
        size = 128;
        support_timeout = true;
    }

    apply {
        if (hdr.cpu_out.isValid()) {
            std.egress_spec = (bit<9>)hdr.cpu_out.port;
            hdr.cpu_out.setInvalid();
        } else if (!access_list.apply().hit) {
            switch (pairs.apply().action_run) {
                permit: { stations.apply(); }
            }
        }
    }
}

control egress(inout hdr_t hdr, inout meta_t meta, inout standard_metadata_t std) { apply { } }

control deparse(packet_out pkt, in hdr_t hdr) {
    apply {
        pkt.emit(hdr.cpu_in);
        pkt.emit(hdr.eth);
        pkt.emit(hdr.ip);
    }
}

@pkginfo(name="l2acl", version="3")
V1Switch(prs(), no_check(), ingress(), egress(), no_check(), deparse()) main;
