package lambdahost

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"switchbridge/faas/platform/lambdahost/functionurl"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest"
	"switchbridge/functiontest/conformance"
	"switchbridge/internal/built"
	"switchbridge/internal/child"
	"switchbridge/internal/logbuffer"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/state/travel"
)

const token = "0123456789abcdef"

// runtimeAPI is Lambda's Runtime API, version 2018-06-01, as a function meets it: next, response
// and error. docs.aws.amazon.com: "Using the Lambda runtime API for custom runtimes".
type runtimeAPI struct {
	next  chan invocation
	asked atomic.Uint64
	await sync.Map // the channels of invocations under way, by their ids
}

// invocation is one event for the function. Who sent it is waiting, or has given up.
type invocation struct {
	payload []byte
	answer  chan answer // with room for one
}

type answer struct {
	contentType string
	body        []byte
	failed      bool
}

func (a *runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/")
	switch {
	case path == "invocation/next":
		select {
		case i := <-a.next:
			id := fmt.Sprintf("8476a536-e9f4-11e8-9739-%012x", a.asked.Add(1))
			a.await.Store(id, i.answer)
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(3*time.Second).UnixMilli()))
			_, _ = w.Write(i.payload)
		case <-r.Context().Done():
		}
	case strings.HasSuffix(path, "/response"), strings.HasSuffix(path, "/error"):
		body, _ := io.ReadAll(r.Body)
		id, _, _ := strings.Cut(strings.TrimPrefix(path, "invocation/"), "/")
		to, ok := a.await.LoadAndDelete(id)
		if !ok { // as Lambda answers what it did not ask
			http.Error(w, "InvalidRequestID", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		to.(chan answer) <- answer{r.Header.Get("Content-Type"), body, strings.HasSuffix(path, "/error")}
	default:
		http.NotFound(w, r)
	}
}

// start builds cmd/function-lambda and runs it with the emulated Runtime API.
// It returns the API and what the function wrote to its logs.
func start(t *testing.T, env ...string) (*runtimeAPI, *logbuffer.Buffer) {
	t.Helper()
	return startWith(t, conformance.Stateless(), env...)
}

func startWith(t *testing.T, p *policy.Policy, env ...string) (*runtimeAPI, *logbuffer.Buffer) {
	t.Helper()
	dir := t.TempDir()
	bootstrap := built.Program(t, "switchbridge/cmd/function-lambda", "-tags=lambda.norpc")
	if err := os.WriteFile(filepath.Join(dir, "policy.blob"), packed(t, p), 0o600); err != nil {
		t.Fatal(err)
	}
	api := &runtimeAPI{next: make(chan invocation)}
	server := httptest.NewServer(api)
	out := new(logbuffer.Buffer)
	function := exec.Command(bootstrap)
	function.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + server.Listener.Addr().String(), "LAMBDA_TASK_ROOT=" + dir}, env...)
	function.Stdout, function.Stderr = out, out
	if err := child.Start(function); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = function.Process.Kill()
		_ = function.Wait()
		server.CloseClientConnections()
		server.Close()
	})
	return api, out
}

