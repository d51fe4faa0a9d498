package travel

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/state"
)

// A sealed state. Numbers are big-endian.
//
//	form (1) | id of the key (4) | version (8) | expiry, ms of Unix time or 0 (8) | nonce (12) | state in AES-256-GCM (16 more than its bytes)
//
// What stands before the nonce is authenticated with the state. The key of the cipher is derived by HKDF-SHA256 (RFC 5869) for each
// state's own key, so that a state of one key does not open as another's. A machine's states begin with the hash of the machine, and the
// machine refuses another one's.
const (
	form = 1

	atID      = 1
	atVersion = 5
	atExpires = 13
	atNonce   = 21
	nonceSize = 12
	tagSize   = 16
	overhead  = atNonce + nonceSize + tagSize
)

// KeySize is how many bytes a key has.
const KeySize = 32

// maxKeys is how many keys may be at hand: two during a rotation, and some in reserve.
const maxKeys = 8

// Keys are the secrets that seal states and open them.
type Keys struct{ list []*key }

type key struct {
	id     uint32
	secret []byte // HKDF's pseudorandom key

	macs sync.Pool                           // of hash.Hash: HMAC-SHA256 with the secret, which is costly to begin
	made [keptCiphers]atomic.Pointer[sealer] // by hash of the name: what opens a state mostly seals the next one
}

// keptCiphers is how many ciphers of a key are kept, each of which takes a kilobyte.
const keptCiphers = 512

// sealer is the cipher of one state.
type sealer struct {
	name string
	cipher.AEAD
}

// ParseKeys reads keys of [KeySize] bytes in base64, with white space between. The first one seals, and all of them open.
func ParseKeys(text string) (*Keys, error) {
	k := new(Keys)
	for i, word := range strings.Fields(text) {
		if len(k.list) == maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
		raw, err := base64.StdEncoding.DecodeString(word)
		if err != nil || len(raw) != KeySize {
			return nil, fmt.Errorf("key %d: want %d bytes in base64, as openssl rand -base64 %d prints them", i+1, KeySize, KeySize)
		}
		secret, err := hkdf.Extract(sha256.New, raw, nil)
		if err != nil {
			return nil, err
		}
		id, err := hkdf.Expand(sha256.New, secret, "switchbridge state key id", 4)
		if err != nil {
			return nil, err
		}
		one := &key{id: binary.BigEndian.Uint32(id), secret: secret}
		one.macs.New = func() any { return hmac.New(sha256.New, secret) }
		k.list = append(k.list, one)
	}
	if len(k.list) == 0 {
		return nil, errors.New("no key")
	}
	return k, nil
}

// subkey returns HKDF-Expand of the secret for one state (RFC 5869, 2.3), whose first block is as long as a key.
func (k *key) subkey(name string) []byte {
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	var room [64 + state.MaxKey]byte
	mac.Write(append(append(append(room[:0], "switchbridge state "...), name...), 1))
	return mac.Sum(nil)
}

// cipher returns the AEAD for one state.
func (k *key) cipher(name string) (cipher.AEAD, error) {
	place := &k.made[maphash.String(places, name)%keptCiphers]
	if made := place.Load(); made != nil && made.name == name {
		return made.AEAD, nil
	}
	block, err := aes.NewCipher(k.subkey(name))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err == nil {
		place.Store(&sealer{name, aead})
	}
	return aead, err
}

var places = maphash.MakeSeed()

// seal seals the state of a key. Expires is zero for one that does not expire.
func (k *Keys) seal(name string, version uint64, expires time.Time, data []byte) ([]byte, error) {
	with := k.list[0]
	aead, err := with.cipher(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, atNonce+nonceSize, overhead+len(data))
	b[0] = form
	binary.BigEndian.PutUint32(b[atID:], with.id)
	binary.BigEndian.PutUint64(b[atVersion:], version)
	if !expires.IsZero() {
		binary.BigEndian.PutUint64(b[atExpires:], uint64(expires.UnixMilli()))
	}
	_, _ = rand.Read(b[atNonce:]) // it never fails
	return aead.Seal(b, b[atNonce:], data, b[:atNonce]), nil
}

// open opens what seal has made. The version and the expiry, too, are as they were sealed.
func (k *Keys) open(name string, b []byte) (version uint64, expires time.Time, data []byte, err error) {
	switch {
	case len(b) > 0 && b[0] > form:
		return 0, expires, nil, state.ErrNewer
	case len(b) < overhead || b[0] != form:
		return 0, expires, nil, state.ErrCorrupt
	}
	id := binary.BigEndian.Uint32(b[atID:])
	err = state.ErrSealed
	for i := range k.list { // two keys may have one id
		if k.list[i].id != id {
			continue
		}
		aead, failed := k.list[i].cipher(name)
		if failed != nil {
			return 0, expires, nil, failed
		}
		if data, err = aead.Open(nil, b[atNonce:atNonce+nonceSize], b[atNonce+nonceSize:], b[:atNonce]); err == nil {
			break
		}
		err = fmt.Errorf("%w: its seal is broken", state.ErrCorrupt)
	}
	if err != nil {
		return 0, expires, nil, err
	}
	if ms := binary.BigEndian.Uint64(b[atExpires:]); ms != 0 {
		expires = time.UnixMilli(int64(ms))
	}
	if data == nil {
		data = []byte{}
	}
	return binary.BigEndian.Uint64(b[atVersion:]), expires, data, nil
}
