package paper

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/chart"
	"switchbridge/bench/stats"
	"switchbridge/replay"
)

// starts is a Recorder that keeps when events begin.
type starts struct{ at []time.Time }

func (s *starts) Record(r *replay.Record) error { s.at = append(s.at, r.Time); return nil }
func (s *starts) Flush() error                  { return nil }

// gateways is how many ask in the table of concurrency, as the paper's agents are.
const gateways = 4

// concurrency plays the organisation's set from four gateways, each at a site of its own, to a host that has an instance for each event that is
// under way, and counts what is under way as an event begins: at the gateways, and in the host.
func (e *evaluation) concurrency(ctx context.Context, policy string, hosts map[string]*host, missing map[string]string, set []byte) error {
	s := e.section("Table 7: concurrency",
		fmt.Sprintf("How many events are under way as one begins, itself included: at four gateways (switchbridge run), each with a switch of its own and at a site of its own, and in the host, "+
			"which has an instance for each event that it works on. The generated organisation's set is played at its own pace for %v: concurrency hangs on time, so that nothing is sped up. As it begins, four instances are idle. "+
			"The gateways' events are under way for as long as the way to the host and back takes; the host's as long as the function works.", e.scale.concurrency),
		"under way", "events at the gateways", "share %", "events in the host", "share %")
	lambda := hosts[onLambda]
	if lambda == nil || lambda.front == nil {
		if why := missing[onLambda]; why != "" {
			s.Missing = append(s.Missing, why)
		}
		own := ownInstances
		h, err := e.on(ctx, &own, policy)
		if err != nil {
			s.Missing = append(s.Missing, "all of it: "+reason(err))
			return nil
		}
		defer h.stop()
		lambda = h
	}
	e.step("concurrency: the organisation's set at its own pace for %v, from four gateways", e.scale.concurrency)
	sites := e.sites()
	s.Emulated = fmt.Sprintf("the set is generated, with bursts of one to four conversations. The host is %s; what stands before it and finds an instance for each event is a double. The gateways are as far away as %s, their round trips %s; %s",
		lambda.title, sites[0].Platform, roundTrips(sites), e.emulated())
	if err := lambda.front.warm(ctx, gateways); err != nil {
		s.Missing = append(s.Missing, "all of it: "+reason(err))
		return nil
	}
	var addrs []string
	for i := range gateways {
		addr, stop, err := e.gateway(ctx, lambda.URL, sites[i%len(sites)])
		if err != nil {
			s.Missing = append(s.Missing, "all of it: "+reason(err))
			return nil
		}
		defer stop()
		addrs = append(addrs, addr)
	}
	lambda.front.counts()
	sum, err := replay.Run(ctx, replay.Config{Files: []string{"-"}, Stdin: bytes.NewReader(set), Gateways: addrs, Agents: gateways, To: e.scale.concurrency})
	if err != nil {
		s.Missing = append(s.Missing, "all of it: "+reason(err))
		return nil
	}
	seen := lambda.front.counts()
	at := slices.Clone(sum.InFlight[:])
	for len(at) < len(seen.began) {
		at = append(at, 0)
	}
	var inHost int64
	for _, n := range seen.began {
		inHost += int64(n)
	}
	var names []string
	var values []float64
	most, mostInHost := 0, 0
	for i, n := range at {
		h := 0
		if i < len(seen.began) {
			h = seen.began[i]
		}
		if n == 0 && h == 0 {
			continue
		}
		name := fmt.Sprint(i + 1)
		s.row(name, fmt.Sprint(n), num(share(n, sum.Events)), fmt.Sprint(h), num(share(int64(h), inHost)))
		names, values = append(names, name), append(values, float64(n))
		if n > 0 {
			most = i + 1
		}
		if h > 0 {
			mostInHost = i + 1
		}
	}
	s.Text += fmt.Sprintf(" Of %d events %d were answered; the host was asked %d times, a switch that connects being an event too, and has %d instances", sum.Events, sum.Answered, inHost, len(lambda.front.all))
	if len(seen.cold) > 0 {
		var cold stats.Histogram
		for _, d := range seen.cold {
			cold.Record(d)
		}
		s.Text += fmt.Sprintf(", of which %d were started meanwhile, each in %s ms (median)", len(seen.cold), ms(cold.Quantile(0.5)))
	}
	s.Text += "."
	e.report.note("concurrency/at the gateways, alone", "% of events", 0, share(sum.InFlight[0], sum.Events))
	e.report.note("concurrency/at the gateways, most", "events", publishedConcurrency, float64(most))
	e.report.note("concurrency/in the host, most", "events", 0, float64(mostInHost))
	s.Plot = "concurrency"
	return chart.Bars(e.cfg.Dir, s.Plot, "Table 7: events under way at the gateways as one begins", "events under way", "events", names, values)
}

func share(n, of int64) float64 { return 100 * float64(n) / float64(max(1, of)) }

// sites are the four of the first platform that has several, else the first place there is.
func (e *evaluation) sites() []Location {
	for i, l := range e.cfg.Locations {
		end := i + 1
		for end < len(e.cfg.Locations) && e.cfg.Locations[end].Platform == l.Platform {
			end++
		}
		if end > i+1 {
			return e.cfg.Locations[i:min(end, i+gateways)]
		}
	}
	if len(e.cfg.Locations) > 0 {
		return e.cfg.Locations[:1]
	}
	return []Location{{Platform: "this machine"}}
}

func roundTrips(sites []Location) string {
	var list []string
	for _, l := range sites {
		list = append(list, ms(2*l.Delay)+" ms")
	}
	return strings.Join(list, ", ")
}

// gateway starts one that asks a function over a distance, and returns where its switches connect.
func (e *evaluation) gateway(ctx context.Context, function string, l Location) (addr string, stop func(), err error) {
	u, err := url.Parse(function)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	wait := func() {}
	if l.Delay > 0 {
		if u.Host, wait, err = (bench.Distance{Target: u.Host, Delay: l.Delay, Jitter: l.Jitter}).Far(ctx, e.kernel); err != nil {
			cancel()
			return "", nil, err
		}
	}
	g, err := bench.Gateway(ctx, fmt.Sprintf("function: {urls: [%q], policy_check: 0s, retry: false}\nlog: {decisions: \"off\"}\n", u.String()), nil)
	if err != nil {
		cancel()
		wait()
		return "", nil, err
	}
	return g.Addr, func() { g.Close(); cancel(); wait() }, nil
}
