package oftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// Config describes a switch. Its zero value is one that speaks 1.0 and 1.3, has
// four ports and keeps no packets.
type Config struct {
	DPID     flow.DPID
	Versions []flow.Protocol // offered; nil: OpenFlow 1.0 and 1.3
	Ports    []flow.Port     // nil: ports 1 to 4, all up
	NBuffers uint32          // packets it can hold; 0: every PACKET_IN carries its whole frame
	NTables  uint8           // 0: 254
	Desc     ofp.Desc

	// Rules are in the tables from the start, as a switch keeps them that connects again.
	Rules []flow.Rule

	// Roles are shared by the connections of one switch to several controllers. nil: every role that is asked for is granted, and means nothing.
	Roles *Roles

	// Mute switches send nothing by themselves, not even HELLO.
	Mute bool
	// Refuse, where set, says which FLOW_MODs are answered with an error (Type
	// and Code of it) instead of being carried out.
	Refuse func(*flow.Rule) (e flow.SwitchError, refuse bool)
	// Intercept, where set, sees every message before the switch does; true
	// means that the switch does nothing about it. It must not keep msg.
	Intercept func(h ofp.Header, msg []byte) bool
}

// Ports returns n ports, numbered from 1, that are up: s1-eth1 and so on.
func Ports(n int) []flow.Port {
	ports := make([]flow.Port, n)
	for i := range ports {
		no := i + 1
		ports[i] = flow.Port{
			No:     flow.PortNo(no),
			HWAddr: flow.MAC{2, 0xff, 0, 0, byte(no >> 8), byte(no)},
			Name:   fmt.Sprintf("s1-eth%d", no),
		}
	}
	return ports
}

// Errors of OpenFlow that a Datapath answers with; the numbers are the same in
// 1.0 and 1.3 where not said otherwise (1.3.5, 7.4.4).
const (
	errBadRequest        = 1
	badType              = 1
	badStat              = 2
	badExperimenter      = 3
	badLen               = 6
	bufferUnknown        = 8
	isSlave              = 10 // 1.3
	errFlowModFailed     = 5  // 1.3
	badTableID           = 2  // 1.3
	errGroupModFailed    = 6  // 1.3
	errMeterModFailed    = 12 // 1.3
	errRoleRequestFailed = 11 // 1.3
	roleStale            = 0
	meterExists          = 1
	unknownMeter         = 3
)

// Message is something the controller told the switch that the switch does not
// answer by itself: FLOW_MOD, PACKET_OUT, METER_MOD, GROUP_MOD, PORT_MOD,
// TABLE_MOD, SET_CONFIG and ERROR. All of it is the receiver's to keep.
type Message struct {
	Type ofp.Type
	XID  uint32
	Raw  []byte // the whole message

	Rule      *flow.Rule        // FLOW_MOD
	PacketOut *ofp.PacketOut    // PACKET_OUT
	Error     *flow.SwitchError // ERROR

	// Frame is what this message let go: the PACKET_OUT's data, or the packet
	// in the buffer that it, or the FLOW_MOD, names.
	Frame []byte
}

// String writes the message for a test's failure.
func (m Message) String() string {
	switch {
	case m.Rule != nil:
		return "FLOW_MOD " + m.Rule.String()
	case m.PacketOut != nil:
		return fmt.Sprintf("PACKET_OUT in_port=%v actions=%s (%d bytes)", m.PacketOut.InPort, flow.ActionsString(m.PacketOut.Actions), len(m.Frame))
	case m.Error != nil:
		return "ERROR " + m.Error.Name
	}
	return m.Type.String()
}

// Datapath is a switch's side of one OpenFlow session, without the connection.
// It is not safe for concurrent use.
type Datapath struct {
	cfg      Config
	version  flow.Protocol // 0 until HELLO has come
	features bool          // FEATURES_REPLY has been sent
	missLen  uint16        // 1.0: bytes of a packet that a PACKET_IN carries
	table    table
	meters   map[uint32]bool

	buffers    map[uint32][]byte // frames
	nextBuffer uint32
}

