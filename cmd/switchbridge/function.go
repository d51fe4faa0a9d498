package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/selfhost"
	"switchbridge/faas/instance/embedded"
	"switchbridge/flow"
	"switchbridge/internal/adminclient"
)

func functionCommand() *cobra.Command {
	c := &cobra.Command{Use: "function", Short: "The controller as a function", Args: cli.NoArgs}
	c.AddCommand(serveCommand(), functionTestCommand())
	return c
}

// serveFlags are selfhost's Config, as flags have it.
type serveFlags struct {
	config              string
	server              selfhost.Config
	function            selfhost.Function
	lameDuck            time.Duration
	notify              notifyFlags
	check               bool
	logFormat, logLevel string
}

func serveCommand() *cobra.Command {
	f := serveFlags{server: selfhost.Default(), function: selfhost.DefaultFunction()}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the controller over HTTPS, in a pristine WebAssembly instance for each event",
		Long: `Serve the controller over HTTPS, for gateways started with --function URL.

Each event is decided in a WebAssembly instance that exists only for this event.
--native calls the controller without an instance; --wasm runs any guest that keeps
the ABI (docs/guest-abi.md). A file may list several functions with their host names
or paths (--config; configs/functions.yaml documents every key).

Without --cert it makes a development CA, which it keeps for later runs, and prints
the command for the gateway. If it listens at other addresses than loopback, it needs
--token-file or --client-ca: everybody who may call it can find out your policy.

The configuration, policy files, the lists that they name, the token file and the
certificate are read again when they change, and on SIGHUP. A file with a mistake
changes nothing. On SIGTERM the function finishes the events that it has begun. If
it was started in a terminal, it does the same when the terminal is closed.
If a platform gives the port, it accepts requests for some seconds more (--lame-duck),
since the platform's proxy still sends them.

Environment: PORT and FUNCTIONS_CUSTOMHANDLER_PORT are the port at which a platform
wants the function to listen, for its proxy, which does the TLS. SWITCHBRIDGE_TOKENS
is the token that callers need, or two tokens with a space between.`,
		Example: `  switchbridge function serve --policy policy.yaml
  switchbridge function serve --listen :8443 --cert cert.pem --key key.pem --token-file token
  switchbridge function serve --wasm guest.wasm --configure guest.conf --admin 127.0.0.1:9654`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	fl := c.Flags()
	fl.StringVar(&f.config, "config", "", "configuration file; other flags override it")
	fl.StringVar(&f.server.Listen, "listen", selfhost.DefaultListen, "address to serve at: HOST:PORT or unix:PATH")
	fl.StringVar(&f.server.Admin, "admin", "", "address of metrics, health and state (default: none)")
	fl.StringVar(&f.server.Token, "token-file", "", "file with the bearer token that callers need; during a change, a second line may have the new one")
	fl.StringVar(&f.server.TLS.Cert, "cert", "", "PEM file of the certificate")
	fl.StringVar(&f.server.TLS.Key, "key", "", "PEM file of its key")
	fl.StringVar(&f.server.TLS.ClientCA, "client-ca", "", "PEM file of the authority whose client certificates may call the function")
	fl.StringVar(&f.server.TLS.DevCA, "dev-ca", "", "folder of the development CA (default: the user's cache folder)")
	fl.BoolVar(&f.server.Plain, "plain", false, "serve HTTP without TLS: only on loopback, unix sockets, and the port that a platform gives")
	fl.StringVar(&f.server.Records, "records", "-", "where decision records go, one JSON line each: a file, - for standard output, off")
	fl.DurationVar(&f.lameDuck, "lame-duck", 0, fmt.Sprintf("at shutdown, answer requests for so long while /readyz says no (default: %v if a platform gives the port, else none)", selfhost.DefaultLameDuck))
	fl.DurationVar(&f.server.Drain, "drain-timeout", selfhost.DefaultDrain, "longest time to shut down: --lame-duck, then the time to finish events")
	fl.StringVar(&f.server.CacheDir, "cache", embedded.DefaultCacheDir(), "folder for compiled guests, for a quick start; empty for none")

	fl.StringVar(&f.server.State.URL, "state", "", "store of the policies' machines: travel:, memory:, bbolt:FILE, redis://HOST:PORT, ... (docs/state.md)")

	fl.StringVar(&f.function.Policy, "policy", "", "policy file")
	fl.BoolVar(&f.function.Native, "native", false, "call the controller that is compiled in, without an instance for each event")
	fl.StringVar(&f.function.Wasm, "wasm", "", "file of another guest that keeps the ABI; with --policy it gets the compiled policy")
	fl.StringVar(&f.function.Configure, "configure", "", "configuration file of the --wasm guest, in its own format, instead of a policy")
	fl.IntVar(&f.function.Concurrency, "concurrency", f.function.Concurrency, "events at once; further ones are answered with 429")
	fl.IntVar(&f.function.Instances, "instances", 0, "instances that decide at once (default: twice the cores)")
	fl.DurationVar(&f.function.Deadline, "deadline", f.function.Deadline, "longest time for one event in an instance")
	fl.IntVar(&f.function.Memory, "memory", f.function.Memory, "greatest memory of one instance, in MiB")

	f.notify.register(fl)
	fl.BoolVar(&f.check, "check", false, "check configuration, policies and guests, fill the cache, and exit")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// functionFlags are those about one function, which a configuration file has a list of.
var functionFlags = []string{"policy", "native", "wasm", "configure", "concurrency", "instances", "deadline", "memory"}

func (f *serveFlags) run(c *cobra.Command) error {
	log, err := newLogger(c.ErrOrStderr(), f.logFormat, f.logLevel, new(slog.LevelVar))
	if err != nil {
		return cli.Usage(err)
	}
	config, err := f.settings(c, os.Getenv)
	if err != nil {
		return cli.Usage(err)
	}
	if f.check {
		config.State = config.State.Beside()
	}
	records, closeRecords, err := openRecords(config.Records, c.OutOrStdout())
	if err != nil {
		return err
	}
	defer closeRecords()
	server, err := selfhost.New(config, records, log)
	if err != nil {
		return err
	}
	if f.check {
		defer server.Close()
		if err := server.Check(c.Context()); err != nil {
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), "the functions are good")
		return nil
	}
	ctx, stop := cli.OnHangup(c.Context(), func(ctx context.Context) { _ = server.Reload(ctx) }) // the log has the error
	defer stop()
	if err := server.Listen(); err != nil {
		return err
	}
	for _, st := range server.Status() {
		log.Info("serving a function", "function", st.Name, "by", st.Kind, "host", st.Host, "path", st.Path, "policy", st.Policy)
	}
	serving := []any{"listen", server.Addr().String()}
	if flags := server.GatewayFlags(); flags != "" {
		serving = append(serving, "gateway_line", "switchbridge run "+flags)
	}
	log.Info("serving", serving...)
	if a := server.AdminAddr(); a != nil {
		log.Info("metrics, health and state", "admin", "http://"+a.String())
	}
	gateways, err := f.notify.clients()
	if err != nil {
		return err
	}
	told := &teller{gateways: gateways, log: log}
	server.OnPolicy = func(v flow.PolicyVersion) { told.tell(c.Context(), v) }
	defer told.wait()
	if f.config != "" {
		err := server.Watch(f.config, func() (selfhost.Config, error) { return f.settings(c, os.Getenv) })
		if err != nil {
			return err
		}
	}
	return server.Run(ctx)
}

