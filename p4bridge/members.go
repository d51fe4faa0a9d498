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
	"google.golang.org/protobuf/proto"

	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// members are the members of action profiles that the gateway's entries refer to,
// where a table takes its actions from one: a selector's entries carry their action
// themselves (P4Runtime 1.3, 9.2.3), those of a plain profile name a member. One
// member serves all entries that have its action.
//
// A member has no cookie. The gateway's are told by their numbers, which begin
// at memberBase.
type members struct {
	program  *pipeline.Pipeline
	mu       sync.Mutex
	byAction map[string]*member
	byID     map[memberID]*member
	next     uint32
}

// memberID names a member: profile and number. The zero value is none.
type memberID struct{ profile, id uint32 }

type member struct {
	memberID
	action *p4v1.Action
	name   string // its key in byAction
}

// memberBase is the lowest number of the gateway's members, of which there are up
// to as many.
const memberBase = 0x5b000000

func newMembers(p *pipeline.Pipeline) *members {
	return &members{program: p, byAction: map[string]*member{}, byID: map[memberID]*member{}, next: memberBase}
}

// usesMembers reports whether a table's entries refer to members.
func usesMembers(t *pipeline.Table) bool { return t.Profile != nil && !t.Profile.Selector }

// add notes a member that is in the switch.
func (m *members) add(id memberID, a *p4v1.Action) {
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(canonicalAction(a)) // it came from a message, or goes into one
	have := &member{id, a, strconv.FormatUint(uint64(id.profile), 10) + " " + string(b)}
	m.byID[id] = have
	if id.id >= memberBase && id.id < 2*memberBase {
		m.byAction[have.name] = have
		m.next = max(m.next, id.id+1)
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

// plain returns e, or a copy in which its member's action stands.
func (m *members) plain(e *p4v1.TableEntry) *p4v1.TableEntry {
	id := e.GetAction().GetActionProfileMemberId()
	if id == 0 {
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.program.TableByID(e.GetTableId())
	if t == nil || t.Profile == nil || m.byID[memberID{t.Profile.ID, id}] == nil {
		return e
	}
	e = proto.CloneOf(e)
	e.Action = &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: m.byID[memberID{t.Profile.ID, id}].action}}
	return e
}

func memberUpdate(op p4v1.Update_Type, id memberID, a *p4v1.Action) *p4v1.Update {
	return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileMember{
		ActionProfileMember: &p4v1.ActionProfileMember{ActionProfileId: id.profile, MemberId: id.id, Action: a}}}}
}

// useMembers makes entries of one table refer to members, and the members that
// are not there yet.
func (o *owner) useMembers(ctx context.Context, changes []*change) error {
	m := o.members
	m.mu.Lock()
	defer m.mu.Unlock()
	var updates []*p4v1.Update
	var made []memberID
	var users [][]*change
	for _, c := range changes {
		a := c.entry.GetAction().GetAction()
		if c.remove || a == nil || c.entry.GetIsDefaultAction() {
			continue
		}
		profile := c.table.Profile.ID
		b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(canonicalAction(a)) // it goes into a message anyway
		have := m.byAction[strconv.FormatUint(uint64(profile), 10)+" "+string(b)]
		if have == nil {
			m.add(memberID{profile, m.next}, a)
			have = m.byID[memberID{profile, m.next - 1}]
			updates, made, users = append(updates, memberUpdate(p4v1.Update_INSERT, have.memberID, a)), append(made, have.memberID), append(users, nil)
		}
		if i := slices.Index(made, have.memberID); i >= 0 {
			users[i] = append(users[i], c)
		}
		c.member = have.memberID
		c.entry.Action = &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileMemberId{ActionProfileMemberId: have.id}}
	}
	if len(updates) == 0 {
		return nil
	}
	err := o.c.write(ctx, updates)
	var we *WriteError
	if err == nil || !errors.As(err, &we) {
		return err
	}
	for i, u := range we.Updates {
		if u == nil {
			continue
		}
		m.forget(made[i])
		for _, c := range users[i] {
			c.err = fmt.Errorf("action profile %s: %v: %s", c.table.Profile.Name, u.Code, u.Message)
		}
	}
	return nil
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

// dropMembers deletes the gateway's members that no entry refers to.
func (o *owner) dropMembers(ctx context.Context) error {
	o.mu.Lock()
	unused := o.book.unused
	o.book.unused = nil
	unused = slices.DeleteFunc(unused, func(id memberID) bool { return o.book.members[id] > 0 || id.id < memberBase })
	o.mu.Unlock()
	if len(unused) == 0 {
		return nil
	}
	o.members.mu.Lock()
	defer o.members.mu.Unlock()
	var updates []*p4v1.Update
	for _, id := range unused {
		if have := o.members.byID[id]; have != nil {
			updates = append(updates, memberUpdate(p4v1.Update_DELETE, id, have.action))
			o.members.forget(id)
		}
	}
	if len(updates) == 0 {
		return nil
	}
	err := o.c.write(ctx, updates)
	var we *WriteError
	if errors.As(err, &we) {
		for _, u := range we.Updates {
			if u != nil && u.Code != codes.NotFound {
				o.s.faults.Warn("member", "the switch does not delete a member of an action profile", "err", u)
			}
		}
		return nil
	}
	return err
}

// readMembers learns the members that are in the switch already.
func (o *owner) readMembers(ctx context.Context) error {
	seen := map[uint32]bool{}
	for _, t := range o.tables() {
		if !usesMembers(t) || seen[t.Profile.ID] {
			continue
		}
		seen[t.Profile.ID] = true
		entities, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_ActionProfileMember{ActionProfileMember: &p4v1.ActionProfileMember{ActionProfileId: t.Profile.ID}}})
		if err != nil {
			return fmt.Errorf("read action profile %s: %w", t.Profile.Name, err)
		}
		o.members.mu.Lock()
		for _, e := range entities {
			if m := e.GetActionProfileMember(); m != nil {
				id := memberID{m.GetActionProfileId(), m.GetMemberId()}
				o.members.add(id, m.GetAction())
				o.book.unused = append(o.book.unused, id) // until an entry that refers to it is read
			}
		}
		o.members.mu.Unlock()
	}
	return nil
}
