package scale

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/figures"
	"switchbridge/bench/fleet"
	"switchbridge/bench/stats"
	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// Ports of packets that mean something to [ringPolicy].
const (
	knock = 7777 // moves the sender's machine
	look  = 7778 // does not
	shut  = 9    // moves it to where everything is denied
)

// ring is how many states a machine has: each knock moves it to the next.
const ring = 8

// ringPolicy has a machine for each source of UDP. State i sends what comes to port i+1, or does what action says, so that an answer tells the state.
func ringPolicy(action string) string {
	var states, transitions []string
	for i := range ring {
		does := action
		if does == "" {
			does = fmt.Sprintf("{output: %d}", i+1)
		}
		states = append(states, fmt.Sprintf("s%d: %s", i, does))
		transitions = append(transitions, fmt.Sprintf("{from: s%d, to: s%d, match: {udp_dst: %d}}", i, (i+1)%ring, knock))
	}
	return "serial: 1\nchain:\n  - blocklist: {addresses: [203.0.113.9]}\n  - machine:\n      machines:\n" +
		"        - {name: ring, for: {ip_proto: udp}, key: src, forget: 1h, start: s0,\n           states: {" + strings.Join(states, ", ") + ", shut: deny},\n" +
		"           transitions: [" + strings.Join(transitions, ", ") + fmt.Sprintf(", {from: any, to: shut, match: {udp_dst: %d}}", shut) + "]}\n" +
		"  - forward: {mode: normal}\n"
}

// SoakConfig says how long and how much.
type SoakConfig struct {
	Keys     int                      // of states, as many as the store takes; default 100,000
	Rate     float64                  // events a second; default 1,000
	Duration time.Duration            // default 10 minutes
	Fill     float64                  // states made a second beforehand; default 5,000
	State    string                   // the store's URL; default memory:
	OnPart   func(p SoakPart, of int) // where set, is called after each of so many
}

// SoakPart is a twentieth of the time.
type SoakPart struct {
	At       time.Duration
	RSS      int64 // the greatest
	Latency  stats.Latency
	Answered uint64
}

// SoakResult is what Soak saw.
type SoakResult struct {
	Machine bench.Machine `json:"machine"`
	Keys    int           `json:"keys"`
	Parts   []SoakPart    `json:"parts"`
	figures.List
}

// soakGoal bounds what the gateway's memory grows by between the middle fifth of the time and the last. Before that, values grow: each keeps the
// last events that moved it.
const soakGoal = 1.1

// Soak has switches ask for long about packets that move machines, look at them, have no state, are denied, and come from more sources than there is room
// for. Each answer names the state that the sender's earlier packets have led to, which is known: see [soak.judge].
func Soak(ctx context.Context, cfg SoakConfig) (*SoakResult, error) {
	if cfg.Keys == 0 {
		cfg.Keys = 100_000
	}
	if cfg.Rate == 0 {
		cfg.Rate = 1000
	}
	if cfg.Duration == 0 {
		cfg.Duration = 10 * time.Minute
	}
	if cfg.Fill == 0 {
		cfg.Fill = 5000
	}
	if cfg.State == "" {
		cfg.State = "memory:"
	}
	s := newSoak(cfg.Keys)
	res := &SoakResult{Machine: bench.ThisMachine(), Keys: cfg.Keys}
	if err := s.run(ctx, cfg, res); err != nil {
		return nil, fmt.Errorf("bench soak: %w", err)
	}
	return res, nil
}

// soak knows the state of each source's machine: how many knocks it has made.
type soak struct {
	keys    int
	sources []knocks
	full    bool // all sources have a state
	sent    int

	asked     map[uint64]question // by tag: what waits for an answer
	overtaken int                 // answers that name a state which the order of sending does not lead to
}

// knocks are a source's.
type knocks struct{ sent, answered uint32 }

// question is a packet of a source.
type question struct {
	source int
	knock  bool
	least  uint32 // the source's knocks that were answered when it was sent
	order  uint32 // those that were sent by then, with itself
}

func newSoak(keys int) *soak {
	return &soak{keys: keys, sources: make([]knocks, keys), asked: make(map[uint64]question)}
}

// soakSwitches ask.
const soakSwitches = 50

// packet is the next one: half of them move a machine.
func (s *soak) packet(sw int, n uint32) fleet.Packet {
	turn := s.sent
	s.sent++
	if !s.full {
		return s.ask(turn%s.keys, knock)
	}
	// A source's packets are some time apart, so that the one before is answered, as a rule.
	i := (turn + turn/s.keys) % s.keys
	switch turn % 10 {
	case 6: // whose rule a look has had installed a second ago
		i = (turn + turn/s.keys + s.keys - 1003%s.keys) % s.keys
	case 0, 1:
		return flows(sw, 8*n+1)
	case 2:
		return flows(sw, 8*n)
	case 3, 4:
		return s.ask(i, look)
	case 5:
		if turn%100 == 5 { // a source for whose state there is no room
			p := datagram(s.keys+turn%1000, knock)
			p.Deny = true
			return p
		}
	}
	return s.ask(i, knock)
}

