package selfhost

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"switchbridge/internal/watched"
)

// A configuration that changes while functions are served: functions come, change and go, the ones
// that stay the same are left alone, and what can't change stays and is named.
func TestReloadConfiguration(t *testing.T) {
	own := guestOf(t, "own", "before")
	policy := writeFile(t, "policy.yaml", []byte(policyOf(7)))
	token, second := writeFile(t, "token", []byte("0123456789abcdef")), writeFile(t, "second", []byte("fedcba9876543210"))
	file := writeFile(t, "functions.yaml", nil)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	head := "plain: true\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\n"
	guest := "  - {name: own, path: /own, wasm: " + own.Wasm + ", configure: " + own.Configure + ", deadline: 300ms}\n"
	first := head + "token_file: " + token + "\nfunctions:\n" + guest
	write(first)
	load := func() (Config, error) { return Load(file) }
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	r := prepare(t, c, nil)
	if err := r.Watch(file, load); err != nil {
		t.Fatal(err)
	}
	r.start()
	bearer := "Bearer 0123456789abcdef"
	ask := func(path string) int {
		t.Helper()
		req := policyCheck(t, r.base+path)
		req.Header.Set("Authorization", bearer)
		return r.do(req).status
	}
	until(t, "the first function answers", func() bool { return ask("/own") == 200 })
	before := r.now().functions[0]

	write(head + "drain_timeout: 1s\ntoken_file: " + second + "\nfunctions:\n" + guest + "  - {name: native, path: /native, native: true, policy: " + policy + "}\n")
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask("/own"); got != 401 {
		t.Errorf("the former token: %d, want 401", got)
	}
	bearer = "Bearer fedcba9876543210"
	if a, b := ask("/own"), ask("/native"); a != 200 || b != 200 || r.now().functions[0] != before {
		t.Errorf("after the reload: %d, %d, the same guest: %v", a, b, r.now().functions[0] == before)
	}
	result := func() watched.Result {
		t.Helper()
		var st struct{ Reloads []watched.Result }
		if err := json.Unmarshal([]byte(r.get("http://"+r.AdminAddr().String()+"/api/v1/status").body), &st); err != nil {
			t.Fatal(err)
		}
		return st.Reloads[slices.IndexFunc(st.Reloads, func(r watched.Result) bool { return r.What == "configuration" })]
	}
	if got := result(); !got.OK || !slices.Equal(got.Changed, []string{"token_file", "functions"}) || !slices.Equal(got.Restart, []string{"drain_timeout"}) {
		t.Errorf("status %+v", got)
	}

	// A mistake anywhere changes nothing.
	for _, row := range []struct{ name, text, want string }{
		{"key", head + "functions:\n" + guest + "  - {name: x, nativ: true}\n", file + ": line 6: unknown key"},
		{"policy", head + "functions:\n" + guest + "  - {name: native, path: /native, native: true, policy: none.yaml}\n", "none.yaml"},
		{"guest", head + "functions:\n  - {name: bad, wasm: " + policy + "}\n", "bad"},
	} {
		write(row.text)
		err := r.Reload(t.Context())
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if a, b := ask("/own"), ask("/native"); a != 200 || b != 200 {
			t.Errorf("%s: %d, %d", row.name, a, b)
		}
		if got := result(); got.OK || !strings.Contains(got.Error, row.want) {
			t.Errorf("%s: status %+v", row.name, got)
		}
		ready := r.get("http://" + r.AdminAddr().String() + "/readyz")
		if ready.status != 200 || !strings.Contains(ready.body, "the configuration stays as it was") {
			t.Errorf("%s: readyz %d %q", row.name, ready.status, ready.body)
		}
	}

	// A function goes: its path is nobody's. The file itself is noticed, without Reload.
	write(head + "token_file: " + second + "\nfunctions:\n  - {name: native, path: /native, native: true, policy: " + policy + "}\n")
	until(t, "the function is gone", func() bool { return ask("/own") == 404 })
	if got := ask("/native"); got != 200 {
		t.Errorf("the one that stays: %d", got)
	}
}
