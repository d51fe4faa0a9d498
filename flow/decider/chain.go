package decider

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"switchbridge/flow"
)

// Every decorator prints itself and then what it wraps, so that printing the
// outermost one prints the whole chain.

// chain returns a decorator's name, followed by what it wraps.
func chain(name string, next flow.Decider) string { return name + " > " + nameOf(next) }

// nameOf is a decider's own name, or its type's where it has none.
func nameOf(d flow.Decider) string {
	if s, ok := d.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("%T", d)
}

func (f *FailMode) String() string {
	name := "fail mode " + f.Default.String()
	var others []string
	for _, dpid := range slices.SortedFunc(maps.Keys(f.PerSwitch), cmp.Compare[flow.DPID]) {
		if mode := f.PerSwitch[dpid]; mode != f.Default {
			others = append(others, dpid.String()+": "+mode.String())
		}
	}
	if len(others) > 0 {
		name += " (" + strings.Join(others, ", ") + ")"
	}
	return chain(name, f.Next)
}

// String names every route, with its own chain.
func (r *Routes) String() string {
	list := make([]string, len(r.routes))
	for i := range r.routes {
		list[i] = r.routes[i].Name + ": " + nameOf(r.routes[i].Decider)
	}
	return "routes (" + strings.Join(list, ", ") + ")"
}

func (r *Reuse) String() string { return chain("reuse", r.next) }

// String leaves out a budget without limits.
func (b *Budget) String() string {
	if limits := b.limits.String(); limits != "" {
		return chain("budget "+limits, b.next)
	}
	return nameOf(b.next)
}

func (s *State) String() string { return chain("state", s.next) }

func (l *Limit) String() string { return chain(fmt.Sprintf("limit %d", l.concurrency), l.next) }

// String returns that of Next: observing changes no answer.
func (o *Observe) String() string { return nameOf(o.Next) }

func (p *Pace) String() string { return chain("rates", p.next) }
