package paper

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/chart"
	"switchbridge/bench/stats"
	"switchbridge/replay"
)

// emulated says how distance is made, which is found out once. Why not by the kernel is said at the first place.
func (e *evaluation) emulated() string {
	first := e.distanceBy == ""
	var missing error
	if first {
		e.distanceBy = "distance, by a relay on this machine that holds what goes there and what comes back by half the round trip each, with jitter; no loss, no limit of bandwidth, no slow start in either direction."
		if missing = bench.NetemMissing(); missing == nil {
			e.kernel = true
			e.distanceBy = "distance, by netem in a network namespace of this machine, which holds what goes there and what comes back by half the round trip each, with jitter; no loss and no limit of bandwidth in either direction."
		}
	}
	text := e.distanceBy + " The ways' lengths are assumed, unless a file gave them."
	if missing != nil {
		text += " The kernel's netem is not to be had here: " + strings.TrimRight(oneLine(missing), ".") + "."
	}
	return text
}

// distance asks from each location. The sites of one platform ask at the same
// time, as the paper's agents did.
func (e *evaluation) distance(ctx context.Context, hosts map[string]*host, missing map[string]string, set []byte) error {
	s := e.section("Tables 8 and 11: location and platform",
		fmt.Sprintf("Each site asks about the first %d events of a generated set of the organisation's kind, one after the other, all sites of a platform at once, of a function that runs where the column says. The paper's figures are its medians for each platform.", e.scale.events),
		"platform", "runs on", "site", "round trip ms", "paper, ms", "here, p50 ms", "p10", "p90", "p99", "stdev", "over the round trip, ms")
	s.Emulated = e.emulated()
	var curves []chart.Curve
	for at := 0; at < len(e.cfg.Locations); {
		sites := e.cfg.Locations[at:]
		for i, l := range sites {
			if l.Platform != sites[0].Platform {
				sites = sites[:i]
				break
			}
		}
		at += len(sites)
		h := hosts[sites[0].On]
		if h == nil {
			if h = hosts[onOwn]; !slices.Contains(s.Missing, missing[sites[0].On]) {
				s.Missing = append(s.Missing, missing[sites[0].On])
			}
		}
		e.step("%s from %d of: %s", h.title, len(sites), sites[0].Platform)
		got := make([]*stats.Histogram, len(sites))
		errs := make([]error, len(sites))
		var all sync.WaitGroup
		for i, l := range sites {
			all.Go(func() { got[i], errs[i] = e.from(ctx, h.Function, l, set, replay.HandshakeCombined) })
		}
		all.Wait()
		var sum stats.Histogram
		cells := func(h *stats.Histogram) []string {
			l := h.Latency()
			return []string{ms(l.P50), ms(l.P10), ms(l.P90), ms(l.P99), ms(l.Stdev)}
		}
		for i, l := range sites {
			row := []string{l.Platform, h.title, cmp.Or(l.Site, none), ms(2 * l.Delay), none}
			if len(sites) == 1 {
				row[4] = paperMS(l.Paper)
			}
			if errs[i] != nil {
				s.Missing = append(s.Missing, l.Platform+" from "+cmp.Or(l.Site, "here")+" failed")
				s.row(append(row, reason(errs[i]))...)
				continue
			}
			sum.Merge(got[i])
			s.row(append(append(row, cells(got[i])...), ms(got[i].Quantile(0.5)-2*l.Delay))...)
		}
		if sum.Count() == 0 {
			continue
		}
		if len(sites) > 1 {
			s.row(append([]string{sites[0].Platform, h.title, "all", none, paperMS(sites[0].Paper)}, cells(&sum)...)...)
		}
		curves = append(curves, chart.Curve{Name: sites[0].Platform, H: &sum, Paper: sites[0].Paper})
		e.report.note("distance/"+sites[0].Platform, "ms", sites[0].Paper, millis(sum.Quantile(0.5)))
	}
	if len(curves) == 0 {
		return nil
	}
	s.Plot = "distance"
	return chart.CDF(e.cfg.Dir, s.Plot, "Tables 8 and 11: time of an event, by platform (all sites)", "ms", time.Millisecond, curves)
}

