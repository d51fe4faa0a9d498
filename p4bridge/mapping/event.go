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

// ErrOwnPacket is wrapped by errors about packets that the gateway itself has sent. They
// came in by the CPU port.
var ErrOwnPacket = errors.New("the packet came in by the CPU port, so the gateway sent it itself")

// ErrContradiction is wrapped by errors about packets whose packet_in header names another
// kind of packet than the frame has.
var ErrContradiction = errors.New("header and frame contradict each other")

// DigestMatch turns a digest's data into the match that a frame of the same flow has. It
// fails if data does not have the digest's layout.
func (m *Mapping) DigestMatch(data *p4v1.P4Data) (flow.Match, error) {
	d := m.Digest
	members := []*p4v1.P4Data{data}
	if !d.P4.Plain {
		if members = data.GetStruct().GetMembers(); data.GetTuple() != nil {
			members = data.GetTuple().GetMembers()
		}
	}
	if len(members) != len(d.keys) {
		return flow.Match{}, fmt.Errorf("digest %s: %d members where P4Info says %d", d.P4.Name, len(members), len(d.keys))
	}
	values := make([]field, len(members))
	for i, v := range members {
		if len(d.keys[i].oxms) == 0 {
			continue // of whatever type
		}
		if err := values[i].read(&d.keys[i].Member, dataBytes(v), &m.ports); err != nil {
			return flow.Match{}, fmt.Errorf("digest %s: member %s: %w", d.P4.Name, d.keys[i].Name, err)
		}
	}
	match, err := decode(imply(d.implied), d.keys, values)
	if err != nil {
		return match, fmt.Errorf("digest %s: %w", d.P4.Name, err)
	}
	dropAbsent(&match)
	if m.ownPort(match.InPort) {
		return match, ErrOwnPacket
	}
	return match, nil
}

func (m *Mapping) ownPort(p flow.PortNo) bool { return m.CPUPort != 0 && p == m.CPUPort }

// dataBytes returns the number in a digest's member, or nothing if the member is no number.
func dataBytes(d *p4v1.P4Data) []byte {
	switch v := d.GetData().(type) {
	case *p4v1.P4Data_Bitstring:
		return v.Bitstring
	case *p4v1.P4Data_EnumValue:
		return v.EnumValue
	case *p4v1.P4Data_Bool:
		if v.Bool {
			return []byte{1}
		}
		return []byte{0}
	}
	return nil
}

// bits is how wide a value is once it is read: a text is a port's number.
func (k *key) bits() int {
	if k.String {
		return textBits
	}
	return k.Width
}

// textBits is the width of a port's number that is a text in P4Runtime.
const textBits = 32

// field is the value of a key, of a digest's member or of a header's field, with the width
// of its type. The zero value is no value.
type field struct{ value, mask []byte }

// read takes a value that is compared with all its bits.
func (f *field) read(m *pipeline.Member, b []byte, ports *portNames) error {
	width := m.Width
	if m.String {
		no, ok := ports.number(string(b))
		if !ok {
			return fmt.Errorf("%q is the name of no port", b)
		}
		b, width = be32(no), textBits
	}
	v, err := pipeline.Pad(b, width)
	f.value, f.mask = v, pipeline.Ones(width)
	return err
}

// imply returns what is known of all packets that come to a place in the program.
func imply(list []implied) (m flow.Match) {
	for _, i := range list {
		v, _ := pipeline.Uint(i.value, i.width) // it fits: Bind has seen to that
		v, _ = pipeline.Pad(v, i.width)
		i.set(&m, v, pipeline.Ones(i.width))
	}
	return m
}

// Incomplete returns fields that the mapped tables match on and that a packet with these
// headers can have, but that the digest does not have.
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

// decode fills m from the keys' values, prerequisites first: eth_type and ip_proto say
// which field a shared key has.
func decode(m flow.Match, keys []key, values []field) (flow.Match, error) {
	for pass := range 3 {
		for i := range keys {
			if values[i].value == nil {
				continue
			}
			for _, o := range keys[i].oxms {
				if o.pass() != pass {
					continue
				}
				if _, sure := o.may(&m); !sure {
					continue
				}
				if o.tos {
					if v, mask := o.part(values[i].value), o.part(values[i].mask); !isZero(mask) && !o.set(&m, v, mask) {
						return m, fmt.Errorf("%s: %s with mask %#x", keys[i].Name, o.name, mask)
					}
					continue
				}
				v, err := pipeline.Pad(values[i].value, o.width)
				if err != nil {
					return m, fmt.Errorf("%s: %s: %w", keys[i].Name, o.name, err)
				}
				if !o.set(&m, v, low(values[i].mask, keys[i].bits(), o.width)) {
					return m, fmt.Errorf("%s: %s with mask %#x", keys[i].Name, o.name, values[i].mask)
				}
				break
			}
		}
	}
	return m.Canonical(), nil
}

