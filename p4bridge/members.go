package p4bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// members are the members of action profiles that the gateway's entries refer to,
// where a table takes its actions from one. One member serves all entries that have its action.
//
// A plain profile's entries name a member. A selector's carry their actions themselves, as a set of one or more
// (P4Runtime 1.3, 9.2.3), unless the switch has the selector with members and groups already, since it takes one form or the other: then an entry of
// one action names a member, and one of several a group of them.
//
// Neither members nor groups have cookies. The gateway's are told by their numbers, which begin
// at memberBase.
type members struct {
	program  *pipeline.Pipeline
	mu       sync.Mutex
	byAction map[string]*member
	byID     map[memberID]*member
	manual   map[uint32]bool // the selectors that the switch has with members and groups
	next     uint32          // the number that is tried next
}

// memberID names a member or a group: profile and number. The zero value is none.
type memberID struct {
	profile, id uint32
	group       bool
}

// member is a member, whose action it is, or a group of some.
type member struct {
	memberID
	action *p4v1.Action
	of     []*p4v1.ActionProfileGroup_Member // in the order of their numbers
	name   string                            // its key in byAction
}

// memberBase is the lowest number of the gateway's members and groups, of which there are up
// to as many.
const memberBase = 0x5b000000

func newMembers(p *pipeline.Pipeline) *members {
	return &members{program: p, byAction: map[string]*member{}, byID: map[memberID]*member{}, manual: map[uint32]bool{}, next: memberBase}
}

// serve reports whether a table's entries refer to members.
func (m *members) serve(t *pipeline.Table) bool {
	if t.Profile == nil || !t.Profile.Selector {
		return t.Profile != nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.manual[t.Profile.ID]
}

// actionName is what tells a profile's members apart.
func actionName(profile uint32, a *p4v1.Action) string {
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(canonicalAction(a)) // it came from a message, or goes into one
	return strconv.FormatUint(uint64(profile), 10) + " " + string(b)
}

// groupName is actionName for groups.
func groupName(profile uint32, list []*p4v1.ActionProfileGroup_Member) string {
	text := "group of " + strconv.FormatUint(uint64(profile), 10)
	for _, m := range list {
		text += fmt.Sprintf(" %d*%d", m.GetWeight(), m.GetMemberId())
	}
	return text
}

// add notes a member that is in the switch.
func (m *members) add(id memberID, a *p4v1.Action) *member {
	return m.note(&member{memberID: id, action: a, name: actionName(id.profile, a)})
}

// addGroup notes a group that is in the switch.
func (m *members) addGroup(id memberID, list []*p4v1.ActionProfileGroup_Member) *member {
	list = slices.SortedFunc(slices.Values(list), func(x, y *p4v1.ActionProfileGroup_Member) int { return cmp.Compare(x.GetMemberId(), y.GetMemberId()) })
	return m.note(&member{memberID: id, of: list, name: groupName(id.profile, list)})
}

func (m *members) note(have *member) *member {
	m.byID[have.memberID] = have
	if have.id >= memberBase && have.id < 2*memberBase {
		m.byAction[have.name] = have
	}
	return have
}

// number returns one that no member of a profile has, or no group. A switch may have any: others choose theirs as they like.
func (m *members) number(profile uint32, group bool) memberID {
	for {
		id := memberID{profile, m.next, group}
		if m.next++; m.next >= 2*memberBase {
			m.next = memberBase
		}
		if m.byID[id] == nil {
			return id
		}
	}
}

// canonicalAction is a with its parameters in order and in the shortest form.
func canonicalAction(a *p4v1.Action) *p4v1.Action {
	out := &p4v1.Action{ActionId: a.GetActionId()}
	for _, p := range a.GetParams() {
		out.Params = append(out.Params, &p4v1.Action_Param{ParamId: p.GetParamId(), Value: pipeline.Canonical(p.GetValue())})
	}
	slices.SortFunc(out.Params, func(x, y *p4v1.Action_Param) int { return cmp.Compare(x.ParamId, y.ParamId) })
	return out
}

// action returns what an entry does, also where it refers to a member that is
// known.
func (m *members) action(e *p4v1.TableEntry) *p4v1.Action {
	return mapping.ActionOf(m.plain(e).GetAction())
}

// memberOf is the member or group that an entry refers to; zero: none.
func memberOf(t *pipeline.Table, e *p4v1.TableEntry) memberID {
	a := e.GetAction()
	switch id, group := a.GetActionProfileMemberId(), a.GetActionProfileGroupId(); {
	case t == nil || t.Profile == nil:
	case id != 0:
		return memberID{profile: t.Profile.ID, id: id}
	case group != 0:
		return memberID{t.Profile.ID, group, true}
	}
	return memberID{}
}

// plain returns e, or a copy in which the action of its member stands, or those of its group.
func (m *members) plain(e *p4v1.TableEntry) *p4v1.TableEntry {
	id := memberOf(m.program.TableByID(e.GetTableId()), e)
	if id == (memberID{}) {
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	have := m.byID[id]
	if have == nil {
		return e
	}
	e = proto.CloneOf(e)
	if !id.group {
		e.Action = &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: have.action}}
		return e
	}
	set := new(p4v1.ActionProfileActionSet)
	for _, g := range have.of {
		if one := m.byID[memberID{profile: id.profile, id: g.GetMemberId()}]; one != nil {
			set.ActionProfileActions = append(set.ActionProfileActions, &p4v1.ActionProfileAction{Action: one.action, Weight: g.GetWeight()})
		}
	}
	e.Action = &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileActionSet{ActionProfileActionSet: set}}
	return e
}

