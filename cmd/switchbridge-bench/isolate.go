package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/bench/isolate"
	"switchbridge/cmd/internal/cli"
)

func isolateCommand() *cobra.Command {
	var cfg isolate.Config
	var quick bool
	c := claimsCommand(&cobra.Command{
		Use:   "isolate",
		Short: "Measure what one hostile switch does to fifteen others, to memory and to the log",
		Example: `  switchbridge bench isolate --quick
  switchbridge bench isolate --kind flood,poison --function embedded --rounds 1`,
		Long: `Measure what one hostile switch does to fifteen others that behave well: the
latency of their packets, the gateway's memory, and its log. Rounds are quiet,
hostile, quiet. Each kind of hostility has a gateway of its own, with default
settings, once with the embedded function and once with one over HTTPS.

The output ends with a line for each figure. If a goal is missed, the exit code is still
0. If a packet of a victim is lost or wrongly answered, or if a new switch is not served,
it is 1.`,
	}, "rows", func(ctx context.Context, w io.Writer, bar *cli.Progress) (findings, error) {
		if quick {
			cfg.Quick()
		}
		if cfg.Profiles != "" {
			if err := os.MkdirAll(cfg.Profiles, 0o755); err != nil {
				return nil, err
			}
		}
		_ = isolate.WriteHead(w) // progress
		cfg.OnRow = func(r *isolate.Row) {
			var line strings.Builder
			_ = r.WriteText(&line)                               // to memory
			bar.Step(0, strings.TrimSuffix(line.String(), "\n")) // how many there will be hangs on the kinds
		}
		return isolate.Run(ctx, cfg)
	})
	fl := c.Flags()
	fl.BoolVar(&quick, "quick", false, "one short round of each: under two minutes")
	fl.StringSliceVar(&cfg.Kinds, "kind", nil, "kinds of hostility: "+strings.Join(isolate.Kinds(), ", ")+" (default: all)")
	fl.StringSliceVar(&cfg.Functions, "function", nil, "embedded, remote (default: both)")
	fl.IntVar(&cfg.Victims, "victims", 15, "switches that behave well")
	fl.Float64Var(&cfg.Rate, "rate", 20, "packets a second of each of them")
	fl.IntVar(&cfg.Rounds, "rounds", 3, "hostile phases, each between two quiet ones")
	fl.DurationVar(&cfg.Quiet, "quiet", 3*time.Second, "length of a quiet phase")
	fl.DurationVar(&cfg.Hostile, "hostile", 7*time.Second, "length of a hostile phase")
	fl.StringVar(&cfg.Profiles, "profiles", "", "folder for a CPU profile of the gateway in a hostile phase of each kind")
	fl.StringSliceVar(&cfg.Gateway, "gateway", nil, "flags for the gateway, such as --log-decisions=off, to try what a setting does")
	return c
}

// isolateHostileCommand is what isolate starts as the hostile switch.
func isolateHostileCommand() *cobra.Command {
	var h isolate.Hostile
	c := &cobra.Command{
		Use: "isolate-hostile", Short: "Be a hostile switch", Hidden: true, Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.Serve(c.Context(), c.InOrStdin(), c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&h.Kind, "kind", "", "what it does")
	c.Flags().StringVar(&h.Target, "target", "", "HOST:PORT of the gateway, or where a P4 switch is to be reached")
	return c
}

// isolateFunctionCommand is what isolate starts as the hostile function.
func isolateFunctionCommand() *cobra.Command {
	var f isolate.Function
	c := &cobra.Command{
		Use: "isolate-function", Short: "Be a function that can be made hostile", Hidden: true, Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.Serve(c.Context()); err != nil {
				return fmt.Errorf("isolate-function: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&f.Kind, "kind", "", "what it does")
	c.Flags().StringVar(&f.Listen, "listen", "", "HOST:PORT to serve at")
	c.Flags().StringVar(&f.DevCA, "dev-ca", "", "folder of the development CA")
	c.Flags().StringVar(&f.Policy, "policy", "", "policy file")
	return c
}
