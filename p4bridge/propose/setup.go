package propose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"switchbridge/p4bridge/pipeline"
)

// standing is an entry that a mapping's setup keeps in a table, one for each port
// if each is set.
type standing struct {
	t      *pipeline.Table
	act    *pipeline.Action
	each   bool
	match  []given
	params []given
	guess  bool  // a parameter is given a number whose meaning is not known
	entry  entry // as the search had it
}

// maxStanding is how many tables a packet may need entries in.
const maxStanding = 4

// maxTrials bounds the search for them.
const maxTrials = 20000

// chosen is what a parameter is given that decides nothing about where packets go.
const chosen = 1

// helper is an entry that may be needed in another table.
type helper struct {
	t     *pipeline.Table
	act   *pipeline.Action
	entry entry
	guess bool
}

// setup looks for entries of other tables with which an action of u's table sends
// packets to the port that its one parameter says: programs often have the port
// in a table of their own, behind others that must let the packet pass. What is
// found is minimal, changes nothing in a packet, and lets no packet pass that
// finds no rule.
func (a *analysis) setup(base scenario, u *use) (action, []standing) {
	i := slices.IndexFunc(a.packets, func(p packet) bool { return p.kind == "IPv4 TCP" })
	if i < 0 {
		return action{}, nil
	}
	for _, act := range u.t.Actions {
		id := a.actionOf(u.t, act)
		if len(act.Params) != 1 || id < 0 {
			continue
		}
		if sets, other := a.rewrites(id); len(sets) > 0 || len(other) > 0 {
			continue
		}
		e := a.given(u.t, act)
		senders, others := a.helpers(u.t, e.args[0])
		with := maps.Clone(base)
		with[u.t.FullName] = e
		search := &search{a: a, u: u, packet: a.packets[i : i+1], base: base, with: with, port: e.args[0], others: others}
		for n := range maxStanding {
			for _, s := range senders {
				if found := search.extend([]helper{s}, 0, n); found != nil {
					out := action{sig: "output", p4: act, params: []given{{act.Params[0].Name, "port"}}}
					tagged, kinds := search.unserved(search.found, found)
					if tagged {
						out.only = []assigned{{"vlan_vid", 0}}
					}
					if len(kinds) > 0 {
						u.notes = append(u.notes, "output: a rule about these would lose them: "+strings.Join(kinds, ", "))
					}
					return out, found
				}
			}
		}
	}
	return action{}, nil
}

// helpers lists what entries of other tables could do: those that send a packet to
// a port, and all others.
func (a *analysis) helpers(not *pipeline.Table, port value) (senders, others []helper) {
	for _, t := range a.pl.Tables {
		if t == not || t.Const || len(t.Fields) == 0 {
			continue
		}
		for _, act := range t.Actions {
			id := a.actionOf(t, act)
			if id < 0 {
				continue
			}
			does := a.primitives(id)
			if does.drops || does.tells || does.punts {
				continue
			}
			h := helper{t: t, act: act, entry: entry{action: id}}
			sends := a.sendsBy(id)
			for i := range act.Params {
				v := num(chosen)
				if i == sends {
					v = port
				} else {
					h.guess = true
				}
				h.entry.args = append(h.entry.args, v)
			}
			switch {
			case sends >= 0:
				senders = append(senders, h)
			case !does.sends:
				others = append(others, h)
			}
		}
	}
	return senders, others
}

// sendsBy is the parameter that an action makes the egress port; -1: none.
func (a *analysis) sendsBy(id int) int {
	for _, pr := range a.p.actions[id] {
		if pr.Op == "assign" && len(pr.Params) == 2 && pr.Params[0].field == egressSpec && pr.Params[1].kind == "runtime_data" {
			return pr.Params[1].at
		}
	}
	return -1
}

type search struct {
	a      *analysis
	u      *use
	packet []packet
	base   scenario
	with   scenario // and u's rule
	port   value
	others []helper
	trials int
	found  []helper
}

// extend tries helpers with more beside them, of others from an index on.
func (s *search) extend(list []helper, from, more int) []standing {
	if more == 0 {
		if s.trials++; s.trials > maxTrials {
			return nil
		}
		return s.try(list)
	}
	for i := from; i < len(s.others); i++ {
		h := s.others[i]
		if slices.ContainsFunc(list, func(o helper) bool { return o.t == h.t }) {
			continue
		}
		if found := s.extend(append(slices.Clone(list), h), i+1, more-1); found != nil {
			return found
		}
	}
	return nil
}

