package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
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
// wipes every table.
func (o *owner) pushPipeline(ctx context.Context) error {
	have, err := o.c.installedCookie(ctx)
	if err != nil {
		return err
	}
	p := o.s.cfg.Pipeline
	if o.program = p.Cookie; have == p.Cookie {
		return nil
	}
	if o.s.cfg.Role != "" {
		o.program = have
		return o.sameProgram(ctx)
	}
	if err := o.clearReplication(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.s.cfg.CallTimeout)
	defer cancel()
	_, err = o.c.rpc.SetForwardingPipelineConfig(ctx, &p4v1.SetForwardingPipelineConfigRequest{
		DeviceId: o.s.cfg.Device, Role: o.s.cfg.Role, ElectionId: o.c.electionID(),
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

// sameProgram reports whether the switch runs our program under a cookie of
// somebody else's: a gateway with a role leaves the program to who has it all.
func (o *owner) sameProgram(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.s.cfg.CallTimeout)
	defer cancel()
	resp, err := o.c.rpc.GetForwardingPipelineConfig(ctx, &p4v1.GetForwardingPipelineConfigRequest{
		DeviceId: o.s.cfg.Device, ResponseType: p4v1.GetForwardingPipelineConfigRequest_P4INFO_AND_COOKIE,
	})
	switch {
	case status.Code(err) == codes.FailedPrecondition:
		return fmt.Errorf("the switch has no program, and a gateway with a role (%s) pushes none", o.s.cfg.Role)
	case err != nil:
		return err
	case !proto.Equal(resp.GetConfig().GetP4Info(), o.s.cfg.Pipeline.Info):
		return fmt.Errorf("the switch runs another program than %q, and a gateway with a role (%s) pushes none", o.s.cfg.Pipeline.Name, o.s.cfg.Role)
	}
	o.program = resp.GetConfig().GetCookie().GetCookie()
	return nil
}

// leave reports whether an error says that the gateway's role may not write
// something. It is another controller's to set up, then, and the log says so.
func (o *owner) leave(err error, what string) bool {
	var we *WriteError
	if o.s.cfg.Role == "" || !errors.As(err, &we) || slices.ContainsFunc(we.Updates, func(u *UpdateError) bool { return u != nil && u.Code != codes.PermissionDenied }) {
		return false
	}
	o.s.faults.Warn("role "+what, "the gateway's role may not set this up, so another controller must", "what", what, "role", o.s.cfg.Role)
	return true
}

func replication(op p4v1.Update_Type, e *p4v1.PacketReplicationEngineEntry) *p4v1.Update {
	return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_PacketReplicationEngineEntry{PacketReplicationEngineEntry: e}}}
}

// writeGroups makes the multicast groups and clone sessions of the mapping.
func (o *owner) writeGroups(ctx context.Context) error {
	cfg := &o.s.cfg
	groups := cfg.Mapping.Groups(cfg.Ports)
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		g := &p4v1.MulticastGroupEntry{MulticastGroupId: id}
		for _, p := range groups[id] {
			g.Replicas = append(g.Replicas, o.replica(p, 1))
		}
		err := o.replicate(ctx, &p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_MulticastGroupEntry{MulticastGroupEntry: g}})
		if err != nil && !o.leave(err, fmt.Sprintf("multicast group %d", id)) {
			return fmt.Errorf("multicast group %d: %w", id, err)
		}
	}
	for _, clone := range cfg.Mapping.Clones {
		s := &p4v1.CloneSessionEntry{SessionId: clone.Session, PacketLengthBytes: int32(clone.Truncate)}
		for i, p := range clone.Ports {
			s.Replicas = append(s.Replicas, o.replica(p, uint32(i+1)))
		}
		err := o.replicate(ctx, &p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_CloneSessionEntry{CloneSessionEntry: s}})
		if err != nil && !o.leave(err, fmt.Sprintf("clone session %d", clone.Session)) {
			return fmt.Errorf("clone session %d: %w", clone.Session, err)
		}
	}
	return nil
}

// writeSetup brings in what the gateway keeps in tables, and takes out what it
// kept there under another mapping.
func (o *owner) writeSetup(ctx context.Context) error {
	o.mu.Lock()
	var old []*change
	for key, b := range o.book.entries {
		if o.s.cfg.Bridge.SetUp(b.cookie) && !o.wanted[key] && !o.isL2(b.table) {
			old = append(old, removal(b, flow.RemovedDelete))
		}
	}
	if len(old) > 0 {
		o.queue = append(o.queue, &request{changes: old})
	}
	o.mu.Unlock()
	o.keep(true)
	return o.flush(ctx)
}

// keep queues the entries and default actions of the mapping's setup that are not
// in the switch; all of them where a session begins.
func (o *owner) keep(all bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var changes []*change
	for _, e := range o.setup {
		key := pipeline.KeyOf(e)
		if all || o.changed[key] || !e.GetIsDefaultAction() && o.book.entries[key] == nil {
			changes = append(changes, &change{entry: proto.CloneOf(e), table: o.s.cfg.Pipeline.TableByID(e.GetTableId()), key: key})
		}
	}
	clear(o.changed)
	if len(changes) > 0 {
		o.queue = append(o.queue, &request{changes: changes})
	}
}

// lookDefaults compares the default actions of the mapping's setup with the
// switch's. The owner puts back what somebody else has changed.
func (o *owner) lookDefaults(ctx context.Context) error {
	for _, want := range o.setup {
		t := o.s.cfg.Pipeline.TableByID(want.GetTableId())
		if !want.GetIsDefaultAction() || t.Const { // BMv2 lets nobody read a table that has entries of the program's
			continue
		}
		entities, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{TableId: t.ID, IsDefaultAction: true}}})
		if err != nil {
			return fmt.Errorf("read the default action of table %s: %w", t.Name, err)
		}
		for _, e := range entities {
			have := e.GetTableEntry()
			if !have.GetIsDefaultAction() || proto.Equal(canonicalAction(o.members.action(have)), canonicalAction(mapping.ActionOf(want.GetAction()))) {
				continue
			}
			o.s.faults.Warn("default "+t.Name, "somebody else has changed a default action that the mapping sets; it is put back", "table", t.Name)
			o.mu.Lock()
			o.changed[pipeline.KeyOf(want)], o.kept = true, true
			o.mu.Unlock()
		}
	}
	return nil
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
		if err := o.c.write(ctx, chunk); err != nil && !o.leave(err, "meter "+m.Meter.Name) {
			return fmt.Errorf("%s: %w", m.Meter.Name, err)
		}
	}
	return nil
}

// meterConfig is the limit's. Nil is a meter's default, which is green for all
// (P4Runtime 1.3, 9.3).
func meterConfig(l MissLimit) *p4v1.MeterConfig {
	if l.Rate == 0 {
		return nil
	}
	return mapping.MeterConfig(l.Rate, l.Burst)
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
	err := o.insertOrModify(ctx, entry(p4v1.Update_INSERT), entry(p4v1.Update_MODIFY))
	if err != nil && !o.leave(err, "digest "+d.P4.Name) {
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
