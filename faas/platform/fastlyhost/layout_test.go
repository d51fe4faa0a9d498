package fastlyhost

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// stores are what was written, by store and key.
type stores map[Store]map[string]string

func (s stores) write(entries []Entry) {
	for _, e := range entries {
		if s[e.Store] == nil {
			s[e.Store] = make(map[string]string)
		}
		s[e.Store][e.Key] = e.Value
	}
}

var errAbsent = errors.New("absent")

// lookup counts what is asked.
func (s stores) lookup(n *int) Lookup {
	return func(store Store, key string, limit int) ([]byte, error) {
		*n++
		value, ok := s[store][key]
		if !ok {
			return nil, errAbsent
		}
		if len(value) > limit {
			return nil, fmt.Errorf("%d bytes, limit %d", len(value), limit)
		}
		return []byte(value), nil
	}
}

// random is size bytes that a base64 decoder can't mistake for text.
func random(size int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(size)))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestEntries(t *testing.T) {
	for _, row := range []struct {
		size, entries, lookups int
		kv                     bool
	}{
		{1, 1, 1, false},
		{partSize, 1, 1, false},
		{partSize + 1, 3, 3, false},
		{2 * partSize, 3, 3, false},
		{2*partSize + 1, 4, 4, false},
		{MaxInConfig, MaxParts + 1, MaxParts + 1, false},
		{MaxInConfig + 1, 2, 2, true},
		{1 << 20, 2, 2, true},
	} {
		blob := random(row.size)
		entries, err := Entries(blob)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != row.entries || entries[len(entries)-1].Key != KeyPolicy || (entries[0].Store == InKV) != row.kv {
			t.Errorf("%d bytes: %d entries, want %d", row.size, len(entries), row.entries)
		}
		for _, e := range entries {
			if e.Store == InConfig && len(e.Value) > MaxValue {
				t.Errorf("%d bytes: %s has %d characters", row.size, e.Key, len(e.Value))
			}
			if e.Key != KeyPolicy && PrefixOf(e.Key) != Prefix(blob) {
				t.Errorf("key %q is of a policy with %q", e.Key, PrefixOf(e.Key))
			}
		}
		s, lookups := stores{}, 0
		s.write(entries)
		got, err := ReadPolicy(s.lookup(&lookups))
		if err != nil || !bytes.Equal(got, blob) {
			t.Errorf("%d bytes: came back as %d, %v", row.size, len(got), err)
		}
		if lookups != row.lookups {
			t.Errorf("%d bytes: %d look-ups, want %d", row.size, lookups, row.lookups)
		}
		if row.entries == 1 {
			continue
		}
		if part, err := ReadFirst(s.lookup(&lookups), Prefix(blob), row.kv); err != nil || len(part) == 0 || !bytes.HasPrefix(blob, part) {
			t.Errorf("%d bytes: the first part has %d, %v", row.size, len(part), err)
		}
	}
	for _, size := range []int{0, 32<<20 + 1} {
		if _, err := Entries(make([]byte, size)); err == nil {
			t.Errorf("%d bytes: no error", size)
		}
	}
}

