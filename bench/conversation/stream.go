package conversation

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"switchbridge/bench/line"
	"switchbridge/bench/paper"
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
			policy, err := policyfile.Parse(strings.NewReader(fmt.Sprintf(p.text, install)), "stream", ".")
			if err != nil {
				return nil, err
			}
			for _, n := range []int{1, 4} {
				for _, reuse := range []bool{false, true} {
					l := line.New(policy, n, reuse)
					r, err := capture.NewReader(nil, path)
					if err != nil {
						return nil, err
					}
					err = l.Play(ctx, r, 0)
					r.Close()
					if err != nil {
						return nil, err
					}
					list = append(list, Stream{Policy: p.name, Install: install, Switches: n, Reuse: reuse, Packets: l.Packets,
						Calls: float64(l.Calls) * float64(time.Hour) / float64(profile.Duration)})
				}
			}
		}
	}
	return list, nil
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
