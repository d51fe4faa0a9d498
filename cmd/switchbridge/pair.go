package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/faas/function/devca"
	"switchbridge/pair"
)

func pairCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "pair",
		Short: "Two gateways that serve the same switches",
		Args:  cli.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(handoverCommand(), pairCertsCommand())
	return c
}

func handoverCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "handover",
		Short: "Have the gateway that leads give the lead to the other one",
		Long: `Have the gateway that leads give the lead to the other one of its pair, without a
packet lost: all switches confirm what they were sent first, and the packets that
it still has of them go to the other gateway. Ask the one that leads; status says
which it is.`,
		Example: `  switchbridge pair handover --admin-token-file token`,
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			var st pair.Status
			if err := client.Post(c.Context(), "/api/v1/pair/handover", struct{}{}, &st); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), st.Peer, "leads")
			return nil
		},
	}
	f.register(c.Flags())
	return c
}

func pairCertsCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "certs HOST HOST",
		Short: "Make the certificates by which the gateways of a pair know each other",
		Long: `Make the certificates by which the gateways of a pair know each other: gateway-0
and gateway-1, each for the name or address at which the other reaches it, good
for 90 days, and the authority that signed them. It needs a folder of its own,
since whoever has the authority's key can join. Made again in the same folder,
the authority stays.`,
		Example: `  switchbridge pair certs --dir pair-certs 10.0.0.1 10.0.0.2`,
		Args:    cli.Exactly(2, "the names or addresses of the two gateways"),
		RunE: func(c *cobra.Command, hosts []string) error {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			ca, err := devca.Open(dir)
			if err != nil {
				return err
			}
			for i, host := range hosts {
				cert, key, err := ca.Files(dir, fmt.Sprintf("gateway-%d", i), host)
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "pair: {member: %d, cert: %s, key: %s, ca: %s}  # on %s\n", i, cert, key, ca.Path, host)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "pair-certs", "folder for them")
	return c
}
