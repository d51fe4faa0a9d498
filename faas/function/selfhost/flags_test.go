package selfhost

import (
	"net"
	"testing"
)

type listenerAt struct {
	net.Listener
	addr net.TCPAddr
}

func (l *listenerAt) Addr() net.Addr { return &l.addr }

// The line that a gateway is started with can be typed as it is.
func TestGatewayFlags(t *testing.T) {
	loopback := net.IPv4(127, 0, 0, 1)
	for _, row := range []struct {
		name   string
		ip     net.IP
		devCA  string
		change func(*Config)
		want   string
	}{
		{"loopback", loopback, "ca.pem", func(*Config) {}, "--function https://127.0.0.1:8443 --function-ca ca.pem"},
		{"every address", net.IPv6unspecified, "ca.pem", func(*Config) {}, "--function https://localhost:8443 --function-ca ca.pem"},
		{"IPv6", net.IPv6loopback, "ca.pem", func(*Config) {}, "--function https://[::1]:8443 --function-ca ca.pem"},
		{"a certificate of one's own", net.IPv4zero, "", func(c *Config) { c.TLS.Cert, c.Token = "c", "token" },
			"--function https://HOST:8443 --function-token-file token"},
		{"told apart by path", loopback, "ca.pem", func(c *Config) { c.Functions[0].Path = "/office" }, "--function https://127.0.0.1:8443/office --function-ca ca.pem"},
		{"told apart by host", loopback, "ca.pem", func(c *Config) { c.Functions[0].Host = "labs.example" }, "--function https://labs.example:8443 --function-ca ca.pem"},
		{"plain", loopback, "", func(c *Config) { c.Plain = true }, "--function http://127.0.0.1:8443"},
		{"behind a platform's proxy", net.IPv6unspecified, "", func(c *Config) { c.Proxied = true }, ""},
	} {
		c := Default()
		c.Listen, c.Functions = "127.0.0.1:8443", []Function{DefaultFunction()}
		row.change(&c)
		s := &Server{config: c, devCA: row.devCA, listener: &listenerAt{addr: net.TCPAddr{IP: row.ip, Port: 8443}}}
		if got := s.GatewayFlags(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
