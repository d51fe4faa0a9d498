package p4test

import (
	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/p4bridge/pipeline"
)

// memberKey names a member of an action profile.
type memberKey struct{ profile, id uint32 }

func (t *Target) updateMember(op p4v1.Update_Type, e *p4v1.ActionProfileMember) error {
	k := memberKey{e.GetActionProfileId(), e.GetMemberId()}
	_, have := t.members[k]
	switch {
	case op == p4v1.Update_INSERT && have:
		return status.Errorf(codes.AlreadyExists, "Duplicate member id: %d", k.id)
	case op != p4v1.Update_INSERT && !have:
		return status.Errorf(codes.NotFound, "Member id does not exist: %d", k.id)
	case op == p4v1.Update_DELETE && t.refers(k):
		return status.Error(codes.Unknown, "Error when deleting member on target")
	case op == p4v1.Update_DELETE:
		delete(t.members, k)
		return nil
	}
	t.members[k] = e
	return nil
}

// refers reports whether an entry refers to a member.
func (t *Target) refers(k memberKey) bool {
	for _, tab := range t.tables {
		for _, e := range tab.entries {
			if tab.Profile != nil && tab.Profile.ID == k.profile && e.GetAction().GetActionProfileMemberId() == k.id {
				return true
			}
		}
	}
	return false
}

func (t *Target) readMembers(ask *p4v1.ActionProfileMember) (out []*p4v1.Entity) {
	for k, m := range t.members {
		if k.profile == ask.GetActionProfileId() && (ask.GetMemberId() == 0 || ask.GetMemberId() == k.id) {
			out = append(out, &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileMember{ActionProfileMember: m}})
		}
	}
	return out
}

// actionOf says what an entry of tab does, or why PI does not take it.
func (t *Target) actionOf(tab *pipeline.Table, ta *p4v1.TableAction) (*p4v1.Action, error) {
	id, set := ta.GetActionProfileMemberId(), ta.GetActionProfileActionSet()
	switch {
	case tab.Profile == nil:
		return ta.GetAction(), nil
	case set != nil && !tab.Profile.Selector:
		return nil, status.Error(codes.InvalidArgument, "Invalid attempt to mix action selector programming modes")
	case set != nil && len(set.GetActionProfileActions()) > 0:
		return set.GetActionProfileActions()[0].GetAction(), nil
	case id == 0:
		return nil, status.Errorf(codes.InvalidArgument, "Cannot provide direct action for indirect table %d", tab.ID)
	}
	m := t.members[memberKey{tab.Profile.ID, id}]
	if m == nil {
		return nil, status.Error(codes.InvalidArgument, "Invalid member / group id")
	}
	return m.GetAction(), nil
}
