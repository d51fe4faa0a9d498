package p4bridge

import (
	"context"
	"testing"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/p4test"
)

// A flow's first packet asks; its rule carries the rest.
func TestDigestBecomesRule(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		s := run(t, fastConfig(r), local{exactNormal})
		serving(t, s)
		for name, frame := range map[string][]byte{"udp": udp(1, 2, 1000), "tcp6": tcp6(1, 2, 1000), "arp": arp(1, 2)} {
			before := len(entries(t, r, "flow_exact"))
			r.packet(t, 1, frame)
			eventually(t, name+" has an entry", func() bool { return len(entries(t, r, "flow_exact")) == before+1 })
			r.packet(t, 1, frame)
			expect(t, r, 2, frame) // flooded: nobody knows station 2
		}
		if n := len(entries(t, r, "l2")); n != 1 {
			t.Errorf("l2 has %d entries, want the one station that was heard", n)
		}
		// Station 1 is known now: what goes to it leaves by its port alone.
		back := udp(2, 1, 53)
		r.packet(t, 2, back)
		eventually(t, "the way back has an entry, and its station", func() bool {
			return len(entries(t, r, "l2")) == 2 && len(entries(t, r, "flow_exact")) == 4
		})
		r.packet(t, 2, back)
		expect(t, r, 1, back)
		for _, e := range entries(t, r, "flow_exact") {
			if !gatewayID.Owns(e.GetControllerMetadata()) {
				t.Errorf("controller_metadata %#x is not the gateway's", e.GetControllerMetadata())
			}
		}
	})
}

// A packet that is denied moves nobody: who forges a station's address gets nothing of what is sent to it.
func TestDeniedIsNotLearned(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		s := run(t, fastConfig(r), local{func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			err := exactNormal(ctx, ev, d)
			if ev.PacketIn != nil && ev.PacketIn.Match.InPort == 3 {
				d.Verdict = flow.Deny
				d.Rules[0].Actions = nil
			}
			return err
		}})
		serving(t, s)
		r.packet(t, 1, udp(1, 2, 1000))
		eventually(t, "station 1 is known", func() bool { return len(entries(t, r, "l2")) == 1 })
		forged := udp(1, 2, 1001)
		r.packet(t, 3, forged)
		eventually(t, "the forged packet is denied", func() bool { return len(entries(t, r, "flow_exact")) == 2 })
		back := udp(2, 1, 53)
		r.packet(t, 2, back)
		eventually(t, "station 2 is known", func() bool {
			return len(entries(t, r, "l2")) == 2 && len(entries(t, r, "flow_exact")) == 3
		})
		r.packet(t, 2, back)
		expect(t, r, 1, back)
	})
}

// In punt mode not even the first packet is lost.
func TestPuntSavesTheFirstPacket(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := fastConfig(r)
		cfg.Miss = MissPunt
		s := run(t, cfg, local{toPort(3)})
		serving(t, s)
		frame := udp(1, 2, 2000)
		r.packet(t, 1, frame)
		expect(t, r, 3, frame)
		if n := len(entries(t, r, "flow_exact")); n != 1 {
			t.Errorf("flow_exact has %d entries when the packet is through, want 1: the rule goes first", n)
		}
		r.packet(t, 1, frame)
		expect(t, r, 3, frame)
	})
}

// Who keeps records is told of each decision.
func TestRecords(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	records := make(chan flow.Event, 16)
	cfg := fastConfig(r)
	cfg.Miss = MissPunt
	cfg.Bridge = bridgeOf(t, local{toPort(3)}, func(b *bridge.Config) {
		b.OnDecision = func(rec *bridge.Record) {
			if rec.Err != nil || rec.Decide <= 0 || rec.Total < rec.Decide || rec.Event.Switch.DPID != 1 || rec.Remote != r.addr() {
				t.Errorf("record %+v", rec)
			}
			if rec.Event.Type == flow.EventPacketIn {
				if len(rec.Decision.Rules) != 1 {
					t.Errorf("%d rules, want 1", len(rec.Decision.Rules))
				}
				records <- flow.Event{Type: rec.Event.Type, PacketIn: &flow.PacketIn{Match: rec.Event.PacketIn.Match}}
			}
		}
	})
	s := run(t, cfg, nil)
	serving(t, s)
	frame := udp(1, 2, 2500)
	r.packet(t, 1, frame)
	expect(t, r, 3, frame)
	select {
	case got := <-records:
		if want := flow.ParseFrame(frame, 1).Keep(binding().EventFields); got.PacketIn.Match != want {
			t.Errorf("record of %v, want %v", got.PacketIn.Match, want)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("no record")
	}
}

// A restart of the switch costs its rules and nothing else.
func TestSwitchRestarts(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		s := run(t, fastConfig(r), local{toPort(2)})
		serving(t, s)
		frame := udp(1, 2, 3000)
		r.packet(t, 1, frame)
		eventually(t, "an entry", func() bool { return len(entries(t, r, "flow_exact")) == 1 })
		r.restart(t)
		eventually(t, "the rule is back", func() bool {
			if s.Status().State != "serving" {
				return false
			}
			r.packet(t, 1, frame)
			return len(entries(t, r, "flow_exact")) == 1
		})
		r.packet(t, 1, frame)
		expect(t, r, 2, frame)
	})
}

// The entries of an idle flow go, and the controller is told.
func TestIdleTimeout(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		removed := make(chan flow.FlowRemoved, 16)
		cfg := fastConfig(r)
		cfg.Bridge = bridgeOf(t, local{recordRemoved(removed)}, func(b *bridge.Config) { b.Subscribe = map[flow.EventType]bool{flow.EventFlowRemoved: true} })
		s := run(t, cfg, nil)
		serving(t, s)
		frame := udp(1, 2, 4000)
		r.packet(t, 1, frame)
		select {
		case got := <-removed:
			want := flow.ParseFrame(frame, 1).Keep(binding().EventFields)
			if got.Match != want || got.Reason != flow.RemovedIdle || got.Priority != 100 || got.Idle != time.Second {
				t.Errorf("flow_removed %+v, want idle_timeout of a second, priority 100, %v", got, want)
			}
		case <-time.After(15 * time.Second):
			t.Fatal("no flow_removed")
		}
		eventually(t, "the entry is gone", func() bool { return len(entries(t, r, "flow_exact")) == 0 })
	})
}

// Two gateways: the one with the higher id writes, and the other takes over.
func TestBackupTakesOver(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		first := run(t, fastConfig(r), local{toPort(2)})
		serving(t, first)
		second := fastConfig(r)
		second.Election = ElectionID{Low: 20}
		b := run(t, second, local{toPort(3)})
		serving(t, b)
		eventually(t, "the first is demoted", func() bool { return first.Status().State == "backup" })
		frame := udp(1, 2, 5000)
		r.packet(t, 1, frame)
		eventually(t, "an entry", func() bool { return len(entries(t, r, "flow_exact")) == 1 })
		r.packet(t, 1, frame)
		expect(t, r, 3, frame)
	})
}

// Rules that end by themselves are the gateway's to end.
func TestHardTimeout(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		s := run(t, fastConfig(r), local{withHard(time.Second)})
		serving(t, s)
		r.packet(t, 1, udp(1, 2, 6000))
		eventually(t, "an entry", func() bool { return len(entries(t, r, "flow_exact")) == 1 })
		eventually(t, "it is gone", func() bool { return len(entries(t, r, "flow_exact")) == 0 })
	})
}
