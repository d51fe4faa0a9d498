package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/flow"
	"switchbridge/functiontest"
	"switchbridge/policy/policytest"
)

// functionTestFlags are functiontest's Config, as flags have it.
type functionTestFlags struct {
	client    cli.ClientFlags
	encodings []string
	packets   []string
	junit     string
	strict    bool
	config    functiontest.Config
}

func functionTestCommand() *cobra.Command {
	var f functionTestFlags
	c := &cobra.Command{
		Use:   "test URL",
		Short: "Test whether a function, in any language, keeps the contract",
		Long: `Test whether a function, in any language, keeps the contract (docs/contract.md).

It sends events of every type as a gateway does: of OpenFlow 1.0 and 1.3 and of P4,
in both encodings if the function speaks both. It judges the answers as a gateway
does. Can they be read? Would a gateway install their rules? Are they the same when an
event is sent again, or together with others? Are fragments handled safely?
docs/functions.md lists all checks.

It does not know what your function should decide. With --packet it also asks about
packets of your network, written as in a policy's expectations. It sends more than a
thousand events: don't use it on a function that counts its events.

Exit codes: 0 no check failed, 1 one failed (with --strict, or has a warning).`,
		Example: `  switchbridge function test http://127.0.0.1:8080
  switchbridge function test https://f.example/decide --function-token-file token --junit report.xml
  switchbridge function test http://127.0.0.1:8080 --packet 'tcp 10.0.0.1:40000 > 10.0.0.2:22'`,
		Args: cli.Exactly(1, "the function's URL"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args[0]) },
	}
	fl := c.Flags()
	f.client.RegisterConnection(fl)
	fl.StringSliceVar(&f.encodings, "encoding", nil, "test these encodings: openflow, json (default: those that the function speaks)")
	fl.StringSliceVar(&f.config.Checks, "check", nil, "make these checks, after those of the events (default: all)")
	fl.StringArrayVar(&f.packets, "packet", nil, "ask about this packet, too; may be given again")
	fl.StringVar(&f.junit, "junit", "", "write a report in JUnit's form to this file")
	fl.BoolVar(&f.strict, "strict", false, "a warning counts as a failure")
	fl.IntVar(&f.config.Concurrency, "concurrency", functiontest.DefaultConcurrency, "events at once in the check of that name")
	fl.IntVar(&f.config.Samples, "samples", functiontest.DefaultSamples, "events for measuring the latency")
	fl.DurationVar(&f.config.MaxLatency, "max-latency", 0, "99 of 100 events must be answered within this (default: no limit)")
	return c
}

func (f *functionTestFlags) run(c *cobra.Command, url string) error {
	for _, e := range f.encodings {
		if e != "openflow" && e != "json" {
			return cli.Usagef("--encoding %q: want openflow or json", e)
		}
	}
	for _, name := range f.config.Checks {
		if !slices.Contains(functiontest.Names(), name) {
			return cli.Usagef("--check %q: want one of %s", name, strings.Join(functiontest.Names(), ", "))
		}
	}
	config := f.config
	config.Encodings = f.encodings
	for _, line := range f.packets {
		for _, p := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
			frame, port, err := policytest.Packet(line)
			if err != nil {
				return cli.Usagef("--packet: %w", err)
			}
			config.Packets = append(config.Packets, functiontest.PacketCase(line, p, frame, port))
		}
	}
	client, header, err := f.client.Bare()
	if err != nil {
		return err
	}
	if _, err := http.NewRequest(http.MethodPost, url, nil); err != nil {
		return cli.Usage(err)
	}
	config.Exchange = functiontest.Posts(client, url, header)
	results := functiontest.Run(c.Context(), config)
	if err := functiontest.WriteTable(c.OutOrStdout(), results); err != nil {
		return err
	}
	if f.junit != "" {
		var report bytes.Buffer
		if err := functiontest.WriteJUnit(&report, results, f.strict); err != nil {
			return err
		}
		if err := os.WriteFile(f.junit, report.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if functiontest.NoAnswer(results) {
		return fmt.Errorf("no function answers at %s: is it running?", url)
	}
	if functiontest.AnyFailed(results, f.strict) {
		return errors.New("the function does not keep the contract")
	}
	return nil
}
