package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/policy/blob"
)

// settleTime is how long after a policy's push an edge may still have the one before it: minutes,
// of which Fastly promises none.
const settleTime = 10 * time.Minute

// Limits of what is believed of a store's size.
const (
	maxListing  = 32 << 20 // bytes of a list of items, which has their values
	maxKVPages  = 100
	pageOfKeys  = 1000
	maxKVAnswer = 2 << 20 // bytes of a page of keys
)

// outdated returns the entries that are needed neither by the policy next, nor by the current one, nor by
// any other that an edge may still have:
//
//   - Nothing is outdated while the policy that counts is younger than settleTime, since an edge may
//     have the one before.
//   - Only an entry of a policy whose serial is smaller than that one's is: another may belong to
//     a push that is under way at the same time. What a push that broke off has left waits until
//     serials have passed it.
func (f Fastly) outdated(ctx context.Context, base string, next []byte) ([]Delete, error) {
	current, err := f.read(ctx, base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing was ever in place
	}
	var serial uint64
	if err == nil {
		serial, err = blob.Serial(current)
	}
	if err != nil {
		return nil, fmt.Errorf("entries of older policies are left: which policy counts isn't known: %w", err)
	}
	items, since, err := f.listItems(ctx, base)
	if err != nil {
		return nil, fmt.Errorf("entries of older policies are left: %w", err)
	}
	var errs []error
	keys, err := f.listKeys(ctx, base)
	if err != nil {
		errs = append(errs, fmt.Errorf("entries of older policies are left there: %w", err))
	}
	groups := map[string][]Delete{} // by the beginning of their keys, which is a policy's
	group := func(store fastlyhost.Store, name string, keys []string) {
		for _, key := range keys {
			prefix := fastlyhost.PrefixOf(key)
			if prefix == "" || prefix == fastlyhost.Prefix(current) || prefix == fastlyhost.Prefix(next) {
				continue
			}
			r := f.entry(http.MethodDelete, base, store, key)
			r.absent = notFound
			groups[prefix] = append(groups[prefix], Delete{Store: name, Key: key, do: func(ctx context.Context) error {
				if err := f.do(ctx, r); !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				return nil
			}})
		}
	}
	group(fastlyhost.InConfig, "config store "+f.ConfigStore, items)
	group(fastlyhost.InKV, "KV store "+f.KVStore, keys)
	var stale []Delete
	for _, prefix := range slices.Sorted(maps.Keys(groups)) {
		older, err := f.serial(ctx, base, prefix, slices.Contains(keys, prefix))
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s is left: whose policy it is isn't known: %w", named(groups[prefix]), err))
		case older >= serial:
		case time.Since(since) < settleTime:
			errs = append(errs, fmt.Errorf("%s is left: an edge may need it until the policy of serial %d has been in place for %v", named(groups[prefix]), serial, settleTime))
		default:
			// The first part last: it has the serial, by which the others are told if this breaks off.
			slices.SortFunc(groups[prefix], func(a, b Delete) int { return strings.Compare(b.Key, a.Key) })
			stale = append(stale, groups[prefix]...)
		}
	}
	return stale, errors.Join(errs...)
}

// serial reads the serial of a policy whose entries begin with prefix.
func (f Fastly) serial(ctx context.Context, base, prefix string, inKV bool) (uint64, error) {
	first, err := fastlyhost.ReadFirst(f.lookup(ctx, base), prefix, inKV)
	if err != nil {
		return 0, err
	}
	return blob.Serial(first)
}

// listItems returns the keys of the config store, and since when the policy that counts does.
func (f Fastly) listItems(ctx context.Context, base string) (keys []string, since time.Time, err error) {
	fail := func(err error) ([]string, time.Time, error) {
		return nil, since, fmt.Errorf("config store %s: listing its items: %w", f.ConfigStore, err)
	}
	r := f.entry(http.MethodGet, base, fastlyhost.InConfig, "")
	r.url, r.limit = base+"/resources/stores/config/"+url.PathEscape(f.ConfigStore)+"/items", maxListing
	answer, err := f.get(ctx, r)
	if err != nil {
		return fail(err)
	}
	var items []item
	if err := json.Unmarshal(answer, &items); err != nil {
		return fail(fmt.Errorf("answer: %w", err))
	}
	for _, i := range items {
		keys = append(keys, i.Key)
		if i.Key != fastlyhost.KeyPolicy {
			continue
		}
		if since, err = time.Parse(time.RFC3339, i.Updated); err != nil {
			return fail(fmt.Errorf("key %s: updated_at: %w", i.Key, err))
		}
	}
	if since.IsZero() {
		return fail(fmt.Errorf("no key %s", fastlyhost.KeyPolicy))
	}
	return keys, since, nil
}

// listKeys returns the keys of policies in the KV store, by "List item keys" of Fastly's API.
func (f Fastly) listKeys(ctx context.Context, base string) (keys []string, err error) {
	if f.KVStore == "" {
		return nil, nil
	}
	fail := func(err error) ([]string, error) {
		return nil, fmt.Errorf("KV store %s: listing its keys: %w", f.KVStore, err)
	}
	cursor := ""
	for range maxKVPages {
		r := f.entry(http.MethodGet, base, fastlyhost.InKV, "")
		query := url.Values{"prefix": {fastlyhost.KeyPrefix}, "limit": {fmt.Sprint(pageOfKeys)}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		r.url, r.limit = base+"/resources/stores/kv/"+url.PathEscape(f.KVStore)+"/keys?"+query.Encode(), maxKVAnswer
		answer, err := f.get(ctx, r)
		if err != nil {
			return fail(err)
		}
		var page struct {
			Data []string
			Meta struct {
				NextCursor string `json:"next_cursor"`
			}
		}
		if err := json.Unmarshal(answer, &page); err != nil {
			return fail(fmt.Errorf("answer: %w", err))
		}
		keys = append(keys, page.Data...)
		if cursor = page.Meta.NextCursor; cursor == "" {
			return keys, nil
		}
	}
	return fail(fmt.Errorf("more than %d pages", maxKVPages))
}
