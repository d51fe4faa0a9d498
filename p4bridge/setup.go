package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
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
// wipes every table. RECONCILE_AND_COMMIT would keep them, but BMv2 fails it for
// programs with indirect counters or meters.
func (o *owner) pushPipeline(ctx context.Context) error {
	have, err := o.c.installedCookie(ctx)
	if err != nil {
		return err
	}
	p := o.s.cfg.Pipeline
	if have == p.Cookie {
		return nil
	}
	if have != 0 {
		// Replication state outlives a push in BMv2 while PI forgets it (bmv2 891), and
		// could not be written again.
		_ = o.c.write(ctx, []*p4v1.Update{o.group(p4v1.Update_DELETE)})
	}
	ctx, cancel := context.WithTimeout(ctx, o.s.cfg.CallTimeout)
	defer cancel()
	_, err = o.c.rpc.SetForwardingPipelineConfig(ctx, &p4v1.SetForwardingPipelineConfigRequest{
		DeviceId: o.s.cfg.Device, ElectionId: o.c.electionID(),
		Action: p4v1.SetForwardingPipelineConfigRequest_VERIFY_AND_COMMIT,
		Config: &p4v1.ForwardingPipelineConfig{
			P4Info: p.Info, P4DeviceConfig: p.Device, Cookie: &p4v1.ForwardingPipelineConfig_Cookie{Cookie: p.Cookie},
		},
	})
	if err != nil {
		return fmt.Errorf("the switch refuses program %q: %w", p.Name, err)
	}
	o.s.log.Info("pushed the pipeline", "pipeline", p.Name, "cookie", p.Cookie)
	return nil
}

// readTables fills the book from the switch and removes what an older policy of
// this gateway left, once the policy's version is known. A rule whose age is not
// known gets the default hard timeout from now on.
func (o *owner) readTables(ctx context.Context) error {
	now := time.Now()
	known := o.book.entries
	o.book, o.l2 = newBook(), map[flow.MAC]flow.PortNo{}
	for _, t := range o.tables() {
		entities, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{TableId: t.ID}}})
		if err != nil {
			return fmt.Errorf("read table %s: %w", t.Name, err)
		}
		for _, e := range entities {
			te := e.GetTableEntry()
			if te == nil || te.GetIsDefaultAction() {
				continue
			}
			key, written, deadline := bookKey(te), now, time.Time{}
			learned := o.isL2(te.GetTableId())
			if o.ours(te.GetControllerMetadata()) && !learned {
				deadline = now.Add(o.s.cfg.HardTimeout)
			}
			if b := known[key]; b != nil && b.cookie == te.GetControllerMetadata() {
				written, deadline = b.written, b.deadline // its age is known
			}
			o.book.put(key, te.GetTableId(), te.GetControllerMetadata(), written, deadline)
			if learned {
				o.relearn(te)
			}
		}
	}
	if v := o.s.versions.Latest(); !v.IsZero() {
		o.sweep(v)
	}
	return nil
}

// tables are the P4 tables that the gateway writes to, each once.
func (o *owner) tables() []*pipeline.Table {
	var out []*pipeline.Table
	seen := map[uint32]bool{}
	for _, t := range o.s.cfg.Mapping.Tables {
		if !seen[t.P4.ID] {
			seen[t.P4.ID] = true
			out = append(out, t.P4)
		}
	}
	if l2 := o.s.cfg.Mapping.L2; l2 != nil && !seen[l2.Table.ID] {
		seen[l2.Table.ID] = true
		out = append(out, l2.Table)
	}
	if o.s.cfg.Entries { // any table may have some of ours
		for _, t := range o.s.cfg.Pipeline.Tables {
			if !seen[t.ID] && !t.Const && len(t.Fields) > 0 {
				out = append(out, t)
			}
		}
	}
	return out
}

// group is an update of the multicast group that holds every port.
func (o *owner) group(op p4v1.Update_Type) *p4v1.Update {
	g := &p4v1.MulticastGroupEntry{MulticastGroupId: o.s.cfg.Mapping.FloodGroup}
	if op != p4v1.Update_DELETE {
		for _, p := range o.s.cfg.Ports {
			g.Replicas = append(g.Replicas, &p4v1.Replica{
				PortKind: &p4v1.Replica_EgressPort{EgressPort: p}, Instance: 1, //nolint:staticcheck // BMv2 speaks 1.3.0, which has no other
			})
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
	return o.insertOrModify(ctx, o.group(p4v1.Update_INSERT), o.group(p4v1.Update_MODIFY))
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
	var we *WriteError
	if errors.As(err, &we) && we.Updates[0] != nil && we.Updates[0].Code == codes.AlreadyExists {
		err = o.c.write(ctx, []*p4v1.Update{modify})
	}
	return err
}

// configureDigest subscribes to the digest. It is never deleted: BMv2 would use
// it after its memory is gone.
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

// setMiss chooses what the switch does with an unknown flow.
func (o *owner) setMiss(ctx context.Context) error {
	m := o.s.cfg.Mapping.Miss
	if m == nil {
		return nil
	}
	return o.c.write(ctx, []*p4v1.Update{{Type: p4v1.Update_MODIFY, Entity: &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{
		TableId: m.Table.ID, IsDefaultAction: true,
		Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: &p4v1.Action{ActionId: missAction(m, o.s.cfg.Miss).ID}}},
	}}}}})
}

// proactive asks for the rules that a new switch gets. No answer is no failure:
// the misses will ask again.
func (o *owner) proactive(ctx context.Context) error {
	j := o.newJob(flow.EventSwitchConnected)
	o.decide(ctx, j)
	o.finish(j)
	return o.flush(ctx)
}
