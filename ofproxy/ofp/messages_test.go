package ofp

import (
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"switchbridge/flow"
	"switchbridge/internal/ovs"
)

const v10, v13 = flow.OpenFlow10, flow.OpenFlow13

// message is one message from every side: value is what parse makes of hex,
// encode makes hex, and text is what ovs-ofctl prints of it, but for the line
// that names type, version and xid, and for the spaces.
type message struct {
	name   string
	value  any
	encode func(b []byte) ([]byte, error)
	parse  func(msg []byte) (any, error)
	hex    string
	text   string
}

func ok(b []byte) ([]byte, error) { return b, nil }

// into makes a parse function of one that fills a struct.
func into[T any](parse func([]byte, *T) error) func([]byte) (any, error) {
	return func(msg []byte) (any, error) {
		var t T
		err := parse(msg, &t)
		return t, err
	}
}

func headerOf(msg []byte) (any, error) {
	h, err := ParseHeader(msg)
	if err == nil && h.Length != len(msg) {
		err = errTooLong
	}
	return h, err
}

func header(v flow.Protocol, t Type, n int) Header { return Header{v, t, n, testXID} }

const testXID = 0x01020304

var (
	macA, macB = flow.MAC{2, 0, 0, 0, 0, 0xa}, flow.MAC{2, 0, 0, 0, 0, 0xb}

	testPorts = []flow.Port{{No: 1, HWAddr: macA, Name: "eth1", State: 1}, {No: flow.PortLocal, HWAddr: macB, Name: "br0", Config: 1}}

	testSwitch10 = flow.Switch{DPID: 0xabc, Protocol: v10, NBuffers: 256, NTables: 1, Capabilities: 0xc7, Actions: 0xfff, Ports: testPorts}
	testSwitch13 = flow.Switch{DPID: 0xabc, Protocol: v13, NTables: 254, Auxiliary: 1, Capabilities: 0x4f}

	testDesc = Desc{"Nicira, Inc.", "Open vSwitch", "3.1.0", "None", "br0"}
)

func match(set func(m *flow.Match)) flow.Match {
	var m flow.Match
	set(&m)
	return m
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// tcpMatch is an exact flow as the controller's rules have it.
var tcpMatch = match(func(m *flow.Match) {
	m.SetInPort(1)
	m.SetEthSrc(macA, flow.MACExact)
	m.SetEthDst(macB, flow.MACExact)
	m.SetVLAN(flow.VLANNone, flow.VLANExact)
	m.SetEthType(flow.EthTypeIPv4)
	m.SetIPProto(flow.ProtoTCP)
	m.SetIPSrc(pfx("10.0.0.1/32"))
	m.SetIPDst(pfx("10.0.0.0/24"))
	m.SetL4Src(40000)
	m.SetL4Dst(443)
})

// rewrites are all the actions that both versions have.
var rewrites = []flow.Action{
	{Type: flow.SetVLANVID, Value: 7}, {Type: flow.SetVLANPCP, Value: 5}, {Type: flow.PopVLAN},
	{Type: flow.SetEthSrc, MAC: macB}, {Type: flow.SetEthDst, MAC: macA},
	{Type: flow.SetIPSrc, Addr: netip.MustParseAddr("10.0.0.9")}, {Type: flow.SetIPDst, Addr: netip.MustParseAddr("10.0.0.8")},
	{Type: flow.SetIPDSCP, Value: 46}, {Type: flow.SetL4Src, Value: 1, IPProto: flow.ProtoTCP}, {Type: flow.SetL4Dst, Value: 65535, IPProto: flow.ProtoTCP},
	{Type: flow.SetQueue, ID: 3}, flow.OutputTo(2), flow.OutputTo(flow.PortIn), flow.OutputTo(flow.PortLocal),
	{Type: flow.Output, Port: flow.PortController, MaxLen: 0xffff},
}

var frame = func() []byte { // an ARP request
	b, _ := hex.DecodeString("ffffffffffff02000000000a0806" + "0001080006040001" + "02000000000a0a000001" + "0000000000000a000002")
	return b
}()

func packetIn(data []byte, fill func(p *flow.PacketIn)) flow.PacketIn {
	p := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(data), Data: data, Match: flow.ParseFrame(data, 1)}
	if fill != nil {
		fill(&p)
	}
	return p
}

func flowMod(name string, v flow.Protocol, r flow.Rule, hex, text string) message {
	if r.OutPort == 0 {
		r.OutPort = flow.PortAny
	}
	return message{name, r, func(b []byte) ([]byte, error) { return AppendFlowMod(b, v, testXID, &r, r.BufferID) }, into(ParseFlowMod), hex, text}
}

func packetOut(name string, v flow.Protocol, p PacketOut, hex, text string) message {
	return message{name, p, func(b []byte) ([]byte, error) { return AppendPacketOut(b, v, testXID, &p) }, into(ParsePacketOut), hex, text}
}

func packetInRow(name string, v flow.Protocol, p flow.PacketIn, hex, text string) message {
	return message{name, p, func(b []byte) ([]byte, error) { return AppendPacketIn(b, v, testXID, &p) }, into(ParsePacketIn), hex, text}
}

func empty(name string, v flow.Protocol, t Type, encode func([]byte, flow.Protocol, uint32) []byte, hex, text string) message {
	return message{name, header(v, t, HeaderLen), func(b []byte) ([]byte, error) { return ok(encode(b, v, testXID)) }, headerOf, hex, text}
}

type parsedStats struct {
	Rules []FlowStats
	More  bool
}

func parseStats(msg []byte) (any, error) {
	var p parsedStats
	var err error
	p.More, err = ParseFlowStatsReply(msg, func(s *FlowStats) error { p.Rules = append(p.Rules, *s); return nil })
	return p, err
}

type parsedPorts struct {
	Ports []flow.Port
	More  bool
}

func parsePortDesc(msg []byte) (any, error) {
	ports, more, err := ParsePortDescReply(msg)
	return parsedPorts{ports, more}, err
}

type parsedStatsType struct {
	Type StatsType
	More bool
}

func parseStatsType(msg []byte) (any, error) {
	if h, err := headerOf(msg); err != nil {
		return h, err
	}
	st, more, err := ParseStatsType(msg)
	return parsedStatsType{st, more}, err
}

type parsedRole struct {
	Role       Role
	Generation uint64
}

func parseRole(msg []byte) (any, error) {
	r, g, err := ParseRole(msg)
	return parsedRole{r, g}, err
}

