package p4bridge

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"

	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// uplinks is next.yaml with a next hop that its selector chooses: NORMAL is by port 2 or 3.
func uplinks(t *testing.T, r rig, oneOf string) Config {
	t.Helper()
	cfg := other(t, r, "next", MissPunt)
	text, err := os.ReadFile("testdata/next.yaml")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(
		"      drop: drop\n      output:", "      drop: drop\n      normal: {action: to_next, params: {next_id: 100}}\n      output:",
		"\nmulticast:", "  - {table: next, match: {next_id: 100}, "+oneOf+"}\n\nmulticast:").Replace(string(text))
	f, err := mapping.Parse(strings.NewReader(changed), "next.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Mapping, err = f.Bind(cfg.Pipeline); err != nil {
		t.Fatal(err)
	}
	return cfg
}

const byTwoOrThree = "one_of: [{action: output, params: {port: 2}}, {action: output, params: {port: 3}, weight: 2}]"

// profileOf is what a switch has of an action profile: how many members and groups; -1 where its entries carry their actions themselves.
func profileOf(t *testing.T, r rig, p *pipeline.Profile) (members, groups int) {
	t.Helper()
	ask := func(e *p4v1.Entity) int {
		seen := map[uint32]bool{} // BMv2 has a member as often as its weight says, under one number
		rd, err := reader(t, r).Read(t.Context(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{e}})
		if err != nil {
			t.Fatal(err)
		}
		for {
			resp, err := rd.Recv()
			if err != nil {
				if strings.Contains(err.Error(), "mix action selector programming modes") {
					return -1
				}
				return len(seen)
			}
			for _, e := range resp.GetEntities() {
				seen[e.GetActionProfileMember().GetMemberId()+e.GetActionProfileGroup().GetGroupId()] = true
			}
		}
	}
	return ask(&p4v1.Entity{Entity: &p4v1.Entity_ActionProfileMember{ActionProfileMember: &p4v1.ActionProfileMember{ActionProfileId: p.ID}}}),
		ask(&p4v1.Entity{Entity: &p4v1.Entity_ActionProfileGroup{ActionProfileGroup: &p4v1.ActionProfileGroup{ActionProfileId: p.ID}}})
}

// nextHop is the entry of a next hop.
func nextHop(t *testing.T, r rig, next *pipeline.Table, id byte) *p4v1.TableEntry {
	t.Helper()
	for _, e := range read(t, r, next) {
		if v := pipeline.Canonical(e.GetMatch()[0].GetExact().GetValue()); len(v) == 1 && v[0] == id {
			return e
		}
	}
	return nil
}

// spreads sends packets of many conversations, and checks that each leaves once, by one of the ports that the next hop has, and that both are used.
// p4test knows no program but ours.
func spreads(t *testing.T, r rig) {
	t.Helper()
	if _, simulated := r.(*simulated); simulated {
		return
	}
	by := map[uint32]int{}
	const flows = 40
	for i := range flows {
		frame := udp(byte(1+i), byte(100+i), uint16(1000+i))
		r.packet(t, 1, frame)
		select {
		case f := <-r.out():
			by[f.Port]++
			if string(f.Data) != string(frame) {
				t.Fatalf("%x leaves, where %x came in", f.Data, frame)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("packet %d does not leave; by port: %v", i, by)
		}
	}
	if by[2]+by[3] != flows || by[2] == 0 || by[3] == 0 {
		t.Errorf("of %d packets left by each port: %v, want them spread over 2 and 3", flows, by)
	}
}

func allNormal() flow.Rule {
	rule := flow.Rule{Priority: 9, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}
	rule.Match.SetEthType(flow.EthTypeIPv4)
	return rule
}

// A selector's entries carry their actions themselves, also several of which it chooses one.
func TestOneOfSeveralActions(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := uplinks(t, r, byTwoOrThree)
		s := run(t, cfg, proactive(allNormal()))
		serving(t, s)
		next := cfg.Pipeline.Table("next")
		set := nextHop(t, r, next, 100).GetAction().GetActionProfileActionSet().GetActionProfileActions()
		if len(set) != 2 || set[0].GetWeight()+set[1].GetWeight() != 3 {
			t.Fatalf("the next hop is %v", set)
		}
		if members, groups := profileOf(t, r, next.Profile); members != -1 || groups != -1 {
			t.Errorf("%d members and %d groups, where entries carry their actions", members, groups)
		}
		eventually(t, "the rule", func() bool { return len(read(t, r, cfg.Pipeline.Table("acl"))) == 2 })
		spreads(t, r)
	})
}

