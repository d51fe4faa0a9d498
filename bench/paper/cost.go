package paper

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/line"
	"switchbridge/policy/policyfile"
	"switchbridge/replay"
	"switchbridge/replay/capture"
)

const titleHours = "Cost of an hour, by capture and install"

// installs are the rules that answers may install.
var installs = []string{"flow", "host-pair", "widest"}

// hours says what an hour like each capture costs, by the rules that answers install, beside machines that are always on.
func (e *evaluation) hours(ctx context.Context, perEvent time.Duration) error {
	header := []string{"network", "capture", "install", "lasts, s", "packets", "calls", "calls an hour"}
	var machines []string
	for i := range e.cfg.Prices {
		p := &e.cfg.Prices[i]
		if p.Per1000(perEvent) == 0 {
			machines = append(machines, fmt.Sprintf(" Always on, whatever is asked: %s, %.4f %s an hour.", p.Name, p.PerMonth/(24*30), p.Currency))
			continue
		}
		header = append(header, p.Name+", GB-s an hour", p.Name+", "+p.Currency+" an hour")
	}
	s := e.section(titleHours,
		fmt.Sprintf("How often one switch asks about each capture, counted in its own time without any network: the switch has the rules of the answers for as long as they live. The policy is a blocklist of %d addresses. "+
			"Prices are those of the table before, of a month of such hours.%s A capture of a set-up, or of one page, is a busy moment and no hour of anybody's.", awayEntries, strings.Join(machines, "")),
		append(header, "cheapest")...)
	for i := range e.cfg.Captures {
		c := &e.cfg.Captures[i]
		e.step("calls of %s, %s", c.Network, c.Name)
		for _, install := range installs {
			l, err := c.calls(ctx, install, int(e.scale.traffic))
			if ctx.Err() != nil {
				return nil // reported by Run
			}
			if err != nil {
				s.Missing = append(s.Missing, c.Network+", "+c.Name+": "+reason(err))
				break
			}
			calls := float64(l.Calls) * float64(time.Hour) / float64(max(l.Lasts, time.Second))
			row := []string{c.Network, c.Name, install, num(l.Lasts.Seconds()), fmt.Sprint(l.Packets), fmt.Sprint(l.Calls), num(calls)}
			type offer struct {
				name  string
				price float64
			}
			var offers []offer
			for i := range e.cfg.Prices {
				p := &e.cfg.Prices[i]
				price, gbSeconds := p.Hour(calls, perEvent)
				offers = append(offers, offer{p.Name, price})
				if p.Per1000(perEvent) > 0 {
					row = append(row, num(gbSeconds), fmt.Sprintf("%.6f", price))
				}
			}
			best := slices.MinFunc(offers, func(a, b offer) int { return cmp.Compare(a.price, b.price) })
			s.row(append(row, best.name)...)
			if install == installs[0] {
				e.report.note("calls/"+c.Network+", "+c.Name, "calls an hour", 0, calls)
			}
		}
	}
	return nil
}

// calls has one switch get the capture.
func (c *Capture) calls(ctx context.Context, install string, limit int) (*line.Line, error) {
	text := strings.Replace(policyText(bench.KindBlocklist, awayEntries), "install: none", "install: "+install, 1)
	p, err := policyfile.Parse(strings.NewReader(text), "policy.yaml", ".")
	if err != nil {
		return nil, err
	}
	var cfg replay.Config
	if err := c.open(&cfg); err != nil {
		return nil, err
	}
	r, err := capture.NewReader(cfg.Stdin, cfg.Files...)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	l := line.New(p, 1, false)
	return l, l.Play(ctx, r, limit)
}
