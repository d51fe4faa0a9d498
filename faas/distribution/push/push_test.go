package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/lambdahost/sigv4"
	"switchbridge/faas/platform/workershost"
)

const token = "secret-token-0123456789"

// seen is a request as the server saw it.
type seen struct {
	method, path string
	header       http.Header
	body         []byte
}

// platform answers by status, one after the other, the last again and again; it quotes what it was sent.
type platform struct {
	*httptest.Server
	mu       sync.Mutex
	requests []seen
}

func serve(t *testing.T, answer string, statuses ...int) *platform {
	t.Helper()
	p := new(platform)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		status := statuses[min(len(p.requests), len(statuses)-1)]
		p.requests = append(p.requests, seen{r.Method, r.URL.EscapedPath(), r.Header.Clone(), body})
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *platform) api() API { return API{Endpoint: p.URL + "/", Pause: time.Millisecond} }

// random is a policy that nothing makes smaller.
func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

type target interface {
	Plan([]byte) (*Plan, error)
}

// networked has every target that is asked over the network.
func networked(a API) map[string]target {
	aws := sigv4.Credentials{ID: "AKID", Secret: token, Token: "session-" + token, Region: "eu-central-1"}
	return map[string]target{
		"fastly":  Fastly{API: a, ConfigStore: "c1", KVStore: "k/1", Token: token},
		"workers": Workers{API: a, Account: "a1", Namespace: "n1", Token: token},
		"ssm":     Lambda{API: a, Source: "ssm:/a/policy", Credentials: aws},
		"s3":      Lambda{API: a, Source: "s3://bucket/a/policy+1.blob", Credentials: aws},
	}
}

func push(t *testing.T, to target, blob []byte) error {
	t.Helper()
	p, err := to.Plan(blob)
	if err != nil {
		t.Fatal(err)
	}
	var done []Write
	err = p.Do(t.Context(), func(w Write) { done = append(done, w) })
	if err == nil && len(done) != len(p.Writes) {
		t.Errorf("%d of %d writes reported", len(done), len(p.Writes))
	}
	return err
}

func TestFastly(t *testing.T) {
	for _, size := range []int{100, 15000, fastlyhost.MaxInConfig + 1} {
		blob := random(size)
		s := serve(t, "{}", 200)
		if err := push(t, networked(s.api())["fastly"], blob); err != nil {
			t.Fatal(err)
		}
		// What was written is read as the function does.
		config, kv := map[string]string{}, map[string]string{}
		for _, r := range s.requests {
			if r.method != http.MethodPut || r.header.Get("Fastly-Key") != token {
				t.Errorf("%s %s: Fastly-Key %q", r.method, r.path, r.header.Get("Fastly-Key"))
			}
			if key, ok := strings.CutPrefix(r.path, "/resources/stores/config/c1/item/"); ok {
				form, err := url.ParseQuery(string(r.body))
				if err != nil || len(form) != 1 || r.header.Get("Content-Type") != "application/x-www-form-urlencoded" {
					t.Errorf("%s: %v %v %v", r.path, form, err, r.header)
				}
				config[key] = form.Get("item_value")
			} else if key, ok := strings.CutPrefix(r.path, "/resources/stores/kv/k%2F1/keys/"); ok {
				kv[key] = string(r.body)
			} else {
				t.Errorf("path %s", r.path)
			}
		}
		got, err := fastlyhost.ReadPolicy(func(store fastlyhost.Store, key string, _ int) ([]byte, error) {
			if store == fastlyhost.InKV {
				return []byte(kv[key]), nil
			}
			return []byte(config[key]), nil
		})
		if err != nil || !bytes.Equal(got, blob) {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
		if last := s.requests[len(s.requests)-1]; !strings.HasSuffix(last.path, "/item/policy") {
			t.Errorf("%d bytes: %s is written last", size, last.path)
		}
	}
}

// The entry that makes the others count is not written where one of them isn't.
func TestFastlyStopsAtTheFirstFailure(t *testing.T) {
	s := serve(t, "no", 200, 403, 200)
	p, err := networked(s.api())["fastly"].Plan(random(11000))
	if err != nil || len(p.Writes) != 3 {
		t.Fatalf("%+v %v", p, err)
	}
	wrote := 0
	err = p.Do(t.Context(), func(Write) { wrote++ })
	if err == nil || wrote != 1 || len(s.requests) != 2 {
		t.Fatalf("%v; %d written, %d requests", err, wrote, len(s.requests))
	}
	for _, want := range []string{"fastly", "config store c1", p.Writes[1].Key, "403", "1 of 3", "the policy before still counts"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: lacks %q", err, want)
		}
	}
	for _, r := range s.requests {
		if strings.HasSuffix(r.path, "/item/policy") {
			t.Error("the last entry was written")
		}
	}
}

