package propose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// outcome is what becomes of one kind of packet.
type outcome struct {
	packet *packet
	hit    map[string]bool          // the tables that it met, of those that a scenario fills
	keys   map[string]map[ref]value // what their keys were
	out    value                    // the port it leaves by
	group  value                    // or the multicast group
	drop   bool                     // it is dropped by the program's word
	lost   bool                     // it leaves by port 0, since nobody said where it goes
	clone  value                    // the clone session of a copy
	copy   bool                     // it is that copy, on its way to the CPU port
	digest map[uint64]bool          // the learn lists that tell of it
	env    env                      // as it leaves
}

// entry is what a scenario puts into a table: every packet that meets the table
// finds it.
type entry struct {
	action int
	args   []value
	miss   bool // it is the default action
}

// scenario is what tables hold, by name; all others are as the program has them.
type scenario map[string]entry

// maxSteps bounds how many nodes are gone through for one scenario.
const maxSteps = 1 << 20

// follower carries a program out.
type follower struct {
	p        *program
	s        scenario
	steps    int
	outcomes []outcome
	seen     map[string]bool
	forked   bool // there are several ways for the packet
}

// follow returns what becomes of the packets under a scenario; ok is false where
// there are too many ways through the program to say.
func (p *program) follow(packets []packet, s scenario) (list []outcome, ok bool) {
	f := &follower{p: p, s: s}
	for i := range packets {
		f.seen, f.forked = map[string]bool{}, false
		o := outcome{packet: &packets[i], hit: map[string]bool{}, keys: map[string]map[ref]value{}, digest: map[uint64]bool{}}
		f.ingress(&p.Pipelines[0], p.Pipelines[0].Init, packets[i].env, o)
		if f.steps > maxSteps {
			return nil, false
		}
	}
	return f.outcomes, true
}

// distinct leaves out packets that the program's tables and conditions can't tell
// from another of the same kind.
func (p *program) distinct(list []packet) (out []packet) {
	seen := map[string]bool{}
	for _, pk := range list {
		id := pk.kind + p.known(pk.env)
		if !seen[id] {
			seen[id] = true
			out = append(out, pk)
		}
	}
	return out
}

// known writes down what is known of the fields that decide about something.
func (p *program) known(e env) string {
	if p.relevant == nil {
		p.relevant = p.deciding()
	}
	var b []byte
	for i, r := range p.relevant {
		if v, ok := e[r]; ok {
			b = append(strconv.AppendInt(b, int64(i), 10), '=', byte('0'+v.kind))
			b = append(strconv.AppendUint(b, v.n, 10), v.name...)
		}
	}
	return string(b)
}