func packed(t *testing.T, p *policy.Policy) []byte {
	t.Helper()
	b, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (a *runtimeAPI) invoke(ctx context.Context, payload []byte) (answer, error) {
	i := invocation{payload, make(chan answer, 1)}
	select {
	case a.next <- i:
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	select {
	case got := <-i.answer:
		return got, nil
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// urlPayload is what a function URL sends.
func urlPayload(t testing.TB, header http.Header, body []byte) []byte {
	t.Helper()
	payload, err := functionurl.Payload(header, body)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func (a *runtimeAPI) exchange(t *testing.T, stream bool) functiontest.Exchange {
	return func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		header.Set("Authorization", "Bearer "+token)
		got, err := a.invoke(ctx, urlPayload(t, header, body))
		if err != nil || got.failed {
			return 0, nil, nil, fmt.Errorf("%w: %s", err, got.body)
		}
		if !stream {
			return functionurl.Response(got.body)
		}
		prelude, rest, found := bytes.Cut(got.body, make([]byte, 8))
		if !found || got.contentType != "application/vnd.awslambda.http-integration-response" {
			return 0, nil, nil, fmt.Errorf("no stream: %s %.100s", got.contentType, got.body)
		}
		status, answer, _, err := functionurl.Response(prelude)
		return status, answer, rest, err
	}
}

func TestConformance(t *testing.T) {
	api, logs := start(t, "SWITCHBRIDGE_TOKENS="+token)
	for name, codec := range map[string]contract.Codec{"openflow combined": openflow.Codec{}, "openflow full": openflow.Codec{Full: true}, "json": jsonenc.Codec{}} {
		t.Run(name, func(t *testing.T) {
			conformance.RunBy(t, conformance.Stateless(), functiontest.Client(codec, api.exchange(t, false)), codec)
		})
	}
	// The function has written a record when it answers; its output comes by a pipe.
	want, records := 3*len(conformance.Cases()), 0
	for end := time.Now().Add(10 * time.Second); records != want && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		records = 0
		for _, line := range logs.Lines() {
			if conformance.CheckRecord([]byte(line)) == nil {
				records++
			}
		}
	}
	if records != want {
		t.Errorf("%d decision records of %d", records, want)
	}
	t.Run("refusals", func(t *testing.T) { conformance.Refusals(t, api.exchange(t, false)) })
}

// States travel with the events of a function on Lambda, sealed with keys of its environment.
func TestTravels(t *testing.T) {
	hosts := make(map[string]*runtimeAPI)
	outer := t
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		t.Run(codec.ContentType(), func(t *testing.T) {
			conformance.Travels(t, func(t *testing.T, keys string) flow.Decider {
				if hosts[keys] == nil {
					hosts[keys], _ = startWith(outer, conformance.Travelling(), "SWITCHBRIDGE_TOKENS="+token, "SWITCHBRIDGE_STATE=travel:", travel.EnvKeys+"="+keys)
				}
				return functiontest.Client(codec, hosts[keys].exchange(t, false))
			})
		})
	}
}

func TestStreaming(t *testing.T) {
	api, _ := start(t, "SWITCHBRIDGE_TOKENS="+token, "SWITCHBRIDGE_STREAM=1")
	conformance.RunBy(t, conformance.Stateless(), functiontest.Client(openflow.Codec{}, api.exchange(t, true)), openflow.Codec{})
	t.Run("contract", func(t *testing.T) { conformance.Contract(t, api.exchange(t, true)) })
}

// Two tokens are valid while one takes the other's place; no other is.
func TestTokens(t *testing.T) {
	const next = "fedcba9876543210"
	api, _ := start(t, "SWITCHBRIDGE_TOKENS="+token+" "+next)
	for authorization, want := range map[string]int{"Bearer " + token: 200, "bearer " + next: 200, "": 401, "Bearer " + token + " " + next: 401, "Basic " + token: 401} {
		header := http.Header{"Authorization": {authorization}, "Content-Type": {contract.TypeJSON}}
		contract.PutEvent(header, &flow.Event{Type: flow.EventPolicyCheck, ID: "1", Time: time.Unix(1, 0)})
		got, err := api.invoke(t.Context(), urlPayload(t, header, []byte("{}")))
		if err != nil {
			t.Fatal(err)
		}
		var r events.LambdaFunctionURLResponse
		if err := json.Unmarshal(got.body, &r); err != nil || r.StatusCode != want {
			t.Errorf("%q: status %d, %v, want %d", authorization, r.StatusCode, err, want)
		}
	}
}

func TestPayloads(t *testing.T) {
	var got *http.Request
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(202)
		_, _ = w.Write([]byte{'{', '}'})
	}), false)
	const alb = `"requestContext":{"elb":{"targetGroupArn":"arn:t"}}`
	for _, row := range []struct {
		name, payload string
		status        int
		text          string // of a refusal, or all of the answer
		from          string // who calls
	}{
		{"not JSON", `x`, 400, "payload:", ""},
		{"format 1.0 without a method", `{"version":"1.0","headers":{"a":"b"}}`, 400, "without httpMethod", ""},
		{"format 3.0", `{"version":"3.0","headers":{"a":"b"}}`, 400, `format "3.0"`, ""},
		{"no headers", `{}`, 400, "without headers", ""},
		{"bad base64", `{"headers":{"a":"b"},"body":"*","isBase64Encoded":true}`, 400, "payload body", ""},
		{"a REST API's without headers", `{"httpMethod":"POST","path":"/x"}`, 400, "without headers", ""},
		{"direct", `{"headers":{"content-type":"application/json"},"body":"{}"}`, 202,
			`{"statusCode":202,"headers":{"content-type":"application/json"},"body":"e30=","isBase64Encoded":true,"cookies":null}`, ""},
		{"HTTP API", `{"version":"2.0","routeKey":"$default","rawPath":"/x","headers":{"host":"h"},"requestContext":{"http":{"method":"POST","path":"/x","sourceIp":"192.0.2.1"}},"body":"e30=","isBase64Encoded":true}`, 202,
			`{"statusCode":202,"headers":{"content-type":""},"body":"e30=","isBase64Encoded":true,"cookies":null}`, "192.0.2.1"},
		{"HTTP API, format 1.0", `{"version":"1.0","httpMethod":"POST","path":"/x","headers":{"Content-Type":"application/json"},"multiValueHeaders":{"Content-Type":["application/json"]},"requestContext":{"identity":{"sourceIp":"192.0.2.1"}},"body":"{}"}`, 202,
			`{"statusCode":202,"headers":{"content-type":"application/json"},"body":"{}","isBase64Encoded":false}`, "192.0.2.1"},
		{"REST API", `{"resource":"/{proxy+}","httpMethod":"POST","path":"/x","headers":{"Content-Type":"application/openflow"},"multiValueHeaders":{"Content-Type":["application/openflow"]},"requestContext":{"accountId":"1","authorizer":{"claims":null},"identity":{"sourceIp":"192.0.2.1"}},"body":"e30=","isBase64Encoded":true}`, 202,
			`{"statusCode":202,"headers":{"content-type":"application/openflow"},"body":"e30=","isBase64Encoded":true}`, "192.0.2.1"},
		{"load balancer", `{` + alb + `,"httpMethod":"POST","path":"/x","headers":{"content-type":"application/json","x-forwarded-for":"10.0.0.1, 192.0.2.1"},"body":"{}","isBase64Encoded":false}`, 202,
			`{"statusCode":202,"statusDescription":"202 Accepted","headers":{"content-type":"application/json"},"body":"{}","isBase64Encoded":false}`, "192.0.2.1"},
		{"load balancer, multi-value headers", `{` + alb + `,"httpMethod":"POST","path":"/x","multiValueHeaders":{"content-type":["application/json"],"x-forwarded-for":["192.0.2.1"]},"body":"{}"}`, 202,
			`{"statusCode":202,"statusDescription":"202 Accepted","multiValueHeaders":{"Content-Type":["application/json"]},"body":"{}","isBase64Encoded":false}`, "192.0.2.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			answer, err := h(t.Context(), json.RawMessage(row.payload))
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(answer)
			if err != nil {
				t.Fatal(err)
			}
			if row.status == 400 {
				var a firstAnswer
				if err := json.Unmarshal(text, &a); err != nil {
					t.Fatal(err)
				}
				if a.IsBase64Encoded {
					b, _ := base64.StdEncoding.DecodeString(a.Body)
					a.Body = string(b)
				}
				if a.StatusCode != 400 || !strings.Contains(a.Body, row.text) {
					t.Errorf("%d %s, want %q", a.StatusCode, a.Body, row.text)
				}
				return
			}
			if string(text) != row.text {
				t.Errorf("answered\n%s, want\n%s", text, row.text)
			}
			if b, _ := io.ReadAll(got.Body); got.Method != "POST" || string(b) != "{}" || got.RemoteAddr != row.from {
				t.Errorf("%s %q from %q", got.Method, b, got.RemoteAddr)
			}
			if row.name != "direct" && got.URL.Path != "/x" {
				t.Errorf("path %q", got.URL.Path)
			}
		})
	}
}

