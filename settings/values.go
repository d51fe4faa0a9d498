package settings

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"switchbridge/flow"
	"switchbridge/internal/listen"
	"switchbridge/ofproxy/ofp"
)

// Listen is a place to accept switches at: tcp:HOST:PORT, ssl:HOST:PORT or
// unix:PATH, as ovs-vsctl's set-controller writes the other end; a bare
// HOST:PORT is tcp.
type Listen struct {
	Network string // tcp or unix
	Address string
	Secure  bool
}

// ParseListen reads the form above.
func ParseListen(s string) (Listen, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	switch scheme {
	case "tcp", "ssl":
		if !strings.Contains(rest, ":") {
			return Listen{}, fmt.Errorf("listen %q: want %s:HOST:PORT", s, scheme)
		}
		return Listen{Network: "tcp", Address: rest, Secure: scheme == "ssl"}, nil
	case "unix":
		if rest == "" {
			return Listen{}, fmt.Errorf("listen %q: want unix:PATH", s)
		}
		return Listen{Network: "unix", Address: rest}, nil
	}
	if !strings.Contains(s, ":") {
		return Listen{}, fmt.Errorf("listen %q: want tcp:HOST:PORT, ssl:HOST:PORT or unix:PATH", s)
	}
	return Listen{Network: "tcp", Address: s}, nil
}

func (l Listen) String() string {
	switch {
	case l.Secure:
		return "ssl:" + l.Address
	default:
		return l.Network + ":" + l.Address
	}
}

// Target is how an Open vSwitch of this machine is told to connect there.
func (l Listen) Target() string {
	if host, port, err := net.SplitHostPort(l.Address); err == nil && l.Network == "tcp" && (anyHost(host) || host == "localhost") {
		l.Address = net.JoinHostPort("127.0.0.1", port)
	}
	return l.String()
}

// Takes reports whether a bridge's target, such as tcp:127.0.0.1:6653, leads there. Open vSwitch
// takes a target without a port, too.
func (l Listen) Takes(target string) bool {
	scheme, address, _ := strings.Cut(target, ":")
	if l.Network == "unix" {
		return scheme == "unix" && address == l.Address
	}
	if scheme != "tcp" && scheme != "ssl" || (scheme == "ssl") != l.Secure {
		return false
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		_, port, _ := net.SplitHostPort(ofp.DefaultAddress)
		address = net.JoinHostPort(strings.Trim(address, "[]"), port)
	}
	host, port, err := net.SplitHostPort(address)
	at, atPort, err2 := net.SplitHostPort(l.Address)
	return err == nil && err2 == nil && port == atPort && (anyHost(at) || host == at || at == "localhost" && listen.Loopback(address))
}

// anyHost reports whether a listener's host stands for every address of the machine.
func anyHost(host string) bool {
	return host == "" || net.ParseIP(host).IsUnspecified()
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (l *Listen) UnmarshalYAML(n *yaml.Node) (err error) {
	*l, err = ParseListen(n.Value)
	return at(n, err)
}

// Version is an OpenFlow version as people write it.
type Version flow.Protocol

// UnmarshalYAML implements yaml.Unmarshaler.
func (v *Version) UnmarshalYAML(n *yaml.Node) error {
	switch n.Value {
	case "1.0":
		*v = Version(flow.OpenFlow10)
	case "1.3":
		*v = Version(flow.OpenFlow13)
	default:
		return at(n, fmt.Errorf("OpenFlow version %q: want \"1.0\" or \"1.3\"", n.Value))
	}
	return nil
}

// DPIDPattern is a datapath id of which digits may be *, each for one digit, or
// a single * for any.
type DPIDPattern string

// ParseDPIDPattern checks the form.
func ParseDPIDPattern(s string) (DPIDPattern, error) {
	if s == "*" {
		return "*", nil
	}
	digits := strings.ToLower(strings.ReplaceAll(s, ":", ""))
	if len(digits) != 16 || strings.Trim(digits, "0123456789abcdef*") != "" {
		return "", fmt.Errorf("datapath id pattern %q: want 16 hexadecimal digits, of which some may be *, or one *", s)
	}
	return DPIDPattern(digits), nil
}

// Matches reports whether d fits.
func (p DPIDPattern) Matches(d flow.DPID) bool {
	if p == "*" {
		return true
	}
	digits := d.String()
	for i := range digits {
		if p[i] != '*' && p[i] != digits[i] {
			return false
		}
	}
	return true
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (p *DPIDPattern) UnmarshalYAML(n *yaml.Node) (err error) {
	*p, err = ParseDPIDPattern(n.Value)
	return at(n, err)
}

// EventType is one that can be subscribed to.
type EventType flow.EventType

// UnmarshalYAML implements yaml.Unmarshaler.
func (t *EventType) UnmarshalYAML(n *yaml.Node) error {
	types := map[string]flow.EventType{"flow_removed": flow.EventFlowRemoved, "port_status": flow.EventPortStatus, "error": flow.EventError}
	v, ok := types[n.Value]
	if !ok {
		return at(n, fmt.Errorf("event %q: want flow_removed, port_status or error", n.Value))
	}
	*t = EventType(v)
	return nil
}

// Handshake is true for the full handshake.
type Handshake bool

// UnmarshalYAML implements yaml.Unmarshaler.
func (h *Handshake) UnmarshalYAML(n *yaml.Node) error {
	switch n.Value {
	case "combined":
		*h = false
	case "full":
		*h = true
	default:
		return at(n, fmt.Errorf("handshake %q: want combined or full", n.Value))
	}
	return nil
}

// Mode is a fail mode.
type Mode string

// The fail modes.
const (
	ModeSecure     Mode = "secure"
	ModeStandalone Mode = "standalone"
)

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *Mode) UnmarshalYAML(n *yaml.Node) error {
	switch v := Mode(n.Value); v {
	case ModeSecure, ModeStandalone:
		*m = v
		return nil
	}
	return at(n, fmt.Errorf("fail mode %q: want secure or standalone", n.Value))
}

// at adds the line to an error about a value.
func at(n *yaml.Node, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("line %d: %w", n.Line, err)
}

// knownKeys refuses a mapping's keys that are not yaml tags of like's fields;
// the decoder's own check does not reach into a custom UnmarshalYAML.
func knownKeys(n *yaml.Node, like any) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping", n.Line)
	}
	var known []string
	t := reflect.TypeOf(like)
	for i := range t.NumField() {
		known = append(known, t.Field(i).Tag.Get("yaml"))
	}
	for i := 0; i < len(n.Content); i += 2 {
		if key := n.Content[i]; !slices.Contains(known, key.Value) {
			return fmt.Errorf("line %d: unknown key %q", key.Line, key.Value)
		}
	}
	return nil
}
