package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/faas/function/devca"
	"switchbridge/flow"
	"switchbridge/internal/adminclient"
	"switchbridge/internal/logbuffer"
	"switchbridge/settings"
)

// A page whose name leads here reads nothing; probes get their answer by any name.
func TestAdminHost(t *testing.T) {
	r := startFile(t, "function: {urls: [native]}\nadmin: {hosts: [gateway.example]}\n", nil)
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		host string
		ours bool
	}{
		{"", true}, {"localhost", true}, {"localhost:9653", true}, {"127.0.0.1:1", true}, {"[::1]:9653", true}, {"GATEWAY.example.", true}, {machine, true},
		{"evil.example", false}, {"evil.example:9653", false}, {"127.0.0.1.nip.io", false}, {"10.0.0.1", false}, {"localhost.evil.example", false},
	} {
		want := http.StatusOK
		if !row.ours {
			want = http.StatusMisdirectedRequest
		}
		for _, path := range []string{"/api/v1/status", "/api/v1/switches"} {
			if got, body := r.call("GET", path, "", row.host, ""); got != want {
				t.Errorf("%s by %q: %d %s, want %d", path, row.host, got, body, want)
			}
		}
		if got, _ := r.call("POST", "/api/v1/reload", adminToken, row.host, ""); got != want {
			t.Errorf("reload by %q: %d, want %d", row.host, got, want)
		}
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			if got, _ := r.call("GET", path, "", row.host, ""); got != 200 {
				t.Errorf("%s by %q: %d", path, row.host, got)
			}
		}
	}
}

// Who opens connections and says nothing takes his share of the operator's side, and others are answered.
func TestAdminIsBounded(t *testing.T) {
	r := startFile(t, "function: {urls: [native]}\n", nil)
	for range 128 + 20 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.admin, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	from := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	r.eventually("what is beyond an address's share is counted, for whom another address shows it", func() bool {
		resp, err := from.Get(r.admin + "/metrics")
		if err != nil {
			t.Fatalf("another address is locked out: %v", err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(b), `switchbridge_http_refused_total{cause="too_many_from_address",server="admin"} 20`+"\n")
	})
}

// Who may act, what is refused, and what the log says about it.
func TestActions(t *testing.T) {
	r := startFile(t, "function: {urls: [native]}\npolicy: policy.yaml\n", map[string]string{"policy.yaml": allowAll})
	latest := r.gateway.bridge.Versions().Latest()
	for _, row := range []struct {
		name, method, path, token, body string
		status                          int
		says                            string
	}{
		{"no token", "POST", "/api/v1/reload", "", "", 401, "admin.token_file"},
		{"another token", "POST", "/api/v1/policy/notice", "fedcba9876543210", `{"policy": "9-00000000"}`, 401, "admin.token_file"},
		{"reading it", "GET", "/api/v1/reload", adminToken, "", 405, ""},
		{"reload", "POST", "/api/v1/reload", adminToken, "", 200, `"what": "policy"`},
		{"no JSON", "POST", "/api/v1/policy/notice", adminToken, `{"policy": `, 400, "the body"},
		{"broken JSON", "POST", "/api/v1/policy/notice", adminToken, `{"policy": x}`, 400, "byte 12"},
		{"unknown member", "POST", "/api/v1/policy/notice", adminToken, `{"polcy": "9-00000000"}`, 400, `polcy`},
		{"wrong type", "POST", "/api/v1/policy/notice", adminToken, `{"policy": 9}`, 400, "policy: want string, not number"},
		{"more", "POST", "/api/v1/policy/notice", adminToken, `{"policy": "9-00000000"} {}`, 400, "byte 25"},
		{"no version", "POST", "/api/v1/policy/notice", adminToken, `{"policy": "nine"}`, 400, "policy: "},
		{"nothing", "POST", "/api/v1/policy/rollback", adminToken, ``, 400, "policy: "},
		{"large", "POST", "/api/v1/reload", adminToken, strings.Repeat(" ", 1<<17), 400, "more than"},
		{"forward", "POST", "/api/v1/policy/rollback", adminToken, `{"policy": "900-00000000"}`, 409, "900-00000000"},
		{"notice", "POST", "/api/v1/policy/notice", adminToken, fmt.Sprintf(`{"policy": %q}`, latest), 200, latest.String()},
		{"back", "POST", "/api/v1/policy/rollback", adminToken, `{"policy": "6-00000000"}`, 409, "no rollback is offered"},
	} {
		got, body := r.call(row.method, row.path, row.token, "", row.body)
		if got != row.status || !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), row.says) {
			t.Errorf("%s: %d %s, want %d and %q", row.name, got, body, row.status, row.says)
		}
	}
	for _, want := range []string{
		`msg="admin: action refused" action=reload remote=127.0.0.1:`, `msg="admin: action" action=reload who=token remote=127.0.0.1:`, "result=ok",
		`action="policy notice" who=token`, "polcy",
	} {
		if !strings.Contains(r.logs.String(), want) {
			t.Errorf("the log is without %s:\n%s", want, r.logs)
		}
	}
	if v := r.gateway.bridge.Versions().Latest(); v != latest {
		t.Errorf("policy %v after a rollback that was refused", v)
	}
}

