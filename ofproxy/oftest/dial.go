package oftest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// Dial connects to a controller and starts a switch: target is host:port,
// tcp:host:port, unix:path, or ssl:host:port (tls: is the same), for which tc
// counts; nil is the system's certificate authorities.
func Dial(ctx context.Context, target string, tc *tls.Config, cfg Config) (*Switch, error) {
	conn, err := DialConn(ctx, target, tc)
	if err != nil {
		return nil, err
	}
	return Serve(conn, cfg), nil
}

// DialConn is the connection that [Dial] makes.
func DialConn(ctx context.Context, target string, tc *tls.Config) (net.Conn, error) {
	network, address := "tcp", target
	secure := false
	if scheme, rest, ok := strings.Cut(target, ":"); ok {
		switch scheme {
		case "tcp":
			address = rest
		case "unix":
			network, address = "unix", rest
		case "ssl", "tls":
			address, secure = rest, true
		}
	}
	if network == "tcp" {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("controller %q: want host:port, ssl:host:port or unix:path", target)
		}
	}
	var d net.Dialer
	if !secure {
		return d.DialContext(ctx, network, address)
	}
	return (&tls.Dialer{NetDialer: &d, Config: tc}).DialContext(ctx, network, address)
}