// NewDatapath returns a switch that has not said HELLO yet.
func NewDatapath(cfg Config) *Datapath {
	if cfg.Versions == nil {
		cfg.Versions = []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13}
	}
	if cfg.Ports == nil {
		cfg.Ports = Ports(4)
	}
	if cfg.NTables == 0 {
		cfg.NTables = 254
	}
	if cfg.Desc == (ofp.Desc{}) {
		cfg.Desc = ofp.Desc{Manufacturer: "Switchbridge", Hardware: "none", Software: "oftest", Serial: "0", Datapath: cfg.DPID.String()}
	}
	d := &Datapath{cfg: cfg, missLen: 128, meters: map[uint32]bool{}, buffers: map[uint32][]byte{}}
	for i := range cfg.Rules {
		d.table.add(&cfg.Rules[i])
	}
	return d
}

// Version is what was negotiated, or 0.
func (d *Datapath) Version() flow.Protocol { return d.version }

// Ready reports whether the switch has told the controller its features: from
// then on it may send PACKET_INs.
func (d *Datapath) Ready() bool { return d.features }

// AppendHello appends the switch's HELLO.
func (d *Datapath) AppendHello(b []byte) []byte { return ofp.AppendHello(b, 1, d.cfg.Versions...) }

// Handle takes one whole message from the controller, appends the answers to b,
// and returns what the controller told it, if it is one for the caller. The
// error says why the session can't go on; what was appended should still be
// sent.
func (d *Datapath) Handle(b, msg []byte) ([]byte, *Message, error) {
	h, err := ofp.ParseHeader(msg)
	if err != nil {
		return b, nil, err
	}
	if d.cfg.Intercept != nil && d.cfg.Intercept(h, msg) {
		return b, nil, nil
	}
	if h.Type == ofp.TypeHello {
		b, err = d.hello(b, h, msg)
		return b, nil, err
	}
	if d.version == 0 {
		if h.Type == ofp.TypeError { // HELLO_FAILED
			return b, d.message(h, msg), nil
		}
		return b, nil, fmt.Errorf("%v before HELLO", h.Type)
	}
	if h.Version != d.version {
		return b, nil, fmt.Errorf("%v of %v in a session of %v", h.Type, h.Version, d.version)
	}
	switch h.Type {
	case ofp.TypeFlowMod, ofp.TypePacketOut, ofp.TypeMeterMod, ofp.TypeGroupMod, ofp.TypePortMod, ofp.TypeTableMod:
		if !d.Asks() { // OpenFlow 1.3.5, 6.3.4
			code := uint16(isSlave)
			if d.version == flow.OpenFlow10 { // as Open vSwitch has it, since 1.0 has no code for it
				code = ofp.BadRequestEperm
			}
			return d.refuse(b, h, msg, errBadRequest, code), nil, nil
		}
	}
	switch h.Type {
	case ofp.TypeEchoRequest:
		return ofp.AppendEchoReply(b, d.version, h.XID, msg[ofp.HeaderLen:]), nil, nil
	case ofp.TypeEchoReply:
		return b, nil, nil
	case ofp.TypeFeaturesRequest:
		d.features = true
		return ofp.AppendFeaturesReply(b, d.version, h.XID, d.describe()), nil, nil
	case ofp.TypeGetConfigRequest:
		return ofp.AppendGetConfigReply(b, d.version, h.XID, d.missLen), nil, nil
	case ofp.TypeBarrierRequest:
		return ofp.AppendBarrierReply(b, d.version, h.XID), nil, nil
	case ofp.TypeStatsRequest:
		b, err = d.stats(b, h, msg)
		return b, nil, err
	case ofp.TypeRoleRequest:
		role, generation, err := ofp.ParseRole(msg)
		if err != nil {
			return d.refuse(b, h, msg, errBadRequest, badLen), nil, nil
		}
		if d.cfg.Roles != nil {
			granted, current, stale := d.cfg.Roles.ask(d, role, generation)
			if stale {
				return d.refuse(b, h, msg, errRoleRequestFailed, roleStale), nil, nil
			}
			role, generation = granted, current
		}
		return ofp.AppendRoleReply(b, h.XID, role, generation), nil, nil
	case ofp.TypeSetConfig:
		if len(msg) < 12 {
			return d.refuse(b, h, msg, errBadRequest, badLen), nil, nil
		}
		d.missLen = binary.BigEndian.Uint16(msg[10:])
		return b, d.message(h, msg), nil
	case ofp.TypeFlowMod:
		return d.flowMod(b, h, msg)
	case ofp.TypePacketOut:
		return d.packetOut(b, h, msg)
	case ofp.TypeMeterMod:
		return d.meterMod(b, h, msg), d.message(h, msg), nil
	case ofp.TypeGroupMod:
		return d.refuse(b, h, msg, errGroupModFailed, badType), d.message(h, msg), nil
	case ofp.TypeError:
		m := d.message(h, msg)
		if e, err := ofp.ParseError(msg); err == nil {
			m.Error = &e
		}
		return b, m, nil
	case ofp.TypePortMod, ofp.TypeTableMod:
		return b, d.message(h, msg), nil
	case ofp.TypeExperimenter:
		if role, ok, err := ofp.ParseNiciraRole(msg); ok && err == nil && d.version == flow.OpenFlow10 && d.cfg.Roles != nil {
			return ofp.AppendNiciraRole(b, h.XID, d.cfg.Roles.askNow(d, role)), nil, nil
		}
		return d.refuse(b, h, msg, errBadRequest, badExperimenter), nil, nil
	}
	return d.refuse(b, h, msg, errBadRequest, badType), nil, nil
}

