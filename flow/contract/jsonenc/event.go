package jsonenc

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

func (w *writer) event(ev *flow.Event) {
	w.open('{')
	if ev.Switch != nil {
		w.key("switch")
		w.describe(ev.Switch)
	}
	missing := false
	switch ev.Type {
	case flow.EventPacketIn:
		if missing = ev.PacketIn == nil; !missing {
			w.packetIn(ev.Switch, ev.PacketIn)
		}
	case flow.EventFlowRemoved:
		if missing = ev.FlowRemoved == nil; !missing {
			w.flowRemoved(ev.FlowRemoved)
		}
	case flow.EventPortStatus:
		if missing = ev.PortStatus == nil; !missing {
			w.key("port_status")
			w.open('{')
			w.reason(uint8(ev.PortStatus.Reason), uint8(flow.PortModified), ev.PortStatus.Reason.String())
			w.key("port")
			w.portOf(&ev.PortStatus.Port)
			w.close('}')
		}
	case flow.EventError:
		if missing = ev.Error == nil; !missing {
			w.switchError(ev.Error)
		}
	case flow.EventHandshake:
		w.bytes("handshake", ev.Handshake)
	case flow.EventSwitchConnected, flow.EventPolicyCheck:
	default:
		w.fail("%v is not one of the contract", ev.Type)
	}
	if missing {
		w.fail("%v without its content", ev.Type)
	}
	if len(ev.State) > 0 {
		w.bytes("state", ev.State)
	}
	w.travel(ev.Travel)
	if ev.Accepts != 0 {
		w.names("accepts", contract.AcceptNames(ev.Accepts))
	}
	w.close('}')
}

func (w *writer) describe(s *flow.Switch) {
	w.open('{')
	w.string("dpid", s.DPID.String())
	if s.Protocol != 0 {
		w.string("protocol", s.Protocol.String())
	}
	if s.NBuffers != 0 {
		w.uint("n_buffers", uint64(s.NBuffers))
	}
	if s.NTables != 0 {
		w.uint("n_tables", uint64(s.NTables))
	}
	if s.Capabilities != 0 {
		w.uint("capabilities", uint64(s.Capabilities))
	}
	w.key("ports")
	w.open('[')
	for i := range s.Ports {
		w.next()
		w.portOf(&s.Ports[i])
	}
	w.close(']')
	w.close('}')
}

func (w *writer) portOf(p *flow.Port) {
	w.open('{')
	w.port("port_no", p.No)
	w.string("hw_addr", p.HWAddr.String())
	w.string("name", p.Name)
	w.uint("config", uint64(p.Config))
	w.uint("state", uint64(p.State))
	w.close('}')
}

func (w *writer) packetIn(sw *flow.Switch, p *flow.PacketIn) {
	w.key("packet_in")
	w.open('{')
	if p.Match.Has(flow.FieldInPort) {
		w.port("in_port", p.Match.InPort)
	}
	w.reason(uint8(p.Reason), uint8(flow.ReasonInvalidTTL), p.Reason.String())
	w.uint("table_id", uint64(p.TableID))
	if p.Cookie != 0 {
		w.hex("cookie", p.Cookie)
	}
	if p.BufferID != flow.NoBuffer {
		w.uint("buffer_id", uint64(p.BufferID))
	}
	w.uint("total_len", uint64(max(0, p.TotalLen)))
	w.key("match")
	m := expressible(p.Match)
	w.match(&m)
	if p.Incomplete != 0 {
		w.names("incomplete", contract.FieldNames(p.Incomplete, &p.Match))
	}
	if m, ok := flow.RuleMatch(sw, p); ok {
		w.key("rule_match")
		w.match(&m)
	}
	if len(p.Data) > 0 { // a digest has none
		w.bytes("data", p.Data)
	}
	w.close('}')
}

// laterFields are fields that events have in their data alone.
var laterFields = func() (f flow.Field) {
	for i := range flow.Fields {
		if x := &flow.Fields[i]; x.Later {
			f |= x.Field
		}
	}
	return f
}()

// expressible drops later fields, and the ICMP fields of a packet that carries
// one family's ICMP in the other's: OXM has no such packet, and so no rule can
// match them.
func expressible(m flow.Match) flow.Match {
	m = m.Keep(^laterFields)
	if m.Has(flow.FieldICMPType|flow.FieldEthType) && (m.IPProto == flow.ProtoICMPv6) != (m.EthType == flow.EthTypeIPv6) {
		return m.Keep(^(flow.FieldICMPType | flow.FieldICMPCode | flow.FieldNDTarget))
	}
	return m
}

func (w *writer) flowRemoved(f *flow.FlowRemoved) {
	w.key("flow_removed")
	w.open('{')
	w.reason(uint8(f.Reason), uint8(flow.RemovedGroup), f.Reason.String())
	w.uint("table_id", uint64(f.Table))
	w.uint("priority", uint64(f.Priority))
	w.hex("cookie", f.Cookie)
	w.uint("duration_sec", uint64(f.Duration/time.Second))
	w.uint("duration_nsec", uint64(f.Duration%time.Second))
	w.seconds("idle_timeout", f.Idle)
	w.seconds("hard_timeout", f.Hard)
	w.uint("packet_count", f.Packets)
	w.uint("byte_count", f.Bytes)
	w.key("match")
	w.match(&f.Match)
	w.close('}')
}

