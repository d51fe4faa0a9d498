package ofp

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

func TestParseHeader(t *testing.T) {
	for _, tt := range []struct {
		hex  string
		want Header
		err  string
	}{
		{"0100000800000001", Header{v10, TypeHello, 8, 1}, ""},
		{"0110000cffffffff", Header{v10, TypeStatsRequest, 12, 1<<32 - 1}, ""},
		{"0412000c00000001", Header{v13, TypeStatsRequest, 12, 1}, ""},
		{"0600001000000001", Header{6, TypeHello, 16, 1}, ""},
		{"060a001000000001", Header{6, TypeUnknown, 16, 1}, ""},
		{"0116000800000001", Header{v10, TypeUnknown, 8, 1}, ""},
		{"041e000800000001", Header{v13, TypeUnknown, 8, 1}, ""},
		{"04ff000800000001", Header{v13, TypeUnknown, 8, 1}, ""},
		{"0400000700000001", Header{v13, TypeHello, 7, 1}, "length 7"},
		{"0400000000000001", Header{v13, TypeHello, 0, 1}, "length 0"},
		{"04000008000000", Header{}, "7 bytes"},
		{"", Header{}, "0 bytes"},
	} {
		got, err := ParseHeader(unhex(t, tt.hex))
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %+v, error %v; want %+v, error %q", tt.hex, got, err, tt.want, tt.err)
		}
	}
	for _, v := range []flow.Protocol{v10, v13} {
		for typ := TypeHello; typ <= TypeMeterMod; typ++ {
			if code := codeOf(v, typ); code != 0xff && typeOf(v, code) != typ {
				t.Errorf("%v: %v is %d is %v", v, typ, code, typeOf(v, code))
			}
		}
	}
}

func TestPutXID(t *testing.T) {
	b := AppendHello(nil, 1, v10)
	PutXID(b, 0xdeadbeef)
	if h, err := ParseHeader(b); err != nil || h.XID != 0xdeadbeef {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestParseHello(t *testing.T) {
	for _, tt := range []struct {
		hex  string
		want uint32
		err  string
	}{
		{"0100000800000001", 0b10, ""},
		{"0400000800000001", 0b11110, ""},                                 // 1.3, without a bitmap: all up to it
		{"ff00000800000001", 0xfffffffe, ""},                              // a version beyond the bitmap
		{"060000100000000100010008000000 52", 0x52, ""},                   // 1.0, 1.3, 1.5
		{"04000018000000010007000600ff0000 00010008 00000012", 0x12, ""},  // after an unknown element
		{"0400000c0000000100010004", 0b11110, ""},                         // an empty bitmap element
		{"0400000a000000010001", 0b11110, ""},                             // a rest that is no element
		{"0400000c0000000100010003", 0b11110, ""},                         // an element that is none: the header counts
		{"0400000c0000000100010008", 0b11110, ""},                         // an element beyond the message
		{"040000100000000100010008 00000000", 0b11110, ""},                // no version in the bitmap
		{"04000018000000010001000400000000 00010008 00000012", 0x12, ""},  // a bitmap element without a bitmap, padded, and one with
		{"040000140000000100010010 00000010 00000000", 0b11110, ""},       // a bitmap element beyond the message
		{"040000140000000100010010", 0, "length 20"},                      // a message cut short
		{"040000180000000100010010 00000010 00000000 00000000", 0x10, ""}, // bitmaps of versions from 32 on
		{"0400001000000001000700080000ffff", 0b11110, ""},                 // only an unknown element
		{"04000010000000010007000600ff0000", 0b11110, ""},                 // an unknown element and its padding
		{"0400000e000000010007000600ff", 0b11110, ""},                     // an unknown element without its padding
		{"0100001100000001" + "68656c6c6f20776f72", 0b10, ""},             // a text, of 1.0
		{"01000010000000010001000800000010", 0x10, ""},                    // a bitmap under a header of 1.0
		{"0000000830303030", 0, ""},                                       // version 0, and so none
		{"0200000800000001", 0b110, ""},                                   // 1.1
		{"0400001000000001", 0, "length 16"},
		{"0401000800000001", 0, "where HELLO is wanted"},
	} {
		got, err := ParseHello(unhex(t, tt.hex))
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %#x, error %v; want %#x, error %q", tt.hex, got, err, tt.want, tt.err)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		e    flow.SwitchError
		want string
	}{
		{flow.SwitchError{Data: []byte("We support version 0x04.\n")}, "We support version 0x04."},
		{flow.SwitchError{Data: []byte("text\x00\x00")}, "text"},
		{flow.SwitchError{Code: 1, Data: []byte("two\nlines")}, "two\nlines"},
		{flow.SwitchError{Data: []byte(strings.Repeat("x", 1000))}, strings.Repeat("x", maxErrorText)},
		{flow.SwitchError{Data: []byte{4, 0, 0, 8, 0, 0, 0, 1}}, ""},
		{flow.SwitchError{Data: []byte("\x1b[2J")}, ""},
		{flow.SwitchError{}, ""},
		{flow.SwitchError{Type: ErrBadRequest, Data: []byte("text")}, ""},
	} {
		if got := ErrorText(&tt.e); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.e.Data, got, tt.want)
		}
	}
}

