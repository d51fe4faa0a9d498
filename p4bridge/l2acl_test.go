package p4bridge

import (
	"bytes"
	"context"
	"testing"
	"time"

	"switchbridge/flow"
)

// A program that knows nothing of us, on BMv2: it asks by its own default
// action, and a rule that rewrites becomes its own action.
func TestSecondProgramOnBMv2(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	cfg := fastConfig(r)
	var err error
	cfg.Pipeline, cfg.Mapping, err = LoadProgram("../p4src/example/l2acl.p4info.txtpb", "../p4src/example/l2acl.json", "../p4src/example/l2acl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Miss = MissPunt
	s := run(t, cfg, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			d.Rules = append(d.Rules, flow.Rule{Priority: 9, IdleTimeout: time.Minute,
				Match:   ev.PacketIn.Match.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst),
				Actions: []flow.Action{{Type: flow.SetEthDst, MAC: flow.MAC{2, 0, 0, 0, 0, 9}}, flow.OutputTo(3)}})
			d.HasPacketOut, d.PacketOut = true, []flow.Action{flow.OutputTo(2)}
		}
		return nil
	}})
	serving(t, s)
	frame := udp(1, 2, 1)
	r.packet(t, 1, frame)
	expect(t, r, 2, frame) // what packet_out says, once the rule is written
	rewritten := bytes.Clone(frame)
	copy(rewritten, []byte{2, 0, 0, 0, 0, 9})
	r.packet(t, 1, frame)
	expect(t, r, 3, rewritten)
}
