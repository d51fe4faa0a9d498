package paper

import (
	"context"
	"fmt"
	"strings"
	"time"

	"switchbridge/bench"
	"switchbridge/replay"
)

// awayEntries is how many entries the paper's policies have.
const awayEntries = 500

// policyText is a policy file with n entries that none of the set's events match.
func policyText(kind string, n int) string {
	var b strings.Builder
	b.WriteString("serial: 1\nchain:\n")
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
	}
	b.WriteString("  - forward: {mode: normal}\n")
	return b.String()
}

// policiesAway asks functions of different policies over the paper's distance.
func (e *evaluation) policiesAway(ctx context.Context, f *Function, set []byte) {
	way := Location{Delay: 7 * time.Millisecond, Jitter: time.Millisecond / 2}
	s := e.section("Policies over a distance (tables 8 to 11)",
		fmt.Sprintf("%d events, one after the other, over a round trip of %s ms, by policies of %d entries. In the paper a policy's time includes the way to its platform.", e.scale.events, ms(2*way.Delay), awayEntries),
		"policy", "paper, ms", "here, p50 ms", "p10", "p90", "p99", "stdev", "over the round trip, ms")
	s.Emulated = e.emulated()
	for _, p := range []struct {
		kind  string
		paper float64
	}{{"allow all", 0}, {bench.KindBlocklist, publishedBlocklist}, {bench.KindHeader, publishedHeader}} {
		e.step("policy over a distance: %s", p.kind)
		asked, stop := f, func() {}
		if p.paper != 0 { // f allows all, or is a deployed one that decides as it does
			if e.cfg.Local == nil || e.cfg.Function != nil {
				s.row(p.kind, num(p.paper), "not measured: it takes a function deployed with this policy")
				continue
			}
			var err error
			if asked, stop, err = e.cfg.Local(ctx, policyText(p.kind, awayEntries)); err != nil {
				s.row(p.kind, num(p.paper), reason(err))
				continue
			}
		} else if e.cfg.Function != nil {
			p.kind = "as deployed"
		}
		h, err := e.from(ctx, asked, way, set, replay.HandshakeCombined)
		stop()
		if err != nil {
			s.row(p.kind, paperMS(p.paper), reason(err))
			continue
		}
		l := h.Latency()
		s.row(p.kind, paperMS(p.paper), ms(l.P50), ms(l.P10), ms(l.P90), ms(l.P99), ms(l.Stdev), ms(l.P50-2*way.Delay))
	}
	s.row("state machine", num(publishedStateMachine), "not part of this program")
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