// part returns the field's bits of the type-of-service byte.
func (o *oxm) part(tos []byte) []byte { return []byte{tos[0] >> o.shift & (1<<o.width - 1)} }

// pass returns the round of decode in which a field's prerequisites are known.
func (o *oxm) pass() int {
	switch {
	case len(o.protos) > 0:
		return 2
	case len(o.ethTypes) > 0:
		return 1
	}
	return 0
}

// low returns the last to bits of a mask of from bits, with ones where the mask
// is shorter.
func low(mask []byte, from, to int) []byte {
	n := (max(from, to) + 7) / 8
	wide := make([]byte, n)
	copy(wide[n-len(mask):], mask)
	for i := from; i < to; i++ {
		wide[n-1-i/8] |= 1 << (i % 8)
	}
	out := pipeline.Ones(to)
	for i := range out {
		out[i] &= wide[n-len(out)+i]
	}
	return out
}

// dropAbsent removes fields that a digest has as zero although the packet doesn't have
// them: the layer-4 ports of a later fragment, and fields of an ARP packet of another kind.
// The match of a frame does not have such fields.
func dropAbsent(m *flow.Match) {
	if m.Has(flow.FieldL4Src|flow.FieldL4Dst) && m.L4Src == 0 && m.L4Dst == 0 {
		m.Fields &^= flow.FieldL4Src | flow.FieldL4Dst
	}
	if m.Has(flow.FieldARPOp) && m.ARPOp == 0 {
		m.Fields &^= flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA
	}
	*m = m.Canonical()
}

// Frame is a packet of which only the frame is known, and the port that it came in by: what [Mapping.Packet] makes of one whose header says no more.
func (m *Mapping) Frame(data []byte, port flow.PortNo) flow.PacketIn {
	match := flow.ParseFrame(data, port)
	return flow.PacketIn{BufferID: flow.NoBuffer, Data: data, TotalLen: len(data), Match: match.Keep(m.EventFields), Incomplete: match.Missing() & m.EventFields}
}

// Packet reads a packet_in. It returns the match of header and frame, and whether no rule
// matched the packet. The match has only fields that the mapping names, so that a policy
// decides the same for a digest of the packet. If header and frame differ, the header's
// value is used, since the program may have changed the frame; contradicted are the fields
// in which they differ.
func (m *Mapping) Packet(p *p4v1.PacketIn) (pi flow.PacketIn, contradicted flow.Field, err error) {
	in := m.PacketIn
	if in == nil {
		return pi, 0, errors.New("packet_in: the mapping has none")
	}
	port, found := flow.PortNo(0), false
	values := make([]field, len(in.keys))
	for _, md := range p.GetMetadata() {
		switch {
		case md.GetMetadataId() == in.InPort.ID:
			var f field
			if err := f.read(&in.InPort, md.GetValue(), &m.ports); err != nil {
				return pi, 0, fmt.Errorf("packet_in: %s: %w", in.InPort.Name, err)
			}
			v, err := pipeline.ToUint(f.value)
			if err != nil || v > uint64(flow.PortMax) {
				return pi, 0, fmt.Errorf("packet_in: %s: %#x is no port", in.InPort.Name, md.GetValue())
			}
			port, found = flow.PortNo(v), true
		case in.Reason != nil && md.GetMetadataId() == in.Reason.ID:
			if v, err := pipeline.ToUint(md.GetValue()); err == nil && v != 0 {
				pi.Reason = flow.ReasonAction
			}
		}
		for i := range in.keys {
			if k := &in.keys[i]; len(k.oxms) > 0 && k.ID == md.GetMetadataId() {
				if err := values[i].read(&k.Member, md.GetValue(), &m.ports); err != nil {
					return pi, 0, fmt.Errorf("packet_in: %s: %w", k.Name, err)
				}
			}
		}
	}
	switch {
	case !found:
		return pi, 0, fmt.Errorf("packet_in: no metadata %d (%s)", in.InPort.ID, in.InPort.Name)
	case m.ownPort(port):
		return pi, 0, ErrOwnPacket
	}
	pi.BufferID, pi.Data, pi.TotalLen = flow.NoBuffer, p.GetPayload(), len(p.GetPayload())
	match := flow.ParseFrame(pi.Data, port)
	missing := match.Missing()
	if slices.ContainsFunc(values, func(f field) bool { return f.value != nil }) {
		frame := match
		for i := range in.keys {
			for _, o := range in.keys[i].oxms {
				match.Fields &^= o.field
			}
		}
		match, err = decode(match.Canonical(), in.keys, values)
		if err != nil {
			return pi, 0, fmt.Errorf("packet_in: %w", err)
		}
		contradicted = differ(&frame, &match)
		if contradicted&(flow.FieldEthType|flow.FieldIPProto) != 0 {
			return pi, contradicted, fmt.Errorf("packet_in: %w in %v", ErrContradiction, contradicted)
		}
		missing = match.Missing()
	}
	pi.Match, pi.Incomplete = match.Keep(m.EventFields), missing&m.EventFields
	return pi, contradicted, nil
}

