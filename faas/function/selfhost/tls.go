package selfhost

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"

	"switchbridge/faas/function/devca"
	"switchbridge/internal/certs"
	"switchbridge/internal/watched"
)

// tlsConfig is for the configured certificate, or for one of the development CA, whose file it
// then returns. The pair is nil where there is no configured one.
func (t *TLS) tlsConfig(l net.Listener, log *slog.Logger, results *watched.Results) (c *tls.Config, pair *watched.Pair, devCA string, err error) {
	c = &tls.Config{MinVersion: tls.VersionTLS12}
	if t.Cert != "" {
		if pair, err = watched.OpenPair(t.Cert, t.Key, log, results); err != nil {
			return nil, nil, "", err
		}
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Get(), nil }
	} else {
		made, path, err := t.development(l)
		if err != nil {
			return nil, nil, "", err
		}
		c.Certificates, devCA = []tls.Certificate{made}, path
	}
	if t.ClientCA != "" {
		if c.ClientCAs, err = certs.Pool(t.ClientCA); err != nil {
			return nil, nil, "", fmt.Errorf("authority of client certificates: %w", err)
		}
		// Who shows none gets no further than the health paths: httphost.Mux refuses the rest.
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c, pair, devCA, nil
}

func (t *TLS) development(l net.Listener) (pair tls.Certificate, path string, err error) {
	dir := t.DevCA
	if dir == "" {
		if dir, err = devca.DefaultDir(); err != nil {
			return pair, "", fmt.Errorf("no place for the development CA (a folder of its own, --dev-ca, or a certificate, --cert): %w", err)
		}
	}
	ca, err := devca.Open(dir)
	if err != nil {
		return pair, "", err
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil {
		hosts = append(hosts, host)
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	pair, err = ca.Issue(hosts...)
	return pair, ca.Path, err
}
