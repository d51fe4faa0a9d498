package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"switchbridge/bench/figures"
	"switchbridge/flow"
)

// ShadowConfig says what [Shadow] measures. Zero values take the defaults named.
type ShadowConfig struct {
	Functions []string      // native and embedded
	Rate      float64       // PACKET_INs a second: 1,000
	Duration  time.Duration // of each part: 5 s
	Rounds    int           // parts with a shadow, each beside one without: 10

	OnPart func(ShadowPart) // where set, is called after each
}

// Quick makes it short: under two minutes.
func (c *ShadowConfig) Quick() { c.Duration, c.Rounds = 4*time.Second, 5 }

// ShadowPart is what a gateway did for a while.
type ShadowPart struct {
	Function string        `json:"function"`
	Shadow   bool          `json:"shadow"`
	Sent     uint64        `json:"sent"`
	Wall     time.Duration `json:"wall"`
	CPU      time.Duration `json:"cpu"`
}

// ShadowResult is what a shadow costs.
type ShadowResult struct {
	figures.List
	Parts []ShadowPart `json:"parts"`
}

const shadowPolicy = `serial: 1
chain:
  - blocklist: {addresses: [203.0.113.0/24]}
  - header: {rules: [{name: no-telnet, match: {tcp_dst: 23}, action: deny}]}
  - forward: {mode: normal}
`

// shadowEvents are the counts of GET /api/v1/shadow.
type shadowEvents struct {
	Agree, Disagree, Undecided, Failed, Shed uint64
}

// Shadow measures what a shadow policy costs a gateway. Two gateways, one with a shadow and one without, decide about the same load in turns.
func Shadow(ctx context.Context, cfg ShadowConfig) (*ShadowResult, error) {
	if len(cfg.Functions) == 0 {
		cfg.Functions = []string{"native", "embedded"}
	}
	if cfg.Rate == 0 {
		cfg.Rate = 1000
	}
	if cfg.Duration == 0 {
		cfg.Duration = 5 * time.Second
	}
	if cfg.Rounds == 0 {
		cfg.Rounds = 10
	}
	res := &ShadowResult{}
	for _, function := range cfg.Functions {
		if err := shadowOf(ctx, &cfg, function, res); err != nil {
			return res, fmt.Errorf("bench shadow: %s: %w", function, err)
		}
	}
	return res, nil
}

// shadowSide is a gateway with its load.
type shadowSide struct {
	gateway *Process
	load    *loadSwitch
	ended   chan error
}

func shadowOf(ctx context.Context, cfg *ShadowConfig, function string, res *ShadowResult) error {
	config := "function: {urls: [" + function + "]}\npolicy: policy.yaml\nlog: {decisions: \"off\"}\n"
	var sides [2]*shadowSide // without, with
	for i, more := range []string{"", "shadow: {policy: shadow.yaml}\n"} {
		g, err := Gateway(ctx, config+more, map[string]string{"policy.yaml": shadowPolicy, "shadow.yaml": shadowPolicy})
		if err != nil {
			return err
		}
		defer g.Close()
		s := &shadowSide{gateway: g, ended: make(chan error, 1)}
		sides[i] = s
		if s.load, err = dialSwitch(ctx, g.Addr, nil, flow.OpenFlow13, 1, 100_000, streamBytes); err != nil {
			return explain(err)
		}
		defer s.load.conn.Close()
		if err := s.load.announce(1, flow.OpenFlow13); err != nil {
			return explain(err)
		}
		go func() { s.ended <- s.load.listen() }()
		if _, err := s.part(ctx, cfg.Rate, time.Second); err != nil { // to warm up
			return err
		}
	}
	before, err := sides[1].events(ctx)
	if err != nil {
		return err
	}
	var cpu, wall [2]time.Duration
	var sent [2]uint64
	for round := range cfg.Rounds {
		for turn := range 2 {
			i := (round + turn) % 2
			p, err := sides[i].part(ctx, cfg.Rate, cfg.Duration)
			if err != nil {
				return err
			}
			p.Function, p.Shadow = function, i == 1
			res.Parts = append(res.Parts, p)
			cpu[i], wall[i], sent[i] = cpu[i]+p.CPU, wall[i]+p.Wall, sent[i]+p.Sent
			if cfg.OnPart != nil {
				cfg.OnPart(p)
			}
		}
	}
	after, err := sides[1].events(ctx)
	if err != nil {
		return err
	}
	share := func(i int) float64 { return cpu[i].Seconds() / wall[i].Seconds() }
	each := func(i int) float64 { return cpu[i].Seconds() / float64(sent[i]) * 1e6 }
	name := func(what string) string { return "shadow." + function + "." + what }
	asked := float64(after.asked()-before.asked()) / float64(after.all()-before.all())
	res.AtMost(name("added_share_of_a_core"), share(1)-share(0), 0.02)
	res.AtLeast(name("asked_share"), asked, 0.99)
	res.Note(name("without_cpu_us_per_event"), each(0))
	res.Note(name("with_cpu_us_per_event"), each(1))
	if n := after.Disagree - before.Disagree + after.Failed - before.Failed; n > 0 {
		res.Failf(name("asked_share"), "%d events were decided otherwise by the same policy, or not at all", n)
	}
	for i, s := range sides {
		if lost := s.load.sent.Load() - min(s.load.sent.Load(), s.load.flowMods.Load()); lost > s.load.sent.Load()/100 {
			res.Failf(name("answers"), "%d of %d packets got no answer (shadow: %t)", lost, s.load.sent.Load(), i == 1)
		}
	}
	return nil
}

// part has the gateway decide for a while.
func (s *shadowSide) part(ctx context.Context, rate float64, d time.Duration) (p ShadowPart, err error) {
	before, sent := time.Duration(0), s.load.sent.Load()
	if before, err = GroupCPU(s.gateway.PID()); err != nil {
		return p, err
	}
	began := time.Now()
	if err := s.load.paced(ctx, rate, d, s.ended); err != nil {
		return p, explain(err)
	}
	p.Wall, p.Sent = time.Since(began), s.load.sent.Load()-sent
	after, err := GroupCPU(s.gateway.PID())
	p.CPU = after - before
	return p, err
}

func (e *shadowEvents) asked() uint64 { return e.Agree + e.Disagree + e.Undecided + e.Failed }
func (e *shadowEvents) all() uint64   { return e.asked() + e.Shed }

// events returns what the shadow was asked so far.
func (s *shadowSide) events(ctx context.Context) (e shadowEvents, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.gateway.Admin+"/api/v1/shadow", nil)
	if err != nil {
		return e, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return e, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return e, fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	return e, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&e)
}