// TestShortStats says of a message cut short that it is, whichever of two types
// a function takes.
func TestShortStats(t *testing.T) {
	for msg, want := range map[string]string{
		"0413000a0000000100": "length 10", "0413000a000000010001": "STATS_REPLY: cut short: 2 of at least 4 bytes",
		"0413000c0000000100010000": "STATS_REPLY: cut short: 4 of at least 8 bytes", "0110000a000000010001": "STATS_REQUEST: cut short: 2 of at least 4 bytes",
		"0402000800000001": "ECHO_REQUEST (2) where STATS_REQUEST or STATS_REPLY is wanted",
	} {
		if _, _, err := ParseStatsType(unhex(t, msg)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", msg, err, want)
		}
	}
	if _, err := ParseConfig(unhex(t, "0408000a000000010000")); err == nil || !strings.Contains(err.Error(), "GET_CONFIG_REPLY: cut short: 2 of at least 4") {
		t.Errorf("a short GET_CONFIG_REPLY: %v", err)
	}
	if _, err := ParseConfig(unhex(t, "0409000a000000010000")); err == nil || !strings.Contains(err.Error(), "SET_CONFIG: cut short: 2 of at least 4") {
		t.Errorf("a short SET_CONFIG: %v", err)
	}
}

func TestErrorName(t *testing.T) {
	for _, tt := range []struct {
		v         flow.Protocol
		typ, code uint16
		want      string
	}{
		{v10, 3, 5, "FLOW_MOD_FAILED: UNSUPPORTED"},
		{v13, 5, 7, "FLOW_MOD_FAILED: BAD_FLAGS"},
		{v13, 12, 11, "METER_MOD_FAILED: OUT_OF_BANDS"},
		{v13, 4, 12, "BAD_MATCH: code 12"},
		{v10, 6, 1, "type 6: code 1"},
		{v13, 0xffff, 2, "type 65535: code 2"},
		{6, 0, 0, "HELLO_FAILED: INCOMPATIBLE"},
	} {
		if got := ErrorName(tt.v, tt.typ, tt.code); got != tt.want {
			t.Errorf("%v %d %d: %q, want %q", tt.v, tt.typ, tt.code, got, tt.want)
		}
	}
}

