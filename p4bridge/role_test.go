package p4bridge

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
	"switchbridge/p4bridge/p4test"
)

// A gateway whose role may write some tables pushes no program, leaves what it may
// not set up to others, and is told of rules that its role may not write.
func TestRoleOfSomeTables(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1, Version: "1.4.0",
		Roles: map[string][]string{"edge": {"flow_exact", "flow", "l2", "miss"}}})
	log := new(logbuffer.Buffer)
	cfg := fastConfig(r)
	cfg.Logger, cfg.Role = slog.New(slog.NewTextHandler(log, nil)), "edge"
	var high, low flow.Rule
	high.Priority, low.Priority = 50000, 50
	high.Match.SetEthType(0x9000)
	low.Match.SetEthType(0x9001)
	s := run(t, cfg, proactive(low, high))
	eventually(t, "it waits for a program", func() bool {
		return strings.Contains(s.Status().Error, "the switch has no program, and a gateway with a role (edge) pushes none")
	})

	whole := newBare(t, r, 1000) // who has the switch, under a cookie of its own
	whole.arbitration(t)
	if _, err := whole.SetForwardingPipelineConfig(context.Background(), &p4v1.SetForwardingPipelineConfigRequest{
		DeviceId: 1, ElectionId: whole.id, Action: p4v1.SetForwardingPipelineConfigRequest_VERIFY_AND_COMMIT,
		Config: &p4v1.ForwardingPipelineConfig{P4Info: program().Info, P4DeviceConfig: program().Device, Cookie: &p4v1.ForwardingPipelineConfig_Cookie{Cookie: 99}}}); err != nil {
		t.Fatal(err)
	}
	if err := whole.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	serving(t, s)
	eventually(t, "the rule that the role may write", func() bool { return len(r.Entries("flow")) == 1 })
	if n := r.Stats().Pushes; n != 1 {
		t.Errorf("%d pushes", n)
	}
	eventually(t, "the log says what the role may not", func() bool {
		return strings.Contains(log.String(), "multicast group 1") && strings.Contains(log.String(), "PermissionDenied: INSERT of an entry of table acl")
	})
	if len(r.Groups()) != 0 || len(r.Entries("acl")) != 0 {
		t.Error("what the role may not write is there")
	}
}

// BMv2 takes a gateway with a role for one that may write all, and says that it is older than roles by name. The gateway keeps to its role all the same: it pushes no program.
func TestRoleOnBMv2(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	log := new(logbuffer.Buffer)
	cfg := fastConfig(r)
	cfg.Logger, cfg.Role = slog.New(slog.NewTextHandler(log, nil)), "edge"
	var rule flow.Rule
	rule.Priority = 50
	rule.Match.SetEthType(0x9001)
	s := run(t, cfg, proactive(rule))
	eventually(t, "it waits for a program", func() bool {
		return strings.Contains(s.Status().Error, "the switch has no program, and a gateway with a role (edge) pushes none")
	})
	resp, err := reader(t, r).Capabilities(t.Context(), &p4v1.CapabilitiesRequest{})
	if err != nil || !strings.Contains(log.String(), "roles by name came with P4Runtime 1.4") {
		t.Errorf("BMv2 speaks %v, %v; the log says\n%s", resp, err, log)
	}
	t.Logf("BMv2 speaks P4Runtime %s", resp.GetP4RuntimeApiVersion())
	whole := newBare(t, r, 1000)
	whole.arbitration(t)
	whole.push(t)
	if err := whole.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	serving(t, s)
	eventually(t, "the rule", func() bool { return len(entries(t, r, "flow")) == 1 })
}

// A whole Write that is refused for a role is each update's refusal; without a role
// it is a demotion.
func TestPermissionDenied(t *testing.T) {
	denied := status.Error(codes.PermissionDenied, "not yours")
	updates := []*p4v1.Update{tableUpdate(p4v1.Update_INSERT, &p4v1.TableEntry{TableId: program().Table("acl").ID})}
	if we, ok := writeError(program(), "edge", updates, denied).(*WriteError); !ok || we.Updates[0].Code != codes.PermissionDenied {
		t.Errorf("with a role: %v", we)
	}
	if err := writeError(program(), "", updates, denied); err != denied {
		t.Errorf("without a role: %v", err)
	}
}

// The switch's version is asked for, and decides how a replica names its port.
func TestVersions(t *testing.T) {
	for version, bytes := range map[string]bool{"1.3.0": false, "1.4.1": true, "1.5.0": true} {
		r := newSimulated(t, p4test.Options{DeviceID: 1, Version: version})
		cfg := fastConfig(r)
		cfg.Miss = MissFlood
		var some flow.Rule // floods begin once the proactive rules are in
		some.Priority = 5
		some.Match.SetEthType(0x9000)
		s := run(t, cfg, proactive(some))
		serving(t, s)
		eventually(t, "the rule", func() bool { return len(r.Entries("flow")) == 1 })
		frame := udp(1, 2, 3)
		eventually(t, "a packet is flooded", func() bool {
			r.packet(t, 1, frame)
			return len(r.out()) > 0
		})
		rd, err := reader(t, r).Read(context.Background(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{{Entity: &p4v1.Entity_PacketReplicationEngineEntry{
			PacketReplicationEngineEntry: &p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_MulticastGroupEntry{MulticastGroupEntry: new(p4v1.MulticastGroupEntry)}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rd.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if replica := resp.GetEntities()[0].GetPacketReplicationEngineEntry().GetMulticastGroupEntry().GetReplicas()[0]; (len(replica.GetPort()) > 0) != bytes {
			t.Errorf("version %s: the replica is %v", version, replica)
		}
	}
	r := newSimulated(t, p4test.Options{DeviceID: 1, Version: "2.0.0"})
	s := run(t, fastConfig(r), proactive())
	eventually(t, "another major version is refused", func() bool { return strings.Contains(s.Status().Error, `speaks P4Runtime "2.0.0"`) })
	if st := r.Stats(); st.Pushes+st.Writes != 0 {
		t.Errorf("before its version was known, %d programs were pushed and %d Writes sent", st.Pushes, st.Writes)
	}
}

// Of several bad entries in one answer all are named.
func TestAllRefusedEntriesAreNamed(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	log := new(logbuffer.Buffer)
	cfg := fastConfig(r)
	cfg.Logger, cfg.Entries = slog.New(slog.NewTextHandler(log, nil)), true
	run(t, cfg, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.Type == flow.EventSwitchConnected {
			d.Entries = []flow.Entry{{Table: "nowhere", Action: "drop"}, {Table: "acl", Priority: 1, Action: "fly"}, {Table: "flow", Action: "drop"}}
		}
		return nil
	}})
	eventually(t, "three reasons in one line", func() bool {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "nowhere") && strings.Contains(line, "fly") && strings.Contains(line, "priority 0") {
				return true
			}
		}
		return false
	})
}
