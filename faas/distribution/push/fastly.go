package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"switchbridge/faas/platform/fastlyhost"
)

// Fastly is a service's config store, with a KV store for a policy that is too large for it.
type Fastly struct {
	API
	ConfigStore string // its identifier
	KVStore     string // its identifier; wanted only for a policy above fastlyhost.MaxInConfig, or with machines above fastlyhost.MaxStateful
	Token       string // may write to both; wanted by Plan.Do
}

// Plan returns what would be written, as fastlyhost.Entries lays it out. Items of a config
// store are set by "Update an item or create it" of Fastly's API, keys of a KV store by "Insert an item".
func (f Fastly) Plan(blob []byte) (*Plan, error) {
	base, err := f.endpoint("https://api.fastly.com")
	if err != nil {
		return nil, err
	}
	if err := missing("the config store's identifier (--config-store)", f.ConfigStore); err != nil {
		return nil, err
	}
	if err := checkSize(blob); err != nil {
		return nil, err
	}
	entries, err := fastlyhost.Entries(blob)
	if err != nil {
		return nil, err
	}
	p := &Plan{Target: "fastly at " + base, blob: blob, again: f.pauses,
		read:     func(ctx context.Context) ([]byte, error) { return f.read(ctx, base) },
		outdated: func(ctx context.Context) ([]Delete, error) { return f.outdated(ctx, base, blob) },
		ready:    func() error { return missing("the API token (FASTLY_API_TOKEN)", f.Token) }}
	for _, e := range entries {
		r := f.entry(http.MethodPut, base, e.Store, e.Key)
		r.body = []byte(e.Value)
		store, limit := "config store "+f.ConfigStore, fastlyhost.MaxValue
		if e.Store == fastlyhost.InKV {
			if err := missing(fmt.Sprintf("for a policy of more than %d bytes, or with machines of more than %d, the KV store's identifier (--kv-store)", fastlyhost.MaxInConfig, fastlyhost.MaxStateful), f.KVStore); err != nil {
				return nil, err
			}
			store, limit = "KV store "+f.KVStore, fastlyhost.MaxKVValue
		} else {
			r.header["Content-Type"] = "application/x-www-form-urlencoded"
			r.body = []byte(url.Values{"item_value": {e.Value}}.Encode())
		}
		if err := atMost("fastly: "+store+": key "+e.Key+": value", len(e.Value), limit); err != nil {
			return nil, err
		}
		p.Writes = append(p.Writes, Write{Store: store, Key: e.Key, Size: len(e.Value),
			do: func(ctx context.Context) error { return f.do(ctx, r) }})
	}
	return p, nil
}

// entry is a request for one entry of a store.
func (f Fastly) entry(method, base string, store fastlyhost.Store, key string) request {
	path := "/resources/stores/config/" + url.PathEscape(f.ConfigStore) + "/item/"
	if store == fastlyhost.InKV {
		path = "/resources/stores/kv/" + url.PathEscape(f.KVStore) + "/keys/"
	}
	return request{
		method: method, url: base + path + url.PathEscape(key), secrets: []string{f.Token},
		header: map[string]string{"Fastly-Key": f.Token, "Accept": "application/json", "Content-Type": "application/octet-stream"},
	}
}

// read reads the policy as a function does: its manifest first, then what that names.
func (f Fastly) read(ctx context.Context, base string) ([]byte, error) {
	lookup := f.lookup(ctx, base)
	return fastlyhost.ReadPolicy(func(store fastlyhost.Store, key string, limit int) ([]byte, error) {
		value, err := lookup(store, key, limit)
		if errors.Is(err, fs.ErrNotExist) && key != fastlyhost.KeyPolicy {
			return nil, errors.New("missing") // and not: there is no policy
		}
		return value, err
	})
}

func (f Fastly) lookup(ctx context.Context, base string) fastlyhost.Lookup {
	return func(store fastlyhost.Store, key string, limit int) ([]byte, error) {
		return f.value(ctx, base, store, key, limit)
	}
}

// value reads one entry of a store. There is [fs.ErrNotExist].
func (f Fastly) value(ctx context.Context, base string, store fastlyhost.Store, key string, limit int) ([]byte, error) {
	r := f.entry(http.MethodGet, base, store, key)
	r.limit, r.absent = limit, notFound
	if store == fastlyhost.InKV {
		if err := missing("for the policy that is there, the KV store's identifier (--kv-store)", f.KVStore); err != nil {
			return nil, err
		}
		return f.get(ctx, r)
	}
	r.limit = 2*limit + maxAnswer // as JSON, beside other members
	answer, err := f.get(ctx, r)
	if err != nil {
		return nil, err
	}
	var i item
	if err := json.Unmarshal(answer, &i); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return []byte(i.Value), atMost("value", len(i.Value), limit)
}

func notFound(status int, _ []byte) bool { return status == http.StatusNotFound }

// item is an item of a config store, by "Get an item from a config store" and "List items in a
// config store" of Fastly's API.
type item struct {
	Key     string `json:"item_key"`
	Value   string `json:"item_value"`
	Updated string `json:"updated_at"` // ISO 8601
}
