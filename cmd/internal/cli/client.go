package cli

import (
	"crypto/tls"
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
	"switchbridge/internal/certs"
)

// ClientFlags are how a command reaches a function to measure it: as a gateway
// does, but without repeats and hedges, which would be measured too.
type ClientFlags struct {
	CA, TokenFile, Encoding string
	HTTP2                   bool
	Timeout                 time.Duration
}

// Register adds them to a command's flags.
func (f *ClientFlags) Register(fl *pflag.FlagSet) {
	f.RegisterConnection(fl)
	fl.StringVar(&f.Encoding, "encoding", "openflow", "encoding of events and answers: openflow or json")
}

// RegisterConnection adds those that [ClientFlags.Bare] goes by.
func (f *ClientFlags) RegisterConnection(fl *pflag.FlagSet) {
	fl.StringVar(&f.CA, "function-ca", "", "PEM file of the authority that signed the function's certificate")
	fl.StringVar(&f.TokenFile, "function-token-file", "", "file with the bearer token for the function")
	fl.BoolVar(&f.HTTP2, "http2", false, "ask over HTTP/2")
	fl.DurationVar(&f.Timeout, "timeout", 5*time.Second, "limit of one answer")
}

// Open makes a client; with full, handshakes are events of their own.
func (f *ClientFlags) Open(url string, full bool) (*httpclient.Client, error) {
	return f.OpenVia(url, "", full)
}

// OpenVia makes a client that connects to via, where it is not empty, in place
// of the URL's own address.
func (f *ClientFlags) OpenVia(url, via string, full bool) (*httpclient.Client, error) {
	var codec contract.Codec = openflow.Codec{Full: full}
	other := &httpclient.Other{Codec: jsonenc.Codec{}, Advice: "say --encoding json"}
	switch f.Encoding {
	case "openflow":
	case "json":
		codec = jsonenc.Codec{}
		other = &httpclient.Other{Codec: openflow.Codec{Full: full}, Advice: "say --encoding openflow"}
	default:
		return nil, Usagef("--encoding %q: want openflow or json", f.Encoding)
	}
	return httpclient.New(httpclient.Config{
		Endpoints: []string{url}, Via: via, Codec: codec, Other: other, CAFile: f.CA, TokenFile: f.TokenFile, HTTP2: f.HTTP2,
		Timeout: f.Timeout, TryTimeout: f.Timeout, MaxTries: 1, RetryBudget: -1, MaxIdle: 512,
	})
}

// Bare is the plain HTTP client that is the baseline, and the header it needs.
func (f *ClientFlags) Bare() (*http.Client, http.Header, error) {
	header := http.Header{}
	if f.TokenFile != "" {
		text, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return nil, nil, err
		}
		token, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		header.Set("Authorization", "Bearer "+token)
	}
	tc := &tls.Config{}
	if f.CA != "" {
		var err error
		if tc.RootCAs, err = certs.Pool(f.CA); err != nil {
			return nil, nil, fmt.Errorf("--function-ca: %w", err)
		}
	}
	t := &http.Transport{TLSClientConfig: tc, MaxIdleConns: 512, MaxIdleConnsPerHost: 512, DisableCompression: true}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(!f.HTTP2)
	t.Protocols.SetHTTP2(f.HTTP2)
	return &http.Client{Transport: t, Timeout: f.Timeout}, header, nil
}
