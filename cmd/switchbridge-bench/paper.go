package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"switchbridge/bench"
	"switchbridge/bench/paper"
	"switchbridge/cmd/internal/cli"
	"switchbridge/faas/function/devca"
	"switchbridge/flow"
)

func paperCommand() *cobra.Command {
	var cfg paper.Config
	var client cli.ClientFlags
	var peersFile, locations, prices, function, captures string
	c := &cobra.Command{
		Use:   "paper",
		Short: "Repeat the paper's evaluation and write a report",
		Example: `  switchbridge bench paper --out report
  switchbridge bench paper --quick --out report
  switchbridge bench paper --real-pace 10m --captures ../shared/data --out real-pace`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if cfg.Dir == "" {
				return cli.Usagef("bench paper wants --out FOLDER")
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
			if cfg.Captures, err = paper.Captures(captures); err != nil {
				return err
			}
			cfg.Local = localFunction(client)
			cfg.At = func(name, url, tokenFile string) (*paper.Function, error) {
				at := client
				at.CA, at.TokenFile = "", tokenFile
				return paperFunction(at, name, url)
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
	client.Register(fl)
	fl.StringVar(&cfg.Dir, "out", "", "folder for the report")
	fl.BoolVar(&cfg.Quick, "quick", false, "measure everything once and shortly, to see that it works: the figures are too rough to be quoted")
	fl.StringVar(&peersFile, "peers", "", peersHelp)
	fl.StringVar(&function, "function", "", "URL of a deployed function, for the tables about functions (default: start one here)")
	fl.StringVar(&locations, "locations", "", "file of sites and platforms with the distances to emulate, like configs/locations.yaml")
	fl.StringVar(&captures, "captures", os.Getenv("SWITCHBRIDGE_DATA"), "folder of captures whose names begin with iot-, home- or organisation-; for a missing kind, traffic is generated")
	fl.DurationVar(&cfg.RealPace, "real-pace", 0, "only play so much of each capture at its own pace")
	fl.StringVar(&cfg.Cbench, "cbench", "", "cbench's program, the paper's load generator, for comparison (default: cbench on PATH)")
	fl.StringVar(&prices, "prices", "", "file of prices, like configs/prices.yaml")
	return c
}

func compareCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "compare A B",
		Short:   "Compare the figures of two reports of bench paper",
		Example: `  switchbridge bench compare report other-report`,
		Long:    "Compare the figures of two reports of bench paper: folders, or their report.json. If the ranges of a figure's rounds don't overlap, it is marked as apart.",
		Args:    cli.Exactly(2, "two reports of bench paper"),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := paper.Read(args[0])
			if err != nil {
				return err
			}
			b, err := paper.Read(args[1])
			if err != nil {
				return err
			}
			return paper.Compare(c.OutOrStdout(), a, b)
		},
	}
}

// paperFunction is the function at a URL, asked as client says.
func paperFunction(client cli.ClientFlags, name, url string) (f *paper.Function, err error) {
	f = &paper.Function{Name: name, URL: url, Open: func(via string, full bool) (flow.Decider, func() error, error) {
		d, err := client.OpenVia(url, via, full)
		if err != nil {
			return nil, nil, err
		}
		return d, d.Close, nil
	}}
	f.HTTP, f.Header, err = client.Bare()
	return f, err
}

// localFunction starts switchbridge as a function over HTTPS, with an authority
// of its own, that decides by the text of a policy file.
func localFunction(client cli.ClientFlags) func(ctx context.Context, policy string, args ...string) (f *paper.Function, stop func(), err error) {
	return func(ctx context.Context, policy string, args ...string) (*paper.Function, func(), error) {
		return startFunction(ctx, client, policy, args)
	}
}

func startFunction(ctx context.Context, client cli.ClientFlags, policy string, args []string) (f *paper.Function, stop func(), err error) {
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
	client.CA, client.TokenFile = ca.Path, ""
	peer := bench.Peer{
		Name:    "a function on this machine",
		Command: []string{"{self}", "function", "serve", "--listen", "127.0.0.1:{port}", "--dev-ca", dir, "--policy", file, "--records", "off", "--log-level", "error"},
	}
	peer.Command = append(peer.Command, args...)
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
