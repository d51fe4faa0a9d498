package propose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"switchbridge/p4bridge/pipeline"
)

// Proposal is a mapping for a program, and what a policy can have with it.
type Proposal struct {
	pl   *pipeline.Pipeline
	file string // what the comments call the program

	tables  []*use
	skipped []*use // tables that hold no rules, with the reason
	ask     ask
	normal  *stations
	setup   []standing // entries without which no rule forwards
	group   uint64     // the multicast group that floods; 0: none
	back    bool       // floods by it go back to where they came from
	cpu     *uint64
	in      *packetIn
	out     *packetOut
	digest  *digest
	lost    []string // kinds of packets that the program drops before it asks
	free    []string // kinds that it forwards without asking
	loose   []string // IPv4 packets whose ports the program takes from elsewhere
	arrays  []string // packet_in or packet_out, where it is an array of headers
	blind   bool     // there were too many ways through the program to follow
}

// ask is how the program tells of packets that no rule is for.
type ask struct {
	t       *pipeline.Table
	asEntry bool // by an entry below all others, since the default action can't be set
	digest  *pipeline.Action
	punt    *pipeline.Action
	clone   *pipeline.Action
	flood   *action
	drop    *pipeline.Action
	passes  bool            // it tells of packets, and forwards them all the same
	tells   *pipeline.Table // that does so, where nothing asks
	behind  *pipeline.Table // that could ask, and no packet comes to while others are empty; where nothing asks
	session uint64          // the clone session of clone
}

func (k *ask) none() bool { return k.digest == nil && k.punt == nil && k.clone == nil }

// stations is the table behind NORMAL.
type stations struct {
	t     *pipeline.Table
	key   string
	act   *pipeline.Action
	param string
}

type packetIn struct {
	inPort, reason string
	guess          bool
}

type packetOut struct {
	port, inPort          string
	output, flood, normal []assigned
	guess                 string
}

type digest struct {
	d       *pipeline.Digest
	fields  []field
	implied []assigned
}

// Propose works a mapping out. file is what its comments call the program. The
// error is of a device configuration that is not BMv2's.
func Propose(pl *pipeline.Pipeline, file string) (*Proposal, error) {
	a, err := analyse(pl)
	if err != nil {
		return nil, err
	}
	p := &Proposal{pl: pl, file: file, cpu: a.p.cpu}
	uses := map[*pipeline.Table]*use{}
	for _, t := range pl.Tables {
		uses[t] = a.look(t)
	}
	p.group = a.floodGroup()
	p.ask = a.asks(uses, p.group)
	base := p.ask.scenario(a)
	for _, t := range pl.Tables {
		u := uses[t]
		if u.cant == "" {
			a.actionsOf(base, u, p.group)
		}
		if u.cant != "" {
			p.skipped = append(p.skipped, u)
			continue
		}
		p.tables = append(p.tables, u)
	}
	p.findStations(a, base, uses)
	p.arrange()
	if p.arrays = a.arrays(); a.p.cpu != nil && len(p.arrays) == 0 {
		p.in, p.out = a.packetIn(&p.ask, base), a.packetOut(p.normal, base)
	}
	if p.ask.digest != nil {
		p.digest = a.digest(&p.ask)
	}
	if p.Miss() != "" { // who asks nobody has no rules that could need it
		p.needs(a, base)
	}
	p.hold(a, base)
	p.loose = a.loose()
	p.fates(a, base)
	p.blind = a.tooMany || a.w.cut
	return p, nil
}

// fates finds out what becomes of packets that nobody is asked about.
func (p *Proposal) fates(a *analysis, base scenario) {
	if p.ask.none() {
		return
	}
	for _, o := range a.follow(base) {
		list := &p.free
		switch {
		case o.hit[p.ask.t.FullName] || o.copy:
			continue
		case o.drop || o.lost:
			list = &p.lost
		}
		if kind := outer(o.packet); !slices.Contains(*list, kind) {
			*list = append(*list, kind)
		}
	}
}