// flowMod13 is a FLOW_MOD of 1.3 with the match's fields and the instructions
// in hex.
func flowMod13(t testing.TB, oxms, instructions string) []byte {
	f, inst := unhex(t, oxms), unhex(t, instructions)
	b := begin(nil, v13, TypeFlowMod, 1)
	b = append(b, make([]byte, 24)...)
	b = be.AppendUint64(b, 0xffffffffffffffff)
	b = be.AppendUint64(b, 0xffffffff00000000)
	b = be.AppendUint16(be.AppendUint16(b, matchOXM), uint16(4+len(f)))
	b = append(b, f...)
	b = append(padTo8(b, 48), inst...)
	return mustEnd(b, 0)
}

// TestMalformedFlowMod feeds FLOW_MODs whose insides lie or can't be expressed.
func TestMalformedFlowMod(t *testing.T) {
	ip := "80000a020800"
	patched := func(at int, v byte) []byte {
		b := flowMod13(t, "", "")
		b[at] = v
		return b
	}
	for _, tt := range []struct {
		name        string
		msg         []byte
		want        string
		unsupported bool
	}{
		{"a mask with a hole", flowMod13(t, ip+"80001708 0a000001 ff00ff00", ""), "mask ff00ff00 of field 11 is not a prefix", false},
		{"a mask from the right", flowMod13(t, ip+"80001908 0a000001 000000ff", ""), "not a prefix", false},
		{"an IPv6 mask with a hole", flowMod13(t, "80000a0286dd"+"80003720"+strings.Repeat("00", 16)+"fd"+strings.Repeat("00", 15), ""), "not a prefix", false},
		{"a masked port", flowMod13(t, ip+"80001401 06 80001b04 0050fff0", ""), "masked match on field 13", true},
		{"a port without ip_proto", flowMod13(t, ip+"80001a02 0050", ""), "without ip_proto 6", false},
		{"a UDP port of TCP", flowMod13(t, ip+"80001401 06 80001e02 0050", ""), "without ip_proto 17", false},
		{"a field twice", flowMod13(t, ip+ip, ""), "field 5 is one that it has already", false},
		{"both families", flowMod13(t, ip+"80001604 0a000001 80003410"+strings.Repeat("00", 16), ""), "field 26 is one that it has already", false},
		{"an MPLS label", flowMod13(t, "80004404 00000001", ""), "field 34 of class 0x8000", true},
		{"a field of Nicira's", flowMod13(t, "0001 0004 00000001", ""), "class 0x0001", true},
		{"an experimenter's field", flowMod13(t, "ffff 5404 4f4e4600", ""), "class 0xffff", true},
		{"a field's length under its own", flowMod13(t, "80000002 0001", ""), "value of 2 bytes", false},
		{"a field's length beyond the match", flowMod13(t, "800000ff 00000001", ""), "255 bytes, of 4 left", false},
		{"half a field's header", flowMod13(t, "8000", ""), "cut short", false},
		{"a match of type 0", patched(49, 0), "type 0", false},
		{"a match that ends before it starts", patched(51, 3), "length 3", false},
		{"a match beyond the message", patched(51, 9), "length 9", false},
		{"an unknown command", patched(25, 5), "command 5", false},
		{"an instruction under 8 bytes", flowMod13(t, "", "0004 0004 00000000"), "instruction 4: length 4", false},
		{"an instruction of no length", flowMod13(t, "", "0004 0000 00000000"), "instruction 4: length 0", false},
		{"an instruction beyond the message", flowMod13(t, "", "0004 0010 00000000"), "length 16, of 8 bytes left", false},
		{"half an instruction", flowMod13(t, "", "00040008"), "cut short", false},
		{"two lists of actions", flowMod13(t, "", "0004 0008 00000000 0004 0008 00000000"), "instruction 4 twice", false},
		{"write-actions", flowMod13(t, "", "0003 0008 00000000"), "instruction 3", true},
		{"clear-actions", flowMod13(t, "", "0005 0008 00000000"), "instruction 5", true},
		{"write-metadata", flowMod13(t, "", "0002 0018 00000000"+strings.Repeat("00", 16)), "instruction 2", true},
		{"a goto backwards", flowMod13(t, "", "0001 0008 00000000"), "goto table 0 from table 0", false},
		{"a long goto", flowMod13(t, "", "0001 0010 01000000 0000000000000000"), "length 16, want 8", false},
		{"an action of no length", flowMod13(t, "", "0004 0010 00000000 0000 0000 00000001"), "action 0: length 0", false},
		{"an action of odd length", flowMod13(t, "", "0004 0014 00000000 0000 000c 00000001 ffff0000"), "action 0: length 12", false},
		{"an action beyond its instruction", flowMod13(t, "", "0004 0010 00000000 0000 0018 00000001"), "length 24, of 8 bytes left", false},
		{"a short output", flowMod13(t, "", "0004 0010 00000000 0000 0008 00000001"), "length 8, want 16", false},
		{"a set-field that lies", flowMod13(t, "", "0004 0010 00000000 0019 0008 80000606"), "6 bytes, of 0 left", false},
		{"out_port 0 of a delete", func() []byte { b := patched(25, 3); be.PutUint32(b[36:], 0); return b }(), "out_port 0", true},
		{"out_group of a delete", func() []byte { b := patched(25, 3); b[40] = 0; return b }(), "out_group", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := flow.Rule{Priority: 4711}
			err := ParseFlowMod(tt.msg, &r)
			var u *UnsupportedError
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, &u) != tt.unsupported {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if r.Priority != 4711 {
				t.Error("the rule was changed")
			}
		})
	}
	var r flow.Rule
	if err := ParseFlowMod(flowMod13(t, ip, "0004 0010 00000000 0000 0010 00000001 0000 000000000000"), &r); err == nil {
		t.Error("an instruction shorter than its action passes")
	}
	if err := ParseFlowMod(flowMod13(t, ip+"80001708 0a000001 00000000", "0004 0010 00000000 001a 0008 00000000"), &r); err != nil ||
		r.Match.Fields != flow.FieldEthType || len(r.Actions) != 1 || r.Actions[0] != (flow.Action{Type: flow.Unsupported, ID: 26}) {
		t.Errorf("a mask of no bits and an action of PBB give %v, error %v", &r, err)
	}
}

