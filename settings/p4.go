package settings

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"switchbridge/flow"
	"switchbridge/internal/listen"
)

// P4 is the side that connects to P4Runtime switches.
type P4 struct {
	Switches []P4Switch `yaml:"switches"`
}

// P4Switch is one of them: a mapping in the file, or the short form of the
// command line, which [ParseP4Switch] reads.
type P4Switch struct {
	Device  uint64 `yaml:"device"`  // P4Runtime's device_id
	DPID    uint64 `yaml:"dpid"`    // the datapath id; 0 is Device
	Address string `yaml:"address"` // host:port
	TLS     *P4TLS `yaml:"tls"`     // nil: no TLS
	Ports   Ports  `yaml:"ports"`   // empty is 1 to 8

	// Election orders the gateways of a switch, the highest is primary; 0 is the
	// time of the start.
	Election uint64 `yaml:"election"`
	Role     string `yaml:"role"` // P4Runtime's; empty may do everything
	Miss     string `yaml:"miss"` // digest, punt, clone, flood or drop; empty is digest
	// MissRate limits the misses of each port in the switch, in packets a second;
	// 0 is no limit. MissBurst is how many may come at once, 0 as many as MissRate.
	MissRate  int64 `yaml:"miss_rate"`
	MissBurst int64 `yaml:"miss_burst"`
	Entries   bool  `yaml:"entries"` // the function may name P4 tables

	// A program of one's own; empty is Switchbridge's.
	P4Info  string `yaml:"p4info"`
	JSON    string `yaml:"json"`
	Mapping string `yaml:"mapping"`
}

// P4TLS is how a switch's server is trusted, and what it is shown.
type P4TLS struct {
	CA         string `yaml:"ca"`   // PEM file; empty is the system's
	Cert       string `yaml:"cert"` // of the gateway, where the switch asks for one
	Key        string `yaml:"key"`
	ServerName string `yaml:"server_name"` // in the switch's certificate; empty is the address's host
}

// Ports is a list of port numbers, from 1.
type Ports []uint32

// maxPort is the largest port that a list may name; BMv2's are 9 bits.
const maxPort = 1 << 16

// ParsePorts reads a list such as "1-4+7".
func ParsePorts(text string) (ports Ports, err error) {
	for part := range strings.SplitSeq(text, "+") {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		l, err1 := flow.ParseNumber(low, 32)
		h, err2 := flow.ParseNumber(high, 32)
		if err1 != nil || err2 != nil || l == 0 || h < l || h > maxPort || len(ports)+int(h-l) > maxPort {
			return nil, fmt.Errorf("ports %q: want numbers from 1 and ranges, such as 1-4+7", text)
		}
		for p := l; p <= h; p++ {
			ports = append(ports, uint32(p))
		}
	}
	return ports, nil
}

// UnmarshalYAML takes a list of numbers, or the short form.
func (p *Ports) UnmarshalYAML(n *yaml.Node) (err error) {
	if n.Kind == yaml.SequenceNode {
		return n.Decode((*[]uint32)(p))
	}
	*p, err = ParsePorts(n.Value)
	return at(n, err)
}

// p4Keys are those of the short form.
const p4Keys = "device, dpid, addr, ports, miss, miss_rate, miss_burst, election, role, entries, tls, ca, cert, key, server_name, p4info, json, mapping"

