package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"switchbridge/cmd/internal/cli"
	"switchbridge/gateway"
	"switchbridge/settings"
)

func runCommand() *cobra.Command {
	f, d := runFlags{}, settings.Default()
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway",
		Long: fmt.Sprintf(`Run the gateway: accept switches, ask a function about each packet that they
have no rule for, and install what it answers.

Without a configuration it listens for OpenFlow on %s and serves
a page, metrics, health and state on %s. Without --function the controller
runs in this process and decides each event in a WebAssembly instance of its own;
--function native calls it without an instance. Without --policy it allows everything,
and says so.

The configuration and every file that it names are read again when they change,
on SIGHUP, and by switchbridge reload. A file with a mistake changes nothing
(docs/operating.md). If the gateway was started in a terminal, SIGHUP means that the
terminal was closed, and the gateway ends as on SIGTERM.`, d.OpenFlow.Listen[0].Address, d.Admin.Listen),
		Example: `  switchbridge run --policy policy.yaml
  switchbridge run --policy policy.yaml --shadow next.yaml
  switchbridge run --function https://127.0.0.1:8443 --function-ca ca.pem --function-token-file token
  switchbridge run --config switchbridge.yaml --check`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			set, err := f.settings(c)
			if err != nil {
				return cli.Usage(err)
			}
			level := new(slog.LevelVar)
			log, err := newLogger(c.ErrOrStderr(), set.Log.Format, set.Log.Level, level)
			if err != nil {
				return cli.Usage(err)
			}
			o := gateway.Options{Version: cli.Version(version), Logger: log, Level: level}
			if f.check {
				g, err := gateway.Beside(set, o)
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "the configuration is good\nevery event passes: %s\n", g.Chain())
				return g.Close()
			}
			o.Config, o.Load = f.config, func() (*settings.Settings, error) { return f.settings(c) }
			g, err := gateway.New(set, o)
			if err != nil {
				return err
			}
			ctx, stop := cli.OnHangup(c.Context(), func(ctx context.Context) { _ = g.Reload(ctx, "SIGHUP") }) // the log has the error
			defer stop()
			return g.Run(ctx)
		},
	}
	fl := c.Flags()
	f.register(fl)
	fl.StringVar(&f.shadow, "shadow", "", "second policy file or function's URL: it is asked about every event, too, and its answers are only compared (docs/operating.md)")
	fl.StringVar(&f.decisions, "log-decisions", d.Log.Decisions, "a log record for each decision: all, deny or off")
	fl.StringVar(&f.logFormat, "log-format", d.Log.Format, "text or json")
	fl.StringVar(&f.logLevel, "log-level", d.Log.Level, "debug, info, warn or error")
	fl.BoolVar(&f.pprof, "pprof", false, "serve profiles under /debug/pprof/ on the admin address")
	fl.BoolVar(&f.check, "check", false, "check the configuration and the policy, and exit")
	return c
}

// register adds the flags that say what a gateway is made of.
func (f *runFlags) register(fl *pflag.FlagSet) {
	d := settings.Default()
	fl.StringVar(&f.config, "config", "", "configuration file (configs/reference.yaml documents every key)")
	fl.StringSliceVar(&f.openflow, "openflow", listens(d), "where switches connect: tcp:HOST:PORT, ssl:HOST:PORT or unix:PATH (repeatable)")
	fl.StringArrayVar(&f.p4, "p4", nil, "P4Runtime switch: device=1,addr=HOST:PORT[,ports=1-4][,miss=punt]... (repeatable; docs/p4.md)")
	fl.StringVar(&f.admin, "admin", d.Admin.Listen, "address of the page, metrics, health and state; \"off\" for none")
	fl.StringSliceVar(&f.function, "function", d.Function.URLs, "embedded, native, or a function's URL (https://, http://, unix:///path; repeatable for failover)")
	fl.StringVar(&f.policy, "policy", "", "policy file, for embedded and native")
	fl.StringVar(&f.state, "state", d.State.URL, "store of the policy's machines: travel:, memory:, bbolt:FILE, redis://HOST:PORT, ... (docs/state.md)")
	fl.StringVar(&f.token, "function-token-file", "", "file with the bearer token for the function")
	fl.StringVar(&f.ca, "function-ca", "", "PEM file of the authority that signed the function's certificate")
	fl.StringVar(&f.encoding, "encoding", d.Function.Encoding, "encoding of events and answers: openflow or json")
}

type runFlags struct {
	config, admin, policy, shadow, state, token, ca, encoding string
	decisions, logFormat, logLevel                            string
	openflow, function, p4                                    []string
	pprof, check                                              bool
}

// settings are the file's, with what the flags say put over them.
func (f *runFlags) settings(c *cobra.Command) (*settings.Settings, error) {
	set := settings.Default()
	if f.config != "" {
		var err error
		if set, err = settings.Load(f.config); err != nil {
			return nil, err
		}
	}
	if c.Flags().Changed("openflow") {
		set.OpenFlow.Listen = nil
		for _, s := range f.openflow {
			l, err := settings.ParseListen(s)
			if err != nil {
				return nil, fmt.Errorf("--openflow: %w", err)
			}
			set.OpenFlow.Listen = append(set.OpenFlow.Listen, l)
		}
	}
	over := func(flag string, dst *string, value string) {
		if c.Flags().Changed(flag) {
			*dst = value
		}
	}
	if len(f.p4) > 0 {
		set.P4.Switches = nil
		for _, text := range f.p4 {
			sw, err := settings.ParseP4Switch(text)
			if err != nil {
				return nil, fmt.Errorf("--p4: %w", err)
			}
			set.P4.Switches = append(set.P4.Switches, sw)
		}
	}
	if c.Flags().Changed("function") {
		set.Function.URLs = f.function
	}
	over("admin", &set.Admin.Listen, strings.TrimPrefix(f.admin, "off"))
	over("policy", &set.Policy, f.policy)
	over("state", &set.State.URL, f.state)
	if c.Flags().Changed("shadow") {
		set.Shadow = f.shadowed()
	}
	over("function-token-file", &set.Function.TokenFile, f.token)
	over("function-ca", &set.Function.CA, f.ca)
	over("encoding", &set.Function.Encoding, f.encoding)
	over("log-decisions", &set.Log.Decisions, f.decisions)
	over("log-format", &set.Log.Format, f.logFormat)
	over("log-level", &set.Log.Level, f.logLevel)
	set.Admin.Pprof = set.Admin.Pprof || f.pprof
	if err := set.Validate(); err != nil {
		return nil, err
	}
	return set, nil
}

// shadowed is what --shadow says. A function is shown the token and the authority that the first one is.
func (f *runFlags) shadowed() settings.Shadow {
	if !strings.Contains(f.shadow, "://") {
		return settings.Shadow{Policy: f.shadow}
	}
	function := settings.Default().Function
	function.URLs, function.TokenFile, function.CA, function.Encoding = []string{f.shadow}, f.token, f.ca, f.encoding
	return settings.Shadow{Function: &function}
}

// listens are the listeners of settings as the flag takes them.
func listens(set *settings.Settings) (list []string) {
	for _, l := range set.OpenFlow.Listen {
		list = append(list, l.String())
	}
	return list
}

// newLogger writes text for people or JSON for machines.
func newLogger(w io.Writer, format, level string, now *slog.LevelVar) (*slog.Logger, error) {
	if err := now.UnmarshalText([]byte(level)); err != nil {
		return nil, err
	}
	o := &slog.HandlerOptions{Level: now}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return slog.New(slog.NewTextHandler(w, o)), nil
}