// TestMalformed10 does so for 1.0.
func TestMalformed10(t *testing.T) {
	base, err := AppendFlowMod(nil, v10, 1, &flow.Rule{Actions: []flow.Action{flow.OutputTo(1)}}, flow.NoBuffer)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		patch func(b []byte)
		want  string
	}{
		{"another type", func(b []byte) { b[1] = 13 }, "PACKET_OUT (13) where FLOW_MOD is wanted"},
		{"another version", func(b []byte) { b[0] = 2 }, "wire version 0x02"},
		{"a length beyond", func(b []byte) { b[3]++ }, "length 81 of a message of 80 bytes"},
		{"a command", func(b []byte) { b[56] = 1 }, "command 256"},
		{"an emergency flow", func(b []byte) { b[71] = 4 }, "flags 0x4"},
		{"an action of no length", func(b []byte) { b[75] = 0 }, "action 0: length 0"},
		{"an action beyond", func(b []byte) { b[75] = 16 }, "length 16, of 8 bytes left"},
		{"a short enqueue", func(b []byte) { b[73] = 11 }, "action 11: length 8, want 16"},
		{"an ICMP type of 16 bits", func(b []byte) { be.PutUint32(b[8:], 0); be.PutUint16(b[30:], 0x0800); b[33] = 1; b[44] = 1 }, "ICMP type 256"},
	} {
		b := append([]byte(nil), base...)
		tt.patch(b)
		var r flow.Rule
		if err := ParseFlowMod(b, &r); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	b := append([]byte(nil), base...)
	b[72], b[73] = 0xff, 0xff // a vendor's action
	var r flow.Rule
	if err := ParseFlowMod(b, &r); err != nil || r.Actions[0] != (flow.Action{Type: flow.Unsupported, ID: 0xffff}) {
		t.Errorf("a vendor's action gives %v, error %v", r.Actions, err)
	}
}

