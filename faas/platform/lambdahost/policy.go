package lambdahost

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/instance/guest"
	"switchbridge/faas/platform/lambdahost/sigv4"
	"switchbridge/flow"
	"switchbridge/internal/elapsed"
	"switchbridge/internal/files"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/state"
)

// Environment says how the function finds its policy; in Lambda it is os.Getenv.
type Environment func(string) string

// EnvPolicy names the compiled policy:
//
//	policy.blob      a file of the package (the default)
//	ssm:/a/name      a parameter of Systems Manager, in base64, by AWS's Parameters and Secrets
//	                 extension, which has to be a layer of the function
//	s3://bucket/key  an object of S3, by the function's role
const EnvPolicy = "SWITCHBRIDGE_POLICY"

// Policies is a flow.Decider that decides by the newest policy that its source has. It looks for a
// newer one beside the event that finds the policy older than the refresh interval: no event waits.
type Policies struct {
	source  func(context.Context) ([]byte, error)
	refresh time.Duration
	log     *slog.Logger

	current atomic.Pointer[controller.Controller]
	looked  atomic.Int64 // when the source was asked last, as elapsed has it
	takes   func(*policy.Policy) error
}

var _ state.Machines = (*Policies)(nil)

// Refresh is how old a policy may become before the source is asked again.
const Refresh = 30 * time.Second

// sourceTimeout bounds one question to a policy's source.
const sourceTimeout = 3 * time.Second

// OpenPolicies reads the policy for the first time. Without one the function doesn't start: a
// platform shows that at once, and a function that allows everything would show it too late.
// takes, if not nil, says why a policy that is otherwise good can't be used.
func OpenPolicies(ctx context.Context, env Environment, log *slog.Logger, takes func(*policy.Policy) error) (*Policies, error) {
	name := env(EnvPolicy)
	if name == "" {
		name = "policy.blob"
	}
	p := &Policies{refresh: Refresh, log: log, takes: takes}
	switch {
	case strings.HasPrefix(name, "ssm:"):
		p.source = func(ctx context.Context) ([]byte, error) {
			return fromParameter(ctx, env, strings.TrimPrefix(name, "ssm:"))
		}
	case strings.HasPrefix(name, "s3://"):
		p.source = func(ctx context.Context) ([]byte, error) { return fromS3(ctx, env, name) }
	default:
		if !filepath.IsAbs(name) {
			name = filepath.Join(env("LAMBDA_TASK_ROOT"), name)
		}
		p.source = func(context.Context) ([]byte, error) { return files.ReadFile(name, guest.MaxPolicy) }
		p.refresh = 0 // a package doesn't change
	}
	if err := p.load(ctx); err != nil {
		return nil, fmt.Errorf("%s=%s: %w", EnvPolicy, env(EnvPolicy), err)
	}
	return p, nil
}

func (p *Policies) load(ctx context.Context) error {
	p.looked.Store(elapsed.Now())
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	compiled, err := p.source(ctx)
	if err != nil {
		return err
	}
	var unpacked *policy.Policy
	if unpacked, err = blob.Unpack(compiled); err != nil {
		return err
	}
	if now := p.current.Load(); now != nil {
		switch version := unpacked.Version(); {
		case version == now.Version():
			return nil
		case version.Serial < now.Version().Serial:
			return fmt.Errorf("serial %d is below %d, which decides now: serials only grow", version.Serial, now.Version().Serial)
		}
	}
	if p.takes != nil {
		if err := p.takes(unpacked); err != nil {
			return err
		}
	}
	p.current.Store(controller.New(unpacked))
	p.log.Info("policy read", "policy", unpacked.Version().String(), "bytes", len(compiled))
	return nil
}

// Decide implements flow.Decider.
func (p *Policies) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	looked := p.looked.Load()
	if now := elapsed.Now(); p.refresh > 0 && time.Duration(now-looked) > p.refresh && p.looked.CompareAndSwap(looked, now) {
		go func() {
			if err := p.load(context.WithoutCancel(ctx)); err != nil {
				p.log.Warn("the policy stays as it was", "err", err)
			}
		}()
	}
	return p.current.Load().Decide(ctx, ev, d)
}

// Version returns the version of the policy that decides now.
func (p *Policies) Version() flow.PolicyVersion { return p.current.Load().Version() }

// Stateful reports whether that policy has machines.
func (p *Policies) Stateful() bool { return p.current.Load().Stateful() }

// Travels implements [state.Machines].
func (p *Policies) Travels(key string) (name string, kind flow.StateKey, ok bool) {
	return p.current.Load().Travels(key)
}

// StateKeys implements [state.Machines].
func (p *Policies) StateKeys(ev *flow.Event, keys []string) []string {
	return p.current.Load().StateKeys(ev, keys)
}

// OwnKeys implements [state.Machines].
func (p *Policies) OwnKeys(ev *flow.Event) int { return p.current.Load().OwnKeys(ev) }

// fromParameter asks the extension, which listens on loopback and wants the session's token.
// docs.aws.amazon.com: "Using Parameter Store parameters in AWS Lambda functions".
func fromParameter(ctx context.Context, env Environment, name string) ([]byte, error) {
	port := env("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT")
	if port == "" {
		port = "2773"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://localhost:"+port+"/systemsmanager/parameters/get?withDecryption=true&name="+url.QueryEscape(name), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Aws-Parameters-Secrets-Token", env("AWS_SESSION_TOKEN"))
	body, err := fetch(r)
	if err != nil {
		return nil, err
	}
	var answer struct{ Parameter struct{ Value string } }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("parameter %s: %w", name, err)
	}
	compiled, err := base64.StdEncoding.DecodeString(strings.TrimSpace(answer.Parameter.Value))
	if err != nil {
		return nil, fmt.Errorf("parameter %s: %w", name, err)
	}
	return compiled, nil
}

// fromS3 reads an object by the role that Lambda's environment has the keys of.
func fromS3(ctx context.Context, env Environment, name string) ([]byte, error) {
	bucket, key, ok := strings.Cut(strings.TrimPrefix(name, "s3://"), "/")
	if !ok || bucket == "" || key == "" {
		return nil, errors.New("want s3://bucket/key")
	}
	base := env("AWS_ENDPOINT_URL_S3")
	if base == "" {
		base = "https://" + bucket + ".s3." + env("AWS_REGION") + ".amazonaws.com"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/"+sigv4.EscapePath(key), nil)
	if err != nil {
		return nil, err
	}
	sigv4.Sign(r, nil, sigv4.Credentials{
		ID: env("AWS_ACCESS_KEY_ID"), Secret: env("AWS_SECRET_ACCESS_KEY"), Token: env("AWS_SESSION_TOKEN"),
		Region: env("AWS_REGION"), Service: "s3",
	}, time.Now())
	return fetch(r)
}

// client follows no redirect: it would carry the session's token along, of which net/http knows nothing.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func fetch(r *http.Request) ([]byte, error) {
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, guest.MaxPolicy+1))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s: %.200s", r.URL.Redacted(), resp.Status, body)
	case len(body) > guest.MaxPolicy:
		return nil, fmt.Errorf("%s: more than %d bytes", r.URL.Redacted(), guest.MaxPolicy)
	}
	return body, nil
}