// asks chooses the table that asks: the one that most kinds of packets come to,
// and of those the one whose rules can say most.
func (a *analysis) asks(uses map[*pipeline.Table]*use, group uint64) ask {
	var best ask
	var behind *pipeline.Table
	score := -1
	for _, t := range a.pl.Tables {
		u := uses[t]
		var k ask
		n := 0
		try := func(act *pipeline.Action, miss bool) {
			if a.actionOf(t, act) < 0 {
				return
			}
			e := a.given(t, act)
			e.miss = miss
			ef := a.effect(nil, t, e)
			if len(ef.outcomes) == 0 {
				if does := a.primitives(a.actionOf(t, act)); behind == nil && (does.tells || does.punts) {
					behind = t
				}
				return
			}
			plain := len(act.Params) == 0
			switch {
			case ef.punts && plain && k.punt == nil:
				k.punt = act
			case (ef.asks && plain || ef.clone.kind == number && plain) && (ef.passes || a.passes(t, e)):
				k.passes = true // it tells, and forwards the packet all the same
				return
			case ef.asks && plain && k.digest == nil:
				k.digest = act
			case ef.clone.kind == number && plain && k.clone == nil:
				k.clone, k.session = act, ef.clone.n
			case ef.drops && plain && k.drop == nil:
				k.drop = act
				return
			default:
				if f, why := a.name(t, act, ef, group); why == "" && f.sig == "flood" && k.flood == nil {
					k.flood = &f
				}
				return
			}
			n = max(n, kinds(ef.outcomes))
		}
		k.t = t
		switch {
		case t.ConstMiss == nil:
			for _, act := range t.Defaults {
				try(act, true)
			}
		default:
			try(t.ConstMiss, true)
		}
		if k.none() && t.Priority && u.cant == "" {
			k = ask{t: t, asEntry: true}
			for _, act := range t.Actions {
				try(act, false)
			}
			k.flood, k.drop = nil, nil
		}
		if k.none() {
			// Nobody is asked. What a miss does can still be chosen, best in the
			// table that most rules fit in.
			if best.none() && (k.drop != nil || k.flood != nil) && u.cant == "" && (best.t == nil || len(u.fields) > len(uses[best.t].fields)) {
				tells := best.tells
				best, best.tells = k, tells
			}
			if best.none() && k.passes {
				best.tells = t
			}
			continue
		}
		s := 1000*n + 10*len(u.fields)
		if k.asEntry {
			s -= 500 // every rule of other tables would have to win over it
		}
		if s > score {
			best, score = k, s
		}
	}
	if best.none() {
		best.behind = behind
	}
	return best
}

// passes reports whether a packet that a table asks about is forwarded all the same
// once other tables have entries.
func (a *analysis) passes(asks *pipeline.Table, e entry) bool {
	for _, t := range a.pl.Tables {
		for _, act := range t.Actions {
			if t == asks || a.actionOf(t, act) < 0 || !a.primitives(a.actionOf(t, act)).sends {
				continue
			}
			other := a.given(t, act)
			for _, o := range a.effect(scenario{t.FullName: other}, asks, e).outcomes {
				if o.out.kind == symbol && slices.Contains(other.args, o.out) && !o.drop {
					return true
				}
			}
		}
	}
	return false
}

// scenario is what the switch holds before any rule: the miss.
func (k *ask) scenario(a *analysis) scenario {
	s := scenario{}
	act := cmp.Or(k.punt, k.digest, k.clone)
	if act != nil {
		e := a.given(k.t, act)
		e.miss = !k.asEntry
		s[k.t.FullName] = e
	}
	return s
}

// floodGroup is the multicast group that the program's actions name, or 1 where an
// action takes it as a parameter; 0 where nothing is flooded.
func (a *analysis) floodGroup() (group uint64) {
	for _, t := range a.pl.Tables {
		for _, act := range slices.Concat(t.Actions, t.Defaults) {
			for _, pr := range a.p.actions[a.actionOf(t, act)] {
				if pr.Op != "assign" || len(pr.Params) != 2 || pr.Params[0].field != multicast {
					continue
				}
				switch v := a.p.eval(&pr.Params[1], nil, nil); {
				case v.kind == number && v.n != 0:
					return v.n
				case pr.Params[1].kind == "runtime_data":
					group = 1
				}
			}
		}
	}
	return group
}

// actionsOf fills in what a table's actions do.
func (a *analysis) actionsOf(base scenario, u *use, group uint64) {
	t := u.t
	for _, act := range t.Actions {
		if a.actionOf(t, act) < 0 {
			continue
		}
		ef := a.effect(base, t, a.given(t, act))
		if u.unmet = len(ef.outcomes) == 0; u.unmet {
			continue
		}
		if n := kinds(ef.outcomes); n > u.kinds {
			u.kinds = n
			a.imply(u, ef.outcomes)
		}
		switch named, why := a.name(t, act, ef, group); {
		case why != "":
			u.notes = append(u.notes, fmt.Sprintf("%s: %s", act.Name, why))
		case slices.ContainsFunc(u.actions, func(x action) bool { return x.sig == named.sig }):
			u.notes = append(u.notes, fmt.Sprintf("%s: %s is another action already", act.Name, named.sig))
		default:
			u.actions = append(u.actions, named)
		}
	}
	if !slices.ContainsFunc(u.actions, func(x action) bool { return x.sig != "controller" }) {
		u.cant = "none of its actions forwards or drops a packet by itself"
		if len(u.notes) > 0 {
			u.cant += " (" + strings.Join(u.notes, "; ") + ")"
		}
	}
}

