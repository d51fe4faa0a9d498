package decider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"switchbridge/flow"
)

// Pattern says which switches a route is for.
type Pattern interface{ Matches(flow.DPID) bool }

// Route sends the events that it fits to a controller of its own. An empty
// list, like the empty match, fits everything.
type Route struct {
	Name     string
	Switches []Pattern
	Ports    []flow.PortNo
	EthTypes []uint16
	IPProtos []uint8
	Match    flow.Match // the packet satisfies it
	Decider  flow.Decider
}

// Routes is the decorator that gives each event to the controllers that it
// concerns.
//
// A packet goes to the first route that it fits, or to the last, which the
// fallback is. Everything else goes to every route that it can concern: a
// switch that connected to all routes that are for it, since each may have
// proactive rules; a port's change to those that are for the port; a removed
// rule to those that could have asked for it; a policy check to all. Their
// answers are joined: rules one after the other, the handshake of the first
// that has one. The answer is an error only if none of them answered; where
// some did not, the decision's Failure says which, so that the session can
// install what there is and ask again.
//
// The decision's Parts say which route each rule came from and what lies within
// it: a function that is asked about some packets may not decide about others.
//
// Several functions have several policy versions, but a switch is swept by one.
// So Routes gives every answer a version of the whole, which grows with each
// of them, once each has been heard: an older answer of one function makes an
// older whole, and a newer one a newer whole, which sweeps the rules of all.
type Routes struct {
	routes []Route     // the last is the fallback
	bounds []flow.Part // of each route, without End
	local  bool

	mu    sync.Mutex
	heard []bool
	parts []flow.PolicyVersion
}

// NewRoutes makes Routes of an ordered list and where what fits none goes.
func NewRoutes(list []Route, fallback flow.Decider) *Routes {
	r := &Routes{routes: append(slices.Clone(list), Route{Name: "default", Decider: fallback}), local: true}
	for i := range r.routes {
		route := &r.routes[i]
		r.local = r.local && flow.IsLocal(route.Decider)
		part := flow.Part{Function: route.Name}
		if len(route.Ports)+len(route.EthTypes)+len(route.IPProtos) > 0 || route.Match.Fields != 0 {
			part.Within = route.Within
		}
		r.bounds = append(r.bounds, part)
	}
	r.heard, r.parts = make([]bool, len(r.routes)), make([]flow.PolicyVersion, len(r.routes))
	return r
}

// Decide asks whom the event concerns.
func (r *Routes) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if ev.PacketIn == nil {
		return r.all(ctx, ev, d)
	}
	i := r.find(ev)
	err := r.routes[i].Decider.Decide(ctx, ev, d)
	d.Parts = append(d.Parts[:0], r.part(i, len(d.Rules)))
	if err == nil && d.Failure == nil {
		r.answered(i, d)
	}
	return err
}

// Recall has the route of a packet answer what it has at hand.
func (r *Routes) Recall(ev *flow.Event, d *flow.Decision) bool {
	if ev.PacketIn == nil {
		return false
	}
	i := r.find(ev)
	if !flow.Recall(r.routes[i].Decider, ev, d) {
		return false
	}
	d.Parts = append(d.Parts[:0], r.part(i, len(d.Rules)))
	r.answered(i, d)
	return true
}

// answered gives the answer of one route the version of all.
func (r *Routes) answered(i int, d *flow.Decision) {
	d.Policy = r.whole(func(j int) (flow.PolicyVersion, bool) { return d.Policy, j == i })
}

// part says that the rules up to end are of route i.
func (r *Routes) part(i, end int) flow.Part {
	p := r.bounds[i]
	p.End = end
	return p
}

// find returns the index of the packet's route.
func (r *Routes) find(ev *flow.Event) int {
	for i := range r.routes[:len(r.routes)-1] {
		if r.routes[i].fits(ev) {
			return i
		}
	}
	return len(r.routes) - 1
}

// Name returns the name of the route that a packet takes.
func (r *Routes) Name(ev *flow.Event) string { return r.routes[r.find(ev)].Name }

// all asks every route that ev can concern, at the same time, and joins their
// answers in the routes' order.
func (r *Routes) all(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	answers := make([]flow.Decision, len(r.routes))
	errs := make([]error, len(r.routes))
	asked := make([]bool, len(r.routes))
	var wg sync.WaitGroup
	for i := range r.routes {
		if !r.routes[i].concerns(ev) {
			continue
		}
		asked[i] = true
		wg.Go(func() { errs[i] = r.routes[i].Decider.Decide(ctx, ev, &answers[i]) })
	}
	wg.Wait()

	var reasons []string
	var failed []error
	kind := flow.Refused
	fail := func(i int, err error) {
		failed = append(failed, fmt.Errorf("route %q: %w", r.routes[i].Name, err))
		switch k := flow.KindOf(err); {
		case k == flow.Unavailable, len(failed) == 1, k == flow.Overload && kind != flow.Unavailable:
			kind = k // the one that is most worth another try
		}
	}
	answered := func(i int) bool { return asked[i] && errs[i] == nil }
	some := false
	for i := range r.routes {
		if !asked[i] {
			continue
		}
		if errs[i] != nil {
			fail(i, errs[i])
			continue
		}
		some = true
		a := &answers[i]
		if a.Failure != nil {
			fail(i, a.Failure)
		}
		d.Rules = append(d.Rules, a.Rules...)
		d.Parts = append(d.Parts, r.part(i, len(d.Rules)))
		if len(d.Handshake) == 0 {
			d.Handshake = append(d.Handshake, a.Handshake...)
		}
		if a.Reason != "" {
			reasons = append(reasons, a.Reason)
		}
	}
	if len(failed) > 0 {
		err := &flow.Error{Kind: kind, Err: errors.Join(failed...)}
		if !some {
			return err
		}
		d.Failure = err
	}
	d.Reason = strings.Join(reasons, "; ")
	d.Policy = r.whole(func(j int) (flow.PolicyVersion, bool) { return answers[j].Policy, answered(j) })
	return nil
}

