// Package certs reads the certificates that configurations name.
package certs

import (
	"crypto/x509"
	"fmt"
	"os"
)

// Pool reads a PEM file of authorities. A file that holds none is an error: an
// empty pool would trust nobody, and nobody would be told.
func Pool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return pool, nil
}
