// Package devca makes a certificate authority for development, so that a function
// can serve HTTPS before there is a real certificate. The authority is kept in a folder
// and is the same in every run, so clients need to trust it only once. Don't use it in
// production: its key lies in a file.
package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"switchbridge/internal/files"
)

const (
	certFile = "development-ca.pem"
	keyFile  = "development-ca.key"

	day      = 24 * time.Hour
	caLife   = 5 * 365 * day
	leafLife = 90 * day
)

// CA is an authority whose key is at hand.
type CA struct {
	Path string // PEM file of its certificate, for whoever is to trust it

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// DefaultDir is the user's folder for the authority.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "switchbridge"), nil
}

// Open returns the authority kept in dir, which it makes where there is none, or
// where it ends within a day.
func Open(dir string) (*CA, error) {
	ca, err := load(dir)
	switch {
	case err == nil && time.Until(ca.cert.NotAfter) > day:
		return ca, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("development CA: %w", err)
	}
	if ca, err = createOnce(dir); err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	return ca, nil
}

// createOnce makes the authority unless another process, started at the same time, has just done so:
// of two authorities one would be trusted by nobody.
func createOnce(dir string) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if ca, err := load(dir); err == nil && time.Until(ca.cert.NotAfter) > day {
		return ca, nil
	}
	return create(dir)
}

func load(dir string) (*CA, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s is not one that was made here", filepath.Join(dir, certFile))
	}
	return &CA{Path: filepath.Join(dir, certFile), cert: pair.Leaf, key: key}, nil
}

func create(dir string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Switchbridge development CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	// The key first: a certificate without its key would be of no use for ever.
	if err := writePEM(filepath.Join(dir, keyFile), "PRIVATE KEY", secret, 0o600); err != nil {
		return nil, err
	}
	if err := writePEM(filepath.Join(dir, certFile), "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	return load(dir)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return files.Replace(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

// Issue makes a certificate, good for 90 days, for a server that is reached by
// the given names and addresses.
func (ca *CA) Issue(hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "Switchbridge function"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if h != "" {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("development CA: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key}, nil
}

// Files issues a certificate and writes it and its key to name.pem and name.key in dir.
func (ca *CA) Files(dir, name string, hosts ...string) (cert, key string, err error) {
	c, err := ca.Issue(hosts...)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	if err := writePEM(key, "PRIVATE KEY", secret, 0o600); err != nil {
		return "", "", err
	}
	return cert, key, writePEM(cert, "CERTIFICATE", c.Certificate[0], 0o644)
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}
