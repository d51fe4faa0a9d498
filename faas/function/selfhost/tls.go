package selfhost

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"switchbridge/faas/function/devca"
	"switchbridge/internal/certs"
)

// tlsConfig is for the configured certificate, or for one of the development CA, whose file it
// then returns.
func (t *TLS) tlsConfig(l net.Listener, log *slog.Logger) (c *tls.Config, devCA string, err error) {
	c = &tls.Config{MinVersion: tls.VersionTLS12}
	if t.Cert != "" {
		pair, err := openPair(t.Cert, t.Key, log)
		if err != nil {
			return nil, "", fmt.Errorf("certificate: %w", err)
		}
		c.GetCertificate = pair.get
	} else {
		pair, path, err := t.development(l)
		if err != nil {
			return nil, "", err
		}
		c.Certificates, devCA = []tls.Certificate{pair}, path
	}
	if t.ClientCA != "" {
		var err error
		if c.ClientCAs, err = certs.Pool(t.ClientCA); err != nil {
			return nil, "", fmt.Errorf("authority of client certificates: %w", err)
		}
		// Who shows none gets no further than the health paths: httphost.Mux refuses the rest.
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c, devCA, nil
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

// pairFile is a certificate that is read again when its file has changed, since those that are
// issued by machines live for weeks.
type pairFile struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	looked time.Time // when the file was looked at last
	stamp  time.Time // its modification time
}

// lookInterval is how long a new certificate may take to count.
const lookInterval = 2 * time.Second

func openPair(cert, key string, log *slog.Logger) (*pairFile, error) {
	p := &pairFile{cert: cert, key: key, log: log}
	return p, p.load()
}

func (p *pairFile) load() error {
	p.looked = time.Now()
	info, err := os.Stat(p.cert)
	if err != nil {
		return err
	}
	if info.ModTime().Equal(p.stamp) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return err
	}
	p.pair, p.stamp = &pair, info.ModTime()
	return nil
}

// get implements tls.Config.GetCertificate. A pair that can't be read, such as one of which only
// half is written yet, leaves the old one in use.
func (p *pairFile) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) > lookInterval {
		if err := p.load(); err != nil {
			p.log.Warn("the certificate stays as it was", "err", err)
		}
	}
	return p.pair, nil
}
