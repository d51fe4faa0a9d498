package fastlyhost

import (
	"context"
	"fmt"
	"io"

	"github.com/fastly/compute-sdk-go/configstore"
	"github.com/fastly/compute-sdk-go/fsthttp"
	"github.com/fastly/compute-sdk-go/kvstore"
	"github.com/fastly/compute-sdk-go/rtlog"
	"github.com/fastly/compute-sdk-go/secretstore"

	"switchbridge/faas/edgehost"
	"switchbridge/faas/function"
)

// Serve answers the one request for which the platform made this instance.
func Serve(codecs function.Codecs) {
	fsthttp.ServeFunc(func(_ context.Context, w fsthttp.ResponseWriter, r *fsthttp.Request) {
		p := &compute{body: r.Body}
		resp := edgehost.Answer(codecs, &edgehost.Request{Method: r.Method, Path: r.URL.Path, Header: r.Header}, p)
		for key, value := range resp.Header {
			w.Header().Set(key, value)
		}
		w.WriteHeader(resp.Status)
		_, _ = w.Write(resp.Body) // whoever asked may be gone
		// The answer is on its way, but not at its end: the instance lives until then.
		if len(resp.Record) > 0 {
			p.Log(resp.Record)
		}
	})
}

// compute is an edgehost.Platform.
type compute struct {
	body   io.Reader
	config *configstore.Store // nil until it was asked once
}

func (*compute) Tokens() (string, error) {
	tokens, err := secretstore.Plaintext(SecretStore, KeyTokens)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", SecretStore, KeyTokens, err)
	}
	return string(tokens), nil
}

func (c *compute) Body(size, limit int) ([]byte, error) { return read(c.body, size, limit) }

func (c *compute) Policy() ([]byte, error) { return ReadPolicy(c.lookup) }

func (*compute) Log(line []byte) { _, _ = rtlog.Open(LogEndpoint).Write(line) }

// lookup implements Lookup.
func (c *compute) lookup(store Store, key string, limit int) ([]byte, error) {
	if store == InKV {
		s, err := kvstore.Open(KVStore)
		if err != nil {
			return nil, err
		}
		entry, err := s.Lookup(key)
		if err != nil {
			return nil, err
		}
		return read(entry, limit, limit)
	}
	if c.config == nil {
		s, err := configstore.Open(ConfigStore)
		if err != nil {
			return nil, err
		}
		c.config = s
	}
	return c.config.GetBytes(key)
}

// read reads what is probably size bytes, at most limit+1: one byte more tells that it ends there
// without another allocation.
func read(r io.Reader, size, limit int) ([]byte, error) {
	b := make([]byte, 0, min(size, limit)+1)
	for len(b) <= limit {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}
