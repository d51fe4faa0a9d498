package ofp

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	netrack "github.com/netrack/openflow/ofp"

	"switchbridge/flow"
)

// TestAgainstNetrack encodes random rules, their actions as a PACKET_OUT, and
// what else 1.3's own appenders write with netrack as well. Not HELLO, whose
// element netrack pads wrongly, nor anything that it can't encode.
func TestAgainstNetrack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		r := randomRule(rng)
		got, err := AppendFlowMod(nil, v13, 9, &r, r.BufferID)
		if err != nil {
			t.Fatalf("rule %d, %v: %v", i, &r, err)
		}
		if want := withHeader(t, 14, netrackFlowMod(&r)); !bytes.Equal(got, want) {
			t.Fatalf("rule %d, %v: encoded\n%x, netrack has\n%x", i, &r, got, want)
		}
		p := PacketOut{BufferID: flow.NoBuffer, InPort: flow.PortNo(1 + rng.Uint32N(48)), Actions: r.Actions, Data: frame, Match: &r.Match}
		if got, err = AppendPacketOut(nil, v13, 9, &p); err != nil {
			t.Fatalf("packet %d, %v: %v", i, p.Actions, err)
		}
		if want := withHeader(t, 13, &netrack.PacketOut{Buffer: netrack.NoBuffer, InPort: netrack.PortNo(p.InPort), Actions: netrackActions(p.Actions),
			Data: p.Data}); !bytes.Equal(got, want) {
			t.Fatalf("packet %d, %v: encoded\n%x, netrack has\n%x", i, p.Actions, got, want)
		}
	}
	for _, tt := range []struct {
		name string
		got  []byte
		typ  uint8
		want io.WriterTo
	}{
		{"FEATURES_REPLY", AppendFeaturesReply(nil, v13, 9, &testSwitch13), 6, &netrack.SwitchFeatures{DatapathID: 0xabc, NumTables: 254, AuxiliaryID: 1, Capabilities: 0x4f}},
		{"GET_CONFIG_REPLY", AppendGetConfigReply(nil, v13, 9, 128), 8, &netrack.SwitchConfig{MissSendLength: 128}},
		{"ROLE_REPLY", AppendRoleReply(nil, 9, RoleSlave, 1<<63), 25, &netrack.RoleRequest{Role: netrack.ControllerRoleSlave, GenerationID: 1 << 63}},
		{"ERROR", AppendError(nil, v13, 9, 4, 9, []byte("text")), 1, &netrack.Error{Type: netrack.ErrTypeBadMatch, Code: 9, Data: []byte("text")}},
		{"ECHO_REPLY", AppendEchoReply(nil, v13, 9, []byte("text")), 3, &netrack.EchoReply{Data: []byte("text")}},
	} {
		want := withHeader(t, tt.typ, tt.want)
		if !bytes.Equal(tt.got, want) {
			t.Errorf("%s: encoded\n%x, netrack has\n%x", tt.name, tt.got, want)
		}
	}
}

func withHeader(t *testing.T, typ uint8, w io.WriterTo) []byte {
	t.Helper()
	b := bytes.NewBuffer([]byte{4, typ, 0, 0, 0, 0, 0, 9})
	if _, err := w.WriteTo(b); err != nil {
		t.Fatal(err)
	}
	return mustEnd(b.Bytes(), 0)
}

func randomMAC(rng *rand.Rand) (m flow.MAC) {
	for i := range m {
		m[i] = byte(rng.Uint32())
	}
	return m
}

func randomPrefix(rng *rand.Rand, ipv4 bool) netip.Prefix {
	var b [16]byte
	be.PutUint64(b[:], rng.Uint64())
	be.PutUint64(b[8:], rng.Uint64())
	if ipv4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 1+rng.IntN(32))
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 1+rng.IntN(128))
}