func TestWorkers(t *testing.T) {
	s, blob := serve(t, `{"success":true}`, 200), random(1000)
	if err := push(t, networked(s.api())["workers"], blob); err != nil {
		t.Fatal(err)
	}
	r := s.requests[0]
	if r.method != http.MethodPut || r.path != "/client/v4/accounts/a1/storage/kv/namespaces/n1/values/policy.blob" ||
		r.header.Get("Authorization") != "Bearer "+token || !bytes.Equal(r.body, blob) {
		t.Errorf("%s %s %v, %d bytes", r.method, r.path, r.header, len(r.body))
	}
}

// signed checks a signature by signing what came once more.
func signed(t *testing.T, s *platform, r seen, service string) {
	t.Helper()
	again, err := http.NewRequest(r.method, s.URL+r.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(regexp.MustCompile(`SignedHeaders=([^,]*)`).FindStringSubmatch(r.header.Get("Authorization"))[1], ";") {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = int64(len(r.body))
		default:
			again.Header.Set(name, r.header.Get(name))
		}
	}
	at, err := time.Parse("20060102T150405Z", r.header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("date %v, %v", at, err)
	}
	sigv4.Sign(again, r.body, sigv4.Credentials{ID: "AKID", Secret: token, Token: "session-" + token, Region: "eu-central-1", Service: service}, at)
	if got, want := r.header.Get("Authorization"), again.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	sum := sha256.Sum256(r.body)
	if r.header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]) || r.header.Get("X-Amz-Security-Token") != "session-"+token {
		t.Errorf("%v", r.header)
	}
}

func TestParameter(t *testing.T) {
	for size, tier := range map[int]string{3072: "", 3073: "Advanced", 6144: "Advanced"} {
		s, blob := serve(t, `{"Version":2}`, 200), random(size)
		if err := push(t, networked(s.api())["ssm"], blob); err != nil {
			t.Fatal(err)
		}
		r := s.requests[0]
		if r.method != http.MethodPost || r.path != "/" || r.header.Get("X-Amz-Target") != "AmazonSSM.PutParameter" ||
			r.header.Get("Content-Type") != "application/x-amz-json-1.1" {
			t.Errorf("%s %s %v", r.method, r.path, r.header)
		}
		signed(t, s, r, "ssm")
		var got map[string]any
		if err := json.Unmarshal(r.body, &got); err != nil {
			t.Fatal(err)
		}
		gotTier, _ := got["Tier"].(string)
		if got["Name"] != "/a/policy" || got["Overwrite"] != true || got["Type"] != "String" || gotTier != tier ||
			got["Value"] != base64.StdEncoding.EncodeToString(blob) {
			t.Errorf("%d bytes: %v", size, got)
		}
	}
}

