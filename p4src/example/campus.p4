/*
 * campus.p4: an access switch as large controllers have them. A packet passes a
 * filter of ports, an access list and a table of next hops, and leaves through a
 * second filter of ports; whatever has no entry is dropped. The access list's default
 * action is fixed, so an entry below all others asks. campus.yaml is the mapping that
 * `switchbridge p4 info` proposes.
 */
#include <core.p4>
#include <v1model.p4>

const bit<9>  CPU_PORT = 255;
const bit<16> TYPE_VLAN = 0x8100;
const bit<16> TYPE_IPV4 = 0x0800;
const bit<12> OWN_VLAN = 4000;      // of packets that come without a tag

@controller_header("packet_in")
header punt_h {
    bit<9> ingress_port;
    bit<7> _pad;
}

@controller_header("packet_out")
header inject_h {
    bit<9> egress_port;
    bit<7> _pad;
}

header mac_h {
    bit<48> dst;
    bit<48> src;
}

header tag_h {
    bit<16> tpid;
    bit<3>  pcp;
    bit<1>  dei;
    bit<12> vid;
}

header type_h {
    bit<16> value;
}

header ipv4_h {
    bit<4>  version;
    bit<4>  ihl;
    bit<6>  dscp;
    bit<2>  ecn;
    bit<16> len;
    bit<16> id;
    bit<3>  flags;
    bit<13> offset;
    bit<8>  ttl;
    bit<8>  proto;
    bit<16> sum;
    bit<32> src;
    bit<32> dst;
}

header ports_h {
    bit<16> src;
    bit<16> dst;
}

struct headers_t {
    punt_h   punt;
    inject_h inject;
    mac_h    mac;
    tag_h    tag;
    type_h   type;
    ipv4_h   ipv4;
    ports_h  ports;
}

struct meta_t {
    bit<12> vlan;
    bit<16> next_id;
    bit<2>  port_role;
    bit<1>  refused;
    bit<1>  flooded;
}

parser campus_parser(packet_in pkt, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        transition select(std.ingress_port) {
            CPU_PORT: injected;
            default: mac;
        }
    }
    state injected {
        pkt.extract(hdr.inject);
        transition mac;
    }
    state mac {
        pkt.extract(hdr.mac);
        meta.vlan = OWN_VLAN;
        transition select(pkt.lookahead<bit<16>>()) {
            TYPE_VLAN: tag;
            default: type;
        }
    }
    state tag {
        pkt.extract(hdr.tag);
        meta.vlan = hdr.tag.vid;
        transition type;
    }
    state type {
        pkt.extract(hdr.type);
        transition select(hdr.type.value) {
            TYPE_IPV4: ipv4;
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
        transition accept;
    }
}

control no_sum(inout headers_t hdr, inout meta_t meta) { apply { } }

control campus_ingress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) access_list_counter;

    action refuse() { meta.refused = 1; }
    action admit(bit<2> port_role) { meta.port_role = port_role; }
    table port_filter {
        key = {
            std.ingress_port:  exact @name("port");
            hdr.tag.isValid(): exact @name("is_tagged");
        }
        actions = { admit; @defaultonly refuse; }
        const default_action = refuse();
        size = 512;
    }

    action set_next(bit<16> next_id) { meta.next_id = next_id; }
    action punt() {
        std.egress_spec = CPU_PORT;
        meta.refused = 1;
    }
    action deny() {
        mark_to_drop(std);
        meta.refused = 1;
    }
    action pass() { }
    table access_list {
        key = {
            std.ingress_port: ternary @name("port");
            hdr.mac.src:      ternary @name("eth_src");
            hdr.mac.dst:      ternary @name("eth_dst");
            hdr.tag.vid:      ternary @name("vlan_id");
            hdr.type.value:   ternary @name("eth_type");
            hdr.ipv4.proto:   ternary @name("ip_proto");
            hdr.ipv4.src:     ternary @name("ipv4_src");
            hdr.ipv4.dst:     ternary @name("ipv4_dst");
            hdr.ports.src:    ternary @name("l4_src");
            hdr.ports.dst:    ternary @name("l4_dst");
            meta.port_role:   ternary @name("port_role");
        }
        actions = { set_next; punt; deny; pass; }
        const default_action = pass();
        counters = access_list_counter;
        size = 2048;
    }

    action_selector(HashAlgorithm.crc16, 256, 16) next_hops;
    action send(bit<9> port) { std.egress_spec = port; }
    table next {
        key = {
            meta.next_id:  exact @name("next_id");
            hdr.ipv4.src:  selector;
            hdr.ipv4.dst:  selector;
            hdr.ports.src: selector;
            hdr.ports.dst: selector;
        }
        actions = { send; @defaultonly NoAction; }
        implementation = next_hops;
        size = 1024;
    }

    action spread(bit<16> group) {
        std.mcast_grp = group;
        meta.flooded = 1;
    }
    table spreading {
        key = { meta.next_id: exact @name("next_id"); }
        actions = { spread; }
        size = 64;
    }

    apply {
        if (hdr.inject.isValid()) {
            std.egress_spec = hdr.inject.egress_port;
            hdr.inject.setInvalid();
            exit;
        }
        port_filter.apply();
        access_list.apply();
        if (meta.refused == 0) {
            next.apply();
            spreading.apply();
        }
    }
}

control campus_egress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    action lose() { mark_to_drop(std); }
    action plain() { hdr.tag.setInvalid(); }
    action tagged() {
        hdr.tag.setValid();
        hdr.tag.tpid = TYPE_VLAN;
        hdr.tag.vid = meta.vlan;
    }
    table leaving {
        key = {
            meta.vlan:       exact @name("vlan_id");
            std.egress_port: exact @name("port");
        }
        actions = { plain; tagged; @defaultonly lose; }
        const default_action = lose();
        size = 1024;
    }

    apply {
        if (std.ingress_port == CPU_PORT) {
            exit;
        }
        if (std.egress_port == CPU_PORT) {
            hdr.punt.setValid();
            hdr.punt.ingress_port = std.ingress_port;
            exit;
        }
        leaving.apply();
        if (meta.flooded == 1 && std.ingress_port == std.egress_port) {
            mark_to_drop(std);
        }
    }
}

control campus_deparser(packet_out pkt, in headers_t hdr) {
    apply {
        pkt.emit(hdr.punt);
        pkt.emit(hdr.mac);
        pkt.emit(hdr.tag);
        pkt.emit(hdr.type);
        pkt.emit(hdr.ipv4);
        pkt.emit(hdr.ports);
    }
}

@pkginfo(name="campus", version="1")
V1Switch(campus_parser(), no_sum(), campus_ingress(), campus_egress(), no_sum(), campus_deparser()) main;
