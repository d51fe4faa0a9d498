package certs_test

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/internal/certs"
	"switchbridge/internal/certs/certstest"
)

func TestPool(t *testing.T) {
	ca, other := certstest.New(t), certstest.New(t)
	pool, err := certs.Pool(ca.File(t))
	if err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(time.Hour)
	for name, tc := range map[string]struct {
		from *certstest.Authority
		good bool
	}{"of the authority": {ca, true}, "of another": {other, false}} {
		leaf, err := x509.ParseCertificate(tc.from.Issue(t, "gateway", soon).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "127.0.0.1"}); (err == nil) != tc.good {
			t.Errorf("a certificate %s: %v", name, err)
		}
	}

	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Pool(empty); err == nil || !strings.Contains(err.Error(), "empty.pem holds no PEM certificate") {
		t.Errorf("a file without certificates: %v", err)
	}
	if _, err := certs.Pool(empty + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