func parseHello(msg []byte) (any, error)  { return ParseHello(msg) }
func parseErr(msg []byte) (any, error)    { return ParseError(msg) }
func parseConfig(msg []byte) (any, error) { return ParseConfig(msg) }
func parseDesc(msg []byte) (any, error)   { return ParseDescReply(msg) }

var messages = []message{
	{"HELLO 1.0", uint32(1 << 1), func(b []byte) ([]byte, error) { return ok(AppendHello(b, testXID, v10)) }, parseHello,
		"0100000801020304",
		"OFPT_HELLO (xid=0x1020304): version bitmap: 0x01"},
	{"HELLO 1.3", uint32(1 << 4), func(b []byte) ([]byte, error) { return ok(AppendHello(b, testXID, v13)) }, parseHello,
		"04000010010203040001000800000010",
		"OFPT_HELLO (OF1.3) (xid=0x1020304): version bitmap: 0x04"},
	{"HELLO both", uint32(1<<4 | 1<<1), func(b []byte) ([]byte, error) { return ok(AppendHello(b, testXID, v10, v13)) }, parseHello,
		"04000010010203040001000800000012",
		"OFPT_HELLO (OF1.3) (xid=0x1020304): version bitmap: 0x01, 0x04"},
	{"ERROR 1.0", flow.SwitchError{Type: 3, Code: 1, Name: "FLOW_MOD_FAILED: OVERLAP", XID: testXID, Data: []byte{1, 14, 0, 72, 0, 0, 0, 1}},
		func(b []byte) ([]byte, error) {
			return ok(AppendError(b, v10, testXID, 3, 1, []byte{1, 14, 0, 72, 0, 0, 0, 1}))
		}, parseErr,
		"010100140102030400030001010e004800000001",
		"OFPT_ERROR (xid=0x1020304): OFPFMFC_OVERLAP OFPT_FLOW_MOD (xid=0x1): (***truncated to 8 bytes from 72***) 00000000 01 0e 00 48 00 00 00 01- |...H.... |"},
	{"ERROR 1.3", flow.SwitchError{Type: 4, Code: 9, Name: "BAD_MATCH: BAD_PREREQ", XID: testXID, Data: []byte{4, 14, 0, 72, 0, 0, 0, 1}},
		func(b []byte) ([]byte, error) {
			return ok(AppendError(b, v13, testXID, 4, 9, []byte{4, 14, 0, 72, 0, 0, 0, 1}))
		}, parseErr,
		"040100140102030400040009040e004800000001",
		"OFPT_ERROR (OF1.3) (xid=0x1020304): OFPBMC_BAD_PREREQ OFPT_FLOW_MOD (OF1.3) (xid=0x1): (***truncated to 8 bytes from 72***) 00000000 04 0e 00 48 00 00 00 01- |...H.... |"},
	{"HELLO_FAILED", flow.SwitchError{Name: "HELLO_FAILED: INCOMPATIBLE", XID: testXID, Data: []byte("want 1.3")},
		func(b []byte) ([]byte, error) {
			return ok(AppendError(b, v13, testXID, ErrHelloFailed, HelloIncompatible, []byte("want 1.3")))
		}, parseErr,
		"04010014010203040000000077616e7420312e33",
		"OFPT_ERROR (OF1.3) (xid=0x1020304): OFPHFC_INCOMPATIBLE want 1.3"},
	{"ECHO_REQUEST", header(v10, TypeEchoRequest, HeaderLen+2), func(b []byte) ([]byte, error) { return ok(AppendEchoRequest(b, v10, testXID, []byte("hi"))) }, headerOf,
		"0102000a010203046869",
		"OFPT_ECHO_REQUEST (xid=0x1020304): 2 bytes of payload 00000000 68 69 |hi |"},
	{"ECHO_REPLY", header(v13, TypeEchoReply, HeaderLen+2), func(b []byte) ([]byte, error) { return ok(AppendEchoReply(b, v13, testXID, []byte("hi"))) }, headerOf,
		"0403000a010203046869",
		"OFPT_ECHO_REPLY (OF1.3) (xid=0x1020304): 2 bytes of payload 00000000 68 69 |hi |"},
	empty("FEATURES_REQUEST 1.0", v10, TypeFeaturesRequest, AppendFeaturesRequest,
		"0105000801020304",
		"OFPT_FEATURES_REQUEST (xid=0x1020304):"),
	empty("FEATURES_REQUEST 1.3", v13, TypeFeaturesRequest, AppendFeaturesRequest,
		"0405000801020304",
		"OFPT_FEATURES_REQUEST (OF1.3) (xid=0x1020304):"),
	{"FEATURES_REPLY 1.0", testSwitch10, func(b []byte) ([]byte, error) { return ok(AppendFeaturesReply(b, v10, testXID, &testSwitch10)) }, into(ParseFeaturesReply),
		"01060080010203040000000000000abc0000010001000000000000c700000fff000102000000000a65746831000000000000000000000000000000000000000100000000000000000000000000000000fffe02000000000b62723000000000000000000000000000000000010000000000000000000000000000000000000000",
		"OFPT_FEATURES_REPLY (xid=0x1020304): dpid:0000000000000abc n_tables:1, n_buffers:256 capabilities: FLOW_STATS TABLE_STATS PORT_STATS QUEUE_STATS ARP_MATCH_IP actions: output enqueue set_vlan_vid set_vlan_pcp strip_vlan mod_dl_src mod_dl_dst mod_nw_src mod_nw_dst mod_nw_tos mod_tp_src mod_tp_dst 1(eth1): addr:02:00:00:00:00:0a config: 0 state: LINK_DOWN speed: 0 Mbps now, 0 Mbps max LOCAL(br0): addr:02:00:00:00:00:0b config: PORT_DOWN state: 0 speed: 0 Mbps now, 0 Mbps max"},
	{"FEATURES_REPLY 1.3", testSwitch13, func(b []byte) ([]byte, error) { return ok(AppendFeaturesReply(b, v13, testXID, &testSwitch13)) }, into(ParseFeaturesReply),
		"04060020010203040000000000000abc00000000fe0100000000004f00000000",
		"OFPT_FEATURES_REPLY (OF1.3) (xid=0x1020304): dpid:0000000000000abc n_tables:254, n_buffers:0, auxiliary_id:1 capabilities: FLOW_STATS TABLE_STATS PORT_STATS GROUP_STATS QUEUE_STATS"},
	empty("GET_CONFIG_REQUEST 1.0", v10, TypeGetConfigRequest, AppendGetConfigRequest,
		"0107000801020304",
		"OFPT_GET_CONFIG_REQUEST (xid=0x1020304):"),
	empty("GET_CONFIG_REQUEST 1.3", v13, TypeGetConfigRequest, AppendGetConfigRequest,
		"0407000801020304",
		"OFPT_GET_CONFIG_REQUEST (OF1.3) (xid=0x1020304):"),
	{"GET_CONFIG_REPLY 1.0", uint16(128), func(b []byte) ([]byte, error) { return ok(AppendGetConfigReply(b, v10, testXID, 128)) }, parseConfig,
		"0108000c0102030400000080",
		"OFPT_GET_CONFIG_REPLY (xid=0x1020304): frags=normal miss_send_len=128"},
	{"GET_CONFIG_REPLY 1.3", uint16(128), func(b []byte) ([]byte, error) { return ok(AppendGetConfigReply(b, v13, testXID, 128)) }, parseConfig,
		"0408000c0102030400000080",
		"OFPT_GET_CONFIG_REPLY (OF1.3) (xid=0x1020304): frags=normal miss_send_len=128"},
	{"SET_CONFIG 1.0", uint16(0xffff), func(b []byte) ([]byte, error) { return ok(AppendSetConfig(b, v10, testXID, 0xffff)) }, parseConfig,
		"0109000c010203040000ffff",
		"OFPT_SET_CONFIG (xid=0x1020304): frags=normal miss_send_len=65535"},
	{"SET_CONFIG 1.3", uint16(0xffff), func(b []byte) ([]byte, error) { return ok(AppendSetConfig(b, v13, testXID, 0xffff)) }, parseConfig,
		"0409000c010203040000ffff",
		"OFPT_SET_CONFIG (OF1.3) (xid=0x1020304): frags=normal miss_send_len=65535"},
	empty("BARRIER_REQUEST 1.0", v10, TypeBarrierRequest, AppendBarrierRequest,
		"0112000801020304",
		"OFPT_BARRIER_REQUEST (xid=0x1020304):"),
	empty("BARRIER_REQUEST 1.3", v13, TypeBarrierRequest, AppendBarrierRequest,
		"0414000801020304",
		"OFPT_BARRIER_REQUEST (OF1.3) (xid=0x1020304):"),
	empty("BARRIER_REPLY 1.0", v10, TypeBarrierReply, AppendBarrierReply,
		"0113000801020304",
		"OFPT_BARRIER_REPLY (xid=0x1020304):"),
	empty("BARRIER_REPLY 1.3", v13, TypeBarrierReply, AppendBarrierReply,
		"0415000801020304",
		"OFPT_BARRIER_REPLY (OF1.3) (xid=0x1020304):"),
	{"DESC request 1.0", parsedStatsType{StatsDesc, false}, func(b []byte) ([]byte, error) { return ok(AppendDescRequest(b, v10, testXID)) }, parseStatsType,
		"0110000c0102030400000000",
		"OFPST_DESC request (xid=0x1020304):"},
	{"DESC request 1.3", parsedStatsType{StatsDesc, false}, func(b []byte) ([]byte, error) { return ok(AppendDescRequest(b, v13, testXID)) }, parseStatsType,
		"04120010010203040000000000000000",
		"OFPST_DESC request (OF1.3) (xid=0x1020304):"},
	{"DESC reply 1.0", testDesc, func(b []byte) ([]byte, error) { return ok(AppendDescReply(b, v10, testXID, testDesc)) }, parseDesc,
		"0111042c01020304000000004e69636972612c20496e632e000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000004f70656e207653776974636800000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000332e312e3000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000004e6f6e650000000000000000000000000000000000000000000000000000000062723000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
		"OFPST_DESC reply (xid=0x1020304): Manufacturer: Nicira, Inc. Hardware: Open vSwitch Software: 3.1.0 Serial Num: None DP Description: br0"},
	{"DESC reply 1.3", testDesc, func(b []byte) ([]byte, error) { return ok(AppendDescReply(b, v13, testXID, testDesc)) }, parseDesc,
		"041304300102030400000000000000004e69636972612c20496e632e000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000004f70656e207653776974636800000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000332e312e3000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000004e6f6e650000000000000000000000000000000000000000000000000000000062723000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
		"OFPST_DESC reply (OF1.3) (xid=0x1020304): Manufacturer: Nicira, Inc. Hardware: Open vSwitch Software: 3.1.0 Serial Num: None DP Description: br0"},
	{"PORT_DESC request", parsedStatsType{StatsPortDesc, false}, func(b []byte) ([]byte, error) { return ok(AppendPortDescRequest(b, testXID)) }, parseStatsType,
		"0412001001020304000d000000000000",
		"OFPST_PORT_DESC request (OF1.3) (xid=0x1020304): port=ANY"},
	{"PORT_DESC reply", parsedPorts{testPorts, false}, func(b []byte) ([]byte, error) { return ok(AppendPortDescReply(b, testXID, testPorts)) }, parsePortDesc,
		"0413009001020304000d000000000000000000010000000002000000000a0000657468310000000000000000000000000000000000000001000000000000000000000000000000000000000000000000fffffffe0000000002000000000b0000627230000000000000000000000000000000000100000000000000000000000000000000000000000000000000000000",
		"OFPST_PORT_DESC reply (OF1.3) (xid=0x1020304): 1(eth1): addr:02:00:00:00:00:0a config: 0 state: LINK_DOWN speed: 0 Mbps now, 0 Mbps max LOCAL(br0): addr:02:00:00:00:00:0b config: PORT_DOWN state: 0 speed: 0 Mbps now, 0 Mbps max"},
	{"PORT_STATUS 1.0", flow.PortStatus{Reason: flow.PortModified, Port: testPorts[0]}, func(b []byte) ([]byte, error) {
		return ok(AppendPortStatus(b, v10, testXID, &flow.PortStatus{Reason: flow.PortModified, Port: testPorts[0]}))
	}, into(ParsePortStatus),
		"010c0040010203040200000000000000000102000000000a65746831000000000000000000000000000000000000000100000000000000000000000000000000",
		"OFPT_PORT_STATUS (xid=0x1020304): MOD: 1(eth1): addr:02:00:00:00:00:0a config: 0 state: LINK_DOWN speed: 0 Mbps now, 0 Mbps max"},
	{"PORT_STATUS 1.3", flow.PortStatus{Reason: flow.PortDeleted, Port: testPorts[1]}, func(b []byte) ([]byte, error) {
		return ok(AppendPortStatus(b, v13, testXID, &flow.PortStatus{Reason: flow.PortDeleted, Port: testPorts[1]}))
	}, into(ParsePortStatus),
		"040c0050010203040100000000000000fffffffe0000000002000000000b0000627230000000000000000000000000000000000100000000000000000000000000000000000000000000000000000000",
		"OFPT_PORT_STATUS (OF1.3) (xid=0x1020304): DEL: LOCAL(br0): addr:02:00:00:00:00:0b config: PORT_DOWN state: 0 speed: 0 Mbps now, 0 Mbps max"},
	{"ROLE_REQUEST", parsedRole{RoleMaster, 9}, func(b []byte) ([]byte, error) { return ok(AppendRoleRequest(b, testXID, RoleMaster, 9)) }, parseRole,
		"041800180102030400000002000000000000000000000009",
		"OFPT_ROLE_REQUEST (OF1.3) (xid=0x1020304): role=primary generation_id=9"},
	{"ROLE_REPLY", parsedRole{RoleSlave, 10}, func(b []byte) ([]byte, error) { return ok(AppendRoleReply(b, testXID, RoleSlave, 10)) }, parseRole,
		"04190018010203040000000300000000000000000000000a",
		"OFPT_ROLE_REPLY (OF1.3) (xid=0x1020304): role=secondary generation_id=10"},
	{"METER_MOD add", header(v13, TypeMeterMod, 32), func(b []byte) ([]byte, error) {
		return ok(AppendMeterAdd(b, testXID, Meter{ID: 1, Rate: 100, Burst: 10}))
	}, headerOf,
		"041d002001020304000000060000000100010010000000640000000a00000000",
		"OFPT_METER_MOD (OF1.3) (xid=0x1020304): ADD meter=1 pktps burst bands= type=drop rate=100 burst_size=10"},
	{"METER_MOD modify", header(v13, TypeMeterMod, 32), func(b []byte) ([]byte, error) {
		return ok(AppendMeterModify(b, testXID, Meter{ID: 1, KBPS: true, Rate: 100}))
	}, headerOf,
		"041d002001020304000100010000000100010010000000640000000000000000",
		"OFPT_METER_MOD (OF1.3) (xid=0x1020304): MOD meter=1 kbps bands= type=drop rate=100"},
	{"METER_MOD delete", header(v13, TypeMeterMod, 16), func(b []byte) ([]byte, error) { return ok(AppendMeterDelete(b, testXID, 1)) }, headerOf,
		"041d0010010203040002000000000001",
		"OFPT_METER_MOD (OF1.3) (xid=0x1020304): DEL meter=1 bands="},

	packetInRow("PACKET_IN 1.0", v10, packetIn(frame, func(p *flow.PacketIn) { p.BufferID = 256; p.TotalLen = 60 }),
		"010a003c0102030400000100003c00010000ffffffffffff02000000000a0806000108000604000102000000000a0a0000010000000000000a000002",
		"OFPT_PACKET_IN (xid=0x1020304): total_len=60 in_port=1 (via no_match) data_len=42 buffer=0x00000100 arp,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_op=1,arp_sha=02:00:00:00:00:0a,arp_tha=00:00:00:00:00:00"),
	packetInRow("PACKET_IN 1.0 from LOCAL", v10, packetIn(frame, func(p *flow.PacketIn) { p.Match.InPort = flow.PortLocal; p.Reason = flow.ReasonAction }),
		"010a003c01020304ffffffff002afffe0100ffffffffffff02000000000a0806000108000604000102000000000a0a0000010000000000000a000002",
		"OFPT_PACKET_IN (xid=0x1020304): total_len=42 in_port=LOCAL (via action) data_len=42 (unbuffered) arp,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_op=1,arp_sha=02:00:00:00:00:0a,arp_tha=00:00:00:00:00:00"),
	packetInRow("PACKET_IN 1.3", v13, packetIn(frame, func(p *flow.PacketIn) { p.TableID = 1; p.Cookie = 0xc0 }),
		"040a005401020304ffffffff002a000100000000000000c00001000c8000000400000001000000000000ffffffffffff02000000000a0806000108000604000102000000000a0a0000010000000000000a000002",
		"OFPT_PACKET_IN (OF1.3) (xid=0x1020304): table_id=1 cookie=0xc0 total_len=42 in_port=1 (via no_match) data_len=42 (unbuffered) arp,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_op=1,arp_sha=02:00:00:00:00:0a,arp_tha=00:00:00:00:00:00"),
	packetInRow("PACKET_IN 1.3 of a tunnel", v13, packetIn(frame, func(p *flow.PacketIn) {
		p.Match.Fields |= flow.FieldTunnelID | flow.FieldMetadata
		p.Match.TunnelID, p.Match.TunnelMask = 5, 1<<64-1
		p.Match.Metadata, p.Match.MetadataMask = 6, 1<<64-1
	}),
		"040a006c01020304ffffffff002a0000000000000000000000010024800000040000000180000408000000000000000680004c080000000000000005000000000000ffffffffffff02000000000a0806000108000604000102000000000a0a0000010000000000000a000002",
		"OFPT_PACKET_IN (OF1.3) (xid=0x1020304): cookie=0x0 total_len=42 tun_id=0x5,metadata=0x6,in_port=1 (via no_match) data_len=42 (unbuffered) arp,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_op=1,arp_sha=02:00:00:00:00:0a,arp_tha=00:00:00:00:00:00"),
	packetInRow("PACKET_IN 1.3 of a digest", v13, packetIn(nil, func(p *flow.PacketIn) { p.Match = tcpMatch; p.Match.SetIPDst(pfx("10.0.0.2/32")); p.Data = []byte{} }),
		"040a006a01020304ffffffff0000000000000000000000000001004d80000004000000018000060602000000000b8000080602000000000a80000a02080080000c0200008000140106800016040a000001800018040a00000280001a029c4080001c0201bb0000000000",
		"OFPT_PACKET_IN (OF1.3) (xid=0x1020304): cookie=0x0 total_len=0 tcp,in_port=1,vlan_tci=0x0000/0x1fff,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=40000,tp_dst=443 (via no_match) data_len=0 (unbuffered) vlan_tci=0x0000,dl_src=00:00:00:00:00:00,dl_dst=00:00:00:00:00:00,dl_type=0x0000"),

	packetOut("PACKET_OUT 1.0 of a buffer", v10, PacketOut{BufferID: 7, InPort: 1, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}},
		"010d001801020304000000070001000800000008fffa0000",
		"OFPT_PACKET_OUT (xid=0x1020304): in_port=1 actions=NORMAL buffer=0x00000007"),
	packetOut("PACKET_OUT 1.0", v10, PacketOut{BufferID: flow.NoBuffer, InPort: flow.PortAny, Actions: []flow.Action{{Type: flow.SetQueue, ID: 1}, flow.OutputTo(2)}, Data: frame},
		"010d004a01020304ffffffffffff0010000b0010000200000000000000000001ffffffffffff02000000000a0806000108000604000102000000000a0a0000010000000000000a000002",
		"OFPT_PACKET_OUT (xid=0x1020304): in_port=ANY actions=enqueue:2:1 data_len=42 arp,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_op=1,arp_sha=02:00:00:00:00:0a,arp_tha=00:00:00:00:00:00"),
	packetOut("PACKET_OUT 1.3 of a buffer", v13, PacketOut{BufferID: 7, InPort: 1, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}},
		"040d0028010203040000000700000001001000000000000000000010fffffffa0000000000000000",
		"OFPT_PACKET_OUT (OF1.3) (xid=0x1020304): in_port=1 actions=NORMAL buffer=0x00000007"),
	packetOut("PACKET_OUT 1.3", v13, PacketOut{BufferID: flow.NoBuffer, InPort: flow.PortController, Actions: []flow.Action{{Type: flow.SetQueue, ID: 1}, flow.OutputTo(flow.PortFlood)}, Data: frame},
		"040d005a01020304fffffffffffffffd0018000000000000001500080000000100000010fffffffb0000000000000000ffffffffffff02000000000a0806000108000604000102000000000a0a0000010000000000000a000002",
		"OFPT_PACKET_OUT (OF1.3) (xid=0x1020304): in_port=CONTROLLER actions=set_queue:1,FLOOD data_len=42 arp,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_op=1,arp_sha=02:00:00:00:00:0a,arp_tha=00:00:00:00:00:00"),
	packetOut("PACKET_OUT drop", v13, PacketOut{BufferID: 7, InPort: 3},
		"040d00180102030400000007000000030000000000000000",
		"OFPT_PACKET_OUT (OF1.3) (xid=0x1020304): in_port=3 actions=drop buffer=0x00000007"),

	flowMod("FLOW_MOD 1.0 exact flow", v10, flow.Rule{Priority: 100, IdleTimeout: 30 * time.Second, HardTimeout: 300 * time.Second, Flags: flow.SendFlowRemoved | flow.CheckOverlap,
		Cookie: 0x0102030405060708, BufferID: flow.NoBuffer, Match: tcpMatch, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}},
		"010e00500102030400320000000102000000000a02000000000bffff00000800000600000a0000010a0000009c4001bb01020304050607080000001e012c0064ffffffffffff000300000008fffa0000",
		"OFPT_FLOW_MOD (xid=0x1020304): ADD priority=100,tcp,in_port=1,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.0/24,tp_src=40000,tp_dst=443 cookie:0x102030405060708 idle:30 hard:300 send_flow_rem check_overlap actions=NORMAL"),
	flowMod("FLOW_MOD 1.0 rewrites", v10, flow.Rule{Priority: 1, BufferID: 5, Actions: rewrites, Match: match(func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(flow.ProtoTCP) })},
		"010e00e001020304003fffcf0000000000000000000000000000000000000800000600000000000000000000000000000000000000000000000000000000000100000005ffff00000001000800070000000200080500000000030008000000000004001002000000000b0000000000000005001002000000000a000000000000000600080a000009000700080a00000800080008b80000000009000800010000000a0008ffff0000000b0010000200000000000000000003000b0010fff800000000000000000003000b0010fffe0000000000000000000300000008fffdffff",
		"OFPT_FLOW_MOD (xid=0x1020304): ADD priority=1,tcp buf:0x5 actions=mod_vlan_vid:7,mod_vlan_pcp:5,strip_vlan,mod_dl_src:02:00:00:00:00:0b,mod_dl_dst:02:00:00:00:00:0a,mod_nw_src:10.0.0.9,mod_nw_dst:10.0.0.8,mod_nw_tos:184,mod_tp_src:1,mod_tp_dst:65535,enqueue:2:3,enqueue:IN_PORT:3,enqueue:LOCAL:3,CONTROLLER:65535"),
	flowMod("FLOW_MOD 1.0 ARP", v10, flow.Rule{BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetInPort(flow.PortLocal)
		m.SetEthType(flow.EthTypeARP)
		m.Fields |= flow.FieldARPOp
		m.ARPOp = 2
		m.SetARPSPA(pfx("10.0.0.0/8"))
		m.SetARPTPA(pfx("10.0.0.2/32"))
	})},
		"010e004801020304003018cefffe000000000000000000000000000000000806000200000a0000000a0000020000000000000000000000000000000000000000ffffffffffff0000",
		"OFPT_FLOW_MOD (xid=0x1020304): ADD priority=0,arp,in_port=LOCAL,arp_spa=10.0.0.0/8,arp_tpa=10.0.0.2,arp_op=2 actions=drop"),
	flowMod("FLOW_MOD 1.0 ICMP of a VLAN", v10, flow.Rule{Command: flow.ModifyStrict, BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetVLAN(flow.VLANPresent|7, flow.VLANExact)
		m.Fields |= flow.FieldVLANPCP | flow.FieldIPDSCP
		m.VLANPCP, m.IPDSCP = 5, 46
		m.SetEthType(flow.EthTypeIPv4)
		m.SetIPProto(flow.ProtoICMP)
		m.SetICMP(8, 0)
	})},
		"010e004801020304000fff0d0000000000000000000000000000000705000800b801000000000000000000000008000000000000000000000002000000000000ffffffffffff0000",
		"OFPT_FLOW_MOD (xid=0x1020304): MOD_STRICT priority=0,icmp,dl_vlan=7,dl_vlan_pcp=5,nw_tos=184,icmp_type=8,icmp_code=0 actions=drop"),
	flowMod("FLOW_MOD 1.0 any tag of a priority", v10, flow.Rule{BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetVLAN(flow.VLANPresent, flow.VLANPresent)
		m.Fields |= flow.FieldVLANPCP
		m.VLANPCP = 3
	})},
		"010e004801020304002fffff00000000000000000000000000000000030000000000000000000000000000000000000000000000000000000000000000000000ffffffffffff0000",
		"OFPT_FLOW_MOD (xid=0x1020304): ADD priority=0,dl_vlan_pcp=3 actions=drop"),
	flowMod("FLOW_MOD 1.0 delete by out_port", v10, flow.Rule{Command: flow.DeleteStrict, OutPort: 4, Priority: 9, BufferID: flow.NoBuffer},
		"010e004801020304003fffff00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000004000000000009ffffffff00040000",
		"OFPT_FLOW_MOD (xid=0x1020304): DEL_STRICT priority=9 out_port:4 actions=drop"),
	flowMod("FLOW_MOD 1.3 exact flow", v13, flow.Rule{Priority: 100, IdleTimeout: 30 * time.Second, HardTimeout: 300 * time.Second, Flags: flow.SendFlowRemoved | flow.CheckOverlap,
		Cookie: 0x0102030405060708, BufferID: flow.NoBuffer, Match: tcpMatch, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}},
		"040e00a001020304010203040506070800000000000000000000001e012c0064ffffffffffffffffffffffff000300000001005180000004000000018000060602000000000b8000080602000000000a80000a02080080000c0200008000140106800016040a000001800019080a000000ffffff0080001a029c4080001c0201bb00000000000000000400180000000000000010fffffffa0000000000000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): ADD priority=100,tcp,in_port=1,vlan_tci=0x0000/0x1fff,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.0/24,tp_src=40000,tp_dst=443 cookie:0x102030405060708 idle:30 hard:300 send_flow_rem check_overlap actions=NORMAL"),
	flowMod("FLOW_MOD 1.3 table-miss", v13, flow.Rule{BufferID: flow.NoBuffer, Meter: 1, Actions: []flow.Action{{Type: flow.Output, Port: flow.PortController, MaxLen: 0xffff}}},
		"040e005801020304000000000000000000000000000000000000000000000000ffffffffffffffffffffffff0000000000010004000000000006000800000001000400180000000000000010fffffffdffff000000000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): ADD priority=0 actions=meter:1,CONTROLLER:65535"),
	flowMod("FLOW_MOD 1.3 rewrites", v13, flow.Rule{Priority: 1, BufferID: 5, Meter: 7, Goto: 1,
		Actions: append([]flow.Action{{Type: flow.PushVLAN, Value: flow.EthTypeVLAN}, {Type: flow.DecTTL}, {Type: flow.SetQueue, ID: 9}}, rewrites...),
		Match: match(func(m *flow.Match) {
			m.SetVLAN(flow.VLANNone, flow.VLANExact)
			m.SetEthType(flow.EthTypeIPv4)
			m.SetIPProto(flow.ProtoTCP)
		})},
		"040e01580102030400000000000000000000000000000000000000000000000100000005ffffffffffffffff000000000001001580000a02080080000c0200008000140106000000000600080000000700040100000000000011000881000000001800080000000000150008000000090019001080000c0210070000000000000019001080000e0105000000000000000012000800000000001900108000080602000000000b0000001900108000060602000000000a000000190010800016040a0000090000000000190010800018040a0000080000000000190010800010012e000000000000000019001080001a0200010000000000000019001080001c02ffff00000000000000150008000000030000001000000002000000000000000000000010fffffff8000000000000000000000010fffffffe000000000000000000000010fffffffdffff0000000000000001000801000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): ADD priority=1,tcp,vlan_tci=0x0000/0x1fff buf:0x5 actions=meter:7,push_vlan:0x8100,dec_ttl,set_queue:9,set_field:4103->vlan_vid,set_field:5->vlan_pcp,pop_vlan,set_field:02:00:00:00:00:0b->eth_src,set_field:02:00:00:00:00:0a->eth_dst,set_field:10.0.0.9->ip_src,set_field:10.0.0.8->ip_dst,set_field:46->ip_dscp,set_field:1->tcp_src,set_field:65535->tcp_dst,set_queue:3,output:2,IN_PORT,LOCAL,CONTROLLER:65535,goto_table:1"),
	flowMod("FLOW_MOD 1.3 IPv6", v13, flow.Rule{Table: 1, BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetEthType(flow.EthTypeIPv6)
		m.SetIPSrc(pfx("2001:db8:8000::/33"))
		m.SetIPDst(pfx("2001:db8::1/128"))
		m.SetIPProto(flow.ProtoICMPv6)
		m.SetICMP(135, 0)
		m.Fields |= flow.FieldNDTarget | flow.FieldFlowLabel | flow.FieldIPDSCP | flow.FieldIPECN
		m.NDTarget, m.FlowLabel, m.IPDSCP, m.IPECN = netip.MustParseAddr("2001:db8::2"), 0x12345, 8, 1
	}), Actions: []flow.Action{{Type: flow.SetIPDst, Addr: netip.MustParseAddr("2001:db8::3")}, flow.OutputTo(1)}},
		"040e00d801020304000000000000000000000000000000000100000000000000ffffffffffffffffffffffff000000000001007780000a0286dd80001001088000120101800014013a8000352020010db8800000000000000000000000ffffffff8000000000000000000000008000361020010db800000000000000000000000180003a018780003c0100800038040001234580003e1020010db8000000000000000000000002000004003000000000001900188000361020010db800000000000000000000000300000010000000010000000000000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): ADD table:1 priority=0,icmp6,ipv6_src=2001:db8:8000::/33,ipv6_dst=2001:db8::1,ipv6_label=0x12345,nw_tos=32,nw_ecn=1,icmp_type=135,icmp_code=0,nd_target=2001:db8::2 actions=set_field:2001:db8::3->ipv6_dst,output:1"),
	flowMod("FLOW_MOD 1.3 ARP", v13, flow.Rule{BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetEthType(flow.EthTypeARP)
		m.Fields |= flow.FieldARPOp | flow.FieldARPSHA | flow.FieldARPTHA
		m.ARPOp, m.ARPSHA, m.ARPTHA = 2, macA, macB
		m.SetARPSPA(pfx("10.0.0.0/8"))
		m.SetARPTPA(pfx("10.0.0.2/32"))
	})},
		"040e006801020304000000000000000000000000000000000000000000000000ffffffffffffffffffffffff000000000001003880000a02080680002a02000280002d080a000000ff00000080002e040a0000028000300602000000000a8000320602000000000b",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): ADD priority=0,arp,arp_spa=10.0.0.0/8,arp_tpa=10.0.0.2,arp_op=2,arp_sha=02:00:00:00:00:0a,arp_tha=02:00:00:00:00:0b actions=drop"),
	flowMod("FLOW_MOD 1.3 masks", v13, flow.Rule{Command: flow.Modify, CookieMask: 0xffff << 48, Cookie: 1 << 48, Priority: 2, BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetEthDst(flow.MAC{1}, flow.MAC{1})
		m.SetEthSrc(flow.MAC{2, 0, 0x5e}, flow.MAC{0xff, 0xff, 0xff})
		m.SetVLAN(flow.VLANPresent, flow.VLANPresent)
		m.Fields |= flow.FieldMetadata | flow.FieldTunnelID | flow.FieldVLANPCP
		m.VLANPCP = 6
		m.Metadata, m.MetadataMask = 0x10, 0xf0
		m.TunnelID, m.TunnelMask = 5, 0xff
	})},
		"040e0090010203040001000000000000ffff0000000000000001000000000002ffffffffffffffffffffffff000000000001005980000510000000000000001000000000000000f08000070c0100000000000100000000008000090c02005e000000ffffff00000080000d041000100080000e010680004d10000000000000000500000000000000ff00000000000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): MOD priority=2,tun_id=0x5/0xff,metadata=0x10/0xf0,dl_vlan_pcp=6,dl_src=02:00:5e:00:00:00/ff:ff:ff:00:00:00,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 cookie:0x1000000000000/0xffff000000000000 actions=drop"),
	flowMod("FLOW_MOD 1.3 UDP", v13, flow.Rule{BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetEthType(flow.EthTypeIPv4)
		m.SetIPProto(flow.ProtoUDP)
		m.SetL4Dst(53)
	}), Actions: []flow.Action{{Type: flow.SetL4Dst, Value: 5353, IPProto: flow.ProtoUDP}, flow.OutputTo(1)}},
		"040e007001020304000000000000000000000000000000000000000000000000ffffffffffffffffffffffff000000000001001580000a02080080001401118000200200350000000004002800000000001900108000200214e900000000000000000010000000010000000000000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): ADD priority=0,udp,tp_dst=53 actions=set_field:5353->udp_dst,output:1"),
	flowMod("FLOW_MOD 1.3 SCTP over IPv6", v13, flow.Rule{BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetEthType(flow.EthTypeIPv6)
		m.SetIPProto(flow.ProtoSCTP)
		m.SetL4Src(9)
	})},
		"040e004801020304000000000000000000000000000000000000000000000000ffffffffffffffffffffffff000000000001001580000a0286dd8000140184800022020009000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): ADD priority=0,sctp6,tp_src=9 actions=drop"),
	flowMod("FLOW_MOD 1.3 ICMP", v13, flow.Rule{BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
		m.SetEthType(flow.EthTypeIPv4)
		m.SetIPProto(flow.ProtoICMP)
		m.SetICMP(8, 0)
	})},
		"040e005001020304000000000000000000000000000000000000000000000000ffffffffffffffffffffffff000000000001001980000a02080080001401018000260108800028010000000000000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): ADD priority=0,icmp,icmp_type=8,icmp_code=0 actions=drop"),
	flowMod("FLOW_MOD 1.3 sweep", v13, flow.Rule{Command: flow.Delete, Table: 0xff, Cookie: 0x5b << 48, CookieMask: 0xffff << 48, BufferID: flow.NoBuffer},
		"040e003801020304005b000000000000ffff000000000000ff03000000000000ffffffffffffffffffffffff000000000001000400000000",
		"OFPT_FLOW_MOD (OF1.3) (xid=0x1020304): DEL table:255 priority=0 cookie:0x5b000000000000/0xffff000000000000 actions=drop"),

	{"FLOW_REMOVED 1.0", removed10, func(b []byte) ([]byte, error) { return ok(AppendFlowRemoved(b, v10, testXID, &removed10)) }, into(ParseFlowRemoved),
		"010b00580102030400320000000102000000000a02000000000bffff00000800000600000a0000010a0000009c4001bb0000000000000005006400000000001f00000005001e00000000000000000003000000000000012c",
		"OFPT_FLOW_REMOVED (xid=0x1020304): priority=100,tcp,in_port=1,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.0/24,tp_src=40000,tp_dst=443 reason=idle cookie:0x5 duration31.000000005s idle30 pkts3 bytes300"},
	{"FLOW_REMOVED 1.3", removed13, func(b []byte) ([]byte, error) { return ok(AppendFlowRemoved(b, v13, testXID, &removed13)) }, into(ParseFlowRemoved),
		"040b0088010203040000000000000005006401010000001f00000005001e012c0000000000000003000000000000012c0001005180000004000000018000060602000000000b8000080602000000000a80000a02080080000c0200008000140106800016040a000001800019080a000000ffffff0080001a029c4080001c0201bb00000000000000",
		"OFPT_FLOW_REMOVED (OF1.3) (xid=0x1020304): priority=100,tcp,in_port=1,vlan_tci=0x0000/0x1fff,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.0/24,tp_src=40000,tp_dst=443 reason=hard table_id=1 cookie:0x5 duration31.000000005s idle30 hard300 pkts3 bytes300"},

	{"FLOW stats request 1.0", FlowStatsRequest{Table: 0xff, OutPort: flow.PortAny, Match: tcpMatch}, func(b []byte) ([]byte, error) {
		return AppendFlowStatsRequest(b, v10, testXID, &FlowStatsRequest{Table: 0xff, Match: tcpMatch})
	}, into(ParseFlowStatsRequest),
		"01100038010203040001000000320000000102000000000a02000000000bffff00000800000600000a0000010a0000009c4001bbff00ffff",
		"OFPST_FLOW request (xid=0x1020304): tcp,in_port=1,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.0/24,tp_src=40000,tp_dst=443"},
	{"FLOW stats request 1.3", FlowStatsRequest{Table: 0xff, OutPort: 2, Cookie: 1 << 48, CookieMask: 0xffff << 48, Match: tcpMatch}, func(b []byte) ([]byte, error) {
		return AppendFlowStatsRequest(b, v13, testXID, &FlowStatsRequest{Table: 0xff, OutPort: 2, Cookie: 1 << 48, CookieMask: 0xffff << 48, Match: tcpMatch})
	}, into(ParseFlowStatsRequest),
		"04120088010203040001000000000000ff00000000000002ffffffff000000000001000000000000ffff0000000000000001005180000004000000018000060602000000000b8000080602000000000a80000a02080080000c0200008000140106800016040a000001800019080a000000ffffff0080001a029c4080001c0201bb00000000000000",
		"OFPST_FLOW request (OF1.3) (xid=0x1020304): out_port=2 tcp,in_port=1,vlan_tci=0x0000/0x1fff,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.0/24,tp_src=40000,tp_dst=443"},
	{"FLOW stats reply 1.0", parsedStats{stats10, true}, func(b []byte) ([]byte, error) { return AppendFlowStatsReply(b, v10, testXID, stats10, true) }, parseStats,
		"011100c401020304000100010060000000320000000102000000000a02000000000bffff00000800000600000a0000010a0000009c4001bb000000011dcd6500000700010000000000000000000000000000000100000000000000010000000000000002000000080002000000580000003fffff0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
		"OFPST_FLOW reply (xid=0x1020304): flags=[more] cookie=0x1, duration=1.500s, table=0, n_packets=1, n_bytes=2, idle_timeout=1, priority=7,tcp,in_port=1,vlan_tci=0x0000,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.0/24,tp_src=40000,tp_dst=443 actions=output:2 cookie=0x0, duration=0s, table=0, n_packets=0, n_bytes=0, priority=0 actions=drop"},
	{"FLOW stats reply 1.3", parsedStats{stats13, false}, func(b []byte) ([]byte, error) { return AppendFlowStatsReply(b, v13, testXID, stats13, false) }, parseStats,
		"041300f801020304000100000000000000b00100000000011dcd65000007000100000001000000000000000000000001000000000000000100000000000000020001005180000004000000018000060602000000000b8000080602000000000a80000a02080080000c0200008000140106800016040a000001800019080a000000ffffff0080001a029c4080001c0201bb00000000000000000600080000000300040018000000000000001000000002000000000000000000010008020000000038000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001000400000000",
		"OFPST_FLOW reply (OF1.3) (xid=0x1020304): cookie=0x1, duration=1.500s, table=1, n_packets=1, n_bytes=2, idle_timeout=1, send_flow_rem priority=7,tcp,in_port=1,vlan_tci=0x0000/0x1fff,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,nw_src=10.0.0.1,nw_dst=10.0.0.0/24,tp_src=40000,tp_dst=443 actions=meter:3,output:2,goto_table:2 cookie=0x0, duration=0s, table=0, n_packets=0, n_bytes=0, priority=0 actions=drop"},
}

