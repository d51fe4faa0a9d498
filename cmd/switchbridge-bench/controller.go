package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/bench"
	"switchbridge/cmd/internal/cli"
	"switchbridge/ofproxy/ofp"
)

func controllerCommand() *cobra.Command {
	cfg := bench.ControllerConfig{}
	var version, peersFile string
	var asJSON, versus, quick, besideCbench bool
	var cbench string
	c := &cobra.Command{
		Use:   "controller",
		Short: "Measure any OpenFlow controller with fake switches, as cbench does",
		Long: `Measure any OpenFlow controller with fake switches, as cbench does. In mode
latency each switch sends one PACKET_IN and waits for its answer; in mode flood it sends
as many as the connection takes. Every FLOW_MOD and every PACKET_OUT counts as a response,
as in cbench. PACKET_INs that were answered are counted separately.

With --versus the gateway is measured beside Open vSwitch's own controller and the other
controllers that are installed: one switch, round by round, in both modes. With
--beside-cbench as well, cbench and this load generator measure each of them in turn, in
cbench's terms, and the ratio says whether they agree.

Example, against a gateway that allows everything:
  switchbridge run --log-decisions off &
  switchbridge bench controller --target 127.0.0.1:6653 --mode flood --switches 16

Beside others:
  switchbridge bench controller --versus --quick`,
		Example: `  switchbridge bench controller
  switchbridge bench controller --target 127.0.0.1:6653 --mode flood --openflow 1.3 --runs 3
  switchbridge bench controller --versus --quick`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if versus {
				cfg := bench.VersusConfig{Rounds: cfg.Runs, Duration: cfg.Duration, WarmUp: cfg.WarmUp}
				if cfg.Peers, err = peers(peersFile); err != nil {
					return err
				}
				if quick {
					cfg.Rounds, cfg.Duration, cfg.WarmUp = 2, 500*time.Millisecond, 500*time.Millisecond
				}
				if !asJSON {
					cfg.OnRound = func(n int, p *bench.Peer, r *bench.Round) {
						fmt.Fprintf(c.ErrOrStderr(), "round %d: %s: %.0f/s one at a time, %.0f/s flood\n", n+1, p.Name, r.Latency.Answered.Median, r.Flood.Answered.Median)
					}
				}
				if besideCbench {
					return agreement(c, bench.AgreementConfig{Peers: cfg.Peers, Cbench: bench.Cbench{Program: cbench}, Rounds: cfg.Rounds, Duration: cfg.Duration}, asJSON)
				}
				r, err := bench.Versus(c.Context(), cfg)
				if err != nil {
					return err
				}
				return writeClaims(c.OutOrStdout(), r, asJSON)
			}
			if cfg.Protocol, err = cli.OpenFlowVersion(version); err != nil {
				return err
			}
			if !asJSON {
				cfg.OnRun = func(n int, r bench.Run) {
					fmt.Fprintf(c.ErrOrStderr(), "run %d: %.0f answers/s\n", n+1, r.PerSecond)
				}
			}
			result, err := bench.Controller(c.Context(), cfg)
			if result == nil {
				return err
			}
			write := result.WriteText
			if asJSON {
				write = result.WriteJSON
			}
			return errors.Join(write(c.OutOrStdout()), err) // of a run that failed, what came before
		},
	}
	fl := c.Flags()
	fl.StringVar(&cfg.Target, "target", ofp.DefaultAddress, "the controller: HOST:PORT or unix:PATH")
	fl.StringVar(&cfg.Mode, "mode", bench.Latency, "latency or flood")
	fl.IntVar(&cfg.Switches, "switches", 1, "fake switches")
	fl.StringVar(&version, "openflow", "1.0", "version to speak: 1.0 or 1.3")
	fl.IntVar(&cfg.Runs, "runs", 10, "how often to measure")
	fl.DurationVar(&cfg.Duration, "duration", time.Second, "length of one run")
	fl.DurationVar(&cfg.WarmUp, "warm-up", time.Second, "load the controller for so long before the first run")
	fl.IntVar(&cfg.MACs, "macs", 100000, "source addresses of each switch")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	fl.BoolVar(&versus, "versus", false, "measure the gateway beside other controllers, --runs rounds of each")
	fl.StringVar(&peersFile, "peers", "", peersHelp+" (with --versus)")
	fl.BoolVar(&quick, "quick", false, "with --versus: two short rounds")
	fl.BoolVar(&besideCbench, "beside-cbench", false, "with --versus: also measure the same controllers with cbench, and compare")
	fl.StringVar(&cbench, "cbench", "", "with --beside-cbench: cbench's program (default: cbench on PATH)")
	c.MarkFlagsMutuallyExclusive("versus", "target")
	return c
}

// agreement has cbench and this load generator measure the same controllers.
func agreement(c *cobra.Command, cfg bench.AgreementConfig, asJSON bool) error {
	cfg.OnRound = func(n int, p *bench.Peer) { fmt.Fprintf(c.ErrOrStderr(), "round %d: %s\n", n+1, p.Name) }
	rows, err := bench.Agreement(c.Context(), cfg)
	if err != nil {
		return err
	}
	if asJSON {
		return cli.WriteJSON(c.OutOrStdout(), rows)
	}
	return bench.WriteAgreement(c.OutOrStdout(), rows)
}
