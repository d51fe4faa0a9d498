package propose

import (
	"fmt"
	"slices"
	"strings"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// use is what a mapping can say of a table.
type use struct {
	t       *pipeline.Table
	fields  []field
	tagged  string // the key that says whether there is a VLAN tag
	always  []assigned
	implied []assigned
	actions []action
	notes   []string // what was left out, and why
	cant    string   // why no rule can be put here; empty: some can
	kinds   int      // of packets that come here
	unmet   bool     // no packet comes here while other tables are empty
}

// field is a key and the OXM names of what it holds.
type field struct {
	key   string
	oxms  []string
	guess bool
}

type assigned struct {
	name  string
	value uint64
}

// action is a list of actions under its name in a mapping, as one P4 action.
type action struct {
	sig    string
	p4     *pipeline.Action
	params []given
	only   []assigned // what a rule must say for it
}

// given is what a parameter is given: the name of a value, or a number.
type given struct{ param, value string }

// widthOf is how many bits an OXM field has.
func widthOf(oxm string) int {
	for i := range flow.Fields {
		for _, n := range flow.Fields[i].OXM {
			switch {
			case n.Name != oxm:
			case n.Name == "in_port":
				return 9
			case n.Name == "vlan_vid":
				return 12
			case n.EthType == flow.EthTypeIPv4 && flow.Fields[i].Kind == flow.Prefix:
				return 32
			default:
				return int(flow.Fields[i].Bits)
			}
		}
	}
	return 0
}

// leastBits is how many low bits of an OXM field say all of it: ARP's operations
// are 1 to 25 (IANA).
func leastBits(oxm string) int {
	if oxm == "arp_op" {
		return 8
	}
	return widthOf(oxm)
}

// look finds out what a table's keys are.
func (a *analysis) look(t *pipeline.Table) *use {
	u := &use{t: t}
	n := a.nodes[t.FullName]
	seen := map[string]bool{}
	for i := range t.Fields {
		f := &t.Fields[i]
		var target ref
		if n != nil && i < len(n.Key) && len(n.Key[i].Target) == 2 {
			target = ref{n.Key[i].Target[0], n.Key[i].Target[1]}
		}
		oxms, guessed := a.keyIs(u, f, target)
		oxms = slices.DeleteFunc(slices.Clone(oxms), func(o string) bool { return widthOf(o) == 0 || seen[o] || f.Width < leastBits(o) })
		for _, o := range oxms {
			seen[o] = true
		}
		switch {
		case len(oxms) > 0:
			u.fields = append(u.fields, field{f.Name, oxms, guessed})
		case u.tagged == f.Name || slices.ContainsFunc(u.always, func(x assigned) bool { return x.name == f.Name }):
		case f.Kind == pipeline.Exact:
			u.cant = fmt.Sprintf("key %s is compared exactly and is no header field", f.Name)
			if by := a.set[target]; by != "" {
				u.cant += ": action " + by + " sets it"
			}
		}
	}
	if i := slices.IndexFunc(u.fields, func(f field) bool { return slices.Contains(f.oxms, "vlan_vid") }); i >= 0 && u.tagged == "" && t.Field(u.fields[i].key).Width == 12 {
		u.tagged = "nonzero"
	}
	if u.tagged != "" && !seen["vlan_vid"] {
		if k := t.Field(u.tagged); k.Kind == pipeline.Exact {
			u.always = append(u.always, assigned{u.tagged, 0}) // untagged packets
		}
		u.tagged = ""
	}
	switch {
	case u.cant != "":
	case t.Const:
		u.cant = "the program fixes its entries"
	case len(t.Fields) == 0:
		u.cant = "it has no keys"
	case len(u.fields) == 0:
		u.cant = "none of its keys is a header field"
	}
	return u
}

// keyIs says which header fields a key holds; a key that has one value in all
// entries is noted in u.
func (a *analysis) keyIs(u *use, f *pipeline.Field, target ref) (oxms []string, guessed bool) {
	if target.field == "$valid$" {
		switch layer := a.w.layer[target.header]; layer {
		case "tag":
			u.tagged = f.Name
		case "ipv4", "ipv6", "arp":
			u.always = append(u.always, assigned{f.Name, 1})
			u.implied = append(u.implied, assigned{"eth_type", etherTypes[layer]})
		}
		return nil, false
	}
	if a.set[target] != "" {
		return nil, false
	}
	if list := a.w.meaning[target]; len(list) > 0 {
		slices.SortFunc(list, func(x, y string) int { return order(x) - order(y) })
		return list, false
	}
	if flags := a.w.flags[target]; len(flags) > 0 {
		// Parsers give flags of their own to packets of one EtherType.
		if !slices.ContainsFunc(flags, func(x flag) bool { return x != flags[0] }) && flags[0].ethType != 0 {
			u.always = append(u.always, assigned{f.Name, flags[0].value})
			u.implied = append(u.implied, assigned{"eth_type", flags[0].ethType})
		}
		return nil, false
	}
	if target.header == "standard_metadata" {
		return nil, false
	}
	return guess(f.Name, f.Width), true
}

var etherTypes = map[string]uint64{"ipv4": flow.EthTypeIPv4, "ipv6": flow.EthTypeIPv6, "arp": flow.EthTypeARP}

// order sorts OXM names as flow.Fields has them.
func order(oxm string) int {
	for i := range flow.Fields {
		for j, n := range flow.Fields[i].OXM {
			if n.Name == oxm {
				return i*8 + j
			}
		}
	}
	return len(flow.Fields) * 8
}

// has reports whether a rule in the table can name the field.
func (u *use) has(oxm string) bool {
	return slices.ContainsFunc(u.fields, func(f field) bool { return slices.Contains(f.oxms, oxm) })
}

// effect is what an action does to the packets that find it in a table.
type effect struct {
	outcomes []outcome
	drops    bool  // the action drops every packet
	output   int   // every packet leaves by the port that this parameter says; -1: no
	punts    bool  // the action sends every packet to the CPU port
	away     bool  // every packet goes to the CPU port, by whatever sends it there
	group    value // the action sends every packet to this multicast group
	back     bool  // ... and, where it is in it, to the port that it came from
	clone    value
	asks     bool // every packet is told of in a digest
	passes   bool // some packets leave the switch
	idle     bool // the action does nothing to any packet
}

// effect follows the packets that find an action in a table.
func (a *analysis) effect(base scenario, t *pipeline.Table, e entry) effect {
	s := scenario{}
	for k, v := range base {
		s[k] = v
	}
	s[t.FullName] = e
	ef := effect{output: -1}
	for _, o := range a.follow(s) {
		if o.hit[t.FullName] && !o.copy {
			ef.outcomes = append(ef.outcomes, o)
		}
	}
	if len(ef.outcomes) == 0 {
		return ef
	}
	all := func(is func(o *outcome) bool) bool {
		for i := range ef.outcomes {
			if !is(&ef.outcomes[i]) {
				return false
			}
		}
		return true
	}
	first := &ef.outcomes[0]
	does := a.primitives(e.action)
	ef.idle = does == primitives{}
	ef.drops = does.drops && all(func(o *outcome) bool { return o.drop && o.group == value{} })
	// Some packets may be dropped before they get there: tunnels that nobody set up, say.
	gone := func(o *outcome) bool { return o.drop || o.lost }
	away := func(o *outcome) bool { return a.p.cpu != nil && o.out.is(*a.p.cpu) && !o.drop }
	ef.passes = !all(func(o *outcome) bool { return gone(o) || away(o) })
	ef.away = !ef.passes && !all(gone)
	ef.punts = ef.away && does.punts
	ef.asks = does.tells && all(func(o *outcome) bool { return len(o.digest) > 0 })
	for i, arg := range e.args {
		if !all(gone) && all(func(o *outcome) bool { return o.out == arg || gone(o) }) {
			ef.output = i
		}
	}
	if does.sends && first.group != (value{}) && all(func(o *outcome) bool { return o.group == first.group }) {
		ef.group = first.group
		ef.back = !slices.ContainsFunc(ef.outcomes, func(o outcome) bool { return o.drop })
	}
	if first.clone != (value{}) && all(func(o *outcome) bool { return o.clone == first.clone }) {
		ef.clone = first.clone
	}
	return ef
}

// primitives are what an action does by itself, wherever a packet goes afterwards.
type primitives struct {
	drops bool
	sends bool // it sets a port or a group
	punts bool // ... and that is the CPU's port
	tells bool // it clones or makes a digest
}

func (a *analysis) primitives(id int) (p primitives) {
	for _, pr := range a.p.actions[id] {
		switch {
		case pr.Op == "mark_to_drop" || pr.Op == "drop":
			p.drops = true
		case strings.HasPrefix(pr.Op, "clone") || pr.Op == "generate_digest":
			p.tells = true
		case pr.Op == "assign" && len(pr.Params) == 2 && (pr.Params[0].field == egressSpec || pr.Params[0].field == multicast):
			p.sends = true
			p.punts = p.punts || a.p.cpu != nil && a.p.eval(&pr.Params[1], nil, nil).is(*a.p.cpu)
		}
	}
	return p
}

// kinds counts the kinds of packets among outcomes.
func kinds(list []outcome) int {
	seen := map[string]bool{}
	for _, o := range list {
		seen[o.packet.kind] = true
	}
	return len(seen)
}

// setParts are the parts of an action list that set a header field.
var setParts = map[string]struct{ part, source string }{
	"eth_src": {"set_eth_src", "eth_src"}, "eth_dst": {"set_eth_dst", "eth_dst"},
	"ipv4_src": {"set_ip_src", "ip_src"}, "ipv4_dst": {"set_ip_dst", "ip_dst"},
	"ipv6_src": {"set_ip_src", "ip_src"}, "ipv6_dst": {"set_ip_dst", "ip_dst"},
	"ip_dscp": {"set_ip_dscp", "ip_dscp"}, "vlan_vid": {"set_vlan_vid", "vlan_vid"}, "vlan_pcp": {"set_vlan_pcp", "vlan_pcp"},
}

// rewrites says which header fields an action sets from parameters, and what else
// it changes in a packet, which no list of actions could say.
func (a *analysis) rewrites(id int) (sets map[int]string, other []string) {
	sets = map[int]string{}
	for _, pr := range a.p.actions[id] {
		switch ps := pr.Params; {
		case pr.Op == "assign" && len(ps) == 2 && ps[0].kind == "field" && a.packetHeader(ps[0].field.header):
			oxm := one(a.w.meaning[ps[0].field])
			if _, ok := setParts[oxm]; ok && ps[1].kind == "runtime_data" {
				sets[ps[1].at] = oxm
			} else {
				other = append(other, ps[0].field.String())
			}
		case (pr.Op == "add_header" || pr.Op == "remove_header") && len(ps) == 1 && a.packetHeader(ps[0].name):
			other = append(other, ps[0].name)
		case slices.Contains([]string{"push", "pop", "add", "subtract", "modify_field_rng_uniform", "recirculate", "resubmit", "truncate"}, pr.Op):
			other = append(other, pr.Op)
		}
	}
	return sets, other
}

// packetHeader reports whether a header is part of packets as hosts see them.
func (a *analysis) packetHeader(h string) bool { return a.w.layer[h] != "" }

// name puts an action's effect into a mapping's words; ok is false for one that a
// list of actions can't say.
func (a *analysis) name(t *pipeline.Table, act *pipeline.Action, ef effect, group uint64) (_ action, why string) {
	sets, other := a.rewrites(a.actionOf(t, act))
	out := action{p4: act}
	var parts []string
	rest := map[int]bool{}
	for i := range act.Params {
		rest[i] = true
		if oxm, ok := sets[i]; ok {
			parts = append(parts, setParts[oxm].part)
			out.params = append(out.params, given{act.Params[i].Name, setParts[oxm].source})
			delete(rest, i)
		}
	}
	switch {
	case len(other) > 0:
		return out, "it also changes " + strings.Join(other, ", ")
	case ef.drops:
		parts = []string{"drop"}
	case ef.output >= 0:
		parts = append(parts, "output")
		out.params = append(out.params, given{act.Params[ef.output].Name, "port"})
		delete(rest, ef.output)
	case ef.punts && len(ef.outcomes) > 0:
		parts = append(parts, "controller")
	case ef.group != (value{}):
		if ef.back {
			return out, "its flood goes back to where it came from"
		}
		parts = append(parts, "flood")
		if ef.group.kind == symbol {
			for i := range act.Params {
				if ef.group == sym(fmt.Sprintf("parameter %d", i)) {
					out.params = append(out.params, given{act.Params[i].Name, fmt.Sprint(group)})
					delete(rest, i)
				}
			}
		}
	case ef.away:
		return out, "packets go to the CPU port all the same, because of what asks"
	case !ef.passes:
		return out, "no packet that finds it leaves the switch by itself"
	default:
		return out, "where a packet goes depends on other tables"
	}
	for i := range act.Params {
		if rest[i] {
			return out, fmt.Sprintf("what its parameter %s means is not known", act.Params[i].Name)
		}
	}
	out.sig = strings.Join(parts, ",")
	return out, ""
}
