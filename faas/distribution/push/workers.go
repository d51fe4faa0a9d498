package push

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"switchbridge/faas/platform/workershost"
)

// Workers is the KV namespace that a Worker has bound as workershost.PolicyBinding.
type Workers struct {
	API
	Account, Namespace string // their identifiers
	Token              string // may edit Workers KV; wanted by Plan.Do
}

// Plan returns what would be written, by "Write key-value pair" of Cloudflare's API.
func (w Workers) Plan(blob []byte) (*Plan, error) {
	base, err := w.endpoint("https://api.cloudflare.com")
	if err != nil {
		return nil, err
	}
	if err := missing("the account's identifier (--account)", w.Account, "the KV namespace's identifier (--namespace)", w.Namespace); err != nil {
		return nil, err
	}
	if err := checkSize(blob); err != nil {
		return nil, err
	}
	store := "namespace " + w.Namespace
	if err := atMost("workers: "+store+": key "+workershost.PolicyKey+": value", len(blob), workershost.MaxValue); err != nil {
		return nil, err
	}
	r := request{
		method: http.MethodPut, body: blob, secrets: []string{w.Token},
		url: base + "/client/v4/accounts/" + url.PathEscape(w.Account) + "/storage/kv/namespaces/" + url.PathEscape(w.Namespace) +
			"/values/" + url.PathEscape(workershost.PolicyKey),
		header: map[string]string{"Authorization": "Bearer " + w.Token, "Content-Type": "application/octet-stream"},
	}
	read := r
	read.method, read.body, read.absent, read.limit = http.MethodGet, nil, noSuchValue, workershost.MaxValue
	return &Plan{
		Target: "workers at " + base, blob: blob, again: w.pauses,
		read:   func(ctx context.Context) ([]byte, error) { return w.get(ctx, read) },
		Writes: []Write{{Store: store, Key: workershost.PolicyKey, Size: len(blob), do: func(ctx context.Context) error { return w.do(ctx, r) }}},
		ready:  func() error { return missing("the API token (CLOUDFLARE_API_TOKEN)", w.Token) },
	}, nil
}

// noSuchValue tells a missing key (error 10009) from a missing namespace (10013), which is a mistake.
func noSuchValue(status int, answer []byte) bool {
	return status == http.StatusNotFound && !bytes.Contains(answer, []byte("10013"))
}
