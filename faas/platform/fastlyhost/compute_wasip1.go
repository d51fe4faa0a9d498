package fastlyhost

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/fastly/compute-sdk-go/configstore"
	"github.com/fastly/compute-sdk-go/kvstore"
	"github.com/fastly/compute-sdk-go/rtlog"
	"github.com/fastly/compute-sdk-go/secretstore"

	"switchbridge/faas/function"
	"switchbridge/faas/platform/edgehost"
	"switchbridge/state"
	"switchbridge/state/fastlykv"
)

// An instance has 128 MB for its one request. It collects no garbage before most of that is used:
// to collect would cost more than to decide.
const memoryLimit = 96 << 20

// Serve answers the one request for which the platform made this instance. An error means that
// there was no answer; the platform says 500 then.
func Serve(codecs function.Codecs) error {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	r, err := newClientRequest()
	if err != nil {
		return err
	}
	method, err1 := r.method()
	path, err2 := r.path()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	p := &compute{body: r}
	resp := edgehost.Answer(codecs, &edgehost.Request{Method: method, Path: path, Header: r}, p)
	err = send(resp.Status, resp.Header, resp.Body)
	// The record is written while the answer is on its way: the instance lives until Serve returns.
	if len(resp.Record) > 0 {
		p.Log(resp.Record)
	}
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
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

func (*compute) StateKeys() (string, error) {
	keys, err := secretstore.Plaintext(SecretStore, KeyStateKeys)
	if errors.Is(err, secretstore.ErrSecretNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", SecretStore, KeyStateKeys, err)
	}
	return string(keys), nil
}

// Store implements edgehost.Platform.
func (*compute) Store() (state.Store, error) {
	s, err := OpenStates(StateStore)
	if errors.Is(err, kvstore.ErrStoreNotFound) {
		return nil, nil
	}
	return s, err
}

// OpenStates opens the KV store of a name as one of states.
func OpenStates(name string) (state.Store, error) {
	s, err := kvstore.Open(name)
	if err != nil {
		return nil, err
	}
	return fastlykv.New(kv{s}), nil
}

// kv is a fastlykv.KV.
type kv struct{ *kvstore.Store }

func (s kv) Lookup(key string) (value []byte, generation uint64, err error) {
	entry, err := s.Store.Lookup(key)
	switch {
	case errors.Is(err, kvstore.ErrKeyNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	}
	value, err = read(entry, 0, 2*state.MaxData) // one that is longer is no state, as its reader finds
	return value, entry.Generation(), err
}

func (s kv) Insert(key string, generation uint64, value []byte, ttl time.Duration) error {
	config := &kvstore.InsertConfig{IfGenerationMatch: generation, TTLSec: uint32((ttl + time.Second - 1) / time.Second)}
	if generation == 0 {
		config.Mode = kvstore.InsertModeAdd
	}
	err := s.InsertWithConfig(key, bytes.NewReader(value), config)
	if errors.Is(err, kvstore.ErrPreconditionFailed) {
		return state.ErrConflict
	}
	return err
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
	b := make([]byte, 0, min(max(size, 1<<10), limit)+1)
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
