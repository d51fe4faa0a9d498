/*
 * kinds.p4: a table with a key of each kind, one whose actions come from a plain
 * action profile, and a digest with members that are no header's. kinds.yaml
 * maps it.
 */
#include <core.p4>
#include <v1model.p4>

const bit<9> CPU = 510;

@controller_header("packet_in")
header packet_in_h { bit<16> port; }
@controller_header("packet_out")
header packet_out_h { bit<16> port; }

header eth_h { bit<48> dst; bit<48> src; bit<16> kind; }
header ipv4_h {
    bit<4> version; bit<4> ihl; bit<8> tos; bit<16> len; bit<16> id; bit<3> flags; bit<13> offset;
    bit<8> ttl; bit<8> proto; bit<16> sum; bit<32> src; bit<32> dst;
}
header ports_h { bit<16> src; bit<16> dst; }

struct headers_t {
    packet_in_h  cpu_in;
    packet_out_h cpu_out;
    eth_h        eth;
    ipv4_h       ipv4;
    ports_h      ports;
}
struct local_t { bit<16> l4_src; bit<16> l4_dst; bit<2> color; }

struct seen_t {
    bit<9>  port;
    bit<48> src;
}

parser prs(packet_in pkt, out headers_t hdr, inout local_t local, inout standard_metadata_t std) {
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
        transition select(hdr.eth.kind) {
            0x0800: ipv4;
            default: accept;
        }
    }
    state ipv4 {
        pkt.extract(hdr.ipv4);
        transition select(hdr.ipv4.ihl, hdr.ipv4.offset, hdr.ipv4.proto) {
            (5, 0, 6): ports;
            (5, 0, 17): ports;
            default: accept;
        }
    }
    state ports {
        pkt.extract(hdr.ports);
        local.l4_src = hdr.ports.src;
        local.l4_dst = hdr.ports.dst;
        transition accept;
    }
}

control no_check(inout headers_t hdr, inout local_t local) { apply { } }

control ingress(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    action_profile(32) ways;
    direct_meter<bit<2>>(MeterType.packets) pace;

    action drop() { mark_to_drop(std); }
    action output(bit<9> port) { std.egress_spec = port; }
    action paced(bit<9> port) { pace.read(local.color); std.egress_spec = port; }
    action group(bit<16> id) { std.mcast_grp = id; }
    action ask(bit<16> tag) {
        hdr.cpu_in.setValid();
        hdr.cpu_in.port = (bit<16>)std.ingress_port + tag;
        std.egress_spec = CPU;
    }
    action tell() { digest<seen_t>(1, { std.ingress_port, hdr.eth.src }); }

    table mixed {
        key = {
            std.ingress_port: exact @name("exact");
            hdr.ipv4.dst: lpm @name("lpm");
            hdr.eth.src: ternary @name("ternary");
            local.l4_dst: range @name("range");
            hdr.ipv4.proto: optional @name("optional");
        }
        actions = { drop; paced; @defaultonly NoAction; }
        meters = pace;
        size = 64;
    }

    table fixed { // the program has entries of its own here
        key = { std.ingress_port: ternary @name("port"); }
        actions = { drop; output; @defaultonly NoAction; }
        entries = {
            const priority=900: 8: drop();
        }
        size = 64;
    }

    table plain {
        key = {
            std.ingress_port: exact @name("port");
            hdr.eth.src: exact @name("src");
            hdr.eth.dst: exact @name("dst");
        }
        actions = { drop; output; group; @defaultonly NoAction; }
        implementation = ways;
        size = 64;
    }

    table last {
        actions = { ask; tell; drop; group; }
        default_action = drop();
    }

    apply {
        if (hdr.cpu_out.isValid()) {
            std.egress_spec = (bit<9>)hdr.cpu_out.port;
            hdr.cpu_out.setInvalid();
        } else if (!fixed.apply().hit && !mixed.apply().hit && !plain.apply().hit) {
            last.apply();
        }
        if (local.color == 2) { // red
            drop();
        }
    }
}

control egress(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) { apply { } }

control deparse(packet_out pkt, in headers_t hdr) {
    apply {
        pkt.emit(hdr.cpu_in);
        pkt.emit(hdr.eth);
        pkt.emit(hdr.ipv4);
        pkt.emit(hdr.ports);
    }
}

@pkginfo(name="kinds", version="1")
V1Switch(prs(), no_check(), ingress(), egress(), no_check(), deparse()) main;