// TestIgnoredFields10 sends what old switches send: no wildcards, and zeros in
// the fields that the packet lacks (OpenFlow 1.0.0, 3.4).
func TestIgnoredFields10(t *testing.T) {
	var b [matchLen10]byte
	be.PutUint16(b[4:], 1)
	be.PutUint16(b[18:], vlanNone10)
	be.PutUint16(b[22:], flow.EthTypeLLDP)
	m, err := parseMatch10(b[:])
	if want := flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN | flow.FieldEthType; err != nil || m.Fields != want {
		t.Errorf("fields %v, error %v, want %v", m.Fields, err, want)
	}
	be.PutUint16(b[22:], flow.EthTypeIPv4)
	b[25] = 2 // IGMP
	if m, err = parseMatch10(b[:]); err != nil || m.Has(flow.FieldL4Src) || m.Has(flow.FieldICMPType) || !m.Has(flow.FieldIPProto) {
		t.Errorf("fields %v, error %v", m.Fields, err)
	}
	// A wildcard where a prerequisite should be: the field stays, to be completed or refused.
	be.PutUint32(b[:], wildAll&^(63<<wildIPDst))
	if m, err = parseMatch10(b[:]); err != nil || m.Fields != flow.FieldIPDst {
		t.Errorf("fields %v, error %v", m.Fields, err)
	}
	if err := check10(&m); err == nil {
		t.Error("an address without dl_type passes")
	}
}

// TestStatsOfOthers puts a rule of somebody else between two of ours.
func TestStatsOfOthers(t *testing.T) {
	entry := FlowStats{Rule: flow.Rule{Priority: 1, Cookie: 7, Match: match(func(m *flow.Match) { m.SetInPort(1) })}, Duration: time.Second}
	msg, err := AppendFlowStatsReply(nil, v13, 1, []FlowStats{entry, entry, entry}, false)
	if err != nil {
		t.Fatal(err)
	}
	n := (len(msg) - 16) / 3
	second := msg[16+n : 16+2*n]
	second[flowStatsLen13+6] = 34 << 1 // its in_port becomes an MPLS label
	var got []FlowStats
	more, err := ParseFlowStatsReply(msg, func(s *FlowStats) error { got = append(got, *s); return nil })
	if len(got) != 3 || more || err != nil {
		t.Fatalf("%d rules, more %t, error %v", len(got), more, err)
	}
	for i, want := range [][]string{nil, {"mpls_label=0x00000001"}, nil} {
		if !slices.Equal(got[i].Unknown, want) || got[i].Rule.Cookie != 7 || got[i].Rule.Match.Has(flow.FieldInPort) != (want == nil) {
			t.Errorf("rule %d is %v", i, &got[i])
		}
	}
	if want := "cookie=0x7,table=0,priority=1,any actions=drop [and mpls_label=0x00000001]"; got[1].String() != want {
		t.Errorf("it is called %v, want %s", &got[1], want)
	}
	if _, err := AppendFlowStatsReply(nil, v13, 1, got, false); err == nil {
		t.Error("a rule is written without what is unknown of it")
	}
	stop := errors.New("enough")
	if _, err := ParseFlowStatsReply(msg, func(s *FlowStats) error { return stop }); err != stop {
		t.Errorf("error %v", err)
	}
	be.PutUint16(second, uint16(2*n+8))
	if _, err := ParseFlowStatsReply(msg, func(s *FlowStats) error { return nil }); err == nil || !strings.Contains(err.Error(), "length") {
		t.Errorf("a lying length: error %v", err)
	}
	be.PutUint16(second, 0)
	if _, err := ParseFlowStatsReply(msg, func(s *FlowStats) error { return nil }); err == nil {
		t.Error("an entry of no length passes")
	}
}