// What policy checks have brought for a minute can be gone back to.
func TestRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := settings.Default()
		set.Function.URLs, set.Admin.Listen = []string{settings.Native}, ""
		g, err := New(set, Options{Listeners: []net.Listener{}})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		v := g.bridge.Versions()
		older := flow.PolicyVersion{Serial: 6}
		v.Checked(flow.PolicyVersion{Serial: 8})
		back := func() error {
			_, err := g.actRollback(httptest.NewRequest("POST", "/", strings.NewReader(`{"policy": "6-00000000"}`)))
			return err
		}
		v.Checked(older)
		if err := back(); err == nil || v.Confirmed() == older {
			t.Errorf("rolled back before it is offered: %v", err)
		}
		time.Sleep(61 * time.Second)
		v.Checked(older)
		if err := back(); err != nil || v.Confirmed() != older {
			t.Errorf("%v: policy %v", err, v.Confirmed())
		}
	})
}

// Strangers who ask for actions again and again leave the log readable.
func TestRefusedActionsLeaveTheLogReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := settings.Default()
		set.Function.URLs, set.Admin.Listen = []string{settings.Native}, ""
		var logs logbuffer.Buffer
		g, err := New(set, Options{Listeners: []net.Listener{}, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		act := g.action("reload", g.actReload)
		const asked = 20_000
		for range asked {
			w := httptest.NewRecorder()
			if act(w, httptest.NewRequest("POST", "/api/v1/reload", nil)); w.Code != http.StatusForbidden {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			time.Sleep(3 * time.Millisecond)
		}
		if n := len(logs.String()); n > 10_000 || !strings.Contains(logs.String(), "also_muted=") {
			t.Errorf("%d bytes of log of %d refused actions in a minute:\n%.1000s", n, asked, logs.String())
		}
	})
}

// Without a key that says who, nobody may act.
func TestActionsAreOff(t *testing.T) {
	r := startFile(t, "function: {urls: [native]}\n", nil)
	now := *r.gateway.now()
	now.tokens = nil
	r.gateway.running.Store(&now)
	if got, body := r.call("POST", "/api/v1/reload", adminToken, "", ""); got != 403 || !strings.Contains(body, "neither") {
		t.Errorf("%d %s", got, body)
	}
}

// A new token counts when its file changed, and one that is broken changes
// nothing and is told of.
func TestAdminTokenChanges(t *testing.T) {
	r := startFile(t, "function: {urls: [native]}\n", nil)
	can := func(token string) bool { got, _ := r.call("POST", "/api/v1/reload", token, "", ""); return got == 200 }
	r.write("token", "fedcba9876543210")
	r.eventually("the new token opens", func() bool { return can("fedcba9876543210") })
	if can(adminToken) {
		t.Error("so does the old one")
	}
	r.write("token", "short")
	r.eventually("the mistake is in readyz", func() bool {
		status, body := r.call("GET", "/readyz", "", "", "")
		return status == 200 && strings.Contains(body, "want at least 16")
	})
	if !r.metric(`switchbridge_reload_success{what="token"} 0`) || !can("fedcba9876543210") && r.reloads("token").OK {
		t.Error("the metric says nothing of it")
	}
}

// With admin.tls the operator's side speaks HTTPS, and a client certificate
// opens its actions.
func TestAdminTLS(t *testing.T) {
	dir := t.TempDir()
	ca, err := devca.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	cert, key := writePair(t, dir, pair)
	set := settings.Default()
	set.Function.URLs = []string{settings.Native}
	set.Admin.TLS = settings.AdminTLS{Cert: cert, Key: key, ClientCA: ca.Path}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(set, Options{Listeners: []net.Listener{}, Admin: l})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Run(t.Context()) }()
	call := func(cfg adminclient.Config) error {
		cfg.URL, cfg.CA = "https://"+l.Addr().String(), ca.Path
		c, err := adminclient.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Get(t.Context(), "/api/v1/status", new(GatewayStatus)); err != nil {
			t.Errorf("reading: %v", err)
		}
		return c.Post(t.Context(), "/api/v1/reload", struct{}{}, nil)
	}
	if err := call(adminclient.Config{}); err == nil || !strings.Contains(err.Error(), "client certificate") {
		t.Errorf("without a certificate: %v", err)
	}
	if err := call(adminclient.Config{Cert: cert, Key: key}); err != nil {
		t.Errorf("with one: %v", err)
	}
}

// writePair writes a certificate and its key.
func writePair(t *testing.T, dir string, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
