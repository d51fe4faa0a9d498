package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/httpclient"
)

// clientFlags are how a command reaches a function to measure it: as a gateway
// does, but without repeats and hedges, which would be measured too.
type clientFlags struct {
	ca, tokenFile, encoding string
	http2                   bool
	timeout                 time.Duration
}

func (f *clientFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.ca, "function-ca", "", "PEM file of the authority that signed the function's certificate")
	fl.StringVar(&f.tokenFile, "function-token-file", "", "file with the bearer token that the function wants")
	fl.StringVar(&f.encoding, "encoding", "openflow", "what the function is spoken to in: openflow or json")
	fl.BoolVar(&f.http2, "http2", false, "ask over HTTP/2")
	fl.DurationVar(&f.timeout, "timeout", 5*time.Second, "limit of one answer")
}

// open makes a client; with full, handshakes are events of their own.
func (f *clientFlags) open(url string, full bool) (*httpclient.Client, error) {
	return f.openVia(url, "", full)
}

// openVia makes a client that connects to via, where it is not empty, in place
// of the URL's own address.
func (f *clientFlags) openVia(url, via string, full bool) (*httpclient.Client, error) {
	var codec contract.Codec = openflow.Codec{Full: full}
	switch f.encoding {
	case "openflow":
	case "json":
		codec = jsonenc.Codec{}
	default:
		return nil, usageError{fmt.Errorf("--encoding %q: want openflow or json", f.encoding)}
	}
	return httpclient.New(httpclient.Config{
		Endpoints: []string{url}, Via: via, Codec: codec, CAFile: f.ca, TokenFile: f.tokenFile, HTTP2: f.http2,
		Timeout: f.timeout, TryTimeout: f.timeout, MaxTries: 1, RetryBudget: -1, MaxIdle: 512,
	})
}

// bare is the plain HTTP client that is the baseline, and the header it needs.
func (f *clientFlags) bare() (*http.Client, http.Header, error) {
	header := http.Header{}
	if f.tokenFile != "" {
		text, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, nil, err
		}
		token, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		header.Set("Authorization", "Bearer "+token)
	}
	tc := &tls.Config{}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, nil, err
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("--function-ca: %s holds no PEM certificate", f.ca)
		}
	}
	t := &http.Transport{TLSClientConfig: tc, MaxIdleConns: 512, MaxIdleConnsPerHost: 512, DisableCompression: true}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(!f.http2)
	t.Protocols.SetHTTP2(f.http2)
	return &http.Client{Transport: t, Timeout: f.timeout}, header, nil
}
