package httpclient

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"switchbridge/flow"
	"switchbridge/flow/contract/openflow"
)

// A relay's address changes where a client connects to, and nothing else: the
// certificate must be that of the endpoint's name, and the request says that name.
func TestVia(t *testing.T) {
	host := ""
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host = r.Host }))
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"example.com": true, "other.invalid": false} { // httptest's certificate is for the first
		host = ""
		c, err := New(Config{Endpoints: []string{"https://" + name + "/"}, Via: srv.Listener.Addr().String(), CAFile: ca, Codec: openflow.Codec{}, MaxTries: 1})
		if err != nil {
			t.Fatal(err)
		}
		var d flow.Decision
		_ = c.Decide(t.Context(), packetIn(), &d) // what the server answers is no decision
		if (host == name) != ok {
			t.Errorf("%s: the server was asked as %q", name, host)
		}
		c.Close()
	}
}
