package p4test

import (
	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"switchbridge/p4bridge/pipeline"
)

// memberKey names a member or a group of an action profile.
type memberKey struct{ profile, id uint32 }

// errMixed is PI's for a selector whose entries carry their actions and have members or groups beside them.
var errMixed = status.Error(codes.InvalidArgument, "Invalid attempt to mix action selector programming modes")

// oneShot reports whether a selector's entries carry their actions.
func (t *Target) oneShot(profile uint32) bool {
	for _, tab := range t.tables {
		for _, e := range tab.entries {
			if tab.Profile != nil && tab.Profile.ID == profile && e.GetAction().GetActionProfileActionSet() != nil {
				return true
			}
		}
	}
	return false
}

// manual reports whether a selector has members or groups.
func (t *Target) manual(profile uint32) bool {
	for k := range t.members {
		if k.profile == profile {
			return true
		}
	}
	for k := range t.groups {
		if k.profile == profile {
			return true
		}
	}
	return false
}

func (t *Target) updateMember(op p4v1.Update_Type, e *p4v1.ActionProfileMember) error {
	k := memberKey{e.GetActionProfileId(), e.GetMemberId()}
	_, have := t.members[k]
	switch {
	case t.oneShot(k.profile):
		return errMixed
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

func (t *Target) updateGroup(op p4v1.Update_Type, e *p4v1.ActionProfileGroup) error {
	k := memberKey{e.GetActionProfileId(), e.GetGroupId()}
	_, have := t.groups[k]
	switch {
	case t.oneShot(k.profile):
		return errMixed
	case op == p4v1.Update_INSERT && have:
		return status.Errorf(codes.AlreadyExists, "Duplicate group id: %d", k.id)
	case op != p4v1.Update_INSERT && !have:
		return status.Errorf(codes.NotFound, "Group id does not exist: %d", k.id)
	case op == p4v1.Update_DELETE:
		for _, tab := range t.tables {
			for _, en := range tab.entries {
				if tab.Profile != nil && tab.Profile.ID == k.profile && en.GetAction().GetActionProfileGroupId() == k.id {
					return status.Error(codes.Unknown, "Error when deleting group on target")
				}
			}
		}
		delete(t.groups, k)
		return nil
	}
	g := proto.CloneOf(e)
	t.groups[k] = g
	for i, m := range e.GetMembers() {
		if t.members[memberKey{k.profile, m.GetMemberId()}] == nil {
			g.Members = g.Members[:i] // PI leaves the group there
			return status.Errorf(codes.NotFound, "Member id does not exist: %d", m.GetMemberId())
		}
	}
	return nil
}

// refers reports whether an entry or a group refers to a member.
func (t *Target) refers(k memberKey) bool {
	for g, e := range t.groups {
		for _, m := range e.GetMembers() {
			if g.profile == k.profile && m.GetMemberId() == k.id {
				return true
			}
		}
	}
	for _, tab := range t.tables {
		for _, e := range tab.entries {
			if tab.Profile != nil && tab.Profile.ID == k.profile && e.GetAction().GetActionProfileMemberId() == k.id {
				return true
			}
		}
	}
	return false
}

func (t *Target) readGroups(ask *p4v1.ActionProfileGroup) (out []*p4v1.Entity, err error) {
	if t.oneShot(ask.GetActionProfileId()) {
		return nil, errMixed
	}
	for k, g := range t.groups {
		if k.profile == ask.GetActionProfileId() && (ask.GetGroupId() == 0 || ask.GetGroupId() == k.id) {
			out = append(out, &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileGroup{ActionProfileGroup: g}})
		}
	}
	return out, nil
}

func (t *Target) readMembers(ask *p4v1.ActionProfileMember) (out []*p4v1.Entity, err error) {
	if t.oneShot(ask.GetActionProfileId()) {
		return nil, errMixed
	}
	for k, m := range t.members {
		if k.profile == ask.GetActionProfileId() && (ask.GetMemberId() == 0 || ask.GetMemberId() == k.id) {
			out = append(out, &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileMember{ActionProfileMember: m}})
		}
	}
	return out, nil
}

// actionOf says what an entry of tab does, or why PI does not take it.
func (t *Target) actionOf(tab *pipeline.Table, ta *p4v1.TableAction) (*p4v1.Action, error) {
	id, group, set := ta.GetActionProfileMemberId(), ta.GetActionProfileGroupId(), ta.GetActionProfileActionSet()
	switch {
	case tab.Profile == nil:
		return ta.GetAction(), nil
	case set != nil && (!tab.Profile.Selector || t.manual(tab.Profile.ID)):
		return nil, errMixed
	case set != nil && len(set.GetActionProfileActions()) > 0:
		return set.GetActionProfileActions()[0].GetAction(), nil
	case group != 0 && tab.Profile.Selector:
		g := t.groups[memberKey{tab.Profile.ID, group}]
		if len(g.GetMembers()) == 0 {
			return nil, status.Error(codes.InvalidArgument, "Invalid member / group id")
		}
		id = g.GetMembers()[0].GetMemberId()
	case id == 0:
		return nil, status.Errorf(codes.InvalidArgument, "Cannot provide direct action for indirect table %d", tab.ID)
	}
	m := t.members[memberKey{tab.Profile.ID, id}]
	if m == nil {
		return nil, status.Error(codes.InvalidArgument, "Invalid member / group id")
	}
	return m.GetAction(), nil
}