func (w *writer) switchError(e *flow.SwitchError) {
	w.key("error")
	w.open('{')
	w.uint("type", uint64(e.Type))
	w.uint("code", uint64(e.Code))
	if e.Name != "" {
		w.string("name", e.Name)
	}
	w.uint("xid", uint64(e.XID))
	if e.Rule != "" {
		w.string("rule", e.Rule)
	}
	if len(e.Data) > 0 {
		w.bytes("data", e.Data)
	}
	w.close('}')
}

func parseEvent(body []byte, ev *flow.Event) error {
	toldIncomplete := false
	err := members(body, func(name string, v json.RawMessage) (err error) {
		switch {
		case name == "switch":
			return parseSwitch(v, ev)
		case name == "state":
			ev.State, err = base64Of(v, nil, flow.MaxState)
		case name == "travel":
			ev.Travel, err = parseTravel(v, nil, flow.MaxTravelEvent, nil)
		case name == "accepts":
			err = elements(v, maxMembers, func(_ int, v json.RawMessage) error {
				accepted, err := stringOf(v)
				ev.Accepts |= contract.AcceptNamed(accepted)
				return err
			})
			toldIncomplete = true // who says this says that, too, where there is something to say
		case name == "packet_in" && ev.Type == flow.EventPacketIn:
			var told bool
			ev.PacketIn, told, err = parsePacketIn(v)
			toldIncomplete = toldIncomplete || told
		case name == "flow_removed" && ev.Type == flow.EventFlowRemoved:
			ev.FlowRemoved, err = parseFlowRemoved(v)
		case name == "port_status" && ev.Type == flow.EventPortStatus:
			ev.PortStatus, err = parsePortStatus(v)
		case name == "error" && ev.Type == flow.EventError:
			ev.Error, err = parseSwitchError(v)
		case name == "handshake" && ev.Type == flow.EventHandshake:
			ev.Handshake, err = base64Of(v, nil, flow.MaxBody)
			if len(ev.Handshake) >= 8 { // the message's own xid, as in the other encoding
				ev.XID = binary.BigEndian.Uint32(ev.Handshake[4:])
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	missing := ""
	switch {
	case ev.Type == flow.EventSwitchConnected && (ev.Switch == nil || ev.Switch.Protocol == 0): // which is all that it tells
		missing = "switch.protocol"
	case ev.Type == flow.EventPacketIn && ev.PacketIn == nil:
		missing = "packet_in"
	case ev.Type == flow.EventFlowRemoved && ev.FlowRemoved == nil:
		missing = "flow_removed"
	case ev.Type == flow.EventPortStatus && ev.PortStatus == nil:
		missing = "port_status"
	case ev.Type == flow.EventError && ev.Error == nil:
		missing = "error"
	case ev.Type == flow.EventHandshake && len(ev.Handshake) == 0:
		missing = "handshake"
	}
	if missing != "" {
		return fmt.Errorf("member %q is missing", missing)
	}
	if ev.PacketIn != nil && !toldIncomplete && !isDigest(ev) {
		ev.PacketIn.Incomplete = ev.PacketIn.Match.Missing()
	}
	return nil
}

// isDigest reports whether an event's packet is a P4 digest. What its program
// leaves out of it no packet of the program shows, so that nothing is hidden.
func isDigest(ev *flow.Event) bool {
	return ev.Switch != nil && ev.Switch.Protocol == flow.P4Runtime && len(ev.PacketIn.Data) == 0
}

func parseSwitch(raw json.RawMessage, ev *flow.Event) error {
	if ev.Switch == nil { // a policy_check's envelope may name none
		ev.Switch = new(flow.Switch)
	}
	s := ev.Switch
	return members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "dpid":
			var text string
			if text, err = stringOf(v); err != nil {
				return err
			}
			dpid, err := flow.ParseDPID(text)
			if err == nil && s.DPID != 0 && dpid != s.DPID {
				err = fmt.Errorf("%v, but ce-source has %v", dpid, s.DPID)
			}
			s.DPID = dpid
			return err
		case "protocol":
			var text string
			if text, err = stringOf(v); err != nil {
				return err
			}
			s.Protocol, err = flow.ParseProtocol(text)
		case "n_buffers":
			s.NBuffers, err = uintOf[uint32](v)
		case "n_tables":
			s.NTables, err = uintOf[uint8](v)
		case "capabilities":
			s.Capabilities, err = uintOf[uint32](v)
		case "ports":
			err = elements(v, maxPorts, func(_ int, v json.RawMessage) error {
				p, err := parsePort(v)
				s.Ports = append(s.Ports, p)
				return err
			})
		}
		return err
	})
}

func parsePort(raw json.RawMessage) (p flow.Port, err error) {
	err = members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "port_no":
			p.No, err = portOf(v)
		case "hw_addr":
			p.HWAddr, err = macOf(v)
		case "name":
			p.Name, err = stringOf(v)
		case "config":
			p.Config, err = uintOf[uint32](v)
		case "state":
			p.State, err = uintOf[uint32](v)
		}
		return err
	})
	return p, err
}

