package watched

import (
	"crypto/tls"
	"fmt"
	"log/slog"
)

// Pair is a certificate with its key.
type Pair = Value[*tls.Certificate]

// OpenPair reads a certificate and its key, since those that are issued by
// machines live for weeks. A pair that can't be used, such as one of which only
// half is written yet, leaves the old one in use.
func OpenPair(cert, key string, log *slog.Logger, results *Results) (*Pair, error) {
	return Open(Source[*tls.Certificate]{What: "certificate", Paths: []string{cert, key}, Log: log, Results: results,
		Read: func() (*tls.Certificate, []string, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				err = fmt.Errorf("certificate %s: %w", cert, err)
			}
			return &pair, nil, err
		}})
}