func randomRule(rng *rand.Rand) flow.Rule {
	r := flow.Rule{
		Command: flow.Command(rng.IntN(5)), Table: uint8(rng.IntN(4)), Priority: uint16(rng.Uint32()), Cookie: rng.Uint64(), CookieMask: rng.Uint64(),
		IdleTimeout: time.Duration(rng.IntN(65536)) * time.Second, HardTimeout: time.Duration(rng.IntN(65536)) * time.Second,
		Flags: flow.RuleFlags(rng.IntN(32)), BufferID: rng.Uint32(), OutPort: flow.PortNo(1 + rng.IntN(48)), Meter: uint32(rng.IntN(2)),
	}
	if rng.IntN(2) == 0 {
		r.Goto = r.Table + 1
	}
	m := &r.Match
	maybe := func(set func()) {
		if rng.IntN(2) == 0 {
			set()
		}
	}
	maybe(func() { m.SetInPort(flow.PortNo(rng.Uint32())) })
	maybe(func() { m.SetEthSrc(randomMAC(rng), flow.MACExact) })
	maybe(func() { m.SetEthDst(randomMAC(rng), randomMAC(rng)) })
	maybe(func() { m.SetVLAN(flow.VLANPresent|uint16(rng.IntN(4096)), flow.VLANExact) })
	ipv4 := rng.IntN(2) == 0
	if m.SetEthType(flow.EthTypeIPv6); ipv4 {
		m.SetEthType(flow.EthTypeIPv4)
	}
	maybe(func() { m.SetIPSrc(randomPrefix(rng, ipv4)) })
	maybe(func() { m.SetIPDst(randomPrefix(rng, ipv4)) })
	m.SetIPProto([]uint8{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP}[rng.IntN(3)])
	maybe(func() { m.SetL4Src(uint16(rng.Uint32())) })
	maybe(func() { m.SetL4Dst(uint16(rng.Uint32())) })
	for range rng.IntN(6) {
		a := flow.Action{Type: flow.ActionType(1 + rng.IntN(int(flow.DecTTL)))}
		switch a.Type {
		case flow.Output:
			a = flow.OutputTo(flow.PortNo(1 + rng.IntN(48)))
			maybe(func() { a = flow.Action{Type: flow.Output, Port: flow.PortController, MaxLen: uint16(rng.Uint32())} })
		case flow.PushVLAN:
			a.Value = flow.EthTypeQinQ
		case flow.SetVLANVID:
			a.Value = rng.Uint32N(4096)
		case flow.SetVLANPCP:
			a.Value = rng.Uint32N(8)
		case flow.SetIPDSCP:
			a.Value = rng.Uint32N(64)
		case flow.SetEthSrc, flow.SetEthDst:
			a.MAC = randomMAC(rng)
		case flow.SetIPSrc, flow.SetIPDst:
			a.Addr = randomPrefix(rng, ipv4).Addr()
		case flow.SetL4Src, flow.SetL4Dst:
			a.Value, a.IPProto = rng.Uint32N(65536), m.IPProto
		case flow.SetQueue:
			a.ID = rng.Uint32()
		}
		h := headersOf(m)
		if h.rule = true; fits(append(r.Actions, a), h) {
			r.Actions = append(r.Actions, a)
		}
	}
	return r
}

func fits(actions []flow.Action, h headers) bool {
	_, err := fitActions13(actions, h)
	return err == nil
}

func netrackFlowMod(r *flow.Rule) *netrack.FlowMod {
	fm := netrack.NewFlowMod(netrack.FlowModCommand(r.Command), nil)
	fm.Cookie, fm.CookieMask, fm.Table, fm.Priority = r.Cookie, r.CookieMask, netrack.Table(r.Table), r.Priority
	fm.IdleTimeout, fm.HardTimeout = uint16(r.IdleTimeout/time.Second), uint16(r.HardTimeout/time.Second)
	fm.Buffer, fm.OutPort, fm.OutGroup, fm.Flags = r.BufferID, netrack.PortNo(outPortOf(r)), netrack.GroupAny, netrack.FlowModFlag(r.Flags)
	fm.Match = netrack.Match{Type: netrack.MatchTypeXM}
	xm := func(typ netrack.XMType, value, mask []byte) {
		fm.Match.Fields = append(fm.Match.Fields, netrack.XM{Class: netrack.XMClassOpenflowBasic, Type: typ, Value: value, Mask: mask})
	}
	u16 := func(v uint16) []byte { return be.AppendUint16(nil, v) }
	prefix := func(v4, v6 netrack.XMType, p netip.Prefix) {
		mask := make([]byte, p.Addr().BitLen()/8)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		if p.IsSingleIP() {
			mask = nil
		}
		typ := v6
		if p.Addr().Is4() {
			typ = v4
		}
		xm(typ, p.Addr().AsSlice(), mask)
	}
	m := &r.Match
	if m.Has(flow.FieldInPort) {
		xm(netrack.XMTypeInPort, be.AppendUint32(nil, uint32(m.InPort)), nil)
	}
	if m.Has(flow.FieldEthDst) {
		xm(netrack.XMTypeEthDst, m.EthDst[:], m.EthDstMask[:])
	}
	if m.Has(flow.FieldEthSrc) {
		xm(netrack.XMTypeEthSrc, m.EthSrc[:], nil)
	}
	xm(netrack.XMTypeEthType, u16(m.EthType), nil)
	if m.Has(flow.FieldVLAN) {
		xm(netrack.XMTypeVlanID, u16(m.VLAN), nil)
	}
	xm(netrack.XMTypeIPProto, []byte{m.IPProto}, nil)
	if m.Has(flow.FieldIPSrc) {
		prefix(netrack.XMTypeIPv4Src, netrack.XMTypeIPv6Src, m.IPSrc)
	}
	if m.Has(flow.FieldIPDst) {
		prefix(netrack.XMTypeIPv4Dst, netrack.XMTypeIPv6Dst, m.IPDst)
	}
	src, dst := netrackPorts(m.IPProto)
	if m.Has(flow.FieldL4Src) {
		xm(src, u16(m.L4Src), nil)
	}
	if m.Has(flow.FieldL4Dst) {
		xm(dst, u16(m.L4Dst), nil)
	}
	if r.Meter != 0 {
		fm.Instructions = append(fm.Instructions, &netrack.InstructionMeter{Meter: netrack.Meter(r.Meter)})
	}
	if len(r.Actions) > 0 {
		fm.Instructions = append(fm.Instructions, &netrack.InstructionApplyActions{Actions: netrackActions(r.Actions)})
	}
	if r.Goto != 0 {
		fm.Instructions = append(fm.Instructions, &netrack.InstructionGotoTable{Table: netrack.Table(r.Goto)})
	}
	return fm
}

