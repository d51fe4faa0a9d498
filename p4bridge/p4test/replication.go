package p4test

import (
	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/p4bridge/pipeline"
)

// replication is the packet replication engine as BMv2 and PI have it: two
// memories, of which a pipeline push clears PI's alone (bmv2 891). What PI has
// forgotten goes on replicating, and can't be read; a group that is made again
// has its old members, too, until it is deleted.
type replication struct {
	groups   map[uint32]*p4v1.MulticastGroupEntry // PI's
	sessions map[uint32]*p4v1.CloneSessionEntry
	members  map[uint32][]*p4v1.Replica // BMv2's, by group
}

// forget is what a push does.
func (r *replication) forget() {
	r.groups, r.sessions = map[uint32]*p4v1.MulticastGroupEntry{}, map[uint32]*p4v1.CloneSessionEntry{}
}

func (t *Target) updateReplication(op p4v1.Update_Type, e *p4v1.PacketReplicationEngineEntry) error {
	if s := e.GetCloneSessionEntry(); s != nil {
		_, have := t.pre.sessions[s.GetSessionId()]
		if err := mayBe(op, have, "Clone session"); err != nil {
			return err
		}
		t.pre.sessions[s.GetSessionId()] = s
		if op == p4v1.Update_DELETE {
			delete(t.pre.sessions, s.GetSessionId())
		}
		return nil
	}
	g := e.GetMulticastGroupEntry()
	id := g.GetMulticastGroupId()
	old, have := t.pre.groups[id]
	if err := mayBe(op, have, "Multicast group"); err != nil {
		return err
	}
	if op == p4v1.Update_DELETE {
		delete(t.pre.groups, id)
		delete(t.pre.members, id)
		return nil
	}
	for _, r := range g.GetReplicas() {
		if t.portOf(r) == 0 {
			return status.Error(codes.InvalidArgument, "Invalid port 0 in replica")
		}
	}
	keep := t.pre.members[id]
	t.pre.members[id] = append(keep[:max(0, len(keep)-len(old.GetReplicas()))], g.GetReplicas()...)
	t.pre.groups[id] = g
	return nil
}

// portOf is a replica's port, in the form of the target's version.
func (t *Target) portOf(r *p4v1.Replica) uint32 {
	if t.opts.Version == "" || t.opts.Version < "1.4" {
		return r.GetEgressPort() //nolint:staticcheck // what BMv2 reads
	}
	v, _ := pipeline.ToUint(r.GetPort())
	return uint32(v)
}

func mayBe(op p4v1.Update_Type, have bool, what string) error {
	switch {
	case op == p4v1.Update_INSERT && have:
		return status.Error(codes.AlreadyExists, what+" already exists")
	case op != p4v1.Update_INSERT && !have:
		return status.Error(codes.NotFound, what+" does not exist")
	}
	return nil
}

// readReplication gives one group or session, or all of them for id 0.
func (t *Target) readReplication(ask *p4v1.PacketReplicationEngineEntry) (out []*p4v1.Entity) {
	add := func(e *p4v1.PacketReplicationEngineEntry) {
		out = append(out, &p4v1.Entity{Entity: &p4v1.Entity_PacketReplicationEngineEntry{PacketReplicationEngineEntry: e}})
	}
	if s := ask.GetCloneSessionEntry(); s != nil {
		for id, have := range t.pre.sessions {
			if s.GetSessionId() == 0 || s.GetSessionId() == id {
				add(&p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_CloneSessionEntry{CloneSessionEntry: have}})
			}
		}
		return out
	}
	for id, have := range t.pre.groups {
		if want := ask.GetMulticastGroupEntry().GetMulticastGroupId(); want == 0 || want == id {
			add(&p4v1.PacketReplicationEngineEntry{Type: &p4v1.PacketReplicationEngineEntry_MulticastGroupEntry{MulticastGroupEntry: have}})
		}
	}
	return out
}
