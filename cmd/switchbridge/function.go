package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"switchbridge/faas/auth"
	"switchbridge/faas/devca"
	"switchbridge/faas/httphost"
	"switchbridge/faas/policyhost"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/gateway"
)

func functionCommand() *cobra.Command {
	c := &cobra.Command{Use: "function", Short: "The controller as a function", Args: noArgs}
	c.AddCommand(serveCommand())
	return c
}

type serveFlags struct {
	listen, policy, tokenFile  string
	cert, key, clientCA, caDir string
	records                    string
	concurrency                int
	plain                      bool
	logFormat, logLevel        string
}

func serveCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the controller over HTTPS",
		Long: `Serve the controller over HTTPS, for gateways started with --function URL.

Without --cert it makes a development CA, which stays the same from run to run,
and prints the gateway's line. Off loopback it wants --token-file or --client-ca:
whoever may call it may ask what your policy is.

The policy file, and the lists that it names, are read again when they change.

Examples:
  switchbridge function serve --policy policy.yaml
  switchbridge function serve --listen :8443 --cert cert.pem --key key.pem --token-file token`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr()) },
	}
	fl := c.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8443", "address to serve at: HOST:PORT or unix:PATH")
	fl.StringVar(&f.policy, "policy", "", "policy file")
	fl.StringVar(&f.tokenFile, "token-file", "", "file with the bearer token that callers need; a second line is the next one, during a change")
	fl.StringVar(&f.cert, "cert", "", "PEM file of the certificate")
	fl.StringVar(&f.key, "key", "", "PEM file of its key")
	fl.StringVar(&f.clientCA, "client-ca", "", "PEM file of the authority whose client certificates callers need")
	fl.StringVar(&f.caDir, "dev-ca", "", "folder of the development CA (default: the user's cache folder)")
	fl.BoolVar(&f.plain, "plain", false, "serve HTTP without TLS, on loopback and unix sockets only")
	fl.StringVar(&f.records, "records", "-", "where decision records go, one JSON line each: a file, - for standard output, off")
	fl.IntVar(&f.concurrency, "concurrency", httphost.DefaultMaxConcurrent, "events at a time; more are answered with 429")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

func (f *serveFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	log, err := newLogger(stderr, f.logFormat, f.logLevel)
	if err != nil {
		return usageError{err}
	}
	var tokens *auth.TokenFile
	if f.tokenFile != "" {
		if tokens, err = auth.OpenTokens(f.tokenFile); err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
	}
	socket, isSocket := strings.CutPrefix(f.listen, "unix:")
	local := isSocket || onLoopback(f.listen)
	switch {
	case (f.cert == "") != (f.key == ""):
		return usageError{errors.New("--cert and --key go together")}
	case !local && tokens == nil && f.clientCA == "":
		return usageError{fmt.Errorf("--listen %s is not loopback: it needs --token-file or --client-ca", f.listen)}
	case f.plain && (!local || f.cert != "" || f.clientCA != ""):
		return usageError{errors.New("--plain serves loopback and unix sockets only, and without certificates")}
	}
	records, closeRecords, err := openRecords(f.records, stdout)
	if err != nil {
		return err
	}
	defer closeRecords()
	file, p, err := policyhost.Open(f.policy, log)
	if err != nil {
		return err
	}
	native := policyhost.NewNative(p)
	controller, err := httphost.New(httphost.Config{
		Decider: native, Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}},
		MaxConcurrent: f.concurrency, Records: records, Log: log,
	})
	if err != nil {
		return err
	}
	handler, err := httphost.NewMux(httphost.MuxConfig{
		Functions: []httphost.Function{{Name: "controller", Handler: controller}},
		Tokens:    tokens, ClientCerts: f.clientCA != "", Log: log,
	})
	if err != nil {
		return err
	}

	network, address := "tcp", f.listen
	if isSocket {
		network, address = "unix", socket
		gateway.RemoveStaleSocket(socket)
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	var tc *tls.Config
	line := "switchbridge run --function "
	switch {
	case isSocket:
		abs, err := filepath.Abs(socket)
		if err != nil {
			return err
		}
		line += "unix://" + abs
	case f.plain:
		line += "http://" + l.Addr().String()
	default:
		var ca string
		if tc, ca, err = f.tls(l); err != nil {
			l.Close()
			return err
		}
		line += "https://" + l.Addr().String()
		if ca != "" {
			line += " --function-ca " + ca
		}
	}
	if f.tokenFile != "" {
		line += " --function-token-file " + f.tokenFile
	}
	log.Info("serving the function", "listen", l.Addr().String(), "policy", native.Version().String(), "gateway_line", line)
	return serve(ctx, httphost.NewServer(handler, tc), l, tc != nil, func(ctx context.Context) error { return file.Watch(ctx, native, nil) }, log)
}

// serve runs the server and the watch over the policy file until ctx is done.
func serve(ctx context.Context, srv *http.Server, l net.Listener, secure bool, watch func(context.Context) error, log *slog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return watch(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			log.Warn("requests were still running at the end", "err", err)
			srv.Close()
		}
		return nil
	})
	group.Go(func() error {
		var err error
		if secure {
			err = srv.ServeTLS(l, "", "")
		} else {
			err = srv.Serve(l)
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	return group.Wait()
}

// tls is the given certificate, or one of the development CA, whose file it
// then returns.
func (f *serveFlags) tls(l net.Listener) (*tls.Config, string, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	path := ""
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, "", err
		}
		c.Certificates = []tls.Certificate{pair}
	} else {
		dir := f.caDir
		if dir == "" {
			var err error
			if dir, err = devca.DefaultDir(); err != nil {
				return nil, "", fmt.Errorf("no place for the development CA: %w (--dev-ca FOLDER)", err)
			}
		}
		ca, err := devca.Open(dir)
		if err != nil {
			return nil, "", err
		}
		hosts := []string{"localhost", "127.0.0.1", "::1"}
		if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil {
			hosts = append(hosts, host)
		}
		if name, err := os.Hostname(); err == nil {
			hosts = append(hosts, name)
		}
		pair, err := ca.Issue(hosts...)
		if err != nil {
			return nil, "", err
		}
		c.Certificates = []tls.Certificate{pair}
		path = ca.Path
	}
	if f.clientCA != "" {
		pem, err := os.ReadFile(f.clientCA)
		if err != nil {
			return nil, "", err
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, "", fmt.Errorf("--client-ca: %s holds no PEM certificate", f.clientCA)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, path, nil
}

func onLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

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
		return nil, nil, fmt.Errorf("--records: %w", err)
	}
	return file, file.Close, nil
}