// deciding are the fields that decide about something: what else a program
// computes does not make two ways through it different.
func (p *program) deciding() []ref {
	set := map[ref]bool{egressSpec: true, multicast: true}
	var add func(o *operand)
	add = func(o *operand) {
		if o == nil {
			return
		}
		if o.kind == "field" {
			set[o.field] = true
		}
		add(o.left)
		add(o.right)
	}
	for i := range p.Pipelines {
		for j := range p.Pipelines[i].Conditionals {
			add(&p.Pipelines[i].Conditionals[j].If)
		}
	}
	for n := -1; n != len(set); {
		n = len(set)
		for _, list := range p.actions {
			for i := range list {
				if list[i].Op == "assign" && len(list[i].Params) == 2 && set[list[i].Params[0].field] {
					add(&list[i].Params[1])
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(set), func(x, y ref) int {
		return cmp.Or(strings.Compare(x.header, y.header), strings.Compare(x.field, y.field))
	})
}

func (f *follower) key(at string, e env, o *outcome) string {
	return fmt.Sprint(at, o.clone, o.digest, o.hit) + f.p.known(e)
}

// walk goes through one pipeline and calls end for each way through it.
func (f *follower) walk(c *control, at string, e env, o outcome, end func(env, outcome)) {
	for {
		if f.steps++; f.steps > maxSteps {
			return
		}
		if at == "" {
			end(e, o)
			return
		}
		if f.forked { // else nothing can be met twice
			id := f.key(c.Name+at, e, &o)
			if f.seen[id] {
				return
			}
			f.seen[id] = true
		}
		if i := slices.IndexFunc(c.Tables, func(t node) bool { return t.Name == at }); i >= 0 {
			f.table(c, &c.Tables[i], e, o, end)
			return
		}
		i := slices.IndexFunc(c.Conditionals, func(t conditional) bool { return t.Name == at })
		if i < 0 {
			end(e, o)
			return
		}
		cond := &c.Conditionals[i]
		switch v := f.p.eval(&cond.If, e, nil); {
		case v.kind == number && v.n != 0:
			at = cond.True
		case v.kind == number:
			at = cond.False
		default:
			f.forked = true
			f.walk(c, cond.True, e, o, end)
			at = cond.False
		}
	}
}

func (f *follower) table(c *control, t *node, e env, o outcome, end func(env, outcome)) {
	pass := func(action int, args []value, hit bool) {
		o := o
		after, exit := f.act(action, args, e, &o)
		next := t.After
		if n, ok := t.Next[f.p.names[action]]; ok {
			next = n
		}
		if n, ok := t.Next["__HIT__"]; ok && hit {
			next = n
		}
		if n, ok := t.Next["__MISS__"]; ok && !hit {
			next = n
		}
		if exit {
			next = ""
		}
		f.walk(c, next, after, o, end)
	}
	if s, ok := f.s[t.Name]; ok {
		o.hit = maps.Clone(o.hit)
		o.hit[t.Name] = true
		o.keys = maps.Clone(o.keys)
		keys := map[ref]value{}
		for _, k := range t.Key {
			if len(k.Target) == 2 {
				r := ref{k.Target[0], k.Target[1]}
				keys[r] = f.p.get(e, r)
			}
		}
		o.keys[t.Name] = keys
		pass(s.action, s.args, !s.miss)
		return
	}
	for i := range t.Entries {
		en := &t.Entries[i]
		may, must := f.finds(t, i, e)
		if must {
			pass(en.Action.ID, numbers(en.Action.Data), true)
			return
		}
		if may {
			f.forked = true
			pass(en.Action.ID, numbers(en.Action.Data), true)
		}
	}
	if t.Default != nil {
		pass(t.Default.Action, numbers(t.Default.Data), false)
		return
	}
	pass(-1, nil, false)
}

// finds reports whether a packet may find an entry that the program fixes, and
// whether it does so for sure. A switch statement over numbers is such a table.
func (f *follower) finds(t *node, entry int, e env) (may, must bool) {
	en := &t.Entries[entry]
	if len(en.Key) != len(t.Key) {
		return true, false
	}
	must = true
	for i, k := range en.Key {
		n, err := hex(k.Value)
		if k.Kind != "exact" || err != nil || len(t.Key[i].Target) != 2 {
			must = false
			continue
		}
		switch eq, sure := equal(f.p.get(e, ref{t.Key[i].Target[0], t.Key[i].Target[1]}), num(n)); {
		case !sure:
			must = false
		case !eq:
			return false, false
		}
	}
	return true, must
}

func numbers(data []string) (list []value) {
	for _, s := range data {
		if n, err := hex(s); err == nil {
			list = append(list, num(n))
		} else {
			list = append(list, value{})
		}
	}
	return list
}

// act carries an action out.
func (f *follower) act(action int, args []value, e env, o *outcome) (_ env, exit bool) {
	if len(f.p.actions[action]) > 0 {
		e = maps.Clone(e)
	}
	for _, pr := range f.p.actions[action] {
		switch ps := pr.Params; {
		case pr.Op == "assign" && len(ps) == 2 && ps[0].kind == "field":
			e[ps[0].field] = f.p.eval(&ps[1], e, args)
		case pr.Op == "mark_to_drop" || pr.Op == "drop":
			e[egressSpec], e[multicast] = sym("drop"), num(0)
		case pr.Op == "exit":
			exit = true
		case pr.Op == "add_header" && len(ps) == 1:
			e[valid(ps[0].name)] = num(1)
		case pr.Op == "remove_header" && len(ps) == 1:
			e[valid(ps[0].name)] = num(0)
		case strings.HasPrefix(pr.Op, "clone_ingress") && len(ps) > 0:
			o.clone = f.p.eval(&ps[0], e, args)
		case pr.Op == "generate_digest" && len(ps) == 2:
			o.digest = maps.Clone(o.digest)
			o.digest[ps[1].n] = true
		case pr.Op == "execute_meter" && len(ps) == 3: // green, until somebody sets it
			e[ps[2].field] = num(0)
		case pr.Op == "count":
		default:
			for i := range ps {
				if ps[i].kind == "field" {
					e[ps[i].field] = value{} // it may be what the operation writes
				}
			}
		}
	}
	return e, exit
}

func (f *follower) ingress(c *control, at string, e env, o outcome) {
	f.walk(c, at, e, o, func(e env, o outcome) {
		if o.clone != (value{}) && f.p.cpu != nil {
			o := o
			o.copy, o.out = true, num(*f.p.cpu)
			f.egress(e.with(egressPort, o.out).with(instanceType, num(cloned)), o)
		}
		spec, group := f.p.get(e, egressSpec), f.p.get(e, multicast)
		if !group.is(0) {
			o.group = group
			e = e.with(egressPort, sym(aMember))
			f.egress(e.with(instanceType, num(replicated)), o)
			return
		}
		o.out = spec
		switch {
		case spec == sym("drop"):
			o.drop, o.env = true, e
		case spec.is(0):
			o.lost, o.env = true, e
		default:
			f.egress(e.with(egressPort, spec), o)
			return
		}
		f.outcomes = append(f.outcomes, o)
	})
}

func (f *follower) egress(e env, o outcome) {
	c := &f.p.Pipelines[1]
	// Beyond here only mark_to_drop takes a packet away; the port is given.
	f.walk(c, c.Init, e.with(egressSpec, num(0)), o, func(e env, o outcome) {
		o.env = e
		if f.p.get(e, egressSpec) == sym("drop") {
			o.drop = true
		}
		f.outcomes = append(f.outcomes, o)
	})
}
