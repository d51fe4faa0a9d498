// Package conversation measures what the first packets of a conversation wait for on a path of several switches, and how often the function is
// called. The switches are Open vSwitch bridges in a row, the gateway is a process with default settings but for its function, which is far away, and
// the hosts are network namespaces.
package conversation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/figures"
	"switchbridge/internal/ovs"
	"switchbridge/internal/sibling"
)

// Config says how much is measured.
type Config struct {
	Lengths []int         // of lines, in bridges; default 4 and 8
	RTT     time.Duration // to the function; default 15.8 ms
	Rounds  int           // of each kind; default 15
	Divisor int           // of the organisation's hour; default 1
	Peers   []bench.Peer  // controllers that are measured on the same lines, without any distance; those that are not installed are left out
	OnLine  func(l *Line)
}

// Quick makes a configuration that takes under two minutes.
func (c *Config) Quick() { c.Rounds, c.Divisor = 5, 12 }

// Line is what one line took.
type Line struct {
	Peer    string        `json:"peer,omitempty"` // the controller, on this machine; empty: the gateway with a function that is far away
	Bridges int           `json:"bridges"`
	Replies bool          `json:"replies"` // the policy lets replies in; else each direction is allowed by itself
	Reuse   bool          `json:"reuse"`   // the function says for which packets its answers hold
	RTT     time.Duration `json:"rtt"`     // to the function, measured with what a call takes there

	ARP    []time.Duration `json:"with_arp"`  // of first pings, with ARP before
	After  []time.Duration `json:"after_arp"` // of first pings after ARP
	Many   []time.Duration `json:"many"`      // of first pings after ARP, 16 at a time
	Calls  []int64         `json:"calls"`     // of each first ping after ARP
	TCP    []int64         `json:"tcp_calls"` // of each TCP connection after ARP
	ARPs   []int64         `json:"arp_calls"` // of each first ping with ARP
	Failed []string        `json:"failed,omitempty"`
}

// Result is what Run measured.
type Result struct {
	Machine bench.Machine `json:"machine"`
	Lines   []*Line       `json:"lines"`
	Streams []Stream      `json:"streams"`
	Unused  []Unused      `json:"unused"`
	figures.List
}

// many is how many first packets are under way at a time.
const many = 16

// Run measures. It needs root and Open vSwitch.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if len(cfg.Lengths) == 0 {
		cfg.Lengths = []int{4, 8}
	}
	if cfg.RTT == 0 {
		cfg.RTT = 15800 * time.Microsecond
	}
	if cfg.Rounds == 0 {
		cfg.Rounds = 15
	}
	if cfg.Divisor == 0 {
		cfg.Divisor = 1
	}
	program, err := sibling.Find("switchbridge")
	if err != nil {
		return nil, err
	}
	res := &Result{Machine: bench.ThisMachine()}
	for _, n := range cfg.Lengths {
		for _, replies := range []bool{true, false} {
			err := ovs.Outside(func(tb ovs.TB) error {
				l, err := newLab(ctx, tb, program, n, replies, cfg.RTT)
				if err != nil {
					return err
				}
				defer l.close()
				rtt, err := l.rtt()
				if err != nil {
					return err
				}
				again, each := &Line{Bridges: n, Replies: replies, RTT: rtt, Reuse: true}, &Line{Bridges: n, Replies: replies, RTT: rtt}
				err = l.measure(ctx, cfg.Rounds, again, each)
				res.add(&cfg, again, each)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("bench conversation: a line of %d: %w", n, err)
			}
		}
		for i := range cfg.Peers {
			p := &cfg.Peers[i]
			if _, err := p.Find(); errors.Is(err, bench.ErrNotInstalled) {
				continue
			}
			err := ovs.Outside(func(tb ovs.TB) error {
				l, err := newPeerLab(ctx, tb, p, n)
				if err != nil {
					return err
				}
				defer l.close()
				line := &Line{Peer: p.Name, Bridges: n}
				err = l.measure(ctx, cfg.Rounds, line)
				res.add(&cfg, line)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("bench conversation: a line of %d under %s: %w", n, p.Name, err)
			}
		}
	}
	err = ovs.Outside(func(tb ovs.TB) (err error) {
		res.Streams, err = stream(ctx, tb.TempDir(), cfg.Divisor)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bench conversation: %w", err)
	}
	err = ovs.Outside(func(tb ovs.TB) (err error) {
		res.Unused, err = unused(ctx, tb.TempDir(), time.Second, 2*cfg.Rounds)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bench conversation: %w", err)
	}
	res.report()
	return res, nil
}

// add notes lines that were measured.
func (res *Result) add(cfg *Config, lines ...*Line) {
	res.Lines = append(res.Lines, lines...)
	for _, line := range lines {
		if cfg.OnLine != nil {
			cfg.OnLine(line)
		}
	}
}

// report makes figures of what was measured.
func (res *Result) report() {
	for _, l := range res.Lines {
		if l.Peer != "" {
			l.reportPeer(&res.List)
			continue
		}
		name := fmt.Sprintf("conversation.line_%d.", l.Bridges)
		goal, most := 2.3, int64(2)
		if l.Replies {
			goal, most = 1.3, 1
		}
		name += map[bool]string{true: "replies", false: "each_direction"}[l.Replies]
		for _, f := range l.Failed {
			res.Failf(name, "%s", f)
		}
		after, arp, sixteen := ratio(l.After, l.RTT), ratio(l.ARP, l.RTT), ratio(l.Many, l.RTT)
		if !l.Reuse {
			name += ".asked_each_time"
			res.Note(name+".first_ping_rtts", after)
			res.Note(name+".first_ping_with_arp_rtts", arp)
			res.Note(name+".first_ping_16_at_a_time_rtts", sixteen)
			res.Note(name+".tcp_calls", worst(l.TCP))
			continue
		}
		res.Note(name+".rtt_ms", l.RTT.Seconds()*1000)
		res.AtMost(name+".first_ping_rtts", after, goal)
		res.AtMost(name+".first_ping_with_arp_rtts", arp, goal+2)
		res.AtMost(name+".first_ping_16_at_a_time_rtts", sixteen, goal)
		res.AtMost(name+".first_ping_calls", worst(l.Calls), float64(most))
		res.AtMost(name+".tcp_calls", worst(l.TCP), float64(most))
		res.AtMost(name+".first_ping_with_arp_calls", worst(l.ARPs), float64(most+2))
	}
	res.reportStream()
	res.reportUnused()
}

// reportPeer makes figures of a line under another controller. A ping that is not answered is the controller's, and no failure.
func (l *Line) reportPeer(list *figures.List) {
	name := fmt.Sprintf("conversation.line_%d.local.%s.", l.Bridges, strings.Trim(notWord.ReplaceAllString(strings.ToLower(l.Peer), "_"), "_"))
	list.Note(name+"first_ping_ms", ratio(l.After, time.Millisecond))
	list.Note(name+"first_ping_with_arp_ms", ratio(l.ARP, time.Millisecond))
	list.Note(name+"first_ping_16_at_a_time_ms", ratio(l.Many, time.Millisecond))
	list.Note(name+"failed", float64(len(l.Failed)))
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// ratio is the median of times, in round trips.
func ratio(list []time.Duration, rtt time.Duration) float64 {
	if len(list) == 0 || rtt == 0 {
		return 0
	}
	return float64(median(list)) / float64(rtt)
}

func median(list []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

func worst(list []int64) float64 {
	if len(list) == 0 {
		return 0
	}
	return float64(slices.Max(list))
}

// WriteText writes the figures.
func (res *Result) WriteText(w io.Writer) error { return res.List.WriteText(w) }