// A parameter that somebody encrypted is not written over in the clear.
func TestEncryptedParameterStaysEncrypted(t *testing.T) {
	blob := random(100)
	s := serve(t, `{"Parameter":{"Type":"SecureString","Value":"`+base64.StdEncoding.EncodeToString(blob)+`"}}`, 200)
	p, err := networked(s.api())["ssm"].Plan(blob)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.Current(t.Context()) // random bytes are no policy, but they were read
	if err := p.Do(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r := s.requests[len(s.requests)-1]
	signed(t, s, r, "ssm")
	if !bytes.Contains(r.body, []byte(`"Type":"SecureString"`)) || !bytes.Contains(r.body, []byte(base64.StdEncoding.EncodeToString(blob))) {
		t.Errorf("%s", r.body)
	}
}

func TestObject(t *testing.T) {
	s, blob := serve(t, "", 200), random(1000)
	if err := push(t, networked(s.api())["s3"], blob); err != nil {
		t.Fatal(err)
	}
	r := s.requests[0]
	if r.method != http.MethodPut || r.path != "/a/policy%2B1.blob" || !bytes.Equal(r.body, blob) {
		t.Errorf("%s %s, %d bytes", r.method, r.path, len(r.body))
	}
	signed(t, s, r, "s3")
}

// TestTries has what a platform may answer, for every target.
func TestTries(t *testing.T) {
	for _, row := range []struct {
		name     string
		answer   string
		statuses []int
		tries    int
		err      string
	}{
		{"unauthorized", "bad key " + token, []int{401}, 1, "401"},
		{"redirect", "", []int{307}, 1, "307"}, // the secret isn't sent elsewhere
		{"too many", "", []int{429, 200}, 2, ""},
		{"recovers at the last try", "", []int{500, 502, 429, 200}, 4, ""},
		{"stays broken", "out of order", []int{500}, 4, "500 Internal Server Error: out of order (after 4 tries)"},
	} {
		for name := range networked(API{}) {
			t.Run(row.name+"/"+name, func(t *testing.T) {
				s := serve(t, row.answer, row.statuses...)
				err := push(t, networked(s.api())[name], random(100))
				if len(s.requests) != row.tries {
					t.Errorf("%d tries, want %d", len(s.requests), row.tries)
				}
				switch {
				case (err == nil) != (row.err == ""):
					t.Errorf("%v, want %q", err, row.err)
				case err != nil && (!strings.Contains(err.Error(), row.err) || !strings.Contains(err.Error(), "policy")):
					t.Errorf("%v, want %q and the key", err, row.err)
				case err != nil && strings.Contains(err.Error(), token):
					t.Errorf("the secret is in %q", err)
				}
			})
		}
	}
}

func TestThrottledParameter(t *testing.T) {
	s := serve(t, `{"__type":"ThrottlingException"}`, 400, 200)
	if err := push(t, networked(s.api())["ssm"], random(9)); err != nil || len(s.requests) != 2 {
		t.Errorf("%v after %d tries", err, len(s.requests))
	}
	s = serve(t, `{"__type":"ValidationException"}`, 400, 200)
	if err := push(t, networked(s.api())["ssm"], random(9)); err == nil || len(s.requests) != 1 {
		t.Errorf("%v after %d tries", err, len(s.requests))
	}
}

func TestRetryAfter(t *testing.T) {
	var asked []time.Time
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, time.Now())
		if len(asked) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer s.Close()
	err := push(t, networked(API{Endpoint: s.URL, Pause: time.Millisecond})["workers"], random(9))
	if err != nil || len(asked) != 2 || asked[1].Sub(asked[0]) < time.Second {
		t.Errorf("%v; asked at %v", err, asked)
	}
}

func TestNobodyAnswers(t *testing.T) {
	s := serve(t, "", 200)
	s.Close()
	for name, to := range networked(s.api()) {
		if err := push(t, to, random(9)); err == nil || !strings.Contains(err.Error(), "after 4 tries") || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A platform that keeps silent is asked again; a push that is given up isn't.
func TestSilence(t *testing.T) {
	var mu sync.Mutex
	asked, silent := 0, make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		first := asked == 1
		mu.Unlock()
		if first {
			<-silent
		}
	}))
	defer s.Close()
	defer close(silent)
	if err := push(t, networked(API{Endpoint: s.URL, Pause: time.Millisecond, Timeout: 100 * time.Millisecond})["workers"], random(9)); err != nil || asked != 2 {
		t.Errorf("%v; asked %d times", err, asked)
	}

	p, err := networked(API{Endpoint: s.URL})["workers"].Plan(random(9))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Do(ctx, nil); !errors.Is(err, context.Canceled) || asked != 2 {
		t.Errorf("%v; asked %d times", err, asked)
	}
}