// A load balancer's health check is a GET of the health path, which needs no token.
func TestHealthOfLoadBalancer(t *testing.T) {
	api, _ := start(t, "SWITCHBRIDGE_TOKENS="+token)
	got, err := api.invoke(t.Context(), []byte(`{"requestContext":{"elb":{"targetGroupArn":"arn:t"}},"httpMethod":"GET","path":"/healthz",
		"queryStringParameters":{},"headers":{"user-agent":"ELB-HealthChecker/2.0"},"body":"","isBase64Encoded":false}`))
	if err != nil {
		t.Fatal(err)
	}
	var a events.ALBTargetGroupResponse
	if err := json.Unmarshal(got.body, &a); err != nil || a.StatusCode != 200 || a.StatusDescription != "200 OK" {
		t.Errorf("%s, %v", got.body, err)
	}
}

func env(pairs ...string) Environment {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestPolicySources(t *testing.T) {
	older, newer := conformance.Policy(), conformance.Policy()
	newer.Serial++
	current := packed(t, older)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/systemsmanager/parameters/get" && r.URL.Query().Get("name") == "/sb/policy" && r.Header.Get("X-Aws-Parameters-Secrets-Token") == "session":
			_ = json.NewEncoder(w).Encode(map[string]any{"Parameter": map[string]string{"Value": base64.StdEncoding.EncodeToString(current)}})
		case r.URL.Path == "/a/policy.blob" && strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=id/"):
			_, _ = w.Write(current)
		default:
			http.Error(w, "no such thing", 404)
		}
	}))
	defer server.Close()
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	aws := []string{"AWS_SESSION_TOKEN", "session", "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", port, "AWS_ENDPOINT_URL_S3", server.URL,
		"AWS_ACCESS_KEY_ID", "id", "AWS_SECRET_ACCESS_KEY", "secret", "AWS_REGION", "eu-central-1"}
	log := slog.New(slog.DiscardHandler)
	serial := func(p *Policies) uint64 {
		var d flow.Decision
		if err := p.Decide(t.Context(), &flow.Event{Type: flow.EventPolicyCheck}, &d); err != nil {
			t.Error(err)
		}
		return d.Policy.Serial
	}
	for _, name := range []string{"ssm:/sb/policy", "s3://bucket/a/policy.blob"} {
		current = packed(t, older)
		p, err := OpenPolicies(t.Context(), env(append(aws, EnvPolicy, name)...), log, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := serial(p); got != older.Serial {
			t.Errorf("%s: serial %d", name, got)
		}
		current = packed(t, newer)
		if err := p.load(t.Context()); err != nil || serial(p) != newer.Serial {
			t.Errorf("%s: %v, serial %d", name, err, serial(p))
		}
		for _, bad := range [][]byte{packed(t, older), packed(t, newer)[:50], []byte("x")} {
			current = bad
			if err := p.load(t.Context()); err == nil || serial(p) != newer.Serial {
				t.Errorf("%s: a bad policy: %v, serial %d", name, err, serial(p))
			}
		}
	}
	// A redirect would carry the session's token elsewhere.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked with the token %q", r.Host, r.Header.Get("X-Amz-Security-Token"))
	}))
	defer elsewhere.Close()
	moved := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer moved.Close()
	redirected := env(append([]string{"AWS_ENDPOINT_URL_S3", moved.URL, EnvPolicy, "s3://bucket/a/policy.blob"}, aws...)...)
	if _, err := OpenPolicies(t.Context(), redirected, log, nil); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("a redirect: %v", err)
	}
	for _, name := range []string{"ssm:/other", "s3://bucket", "s3://bucket/other", "missing.blob"} {
		if _, err := OpenPolicies(t.Context(), env(append(aws, EnvPolicy, name)...), log, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