func TestPrefixOf(t *testing.T) {
	for key, want := range map[string]string{
		"policy-0123abcd": "policy-0123abcd", "policy-0123abcd-0": "policy-0123abcd",
		"policy": "", "policy-0123abc": "", "policy-0123abcde": "", "policy-0123ABCD": "", "policy-notes": "", "x-policy-0123abcd": "",
	} {
		if got := PrefixOf(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// A policy takes another's place entry by entry, and edges see each of them at its own time.
func TestEntriesNeverMix(t *testing.T) {
	older, newer := random(20000), random(20001)
	s, n := stores{}, 0
	first, _ := Entries(older)
	s.write(first)
	second, _ := Entries(newer)
	for i := range second {
		s.write(second[i : i+1])
		want := older
		if i == len(second)-1 {
			want = newer
		}
		if got, err := ReadPolicy(s.lookup(&n)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("after %d entries: %d bytes, %v", i+1, len(got), err)
		}
	}
}

func TestReadPolicyErrors(t *testing.T) {
	blob := random(2*partSize + 5)
	entries, err := Entries(blob)
	if err != nil {
		t.Fatal(err)
	}
	large, err := Entries(random(MaxInConfig + 1))
	if err != nil {
		t.Fatal(err)
	}
	set := func(entries []Entry, i int, value string) func(stores) {
		return func(s stores) { s[entries[i].Store][entries[i].Key] = value }
	}
	last := len(entries) - 1
	for _, row := range []struct {
		name    string
		entries []Entry
		change  func(stores)
		text    string
	}{
		{"nothing", nil, func(stores) {}, "switchbridge_config: policy: absent"},
		{"not base64", entries, set(entries, last, "SBP!"), "policy: illegal base64"},
		{"part absent", entries, func(s stores) { delete(s[InConfig], entries[1].Key) }, entries[1].Key + ": absent"},
		{"part not base64", entries, set(entries, 1, "*"), entries[1].Key + ": illegal base64"},
		{"part cut short", entries, set(entries, 2, ""), "policy of 12000 bytes, its manifest says 12005"},
		{"part of another", entries, set(entries, 0, base64.StdEncoding.EncodeToString(make([]byte, partSize))), "damaged: checksum"},
		{"two fields", entries, set(entries, last, "parts=1 bytes=7"), "2 of 3 fields"},
		{"four fields", entries, set(entries, last, "parts=1 bytes=7 crc32c=0 x=1"), "more than 3"},
		{"unknown field", entries, set(entries, last, "pieces=1 bytes=7 crc32c=0"), `unknown field "pieces=1"`},
		{"no number", entries, set(entries, last, "parts=x bytes=7 crc32c=0"), "invalid syntax"},
		{"no parts", entries, set(entries, last, "parts=0 bytes=7 crc32c=0"), "want 1 to 7 parts"},
		{"more parts than look-ups", entries, set(entries, last, "parts=8 bytes=7 crc32c=0"), "want 1 to 7 parts"},
		{"more bytes than parts hold", entries, set(entries, last, "parts=1 bytes=6001 crc32c=0"), "hold 6000 bytes each"},
		{"more bytes than a policy has", entries, set(entries, last, "kv=policy-x bytes=2000000000 crc32c=0"), "limit 33554432"},
		{"key of something else", large, set(large, 1, "kv=tokens bytes=9 crc32c=0"), "doesn't begin with policy-"},
		{"absent in the KV store", large, func(s stores) { clear(s[InKV]) }, "switchbridge_policy: " + large[0].Key + ": absent"},
		{"damaged in the KV store", large, set(large, 0, large[0].Value[1:]+"x"), "damaged"},
		{"longer in the KV store", large, set(large, 0, large[0].Value+"x"), "limit 42001"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, n := stores{}, 0
			s.write(row.entries)
			row.change(s)
			if _, err := ReadPolicy(s.lookup(&n)); err == nil || !strings.Contains(err.Error(), row.text) {
				t.Errorf("%v; want %q", err, row.text)
			}
			if n > MaxParts+1 {
				t.Errorf("%d look-ups", n)
			}
		})
	}
}

func FuzzManifest(f *testing.F) {
	f.Add("parts=3 bytes=17852 crc32c=89abcdef")
	f.Add("kv=policy-89abcdef bytes=100000 crc32c=89abcdef")
	f.Add("parts=1 bytes=6001 crc32c=0")
	f.Add("U0JQ bytes=")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		again, err := parseManifest(m.String())
		if err != nil || again != m {
			t.Errorf("%+v, then %+v, %v", m, again, err)
		}
		s, n := stores{}, 0
		if _, err := m.read(s.lookup(&n)); err == nil || n > MaxParts {
			t.Errorf("%q: %v after %d look-ups", text, err, n)
		}
	})
}