// imply notes what all packets that come to a table have in common.
func (a *analysis) imply(u *use, list []outcome) {
	first := list[0].packet
	same := func(of func(*packet) uint64) bool {
		return of(first) != 0 && !slices.ContainsFunc(list, func(o outcome) bool { return of(o.packet) != of(first) })
	}
	named := func(name string) bool {
		return u.has(name) || slices.ContainsFunc(u.implied, func(x assigned) bool { return x.name == name })
	}
	if same(func(p *packet) uint64 { return p.ethType }) && !named("eth_type") {
		u.implied = append(u.implied, assigned{"eth_type", first.ethType})
	}
	if same(func(p *packet) uint64 { return p.proto }) && !named("ip_proto") {
		u.implied = append(u.implied, assigned{"ip_proto", first.proto})
	}
}

// findStations looks for a table of stations behind an action that only lets pass: that is
// what NORMAL means.
func (p *Proposal) findStations(a *analysis, base scenario, uses map[*pipeline.Table]*use) {
	for _, t := range p.pl.Tables {
		u := uses[t]
		if len(t.Fields) != 1 || t.Fields[0].Kind != pipeline.Exact || len(u.fields) != 1 || !slices.Equal(u.fields[0].oxms, []string{"eth_dst"}) {
			continue
		}
		for _, act := range t.Actions {
			if len(act.Params) != 1 || a.actionOf(t, act) < 0 {
				continue
			}
			if _, other := a.rewrites(a.actionOf(t, act)); len(other) > 0 {
				continue
			}
			known := a.given(t, act)
			reached := false
			for _, v := range p.tables {
				for _, pass := range v.t.Actions {
					if v.t == t || len(pass.Params) > 0 || a.actionOf(v.t, pass) < 0 {
						continue
					}
					with := scenario{t.FullName: known}
					for k, e := range base {
						with[k] = e
					}
					ef := a.effect(with, v.t, entry{action: a.actionOf(v.t, pass)})
					if len(ef.outcomes) == 0 || !ef.idle || slices.ContainsFunc(ef.outcomes, func(o outcome) bool { return o.out != known.args[0] || o.drop }) {
						continue
					}
					reached = true
					v.actions = append(v.actions, action{sig: "normal", p4: pass})
					v.notes = slices.DeleteFunc(v.notes, func(n string) bool { return strings.HasPrefix(n, pass.Name+":") })
					p.normal = &stations{t: t, key: t.Fields[0].Name, act: act, param: act.Params[0].Name}
					flooded, pruned := false, false
					for _, o := range a.effect(base, v.t, entry{action: a.actionOf(v.t, pass)}).outcomes {
						flooded = flooded || o.group != (value{})
						pruned = pruned || o.group != (value{}) && o.drop
					}
					p.back = flooded && !pruned
					break
				}
			}
			if reached {
				p.tables = slices.DeleteFunc(p.tables, func(v *use) bool { return v.t == t })
				return
			}
		}
	}
}

// needs looks for entries without which no rule can forward, where no table has an
// action that does so by itself.
func (p *Proposal) needs(a *analysis, base scenario) {
	for _, u := range p.tables {
		if slices.ContainsFunc(u.actions, func(x action) bool { return strings.HasSuffix(x.sig, "output") || x.sig == "normal" }) {
			return
		}
	}
	for _, u := range p.tables {
		if act, list := a.setup(base, u); list != nil {
			u.actions = append(u.actions, act)
			u.notes = slices.DeleteFunc(u.notes, func(n string) bool { return strings.HasPrefix(n, act.p4.Name+":") })
			p.setup = list
			return
		}
	}
}

