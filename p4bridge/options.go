package p4bridge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"

	"switchbridge/internal/certs"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
	"switchbridge/p4src"
)

// defaultPorts are what a switch is taken to have whose ports are not given.
var defaultPorts = []uint32{1, 2, 3, 4, 5, 6, 7, 8}

// LoadProgram reads a P4 program and its mapping from files. All three names
// empty is switchbridge.p4; a mapping alone is another mapping of it.
func LoadProgram(p4info, json, file string) (*pipeline.Pipeline, *mapping.Mapping, error) {
	p, f := p4src.Switchbridge(), mapping.Default()
	switch {
	case (p4info == "") != (json == ""):
		return nil, nil, fmt.Errorf("p4info and json go together")
	case p4info != "" && file == "":
		return nil, nil, fmt.Errorf("a program of your own needs a mapping")
	case p4info != "":
		info, err := os.ReadFile(p4info)
		if err != nil {
			return nil, nil, err
		}
		device, err := os.ReadFile(json)
		if err != nil {
			return nil, nil, err
		}
		if p, err = pipeline.Load(info, device); err != nil {
			return nil, nil, fmt.Errorf("%s, %s: %w", p4info, json, err)
		}
	}
	if file != "" {
		r, err := os.Open(file)
		if err != nil {
			return nil, nil, err
		}
		defer r.Close()
		if f, err = mapping.Parse(r, file); err != nil {
			return nil, nil, err
		}
	}
	m, err := f.Bind(p)
	return p, m, err
}

// ClientTLS reads what a gateway needs to speak TLS with a switch: the
// authority that signed the switch's certificate (empty: the system's), and its
// own certificate and key where the switch asks for one. A serverName is what
// the switch's certificate says where that is not the address's host.
//
// The gateway's certificate is read again for each connection, so that one that
// was renewed is used without a restart.
func ClientTLS(ca, cert, key, serverName string) (*tls.Config, error) {
	c := &tls.Config{ServerName: serverName, MinVersion: tls.VersionTLS12}
	if ca != "" {
		var err error
		if c.RootCAs, err = certs.Pool(ca); err != nil {
			return nil, err
		}
	}
	switch {
	case (cert == "") != (key == ""):
		return nil, errors.New("cert and key go together")
	case cert != "":
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}
