package mapping

import (
	"errors"
	"fmt"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// DigestMatch turns a digest's data into the match that a frame of the same
// flow would have filled. It fails where data is not of the digest's layout.
func (m *Mapping) DigestMatch(data *p4v1.P4Data) (flow.Match, error) {
	d := m.Digest
	var values [][]byte
	if s := data.GetStruct(); s != nil {
		if len(s.GetMembers()) != len(d.keys) {
			return flow.Match{}, fmt.Errorf("digest %s: %d members where P4Info says %d", d.P4.Name, len(s.GetMembers()), len(d.keys))
		}
		for _, v := range s.GetMembers() {
			values = append(values, v.GetBitstring())
		}
	} else if len(d.keys) == 1 {
		values = [][]byte{data.GetBitstring()}
	} else {
		return flow.Match{}, fmt.Errorf("digest %s: not a struct", d.P4.Name)
	}
	masks := make([][]byte, len(values))
	for i := range values {
		v, err := pipeline.Pad(values[i], d.keys[i].Width)
		if err != nil {
			return flow.Match{}, fmt.Errorf("digest %s: member %s: %w", d.P4.Name, d.keys[i].Name, err)
		}
		values[i], masks[i] = v, pipeline.Ones(d.keys[i].Width)
	}
	match, err := decode(imply(d.implied), d.keys, values, masks)
	if err != nil {
		return match, fmt.Errorf("digest %s: %w", d.P4.Name, err)
	}
	dropAbsent(&match)
	return match, nil
}

// imply returns what a place in the program says of its packets.
func imply(list []implied) (m flow.Match) {
	for _, i := range list {
		v, _ := pipeline.Uint(i.value, i.width) // it fits: Bind has seen to that
		v, _ = pipeline.Pad(v, i.width)
		i.set(&m, v, pipeline.Ones(i.width))
	}
	return m
}

// Incomplete returns the fields that the mapped tables match on, that a packet
// with these headers can have, and that its digest does not tell.
func (m *Mapping) Incomplete(match *flow.Match) flow.Field {
	var can, all flow.Field
	for _, o := range m.matched {
		all |= o.field
		if may, _ := o.may(match); may {
			can |= o.field
		}
	}
	return (can | match.Missing()&all) &^ match.Fields
}

// decode fills m from keys' values, prerequisites first: which field a shared
// key holds is known once eth_type and ip_proto are.
func decode(m flow.Match, keys []key, values, masks [][]byte) (flow.Match, error) {
	for pass := range 3 {
		for i := range keys {
			if values[i] == nil {
				continue
			}
			for _, o := range keys[i].oxms {
				if o.pass() != pass {
					continue
				}
				if _, sure := o.may(&m); !sure {
					continue
				}
				v, err := pipeline.Pad(values[i], o.width)
				if err != nil {
					return m, fmt.Errorf("%s: %s: %w", keys[i].Name, o.name, err)
				}
				o.set(&m, v, low(masks[i], o.width))
				break
			}
		}
	}
	return m.Canonical(), nil
}

// pass is in which round of decode a field's prerequisites are known.
func (o *oxm) pass() int {
	switch {
	case len(o.protos) > 0:
		return 2
	case len(o.ethTypes) > 0:
		return 1
	}
	return 0
}

// low returns the last width bits of a mask, with ones where the mask is shorter.
func low(mask []byte, width int) []byte {
	out := pipeline.Ones(width)
	for i := range out {
		if at := len(mask) - len(out) + i; at >= 0 {
			out[i] &= mask[at]
		}
	}
	return out
}

// dropAbsent takes away what a digest says with zero: the layer-4 ports of a
// later fragment, and the fields of an ARP packet of another kind. A frame's
// match does not have them at all.
func dropAbsent(m *flow.Match) {
	if m.Has(flow.FieldL4Src|flow.FieldL4Dst) && m.L4Src == 0 && m.L4Dst == 0 {
		m.Fields &^= flow.FieldL4Src | flow.FieldL4Dst
	}
	if m.Has(flow.FieldARPOp) && m.ARPOp == 0 {
		m.Fields &^= flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA
	}
	*m = m.Canonical()
}

// Packet reads a packet_in: the match that its frame and metadata fill, limited
// to the fields that a digest of this program would have, so that both look
// alike to a policy; and whether the packet is one that no rule matched.
func (m *Mapping) Packet(p *p4v1.PacketIn) (pi flow.PacketIn, err error) {
	in := m.PacketIn
	if in == nil {
		return pi, errors.New("packet_in: the mapping has none")
	}
	port, found := flow.PortNo(0), false
	for _, md := range p.GetMetadata() {
		switch {
		case md.GetMetadataId() == in.InPort.ID:
			v, err := pipeline.ToUint(md.GetValue())
			if err != nil || v > uint64(flow.PortMax) {
				return pi, fmt.Errorf("packet_in: %s: %#x is no port", in.InPort.Name, md.GetValue())
			}
			port, found = flow.PortNo(v), true
		case in.Reason != nil && md.GetMetadataId() == in.Reason.ID:
			if v, err := pipeline.ToUint(md.GetValue()); err == nil && v != 0 {
				pi.Reason = flow.ReasonAction
			}
		}
	}
	if !found {
		return pi, fmt.Errorf("packet_in: no metadata %d (%s)", in.InPort.ID, in.InPort.Name)
	}
	pi.BufferID, pi.Data, pi.TotalLen = flow.NoBuffer, p.GetPayload(), len(p.GetPayload())
	match := flow.ParseFrame(pi.Data, port)
	pi.Match, pi.Incomplete = match.Keep(m.EventFields), match.Missing()&m.EventFields
	return pi, nil
}

// ErrCantSend is what errors about actions that a packet_out can't do wrap.
var ErrCantSend = errors.New("a packet_out can't do this")

// PacketOuts turns an action list into the packet_out messages that carry it
// out on a frame: one for each output. An empty list drops, and gives none.
func (m *Mapping) PacketOuts(frame []byte, inPort flow.PortNo, list []flow.Action) ([]*p4v1.PacketOut, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if m.PacketOut == nil {
		return nil, fmt.Errorf("%w: the mapping has no packet_out", ErrCantSend)
	}
	var outs []*p4v1.PacketOut
	for i := range list {
		a := &list[i]
		if a.Type != flow.Output {
			return nil, fmt.Errorf("%w: %v", ErrCantSend, *a)
		}
		port, kind := a.Port, flow.PortNo(0)
		switch {
		case port == flow.PortIn:
			port = inPort
		case port == flow.PortAll:
			port, kind = 0, flow.PortFlood
		case port.Reserved():
			port, kind = 0, a.Port
		}
		mode, ok := m.PacketOut.modes[kind]
		if !ok {
			return nil, fmt.Errorf("%w: output:%v is not mapped", ErrCantSend, a.Port)
		}
		out := &p4v1.PacketOut{Payload: frame}
		for _, f := range m.PacketOut.header.Fields {
			v := mode[f.Name]
			switch {
			case f.ID == m.PacketOut.port.ID && kind == 0:
				v = uint64(port)
			case m.PacketOut.inPort != nil && f.ID == m.PacketOut.inPort.ID:
				v = uint64(inPort)
			}
			b, err := pipeline.Uint(v, f.Width)
			if err != nil {
				return nil, fmt.Errorf("packet_out: %s: %w", f.Name, err)
			}
			out.Metadata = append(out.Metadata, &p4v1.PacketMetadata{MetadataId: f.ID, Value: b})
		}
		outs = append(outs, out)
	}
	return outs, nil
}

// Match reads an entry's key back, as [Mapping.Entry] wrote it; ok is false for
// an entry of a table that is not mapped, or one that it can't have written.
func (m *Mapping) Match(e *p4v1.TableEntry) (match flow.Match, table *Table, ok bool) {
	for _, t := range m.Tables {
		if t.P4.ID != e.GetTableId() {
			continue
		}
		values, masks := make([][]byte, len(t.keys)), make([][]byte, len(t.keys))
		for _, fm := range e.GetMatch() {
			i := slices.IndexFunc(t.keys, func(k key) bool { return k.ID == fm.GetFieldId() })
			if i < 0 {
				return flow.Match{}, t, false
			}
			if values[i], masks[i] = t.keys[i].valueMask(fm); values[i] == nil {
				return flow.Match{}, t, false
			}
		}
		match, err := decode(imply(t.implied), t.keys, values, masks)
		dropAbsent(&match)
		return match, t, err == nil
	}
	return flow.Match{}, nil, false
}

// Rule reads an entry back as the rule that it was. It is not shown where it has
// conditions or actions that a rule can't say; drops says that it is known to send
// nothing on.
func (m *Mapping) Rule(e *p4v1.TableEntry) (r flow.Rule, shown, drops bool) {
	match, t, shown := m.Match(e)
	r = flow.Rule{Priority: uint16(e.GetPriority()), IdleTimeout: time.Duration(e.GetIdleTimeoutNs()), Cookie: e.GetControllerMetadata(), Match: match}
	if t == nil {
		return r, false, false
	}
	r.Table = t.OpenFlow
	actions, ok := t.list(e.GetAction().GetAction())
	r.Actions = actions
	return r, shown && ok, ok && len(actions) == 0
}

// list is action's inverse, for lists of at most one output.
func (t *Table) list(a *p4v1.Action) ([]flow.Action, bool) {
	for _, sig := range []string{"drop", "output", "normal", "flood", "controller"} {
		as := t.actions[sig]
		if as == nil || as.p4.ID != a.GetActionId() {
			continue
		}
		switch sig {
		case "drop":
			return nil, true
		case "normal":
			return []flow.Action{flow.OutputTo(flow.PortNormal)}, true
		case "flood":
			return []flow.Action{flow.OutputTo(flow.PortFlood)}, true
		case "controller":
			return []flow.Action{flow.OutputTo(flow.PortController)}, true
		}
		for _, p := range a.GetParams() {
			if v, err := pipeline.ToUint(p.GetValue()); err == nil && v <= uint64(flow.PortMax) && len(as.params) == 1 && as.params[0].ID == p.GetParamId() {
				return []flow.Action{flow.OutputTo(flow.PortNo(v))}, true
			}
		}
	}
	return nil, false
}

// valueMask is fieldMatch's inverse; it returns nil for what that can't have made.
func (k *key) valueMask(fm *p4v1.FieldMatch) (value, mask []byte) {
	ones := pipeline.Ones(k.Width)
	var err error
	switch {
	case fm.GetExact() != nil:
		value, err = pipeline.Pad(fm.GetExact().GetValue(), k.Width)
		mask = ones
	case fm.GetOptional() != nil:
		value, err = pipeline.Pad(fm.GetOptional().GetValue(), k.Width)
		mask = ones
	case fm.GetTernary() != nil:
		value, err = pipeline.Pad(fm.GetTernary().GetValue(), k.Width)
		if err == nil {
			mask, err = pipeline.Pad(fm.GetTernary().GetMask(), k.Width)
		}
	case fm.GetLpm() != nil:
		value, err = pipeline.Pad(fm.GetLpm().GetValue(), k.Width)
		mask = make([]byte, len(ones))
		pad := len(ones)*8 - k.Width
		for i := range min(int(fm.GetLpm().GetPrefixLen()), k.Width) {
			mask[(pad+i)/8] |= 0x80 >> ((pad + i) % 8)
		}
	case fm.GetRange() != nil:
		var high []byte
		if value, err = pipeline.Pad(fm.GetRange().GetLow(), k.Width); err == nil {
			high, err = pipeline.Pad(fm.GetRange().GetHigh(), k.Width)
		}
		if err != nil {
			return nil, nil
		}
		mask = slices.Clone(ones)
		for i := range mask {
			if mask[i] &^= value[i] ^ high[i]; value[i]&^mask[i] != 0 {
				return nil, nil
			}
		}
		if _, ok := prefixLen(mask, k.Width); !ok {
			return nil, nil
		}
	}
	if err != nil {
		return nil, nil
	}
	return value, mask
}