// hold takes out actions that entries of other tables would undo, once the mapping
// brings those in: what one table drops, a later one may forward.
func (p *Proposal) hold(a *analysis, base scenario) {
	for i := range p.setup {
		base = maps.Clone(base)
		base[p.setup[i].t.FullName] = p.setup[i].entry
	}
	type filled struct {
		t *pipeline.Table
		e entry
	}
	var others []filled
	for _, u := range p.tables {
		for _, act := range u.actions {
			if strings.HasSuffix(act.sig, "output") || act.sig == "flood" {
				others = append(others, filled{u.t, a.given(u.t, act.p4)})
			}
		}
	}
	if p.normal != nil {
		others = append(others, filled{p.normal.t, a.given(p.normal.t, p.normal.act)})
	}
	for _, o := range others {
		for i := range o.e.args {
			o.e.args[i].name += " of another table" // and not the rule's own
		}
	}
	for _, u := range p.tables {
		u.actions = slices.DeleteFunc(u.actions, func(act action) bool {
			e := a.given(u.t, act.p4)
			for _, o := range others {
				if o.t == u.t || act.sig != "drop" && !strings.HasSuffix(act.sig, "output") {
					continue
				}
				with := maps.Clone(base)
				with[o.t.FullName] = o.e
				for _, out := range a.effect(with, u.t, e).outcomes {
					if away := out.drop || out.lost || slices.Contains(e.args, out.out); !away || out.group != (value{}) && !out.drop {
						u.notes = append(u.notes, fmt.Sprintf("%s: %s is undone by entries of %s", act.p4.Name, act.sig, o.t.Name))
						return true
					}
				}
			}
			return false
		})
	}
	p.tables = slices.DeleteFunc(p.tables, func(u *use) bool {
		gone := !slices.ContainsFunc(u.actions, func(x action) bool { return x.sig != "controller" })
		if gone {
			u.cant = strings.Join(u.notes, "; ")
			p.skipped = append(p.skipped, u)
		}
		return gone
	})
}

// arrange puts tables first that compare all their keys exactly: such an entry
// is found faster, and who can't be one goes on to the next table.
func (p *Proposal) arrange() {
	slices.SortStableFunc(p.tables, func(x, y *use) int {
		switch {
		case x.t.Priority == y.t.Priority:
			return 0
		case x.t.Priority:
			return 1
		}
		return -1
	})
}

// packetIn finds the header field that says where a packet came in.
func (a *analysis) packetIn(k *ask, base scenario) *packetIn {
	h := a.pl.PacketIn
	if h == nil {
		return nil
	}
	in := &packetIn{}
	miss := a.fieldsOf(a.follow(base), h)
	for _, f := range h.Fields {
		if miss[f.Name] == sym(inPort) {
			in.inPort = cmp.Or(in.inPort, f.Name)
		}
	}
	if in.inPort == "" {
		for _, f := range h.Fields {
			if slices.Equal(guess(f.Name, f.Width), []string{"in_port"}) {
				in.inPort, in.guess = f.Name, true
			}
		}
	}
	if in.inPort == "" {
		return nil
	}
	for _, t := range a.pl.Tables { // what a rule sends to the CPU port, and not the miss
		for _, act := range t.Actions {
			if a.actionOf(t, act) < 0 || act == k.punt {
				continue
			}
			ef := a.effect(base, t, a.given(t, act))
			if !ef.punts {
				continue
			}
			byRule := a.fieldsOf(ef.outcomes, h)
			for _, f := range h.Fields {
				if miss[f.Name].is(0) && byRule[f.Name].kind == number && byRule[f.Name].n != 0 {
					in.reason = f.Name
				}
			}
		}
	}
	return in
}

// fieldsOf returns what a controller header's fields are in packets that go to
// the CPU port; those that differ from packet to packet are unknown.
func (a *analysis) fieldsOf(list []outcome, h *pipeline.Header) map[string]value {
	got := map[string]value{}
	for _, o := range list {
		if a.p.cpu == nil || !o.out.is(*a.p.cpu) {
			continue
		}
		for name, fields := range a.p.layout {
			if a.p.metadata[name] || !o.env[valid(name)].is(1) || !sameLayout(fields, h) {
				continue
			}
			for _, m := range fields {
				v := a.p.get(o.env, ref{name, m.name})
				if had, ok := got[m.name]; ok && had != v {
					v = value{}
				}
				got[m.name] = v
			}
		}
	}
	return got
}

func sameLayout(fields []member, h *pipeline.Header) bool {
	if len(fields) != len(h.Fields) {
		return false
	}
	for i, m := range fields {
		if m.name != h.Fields[i].Name || m.width != h.Fields[i].Width {
			return false
		}
	}
	return true
}

