package workershost_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"switchbridge/faas/function"
	"switchbridge/faas/instance/guest"
	"switchbridge/faas/platform/workershost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest/conformance"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/state"
)

const (
	token     = "0123456789abcdef"
	nextToken = "fedcba9876543210"
)

var codecs = function.Codecs{OpenFlow: openflow.Codec{}, JSON: jsonenc.Codec{}}

// platform is a Platform in memory.
type platform struct {
	variables map[string]string
	body      []byte
	bodyErr   error
	policy    []byte
	policyErr error
	panics    bool

	logged              []string
	readBody, readStore bool
}

func (p *platform) Variable(binding string) string { return p.variables[binding] }

func (p *platform) Body(limit int) ([]byte, error) {
	p.readBody = true
	return p.body[:min(len(p.body), limit+1)], p.bodyErr
}

func (p *platform) Policy() ([]byte, error) {
	if p.readStore = true; p.panics {
		panic("out of order")
	}
	return p.policy, p.policyErr
}

func (p *platform) States() state.Store { return nil }

func (p *platform) Log(line string) { p.logged = append(p.logged, line) }

func packed(t testing.TB, p *policy.Policy) []byte {
	t.Helper()
	b, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blockedSource is an event that conformance.Policy denies.
func blockedSource(t testing.TB, codec contract.Codec) (http.Header, []byte) {
	t.Helper()
	for _, c := range conformance.Cases() {
		if c.Name != flow.OpenFlow13.String()+"/blocked source" {
			continue
		}
		header := http.Header{"Content-Type": {codec.ContentType()}}
		contract.PutEvent(header, c.Event)
		body, err := codec.AppendEvent(nil, c.Event)
		if err != nil {
			t.Fatal(err)
		}
		return header, body
	}
	t.Fatal("no such case")
	return nil, nil
}

func TestAnswer(t *testing.T) {
	good := packed(t, conformance.Policy())
	variables := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	edited := func(at int) []byte {
		b := bytes.Clone(good)
		b[at]++
		return b
	}
	type change func(*workershost.Request, *platform)
	header := func(key, value string) change {
		return func(r *workershost.Request, _ *platform) { r.Header.Set(key, value) }
	}
	vars := func(pairs ...string) change {
		return func(_ *workershost.Request, p *platform) { p.variables = variables(pairs...) }
	}
	stored := func(b []byte) change { return func(_ *workershost.Request, p *platform) { p.policy = b } }

	for _, row := range []struct {
		name   string
		change change
		status int
		text   string
		cost   string // what was read before the answer: body, store
	}{
		{"an event", func(*workershost.Request, *platform) {}, 200, "", "body store"},
		{"the next token", header("Authorization", "bearer "+nextToken), 200, "", "body store"},
		{"no token wanted", func(r *workershost.Request, p *platform) {
			r.Header.Set("Authorization", "")
			p.variables = variables(workershost.AuthBinding, "none")
		}, 200, "", "body store"},

		{"not a POST", func(r *workershost.Request, _ *platform) { r.Method = "PUT" }, 405, "method PUT", ""},
		{"no token", header("Authorization", ""), 401, "no valid bearer token", ""},
		{"wrong token", header("Authorization", "Bearer 0123456789abcdeF"), 401, "no valid bearer token", ""},
		{"no secret", vars(), 503, "secret SWITCHBRIDGE_TOKENS: no token", ""},
		{"another word for none", vars(workershost.AuthBinding, "None"), 503, "no token", ""},
		{"a short secret", vars(workershost.TokensBinding, "secret"), 503, "want at least 16", ""},
		{"three tokens", vars(workershost.TokensBinding, token+"\n"+nextToken+"\n"+token), 503, "3 tokens", ""},

		{"compressed", header("Content-Encoding", "gzip"), 415, "gzip", ""},
		{"a length over the limit", header("Content-Length", "1048577"), 413, "body of more than 1048576 bytes", ""},
		{"a length beyond numbers", header("Content-Length", "99999999999999999999"), 200, "", "body store"},
		{"a body over the limit", func(_ *workershost.Request, p *platform) { p.body = make([]byte, guest.MaxBody+1) }, 413, "more than 1048576 bytes", "body"},
		{"a body cut off", func(_ *workershost.Request, p *platform) { p.bodyErr = errors.New("gone") }, 400, "reading the body: gone", "body"},
		{"no event", header("Ce-Type", "moon"), 400, "moon", "body"},
		{"another content type", header("Content-Type", "text/html"), 415, "text/html", "body"},
		{"garbage", func(_ *workershost.Request, p *platform) { p.body = []byte("garbage") }, 400, "switchbridge.packet_in.v1", "body store"},

		{"no policy", stored(nil), 503, "namespace POLICY has no key policy.blob", "body store"},
		{"an empty policy", stored([]byte{}), 503, "not a compiled policy", "body store"},
		{"a policy cut short", stored(good[:len(good)-1]), 503, "cut short", "body store"},
		{"a policy of another version", stored(edited(3)), 503, "another version", "body store"},
		{"a damaged policy", stored(edited(len(good) - 1)), 503, "checksum", "body store"},
		{"a store out of reach", func(_ *workershost.Request, p *platform) { p.policyErr = errors.New("no route") }, 503, "key policy.blob: no route", "body store"},
		{"a fault", func(_ *workershost.Request, p *platform) { p.panics = true }, 500, "function failed", "body store"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, body := blockedSource(t, openflow.Codec{})
			h.Set("Authorization", "Bearer "+token)
			r := &workershost.Request{Method: "POST", Path: "/", Header: h}
			p := &platform{variables: variables(workershost.TokensBinding, token+" "+nextToken), body: body, policy: good}
			row.change(r, p)
			resp := workershost.Answer(codecs, r, p)
			if resp.Status != row.status || row.status != 200 && !strings.Contains(string(resp.Body), row.text) {
				t.Errorf("%d %.200s; want %d with %q", resp.Status, resp.Body, row.status, row.text)
			}
			if row.status == 200 && resp.Header.Get(contract.HeaderVerdict) != "deny" {
				t.Errorf("headers %v", resp.Header)
			}
			var cost []string
			if p.readBody {
				cost = append(cost, "body")
			}
			if p.readStore {
				cost = append(cost, "store")
			}
			if got := strings.Join(cost, " "); got != row.cost {
				t.Errorf("read %q, want %q", got, row.cost)
			}
			if len(p.logged) == 0 {
				t.Fatal("no record")
			}
			var rec struct {
				Status  int
				Verdict string
				Reason  string
			}
			if err := json.Unmarshal([]byte(p.logged[len(p.logged)-1]), &rec); err != nil || rec.Status != row.status || (rec.Verdict == "deny") != (row.status == 200) {
				t.Errorf("record %s: %v", p.logged, err)
			}
			if p.panics != (len(p.logged) == 2) {
				t.Errorf("logged %q", p.logged)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		p := &platform{}
		if resp := workershost.Answer(codecs, &workershost.Request{Method: method, Path: workershost.HealthPath}, p); resp.Status != 200 || len(p.logged) > 0 || p.readStore {
			t.Errorf("%s: %+v, %+v", method, resp, p)
		}
	}
}

// The files that hand the Worker to a platform bind what the code looks for.
func TestConfigurations(t *testing.T) {
	file := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("..", "..", "..", "configs", "workers", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	capnp := string(file("workerd.capnp"))
	for _, binding := range []string{
		`(name = "` + workershost.PolicyBinding + `", kvNamespace = `,
		`(name = "` + workershost.StatesBinding + `", durableObjectNamespace = `,
		`(name = "` + workershost.TokensBinding + `", fromEnvironment = "` + workershost.TokensBinding + `")`,
		`(name = "` + workershost.AuthBinding + `", fromEnvironment = "` + workershost.AuthBinding + `")`,
	} {
		if !strings.Contains(capnp, binding) {
			t.Errorf("workerd.capnp: no %s", binding)
		}
	}
	var wrangler struct {
		Main    string
		Date    string                         `json:"compatibility_date"`
		KV      []struct{ Binding, ID string } `json:"kv_namespaces"`
		Objects struct {
			Bindings []struct {
				Name  string
				Class string `json:"class_name"`
			}
		} `json:"durable_objects"`
		Migrations []struct {
			Classes []string `json:"new_sqlite_classes"`
		}
		Observe struct{ Enabled bool } `json:"observability"`
	}
	comments := regexp.MustCompile(`(?m)^\s*//.*$`)
	if err := json.Unmarshal(comments.ReplaceAll(file("wrangler.jsonc"), nil), &wrangler); err != nil {
		t.Fatal(err)
	}
	if len(wrangler.KV) != 1 || wrangler.KV[0].Binding != workershost.PolicyBinding || !wrangler.Observe.Enabled {
		t.Errorf("wrangler.jsonc: %+v", wrangler)
	}
	objects := wrangler.Objects.Bindings
	if len(objects) != 1 || objects[0].Name != workershost.StatesBinding || len(wrangler.Migrations) != 1 || !slices.Equal(wrangler.Migrations[0].Classes, []string{objects[0].Class}) ||
		!strings.Contains(capnp, `durableObjectNamespace = "`+objects[0].Class+`"`) {
		t.Errorf("objects: %+v, %+v", objects, wrangler.Migrations)
	}
	if !strings.Contains(capnp, `compatibilityDate = "`+wrangler.Date+`"`) || !strings.Contains(capnp, `"`+wrangler.Main+`"`) {
		t.Errorf("workerd.capnp has not wrangler.jsonc's date %q and file %q", wrangler.Date, wrangler.Main)
	}
}
