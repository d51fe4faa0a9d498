package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"switchbridge/internal/certs"
)

// Gateway starts switchbridge with a configuration and further files beside it, and waits until it decides. What the configuration leaves out has
// its default, but that it listens where Process.Addr says and its admin side at Process.Admin. The caller closes it.
func Gateway(ctx context.Context, config string, files map[string]string) (*Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	admin := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p := Peer{Name: "gateway", Files: map[string]string{"gateway.yaml": config},
		Command: []string{"{self}", "run", "--config", "{dir}/gateway.yaml", "--openflow", "tcp:127.0.0.1:{port}", "--admin", admin, "--log-level", "error"}}
	for name, text := range files {
		p.Files[name] = text
	}
	r, err := p.Launch(ctx, func(ctx context.Context, _ *Process) error {
		return Ask(ctx, http.MethodGet, "http://"+admin+"/readyz", "")
	})
	if err != nil {
		return nil, err
	}
	r.Admin = admin
	return r, nil
}

// Ask sends a request without a body, and wants 200. An empty ca is the system's.
func Ask(ctx context.Context, method, url, ca string) error {
	t := &http.Transport{}
	if ca != "" {
		roots, err := certs.Pool(ca)
		if err != nil {
			return err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: t, Timeout: 6 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	return nil
}
