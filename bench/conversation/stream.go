package conversation

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"switchbridge/bench/paper"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/policy/policyfile"
	"switchbridge/replay"
	"switchbridge/replay/capture"
)

// Stream is how often a function is asked in an hour of the generated organisation's traffic.
type Stream struct {
	Policy   string  `json:"policy"`
	Install  string  `json:"install"`
	Switches int     `json:"switches"` // that each packet passes
	Reuse    bool    `json:"reuse"`
	Packets  int     `json:"packets"`
	Calls    float64 `json:"calls_per_hour"`
}

// streamPolicies are what answers hang on: ports alone, as most access lists have it, or addresses too. The organisation's flows go to
// so many addresses that nothing helps the second one but fewer switches.
var streamPolicies = []struct{ name, text string }{
	{"ports", `serial: 1
install: %s
chain:
  - header:
      rules:
        - {name: no-telnet, match: {tcp_dst: 23}, action: deny}
        - {name: no-modbus, match: {tcp_dst: 502}, action: deny}
  - forward: {mode: normal}
`},
	{"addresses", `serial: 1
install: %s
chain:
  - blocklist: {match: dst, addresses: [203.0.113.0/24]}
  - header: {rules: [{name: no-telnet, match: {tcp_dst: 23}, action: deny}]}
  - forward: {mode: normal}
`},
}

// virtual is a line of switches in the time of a capture. Each has the rules that it would have; what it has none for it asks about.
type virtual struct {
	now      time.Time
	decider  flow.Decider
	switches []*table
	calls    int
}

// table is a switch's rules, by the fields that they match. All are of one priority and exact in these.
type table struct {
	sw    flow.Switch
	rules map[flow.Field]map[flow.Match]*installed
}

type installed struct {
	idle, hard time.Duration
	made, used time.Time
}

func (t *table) hit(m *flow.Match, now time.Time) bool {
	for fields, rules := range t.rules {
		if m.Fields&fields != fields {
			continue
		}
		key := m.Keep(fields)
		r := rules[key]
		switch {
		case r == nil:
		case r.idle > 0 && now.Sub(r.used) >= r.idle || r.hard > 0 && now.Sub(r.made) >= r.hard:
			delete(rules, key)
		default:
			r.used = now
			return true
		}
	}
	return false
}

func (t *table) add(r *flow.Rule, now time.Time) {
	rules := t.rules[r.Match.Fields]
	if rules == nil {
		rules = make(map[flow.Match]*installed)
		t.rules[r.Match.Fields] = rules
	}
	rules[r.Match] = &installed{idle: r.IdleTimeout, hard: r.HardTimeout, made: now, used: now}
}

// newVirtual makes a line of n switches and the function that they ask.
func newVirtual(policy, install string, n int, reuse bool) (*virtual, error) {
	p, err := policyfile.Parse(strings.NewReader(fmt.Sprintf(policy, install)), "stream", ".")
	if err != nil {
		return nil, err
	}
	v := &virtual{}
	c := controller.New(p)
	function := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		v.calls++
		return c.Decide(ctx, ev, d)
	})
	v.decider = function
	if reuse {
		memo := decider.NewReuse(function, decider.ReuseLimits{}, c.Version)
		memo.Now = func() time.Time { return v.now }
		v.decider = memo
	}
	for i := range n {
		v.switches = append(v.switches, &table{sw: flow.Switch{DPID: flow.DPID(1 + i), Protocol: flow.OpenFlow13}, rules: make(map[flow.Field]map[flow.Match]*installed)})
	}
	return v, nil
}

// pass has a frame pass the line: what an address of the lower half of hosts sends comes by port 1 and all else by port 2.
func (v *virtual) pass(ctx context.Context, frame []byte, size int) error {
	m := flow.ParseFrame(frame, 1)
	first, step := 0, 1
	if m.EthSrc[5]&1 != 0 {
		m.InPort, first, step = 2, len(v.switches)-1, -1
	}
	for i := first; i >= 0 && i < len(v.switches); i += step {
		t := v.switches[i]
		if t.hit(&m, v.now) {
			continue
		}
		pi := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: size, Match: m, Data: frame, Incomplete: m.Missing()}
		ev := flow.Event{Type: flow.EventPacketIn, XID: 1, Switch: &t.sw, PacketIn: &pi, Accepts: flow.AcceptsAll}
		var d flow.Decision
		if err := v.decider.Decide(ctx, &ev, &d); err != nil {
			return err
		}
		for j := range d.Rules {
			t.add(&d.Rules[j], v.now)
		}
		if d.Verdict == flow.Deny {
			return nil
		}
	}
	return nil
}

// stream counts calls over an organisation's traffic, of the hour that it is or of a part of it.
func stream(ctx context.Context, dir string, divisor int) (list []Stream, err error) {
	profile, err := replay.ProfileNamed("organisation")
	if err != nil {
		return nil, err
	}
	profile.Flows /= divisor
	profile.Duration /= time.Duration(divisor)
	path := filepath.Join(dir, "organisation.pcap")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	_, err = replay.Generate(f, nil, replay.GenerateConfig{Profile: profile, Seed: 1})
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	for _, p := range streamPolicies {
		for _, install := range []string{"flow", "host-pair", "widest"} {
			for _, n := range []int{1, 4} {
				for _, reuse := range []bool{false, true} {
					v, err := newVirtual(p.text, install, n, reuse)
					if err != nil {
						return nil, err
					}
					s := Stream{Policy: p.name, Install: install, Switches: n, Reuse: reuse}
					if s.Packets, err = v.run(ctx, path); err != nil {
						return nil, err
					}
					s.Calls = float64(v.calls) * float64(time.Hour) / float64(profile.Duration)
					list = append(list, s)
				}
			}
		}
	}
	return list, nil
}

func (v *virtual) run(ctx context.Context, path string) (packets int, err error) {
	r, err := capture.NewReader(nil, path)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	begin := time.Unix(1_700_000_000, 0)
	for ctx.Err() == nil {
		p, err := r.Next()
		if err == io.EOF {
			return packets, nil
		}
		if err != nil {
			return packets, err
		}
		packets++
		v.now = begin.Add(p.Offset)
		if err := v.pass(ctx, p.Frame, p.WireLen); err != nil {
			return packets, err
		}
	}
	return packets, ctx.Err()
}

// reportStream adds what the stream took to the figures.
func (res *Result) reportStream() {
	prices := paper.DefaultPrices()
	functions, machine := prices[:len(prices)-1], prices[len(prices)-1].PerMonth // the last is of a machine that is always on
	for _, s := range res.Streams {
		name := fmt.Sprintf("conversation.stream.%s.%s.switches_%d", s.Policy, s.Install, s.Switches)
		if s.Reuse {
			name += ".reuse"
		}
		res.Note(name+".calls_per_hour", s.Calls)
		for _, p := range functions {
			res.Note(fmt.Sprintf("%s.%s_per_month", name, p.Name), p.Month(s.Calls*hours, 0))
		}
	}
	res.Note("conversation.stream.machine_per_month", machine)
	for _, p := range functions {
		res.Note("conversation.stream.machine_is_cheaper_than_"+p.Name+"_from_calls_per_hour", (1e6*p.Included+max(0, machine-p.PerMonth)*1000/p.Per1000(0))/hours)
	}
}

// hours of a month.
const hours = 24 * 30
