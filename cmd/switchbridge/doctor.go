package main

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"switchbridge/cmd/internal/cli"
	"switchbridge/doctor"
	"switchbridge/internal/vsctl"
)

func doctorCommand() *cobra.Command {
	var f runFlags
	var o doctor.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check Open vSwitch, configuration, function and gateway, and say what to type",
		Long: `Check everything that a gateway needs: the configuration and its policy, certificates and
the clock, the function, Open vSwitch and its bridges, and the gateway itself if it runs.
Give it the same flags as switchbridge run. It changes nothing. Run it as root,
or as a user who may ask Open vSwitch.

For each fault it says what to type. A warning is about something that works but may
not do what you want. A note is about something that could not be checked.

Exit codes: 0 no fault, 1 a fault, 2 a mistake in the command line.`,
		Example: `  switchbridge doctor
  switchbridge doctor --config switchbridge.yaml
  switchbridge doctor --policy policy.yaml --bridge br0 --json`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Settings, o.Wrong = f.settings(c); o.Wrong != nil && f.config == "" {
				return cli.Usage(o.Wrong) // a flag's value
			}
			o.Run, o.Version = runLine(c), cli.Version(version)
			list := doctor.Examine(c.Context(), o)
			write := func() error { return doctor.WriteText(c.OutOrStdout(), list) }
			if asJSON {
				write = func() error {
					return cli.WriteJSON(c.OutOrStdout(), map[string]any{"faults": doctor.Faults(list), "findings": list})
				}
			}
			if err := write(); err != nil || doctor.Faults(list) == 0 {
				return err
			}
			return errors.New("there are faults")
		},
	}
	fl := c.Flags()
	f.register(fl)
	fl.StringVar(&o.Admin.CA, "admin-ca", "", "PEM file of the authority that signed the admin side's certificate (default: the configuration's own certificate)")
	fl.StringSliceVar(&o.Bridges, "bridge", nil, "bridge to look at (repeatable; default: those that connect to the gateway, or the only one)")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// runLine is the line that starts a gateway with the flags that doctor was given.
func runLine(c *cobra.Command) string {
	line := []string{vsctl.Quoted(os.Args[0]), "run"}
	ofRun := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(runFlags).register(ofRun)
	c.Flags().Visit(func(f *pflag.Flag) {
		if ofRun.Lookup(f.Name) == nil {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			line = append(line, "--"+f.Name, vsctl.Quoted(v))
		}
	})
	return strings.Join(line, " ")
}
