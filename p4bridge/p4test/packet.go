package p4test

import (
	"encoding/binary"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// The data plane of switchbridge.p4, told over: parser, acl, flow_exact, flow,
// miss, l2. A program with other tables is looked up as far as it has these.

// What packet_out's field send means.
const (
	sendPort = iota
	sendFlood
	sendNext
)

// floodGroup is the program's multicast group for every port.
const floodGroup = 1

// headers are the values of the program's keys.
type headers map[string][]byte

func parse(port uint32, frame []byte) headers {
	m := flow.ParseFrame(frame, flow.PortNo(port))
	be := func(v uint64, n int) []byte { return binary.BigEndian.AppendUint64(nil, v)[8-n:] }
	h := headers{
		"in_port": be(uint64(port), 2), "vlan": be(uint64(m.VLAN), 2), "eth_src": m.EthSrc[:], "eth_dst": m.EthDst[:],
		"eth_type": be(uint64(m.EthType), 2), "ip_proto": {m.IPProto}, "ip_src": {0}, "ip_dst": {0},
		"l4_src": be(uint64(m.L4Src), 2), "l4_dst": be(uint64(m.L4Dst), 2),
	}
	src, dst := m.IPSrc, m.IPDst
	if m.Has(flow.FieldARPOp) {
		h["ip_proto"] = []byte{byte(m.ARPOp)}
		src, dst = m.ARPSPA, m.ARPTPA
	}
	if src.IsValid() {
		h["ip_src"], h["ip_dst"] = src.Addr().AsSlice(), dst.Addr().AsSlice()
	}
	if m.Has(flow.FieldICMPType) {
		h["l4_src"], h["l4_dst"] = []byte{m.ICMPType}, []byte{m.ICMPCode}
	}
	return h
}

// lookup returns the entry that wins, or nil.
func (tab *table) lookup(h headers) *entry {
	if !tab.Priority && !slices.ContainsFunc(tab.Fields, func(f pipeline.Field) bool { return f.Kind != pipeline.Exact }) {
		e := &p4v1.TableEntry{TableId: tab.ID}
		for _, f := range tab.Fields {
			e.Match = append(e.Match, &p4v1.FieldMatch{FieldId: f.ID, FieldMatchType: &p4v1.FieldMatch_Exact_{
				Exact: &p4v1.FieldMatch_Exact{Value: pipeline.Canonical(h[f.Name])}}})
		}
		return tab.entries[pipeline.KeyOf(e)]
	}
	var best *entry
	for _, e := range tab.entries {
		if (best == nil || e.Priority > best.Priority || e.Priority == best.Priority && e.prefix() > best.prefix()) && tab.matches(e, h) {
			best = e
		}
	}
	return best
}

func (tab *table) matches(e *entry, h headers) bool {
	for _, m := range e.GetMatch() {
		f := tab.FieldByID(m.GetFieldId())
		have, err := pipeline.Pad(h[f.Name], f.Width)
		if err != nil {
			return false
		}
		value, mask := matchBits(m)
		want, _ := pipeline.Pad(value, f.Width)
		switch f.Kind {
		case pipeline.Range:
			high, _ := pipeline.Pad(mask, f.Width)
			if slices.Compare(have, want) < 0 || slices.Compare(have, high) > 0 {
				return false
			}
			continue
		case pipeline.Ternary:
			mask, _ = pipeline.Pad(mask, f.Width)
		case pipeline.LPM:
			mask = make([]byte, len(want))
			pad := len(want)*8 - f.Width
			for i := range int(m.GetLpm().GetPrefixLen()) {
				mask[(pad+i)/8] |= 0x80 >> ((pad + i) % 8)
			}
		default:
			mask = pipeline.Ones(f.Width)
		}
		for i := range want {
			if (want[i]^have[i])&mask[i] != 0 {
				return false
			}
		}
	}
	return true
}

// prefix is how long an entry's prefix is, which decides among entries without
// priorities.
func (e *entry) prefix() (n int32) {
	for _, m := range e.GetMatch() {
		n += m.GetLpm().GetPrefixLen()
	}
	return n
}

// Packet lets a frame come in by a port.
func (t *Target) Packet(port uint32, frame []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pl == nil {
		return
	}
	h := parse(port, frame)
	for _, name := range []string{"acl", "flow_exact", "flow"} {
		if e := t.hit(name, h, len(frame)); e != nil {
			t.do(e.GetAction().GetAction(), port, frame, h, flow.ReasonAction)
			return
		}
	}
	if tab := t.tableNamed("miss"); tab != nil && tab.miss != nil && !t.heldBack(port, len(frame)) {
		t.do(tab.miss, port, frame, h, flow.ReasonNoMatch)
	}
}

func (t *Target) tableNamed(name string) *table {
	if p := t.pl.Table(name); p != nil {
		return t.tables[p.ID]
	}
	return nil
}

func (t *Target) hit(name string, h headers, size int) *entry {
	tab := t.tableNamed(name)
	if tab == nil {
		return nil
	}
	e := tab.lookup(h)
	if e != nil {
		e.used = time.Now()
		e.packets++
		e.bytes += int64(size)
	}
	return e
}

func (t *Target) do(a *p4v1.Action, port uint32, frame []byte, h headers, why flow.Reason) {
	name := ""
	for _, act := range t.pl.Info.GetActions() {
		if act.GetPreamble().GetId() == a.GetActionId() {
			name = act.GetPreamble().GetAlias()
		}
	}
	switch name {
	case "output":
		v, _ := pipeline.ToUint(a.GetParams()[0].GetValue())
		t.emit(uint32(v), frame)
	case "flood", "miss_flood":
		t.flood(port, frame)
	case "next":
		t.next(port, frame, h)
	case "punt", "miss_punt":
		t.packetIn(map[string]uint64{"ingress_port": uint64(port), "reason": uint64(why)}, frame)
	case "miss_digest":
		d := t.pl.Digests[0]
		t.sendDigest(d.ID, []*p4v1.P4Data{sample(d, h)}, time.Now())
	}
}

func sample(d *pipeline.Digest, h headers) *p4v1.P4Data {
	s := &p4v1.P4StructLike{}
	for _, m := range d.Members {
		s.Members = append(s.Members, &p4v1.P4Data{Data: &p4v1.P4Data_Bitstring{Bitstring: slices.Clone(pipeline.Canonical(h[m.Name]))}})
	}
	return &p4v1.P4Data{Data: &p4v1.P4Data_Struct{Struct: s}}
}

// Sample is what the digest of switchbridge.p4 says of a frame.
func Sample(d *pipeline.Digest, port uint32, frame []byte) *p4v1.P4Data {
	return sample(d, parse(port, frame))
}

// next is the l2 table; a packet does not leave where it came in.
func (t *Target) next(port uint32, frame []byte, h headers) {
	e := t.hit("l2", h, len(frame))
	if e == nil {
		t.flood(port, frame)
		return
	}
	if v, _ := pipeline.ToUint(e.GetAction().GetAction().GetParams()[0].GetValue()); uint32(v) != port {
		t.emit(uint32(v), frame)
	}
}

func (t *Target) flood(port uint32, frame []byte) {
	for _, r := range t.pre.members[floodGroup] {
		if p := t.portOf(r); p != port {
			t.emit(p, frame)
		}
	}
}

func (t *Target) emit(port uint32, frame []byte) {
	if !slices.Contains(t.opts.Ports, port) {
		return
	}
	select {
	case t.out <- Frame{port, slices.Clone(frame)}:
	default:
	}
}

// PacketIn sends the controller a packet with a header of the program's, whose
// fields are zero where they are not given.
func (t *Target) PacketIn(fields map[string]uint64, frame []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pl != nil {
		t.packetIn(fields, frame)
	}
}

func (t *Target) packetIn(fields map[string]uint64, frame []byte) {
	if t.primary == nil || t.pl.PacketIn == nil {
		return
	}
	p := &p4v1.PacketIn{Payload: slices.Clone(frame)}
	for _, f := range t.pl.PacketIn.Fields {
		b, _ := pipeline.Uint(fields[f.Name], f.Width)
		p.Metadata = append(p.Metadata, &p4v1.PacketMetadata{MetadataId: f.ID, Value: b})
	}
	if t.post(t.primary, &p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Packet{Packet: p}}) {
		t.stats.PacketIns++
	}
}

// packetOut sends a controller's packet; a bad one is dropped in silence.
func (t *Target) packetOut(s *stream, p *p4v1.PacketOut) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s != t.primary || t.pl == nil || t.pl.PacketOut == nil || len(p.GetMetadata()) != len(t.pl.PacketOut.Fields) {
		return
	}
	values := map[string]uint64{"send": sendPort} // other programs know nothing else
	for _, md := range p.GetMetadata() {
		for _, f := range t.pl.PacketOut.Fields {
			if f.ID == md.GetMetadataId() {
				v, err := pipeline.ToUint(md.GetValue())
				if err != nil {
					return
				}
				values[f.Name] = v
			}
		}
	}
	t.stats.PacketOuts++
	port := uint32(values["ingress_port"])
	switch values["send"] {
	case sendPort:
		t.emit(uint32(values["egress_port"]), p.GetPayload())
	case sendFlood:
		t.flood(port, p.GetPayload())
	case sendNext:
		t.next(port, p.GetPayload(), parse(port, p.GetPayload()))
	}
}
