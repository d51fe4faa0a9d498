package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/bench"
	"switchbridge/bench/calibrate"
	"switchbridge/bench/paper"
	"switchbridge/faas/devca"
	"switchbridge/flow"
)

// peersFlag are the controllers that a command measures side by side: this
// program's gateway, those of Debian's packages that are installed, and a file's.
func peers(path string) ([]bench.Peer, error) {
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

func benchStartupCommand() *cobra.Command {
	var path string
	var trials int
	c := &cobra.Command{
		Use:   "startup",
		Short: "Measure the time from exec to the first answered connection",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := peers(path)
			if err != nil {
				return err
			}
			for _, p := range list {
				s, err := bench.Startup(c.Context(), p, trials)
				if c.Context().Err() != nil {
					return c.Context().Err()
				}
				if err != nil {
					fmt.Fprintf(c.OutOrStdout(), "%-24s %v\n", p.Name, err)
					continue
				}
				fmt.Fprintf(c.OutOrStdout(), "%-24s median %.1f ms (min %.1f, max %.1f, stdev %.1f, %d trials)\n", p.Name, s.Median, s.Min, s.Max, s.Stdev, s.Runs)
			}
			return nil
		},
	}
	c.Flags().StringVar(&path, "peers", "", peersHelp)
	c.Flags().IntVar(&trials, "trials", 10, "how often to start each")
	return c
}

func benchResourcesCommand() *cobra.Command {
	var path string
	var cfg bench.ResourcesConfig
	c := &cobra.Command{
		Use:   "resources",
		Short: "Measure CPU and memory, idle and under a steady load",
		Args:  noArgs,
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
	c.Flags().DurationVar(&cfg.Duration, "duration", 10*time.Second, "of the idle part and of the loaded one")
	return c
}

func benchFunctionCommand() *cobra.Command {
	var client clientFlags
	var cfg bench.FunctionConfig
	var asJSON bool
	c := &cobra.Command{
		Use:   "function URL",
		Short: "Measure a function: latency, throughput, and the bare transport beside them",
		Args:  exactly(1, "a function's URL"),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := client.open(args[0], false)
			if err != nil {
				return err
			}
			defer f.Close()
			cfg.Decider, cfg.URL = f, args[0]
			if cfg.HTTP, cfg.Header, err = client.bare(); err != nil {
				return err
			}
			r, err := bench.Function(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), r)
			}
			return r.WriteText(c.OutOrStdout())
		},
	}
	client.register(c.Flags())
	c.Flags().IntVar(&cfg.Concurrency, "concurrency", 64, "events at a time in the throughput part")
	c.Flags().IntVar(&cfg.Rounds, "rounds", 5, "interleaved rounds")
	c.Flags().DurationVar(&cfg.Duration, "duration", time.Second, "of each part of a round")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func benchPolicyCommand() *cobra.Command {
	var sizes []int
	var each int
	c := &cobra.Command{
		Use:   "policy",
		Short: "Measure how decisions slow down with the size of a policy",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := bench.Policies(c.Context(), sizes, each)
			return errors.Join(bench.WritePolicies(c.OutOrStdout(), rows), err)
		},
	}
	c.Flags().IntSliceVar(&sizes, "sizes", []int{500, 10_000, 100_000, 1_000_000}, "entries of each policy")
	c.Flags().IntVar(&each, "decisions", 100_000, "timed decisions of either verdict")
	return c
}

func benchSessionsCommand() *cobra.Command {
	var cfg bench.SessionsConfig
	var version string
	c := &cobra.Command{
		Use:   "sessions",
		Short: "Connect many fake switches: memory for each, and one's latency beside idle and flooding ones",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if cfg.Protocol, err = flow.ParseProtocol(version); err != nil {
				return usageError{fmt.Errorf("--openflow: %w", err)}
			}
			r, err := bench.Sessions(c.Context(), cfg)
			if err != nil {
				return err
			}
			return r.WriteText(c.OutOrStdout())
		},
	}
	fl := c.Flags()
	fl.StringVar(&cfg.Target, "target", "127.0.0.1:6653", "the controller: HOST:PORT or unix:PATH")
	fl.StringVar(&version, "openflow", "1.3", "version to speak: 1.0 or 1.3")
	fl.IntVar(&cfg.Sessions, "sessions", 1000, "fake switches")
	fl.DurationVar(&cfg.Duration, "duration", 3*time.Second, "of each latency measurement")
	fl.IntVar(&cfg.PID, "pid", 0, "the controller's process, for its memory")
	return c
}

