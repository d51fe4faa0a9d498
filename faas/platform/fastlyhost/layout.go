package fastlyhost

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"switchbridge/faas/instance/guest"
	"switchbridge/policy/blob"
)

// The names under which a service's resources are linked to it.
const (
	ConfigStore = "switchbridge_config"  // the policy, see [Entries]
	KVStore     = "switchbridge_policy"  // a policy that is too large for the config store
	StateStore  = "switchbridge_states"  // a KV store for the states of machines
	SecretStore = "switchbridge_secrets" // the bearer tokens
	LogEndpoint = "switchbridge_records" // decision records, a JSON line each
)

// KeyPolicy is the config store's entry that says which policy counts.
const KeyPolicy = "policy"

// KeyTokens is the secret with the bearer token, or with two, a blank or the end of a line between,
// while one takes the other's place.
const KeyTokens = "tokens"

// KeyStateKeys is the secret with the keys of states that travel with events, the one that seals first. Without it none travel.
const KeyStateKeys = "state_keys"

// KeyPrefix begins the key of every other entry of a policy, in both stores. It is followed by the
// policy's checksum, so that the entries of two policies never mix, whatever an edge has of them.
const KeyPrefix = "policy-"

// Limits of the platform.
const (
	MaxValue   = 8000             // characters of a config store's value
	MaxKVValue = 25_000_000       // bytes of a KV store's
	MaxLookups = 16               // look-ups in stores during one execution
	partSize   = MaxValue / 4 * 3 // bytes of a policy that one value holds in base64

	// MaxParts leaves look-ups for KeyPolicy and KeyTokens. Each part takes two: the SDK asks for
	// 128 bytes, hears how long the value is, and asks again.
	MaxParts = (MaxLookups - 2) / 2
)

// MaxInConfig is how many bytes a policy may have in the config store. A larger one is written to
// the KV store.
const MaxInConfig = MaxParts * partSize

// MaxStateful is MaxInConfig of a policy with machines: look-ups of parts would be missing for its states.
const MaxStateful = partSize

// Store is where an [Entry] belongs.
type Store uint8

// Stores that hold a policy.
const (
	InConfig Store = iota
	InKV
)

// String returns the name by which the store is linked.
func (s Store) String() string {
	if s == InKV {
		return KVStore
	}
	return ConfigStore
}

// Entry is one entry of a store.
type Entry struct {
	Store Store
	Key   string
	Value string // bytes as they are in the KV store, text in the config store
}

// Entries returns what has to be written for a function to decide by a compiled policy, in the
// order in which it has to be written: the last entry makes the others count, so that a function
// never meets half a policy.
//
//	policy             a policy of up to 6,000 bytes in base64, or else a manifest
//	                   "parts=<n> bytes=<n> crc32c=<8 hex digits>", or
//	                   "kv=<key> bytes=<n> crc32c=<8 hex digits>"
//	policy-<crc>-<i>   the parts in base64, from 0; 6,000 bytes each but the last
//	policy-<crc>       in the KV store: the policy
//
// Entries of older policies may be deleted once every edge has the new one, some minutes later;
// the first part last, since the others can't be told by their values.
func Entries(compiled []byte) ([]Entry, error) {
	switch {
	case len(compiled) == 0:
		return nil, errors.New("empty policy")
	case len(compiled) > guest.MaxPolicy:
		return nil, fmt.Errorf("policy of %d bytes, limit %d", len(compiled), guest.MaxPolicy)
	case len(compiled) <= partSize:
		return []Entry{{InConfig, KeyPolicy, base64.StdEncoding.EncodeToString(compiled)}}, nil
	}
	m := manifest{bytes: len(compiled), crc: checksum(compiled)}
	var entries []Entry
	if len(compiled) > MaxInConfig || len(compiled) > MaxStateful && stateful(compiled) {
		m.kv = Prefix(compiled)
		entries = append(entries, Entry{InKV, m.kv, string(compiled)})
	} else {
		for ; len(compiled) > 0; m.parts++ {
			n := min(len(compiled), partSize)
			entries = append(entries, Entry{InConfig, m.part(m.parts), base64.StdEncoding.EncodeToString(compiled[:n])})
			compiled = compiled[n:]
		}
	}
	return append(entries, Entry{InConfig, KeyPolicy, m.String()}), nil
}

// LocalServer returns the manifest with which Viceroy, Fastly's own local server, has the stores of a service that decides by a compiled
// policy and wants a token. It is for policies that the config store holds.
func LocalServer(compiled []byte, token string) (string, error) {
	entries, err := Entries(compiled)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[local_server.config_stores.%s]\nformat = \"inline-toml\"\n[local_server.config_stores.%[1]s.contents]\n", ConfigStore)
	for _, e := range entries {
		if e.Store != InConfig {
			return "", fmt.Errorf("a policy of %d bytes is for the KV store", len(compiled))
		}
		fmt.Fprintf(&b, "%q = %q\n", e.Key, e.Value)
	}
	fmt.Fprintf(&b, "[[local_server.secret_stores.%s]]\nkey = %q\ndata = %q\n", SecretStore, KeyTokens, token)
	return b.String(), nil
}

// stateful reports whether a compiled policy has machines.
func stateful(compiled []byte) bool {
	p, err := blob.Unpack(compiled)
	return err == nil && p.Stateful()
}

