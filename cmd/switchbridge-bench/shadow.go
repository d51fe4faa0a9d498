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
		Short: "Measure how much a shadow policy costs a gateway",
		Long: `Measure how much a shadow policy (run --shadow) costs a gateway: two
gateways, one with a shadow and one without, decide about 1,000 packets a second in turn.
The difference of their CPU times is the cost of the shadow, including its own decisions.
The gateway's figures say about how many of the events the shadow was asked.

The output ends with a line for each figure. If a goal is missed, the exit code is still 0.
Policy and shadow are the same; if the shadow decides an event differently, it is 1.`,
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
	fl.StringSliceVar(&cfg.Functions, "function", []string{"native", "embedded"}, "functions to measure")
	fl.Float64Var(&cfg.Rate, "rate", 1000, "packets a second")
	fl.DurationVar(&cfg.Duration, "duration", 5*time.Second, "length of a part")
	fl.IntVar(&cfg.Rounds, "rounds", 10, "parts with a shadow, each followed by one without")
	return c
}
