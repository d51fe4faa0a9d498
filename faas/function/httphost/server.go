package httphost

import (
	"crypto/tls"
	"net/http"
	"time"
)

// Timeouts and sizes of [NewServer].
const (
	readTimeout    = 10 * time.Second // a whole request: a client that trickles its body holds memory
	idleTimeout    = 2 * time.Minute  // longer than the gateway keeps idle connections, so that it is the gateway that closes them
	maxHeaderBytes = 72 << 10         // states that travel are at most 49 KiB of them
)

// NewServer returns a server for h that no slow or idle client wears out. With
// tlsConfig nil it speaks HTTP. HTTP/2 is offered too, without TLS to clients
// that know it beforehand.
func NewServer(h http.Handler, tlsConfig *tls.Config) *http.Server {
	s := &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      2 * readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}
