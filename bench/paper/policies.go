package paper

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/chart"
)

// awayEntries is how many entries the paper's policies have.
const awayEntries = 500

// policyText returns a policy file with n entries. The set's events match none of them, or only the last machine. The policy installs no rules.
func policyText(kind string, n int) string {
	return "serial: 1\ninstall: none\nchain:\n" + entries(kind, n, "") + "  - forward: {mode: normal}\n"
}

// entries is one link of a chain. Of machines the last one concerns what which says, or everything: each first packet of a direction moves it.
func entries(kind string, n int, which string) string {
	var b strings.Builder
	addr := func(i int) string { return fmt.Sprintf("192.0.%d.%d", 2+i/250, 1+i%250) }
	switch kind {
	case bench.KindBlocklist:
		b.WriteString("  - blocklist:\n      match: both\n      addresses:\n")
		for i := range n {
			fmt.Fprintf(&b, "        - %s\n", addr(i))
		}
	case bench.KindHeader:
		b.WriteString("  - header:\n      rules:\n")
		for i := range n {
			fmt.Fprintf(&b, "        - {name: rule-%d, match: {ip_dst: %s, tcp_dst: 443}, action: deny}\n", i, addr(i))
		}
	case kindMachine:
		b.WriteString("  - machine:\n      machines:\n")
		for i := range n {
			name, concerns := "device", fmt.Sprintf("for: {ip_src: %s}, ", addr(i))
			if i == n-1 {
				concerns = which
			}
			if which != "" { // a machine of another kind has states of its own
				name = "some"
			}
			fmt.Fprintf(&b, "        - {name: %s-%d, %skey: connection, forget: 1h, start: new, states: {new: next, asked: next, answered: next},\n"+
				"           transitions: [{from: asked, to: answered}, {from: [new, answered], to: asked}]}\n", name, i, concerns)
		}
	}
	return b.String()
}

// states measures policies that remember beside policies that don't.
func (e *evaluation) states(ctx context.Context) error {
	if e.cfg.Local == nil {
		return nil
	}
	r, err := State(ctx, StateConfig{smoke: e.cfg.Quick, Local: e.cfg.Local, Stores: e.cfg.Stores, OnStep: e.cfg.OnStep})
	s := e.section("Figure 2: policies with state and without",
		fmt.Sprintf("Policies of %d entries over events of the organisation's kind, open loop, with nothing installed; each event is a flow's first packet, for which a machine's state is read and swapped. Times count from when an event was due. "+
			"Far is over a round trip of %v; in the paper a policy's time includes the way to its platform, and its state machine's state is in Fastly's KV store. The rows of round trips are a header policy's and two round trips of a bare client to the store.", awayEntries, 2*farAway.Delay),
		"way", "policy", "store", "paper, ms", "here, p50 ms", "p10", "p90", "p99", "stdev")
	s.Emulated = e.emulated()
	if err != nil {
		s.row(reason(err))
		return nil
	}
	var curves []chart.Curve
	for _, row := range r.Rows {
		l := row.Latency
		s.row(row.Way, row.Policy, cmp.Or(row.Store, none), paperMS(row.Paper), ms(l.P50), ms(l.P10), ms(l.P90), ms(l.P99), ms(l.Stdev))
		if row.Way == wayFar && row.Policy != kindRoundTrips {
			c := chart.Curve{Name: strings.TrimSpace(row.Policy + " " + row.Store), H: &row.histogram}
			switch paper := row.Policy + ", in the paper's store"; {
			case row.Store == "":
				c.Paper = row.Paper
			case !slices.ContainsFunc(curves, func(c chart.Curve) bool { return c.Name == paper }):
				curves = append(curves, chart.Curve{Name: paper, Paper: row.Paper})
			}
			curves = append(curves, c)
			e.report.note("policy/"+c.Name, "ms", row.Paper, millis(l.P50))
		}
	}
	figures := e.section("Figure 2: goals", "What this software wants the rows above to come to; bench state prints all of its figures.", "figure", "value", "goal", "reached")
	for _, f := range r.Figures {
		if f.Goal != "" {
			figures.row(f.Name, num(f.Value), f.Goal+" "+num(f.Bound), map[bool]string{true: "yes", false: "no"}[f.Met])
		}
	}
	for _, f := range r.Failures {
		figures.row("failure: " + f)
	}
	if len(curves) == 0 {
		return nil
	}
	s.Plot = "state"
	return chart.CDF(e.cfg.Dir, s.Plot, fmt.Sprintf("Figure 2: time of an event by policy, here over a round trip of %v", 2*farAway.Delay), "ms", time.Millisecond, curves)
}

// policies measures decisions by the size of the policy.
func (e *evaluation) policies(ctx context.Context) error {
	e.step("policies of %d to %d entries", e.scale.policies[0], e.scale.policies[len(e.scale.policies)-1])
	s := e.section("Policies by size",
		"One decision in process, without a network, by policies of several sizes. 64 decisions are timed together; the percentiles are over these.",
		"policy", "entries", "allowed p50 ns", "p99", "denied p50 ns", "p99", "compiled in ms", "MB")
	rows, err := bench.Policies(ctx, e.scale.policies, e.scale.decisions)
	for _, r := range rows {
		s.row(r.Kind, fmt.Sprint(r.Entries), fmt.Sprint(r.Allowed.P50.Nanoseconds()), fmt.Sprint(r.Allowed.P99.Nanoseconds()),
			fmt.Sprint(r.Denied.P50.Nanoseconds()), fmt.Sprint(r.Denied.P99.Nanoseconds()), ms(r.Compile), num(float64(r.Heap)/1e6))
	}
	if err != nil && ctx.Err() == nil {
		s.row(reason(err))
	}
	return nil
}
