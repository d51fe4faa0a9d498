package conformance

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"testing"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/functiontest"
	"switchbridge/policy"
	"switchbridge/policy/blob"
)

// fastly is the program that Fastly Compute is given, on a host of the platform's calls, and where it writes its records.
func fastly(t *testing.T) (functiontest.Exchange, *lines) { return fastlyWith(t, Policy(), nil, nil) }

// fastlyWith is that program with a policy, with secrets beside its token, and with a store of states, if there is one.
func fastlyWith(t *testing.T, p *policy.Policy, more map[string]string, states *fastlytest.KVStore) (functiontest.Exchange, *lines) {
	t.Helper()
	const token = "0123456789abcdef"
	compiled, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := fastlyhost.Entries(compiled)
	if err != nil {
		t.Fatal(err)
	}
	config := make(map[string]string)
	for _, e := range entries {
		config[e.Key] = e.Value
	}
	secrets := map[string]string{fastlyhost.KeyTokens: token}
	maps.Copy(secrets, more)
	var records lines
	service := &fastlytest.Service{
		Logs:    map[string]io.Writer{fastlyhost.LogEndpoint: &records},
		Config:  map[string]map[string]string{fastlyhost.ConfigStore: config},
		Secrets: map[string]map[string]string{fastlyhost.SecretStore: secrets},
	}
	if states != nil {
		service.KV = map[string]*fastlytest.KVStore{fastlyhost.StateStore: states}
	}
	host := fastlytest.Build(t, "switchbridge/cmd/function-fastly")
	return func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		canonical := http.Header{"Authorization": {"Bearer " + token}} // the host looks names up as they are written
		for name, values := range header {
			canonical[http.CanonicalHeaderKey(name)] = values
		}
		resp, err := host.Do(ctx, service, &fastlytest.Request{Header: canonical, Body: body})
		if err == nil && resp.Streamed {
			err = errors.New("the answer is streamed, though it is whole")
		}
		return resp.Status, resp.Header, resp.Body, err
	}, &records
}

func TestFastly(t *testing.T) {
	exchange, records := fastly(t)
	for _, e := range encodings {
		t.Run(e.name, func(t *testing.T) { Run(t, functiontest.Client(e.codec, exchange), e.codec) })
	}
	records.check(t, len(encodings)*len(Cases()))
	t.Run("refusals", func(t *testing.T) { Refusals(t, exchange) })
}
