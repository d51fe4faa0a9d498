/*
 * next.p4: a switch as controllers of fabrics have it. An access list decides about
 * packets and names a next hop by number; what a next hop is stands in another
 * table, whose actions a selector chooses. No table has idle timeouts, every
 * default action is fixed, and packets come to the CPU by the access list alone,
 * whole or as a copy. next.yaml maps it.
 */
#include <core.p4>
#include <v1model.p4>

const bit<9> CPU = 510;

@controller_header("packet_in")
header packet_in_h {
    bit<9> ingress_port;
    bit<7> _pad;
}

@controller_header("packet_out")
header packet_out_h {
    bit<9> egress_port;
    @padding bit<7> filler;
}

header eth_h { bit<48> dst; bit<48> src; bit<16> kind; }
header vlan_h { bit<3> pcp; bit<1> dei; bit<12> id; bit<16> kind; }
header ipv4_h {
    bit<4> version; bit<4> ihl; bit<8> tos; bit<16> len; bit<16> id; bit<3> flags; bit<13> offset;
    bit<8> ttl; bit<8> proto; bit<16> sum; bit<32> src; bit<32> dst;
}
header ports_h { bit<16> src; bit<16> dst; }

struct headers_t {
    packet_in_h  cpu_in;
    packet_out_h cpu_out;
    eth_h        eth;
    vlan_h       vlan;
    ipv4_h       ipv4;
    ports_h      ports;
}

struct local_t {
    @field_list(1) // what a copy keeps
    bit<9>  port;
    bit<16> kind;
    bit<12> vlan_id;
    bit<8>  proto;
    bit<16> l4_src;
    bit<16> l4_dst;
    bit<32> next_id;
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
        local.kind = hdr.eth.kind;
        transition select(hdr.eth.kind) {
            0x8100: vlan;
            0x0800: ipv4;
            default: accept;
        }
    }
    state vlan {
        pkt.extract(hdr.vlan);
        local.kind = hdr.vlan.kind;
        local.vlan_id = hdr.vlan.id;
        transition select(hdr.vlan.kind) {
            0x0800: ipv4;
            default: accept;
        }
    }
    state ipv4 {
        pkt.extract(hdr.ipv4);
        local.proto = hdr.ipv4.proto;
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
    action_selector(HashAlgorithm.crc16, 64, 16) hops;
    direct_counter(CounterType.packets_and_bytes) acl_counter;

    action drop() { mark_to_drop(std); acl_counter.count(); }
    action to_next(bit<32> next_id) { local.next_id = next_id; acl_counter.count(); }
    action to_group(bit<16> group) { std.mcast_grp = group; acl_counter.count(); }
    action punt() { std.egress_spec = CPU; acl_counter.count(); }
    action copy(bit<32> session) { clone_preserving_field_list(CloneType.I2E, session, 1); acl_counter.count(); }
    action nop() { acl_counter.count(); }

    table acl {
        key = {
            std.ingress_port: ternary @name("port");
            hdr.eth.src: ternary @name("src");
            hdr.eth.dst: ternary @name("dst");
            hdr.vlan.isValid(): ternary @name("tagged");
            local.vlan_id: ternary @name("vlan");
            local.kind: ternary @name("kind");
            hdr.ipv4.src: ternary @name("ip_src");
            hdr.ipv4.dst: ternary @name("ip_dst");
            local.proto: ternary @name("proto");
            local.l4_src: ternary @name("l4_src");
            local.l4_dst: ternary @name("l4_dst");
        }
        actions = { drop; to_next; to_group; punt; copy; nop; }
        const default_action = nop();
        counters = acl_counter;
        size = 256;
    }

    action output(bit<9> port) { std.egress_spec = port; }
    action rewrite(bit<48> station, bit<9> port) { hdr.eth.dst = station; std.egress_spec = port; }

    table next {
        key = {
            local.next_id: exact @name("next_id");
            hdr.ipv4.src: selector;
            hdr.ipv4.dst: selector;
        }
        actions = { output; rewrite; @defaultonly NoAction; }
        implementation = hops;
        size = 64;
    }

    apply {
        local.port = std.ingress_port;
        if (hdr.cpu_out.isValid()) {
            std.egress_spec = hdr.cpu_out.egress_port;
            hdr.cpu_out.setInvalid();
        } else {
            acl.apply();
            if (local.next_id != 0) {
                next.apply();
            }
        }
    }
}

control egress(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    apply {
        if (std.egress_port == CPU) {
            hdr.cpu_in.setValid();
            hdr.cpu_in.ingress_port = local.port;
            hdr.cpu_in._pad = 0;
        } else if (std.mcast_grp != 0 && std.egress_port == std.ingress_port) {
            mark_to_drop(std);
        }
    }
}

control deparse(packet_out pkt, in headers_t hdr) {
    apply {
        pkt.emit(hdr.cpu_in);
        pkt.emit(hdr.eth);
        pkt.emit(hdr.vlan);
        pkt.emit(hdr.ipv4);
        pkt.emit(hdr.ports);
    }
}

@pkginfo(name="next", version="1")
V1Switch(prs(), no_check(), ingress(), egress(), no_check(), deparse()) main;
