package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"switchbridge/faas/function/devca"
	"switchbridge/settings"
)

// TestPairKnowsItsPeer: of all whose certificates the pair's authority has signed only the other gateway is answered: the one that is valid for the address
// at which this gateway asks.
func TestPairKnowsItsPeer(t *testing.T) {
	dir := t.TempDir()
	ca, err := devca.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Files(dir, "gateway-0", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte("serial: 1\nchain: [{forward: {mode: normal}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		host string
		peer bool
	}{"the other gateway": {"127.0.0.2", true}, "itself": {"127.0.0.1", false}, "a function": {"function.example", false}} {
		t.Run(name, func(t *testing.T) {
			set := settings.Default()
			set.Function.URLs, set.Policy = []string{settings.Native}, policy
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			at := l.Addr().String()
			l.Close()
			set.Pair = settings.Pair{Listen: at, Peer: "127.0.0.2:1", Timeout: 300 * time.Millisecond, Cert: cert, Key: key, CA: ca.Path}
			g, err := New(set, Options{Listeners: []net.Listener{}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- g.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			who, err := ca.Issue(row.host)
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{who}}}}
			defer client.CloseIdleConnections()
			resp, err := client.Get("https://" + at + "/pair/v1/state")
			if err == nil {
				resp.Body.Close()
			}
			if answered := err == nil && resp.StatusCode == http.StatusOK; answered != row.peer {
				t.Errorf("answered: %t, %v", answered, err)
			}
		})
	}
}