// try follows a packet through the tables with these entries.
func (s *search) try(list []helper) []standing {
	with := maps.Clone(s.with)
	for _, h := range list {
		with[h.t.FullName] = h.entry
	}
	outs, ok := s.a.p.follow(s.packet, with)
	if !ok || len(outs) == 0 {
		return nil
	}
	for i := range outs {
		if o := &outs[i]; o.copy || o.out != s.port || o.drop || o.group != (value{}) || s.a.changed(o) {
			return nil
		}
	}
	var found []standing
	for _, h := range list {
		st, ok := s.a.standing(h, outs, s.port)
		if !ok {
			return nil
		}
		found = append(found, st)
	}
	// With these entries nothing may pass that no rule is for.
	without := maps.Clone(s.base)
	for _, h := range list {
		without[h.t.FullName] = h.entry
	}
	for _, o := range s.a.follow(without) {
		if cpu := s.a.p.cpu; !o.copy && !o.drop && !o.lost && (cpu == nil || !o.out.is(*cpu)) {
			return nil
		}
	}
	s.found = list
	return found
}

// unserved are the kinds of packets that the entries are not for: they would be lost
// by a rule that forwards.
func (s *search) unserved(list []helper, found []standing) (tagged bool, kinds []string) {
	with := maps.Clone(s.with)
	for _, h := range list {
		with[h.t.FullName] = h.entry
	}
	outs := s.a.follow(with)
	for i := range outs {
		o := &outs[i]
		served := o.out == s.port && !o.drop && !s.a.changed(o)
		for j, h := range list {
			as, ok := s.a.standing(h, outs[i:i+1], s.port)
			served = served && ok && slices.Equal(as.match, found[j].match)
		}
		switch {
		case served || o.copy:
		case o.packet.tagged:
			tagged = true
		default:
			if kind := outer(o.packet); !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return tagged, kinds
}

// changed reports whether a packet leaves with other headers than it came with.
func (a *analysis) changed(o *outcome) bool {
	for r, v := range o.env {
		if !a.packetHeader(r.header) {
			continue
		}
		if had, ok := o.packet.env[r]; ok && had != v || !ok && v != a.p.get(env{}, r) {
			return true
		}
	}
	return false
}

// standing makes a helper's entry of the keys that packets met it with; ok is false
// where they can't be written down.
func (a *analysis) standing(h helper, outs []outcome, port value) (st standing, ok bool) {
	st = standing{t: h.t, act: h.act, guess: h.guess, entry: h.entry}
	n := a.nodes[h.t.FullName]
	var each value
	for i, f := range h.t.Fields {
		if i >= len(n.Key) || len(n.Key[i].Target) != 2 {
			return st, false
		}
		r := ref{n.Key[i].Target[0], n.Key[i].Target[1]}
		v := outs[0].keys[h.t.FullName][r]
		for _, o := range outs {
			if !o.hit[h.t.FullName] || o.keys[h.t.FullName][r] != v {
				return st, false
			}
		}
		switch {
		case v.kind == number && (f.Kind == pipeline.Exact || v.n != 0):
			if f.Kind == pipeline.Exact {
				st.match = append(st.match, given{f.Name, strconv.FormatUint(v.n, 10)})
			}
		case v == port || v == sym(inPort):
			if f.Kind != pipeline.Exact {
				continue // any will do
			}
			if each != (value{}) && each != v {
				return st, false // two ports at once
			}
			each = v
			st.match = append(st.match, given{f.Name, "port"})
		case f.Kind == pipeline.Exact:
			return st, false
		}
	}
	for i, arg := range h.entry.args {
		text := strconv.FormatUint(arg.n, 10)
		if arg == port {
			if each != port {
				return st, false // the entry does not know which port it is for
			}
			text = "port"
		}
		st.params = append(st.params, given{h.act.Params[i].Name, text})
	}
	st.each = each != (value{})
	return st, true
}

func (st *standing) write(line func(string, ...any)) {
	parts := []string{"table: " + quoted(st.t.Name)}
	if st.each {
		parts = append(parts, "each: port")
	}
	list := func(what string, values []given) {
		if len(values) == 0 {
			return
		}
		s := make([]string, len(values))
		for i, g := range values {
			s[i] = quoted(g.param) + ": " + g.value
		}
		parts = append(parts, fmt.Sprintf("%s: {%s}", what, strings.Join(s, ", ")))
	}
	list("match", st.match)
	if st.t.Priority {
		parts = append(parts, "priority: 1")
	}
	parts = append(parts, "action: "+quoted(st.act.Name))
	list("params", st.params)
	line("  - {%s}%s", strings.Join(parts, ", "), mark(st.guess, fmt.Sprintf("%d is some number: nothing that a packet's way hangs on", chosen)))
}
