package httpclient

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/internal/watched"
)

// HedgeAuto as [Config.HedgeAfter] hedges after the 95th percentile of recent answers.
const HedgeAuto time.Duration = -1

// Defaults of a [Config] that a gateway's settings name, too.
const (
	DefaultConnections   = 4
	DefaultConnectionAge = 3 * time.Minute
	DefaultTryTimeout    = 2 * time.Second
	DefaultBreakerOpen   = time.Second
)

// Config says how a function is reached. Endpoints and Codec are required; the
// zero value of everything else stands for a default, above or in its comment, chosen
// for a function behind a CDN, tens of milliseconds away.
type Config struct {
	// Endpoints are the function's URLs in order of preference: https://,
	// http://, or unix:///path/of/socket (which speaks HTTP). The first whose
	// breaker lets an event pass is asked.
	Endpoints []string

	// Codec is the encoding of events and answers.
	Codec contract.Codec

	// CAFile has the PEM certificates of the only authorities that are trusted.
	// Empty: those of the system. A private function should be reached by a
	// private authority alone.
	CAFile string

	// CertFile and KeyFile are the client certificate, in PEM. Files are read
	// again whenever connections are renewed, so that a renewed certificate
	// needs no restart.
	CertFile, KeyFile string

	// TokenFile has the bearer token. It is looked at once a second at most and
	// read again when it has changed. A token is never sent in clear except to
	// this machine.
	TokenFile string

	// HTTP2 asks over HTTP/2. Default off: on a LAN a pool of HTTP/1.1
	// connections has two thirds of HTTP/2's latency. Over a WAN, where many
	// events are under way at a time, a few HTTP/2 connections save the dials
	// of a burst.
	HTTP2 bool

	// UseProxy obeys HTTPS_PROXY and its like. Default off: an operator's shell
	// must not reroute decisions.
	UseProxy bool

	// Connections are dialled ahead, and with HTTP2 are all that there are.
	// By default a few: a first request on a new connection costs several round trips,
	// and four carry some hundred events a second at 20 ms each.
	Connections int

	// MaxIdle is how many idle HTTP/1.1 connections are kept for the next
	// event. By default as many as events may be under way in the gateway, so
	// that a burst's connections outlive it.
	MaxIdle int

	// IdleTimeout closes an idle connection. Default 50 s: load balancers
	// commonly close after 60, and whoever closes first is not surprised.
	IdleTimeout time.Duration

	// ConnectionAge is when connections are renewed and the name is looked up
	// again, give or take a fifth so that gateways don't do it in step.
	// Longer than the default loses a CDN's steering, shorter buys only handshakes.
	ConnectionAge time.Duration

	// Timeout is an event's deadline, repeats included. Default 5 s: longer
	// than the slowest cold start in common use, and a host that waits for its
	// first packet has not given up by then.
	Timeout time.Duration

	// TryTimeout bounds each request. Default 2 s: about three times the 99th
	// percentile of a function that keeps state at a CDN's edge (300 ms after a
	// change, more when cold), and two tries fit into Timeout.
	TryTimeout time.Duration

	// Idempotent reports whether an event may be asked twice, which is so when
	// deciding it writes no store. Default: every event, since the controller
	// keeps no state or lets it travel with the event.
	Idempotent func(*flow.Event) bool

	// MaxTries bounds the requests of an event, hedges not counted. Default 3.
	MaxTries int

	// RetryBudget is the share of events that may be repeated. Default 0.1: it
	// covers what breaks in ordinary operation and adds a tenth of load, no
	// more, to a function that is failing because of its load. Negative: none.
	RetryBudget float64

	// HedgeAfter is when a second request is sent for an event that has no
	// answer yet; the first answer counts. Default 0, none: each costs an
	// invocation. [HedgeAuto] is right where the slowest twentieth matters.
	HedgeAfter time.Duration

	// HedgeBudget is the share of events that may be hedged. Default 0.05,
	// which is what HedgeAuto asks for when the function is well.
	HedgeBudget float64

	// BreakerFailures consecutive failures, or failures of half of at least
	// twenty requests within 10 s, open an endpoint's breaker. Default 5. Failures
	// are connections that fail, timeouts, and 5xx that policy checks get or the
	// events of several switches. A packet whose answers are 5xx is kept away from
	// the function for BreakerOpen, and after several of them its switch.
	BreakerFailures uint32

	// BreakerOpen is how long an open breaker waits before one event tries the
	// endpoint again. Default 1 s. An endpoint at which nobody took a connection is looked
	// for five times as often, so that a restarted function is found within a fifth of it.
	BreakerOpen time.Duration

	Log     *slog.Logger // default: silent
	Metrics *Metrics     // default: silent

	// Other, if set, is an encoding that could be spoken instead. Where the
	// function refuses or garbles an answer, it is asked the same in this
	// encoding, at times, and if it can be spoken to so, errors say it.
	Other *Other

	// Results, if set, are told how the token file was read.
	Results *watched.Results

	// Via, a HOST:PORT, is connected to in place of every endpoint's own: a
	// relay that leads there. Names and certificates stay the endpoint's.
	Via string

	// dial replaces the network in tests.
	dial dialFunc
}