func netrackPorts(proto uint8) (src, dst netrack.XMType) {
	switch proto {
	case flow.ProtoUDP:
		return netrack.XMTypeUDPSrc, netrack.XMTypeUDPDst
	case flow.ProtoSCTP:
		return netrack.XMTypeSCTPSrc, netrack.XMTypeSCTPDst
	}
	return netrack.XMTypeTCPSrc, netrack.XMTypeTCPDst
}

func netrackActions(list []flow.Action) netrack.Actions {
	var out netrack.Actions
	set := func(typ netrack.XMType, value []byte) {
		out = append(out, &netrack.ActionSetField{Field: netrack.XM{Class: netrack.XMClassOpenflowBasic, Type: typ, Value: value}})
	}
	address := func(v4, v6 netrack.XMType, a netip.Addr) {
		if a.Is4() {
			set(v4, a.AsSlice())
		} else {
			set(v6, a.AsSlice())
		}
	}
	for _, a := range list {
		src, dst := netrackPorts(a.IPProto)
		switch a.Type {
		case flow.Output:
			out = append(out, &netrack.ActionOutput{Port: netrack.PortNo(a.Port), MaxLen: a.MaxLen})
		case flow.SetQueue:
			out = append(out, &netrack.ActionSetQueue{QueueID: netrack.Queue(a.ID)})
		case flow.PushVLAN:
			out = append(out, &netrack.ActionPushVLAN{EtherType: uint16(a.Value)})
		case flow.PopVLAN:
			out = append(out, &netrack.ActionPopVLAN{})
		case flow.DecTTL:
			out = append(out, &netrack.ActionDecNetworkTTL{})
		case flow.SetVLANVID:
			set(netrack.XMTypeVlanID, be.AppendUint16(nil, flow.VLANPresent|uint16(a.Value)))
		case flow.SetVLANPCP:
			set(netrack.XMTypeVlanPCP, []byte{byte(a.Value)})
		case flow.SetIPDSCP:
			set(netrack.XMTypeIPDSCP, []byte{byte(a.Value)})
		case flow.SetEthSrc:
			set(netrack.XMTypeEthSrc, a.MAC[:])
		case flow.SetEthDst:
			set(netrack.XMTypeEthDst, a.MAC[:])
		case flow.SetIPSrc:
			address(netrack.XMTypeIPv4Src, netrack.XMTypeIPv6Src, a.Addr)
		case flow.SetIPDst:
			address(netrack.XMTypeIPv4Dst, netrack.XMTypeIPv6Dst, a.Addr)
		case flow.SetL4Src:
			set(src, be.AppendUint16(nil, uint16(a.Value)))
		case flow.SetL4Dst:
			set(dst, be.AppendUint16(nil, uint16(a.Value)))
		}
	}
	return out
}
