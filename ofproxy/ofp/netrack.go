//go:build !wasip1 && !js

package ofp

import (
	"io"

	netrack "github.com/netrack/openflow/ofp"

	"switchbridge/flow"
)

// The messages in this file are the ones that a controller sends a few times in
// a session. Where the version is 1.3, netrack encodes their bodies; BARRIER has
// none. Only a gateway sends them, so a WebAssembly guest, which answers single
// events, is built without this file and without package net, which netrack
// imports.

// Meter limits the rate of the packets of the rules that name it (OpenFlow 1.3.5,
// 7.3.4.4). The switch drops packets above Rate.
type Meter struct {
	ID    uint32
	KBPS  bool // Rate and Burst are in kilobits (a second), else packets
	Rate  uint32
	Burst uint32 // 0: the switch's own
}

// appender is the io.Writer that netrack's encoders write to.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// append13 appends a 1.3 message whose body netrack encodes. It can't fail:
// encoding/binary knows the types of all values, and the appender accepts every write.
func append13(b []byte, t Type, xid uint32, body io.WriterTo) []byte {
	start := len(b)
	a := appender{begin(b, flow.OpenFlow13, t, xid)}
	if _, err := body.WriteTo(&a); err != nil {
		panic("ofp: encoding " + t.String() + ": " + err.Error())
	}
	return mustEnd(a.b, start)
}

// AppendSetConfig sets how many bytes of a packet that no rule matches go to the
// controller; 0xffff means all of them (OpenFlow 1.3.5, 7.3.2). The switch is to handle
// fragments like other packets.
func AppendSetConfig(b []byte, v flow.Protocol, xid uint32, missSendLen uint16) []byte {
	if v == flow.OpenFlow10 {
		return appendConfig(b, v, TypeSetConfig, xid, missSendLen)
	}
	return append13(b, TypeSetConfig, xid, &netrack.SwitchConfig{Flags: netrack.ConfigFlagFragNormal, MissSendLength: missSendLen})
}

// AppendGetConfigRequest asks for what SET_CONFIG set.
func AppendGetConfigRequest(b []byte, v flow.Protocol, xid uint32) []byte {
	return appendEmpty(b, v, TypeGetConfigRequest, xid)
}

// AppendBarrierRequest asks the switch to finish every earlier message first (OpenFlow
// 1.3.5, 7.3.8).
func AppendBarrierRequest(b []byte, v flow.Protocol, xid uint32) []byte {
	return appendEmpty(b, v, TypeBarrierRequest, xid)
}

// AppendDescRequest asks a switch for its [Desc].
func AppendDescRequest(b []byte, v flow.Protocol, xid uint32) []byte {
	if v == flow.OpenFlow10 {
		start := len(b)
		return mustEnd(beginStats(b, v, TypeStatsRequest, xid, StatsDesc, false), start)
	}
	return append13(b, TypeStatsRequest, xid, netrack.NewMultipartRequest(netrack.MultipartTypeDescription, nil))
}

// AppendPortDescRequest asks a 1.3 switch for its ports.
func AppendPortDescRequest(b []byte, xid uint32) []byte {
	return append13(b, TypeStatsRequest, xid, netrack.NewMultipartRequest(netrack.MultipartTypePortDescription, nil))
}

// AppendFlowStatsRequest asks for the rules of a switch. A restriction that v
// can't express is an [UnsupportedError].
func AppendFlowStatsRequest(b []byte, v flow.Protocol, xid uint32, q *FlowStatsRequest) ([]byte, error) {
	if v == flow.OpenFlow10 {
		return appendFlowStatsRequest10(b, xid, q)
	}
	if err := check13(&q.Match); err != nil {
		return b, err
	}
	return append13(b, TypeStatsRequest, xid, netrack.NewMultipartRequest(netrack.MultipartTypeFlow, &netrack.FlowStatsRequest{
		Table:      netrack.Table(q.Table),
		OutPort:    netrack.PortNo(anyPort(q.OutPort)),
		OutGroup:   netrack.GroupAny,
		Cookie:     q.Cookie,
		CookieMask: q.CookieMask,
		Match:      netrackMatch(&q.Match),
	})), nil
}

// netrackMatch returns a match of netrack's with the fields that appendOXMs has encoded.
func netrackMatch(m *flow.Match) netrack.Match {
	nm := netrack.Match{Type: netrack.MatchTypeXM}
	for b := appendOXMs(nil, m); len(b) > 0; {
		x, rest, err := nextOXM(b)
		if err != nil {
			panic("ofp: reading back a match: " + err.Error())
		}
		b = rest
		nm.Fields = append(nm.Fields, netrack.XM{Class: netrack.XMClass(x.class), Type: netrack.XMType(x.field), Value: x.value, Mask: x.mask})
	}
	return nm
}

// AppendRoleRequest asks a 1.3 switch for a role; generation orders the
// controllers' claims (OpenFlow 1.3.5, 6.3.6).
func AppendRoleRequest(b []byte, xid uint32, role Role, generation uint64) []byte {
	return append13(b, TypeRoleRequest, xid, &netrack.RoleRequest{Role: netrack.ControllerRole(role), GenerationID: generation})
}

// AppendMeterAdd defines a meter in a 1.3 switch, which refuses one that exists.
func AppendMeterAdd(b []byte, xid uint32, m Meter) []byte {
	return appendMeter(b, xid, netrack.MeterAdd, m)
}

// AppendMeterModify changes a meter that exists.
func AppendMeterModify(b []byte, xid uint32, m Meter) []byte {
	return appendMeter(b, xid, netrack.MeterModify, m)
}

// AppendMeterDelete removes a meter, and the rules that name it.
func AppendMeterDelete(b []byte, xid uint32, id uint32) []byte {
	return append13(b, TypeMeterMod, xid, &netrack.MeterMod{Command: netrack.MeterDelete, Meter: netrack.Meter(id)})
}

func appendMeter(b []byte, xid uint32, command netrack.MeterCommand, m Meter) []byte {
	flags := netrack.MeterFlagPacketPerSec
	if m.KBPS {
		flags = netrack.MeterFlagKBitPerSec
	}
	if m.Burst != 0 {
		flags |= netrack.MeterFlagBurst
	}
	return append13(b, TypeMeterMod, xid, &netrack.MeterMod{
		Command: command, Flags: flags, Meter: netrack.Meter(m.ID),
		Bands: netrack.MeterBands{&netrack.MeterBandDrop{Rate: m.Rate, BurstSize: m.Burst}},
	})
}
