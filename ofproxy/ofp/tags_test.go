package ofp

import (
	"bytes"
	"testing"

	"switchbridge/flow"
)

// tag puts VLAN tags before a frame's EtherType, the outermost first.
func tag(frame []byte, tags ...[]byte) []byte {
	return bytes.Join([][]byte{frame[:12], bytes.Join(tags, nil), frame[12:]}, nil)
}

// What a message says of VLAN tags beside its frame counts: some switches take the
// tag off the frame, others look behind two. It is written as it is read.
func TestTagsBesideFrame(t *testing.T) {
	const vlan = flow.VLANPresent | 7
	outer, inner := []byte{0x88, 0xa8, 0x60, 7}, []byte{0x81, 0, 0, 9}
	in := func(fill func(m *flow.Match)) (m flow.Match) {
		m.SetInPort(3)
		fill(&m)
		return m
	}
	for _, row := range []struct {
		name  string
		frame []byte
		sent  flow.Match // the message's own fields
		limit uint8
		want  func(m *flow.Match) // of what the frame alone says, without a tag
	}{
		{"no tag", frame, in(func(*flow.Match) {}), 1, nil},
		{"vlan_vid of a frame without the tag", frame, in(func(m *flow.Match) { m.SetVLAN(vlan, flow.VLANExact) }), 1,
			func(m *flow.Match) { m.VLAN = vlan }},
		{"vlan_pcp with it", frame, in(func(m *flow.Match) {
			m.SetVLAN(vlan, flow.VLANExact)
			m.Fields |= flow.FieldVLANPCP
			m.VLANPCP = 3
		}), 1, func(m *flow.Match) {
			m.VLAN, m.VLANPCP = vlan, 3
			m.Fields |= flow.FieldVLANPCP
		}},
		{"no tag, and said so", frame, in(func(m *flow.Match) { m.SetVLAN(flow.VLANNone, flow.VLANExact) }), 1, nil},
		{"the frame has one of its own", tag(frame, outer), in(func(m *flow.Match) { m.SetVLAN(flow.VLANPresent|99, flow.VLANExact) }), 1,
			func(m *flow.Match) {
				m.VLAN, m.VLANPCP = vlan, 3
				m.Fields |= flow.FieldVLANPCP
			}},
		{"two tags", tag(frame, outer, inner), in(func(*flow.Match) {}), 1, func(m *flow.Match) {
			*m = m.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN)
			m.VLAN, m.VLANPCP, m.EthType = vlan, 3, flow.EthTypeVLAN
			m.Fields |= flow.FieldVLANPCP
		}},
		{"two tags, limit 2", tag(frame, outer, inner), in(func(*flow.Match) {}), 2, func(m *flow.Match) {
			m.VLAN, m.VLANPCP = vlan, 3
			m.Fields |= flow.FieldVLANPCP
		}},
		{"two tags, and the EtherType behind them", tag(frame, outer, inner), in(func(m *flow.Match) { m.SetEthType(flow.EthTypeARP) }), 1,
			func(m *flow.Match) {
				m.VLAN, m.VLANPCP = vlan, 3
				m.Fields |= flow.FieldVLANPCP
			}},
		{"an EtherType that the frame has not", tag(frame, outer, inner), in(func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4) }), 1, func(m *flow.Match) {
			*m = m.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN)
			m.VLAN, m.VLANPCP, m.EthType = vlan, 3, flow.EthTypeVLAN
			m.Fields |= flow.FieldVLANPCP
		}},
	} {
		// A message without data carries all its fields; the frame then goes behind it.
		msg, err := AppendPacketIn(nil, v13, 1, &flow.PacketIn{BufferID: flow.NoBuffer, Match: row.sent})
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		msg = append(msg, row.frame...)
		be.PutUint16(msg[2:], uint16(len(msg)))
		var p flow.PacketIn
		if err := ParsePacketInVLANs(msg, row.limit, &p); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		want := flow.ParseFrame(frame, 3)
		if row.want != nil {
			row.want(&want)
		}
		if p.Match != want || p.Incomplete != want.Missing() {
			t.Errorf("%s:\n got %v\nwant %v", row.name, p.Match, want)
		}
		// Who reads it again with another limit sees the same.
		again, err := AppendPacketIn(nil, v13, 1, &p)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		var q flow.PacketIn
		if err := ParsePacketIn(again, &q); err != nil || q.Match != p.Match {
			t.Errorf("%s: written and read again %v (%v), want %v", row.name, q.Match, err, p.Match)
		}
	}
}

// A frame that the switch cut is no broken one.
func TestCutFrame(t *testing.T) {
	tcp := append(bytes.Clone(frame[:12]), 8, 0, 0x45, 0, 0, 100, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x9c, 0x40, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0)
	for _, v := range []flow.Protocol{v10, v13} {
		for total, want := range map[int]bool{len(tcp): false, 113: false, 114: true, 0xffff: true} {
			in := flow.PacketIn{BufferID: 1, TotalLen: total, Match: flow.ParseFrame(tcp, 1), Data: tcp}
			msg, err := AppendPacketIn(nil, v, 1, &in)
			if err != nil {
				t.Fatal(err)
			}
			var p flow.PacketIn
			if err := ParsePacketIn(msg, &p); err != nil || p.Match.Has(flow.FieldL4Dst) != want || (p.Incomplete == 0) != want {
				t.Errorf("%v, %d bytes of %d: %v, incomplete %v (%v)", v, len(tcp), total, p.Match, p.Incomplete, err)
			}
		}
	}
}