// flowStats13 is one entry with the match's fields and the instructions in hex.
func flowStats13(t testing.TB, oxms, instructions string) []byte {
	f, inst := unhex(t, oxms), unhex(t, instructions)
	b := beginStats(nil, v13, TypeStatsReply, 1, StatsFlow, false)
	start := len(b)
	b = append(b, make([]byte, flowStatsLen13)...)
	be.PutUint16(b[start+12:], 5)
	be.PutUint64(b[start+24:], 0xc0)
	b = be.AppendUint16(be.AppendUint16(b, matchOXM), uint16(4+len(f)))
	b = append(padTo8(append(b, f...), start), inst...)
	be.PutUint16(b[start:], uint16(len(b)-start))
	return mustEnd(b, 0)
}

// TestUnknownInStats has what Open vSwitch sends of rules that the gateway has
// no nouns for, and what is broken: every entry comes, with its cookie and
// priority. The first rows' bytes are Open vSwitch 3.1's.
func TestUnknownInStats(t *testing.T) {
	const ip, tcp = "80000a020800", "80000a020800" + "8000140106"
	const drop, to1 = "", "000400180000000000000010000000010000000000000000"
	reg := func(n int) string { return hex.EncodeToString([]byte{0, 1, byte(n << 1), 4, 0, 0, 0, 9}) }
	var regs string
	for i := range 10 {
		regs += reg(i)
	}
	for _, tt := range []struct {
		name, oxms, instructions string
		fields                   flow.Field
		unknown                  []string
		forwards                 bool
	}{
		{"tcp_flags", tcp + "ffff55084f4e460000020012", "000400180000000000000010fffffffa0000000000000000", flow.FieldEthType | flow.FieldIPProto, []string{"tcp_flags=0x0002/0x0012"}, true},
		{"nw_ttl", ip + "00013a0101", drop, flow.FieldEthType, []string{"nw_ttl=0x01"}, false},
		{"reg0", "0001000400000005", drop, 0, []string{"reg0=0x00000005"}, false},
		{"tun_src", "00013e0401020304", to1, 0, []string{"tun_src=0x01020304"}, true},
		{"masked port", tcp + "80001d040050fff0", to1, flow.FieldEthType | flow.FieldIPProto, []string{"tcp_dst=0x0050/0xfff0"}, true},
		{"a mask with holes", ip + "800017080a000001ff0000ff", drop, flow.FieldEthType, []string{"ipv4_src=0x0a000001/0xff0000ff"}, false},
		{"packet_type", "8000580400010800", drop, 0, []string{"packet_type=0x00010800"}, false},
		{"actset_output", "ffff56084f4e460000000005", drop, 0, []string{"actset_output=0x00000005"}, false},
		{"an experimenter's", "ffff560600002320beef", drop, 0, []string{"experimenter 0x00002320 field 43=0xbeef"}, false},
		{"of no known class", "00070201ff", drop, 0, []string{"class 0x0007 field 1=0xff"}, false},
		{"a long one", "0001501401020304050607080910111213141516171819ff", drop, 0, []string{"tun_metadata0=0x01020304050607080910111213141516..."}, false},
		{"ten registers", regs, drop, 0, []string{"reg0=0x00000009", "reg1=0x00000009", "reg2=0x00000009", "reg3=0x00000009", "reg4=0x00000009", "reg5=0x00000009", "reg6=0x00000009", "reg7=0x00000009", "2 more fields"}, false},
		{"load", "", "0004002000000000ffff0018000023200007001f000100040000000000000005", 0, nil, true},
		{"resubmit", "", "0004001800000000ffff001000002320000efff802000000", 0, nil, true},
		{"write_actions", "", "000300180000000000000010000000030000000000000000", 0, nil, true},
		{"to the controller", "", "000400180000000000000010fffffffdffff000000000000", 0, nil, false},
		{"goto", "", "0001000803000000", 0, nil, true},
		{"group", "", "00040010000000000016000800000001", 0, nil, true},
		{"rewritten and dropped", ip, "000400180000000000190010800016040a00000900000000", flow.FieldEthType, nil, false},
		{"a field's length", "80000001ff", to1, 0, []string{"match: field 0 has a value of 1 bytes, mask 0; want 4"}, true},
		{"a field beyond the match", ip + "800000ff", to1, flow.FieldEthType, []string{"match: field 0 of class 0x8000 has 255 bytes, of 0 left"}, true},
		{"an experimenter without number", "ffff5402beef", drop, 0, []string{"match: field 42 of class 0xffff has 2 bytes, want at least 4"}, false},
		{"a value and half a mask", "000101050000000000", drop, 0, []string{"match: field 0 of class 0x0001 has 5 bytes for a value and a mask"}, false},
		{"an instruction's length", ip, "00040004", flow.FieldEthType, []string{"instruction: cut short: 4 of at least 8 bytes"}, true},
		{"an action's length", ip, "0004001000000000" + "0000000400000000", flow.FieldEthType, []string{"action 0: length 4, of 8 bytes left"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			msg := flowStats13(t, tt.oxms, tt.instructions)
			other := flowStats13(t, "800000040000000b", "")[16:] // and one after it
			msg = mustEnd(append(msg, other...), 0)
			var got []FlowStats
			if _, err := ParseFlowStatsReply(msg, func(s *FlowStats) error { got = append(got, *s); return nil }); err != nil || len(got) != 2 {
				t.Fatalf("%d rules, error %v", len(got), err)
			}
			s := &got[0]
			if s.Rule.Match.Fields != tt.fields || !slices.Equal(s.Unknown, tt.unknown) || s.MayForward() != tt.forwards || s.Rule.Cookie != 0xc0 || s.Rule.Priority != 5 {
				t.Errorf("%v, forwards %t, unknown %q", s, s.MayForward(), s.Unknown)
			}
			if got[1].Rule.Match.InPort != 11 || got[1].Unknown != nil {
				t.Errorf("the rule after it is %v", &got[1])
			}
		})
	}
	for at, v := range map[int]byte{49: 7, 51: 3} { // of another type, or ending before it starts
		msg := flowStats13(t, "", "")
		msg[16+at] = v
		if _, err := ParseFlowStatsReply(msg, func(s *FlowStats) error {
			if len(s.Unknown) != 2 || !s.MayForward() || s.Rule.Cookie != 0xc0 {
				t.Errorf("a match that can't be read: %v", s)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

// TestUnknownInStats10 does so for 1.0.
func TestUnknownInStats10(t *testing.T) {
	icmp := match(func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(flow.ProtoICMP); m.SetICMP(8, 0) })
	entry := FlowStats{Rule: flow.Rule{Priority: 5, Cookie: 0xc0, Match: icmp, Actions: []flow.Action{flow.OutputTo(1)}}}
	for _, tt := range []struct {
		at   int
		v    byte
		want string
	}{{4 + 36, 1, "ICMP type 264"}, {flowStatsLen10 + 3, 16, "action 0: length 16"}, {flowStatsLen10, 0xff, ""}} {
		msg, err := AppendFlowStatsReply(nil, v10, 1, []FlowStats{entry, entry}, false)
		if err != nil {
			t.Fatal(err)
		}
		msg[12+tt.at] = tt.v
		var got []FlowStats
		if _, err := ParseFlowStatsReply(msg, func(s *FlowStats) error { got = append(got, *s); return nil }); err != nil || len(got) != 2 {
			t.Fatalf("%d rules, error %v", len(got), err)
		}
		s := &got[0]
		if strings.Contains(strings.Join(s.Unknown, " "), tt.want) == false || !s.MayForward() || s.Rule.Cookie != 0xc0 || got[1].Unknown != nil {
			t.Errorf("byte %d: %v, unknown %q", tt.at, s, s.Unknown)
		}
	}
}

// TestUnknownFieldsArePassedOver has them in what a switch tells of its own
// accord: they don't make it unreadable, a wrong length does.
func TestUnknownFieldsArePassedOver(t *testing.T) {
	const ip, tun = "80000a020800", "00013e0401020304"
	removed := func(oxms string) []byte {
		f := unhex(t, oxms)
		b := append(begin(nil, v13, TypeFlowRemoved, 1), make([]byte, flowRemovedLen13)...)
		b = be.AppendUint16(be.AppendUint16(b, matchOXM), uint16(4+len(f)))
		return mustEnd(padTo8(append(b, f...), 0), 0)
	}
	packet := func(oxms string, data []byte) []byte {
		f := unhex(t, oxms)
		b := append(begin(nil, v13, TypePacketIn, 1), make([]byte, packetInLen13)...)
		b = be.AppendUint16(be.AppendUint16(b, matchOXM), uint16(4+len(f)))
		return mustEnd(append(append(padTo8(append(b, f...), 0), 0, 0), data...), 0)
	}
	var r flow.FlowRemoved
	var p flow.PacketIn
	for _, oxms := range []string{tun + ip, ip + tun, ip + "8000140106" + "80001d040050fff0", ip + "800017080a000001ff0000ff", ip + "ffff55084f4e460000020012"} {
		if err := ParseFlowRemoved(removed(oxms), &r); err != nil || !r.Match.Has(flow.FieldEthType) || r.Match.Fields&^(flow.FieldEthType|flow.FieldIPProto) != 0 {
			t.Errorf("FLOW_REMOVED, %s: %v, error %v", oxms, r.Match, err)
		}
		if err := ParsePacketIn(packet("8000000400000003"+oxms, frame), &p); err != nil || p.Match.InPort != 3 {
			t.Errorf("PACKET_IN, %s: %v, error %v", oxms, p.Match, err)
		}
		if err := ParsePacketIn(packet("8000000400000003"+oxms, nil), &p); err != nil || p.Match.InPort != 3 || !p.Match.Has(flow.FieldEthType) {
			t.Errorf("PACKET_IN without data, %s: %v, error %v", oxms, p.Match, err)
		}
	}
	for _, oxms := range []string{"00013e05 01020304", "00013e", "ffff540101", "000101050000000000", ip + "80000a0100", ip + ip} {
		if err := ParseFlowRemoved(removed(oxms), &r); err == nil {
			t.Errorf("FLOW_REMOVED, %s passes", oxms)
		}
	}
}

func TestMalformedPackets(t *testing.T) {
	in, err := AppendPacketIn(nil, v13, 1, &flow.PacketIn{Match: flow.ParseFrame(frame, 3), Data: frame, TotalLen: 10})
	if err != nil {
		t.Fatal(err)
	}
	var p flow.PacketIn
	if err := ParsePacketIn(in, &p); err != nil || p.TotalLen != len(frame) {
		t.Errorf("total_len %d, error %v", p.TotalLen, err)
	}
	in[30] = oxmEthType << 1 // no in_port any more
	if err := ParsePacketIn(in, &p); err == nil {
		t.Error("a field of a wrong length passes")
	}
	in[28], in[29] = 0, 1 // of another class
	if err := ParsePacketIn(in, &p); err != errNoInPort {
		t.Errorf("without in_port: error %v", err)
	}
	out, err := AppendPacketOut(nil, v13, 1, &PacketOut{BufferID: 1, Actions: []flow.Action{flow.OutputTo(1)}})
	if err != nil {
		t.Fatal(err)
	}
	out[17]++
	var po PacketOut
	if err := ParsePacketOut(out, &po); err == nil || !strings.Contains(err.Error(), "17 bytes of actions, of 16 left") {
		t.Errorf("actions beyond the message: error %v", err)
	}
}