// differ returns the fields of a that b lacks or has with another value.
func differ(a, b *flow.Match) (fields flow.Field) {
	for i := range flow.Fields {
		f := flow.Fields[i].Field
		if a.Has(f) && a.Keep(f) != b.Keep(f) {
			fields |= f
		}
	}
	return fields
}

// ErrCantSend is wrapped by errors about actions that a packet_out can't express.
var ErrCantSend = errors.New("a packet_out can't do this")

// PacketOuts turns an action list into packet_out messages for a frame, one for each
// output. An empty list drops the frame: there is no message.
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
				if v = uint64(inPort); inPort.Reserved() { // the gateway's own frame
					v = 0
				}
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

// Sends reports whether the program itself can send a packet_out to a reserved port, such
// as FLOOD or NORMAL.
func (m *Mapping) Sends(port flow.PortNo) bool {
	if m.PacketOut == nil {
		return false
	}
	_, ok := m.PacketOut.modes[port]
	return ok
}

// Match returns the match of an entry that [Mapping.Entry] has made. ok is false if the
// entry's table is not mapped, or if Entry can't have made the entry.
func (m *Mapping) Match(e *p4v1.TableEntry) (match flow.Match, table *Table, ok bool) {
	for _, t := range m.Tables {
		if t.P4.ID != e.GetTableId() {
			continue
		}
		values := make([]field, len(t.keys))
		for i := range t.keys {
			k := &t.keys[i]
			at := slices.IndexFunc(e.GetMatch(), func(fm *p4v1.FieldMatch) bool { return fm.GetFieldId() == k.ID })
			switch {
			case at < 0 && k.always == nil:
				continue
			case at < 0 || len(k.oxms) == 0 && k.always == nil:
				return flow.Match{}, t, false // its mask is wider than a field, or it compares bits of no field
			}
			fm := e.GetMatch()[at]
			switch {
			case k.always != nil:
				if pipeline.FieldKey(fm) != pipeline.FieldKey(k.always) {
					return flow.Match{}, t, false
				}
			case k.String:
				if values[i].read(&k.Member, append(fm.GetExact().GetValue(), fm.GetOptional().GetValue()...), &m.ports) != nil {
					return flow.Match{}, t, false
				}
			default:
				var ok bool
				if values[i].value, values[i].mask, ok = matchKinds[k.kind].read(fm, k.Width); !ok {
					return flow.Match{}, t, false
				}
			}
		}
		match, err := decode(imply(t.implied), t.keys, values)
		dropAbsent(&match)
		return match, t, err == nil
	}
	return flow.Match{}, nil, false
}

// Rule returns the rule that an entry stands for. shown is false if the entry has conditions
// or actions that a rule can't express. drops says that the entry surely drops its packets.
func (m *Mapping) Rule(e *p4v1.TableEntry) (r flow.Rule, shown, drops bool) {
	match, t, shown := m.Match(e)
	r = flow.Rule{IdleTimeout: time.Duration(e.GetIdleTimeoutNs()), Cookie: e.GetControllerMetadata(), Match: match}
	if t == nil {
		return r, false, false
	}
	r.Priority = t.Priority(e)
	r.Table = t.OpenFlow
	actions, ok := t.list(ActionOf(e.GetAction()), &m.ports)
	r.Actions = actions
	return r, shown && ok, ok && len(actions) == 0
}

// Priority returns the priority of the rule that an entry of the table stands for.
func (t *Table) Priority(e *p4v1.TableEntry) uint16 {
	if !t.P4.Priority {
		return 0
	}
	return uint16(min(max(0, e.GetPriority()-t.above), 0xffff))
}