// A selector that another controller has with members and groups takes no entries that carry their actions. The gateway's name members
// and a group then, which it finds again, and takes out with the last entry that refers to them; the other's stay.
func TestSelectorWithMembersAndGroups(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := uplinks(t, r, byTwoOrThree)
		next := cfg.Pipeline.Table("next")
		theirs := newBare(t, r, 1)
		theirs.arbitration(t)
		theirs.pushProgram(t, cfg.Pipeline)
		out := &p4v1.Action{ActionId: next.Action("output").ID, Params: []*p4v1.Action_Param{{ParamId: 1, Value: []byte{4}}}}
		member, group := memberID{profile: next.Profile.ID, id: 7}, memberID{next.Profile.ID, 8, true}
		entry := &p4v1.TableEntry{TableId: next.ID, Match: []*p4v1.FieldMatch{{FieldId: next.Fields[0].ID,
			FieldMatchType: &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: []byte{50}}}}},
			Action: &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileGroupId{ActionProfileGroupId: 8}}}
		for _, u := range []*p4v1.Update{memberUpdate(p4v1.Update_INSERT, member, out),
			groupUpdate(p4v1.Update_INSERT, group, []*p4v1.ActionProfileGroup_Member{{MemberId: 7, Weight: 1}}), tableUpdate(p4v1.Update_INSERT, entry)} {
			if code, each := theirs.write(theirs.id, u); code != codes.OK {
				t.Fatalf("%v: %v %v", u, code, each)
			}
		}

		s, stop := runUntil(t, cfg, proactive(allNormal()))
		serving(t, s)
		has := func(what string, ports, hops, members, groups int) {
			t.Helper()
			var last string
			defer func() {
				if t.Failed() {
					t.Log(last)
				}
			}()
			eventually(t, what, func() bool {
				m, g := profileOf(t, r, next.Profile)
				entries := read(t, r, next)
				last = fmt.Sprintf("%d members, %d groups, entries %v", m, g, entries)
				return m == members && g == groups && len(entries) == ports+hops+1
			})
		}
		// Four members for the ports, of which the group has two; and theirs.
		has("the gateway's next hops", 4, 1, 5, 2)
		if id := nextHop(t, r, next, 100).GetAction().GetActionProfileGroupId(); id < memberBase {
			t.Errorf("the next hop of two ways names group %#x", id)
		}
		if id := nextHop(t, r, next, 2).GetAction().GetActionProfileMemberId(); id < memberBase {
			t.Errorf("the next hop of one way names member %#x", id)
		}
		eventually(t, "the rule", func() bool { return len(read(t, r, cfg.Pipeline.Table("acl"))) == 2 })
		spreads(t, r)
		stop()

		// The next session finds them, and makes none anew.
		before := fmt.Sprint(read(t, r, next))
		s, stop = runUntil(t, cfg, proactive(allNormal()))
		serving(t, s)
		has("the same", 4, 1, 5, 2)
		if after := fmt.Sprint(read(t, r, next)); sorted(after) != sorted(before) {
			t.Errorf("a session later the next hops are\n%s\nand were\n%s", after, before)
		}
		stop()

		// One whose next hop has one way only, by a port that has a member, needs no group.
		cfg = uplinks(t, r, "action: output, params: {port: 3}")
		s, stop = runUntil(t, cfg, proactive(allNormal()))
		serving(t, s)
		has("without the gateway's group", 4, 1, 5, 1)
		stop()

		// And one with another port list leaves none behind that nothing refers to.
		cfg = uplinks(t, r, "action: output, params: {port: 3}")
		cfg.Ports = []uint32{3}
		s, stop = runUntil(t, cfg, proactive(allNormal()))
		serving(t, s)
		has("one member, and theirs", 1, 1, 2, 1)
		stop()
		if e := nextHop(t, r, next, 50); e.GetAction().GetActionProfileGroupId() != 8 {
			t.Errorf("the other controller's entry is %v", e)
		}
	})
}