// ParseP4Switch reads the short form of a switch:
//
//	device=1,addr=127.0.0.1:9559[,dpid=7][,ports=1-4+7][,miss=punt][,miss_rate=100,miss_burst=20][,election=10][,role=NAME][,entries=true]
//	[,tls=true,ca=FILE,cert=FILE,key=FILE,server_name=NAME][,p4info=FILE,json=FILE,mapping=FILE]
//
// Each of ca, cert, key and server_name implies tls=true, which alone trusts
// the system's authorities.
func ParseP4Switch(text string) (P4Switch, error) {
	var s P4Switch
	tls := func() *P4TLS {
		if s.TLS == nil {
			s.TLS = new(P4TLS)
		}
		return s.TLS
	}
	seen, plaintext := map[string]bool{}, false
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || value == "" {
			return s, fmt.Errorf("p4 switch %q: %q is not key=value", text, part)
		}
		if seen[key] {
			return s, fmt.Errorf("p4 switch %q: %s is there twice", text, key)
		}
		seen[key] = true
		var err error
		switch key {
		case "device":
			s.Device, err = flow.ParseNumber(value, 64)
		case "dpid":
			s.DPID, err = flow.ParseNumber(value, 64)
		case "addr":
			s.Address = value
		case "ports":
			s.Ports, err = ParsePorts(value)
		case "miss":
			s.Miss = value
		case "miss_rate":
			s.MissRate, err = count(value)
		case "miss_burst":
			s.MissBurst, err = count(value)
		case "election":
			s.Election, err = flow.ParseNumber(value, 64)
		case "role":
			s.Role = value
		case "entries":
			s.Entries, err = truth(value)
		case "tls":
			var on bool
			if on, err = truth(value); on {
				tls()
			}
			plaintext = !on
		case "ca":
			tls().CA = value
		case "cert":
			tls().Cert = value
		case "key":
			tls().Key = value
		case "server_name":
			tls().ServerName = value
		case "p4info":
			s.P4Info = value
		case "json":
			s.JSON = value
		case "mapping":
			s.Mapping = value
		default:
			err = errors.New("no such key; there are " + p4Keys)
		}
		if err != nil {
			return s, fmt.Errorf("p4 switch %q: %s: %w", text, key, err)
		}
	}
	if s.TLS != nil && plaintext {
		return s, fmt.Errorf("p4 switch %q: tls=false, and keys that need it", text)
	}
	if err := s.validate(); err != nil {
		return s, fmt.Errorf("p4 switch %q: %w", text, err)
	}
	return s, nil
}

// count reads a number of packets.
func count(s string) (int64, error) {
	v, err := flow.ParseNumber(s, 63)
	return int64(v), err
}

// truth reads true or false.
func truth(s string) (bool, error) {
	v, err := strconv.ParseBool(s)
	if err != nil {
		err = fmt.Errorf("%q is neither true nor false", s)
	}
	return v, err
}

// UnmarshalYAML takes a mapping, or the short form.
func (s *P4Switch) UnmarshalYAML(n *yaml.Node) (err error) {
	if n.Kind == yaml.ScalarNode {
		*s, err = ParseP4Switch(n.Value)
		return at(n, err)
	}
	type plain P4Switch
	if err := knownKeys(n, plain{}); err != nil {
		return err
	}
	if err := n.Decode((*plain)(s)); err != nil {
		return err
	}
	return placedIn(n, s.validate())
}

// UnmarshalYAML refuses keys that it does not know.
func (t *P4TLS) UnmarshalYAML(n *yaml.Node) error {
	type plain P4TLS
	if err := knownKeys(n, plain{}); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return n.Decode((*plain)(t))
}

func (s *P4Switch) validate() error {
	switch {
	case s.Device == 0 && s.DPID == 0:
		return wrong("device", "want P4Runtime's device id; where that is 0, as BMv2's is by default, give the switch a dpid, too")
	case s.Address == "":
		return wrong("address", "want HOST:PORT")
	case s.MissBurst > 0 && s.MissRate == 0:
		return wrong("miss_burst", "needs miss_rate")
	case s.TLS != nil && (s.TLS.Cert == "") != (s.TLS.Key == ""):
		return wrong("tls", "cert and key go together")
	case (s.P4Info == "") != (s.JSON == ""):
		return wrong("p4info", "p4info and json go together")
	case s.P4Info != "" && s.Mapping == "":
		return wrong("mapping", "a program of your own needs one")
	}
	if err := listen.CheckTarget(s.Address); err != nil {
		return wrong("address", "%w", err)
	}
	seen := map[uint32]bool{}
	for i, p := range s.Ports {
		if key := fmt.Sprintf("ports[%d]", i); p == 0 || p > maxPort {
			return wrong(key, "%d: want 1 to %d", p, maxPort)
		} else if seen[p] {
			return wrong(key, "%d is listed twice", p)
		}
		seen[p] = true
	}
	return first(
		func() error {
			return checkAll([]within[int64]{{"miss_rate", s.MissRate, 0, 1e9}, {"miss_burst", s.MissBurst, 0, 1e9}})
		},
		func() error {
			if s.Miss == "" {
				return nil
			}
			return oneOf("miss", s.Miss, "digest", "punt", "clone", "flood", "drop")
		})
}

// Datapath is the switch's datapath id.
func (s *P4Switch) Datapath() flow.DPID {
	if s.DPID != 0 {
		return flow.DPID(s.DPID)
	}
	return flow.DPID(s.Device)
}

// resolve makes the switch's paths relative to dir.
func (s *P4Switch) resolve(dir string) {
	paths := []*string{&s.P4Info, &s.JSON, &s.Mapping}
	if s.TLS != nil {
		paths = append(paths, &s.TLS.CA, &s.TLS.Cert, &s.TLS.Key)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}
