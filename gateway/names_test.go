package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/settings"
)

// A certificate's common name counts only where it has no alternative names: an
// authority that checks those may let anything stand in the other.
func TestCommonNameCountsAlone(t *testing.T) {
	set, err := settings.Parse(strings.NewReader(`
openflow:
  tls: {cert: c, key: k, client_ca: ca, bind: [{name: s7, dpids: ["0000000000000007"]}]}
`), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		cert x509.Certificate
		ok   bool
	}{
		{"common name alone", x509.Certificate{Subject: pkix.Name{CommonName: "s7"}}, true},
		{"DNS name", x509.Certificate{Subject: pkix.Name{CommonName: "s8"}, DNSNames: []string{"s8", "s7"}}, true},
		{"common name beside a DNS name", x509.Certificate{Subject: pkix.Name{CommonName: "s7"}, DNSNames: []string{"s8"}}, false},
		{"common name beside an address", x509.Certificate{Subject: pkix.Name{CommonName: "s7"}, IPAddresses: []net.IP{{192, 0, 2, 1}}}, false},
		{"common name beside a URI", x509.Certificate{Subject: pkix.Name{CommonName: "s7"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "x"}}}, false},
		{"common name beside a mailbox", x509.Certificate{Subject: pkix.Name{CommonName: "s7"}, EmailAddresses: []string{"s7@example"}}, false},
	} {
		state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{&row.cert}, VerifiedChains: [][]*x509.Certificate{{&row.cert}}}
		err := authorize(set.OpenFlow.TLS.Bind, state, flow.DPID(7))
		if (err == nil) != row.ok {
			t.Errorf("%s: %v, want it to be let in: %v", row.name, err, row.ok)
		}
	}
}