// sorted has a listing's words in order: a switch lists entries in any.
func sorted(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// What a selector takes is as PI has it: entries that carry their actions, or members and groups, and not both.
func TestSelectorConformance(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := other(t, r, "next", MissPunt)
		b := newBare(t, r, 10)
		b.arbitration(t)
		b.pushProgram(t, cfg.Pipeline)
		next := cfg.Pipeline.Table("next")
		out := func(port byte) *p4v1.Action {
			return &p4v1.Action{ActionId: next.Action("output").ID, Params: []*p4v1.Action_Param{{ParamId: 1, Value: []byte{port}}}}
		}
		entry := func(id byte, a *p4v1.TableAction) *p4v1.TableEntry {
			return &p4v1.TableEntry{TableId: next.ID, Action: a, Match: []*p4v1.FieldMatch{{FieldId: next.Fields[0].ID,
				FieldMatchType: &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: []byte{id}}}}}}
		}
		set := func(ports ...byte) *p4v1.TableAction {
			s := new(p4v1.ActionProfileActionSet)
			for _, p := range ports {
				s.ActionProfileActions = append(s.ActionProfileActions, &p4v1.ActionProfileAction{Action: out(p), Weight: 1})
			}
			return &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileActionSet{ActionProfileActionSet: s}}
		}
		byGroup := &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileGroupId{ActionProfileGroupId: 8}}
		byMember := &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileMemberId{ActionProfileMemberId: 1}}
		one, two, group := memberID{profile: next.Profile.ID, id: 1}, memberID{profile: next.Profile.ID, id: 2}, memberID{next.Profile.ID, 8, true}
		of := func(ids ...uint32) (list []*p4v1.ActionProfileGroup_Member) {
			for _, id := range ids {
				list = append(list, &p4v1.ActionProfileGroup_Member{MemberId: id, Weight: 1})
			}
			return list
		}
		for i, step := range []struct {
			update *p4v1.Update
			want   codes.Code
		}{
			{tableUpdate(p4v1.Update_INSERT, entry(5, set(2, 3))), codes.OK},
			{memberUpdate(p4v1.Update_INSERT, one, out(2)), codes.InvalidArgument},
			{tableUpdate(p4v1.Update_DELETE, entry(5, nil)), codes.OK},
			{memberUpdate(p4v1.Update_INSERT, one, out(2)), codes.OK}, // with the last entry the selector is free
			{tableUpdate(p4v1.Update_INSERT, entry(5, set(2, 3))), codes.InvalidArgument},
			{tableUpdate(p4v1.Update_INSERT, entry(5, byGroup)), codes.InvalidArgument},
			{groupUpdate(p4v1.Update_INSERT, group, of(1, 2)), codes.NotFound},
			{groupUpdate(p4v1.Update_DELETE, group, nil), codes.OK}, // which is there all the same
			{memberUpdate(p4v1.Update_INSERT, two, out(3)), codes.OK},
			{groupUpdate(p4v1.Update_INSERT, group, of(1, 2)), codes.OK},
			{groupUpdate(p4v1.Update_INSERT, group, of(1, 2)), codes.AlreadyExists},
			{memberUpdate(p4v1.Update_DELETE, one, nil), codes.Unknown},
			{tableUpdate(p4v1.Update_INSERT, entry(5, byGroup)), codes.OK},
			{tableUpdate(p4v1.Update_INSERT, entry(6, byMember)), codes.OK},
			{groupUpdate(p4v1.Update_DELETE, group, nil), codes.Unknown},
			{tableUpdate(p4v1.Update_DELETE, entry(5, nil)), codes.OK},
			{tableUpdate(p4v1.Update_DELETE, entry(6, nil)), codes.OK},
			{groupUpdate(p4v1.Update_DELETE, group, nil), codes.OK},
			{groupUpdate(p4v1.Update_DELETE, group, nil), codes.NotFound},
			{memberUpdate(p4v1.Update_DELETE, one, nil), codes.OK},
			{memberUpdate(p4v1.Update_DELETE, two, nil), codes.OK},
			{tableUpdate(p4v1.Update_INSERT, entry(5, set(2))), codes.OK},
		} {
			_, each := b.write(b.id, step.update)
			if got := append(each, codes.OK)[0]; got != step.want {
				t.Errorf("step %d: %v, want %v", i, got, step.want)
			}
		}
	})
}
