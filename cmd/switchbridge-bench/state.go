package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"switchbridge/bench/natsnode"
	"switchbridge/bench/paper"
	"switchbridge/cmd/internal/cli"
)

func stateCommand() *cobra.Command {
	var cfg paper.StateConfig
	var client cli.ClientFlags
	c := claimsCommand(&cobra.Command{
		Use:   "state",
		Short: "Measure policies with and without state, for each store",
		Example: `  switchbridge bench state --quick
  switchbridge bench state --store memory,bbolt --json`,
		Long: `Measure policies with and without states, of 500 entries each, with the first events
of an organisation's traffic: in process, over HTTPS, and over a round trip of 14 ms,
with each store, and with states that travel with the events. NATS is part of this
program. Redis is left out if redis-server is not installed. DynamoDB is left out without
DynamoDB Local (make dynamodb; DYNAMODB_LOCAL names another folder) and without root.

The output ends with a line for each figure. If a goal is missed, the exit code is still 0.
If an event is denied or not answered, it is 1.`,
	}, "steps", func(ctx context.Context, _ io.Writer, bar *cli.Progress) (findings, error) {
		cfg.Local = localFunction(client)
		cfg.OnStep = bar.Say
		cfg.OnDone = func(done, of int) { bar.Set(int64(done), int64(of), "") }
		return paper.State(ctx, cfg)
	})
	fl := c.Flags()
	client.Register(fl)
	fl.BoolVar(&cfg.Quick, "quick", false, "one short round: under two minutes")
	fl.StringSliceVar(&cfg.Stores, "store", nil, "stores: travelling, memory, bbolt, redis, dynamodb, nats (default: these), or NAME=URL, such as aws='dynamodb://table?region=NAME'")
	return c
}

// natsCommand is what other commands start as a store.
func natsCommand() *cobra.Command {
	var n natsnode.Node
	c := &cobra.Command{
		Use: "nats-server", Short: "Be a NATS server with JetStream", Hidden: true, Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return n.Serve(c.Context()) },
	}
	fl := c.Flags()
	fl.StringVar(&n.Listen, "listen", "", "HOST:PORT for clients")
	fl.StringVar(&n.Dir, "dir", "", "folder of what it stores")
	fl.StringVar(&n.Name, "name", "", "its name in a cluster")
	fl.StringVar(&n.Cluster, "cluster", "", "HOST:PORT for the other servers of its cluster; empty: it is alone")
	fl.StringSliceVar(&n.Routes, "routes", nil, "HOST:PORT of all servers of its cluster")
	return c
}
