package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/bridge"
	"switchbridge/cmd/internal/cli"
	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/p4bridge"
	"switchbridge/p4bridge/propose"
	"switchbridge/settings"
)

func p4CheckCommand() *cobra.Command {
	var interfaces []string
	var push bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "check SWITCH",
		Short: "Try a mapping against a running switch",
		Long: `Try a mapping on a running switch: write, read back and remove one entry for
each action of each mapped table, and the entry or default action that asks. For every
port whose other end --interface names, send a packet in each direction. SWITCH is
written as for run --p4.

The switch must have no other primary controller, so stop the gateway first.
A switch without a program gets this one. The check does not touch entries of others,
and removes what it wrote, except the mapping's multicast groups, clone sessions and
setup, which a gateway writes again anyway.

A note names a property of the program that no mapping can repair. The check fails
if anything that it tried did not work.`,
		Example: `  switchbridge p4 check device=1,addr=127.0.0.1:9559,p4info=my.p4info.txtpb,json=my.json,mapping=my.yaml,miss=punt
  switchbridge p4 check device=1,addr=127.0.0.1:9559,ports=1-2 --interface 1=h1 --interface 2=h2`,
		Args: cli.Exactly(1, "SWITCH, as run's --p4 takes it"),
		RunE: func(c *cobra.Command, args []string) error {
			opt := p4bridge.CheckOptions{Push: push, Wait: wait, Wires: map[uint32]p4bridge.Wire{}}
			failed := 0
			opt.Report = func(what string, err error) {
				switch {
				case err == nil:
					fmt.Fprintf(c.OutOrStdout(), "ok    %s\n", what)
					return
				case errors.Is(err, p4bridge.ErrNotTried):
					fmt.Fprintf(c.OutOrStdout(), "-     %s: %v\n", what, err)
					return
				}
				failed++
				fmt.Fprintf(c.OutOrStdout(), "FAIL  %s: %s\n", what, strings.ReplaceAll(err.Error(), "\n", "\n      "))
			}
			for _, text := range interfaces {
				port, name, ok := strings.Cut(text, "=")
				n, err := strconv.ParseUint(port, 10, 32)
				if !ok || err != nil || n == 0 || name == "" {
					return cli.Usagef("--interface %q: want PORT=NAME, such as 1=veth1", text)
				}
				w, err := openWire(name)
				if err != nil {
					return fmt.Errorf("--interface %s: %w", text, err)
				}
				defer w.Close()
				opt.Wires[uint32(n)] = w
			}
			s, cautions, err := checkedSwitch(args[0])
			if err != nil {
				return err
			}
			for _, caution := range cautions {
				fmt.Fprintf(c.OutOrStdout(), "note  %s\n", caution)
			}
			if err := s.Check(c.Context(), opt); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("%d of the checks failed", failed)
			}
			return nil
		},
	}
	fl := c.Flags()
	fl.StringArrayVar(&interfaces, "interface", nil, "PORT=NAME: the interface at the other end of a port's cable (repeatable; Linux, and root)")
	fl.BoolVar(&push, "push", false, "if the switch runs another program, replace it, with all its entries")
	fl.DurationVar(&wait, "wait", 3*time.Second, "longest time to wait for a packet")
	return c
}

// checkedSwitch is a session that serves nobody, and what its program does that no trial shows.
func checkedSwitch(text string) (_ *p4bridge.Session, cautions []string, err error) {
	sw, err := settings.ParseP4Switch(text)
	if err != nil {
		return nil, nil, cli.Usage(err)
	}
	cfg, err := gateway.P4Config(&sw)
	if err != nil {
		return nil, nil, err
	}
	cautions = propose.Cautions(cfg.Pipeline, cfg.Mapping.HoldsPorts())
	if sw.Election == 0 {
		cfg.Election.Low = 1 // below every gateway's: a check takes no switch away
	}
	if cfg.Bridge, err = bridge.New(bridge.Config{Decider: nobody{}}); err != nil {
		return nil, nil, err
	}
	s, err := p4bridge.New(cfg)
	return s, cautions, err
}

// nobody is asked nothing: a check serves no packets.
type nobody struct{}

func (nobody) Decide(context.Context, *flow.Event, *flow.Decision) error {
	return errors.New("a check decides nothing")
}
