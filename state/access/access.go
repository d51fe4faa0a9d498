// Package access has the options with which stores are opened: their addresses, limits and secrets.
package access

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"switchbridge/internal/certs"
)

// Limits of stores, where a configuration names none.
const (
	DefaultEntries = 100_000
	DefaultBytes   = 64 << 20
)

// Options are what a store is opened with.
type Options struct {
	URL *url.URL

	// Entries and Bytes bound what a store may hold that manages its own memory or file; 0 stands for the defaults. A key counts until its
	// state has expired; Bytes counts keys and values.
	Entries int
	Bytes   int64

	SealFile     string // the keys of states that travel
	PasswordFile string // a password, a token or NATS credentials
	CA           string // PEM file of the only authorities that are trusted
	Cert, Key    string // PEM files of a client certificate

	Log *slog.Logger // is told of a file that has changed and can't be used
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

// Password is the content of PasswordFile, without white space around it; empty where there is no file.
func (o *Options) Password() (string, error) {
	if o.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	if len(b) > maxPassword {
		return "", fmt.Errorf("password_file %s: more than %d bytes", o.PasswordFile, maxPassword)
	}
	return strings.TrimSpace(string(b)), nil
}

const maxPassword = 64 << 10

// TLS is how to speak to a store of a name.
func (o *Options) TLS(name string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if o.CA != "" {
		var err error
		if c.RootCAs, err = certs.Pool(o.CA); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
	}
	if o.Cert != "" {
		cert, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
