package conversation

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/fleet"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/policy/policyfile"
)

// Unused is what a gateway's process uses for packets to none of which an earlier answer applies.
type Unused struct {
	Promised bool          `json:"promised"` // the function says for which others each answer holds
	Packets  uint64        `json:"packets"`
	CPU      time.Duration `json:"cpu"`
}

// unusedPolicy looks at addresses, and each packet comes from another one.
const unusedPolicy = `serial: 1
chain:
  - header: {rules: [{name: all, match: {ip_src: 10.0.0.0/8, ip_dst: 10.0.0.0/8}, action: allow}]}
`

// unused has one gateway decide about packets of which no two are alike, by a function that promises for which others its answers hold and by the
// same one that promises nothing, in turn.
func unused(ctx context.Context, dir string, part time.Duration, rounds int) (list []Unused, err error) {
	p, err := policyfile.Parse(strings.NewReader(unusedPolicy), "unused", ".")
	if err != nil {
		return nil, err
	}
	c := controller.New(p)
	var promises atomic.Bool
	f, err := serve(flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		err := c.Decide(ctx, ev, d)
		if !promises.Load() {
			d.Reuse = flow.Reuse{}
		}
		return err
	}), dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	g, err := bench.Gateway(ctx, fmt.Sprintf("function: {urls: [\"https://%s\"], ca: %s, token_file: %s}\nlog: {decisions: \"off\"}\n", f.addr, f.ca, f.tokenFile), nil)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	to := frames.Host(200).At(80)
	to.IP = netip.AddrFrom4([4]byte{10, 255, 0, 1})
	v, err := fleet.Dial(fleet.Config{Addrs: []string{g.Addr}, Switches: 4, First: 1, Rate: 1000, Packet: func(sw int, n uint32) fleet.Packet {
		from := frames.Host(uint8(1 + sw)).At(40000)
		from.IP = netip.AddrFrom4([4]byte{10, byte(1 + sw), byte(n >> 8), byte(n)})
		return fleet.Packet{Frame: frames.TCP(from, to, frames.SYN, nil)}
	}})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	core, err := fleet.Core()
	if err != nil {
		return nil, err
	}
	run := func(promised bool) error {
		promises.Store(promised)
		before, err := bench.GroupCPU(g.PID())
		if err != nil {
			return err
		}
		var t fleet.Tally
		fleet.Urgent(core, func() { t = v.Run(part, nil, true) })
		after, err := bench.GroupCPU(g.PID())
		if err != nil {
			return err
		}
		if t.Lost+t.Wrong > 0 {
			return fmt.Errorf("of %d packets that no answer holds for %d were lost and %d answered wrongly %s", t.Sent, t.Lost, t.Wrong, t.Example)
		}
		list = append(list, Unused{Promised: promised, Packets: t.Sent, CPU: after - before})
		return nil
	}
	for round := range rounds + 1 {
		for turn := range 2 {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err := run((round+turn)%2 == 1); err != nil {
				return nil, err
			}
		}
		if round == 0 {
			list = list[:0] // the first of everything, and as many answers as the gateway remembers come later
		}
	}
	return list, nil
}

// reportUnused makes figures of it: what other programs take meanwhile meets both parts of a pair, so the median of the pairs counts.
func (res *Result) reportUnused() {
	million := func(u Unused) float64 { return u.CPU.Seconds() / float64(u.Packets) * 1e6 }
	var each [2][]float64
	var ratios []float64
	for i := 0; i+1 < len(res.Unused); i += 2 {
		without, with := res.Unused[i], res.Unused[i+1]
		if without.Promised {
			without, with = with, without
		}
		if without.Packets == 0 || with.Packets == 0 || without.CPU == 0 {
			continue
		}
		each[0], each[1] = append(each[0], million(without)), append(each[1], million(with))
		ratios = append(ratios, million(with)/million(without))
	}
	if len(ratios) == 0 {
		return
	}
	middle := func(list []float64) float64 { return slices.Sorted(slices.Values(list))[len(list)/2] }
	res.Note("conversation.unused.without_cpu_s_per_million", middle(each[0]))
	res.Note("conversation.unused.with_cpu_s_per_million", middle(each[1]))
	res.AtMost("conversation.unused.cpu_ratio", middle(ratios), 1.02)
}
