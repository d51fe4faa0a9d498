package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/bench"
	"switchbridge/bench/conversation"
	"switchbridge/cmd/internal/cli"
)

func conversationCommand() *cobra.Command {
	var cfg conversation.Config
	var quick bool
	var path string
	c := claimsCommand(&cobra.Command{
		Use:   "conversation",
		Short: "Measure what the first packets of a conversation wait for on a path of switches",
		Example: `  switchbridge bench conversation --quick
  switchbridge bench conversation --lengths 2 --rounds 3 --json`,
		Long: `Measure what the first packets of a conversation wait for on a path of switches,
and how often the function is called. The switches are Open vSwitch bridges in a row. The
gateway is a process, and the function is as far away as --rtt says. Two hosts in network
namespaces ping each other and connect, in turn with answers that are used again and without.
A generated capture of an organisation's hour shows how often the function is called, for each
way to install rules. Other controllers on this machine are measured with the same bridges, if
they are installed: ours, those of Debian's packages (make peers), and those of --peers.

The output ends with a line for each figure. If a goal is missed, the exit code is still 0. If
a ping or a connection gets no answer, it is 1. The command needs root.`,
	}, "lines of bridges", func(ctx context.Context, _ io.Writer, bar *cli.Progress) (findings, error) {
		if quick {
			cfg.Quick()
		}
		var err error
		if cfg.Peers, err = peers(path); err != nil {
			return nil, err
		}
		cfg.Peers = slices.DeleteFunc(cfg.Peers, func(p bench.Peer) bool {
			_, err := p.Find()
			return p.Name == bench.NameResponder || errors.Is(err, bench.ErrNotInstalled)
		})
		cfg.OnLine = func(l *conversation.Line) {
			what := fmt.Sprintf("replies %t, reuse %t", l.Replies, l.Reuse)
			if l.Peer != "" {
				what = l.Peer
			}
			bar.Step(int64((4+len(cfg.Peers))*len(cfg.Lengths)), fmt.Sprintf("%d bridges, %s: %d rounds, %d failed", l.Bridges, what, len(l.After), len(l.Failed)))
		}
		return conversation.Run(ctx, cfg)
	})
	fl := c.Flags()
	fl.BoolVar(&quick, "quick", false, "few rounds, and a twelfth of the hour: under two minutes")
	fl.IntSliceVar(&cfg.Lengths, "lengths", []int{4, 8}, "how many bridges stand in a row; one measurement for each number")
	fl.DurationVar(&cfg.RTT, "rtt", 15800*time.Microsecond, "round trip time to the function")
	fl.IntVar(&cfg.Rounds, "rounds", 15, "rounds with each number of bridges")
	fl.StringVar(&path, "peers", "", peersHelp)
	return c
}
