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
		Short: "Make the leading gateway give the lead to the other one",
		Long: `Make the leading gateway give the lead to the other one of its pair. No packet is
lost: first all switches confirm what they were sent, then the gateway passes the
packets that it still has to the other one. Give the admin address of the gateway
that leads; status says which one that is.`,
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
		Short: "Make the certificates by which the gateways of a pair recognise each other",
		Long: `Make the certificates by which the gateways of a pair recognise each other: gateway-0
and gateway-1, each for the name or address at which the other one reaches it, and the
authority that signed them. They are valid for 90 days. Use a folder only for them,
since everybody who has the authority's key can join the pair. If you run the command
again with the same folder, it keeps the authority.`,
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
	c.Flags().StringVar(&dir, "dir", "pair-certs", "folder for the certificates")
	return c
}
