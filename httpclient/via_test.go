package httpclient

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"switchbridge/flow"
	"switchbridge/flow/contract/openflow"
)

// A relay's address changes where a client connects to, and nothing else: the
// certificate must be that of the endpoint's name, and the request says that name.
func TestVia(t *testing.T) {
	var asked sync.Map // by the name; a client's request may still be under way when its answer is not waited for
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked.Store(r.Host, true) }))
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"example.com": true, "other.invalid": false} { // httptest's certificate is for the first
		c, err := New(Config{Endpoints: []string{"https://" + name + "/"}, Via: srv.Listener.Addr().String(), CAFile: ca, Codec: openflow.Codec{}, MaxTries: 1})
		if err != nil {
			t.Fatal(err)
		}
		var d flow.Decision
		_ = c.Decide(t.Context(), packetIn(), &d) // what the server answers is no decision
		if _, reached := asked.Load(name); reached != ok {
			t.Errorf("the server was asked as %s: %t, want %t", name, reached, ok)
		}
		c.Close()
	}
}
