package p4bridge

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/p4bridge/pipeline"
)

// This file has what sessions do only because BMv2 (simple_switch_grpc, whose
// server is PI) is as it is. Each says which test meets it; p4test behaves as BMv2
// does, and TestConformance holds it to the real one.
//
// Two things are not done and so have no code: a digest's configuration is never
// deleted, since BMv2 would use it after its memory is gone; and an election id
// is not changed on a live stream, since BMv2 would take it for another client's
// (TestPromotion).

// pushAction wipes every table. RECONCILE_AND_COMMIT would keep them, but BMv2
// fails it for programs with indirect counters or meters. (TestSwitchRestarts)
const pushAction = p4v1.SetForwardingPipelineConfigRequest_VERIFY_AND_COMMIT

// replica is one copy of a packet, in the form that the switch's version has.
// BMv2 speaks P4Runtime 1.3.0, which has no port but the one that is deprecated
// since. (TestFloodsOnceAfterAPush, TestVersions)
func (o *owner) replica(port uint32, instance uint32) *p4v1.Replica {
	if o.c.version.before(1, 4) {
		return &p4v1.Replica{PortKind: &p4v1.Replica_EgressPort{EgressPort: port}, Instance: instance}
	}
	return &p4v1.Replica{PortKind: &p4v1.Replica_Port{Port: pipeline.Canonical(binary.BigEndian.AppendUint32(nil, port))}, Instance: instance}
}

// clearReplication deletes all multicast groups and clone sessions, also those of
// other controllers. They outlive a push in BMv2, but PI forgets them (bmv2 891) and
// can't delete them afterwards. Flooded packets would then be sent twice.
// (TestFloodsOnceAfterAPush)
func (o *owner) clearReplication(ctx context.Context) error {
	pre := func(e *p4v1.PacketReplicationEngineEntry) *p4v1.Entity {
		return &p4v1.Entity{Entity: &p4v1.Entity_PacketReplicationEngineEntry{PacketReplicationEngineEntry: e}}
	}
	var updates []*p4v1.Update
	for what, all := range map[string]*p4v1.PacketReplicationEngineEntry{ // id 0 is all of them (P4Runtime 1.3, 9.5)
		"multicast groups": {Type: &p4v1.PacketReplicationEngineEntry_MulticastGroupEntry{MulticastGroupEntry: new(p4v1.MulticastGroupEntry)}},
		"clone sessions":   {Type: &p4v1.PacketReplicationEngineEntry_CloneSessionEntry{CloneSessionEntry: new(p4v1.CloneSessionEntry)}},
	} {
		found, err := o.c.read(ctx, pre(all))
		switch status.Code(err) {
		case codes.OK:
		case codes.FailedPrecondition, codes.Unimplemented:
			continue // there is no program, and so none of them; or no such thing
		default:
			return fmt.Errorf("read %s: %w", what, err)
		}
		for _, e := range found {
			updates = append(updates, &p4v1.Update{Type: p4v1.Update_DELETE, Entity: e})
		}
	}
	for chunk := range slices.Chunk(updates, o.s.cfg.Batch) {
		if err := o.c.write(ctx, chunk); err != nil {
			return fmt.Errorf("delete multicast groups and clone sessions: %w", err)
		}
	}
	if len(updates) > 0 {
		o.s.faults.Info("replicates", "deleted all multicast groups and clone sessions before the push", "groups_and_sessions", len(updates))
	}
	return nil
}

// replicate writes a multicast group or a clone session. After another controller
// has pushed a program, BMv2 may still have the group, with old members, while PI
// doesn't know it. A DELETE of the group removes these members.
// (TestFloodsOnceAfterAPush)
func (o *owner) replicate(ctx context.Context, e *p4v1.PacketReplicationEngineEntry) error {
	err := o.c.write(ctx, []*p4v1.Update{replication(p4v1.Update_INSERT, e)})
	if alreadyExists(err) {
		return o.c.write(ctx, []*p4v1.Update{replication(p4v1.Update_MODIFY, e)})
	}
	if err == nil {
		if err = o.c.write(ctx, []*p4v1.Update{replication(p4v1.Update_DELETE, e)}); err == nil {
			err = o.c.write(ctx, []*p4v1.Update{replication(p4v1.Update_INSERT, e)})
		}
	}
	return err
}

// full returns an error if the table of a new entry has no room for it; inserts is
// how many other new entries have been sent and not yet confirmed. BMv2 itself
// answers UNKNOWN, which doesn't tell why. The caller holds mu. (TestFullTable)
func (o *owner) full(c *change, inserts int) error {
	have, size := o.book.count[c.table.ID], c.table.Size
	if size <= 0 || int64(have+inserts) < size {
		return nil
	}
	return fmt.Errorf("table %s: %w: it holds %d of %d entries; key %s", c.table.Name, ErrTableFull, have, size, entryKey(c.table, c.entry))
}

// A table of more than readWhole entries is read in parts of readPart, by the
// keys that the book has: BMv2 takes no writes while it reads, 0.3 s for 20,000
// entries. Entries that others put into such a table are not noticed.
// (TestLargeTableIsReadInParts, TestReadBesideWrites)
const (
	readWhole = 1024
	readPart  = 256
)

// checkBMv2 tells bad what BMv2 takes and does not do. (TestConfigRefuses)
func (c *Config) checkBMv2(bad func(format string, args ...any)) {
	if slices.Contains(c.Ports, 0) {
		bad("port 0: BMv2 can't flood to it")
	}
	if c.Digest.MaxListSize > 1 && c.Digest.MaxTimeout < time.Millisecond {
		bad("digest: lists of %d samples need a max timeout of at least 1ms, or BMv2 waits for ever", c.Digest.MaxListSize)
	}
}