// hello chooses the highest version that both offer (OpenFlow 1.3.5, 6.3.1).
func (d *Datapath) hello(b []byte, h ofp.Header, msg []byte) ([]byte, error) {
	if d.version != 0 {
		return b, nil
	}
	offered, err := ofp.ParseHello(msg)
	if err != nil {
		return b, err
	}
	for _, v := range d.cfg.Versions {
		if offered>>v&1 == 1 && v > d.version {
			d.version = v
		}
	}
	if d.version == 0 {
		text := fmt.Appendf(nil, "offered %#x, want one of %v", offered, d.cfg.Versions)
		v := slices.Max(d.cfg.Versions)
		return ofp.AppendError(b, v, h.XID, ofp.ErrHelloFailed, ofp.HelloIncompatible, text), errors.New("no version in common: " + string(text))
	}
	return b, nil
}

func (d *Datapath) describe() *flow.Switch {
	return &flow.Switch{
		DPID: d.cfg.DPID, Protocol: d.version, NBuffers: d.cfg.NBuffers, NTables: d.cfg.NTables,
		Capabilities: 1, Actions: 0xfff, Ports: d.cfg.Ports,
	}
}

func (d *Datapath) message(h ofp.Header, msg []byte) *Message {
	return &Message{Type: h.Type, XID: h.XID, Raw: slices.Clone(msg)}
}

// refuse appends an error with the start of the offending message, as the
// specification wants it (1.3.5, 7.4.4).
func (d *Datapath) refuse(b []byte, h ofp.Header, msg []byte, typ, code uint16) []byte {
	return ofp.AppendError(b, d.version, h.XID, typ, code, msg[:min(len(msg), 64)])
}

