package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"switchbridge/bench/failover"
	"switchbridge/cmd/internal/cli"
)

func failoverCommand() *cobra.Command {
	var cfg failover.Config
	var quick bool
	c := claimsCommand(&cobra.Command{
		Use:   "failover",
		Short: "Measure what a network notices when one of two gateways dies, hangs or hands over",
		Example: `  switchbridge bench failover --quick
  switchbridge bench failover --rounds 4 --handovers 2 --protocol OpenFlow10`,
		Long: `Measure what a network notices when one of two gateways dies (SIGKILL), hangs
(SIGSTOP for two seconds), or hands the lead over. The switch is an Open vSwitch in
a network namespace, the gateways are processes, and two hosts talk all the time: they
begin a new conversation every 5 ms, keep one whose rules are installed, and send
packets that are denied.

The output ends with a line for each figure. If a goal is missed, the exit code is still
0. If a frame arrives twice, or a denied one arrives, it is 1. The command needs root.`,
	}, "rounds", func(ctx context.Context, _ io.Writer, bar *cli.Progress) (findings, error) {
		if quick {
			cfg.Quick()
		}
		cfg.OnRound = func(r *failover.Round) {
			bar.Step(int64(cfg.Rounds), fmt.Sprintf("%s: new conversations refused for %.3f s (%d lost), installed one silent for %.3f s at most",
				r.What, r.Refused.Seconds(), r.Lost, r.Silence.Seconds()))
		}
		return failover.Run(ctx, cfg)
	})
	fl := c.Flags()
	fl.BoolVar(&quick, "quick", false, "15 kills and hangs: under two minutes")
	fl.IntVar(&cfg.Rounds, "rounds", 100, "kills and hangs, in turn")
	fl.IntVar(&cfg.Handovers, "handovers", 20, "times that the lead is handed over")
	fl.StringVar(&cfg.Protocol, "protocol", "OpenFlow13", "OpenFlow13 or OpenFlow10")
	return c
}