// maxEndpoints bounds the list; an event remembers in a word which it has tried.
const maxEndpoints = 16

func (c *Config) setDefaults() error {
	switch {
	case len(c.Endpoints) == 0:
		return errors.New("httpclient: no endpoint")
	case len(c.Endpoints) > maxEndpoints:
		return fmt.Errorf("httpclient: %d endpoints, at most %d", len(c.Endpoints), maxEndpoints)
	case c.Codec == nil:
		return errors.New("httpclient: no codec")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("httpclient: a client certificate needs both its file and its key's")
	case c.HedgeAfter < 0 && c.HedgeAfter != HedgeAuto:
		return fmt.Errorf("httpclient: hedge after %v", c.HedgeAfter)
	}
	setDefault(&c.Connections, DefaultConnections)
	setDefault(&c.MaxIdle, flow.DefaultConcurrency)
	setDefault(&c.IdleTimeout, 50*time.Second)
	setDefault(&c.ConnectionAge, DefaultConnectionAge)
	setDefault(&c.Timeout, flow.DefaultTimeout)
	setDefault(&c.TryTimeout, DefaultTryTimeout)
	setDefault(&c.MaxTries, 3)
	setDefault(&c.BreakerFailures, 5)
	setDefault(&c.BreakerOpen, DefaultBreakerOpen)
	if c.RetryBudget == 0 {
		c.RetryBudget = 0.1
	}
	if c.HedgeBudget == 0 {
		c.HedgeBudget = 0.05
	}
	if c.Idempotent == nil {
		c.Idempotent = func(*flow.Event) bool { return true }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.MaxIdle = max(c.MaxIdle, c.Connections)
	return nil
}

// setDefault replaces a value that is not positive.
func setDefault[T int | uint32 | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// target is a parsed endpoint.
type target struct {
	url    *url.URL // http or https
	socket string   // path of a unix socket, which is dialled instead of the URL's host
	name   string   // for logs, errors and metrics: no query, which may hold a platform's key
}

// endpointForms are for errors.
const endpointForms = "https://host/path, http://host/path or unix:///path"

func parseTarget(s string) (target, error) {
	u, err := url.Parse(s)
	if err != nil {
		var syntax *url.Error // quotes the whole URL
		if errors.As(err, &syntax) {
			err = syntax.Err
		}
		before, _, _ := strings.Cut(s, "?")
		return target{}, fmt.Errorf("endpoint %q: %w; want %s", before[strings.LastIndexByte(before, '@')+1:], err, endpointForms)
	}
	t := target{url: u, name: u.Scheme + "://" + u.Host + u.EscapedPath()}
	switch {
	case u.User != nil:
		return t, fmt.Errorf("endpoint %s: user and password don't belong in a URL; use a token file", t.name)
	case u.Opaque != "": // unix:path
		return t, fmt.Errorf("endpoint %q: want %s", u.Scheme+":"+u.Opaque, endpointForms)
	case u.Fragment != "":
		return t, fmt.Errorf("endpoint %q: want %s", t.name, endpointForms)
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		t.socket = u.Path
		t.url = &url.URL{Scheme: "http", Host: "localhost", Path: "/"}
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "":
		if u.Path == "" {
			u.Path = "/"
		}
	default:
		return t, fmt.Errorf("endpoint %q: want %s", t.name, endpointForms)
	}
	return t, nil
}

// private reports whether what is sent to t, by way of via if that isn't empty,
// can be read by nobody.
func (t *target) private(via string) bool {
	if t.url.Scheme == "https" {
		return true
	}
	if via != "" {
		host, _, err := net.SplitHostPort(via)
		return err == nil && local(host)
	}
	return t.socket != "" || local(t.url.Hostname())
}

// local reports whether host is this machine.
func local(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