// settings are the file's, with what flags and environment say put over them.
func (f *serveFlags) settings(c *cobra.Command, getenv func(string) string) (selfhost.Config, error) {
	config := f.server
	config.Functions = []selfhost.Function{f.function}
	changed := c.Flags().Changed
	if f.config != "" {
		var err error
		if config, err = selfhost.Load(f.config); err != nil {
			return config, err
		}
		for _, name := range functionFlags {
			if changed(name) && len(config.Functions) > 0 {
				return config, fmt.Errorf("--%s is for a single function, and %s lists several", name, f.config)
			}
		}
		if len(config.Functions) == 0 {
			config.Functions = []selfhost.Function{f.function}
		}
		over := func(name string, dst *string, value string) {
			if changed(name) {
				*dst = value
			}
		}
		over("listen", &config.Listen, f.server.Listen)
		over("admin", &config.Admin, f.server.Admin)
		over("token-file", &config.Token, f.server.Token)
		over("cert", &config.TLS.Cert, f.server.TLS.Cert)
		over("key", &config.TLS.Key, f.server.TLS.Key)
		over("client-ca", &config.TLS.ClientCA, f.server.TLS.ClientCA)
		over("dev-ca", &config.TLS.DevCA, f.server.TLS.DevCA)
		over("state", &config.State.URL, f.server.State.URL)
		over("records", &config.Records, f.server.Records)
		over("cache", &config.CacheDir, f.server.CacheDir)
		config.Plain = config.Plain || f.server.Plain
		if changed("drain-timeout") {
			config.Drain = f.server.Drain
		}
		if config.CacheDir == "" && !changed("cache") {
			config.CacheDir = embedded.DefaultCacheDir()
		}
	}
	if changed("lame-duck") {
		config.LameDuck = &f.lameDuck
	}
	if !changed("listen") && (f.config == "" || config.Listen == "") {
		config.Listen = httphost.ListenAddress(getenv, selfhost.DefaultListen)
		config.Proxied = config.Listen != selfhost.DefaultListen
	}
	config.Version = cli.Version(version)
	if config.Token == "" {
		config.Tokens = strings.TrimSpace(getenv("SWITCHBRIDGE_TOKENS"))
	}
	return config, config.Validate()
}

// teller tells gateways of new policies, beside what else happens.
type teller struct {
	gateways []*adminclient.Client
	log      *slog.Logger
	calls    sync.WaitGroup
}

// tellWithin bounds a call: a gateway that is away asks for the policy when it is back.
const tellWithin = 5 * time.Second

func (t *teller) tell(ctx context.Context, v flow.PolicyVersion) {
	for _, g := range t.gateways {
		t.calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, tellWithin)
			defer cancel()
			if err := g.Notice(ctx, v); err != nil {
				t.log.Warn("a gateway was not told of the new policy, and sees it at its next policy check", "gateway", g.String(), "policy", v.String(), "err", err)
				return
			}
			t.log.Info("a gateway was told of the new policy", "gateway", g.String(), "policy", v.String())
		})
	}
}

func (t *teller) wait() { t.calls.Wait() }

func openRecords(where string, stdout io.Writer) (io.Writer, func() error, error) {
	nothing := func() error { return nil }
	switch where {
	case "-":
		return stdout, nothing, nil
	case "off", "":
		return nil, nothing, nil
	}
	file, err := os.OpenFile(where, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("records: %w", err)
	}
	return file, file.Close, nil
}