// A plan sends nothing, be it good or of a policy that is too large.
func TestPlanSendsNothing(t *testing.T) {
	s := serve(t, "", 200)
	for name, to := range networked(s.api()) {
		if p, err := to.Plan(random(100)); err != nil || len(p.Writes) != 1 || p.Writes[0].Size < 100 || !strings.Contains(p.Target, s.URL) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	limits := map[string]int{"fastly": fastlyhost.MaxKVValue, "workers": workershost.MaxValue, "ssm": maxParameter / 4 * 3, "s3": guest.MaxPolicy}
	for name, to := range networked(s.api()) {
		if _, err := to.Plan(make([]byte, limits[name])); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := to.Plan(make([]byte, limits[name]+1)); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("%s: too large: %v", name, err)
		}
		if _, err := to.Plan(nil); err == nil {
			t.Errorf("%s: an empty policy is planned", name)
		}
	}
	if len(s.requests) != 0 {
		t.Errorf("%d requests", len(s.requests))
	}
}

func TestMissing(t *testing.T) {
	s := serve(t, "", 200)
	a := s.api()
	for want, to := range map[string]target{
		"--config-store":    Fastly{API: a, Token: token},
		"--kv-store":        Fastly{API: a, ConfigStore: "c", Token: token},
		"FASTLY_API_TOKEN":  Fastly{API: a, ConfigStore: "c", KVStore: "k"},
		"--account":         Workers{API: a, Namespace: "n", Token: token},
		"--namespace":       Workers{API: a, Account: "a", Token: token},
		"CLOUDFLARE_API":    Workers{API: a, Account: "a", Namespace: "n"},
		"AWS_REGION":        Lambda{API: a, Source: "s3://b/k"},
		"AWS_SECRET_ACCESS": Lambda{API: a, Source: "s3://b/k", Credentials: sigv4.Credentials{ID: "x", Region: "r"}},
		"AWS_ACCESS_KEY_ID": Lambda{API: a, Source: "s3://b/k", Credentials: sigv4.Credentials{Secret: "x", Region: "r"}},
		"s3://bucket/key":   Lambda{API: a, Source: "s3://b", Credentials: sigv4.Credentials{Region: "r"}},
		"want ssm:/name":    Lambda{API: a, Source: "ssm:", Credentials: sigv4.Credentials{Region: "r"}},
		"path":              File{},
		"want https":        Workers{API: API{Endpoint: "http://192.0.2.1"}, Account: "a", Namespace: "n"},
		"want https://HOST": Workers{API: API{Endpoint: "192.0.2.1"}, Account: "a", Namespace: "n"},
		"xxxxx@":            Workers{API: API{Endpoint: "https://u:" + token + "@host"}, Account: "a", Namespace: "n"},
	} {
		p, err := to.Plan(random(fastlyhost.MaxInConfig + 1))
		if err == nil {
			err = p.Do(t.Context(), nil)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if len(s.requests) != 0 {
		t.Errorf("%d requests", len(s.requests))
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.blob")
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	blob := random(1000)
	p, err := File{Path: path}.Plan(blob)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Errorf("the plan wrote %q", got)
	}
	if err := p.Do(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, blob) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	// By a symbolic link, which stays one.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := push(t, File{Path: link}, blob[1:]); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, blob[1:]) {
		t.Errorf("by a link: %d bytes, %v", len(got), err)
	}
	if to, err := os.Readlink(link); err != nil || to != path {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	// A directory is in the way.
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := push(t, File{Path: sub}, blob); err == nil || !strings.Contains(err.Error(), "sub") {
		t.Errorf("over a directory: %v", err)
	}
	// No temporary file stays behind.
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Errorf("%v %v", names, err)
	}
}
