package guard

import (
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// A rule of one conversation has a cap of its own, where one is configured; every other rule has that of all.
func TestMaxConversation(t *testing.T) {
	frame := frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(22), frames.SYN, nil)
	group := frames.UDP(frames.Host(1).At(40000), frames.Endpoint{MAC: flow.MAC{1, 0, 0x5e, 0, 0, 1}, IP: frames.Host(2).IP, Port: 53}, nil)
	for _, row := range []struct {
		name            string
		frame           []byte
		keep            flow.Field
		own, asked, got time.Duration
	}{
		{"of one conversation", frame, flow.Conversation, time.Hour, 2 * time.Hour, time.Hour},
		{"of one conversation, shorter", frame, flow.Conversation, time.Hour, 10 * time.Minute, 10 * time.Minute},
		{"of one conversation, under a lower cap", frame, flow.Conversation, 20 * time.Second, time.Hour, 20 * time.Second},
		{"of one conversation, no cap of its own", frame, flow.Conversation, 0, time.Hour, time.Minute},
		{"without the source's port", frame, flow.Conversation &^ flow.FieldL4Src, time.Hour, time.Hour, time.Minute},
		{"without in_port", frame, flow.Conversation &^ flow.FieldInPort, time.Hour, time.Hour, time.Minute},
		{"of a group", group, flow.Conversation, time.Hour, time.Hour, time.Minute},
	} {
		g := Default()
		g.HardTimeout, g.MaxHardTimeout, g.MaxConversation = time.Minute, time.Minute, row.own
		m := flow.ParseFrame(row.frame, 1)
		ev := &flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, Match: m}}
		d := &flow.Decision{Rules: []flow.Rule{{Priority: 100, HardTimeout: row.asked, Match: m.Keep(row.keep), Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}}}
		var out Outcome
		if g.Check(ev, d, nil, nil, &out); len(d.Rules) != 1 || d.Rules[0].HardTimeout != row.got {
			t.Errorf("%s: %+v %v, want %v", row.name, d.Rules, out.Violations, row.got)
		}
	}
}
