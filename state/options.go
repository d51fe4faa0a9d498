package state

import (
	"log/slog"
	"net/url"
)

// Limits of stores, where a configuration names none.
const (
	DefaultEntries = 100_000
	DefaultBytes   = 64 << 20
)

// Options are what a store is opened with. Those that a store has no use for it refuses where they are set by somebody, and ignores
// where they are defaults.
type Options struct {
	URL *url.URL

	// Entries and Bytes bound what the store holds, where it is the one who makes room: 0 stands for the defaults. A key counts until its
	// state has expired; the bytes are of keys and values.
	Entries int
	Bytes   int64

	PasswordFile string // a password, a token or NATS credentials
	CA           string // PEM file of the only authorities that are trusted
	Cert, Key    string // PEM files of a client certificate

	Log *slog.Logger // never nil
}

// Limited returns the limits with the defaults in their place.
func (o *Options) Limited() (entries int, bytes int64) {
	entries, bytes = o.Entries, o.Bytes
	if entries <= 0 {
		entries = DefaultEntries
	}
	if bytes <= 0 {
		bytes = DefaultBytes
	}
	return entries, bytes
}