// ask is a source's packet, and notes what is known of its answer.
func (s *soak) ask(i int, port uint16) fleet.Packet {
	of := &s.sources[i]
	q := question{source: i, knock: port == knock, least: of.answered}
	if q.knock {
		of.sent++
	}
	q.order = of.sent
	p := datagram(i, port)
	p.Tag = uint64(s.sent)
	s.asked[p.Tag] = q
	return p
}

// datagram is a source's packet. It comes by a port that no state sends to.
func datagram(i int, port uint16) fleet.Packet {
	return fleet.Packet{Frame: frames.UDP(source(i).At(4000), inside.At(port), nil), InPort: 60}
}

// judge compares an answer with what the state says: after n knocks it has output n%ring+1. A source's packets come by different switches, and where a
// gateway is so far behind that one is sent before the one before it is answered, nobody promises their order. So an answer must have seen all knocks that were answered
// before its packet was sent, and may have seen those that were sent before it came itself.
func (s *soak) judge(p *fleet.Packet, a fleet.Answer) string {
	q, ok := s.asked[p.Tag]
	if !ok {
		return fleet.Right(p, a)
	}
	delete(s.asked, p.Tag)
	of := &s.sources[q.source]
	least, most := q.least, of.sent
	if q.knock {
		least++ // its own
		of.answered++
	}
	if len(a.Actions) == 1 && a.Actions[0].Port >= 1 && a.Actions[0].Port <= ring {
		state := uint32(a.Actions[0].Port) - 1
		if n := least + (state+ring-least%ring)%ring; n <= most {
			if state != q.order%ring {
				s.overtaken++
			}
			return ""
		}
	}
	return fmt.Sprintf("%s after %v for %v, whose state has output:%d: %d to %d knocks, of which %d were sent before it", flow.ActionsString(a.Actions), a.Took, p.Match,
		q.order%ring+1, least, most, q.order)
}

func (s *soak) run(ctx context.Context, cfg SoakConfig, res *SoakResult) error {
	config := fmt.Sprintf("policy: policy.yaml\nstate: {url: %q, entries: %d}\nlog: {decisions: \"off\"}\n", cfg.State, cfg.Keys)
	g, err := bench.Gateway(ctx, config, map[string]string{"policy.yaml": ringPolicy("")})
	if err != nil {
		return err
	}
	defer g.Close()
	memory := bench.WatchMemory(g.PID())
	defer memory.Stop()
	load, err := fleet.Dial(fleet.Config{Addrs: []string{g.Addr}, Switches: soakSwitches, First: 1, Ports: 64, Rate: cfg.Fill, Packet: s.packet, Judge: s.judge})
	if err != nil {
		return err
	}
	defer load.Close()
	core, err := fleet.Core()
	if err != nil {
		return err
	}
	var all fleet.Tally
	take := func(what string, t fleet.Tally) {
		all.Sent += t.Sent
		all.Answered += t.Answered
		if t.Wrong > 0 {
			res.Failf("soak", "%d answers %s are wrong: %s", t.Wrong, what, t.Example)
		}
		if t.Lost > 0 {
			res.Failf("soak", "%d packets %s were lost", t.Lost, what)
		}
	}
	var t fleet.Tally
	for s.sent < s.keys {
		fleet.Urgent(core, func() {
			t = load.Run(min(time.Second, time.Duration(float64(s.keys-s.sent)/cfg.Fill*float64(time.Second))), nil, true)
		})
		take("while states were made", t)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	s.full, s.sent = true, 0
	load.Pace(cfg.Rate)
	res.Note("soak.rss_filled_mb", float64(memory.Reset())/1e6)
	const parts = 20
	before, err := bench.GroupCPU(g.PID())
	if err != nil {
		return err
	}
	var total stats.Histogram
	for i := range parts {
		var h stats.Histogram
		fleet.Urgent(core, func() { t = load.Run(cfg.Duration/parts, &h, i == parts-1) })
		take("later", t)
		total.Merge(&h)
		part := SoakPart{At: time.Duration(i+1) * cfg.Duration / parts, RSS: memory.Reset(), Latency: h.Latency(), Answered: t.Answered}
		res.Parts = append(res.Parts, part)
		if cfg.OnPart != nil {
			cfg.OnPart(part, parts)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	after, err := bench.GroupCPU(g.PID())
	if err != nil {
		return err
	}
	if n, example := load.Ended(); n > 0 {
		res.Failf("soak", "%d connections ended: %s", n, example)
	}
	most := func(list []SoakPart) (n int64) {
		for _, p := range list {
			n = max(n, p.RSS)
		}
		return n
	}
	l := total.Latency()
	res.Note("soak.events", float64(all.Sent))
	res.Note("soak.states", float64(s.keys))
	res.Note("soak.overtaken", float64(s.overtaken))
	res.Note("soak.p50_us", micro(l.P50))
	res.Note("soak.p99_us", micro(l.P99))
	res.Note("soak.cpu_us", micro(after-before)/float64(max(total.Count(), 1)))
	res.Note("soak.rss_mb", float64(most(res.Parts))/1e6)
	res.AtMost("soak.rss_last_to_middle_fifth", float64(most(res.Parts[parts-parts/5:]))/float64(most(res.Parts[2*parts/5:3*parts/5])), soakGoal)
	return nil
}

// WriteText writes the figures.
func (r *SoakResult) WriteText(w io.Writer) error {
	fmt.Fprintln(w, r.Machine)
	return r.List.WriteText(w)
}
