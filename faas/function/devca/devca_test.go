package devca

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"switchbridge/internal/certs"
)

// What trusts the authority once trusts a server of a later start.
func TestAuthorityStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := certs.Pool(first.Path)
	if err != nil {
		t.Fatal(err)
	}

	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := again.Issue("127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.StartTLS()
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
}

// Functions that are started at the same time share one authority.
func TestOneAuthorityForAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	var all sync.WaitGroup
	made := make([]*CA, 16)
	for i := range made {
		all.Go(func() {
			var err error
			if made[i], err = Open(dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, ca := range made {
		if ca == nil || !ca.cert.Equal(made[0].cert) {
			t.Error("two authorities")
		}
	}
}

func TestForeignFileIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{certFile, keyFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "development CA") {
		t.Errorf("error %v", err)
	}
}