func paperMS(v float64) string {
	if v == 0 {
		return none
	}
	return num(v)
}

// handshakeWays are the distances of the table of handshakes: the paper's
// combined handshake took 14.1 ms.
var handshakeWays = []Location{
	{Platform: "this machine"},
	{Platform: "a round trip of 14 ms", Delay: 7 * time.Millisecond, Jitter: time.Millisecond / 2, Paper: publishedCombined},
}

func (e *evaluation) handshakes(ctx context.Context, f *Function, set []byte) {
	s := e.section("Table 12: handshakes",
		fmt.Sprintf("%d events, one after the other. Combined: one request an event. Two: HELLO is a request, FEATURES_REPLY and PACKET_IN are another, which are the two round trips of the paper's full handshake. Full: HELLO, FEATURES_REPLY and PACKET_IN are a request each, as our gateway asks with handshake: full.",
			e.scale.events),
		"from", "handshake", "paper, ms", "here, p50 ms", "p10", "p90", "p99", "stdev", "ratio to combined, paper", "here")
	s.Emulated = e.emulated()
	for _, l := range handshakeWays {
		e.step("handshakes, %s", l.Platform)
		var combined time.Duration
		for _, h := range []struct {
			name  string
			paper float64
		}{{replay.HandshakeCombined, publishedCombined}, {replay.HandshakeTwo, publishedFull}, {replay.HandshakeFull, 0}} {
			paper, paperRatio := none, none
			if l.Delay > 0 && h.paper > 0 {
				paper, paperRatio = num(h.paper), num(h.paper/publishedCombined)
			}
			got, err := e.from(ctx, f, l, set, h.name)
			if err != nil {
				s.row(l.Platform, h.name, paper, reason(err))
				s.Missing = append(s.Missing, l.Platform+", "+h.name+", failed")
				continue
			}
			t := got.Latency()
			if h.name == replay.HandshakeCombined {
				combined = t.P50
			}
			if l.Delay > 0 {
				e.report.note("handshake/"+h.name, "ms", h.paper, millis(t.P50))
			}
			ratio := none
			if combined > 0 {
				ratio = num(float64(t.P50) / float64(combined))
			}
			s.row(l.Platform, h.name, paper, ms(t.P50), ms(t.P10), ms(t.P90), ms(t.P99), ms(t.Stdev), paperRatio, ratio)
		}
	}
}

// histogram is a Recorder that keeps latencies.
type histogram struct{ h stats.Histogram }

func (h *histogram) Record(r *replay.Record) error {
	if r.Error == "" {
		h.h.Record(r.Latency)
	}
	return nil
}
func (h *histogram) Flush() error { return nil }

// from replays the first events of the set at a distance.
func (e *evaluation) from(ctx context.Context, f *Function, l Location, set []byte, handshake string) (*stats.Histogram, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	via := ""
	if l.Delay > 0 {
		u, err := url.Parse(f.URL)
		if err != nil {
			return nil, err
		}
		target := u.Host
		if u.Port() == "" {
			port, known := map[string]string{"https": "443", "http": "80"}[u.Scheme]
			if !known {
				return nil, fmt.Errorf("%s has no port to go to", f.URL)
			}
			target = net.JoinHostPort(u.Hostname(), port)
		}
		addr, wait, err := bench.Distance{Target: target, Delay: l.Delay, Jitter: l.Jitter}.Far(ctx, e.kernel)
		if err != nil {
			return nil, err
		}
		defer wait()
		defer cancel()
		via = addr
	}
	d, closer, err := f.Open(via, handshake == replay.HandshakeFull)
	if err != nil {
		return nil, err
	}
	defer closer()
	var h histogram
	cfg := replay.Config{Files: []string{"-"}, Decider: d, Handshake: handshake, Pace: replay.PaceMax}
	for _, limit := range []int64{3, e.scale.events} { // the first open connections
		h = histogram{}
		cfg.Stdin, cfg.Limit, cfg.Records = bytes.NewReader(set), limit, &h
		if _, err := replay.Run(ctx, cfg); err != nil {
			return nil, err
		}
	}
	return &h.h, nil
}