// whole notes the versions of the routes that answered, which is what given
// tells of a route, and returns the version of all routes with them: the
// serials' sum, which grows with each, and a hash of all. It is the zero version
// until every route has been heard, since a sum of some would seem older than it
// is. A function that gives no version counts as serial 0.
func (r *Routes) whole(given func(route int) (flow.PolicyVersion, bool)) flow.PolicyVersion {
	const prime = 0x01000193 // FNV-1
	sum := flow.PolicyVersion{Hash: 0x811c9dc5}
	complete, versioned := true, false
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.routes {
		part := &r.parts[i]
		v, ok := given(i)
		if ok {
			r.heard[i] = true
			if v.Serial > part.Serial || part.IsZero() {
				*part = v
			}
		}
		if !ok || v.IsZero() {
			v = *part // one that answered without the header says nothing new
		}
		complete = complete && r.heard[i]
		versioned = versioned || !v.IsZero()
		sum.Serial += v.Serial
		for _, x := range [...]uint32{uint32(v.Serial), uint32(v.Serial >> 32), v.Hash} {
			sum.Hash = (sum.Hash ^ x) * prime
		}
	}
	if !complete || !versioned {
		return flow.PolicyVersion{}
	}
	return sum
}

// Local reports whether every controller is [flow.Local].
func (r *Routes) Local() bool { return r.local }

// fits reports whether a packet takes the route.
func (r *Route) fits(ev *flow.Event) bool {
	m := &ev.PacketIn.Match
	return r.switchFits(ev.Switch) &&
		(len(r.Ports) == 0 || m.Has(flow.FieldInPort) && slices.Contains(r.Ports, m.InPort)) &&
		(len(r.EthTypes) == 0 || m.Has(flow.FieldEthType) && slices.Contains(r.EthTypes, m.EthType)) &&
		(len(r.IPProtos) == 0 || m.Has(flow.FieldIPProto) && slices.Contains(r.IPProtos, m.IPProto)) &&
		r.Match.Covers(m)
}

// Within returns why a rule, which is complete and canonical, is about packets
// that do not take the route; nil if all that it matches do. The switch is the
// one that asked.
func (r *Route) Within(rule *flow.Rule) error {
	m := &rule.Match
	switch {
	case len(r.Ports) > 0 && !(m.Has(flow.FieldInPort) && slices.Contains(r.Ports, m.InPort)):
		return fmt.Errorf("route %q is asked about in_port %s only", r.Name, join(r.Ports, "%v"))
	case len(r.EthTypes) > 0 && !(m.Has(flow.FieldEthType) && slices.Contains(r.EthTypes, m.EthType)):
		return fmt.Errorf("route %q is asked about eth_type %s only", r.Name, join(r.EthTypes, "%#04x"))
	case len(r.IPProtos) > 0 && !(m.Has(flow.FieldIPProto) && slices.Contains(r.IPProtos, m.IPProto)):
		return fmt.Errorf("route %q is asked about ip_proto %s only", r.Name, join(r.IPProtos, "%d"))
	case !m.Inside(&r.Match):
		return fmt.Errorf("route %q is asked about %v only", r.Name, r.Match)
	}
	return nil
}

// join writes a list for people, and no more of it than one reads.
func join[T any](list []T, format string) string {
	var b strings.Builder
	for i, v := range list {
		switch {
		case i == 8:
			fmt.Fprintf(&b, " or %d more", len(list)-i)
			return b.String()
		case i > 0:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, format, v)
	}
	return b.String()
}

// concerns reports whether an event other than a packet is of interest to the
// route. It errs towards telling.
func (r *Route) concerns(ev *flow.Event) bool {
	if ev.Switch != nil && !r.switchFits(ev.Switch) {
		return false
	}
	switch {
	case ev.PortStatus != nil:
		return len(r.Ports) == 0 || slices.Contains(r.Ports, ev.PortStatus.Port.No)
	case ev.FlowRemoved != nil:
		m := &ev.FlowRemoved.Match
		return (len(r.Ports) == 0 || !m.Has(flow.FieldInPort) || slices.Contains(r.Ports, m.InPort)) &&
			(len(r.EthTypes) == 0 || !m.Has(flow.FieldEthType) || slices.Contains(r.EthTypes, m.EthType)) &&
			(len(r.IPProtos) == 0 || !m.Has(flow.FieldIPProto) || slices.Contains(r.IPProtos, m.IPProto)) &&
			r.Match.Overlaps(m)
	}
	return true
}

func (r *Route) switchFits(sw *flow.Switch) bool {
	if len(r.Switches) == 0 {
		return true
	}
	return sw != nil && slices.ContainsFunc(r.Switches, func(p Pattern) bool { return p.Matches(sw.DPID) })
}