// packetOut finds out which of the header's fields is the port, and what others
// must be.
func (a *analysis) packetOut(n *stations, base scenario) *packetOut {
	h := a.pl.PacketOut
	if h == nil {
		return nil
	}
	send := func(port string, others map[string]uint64) []outcome {
		list := make([]packet, len(a.fromCPU))
		for i, pk := range a.fromCPU {
			e := env{}
			for r, v := range pk.env {
				e[r] = v
			}
			for name, fields := range a.p.layout {
				if a.p.metadata[name] || !sameLayout(fields, h) || !e[valid(name)].is(1) {
					continue
				}
				for _, m := range fields {
					e[ref{name, m.name}] = num(others[m.name])
				}
				e[ref{name, port}] = sym("egress")
			}
			pk.env = e
			list[i] = pk
		}
		s := scenario{}
		for k, v := range base {
			s[k] = v
		}
		if n != nil {
			e := a.given(n.t, n.act)
			e.args[0] = sym("station's port")
			s[n.t.FullName] = e
		}
		out, ok := a.p.follow(list, s)
		if !ok {
			a.tooMany = true
		}
		return out
	}
	// A program may keep a packet from going back to where it came from, so that
	// some are dropped on their way out of the right port.
	goes := func(list []outcome, v value) (some, every bool) {
		every = true
		for _, o := range list {
			if o.copy {
				continue
			}
			some, every = some || o.out == v && !o.drop, every && o.out == v
		}
		return some, some && every
	}
	out := &packetOut{}
	for _, f := range h.Fields {
		if f.Width < 8 || out.port != "" && out.guess == "" {
			continue
		}
		try := func(with []assigned) {
			others := map[string]uint64{}
			for _, x := range with {
				others[x.name] = x.value
			}
			some, every := goes(send(f.Name, others), sym("egress"))
			switch {
			case every:
				out.port, out.output, out.guess = f.Name, with, ""
			case some && out.port == "" && strings.Contains(strings.ToLower(f.Name), "port"):
				out.port, out.guess = f.Name, "the program looks at other fields, too: they are zero"
			}
		}
		try(nil)
		for _, g := range h.Fields {
			for v := uint64(1); g.Name != f.Name && g.Width <= 8 && v < min(4, uint64(1)<<g.Width) && (out.port != f.Name || out.guess != ""); v++ {
				try([]assigned{{g.Name, v}})
			}
		}
	}
	if out.port == "" {
		return nil
	}
	for _, f := range h.Fields {
		if f.Name != out.port && slices.Equal(guess(f.Name, f.Width), []string{"in_port"}) {
			out.inPort = f.Name
		}
		if f.Name == out.port || f.Width > 8 {
			continue
		}
		for v := uint64(1); v < min(4, uint64(1)<<f.Width); v++ {
			list := send(out.port, map[string]uint64{f.Name: v})
			if _, every := goes(list, sym("station's port")); every && out.normal == nil {
				out.normal, out.output = []assigned{{f.Name, v}}, []assigned{{f.Name, 0}}
			}
			if len(list) > 0 && !slices.ContainsFunc(list, func(o outcome) bool { return o.group.kind != number || o.group.is(0) }) &&
				slices.ContainsFunc(list, func(o outcome) bool { return o.drop }) {
				out.flood, out.output = []assigned{{f.Name, v}}, []assigned{{f.Name, 0}}
			}
		}
	}
	return out
}

// digest reads what the members of the digest hold that the miss sends.
func (a *analysis) digest(k *ask) *digest {
	ids := map[uint64]bool{}
	var from []outcome
	act := a.given(k.t, k.digest)
	act.miss = true
	for _, o := range a.follow(scenario{k.t.FullName: act}) {
		for id := range o.digest {
			ids[id] = true
			from = append(from, o)
		}
	}
	for _, l := range a.p.Learn {
		d := a.pl.Digest(l.Name)
		if !ids[uint64(l.ID)] || d == nil || len(d.Members) != len(l.Elements) {
			continue
		}
		out := &digest{d: d}
		u := use{}
		seen := map[string]bool{}
		for i, m := range d.Members {
			var oxms []string
			if l.Elements[i].kind == "field" {
				oxms = slices.Clone(a.w.meaning[l.Elements[i].field])
			}
			guessed := len(oxms) == 0
			if guessed {
				oxms = guess(m.Name, m.Width)
			}
			oxms = slices.DeleteFunc(oxms, func(o string) bool { return widthOf(o) == 0 || seen[o] || m.Width < leastBits(o) })
			slices.SortFunc(oxms, func(x, y string) int { return order(x) - order(y) })
			if len(oxms) > 0 {
				out.fields = append(out.fields, field{m.Name, oxms, guessed})
			}
			for _, o := range oxms {
				seen[o] = true
			}
		}
		u.fields = out.fields
		a.imply(&u, from)
		out.implied = u.implied
		return out
	}
	return nil
}