func memberUpdate(op p4v1.Update_Type, id memberID, a *p4v1.Action) *p4v1.Update {
	return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileMember{
		ActionProfileMember: &p4v1.ActionProfileMember{ActionProfileId: id.profile, MemberId: id.id, Action: a}}}}
}

func groupUpdate(op p4v1.Update_Type, id memberID, list []*p4v1.ActionProfileGroup_Member) *p4v1.Update {
	return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileGroup{
		ActionProfileGroup: &p4v1.ActionProfileGroup{ActionProfileId: id.profile, GroupId: id.id, Members: list}}}}
}

func (m *member) update(op p4v1.Update_Type) *p4v1.Update {
	if m.group {
		return groupUpdate(op, m.memberID, m.of)
	}
	return memberUpdate(op, m.memberID, m.action)
}

// ways are the actions of an entry that carries them itself.
func ways(a *p4v1.TableAction) []*p4v1.ActionProfileAction {
	if one := a.GetAction(); one != nil {
		return []*p4v1.ActionProfileAction{{Action: one, Weight: 1}}
	}
	return a.GetActionProfileActionSet().GetActionProfileActions()
}

// useMembers makes entries of one table refer to members, or to groups of them, and those
// that are not there yet.
func (o *owner) useMembers(ctx context.Context, changes []*change) error {
	m := o.members
	m.mu.Lock()
	defer m.mu.Unlock()
	of := map[*change][]*member{} // one for each of the change's actions
	var made []*member
	for _, c := range changes {
		list := ways(c.entry.GetAction())
		if c.remove || len(list) == 0 || c.entry.GetIsDefaultAction() {
			continue
		}
		profile := c.table.Profile.ID
		for _, w := range list {
			have := m.byAction[actionName(profile, w.GetAction())]
			if have == nil {
				have = m.add(m.number(profile, false), w.GetAction())
				made = append(made, have)
			}
			of[c] = append(of[c], have)
		}
	}
	refused, err := o.make(ctx, made)
	if err != nil {
		return err
	}
	made = nil
	for _, c := range changes {
		list := of[c]
		if list == nil {
			continue
		}
		for _, one := range list {
			c.err = cmp.Or(c.err, refused[one])
			c.made = append(c.made, one.memberID)
		}
		if c.err != nil {
			continue
		}
		profile := c.table.Profile.ID
		if len(list) == 1 {
			c.member = list[0].memberID
			c.entry.Action = &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileMemberId{ActionProfileMemberId: c.member.id}}
			continue
		}
		var group []*p4v1.ActionProfileGroup_Member
		for i, w := range ways(c.entry.GetAction()) {
			group = append(group, &p4v1.ActionProfileGroup_Member{MemberId: list[i].id, Weight: w.GetWeight()})
		}
		slices.SortFunc(group, func(x, y *p4v1.ActionProfileGroup_Member) int { return cmp.Compare(x.GetMemberId(), y.GetMemberId()) })
		have := m.byAction[groupName(profile, group)]
		if have == nil {
			have = m.addGroup(m.number(profile, true), group)
			made = append(made, have)
		}
		c.member, of[c], c.made = have.memberID, []*member{have}, append(c.made, have.memberID)
		c.entry.Action = &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileGroupId{ActionProfileGroupId: have.id}}
	}
	if refused, err = o.make(ctx, made); err != nil {
		return err
	}
	for c, list := range of {
		if c.err == nil {
			c.err = refused[list[0]]
		}
	}
	return nil
}

