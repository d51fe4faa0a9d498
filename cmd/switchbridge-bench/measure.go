package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/bench"
	"switchbridge/bench/calibrate"
	"switchbridge/bench/stats"
	"switchbridge/cmd/internal/cli"
	"switchbridge/ofproxy/ofp"
)

// peers are the controllers that a command measures side by side: switchbridge's
// gateway, those of Debian's packages that are installed, and a file's.
func peers(path string) ([]bench.Peer, error) {
	if _, err := bench.Switchbridge(); err != nil {
		return nil, err // now, not after the others were measured
	}
	list := append(bench.SelfPeers(), bench.DefaultPeers()...)
	if path == "" {
		return list, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	more, err := bench.ParsePeers(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return append(list, more...), nil
}

const peersHelp = "file of further controllers to measure beside it"

func startupCommand() *cobra.Command {
	var path string
	var trials int
	c := &cobra.Command{
		Use:     "startup",
		Short:   "Measure the time from exec to the first answered connection and the first decision",
		Example: `  switchbridge bench startup --trials 3`,
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := peers(path)
			if err != nil {
				return err
			}
			for _, p := range slices.Insert(list, 1, bench.ColdPeer()) {
				s, err := bench.Startup(c.Context(), p, trials)
				if c.Context().Err() != nil {
					return c.Context().Err()
				}
				if err != nil {
					fmt.Fprintf(c.OutOrStdout(), "%-36s %v\n", p.Name, err)
					continue
				}
				fmt.Fprintf(c.OutOrStdout(), "%-36s connection %s, decision %s\n", p.Name, milliseconds(s.Connection), milliseconds(s.Decision))
			}
			return nil
		},
	}
	c.Flags().StringVar(&path, "peers", "", peersHelp)
	c.Flags().IntVar(&trials, "trials", 10, "how often to start each")
	return c
}

// milliseconds writes a time's spread.
func milliseconds(s stats.Spread) string {
	if s.Runs == 0 {
		return "none"
	}
	return fmt.Sprintf("median %.1f ms (min %.1f, max %.1f, %d trials)", s.Median, s.Min, s.Max, s.Runs)
}

func resourcesCommand() *cobra.Command {
	var path string
	var cfg bench.ResourcesConfig
	c := &cobra.Command{
		Use:     "resources",
		Short:   "Measure CPU and memory, idle and under a steady load",
		Example: `  switchbridge bench resources --rate 500 --duration 2s`,
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := peers(path)
			if err != nil {
				return err
			}
			for _, p := range list {
				fmt.Fprintf(c.OutOrStdout(), "%s\n", p.Name)
				r, err := bench.MeasureResources(c.Context(), p, cfg)
				if c.Context().Err() != nil {
					return c.Context().Err()
				}
				if err != nil {
					fmt.Fprintf(c.OutOrStdout(), "  %v\n", err)
					continue
				}
				if err := r.WriteText(c.OutOrStdout()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&path, "peers", "", peersHelp)
	c.Flags().Float64Var(&cfg.Rate, "rate", 1000, "PACKET_INs a second")
	c.Flags().DurationVar(&cfg.Duration, "duration", 10*time.Second, "length of the idle part and of the part under load")
	return c
}

func functionCommand() *cobra.Command {
	var client cli.ClientFlags
	var cfg bench.FunctionConfig
	var asJSON bool
	c := &cobra.Command{
		Use:     "function URL",
		Short:   "Measure a function: latency, throughput, and the bare transport beside them",
		Example: `  switchbridge bench function https://127.0.0.1:8443 --function-ca ca.pem --function-token-file token --rounds 1 --duration 200ms`,
		Args:    cli.Exactly(1, "a function's URL"),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := client.Open(args[0], false)
			if err != nil {
				return err
			}
			defer f.Close()
			cfg.Decider, cfg.URL = f, args[0]
			if cfg.HTTP, cfg.Header, err = client.Bare(); err != nil {
				return err
			}
			r, err := bench.Function(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), r)
			}
			return r.WriteText(c.OutOrStdout())
		},
	}
	client.Register(c.Flags())
	c.Flags().IntVar(&cfg.Concurrency, "concurrency", 64, "events at once in the throughput part")
	c.Flags().IntVar(&cfg.Rounds, "rounds", 5, "interleaved rounds")
	c.Flags().DurationVar(&cfg.Duration, "duration", time.Second, "length of each part of a round")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func policyCommand() *cobra.Command {
	var sizes []int
	var each int
	c := &cobra.Command{
		Use:     "policy",
		Short:   "Measure how decisions slow down with the size of a policy",
		Example: `  switchbridge bench policy --sizes 500,10000 --decisions 2000`,
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := bench.Policies(c.Context(), sizes, each)
			return errors.Join(bench.WritePolicies(c.OutOrStdout(), rows), err)
		},
	}
	c.Flags().IntSliceVar(&sizes, "sizes", []int{500, 10_000, 100_000, 1_000_000}, "entries of each policy")
	c.Flags().IntVar(&each, "decisions", 100_000, "timed decisions of each verdict")
	return c
}

func sessionsCommand() *cobra.Command {
	var cfg bench.SessionsConfig
	var version string
	c := &cobra.Command{
		Use:     "sessions",
		Short:   "Connect many fake switches: measure memory for each, and the latency of one while others are idle or flood",
		Example: `  switchbridge bench sessions --sessions 50 --duration 500ms`,
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if cfg.Protocol, err = cli.OpenFlowVersion(version); err != nil {
				return err
			}
			r, err := bench.Sessions(c.Context(), cfg)
			if err != nil {
				return err
			}
			return r.WriteText(c.OutOrStdout())
		},
	}
	fl := c.Flags()
	fl.StringVar(&cfg.Target, "target", ofp.DefaultAddress, "the controller: HOST:PORT or unix:PATH")
	fl.StringVar(&version, "openflow", "1.3", "version to speak: 1.0 or 1.3")
	fl.IntVar(&cfg.Sessions, "sessions", 1000, "fake switches")
	fl.DurationVar(&cfg.Duration, "duration", 3*time.Second, "length of each latency measurement")
	fl.IntVar(&cfg.PID, "pid", 0, "process id of the controller, to measure its memory")
	return c
}

func calibrateCommand() *cobra.Command {
	var cfg calibrate.Config
	var asJSON bool
	c := &cobra.Command{
		Use:     "calibrate",
		Short:   "Measure these tools themselves: how much load they can make, and how wrong their latencies are",
		Example: `  switchbridge bench calibrate --rounds 1 --duration 200ms`,
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := calibrate.Run(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), r)
			}
			return r.WriteText(c.OutOrStdout())
		},
	}
	c.Flags().IntVar(&cfg.Rounds, "rounds", 5, "interleaved rounds")
	c.Flags().DurationVar(&cfg.Duration, "duration", time.Second, "length of each part of a round")
	c.Flags().DurationSliceVar(&cfg.Delays, "delays", []time.Duration{0, time.Millisecond, 5 * time.Millisecond}, "times that the measured controller waits before it answers")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