func (d *Datapath) stats(b []byte, h ofp.Header, msg []byte) ([]byte, error) {
	typ, _, err := ofp.ParseStatsType(msg)
	if err != nil {
		return d.refuse(b, h, msg, errBadRequest, badLen), nil
	}
	switch typ {
	case ofp.StatsDesc:
		return ofp.AppendDescReply(b, d.version, h.XID, d.cfg.Desc), nil
	case ofp.StatsPortDesc:
		return ofp.AppendPortDescReply(b, h.XID, d.cfg.Ports), nil
	case ofp.StatsFlow:
		var q ofp.FlowStatsRequest
		if err := ofp.ParseFlowStatsRequest(msg, &q); err != nil {
			return d.refuse(b, h, msg, errBadRequest, badLen), nil
		}
		const chunk = 200 // entries; far from a message's 64 KiB
		found := d.table.find(d.version, &q)
		for ; len(found) > chunk; found = found[chunk:] {
			if b, err = ofp.AppendFlowStatsReply(b, d.version, h.XID, found[:chunk], true); err != nil {
				return b, err
			}
		}
		return ofp.AppendFlowStatsReply(b, d.version, h.XID, found, false)
	}
	return d.refuse(b, h, msg, errBadRequest, badStat), nil
}

func (d *Datapath) flowMod(b []byte, h ofp.Header, msg []byte) ([]byte, *Message, error) {
	m := d.message(h, msg)
	m.Rule = &flow.Rule{}
	if err := ofp.ParseFlowMod(m.Raw, m.Rule); err != nil {
		m.Rule = nil
		return d.refuse(b, h, msg, errBadRequest, badLen), m, nil
	}
	if d.cfg.Refuse != nil {
		if e, refuse := d.cfg.Refuse(m.Rule); refuse {
			return d.refuse(b, h, msg, e.Type, e.Code), m, nil
		}
	}
	if d.version != flow.OpenFlow10 {
		if m.Rule.Table >= d.cfg.NTables && m.Rule.Table != tableAll {
			return d.refuse(b, h, msg, errFlowModFailed, badTableID), m, nil
		}
		if m.Rule.Meter != 0 && !d.meters[m.Rule.Meter] {
			return d.refuse(b, h, msg, errMeterModFailed, unknownMeter), m, nil
		}
	}
	for _, e := range d.table.apply(d.version, m.Rule) {
		if e.Rule.Flags&flow.SendFlowRemoved != 0 {
			b = ofp.AppendFlowRemoved(b, d.version, 0, &flow.FlowRemoved{
				Reason: flow.RemovedDelete, Table: e.Rule.Table, Priority: e.Rule.Priority, Cookie: e.Rule.Cookie, Match: e.Rule.Match,
				Idle: e.Rule.IdleTimeout, Hard: e.Rule.HardTimeout, Packets: e.Packets, Bytes: e.Bytes,
			})
		}
	}
	adds := m.Rule.Command == flow.Add || m.Rule.Command == flow.Modify || m.Rule.Command == flow.ModifyStrict
	if adds && m.Rule.BufferID != flow.NoBuffer {
		frame, ok := d.release(m.Rule.BufferID)
		if !ok {
			return d.refuse(b, h, msg, errBadRequest, bufferUnknown), m, nil
		}
		m.Frame = frame
	}
	return b, m, nil
}

func (d *Datapath) packetOut(b []byte, h ofp.Header, msg []byte) ([]byte, *Message, error) {
	m := d.message(h, msg)
	m.PacketOut = &ofp.PacketOut{}
	if err := ofp.ParsePacketOut(m.Raw, m.PacketOut); err != nil {
		m.PacketOut = nil
		return d.refuse(b, h, msg, errBadRequest, badLen), m, nil
	}
	m.Frame = m.PacketOut.Data
	if id := m.PacketOut.BufferID; id != flow.NoBuffer {
		frame, ok := d.release(id)
		if !ok {
			return d.refuse(b, h, msg, errBadRequest, bufferUnknown), m, nil
		}
		m.Frame = frame
	}
	return b, m, nil
}

// meterMod keeps which meters there are (OpenFlow 1.3.5, 7.3.4.4).
func (d *Datapath) meterMod(b []byte, h ofp.Header, msg []byte) []byte {
	if len(msg) < 16 {
		return d.refuse(b, h, msg, errBadRequest, badLen)
	}
	const add, modify, all = 0, 1, 0xffffffff
	id := binary.BigEndian.Uint32(msg[12:])
	switch command := binary.BigEndian.Uint16(msg[8:]); {
	case command == add && d.meters[id]:
		return d.refuse(b, h, msg, errMeterModFailed, meterExists)
	case command == add:
		d.meters[id] = true
	case command == modify && !d.meters[id]:
		return d.refuse(b, h, msg, errMeterModFailed, unknownMeter)
	case command == modify:
	case id == all:
		clear(d.meters)
	default:
		delete(d.meters, id)
	}
	return b
}

