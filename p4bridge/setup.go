package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// installedCookie asks which program the switch runs; 0 is none.
func (c *client) installedCookie(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	resp, err := c.rpc.GetForwardingPipelineConfig(ctx, &p4v1.GetForwardingPipelineConfigRequest{
		DeviceId: c.cfg.Device, ResponseType: p4v1.GetForwardingPipelineConfigRequest_COOKIE_ONLY,
	})
	if status.Code(err) == codes.FailedPrecondition {
		return 0, nil
	}
	return resp.GetConfig().GetCookie().GetCookie(), err
}

// pushPipeline pushes our program where the switch runs another, or none. That
// wipes every table.
func (o *owner) pushPipeline(ctx context.Context) error {
	have, err := o.c.installedCookie(ctx)
	if err != nil {
		return err
	}
	p := o.s.cfg.Pipeline
	if have == p.Cookie {
		return nil
	}
	if err := o.clearReplication(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.s.cfg.CallTimeout)
	defer cancel()
	_, err = o.c.rpc.SetForwardingPipelineConfig(ctx, &p4v1.SetForwardingPipelineConfigRequest{
		DeviceId: o.s.cfg.Device, ElectionId: o.c.electionID(),
		Action: pushAction,
		Config: &p4v1.ForwardingPipelineConfig{
			P4Info: p.Info, P4DeviceConfig: p.Device, Cookie: &p4v1.ForwardingPipelineConfig_Cookie{Cookie: p.Cookie},
		},
	})
	if err != nil {
		return fmt.Errorf("the switch refuses program %q: %w", p.Name, err)
	}
	o.s.faults.Info("pushed", "pushed the pipeline", "pipeline", p.Name, "cookie", p.Cookie)
	return nil
}

// group is an update of the multicast group that holds every port.
func (o *owner) group(op p4v1.Update_Type) *p4v1.Update {
	g := &p4v1.MulticastGroupEntry{MulticastGroupId: o.s.cfg.Mapping.FloodGroup}
	if op != p4v1.Update_DELETE {
		for _, p := range o.s.cfg.Ports {
			g.Replicas = append(g.Replicas, replica(p))
		}
	}
	return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_PacketReplicationEngineEntry{
		PacketReplicationEngineEntry: &p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_MulticastGroupEntry{MulticastGroupEntry: g}},
	}}}
}

func (o *owner) writeGroups(ctx context.Context) error {
	if o.s.cfg.Mapping.FloodGroup == 0 || len(o.s.cfg.Ports) == 0 {
		return nil
	}
	return o.insertGroup(ctx)
}

// writeMissMeter gives each port's meter the limit, or takes one away that an
// earlier configuration left.
func (o *owner) writeMissMeter(ctx context.Context) error {
	m := o.s.cfg.Mapping.Miss
	if m == nil || m.Meter == nil {
		return nil
	}
	var updates []*p4v1.Update
	for _, p := range o.s.cfg.Ports {
		if int64(p) >= m.Meter.Size {
			continue // it has no limit: check saw to that
		}
		updates = append(updates, &p4v1.Update{Type: p4v1.Update_MODIFY, Entity: &p4v1.Entity{Entity: &p4v1.Entity_MeterEntry{
			MeterEntry: &p4v1.MeterEntry{MeterId: m.Meter.ID, Index: &p4v1.Index{Index: int64(p)}, Config: meterConfig(o.s.cfg.MissLimit)},
		}}})
	}
	for chunk := range slices.Chunk(updates, o.s.cfg.Batch) {
		if err := o.c.write(ctx, chunk); err != nil {
			return fmt.Errorf("%s: %w", m.Meter.Name, err)
		}
	}
	return nil
}

// meterConfig is red beyond the limit and never yellow. Nil is a meter's default,
// which is green for all (P4Runtime 1.3, 9.3).
func meterConfig(l MissLimit) *p4v1.MeterConfig {
	if l.Rate == 0 {
		return nil
	}
	return &p4v1.MeterConfig{Cir: l.Rate, Cburst: l.Burst, Pir: l.Rate, Pburst: l.Burst}
}

// insertOrModify writes what may be there already.
func (o *owner) insertOrModify(ctx context.Context, insert, modify *p4v1.Update) error {
	err := o.c.write(ctx, []*p4v1.Update{insert})
	if alreadyExists(err) {
		err = o.c.write(ctx, []*p4v1.Update{modify})
	}
	return err
}

// alreadyExists reports whether the one update of a Write met what is there.
func alreadyExists(err error) bool {
	var we *WriteError
	return errors.As(err, &we) && we.Updates[0] != nil && we.Updates[0].Code == codes.AlreadyExists
}

// configureDigest subscribes to the digest, which is never deleted: see bmv2.go.
func (o *owner) configureDigest(ctx context.Context) error {
	d := o.s.cfg.Mapping.Digest
	if d == nil || o.s.cfg.Miss != MissDigest {
		return nil
	}
	cfg := o.s.cfg.Digest
	entry := func(op p4v1.Update_Type) *p4v1.Update {
		return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_DigestEntry{DigestEntry: &p4v1.DigestEntry{
			DigestId: d.P4.ID, Config: &p4v1.DigestEntry_Config{
				MaxTimeoutNs: cfg.MaxTimeout.Nanoseconds(), MaxListSize: cfg.MaxListSize, AckTimeoutNs: cfg.AckTimeout.Nanoseconds(),
			},
		}}}}
	}
	if err := o.insertOrModify(ctx, entry(p4v1.Update_INSERT), entry(p4v1.Update_MODIFY)); err != nil {
		return fmt.Errorf("%s: %w", d.P4.Name, err)
	}
	return nil
}

// setMiss chooses what the switch does with an unknown flow. Where that is to
// flood it, nobody would be asked about it: the proactive rules go first.
func (o *owner) setMiss(ctx context.Context) error {
	if o.s.cfg.Miss == MissFlood && !o.answered.Load() {
		return nil
	}
	if err := o.core.InstallStanding(); err != nil {
		return err
	}
	return o.flush(ctx)
}