// Prefix begins the key of every entry of a compiled policy but KeyPolicy.
func Prefix(blob []byte) string { return fmt.Sprintf("%s%08x", KeyPrefix, checksum(blob)) }

// PrefixOf returns what the keys of one policy begin with, of which key is one; empty for what is no policy's.
func PrefixOf(key string) string {
	const hash = 8 // digits
	end := len(KeyPrefix) + hash
	if !strings.HasPrefix(key, KeyPrefix) || len(key) < end || len(key) > end && key[end] != '-' ||
		strings.Trim(key[len(KeyPrefix):end], "0123456789abcdef") != "" {
		return ""
	}
	return key[:end]
}

// Lookup reads one entry of a store. Limit is how long a value may be.
type Lookup func(store Store, key string, limit int) ([]byte, error)

// ReadPolicy reads the compiled policy that Entries laid out, of which at most
// MaxParts+1 entries are read. That it is whole is checked; whether it is a policy, its reader finds out.
func ReadPolicy(lookup Lookup) ([]byte, error) {
	value, err := lookup(InConfig, KeyPolicy, MaxValue)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", ConfigStore, KeyPolicy, err)
	}
	text := strings.TrimSpace(string(value))
	if !strings.Contains(text, "bytes=") { // base64 has = at its end only
		blob, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", ConfigStore, KeyPolicy, err)
		}
		return blob, nil
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", ConfigStore, KeyPolicy, err)
	}
	return m.read(lookup)
}

// ReadFirst reads the first part of the policy whose keys begin with prefix, or all of it where it is in the KV store.
func ReadFirst(lookup Lookup, prefix string, inKV bool) ([]byte, error) {
	if inKV {
		return lookup(InKV, prefix, MaxKVValue)
	}
	value, err := lookup(InConfig, prefix+"-0", MaxValue)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(string(value))
}

// manifest is the entry KeyPolicy of a policy that has further entries.
type manifest struct {
	kv    string // the KV store's key; empty: the policy is in parts
	parts int
	bytes int
	crc   uint32
}

func (m *manifest) part(i int) string { return fmt.Sprintf("%s%08x-%d", KeyPrefix, m.crc, i) }

func (m *manifest) String() string {
	where := "parts=" + strconv.Itoa(m.parts)
	if m.kv != "" {
		where = "kv=" + m.kv
	}
	return fmt.Sprintf("%s bytes=%d crc32c=%08x", where, m.bytes, m.crc)
}

func parseManifest(text string) (m manifest, err error) {
	number := func(value string, base, bits int) uint64 {
		n, e := strconv.ParseUint(value, base, bits)
		if e != nil {
			err = fmt.Errorf("manifest %q: %w", text, e)
		}
		return n
	}
	fields := strings.Fields(text)
	for i, want := range []string{"", "bytes", "crc32c"} {
		if i >= len(fields) {
			return m, fmt.Errorf("manifest %q: %d of 3 fields", text, len(fields))
		}
		key, value, _ := strings.Cut(fields[i], "=")
		switch {
		case i == 0 && key == "parts":
			m.parts = int(number(value, 10, 31))
		case i == 0 && key == "kv":
			m.kv = value
		case key == want && key == "bytes":
			m.bytes = int(number(value, 10, 31))
		case key == want && key == "crc32c":
			m.crc = uint32(number(value, 16, 32))
		default:
			return m, fmt.Errorf("manifest %q: unknown field %q", text, fields[i])
		}
	}
	switch {
	case err != nil:
	case len(fields) > 3:
		err = fmt.Errorf("manifest %q: more than 3 fields", text)
	case m.bytes > guest.MaxPolicy:
		err = fmt.Errorf("manifest %q: limit %d bytes", text, guest.MaxPolicy)
	case m.kv != "" && !strings.HasPrefix(m.kv, KeyPrefix):
		err = fmt.Errorf("manifest %q: key doesn't begin with %s", text, KeyPrefix)
	case m.kv == "" && (m.parts < 1 || m.parts > MaxParts):
		err = fmt.Errorf("manifest %q: want 1 to %d parts, for the limit of %d look-ups", text, MaxParts, MaxLookups)
	case m.kv == "" && m.bytes > m.parts*partSize:
		err = fmt.Errorf("manifest %q: parts hold %d bytes each", text, partSize)
	}
	return m, err
}

func (m *manifest) read(lookup Lookup) ([]byte, error) {
	blob, where := []byte(nil), KVStore+": "+m.kv
	if m.kv != "" {
		var err error
		if blob, err = lookup(InKV, m.kv, m.bytes); err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
	} else {
		blob, where = make([]byte, 0, m.bytes), ConfigStore+": "+KeyPrefix
		for i := range m.parts {
			key := m.part(i)
			value, err := lookup(InConfig, key, MaxValue)
			if err == nil {
				blob, err = base64.StdEncoding.AppendDecode(blob, value)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", ConfigStore, key, err)
			}
		}
	}
	if len(blob) != m.bytes {
		return nil, fmt.Errorf("%s: policy of %d bytes, its manifest says %d", where, len(blob), m.bytes)
	}
	if crc := checksum(blob); crc != m.crc {
		return nil, fmt.Errorf("%s: policy damaged: checksum %08x, its manifest says %08x", where, crc, m.crc)
	}
	return blob, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(blob []byte) uint32 { return crc32.Checksum(blob, castagnoli) }