// make brings members or groups into the switch, and says which it refuses. The caller holds members' mu.
func (o *owner) make(ctx context.Context, list []*member) (refused map[*member]error, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	updates := make([]*p4v1.Update, len(list))
	for i, one := range list {
		updates[i] = one.update(p4v1.Update_INSERT)
	}
	err = o.c.write(ctx, updates)
	var we *WriteError
	if err == nil || !errors.As(err, &we) {
		return nil, err
	}
	refused = map[*member]error{}
	for i, u := range we.Updates {
		if u != nil {
			o.members.forget(list[i].memberID)
			refused[list[i]] = fmt.Errorf("action profile %#x: %v: %s", list[i].profile, u.Code, u.Message)
		}
	}
	return refused, nil
}

// forget takes a member out. The caller holds mu.
func (m *members) forget(id memberID) {
	if have := m.byID[id]; have != nil {
		delete(m.byID, id)
		if m.byAction[have.name] == have {
			delete(m.byAction, have.name)
		}
	}
}

// dropMembers deletes the gateway's members and groups that nothing refers to: groups first, which may be what refers to members.
func (o *owner) dropMembers(ctx context.Context) error {
	o.mu.Lock()
	unused := o.book.unused
	o.book.unused = nil
	unused = slices.DeleteFunc(unused, func(id memberID) bool { return o.book.members[id] > 0 || id.id < memberBase })
	o.mu.Unlock()
	m := o.members
	m.mu.Lock()
	defer m.mu.Unlock()
	drop := func(list []memberID) error {
		var updates []*p4v1.Update
		for _, id := range list {
			if have := m.byID[id]; have != nil {
				updates = append(updates, have.update(p4v1.Update_DELETE))
				m.forget(id)
			}
		}
		if len(updates) == 0 {
			return nil
		}
		err := o.c.write(ctx, updates)
		var we *WriteError
		if !errors.As(err, &we) {
			return err
		}
		for _, u := range we.Updates {
			if u != nil && u.Code != codes.NotFound {
				o.s.faults.Warn("member", "the switch does not delete a member or a group of an action profile", "err", u)
			}
		}
		return nil
	}
	var groups, ones []memberID
	for _, id := range unused {
		switch have := m.byID[id]; {
		case !id.group:
			ones = append(ones, id)
		case have != nil:
			groups = append(groups, id)
			for _, g := range have.of {
				ones = append(ones, memberID{profile: id.profile, id: g.GetMemberId()})
			}
		}
	}
	if err := drop(groups); err != nil {
		return err
	}
	grouped := map[memberID]bool{}
	for id, have := range m.byID {
		for _, g := range have.of {
			grouped[memberID{profile: id.profile, id: g.GetMemberId()}] = true
		}
	}
	o.mu.Lock()
	ones = slices.DeleteFunc(ones, func(id memberID) bool { return o.book.members[id] > 0 || grouped[id] || id.id < memberBase })
	o.mu.Unlock()
	return drop(ones)
}

// readMembers learns the members and groups that are in the switch already.
func (o *owner) readMembers(ctx context.Context) error {
	seen := map[uint32]bool{}
	for _, t := range o.tables() {
		if t.Profile == nil || seen[t.Profile.ID] {
			continue
		}
		seen[t.Profile.ID] = true
		if err := o.readProfile(ctx, t.Profile); err != nil {
			return fmt.Errorf("read action profile %s: %w", t.Profile.Name, err)
		}
	}
	return nil
}

func (o *owner) readProfile(ctx context.Context, p *pipeline.Profile) error {
	entities, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileMember{ActionProfileMember: &p4v1.ActionProfileMember{ActionProfileId: p.ID}}})
	if p.Selector && status.Code(err) == codes.InvalidArgument {
		return nil // its entries carry their actions themselves
	}
	if err != nil {
		return err
	}
	if p.Selector && len(entities) > 0 {
		groups, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileGroup{ActionProfileGroup: &p4v1.ActionProfileGroup{ActionProfileId: p.ID}}})
		if err != nil {
			return err
		}
		entities = append(entities, groups...)
	}
	o.members.mu.Lock()
	defer o.members.mu.Unlock()
	for _, e := range entities {
		var id memberID
		if m := e.GetActionProfileMember(); m != nil {
			id = o.members.add(memberID{profile: m.GetActionProfileId(), id: m.GetMemberId()}, m.GetAction()).memberID
		} else if g := e.GetActionProfileGroup(); g != nil {
			id = o.members.addGroup(memberID{g.GetActionProfileId(), g.GetGroupId(), true}, g.GetMembers()).memberID
		} else {
			continue
		}
		o.members.manual[p.ID] = p.Selector
		o.book.unused = append(o.book.unused, id) // until an entry that refers to it is read
	}
	return nil
}