// parsePacketIn reads a packet. told says whether the event has a list of what
// is missing. rule_match is passed over: it follows from the rest.
func parsePacketIn(raw json.RawMessage) (p *flow.PacketIn, told bool, err error) {
	p = &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: -1}
	var inPort flow.PortNo
	var hasPort, hasMatch bool
	err = members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "in_port":
			inPort, err = portOf(v)
			hasPort = true
		case "reason":
			p.Reason, err = reasonOf(v, flow.ReasonNoMatch, flow.ReasonInvalidTTL)
		case "table_id":
			p.TableID, err = uintOf[uint8](v)
		case "cookie":
			p.Cookie, err = uintOf[uint64](v)
		case "buffer_id":
			p.BufferID, err = uintOf[uint32](v)
		case "total_len":
			var n uint32
			n, err = uintOf[uint32](v)
			p.TotalLen = int(n)
		case "match":
			p.Match, err = parseMatch(v)
			hasMatch = true
		case "incomplete":
			told = true
			err = elements(v, maxMembers, func(_ int, v json.RawMessage) error {
				field, err := stringOf(v)
				p.Incomplete |= contract.FieldNamed(field)
				return err
			})
		case "data":
			p.Data, err = base64Of(v, nil, flow.MaxBody)
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	switch {
	case hasPort && p.Match.Has(flow.FieldInPort) && p.Match.InPort != inPort:
		return nil, false, fmt.Errorf("in_port is %v, but %v in the match", inPort, p.Match.InPort)
	case !hasMatch && len(p.Data) > 0:
		p.Match = flow.Parser{}.Parse(p.Data, p.TotalLen, inPort)
		if !hasPort {
			p.Match = p.Match.Keep(^flow.FieldInPort)
		}
	case hasPort:
		p.Match.SetInPort(inPort)
	}
	if hasMatch && len(p.Data) > 0 {
		addLater(p)
	}
	if p.TotalLen < 0 {
		p.TotalLen = len(p.Data)
	}
	return p, told, nil
}

// addLater adds the later fields that a packet's data show, where the headers
// that they stand on are those that the match says.
func addLater(p *flow.PacketIn) {
	need := p.Match.Unseen() & laterFields
	if need == 0 {
		return
	}
	frame := flow.Parser{VLANLimit: 2}.Parse(p.Data, p.TotalLen, 0)
	if frame.Keep(flow.Conversation&^flow.FieldInPort) != p.Match.Keep(flow.Conversation&^flow.FieldInPort) {
		return
	}
	for rest := need & frame.Fields; rest != 0; rest &= rest - 1 {
		(rest & -rest).Info().Copy(&p.Match, &frame)
	}
}

func parseFlowRemoved(raw json.RawMessage) (*flow.FlowRemoved, error) {
	f := new(flow.FlowRemoved)
	err := members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "reason":
			f.Reason, err = reasonOf(v, flow.RemovedIdle, flow.RemovedGroup)
		case "table_id":
			f.Table, err = uintOf[uint8](v)
		case "priority":
			f.Priority, err = uintOf[uint16](v)
		case "cookie":
			f.Cookie, err = uintOf[uint64](v)
		case "duration_sec":
			var s uint32
			s, err = uintOf[uint32](v)
			f.Duration += time.Duration(s) * time.Second
		case "duration_nsec":
			var ns uint32
			ns, err = uintOf[uint32](v)
			f.Duration += time.Duration(ns)
		case "idle_timeout":
			f.Idle, err = secondsOf(v)
		case "hard_timeout":
			f.Hard, err = secondsOf(v)
		case "packet_count":
			f.Packets, err = uintOf[uint64](v)
		case "byte_count":
			f.Bytes, err = uintOf[uint64](v)
		case "match":
			f.Match, err = parseMatch(v)
		}
		return err
	})
	return f, err
}

func parsePortStatus(raw json.RawMessage) (*flow.PortStatus, error) {
	s := new(flow.PortStatus)
	err := members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "reason":
			s.Reason, err = reasonOf(v, flow.PortAdded, flow.PortModified)
		case "port":
			s.Port, err = parsePort(v)
		}
		return err
	})
	return s, err
}

func parseSwitchError(raw json.RawMessage) (*flow.SwitchError, error) {
	e := new(flow.SwitchError)
	err := members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "type":
			e.Type, err = uintOf[uint16](v)
		case "code":
			e.Code, err = uintOf[uint16](v)
		case "name":
			e.Name, err = stringOf(v)
		case "xid":
			e.XID, err = uintOf[uint32](v)
		case "rule":
			e.Rule, err = stringOf(v)
		case "data":
			e.Data, err = base64Of(v, nil, flow.MaxBody)
		}
		return err
	})
	return e, err
}
