package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/bench/scale"
	"switchbridge/cmd/internal/cli"
)

func scaleCommand() *cobra.Command {
	var cfg scale.Config
	c := claimsCommand(&cobra.Command{
		Use:   "scale",
		Short: "Measure how a gateway grows with switches, rules, addresses, waiting events and states",
		Example: `  switchbridge bench scale --quick
  switchbridge bench scale --only rules,addresses --out plots`,
		Long: `Measure how a gateway grows with what it serves: time and processor time of an event,
and memory, for 1 to 4,000 switches, 10 to 100,000 rules, 1 to 1,000,000 addresses,
1 to 1,000 events that wait for a function at a time, and 1 to 100,000 states.
Each size has a gateway of its own, with the embedded function, except for waiting
events. Fake switches ask at a steady pace and don't wait for answers.

If an answer is wrong, or a packet or connection is lost, the exit code is 1.`,
	}, "rows", func(ctx context.Context, w io.Writer, bar *cli.Progress) (findings, error) {
		_ = scale.WriteHead(w) // progress
		cfg.OnRow = func(r *scale.Row, of int) { bar.Step(int64(of), text(r)) }
		return scale.Run(ctx, cfg)
	})
	fl := c.Flags()
	fl.BoolVar(&cfg.Quick, "quick", false, "a short look at each size: under two minutes")
	fl.StringSliceVar(&cfg.Only, "only", nil, strings.Join(scale.Dimensions(), ", ")+" (default: all)")
	fl.StringVar(&cfg.Dir, "out", "", "folder for plots (SVG and PNG); empty: none")
	return c
}

func soakCommand() *cobra.Command {
	var cfg scale.SoakConfig
	c := claimsCommand(&cobra.Command{
		Use:     "soak",
		Short:   "Let a gateway with many states decide for a long time, and check every answer",
		Example: `  switchbridge bench soak --duration 1m --states 20000`,
		Long: `Let a gateway with many states decide for a long time. Some packets change a state, some
only read one, some need none, some are denied, and some come from sources for which the
store has no room. The test knows which state every answer must name. If an answer is wrong,
or a packet or connection is lost, the exit code is 1.`,
	}, "parts", func(ctx context.Context, _ io.Writer, bar *cli.Progress) (findings, error) {
		cfg.OnPart = func(p scale.SoakPart, of int) {
			bar.Step(int64(of), fmt.Sprintf("%v: %d answered, p50 %v, p99 %v, %.0f MB", p.At.Round(time.Second/10), p.Answered, p.Latency.P50, p.Latency.P99, float64(p.RSS)/1e6))
		}
		return scale.Soak(ctx, cfg)
	})
	fl := c.Flags()
	fl.IntVar(&cfg.Keys, "states", 100_000, "number of states")
	fl.Float64Var(&cfg.Rate, "rate", 1000, "events a second")
	fl.DurationVar(&cfg.Duration, "duration", 10*time.Minute, "how long to measure when all states exist")
	fl.StringVar(&cfg.State, "state", "memory:", "URL of the store; if it limits its entries, the limit is --states")
	return c
}

func clusterCommand() *cobra.Command {
	var cfg scale.ClusterConfig
	c := claimsCommand(&cobra.Command{
		Use:     "cluster",
		Short:   "Kill each of several gateways, stores and a function in turn, and look for lost updates",
		Example: `  switchbridge bench cluster --quick`,
		Long: `Two pairs of gateways, with many switches each, ask one function whose states are in a
NATS cluster of three servers. Each party is killed in turn under load. Machines count
the packets of each source, which shows whether an update was lost or made twice. If one
was, or if a denied packet passes, the exit code is 1.`,
	}, "faults", func(ctx context.Context, _ io.Writer, bar *cli.Progress) (findings, error) {
		cfg.OnFault = func(f *scale.Fault, of int) { bar.Step(int64(of), text(f)) }
		return scale.Cluster(ctx, cfg)
	})
	fl := c.Flags()
	fl.BoolVar(&cfg.Quick, "quick", false, "40 switches of each pair, each party killed once: under two minutes")
	fl.IntVar(&cfg.Switches, "switches", 0, "switches of each pair (default 250, and 40 with --quick)")
	fl.Float64Var(&cfg.Rate, "rate", 200, "events a second")
	fl.IntVar(&cfg.Rounds, "rounds", 0, "rounds; in each, every party is killed once (default 2, and 1 with --quick)")
	return c
}

// text is what a part of a result writes of itself, without the end of its line.
func text(part interface{ WriteText(w io.Writer) error }) string {
	var b strings.Builder
	_ = part.WriteText(&b) // a Builder takes all
	return strings.TrimSuffix(b.String(), "\n")
}