var (
	removed10 = flow.FlowRemoved{Reason: flow.RemovedIdle, Priority: 100, Cookie: 5, Match: tcpMatch, Duration: 31*time.Second + 5, Idle: 30 * time.Second, Packets: 3, Bytes: 300}
	removed13 = flow.FlowRemoved{Reason: flow.RemovedHard, Table: 1, Priority: 100, Cookie: 5, Match: tcpMatch, Duration: 31*time.Second + 5, Idle: 30 * time.Second,
		Hard: 300 * time.Second, Packets: 3, Bytes: 300}

	stats10 = []FlowStats{
		{Rule: flow.Rule{Priority: 7, Cookie: 1, BufferID: flow.NoBuffer, OutPort: flow.PortAny, Match: tcpMatch, IdleTimeout: time.Second, Actions: []flow.Action{flow.OutputTo(2)}},
			Duration: 1500 * time.Millisecond, Packets: 1, Bytes: 2},
		{Rule: flow.Rule{BufferID: flow.NoBuffer, OutPort: flow.PortAny}},
	}
	stats13 = []FlowStats{
		{Rule: flow.Rule{Table: 1, Priority: 7, Cookie: 1, BufferID: flow.NoBuffer, OutPort: flow.PortAny, Match: tcpMatch, IdleTimeout: time.Second, Flags: flow.SendFlowRemoved,
			Meter: 3, Actions: []flow.Action{flow.OutputTo(2)}, Goto: 2}, Duration: 1500 * time.Millisecond, Packets: 1, Bytes: 2},
		{Rule: flow.Rule{BufferID: flow.NoBuffer, OutPort: flow.PortAny}},
	}
)

