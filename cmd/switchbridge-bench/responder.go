package main

import (
	"net"

	"github.com/spf13/cobra"

	"switchbridge/bench"
	"switchbridge/cmd/internal/cli"
	"switchbridge/ofproxy/ofp"
)

// responderCommand is what the other commands start as the controller that
// does nothing.
func responderCommand() *cobra.Command {
	var listen string
	var r bench.Responder
	c := &cobra.Command{
		Use:    "responder",
		Short:  "Run a controller that answers every packet alike, for comparison",
		Hidden: true,
		Args:   cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			return r.Serve(c.Context(), ln)
		},
	}
	c.Flags().StringVar(&listen, "listen", ofp.DefaultAddress, "address to serve at")
	c.Flags().DurationVar(&r.Delay, "delay", 0, "hold each answer back for so long")
	return c
}