// AppendPacketIn appends the PACKET_IN by which the switch asks about a frame
// that no rule covers. Where the switch has buffers it keeps the frame and
// names its buffer, a new one each time; the oldest is forgotten when all are
// in use. In 1.0 the frame is cut to the configured miss_send_len, as Open
// vSwitch does even without buffers.
func (d *Datapath) AppendPacketIn(b []byte, inPort flow.PortNo, frame []byte) ([]byte, error) {
	maxLen := uint16(0xffff)
	if d.version == flow.OpenFlow10 {
		maxLen = d.missLen
	}
	return d.packetIn(b, inPort, frame, &flow.PacketIn{Reason: flow.ReasonNoMatch}, maxLen)
}

func (d *Datapath) packetIn(b []byte, inPort flow.PortNo, frame []byte, p *flow.PacketIn, maxLen uint16) ([]byte, error) {
	p.BufferID, p.TotalLen, p.Data = flow.NoBuffer, len(frame), frame
	p.Match.SetInPort(inPort)
	if d.cfg.NBuffers > 0 {
		p.BufferID = d.nextBuffer
		d.buffers[p.BufferID] = slices.Clone(frame)
		delete(d.buffers, p.BufferID-d.cfg.NBuffers)
		if d.nextBuffer++; d.nextBuffer == flow.NoBuffer {
			d.nextBuffer = 0
		}
	}
	if len(frame) > int(maxLen) {
		p.Data = frame[:maxLen]
	}
	return ofp.AppendPacketIn(b, d.version, 0, p) // Open vSwitch, too, sends xid 0
}

func (d *Datapath) release(id uint32) (frame []byte, ok bool) {
	frame, ok = d.buffers[id]
	delete(d.buffers, id)
	return frame, ok
}

// Forward does with a frame what the switch's tables say (OpenFlow 1.3.5, 5.3),
// as far as to name the actions in their order, and appends a PACKET_IN for each
// output to the controller. Without a matching rule a 1.0 switch asks and a 1.3
// switch drops (5.4).
func (d *Datapath) Forward(b []byte, inPort flow.PortNo, frame []byte) (out []byte, actions []flow.Action, asked bool, err error) {
	match := flow.ParseFrame(frame, inPort).Seen()
	for id := uint8(0); ; {
		e := d.table.lookup(id, &match)
		if e == nil {
			if d.version == flow.OpenFlow10 {
				b, err = d.AppendPacketIn(b, inPort, frame)
				asked = true
			}
			return b, actions, asked, err
		}
		e.Packets++
		e.Bytes += uint64(len(frame))
		for _, a := range e.Rule.Actions {
			if a.Type != flow.Output || a.Port != flow.PortController {
				actions = append(actions, a)
				continue
			}
			asked = true
			p := flow.PacketIn{Reason: flow.ReasonAction, TableID: id, Cookie: e.Rule.Cookie}
			if e.Rule.Priority == 0 && e.Rule.Match.Fields == 0 {
				p.Reason = flow.ReasonNoMatch
			}
			if b, err = d.packetIn(b, inPort, frame, &p, a.MaxLen); err != nil {
				return b, actions, asked, err
			}
		}
		if e.Rule.Goto <= id {
			return b, actions, asked, nil
		}
		id = e.Rule.Goto
	}
}

// Rules returns what is in the flow tables.
func (d *Datapath) Rules() []ofp.FlowStats {
	var list []ofp.FlowStats
	d.table.expire(time.Now())
	for i := range d.table.entries {
		list = append(list, d.table.entries[i].stats())
	}
	return list
}
