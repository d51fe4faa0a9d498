package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"switchbridge/cmd/internal/cli"
	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/internal/adminclient"
	"switchbridge/settings"
)

// adminFlags say how a gateway's operator's side is called.
type adminFlags struct{ adminclient.Config }

func (f *adminFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.URL, "admin", settings.DefaultAdmin, "the gateway's admin address, or its URL (https://...)")
	f.credentials(fl)
}

// credentials adds the flags about what the operator's side is shown.
func (f *adminFlags) credentials(fl *pflag.FlagSet) {
	fl.StringVar(&f.TokenFile, "admin-token-file", "", "file with the token that opens the gateway's actions")
	fl.StringVar(&f.CA, "admin-ca", "", "PEM file of the authority that signed the admin side's certificate")
	fl.StringVar(&f.Cert, "admin-cert", "", "PEM file of a client certificate, which opens the gateway's actions instead of a token")
	fl.StringVar(&f.Key, "admin-key", "", "PEM file of its key")
}

func (f *adminFlags) client() (*adminclient.Client, error) {
	c, err := adminclient.New(f.Config)
	if err != nil {
		return nil, cli.Usage(err)
	}
	return c, nil
}

func reloadCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "reload",
		Short: "Make a running gateway read its configuration, policy and other files again",
		Long: `Make a running gateway read its configuration, policy and other files again, and
say how that went. If something is wrong, nothing changes, and the command prints
the reason. A gateway also reads its files by itself when they change, and on SIGHUP.

The gateway accepts this only with the token in its admin.token_file, or with a client
certificate.`,
		Example: `  switchbridge reload --admin-token-file token`,
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			var answer gateway.ReloadAnswer
			if err := client.Post(c.Context(), "/api/v1/reload", struct{}{}, &answer); err != nil {
				return err
			}
			tw := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, r := range answer.Reloads {
				fmt.Fprintf(tw, "%s\t%s\t%s\n", r.What, r.File, reloadText(r))
			}
			return tw.Flush()
		},
	}
	f.register(c.Flags())
	return c
}

func rollbackCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "rollback SERIAL-HASH",
		Short: "Take a running gateway back to an earlier policy",
		Long: `Take a running gateway back to a policy with a lower serial, and remove the rules of
the later one. First give the earlier policy to the functions (policy push --force).
When they have answered with it for a minute, the gateway's log says so, and this
command works. A gateway never goes back by itself, since an earlier policy may only
mean that one of several functions is late.`,
		Example: `  switchbridge policy rollback 17-0c0ffee1 --admin-token-file token`,
		Args:    cli.Exactly(1, "a policy's version, as status and policy check print it"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := flow.ParsePolicyVersion(args[0]); err != nil {
				return cli.Usage(err)
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			if err := client.Post(c.Context(), "/api/v1/policy/rollback", gateway.PolicyAction{Policy: args[0]}, nil); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "the gateway's policy is", args[0])
			return nil
		},
	}
	f.register(c.Flags())
	return c
}

// notifyFlags say which gateways are told of a new policy.
type notifyFlags struct {
	gateways []string
	admin    adminFlags
}

func (f *notifyFlags) register(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.gateways, "notify", nil, "admin address of a gateway to tell about the new policy (repeatable)")
	f.admin.credentials(fl)
}

// clients are those of the gateways.
func (f *notifyFlags) clients() ([]*adminclient.Client, error) {
	var list []*adminclient.Client
	for _, url := range f.gateways {
		g := f.admin
		g.URL = url
		c, err := g.client()
		if err != nil {
			return nil, fmt.Errorf("--notify: %w", err)
		}
		list = append(list, c)
	}
	return list, nil
}

// notify tells gateways of a new policy.
func notify(ctx context.Context, gateways []*adminclient.Client, notice gateway.NoticeAction) error {
	var errs []error
	for _, g := range gateways {
		if err := g.NoticeOf(ctx, notice); err != nil {
			errs = append(errs, fmt.Errorf("gateway %v was not told of policy %v: %w", g, notice.Policy, err))
		}
	}
	return errors.Join(errs...)
}

// joined is a list for people; "-" for none.
func joined(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}