var netipEqual = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMessages(t *testing.T) {
	for _, m := range messages {
		t.Run(m.name, func(t *testing.T) {
			want := unhex(t, m.hex)
			prefix := []byte("before")
			got, err := m.encode(prefix)
			if err != nil {
				t.Fatal(err)
			}
			if string(got[:len(prefix)]) != "before" {
				t.Errorf("it overwrote what it appends to: %q", got[:len(prefix)])
			}
			if got = got[len(prefix):]; !reflect.DeepEqual(got, want) {
				t.Errorf("encoded\n%x, want\n%x", got, want)
			}
			value, err := m.parse(want)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(m.value, value, netipEqual); d != "" {
				t.Errorf("parsed (-want +got):\n%s", d)
			}
		})
	}
}

// TestTruncations cuts every message at every length: as it is, and with a
// header that says so. Neither may parse to the whole message's value.
func TestTruncations(t *testing.T) {
	for _, m := range messages {
		t.Run(m.name, func(t *testing.T) {
			whole := unhex(t, m.hex)
			for n := range len(whole) {
				cut := append([]byte(nil), whole[:n]...)
				if _, err := m.parse(cut); err == nil {
					t.Errorf("cut to %d bytes of %d, it parses", n, len(whole))
				}
				if n < HeaderLen {
					continue
				}
				be.PutUint16(cut[2:], uint16(n))
				if value, err := m.parse(cut); err == nil && cmp.Equal(m.value, value, netipEqual) {
					t.Errorf("cut to %d bytes of %d and saying so, it parses to the same", n, len(whole))
				}
			}
		})
	}
}

// TestOpenVSwitchReadsThem compares every message with what Open vSwitch
// understands of it.
func TestOpenVSwitchReadsThem(t *testing.T) {
	raw := make([][]byte, len(messages))
	for i, m := range messages {
		raw[i] = unhex(t, m.hex)
	}
	for i, text := range ovs.Print(t, raw...) {
		if strings.Contains(text, "decode error") {
			t.Errorf("%s: Open vSwitch can't read it: %s", messages[i].name, text)
		}
		if got := squeeze(text); got != messages[i].text {
			t.Errorf("%s: Open vSwitch reads\n%s, want\n%s", messages[i].name, got, messages[i].text)
		}
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }
