package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/bench"
	"switchbridge/cmd/internal/cli"
)

func shadowCommand() *cobra.Command {
	var cfg bench.ShadowConfig
	var quick bool
	c := claimsCommand(&cobra.Command{
		Use:   "shadow",
		Short: "Measure what a second policy beside the first costs a gateway",
		Long: `Measure what a second policy beside the first (run --shadow) costs a gateway: two
gateways, one of which has it, decide about 1,000 packets a second in turn. What their
processes use says what the shadow adds, its own decisions included, and the gateway's
figures how many of the events it was asked about.

Each claim is a line at the end. A missed goal is a figure; an event that the same policy
decides otherwise is a failure, and the exit code says so.`,
		Example: `  switchbridge bench shadow --quick
  switchbridge bench shadow --function native --rounds 4 --duration 2s --json`,
	}, "parts", func(ctx context.Context, _ io.Writer, bar *cli.Progress) (findings, error) {
		if quick {
			cfg.Quick()
		}
		cfg.OnPart = func(p bench.ShadowPart) {
			bar.Step(int64(2*cfg.Rounds*len(cfg.Functions)), fmt.Sprintf("%s, shadow %t: %.1f %% of a core", p.Function, p.Shadow, 100*p.CPU.Seconds()/p.Wall.Seconds()))
		}
		return bench.Shadow(ctx, cfg)
	})
	fl := c.Flags()
	fl.BoolVar(&quick, "quick", false, "short parts, and few: under two minutes")
	fl.StringSliceVar(&cfg.Functions, "function", []string{"native", "embedded"}, "that decide")
	fl.Float64Var(&cfg.Rate, "rate", 1000, "packets a second")
	fl.DurationVar(&cfg.Duration, "duration", 5*time.Second, "of a part")
	fl.IntVar(&cfg.Rounds, "rounds", 10, "parts with a shadow, each beside one without")
	return c
}