func benchCalibrateCommand() *cobra.Command {
	var cfg calibrate.Config
	var asJSON bool
	c := &cobra.Command{
		Use:   "calibrate",
		Short: "Measure the measuring tools: the load they can make, and the error of their latencies",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := calibrate.Run(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), r)
			}
			return r.WriteText(c.OutOrStdout())
		},
	}
	c.Flags().IntVar(&cfg.Rounds, "rounds", 5, "interleaved rounds")
	c.Flags().DurationVar(&cfg.Duration, "duration", time.Second, "of each part of a round")
	c.Flags().DurationSliceVar(&cfg.Delays, "delays", []time.Duration{0, time.Millisecond, 5 * time.Millisecond}, "times that a sink takes")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func benchPaperCommand() *cobra.Command {
	var cfg paper.Config
	var client clientFlags
	var peersFile, locations, prices, function string
	c := &cobra.Command{
		Use:   "paper",
		Short: "Repeat the paper's evaluation and write a report",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if cfg.Dir == "" {
				return usageError{errors.New("bench paper wants --out FOLDER")}
			}
			if cfg.Peers, err = peers(peersFile); err != nil {
				return err
			}
			if cfg.Locations, err = parseFile(locations, paper.ParseLocations); err != nil {
				return err
			}
			if cfg.Prices, err = parseFile(prices, paper.ParsePrices); err != nil {
				return err
			}
			if function != "" {
				if cfg.Function, err = paperFunction(client, function, function); err != nil {
					return err
				}
			}
			cfg.Local = func(ctx context.Context, policy string) (*paper.Function, func(), error) {
				return localFunction(ctx, client, policy)
			}
			cfg.OnStep = func(step string) { fmt.Fprintln(c.ErrOrStderr(), step) }
			r, err := paper.Run(c.Context(), cfg)
			if r != nil {
				fmt.Fprintf(c.OutOrStdout(), "the report is in %s\n", cfg.Dir)
			}
			return err
		},
	}
	fl := c.Flags()
	client.register(fl)
	fl.StringVar(&cfg.Dir, "out", "", "folder for the report")
	fl.BoolVar(&cfg.Quick, "quick", false, "everything once and short, for a smoke test: its figures have no weight")
	fl.StringVar(&peersFile, "peers", "", peersHelp)
	fl.StringVar(&function, "function", "", "URL of a deployed function, for the tables about functions; without it one is started here")
	fl.StringVar(&locations, "locations", "", "file of sites and platforms whose distance is emulated, like configs/locations.yaml")
	fl.StringVar(&prices, "prices", "", "file of prices, like configs/prices.yaml")
	return c
}

// paperFunction is the function at a URL, asked as client says.
func paperFunction(client clientFlags, name, url string) (f *paper.Function, err error) {
	f = &paper.Function{Name: name, URL: url, Open: func(via string, full bool) (flow.Decider, func() error, error) {
		d, err := client.openVia(url, via, full)
		if err != nil {
			return nil, nil, err
		}
		return d, d.Close, nil
	}}
	f.HTTP, f.Header, err = client.bare()
	return f, err
}

// localFunction starts this program as a function over HTTPS, with an authority
// of its own, that decides by the text of a policy file.
func localFunction(ctx context.Context, client clientFlags, policy string) (f *paper.Function, stop func(), err error) {
	dir, err := os.MkdirTemp("", "switchbridge-function-")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	file := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		return nil, nil, err
	}
	ca, err := devca.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	client.ca, client.tokenFile = ca.Path, ""
	peer := bench.Peer{
		Name:    "a function on this machine",
		Command: []string{"{self}", "function", "serve", "--listen", "127.0.0.1:{port}", "--dev-ca", dir, "--policy", file, "--records", "off", "--log-level", "error"},
	}
	proc, err := peer.Launch(ctx, func(ctx context.Context, p *bench.Process) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return nil, nil, err
	}
	if f, err = paperFunction(client, peer.Name, "https://"+proc.Addr); err != nil {
		proc.Close()
		return nil, nil, err
	}
	f.PID = proc.PID()
	return f, func() { proc.Close(); os.RemoveAll(dir) }, nil
}

// parseFile reads an optional file.
func parseFile[T any](path string, parse func(io.Reader) ([]T, error)) ([]T, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}
