package machine

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"switchbridge/flow"
)

// Key says what has a state of its own.
type Key = flow.StateKey

// The keys of machines.
const (
	Flow       = flow.StateFlow
	Connection = flow.StateConnection
	Src        = flow.StateSrc
	Dst        = flow.StateDst
	Pair       = flow.StatePair
	Port       = flow.StatePort
	Switch     = flow.StateSwitch
	Network    = flow.StateNetwork
)

// many reports whether anybody's packets can make new states.
func many(k Key) bool { return k <= Pair }

// local reports whether only events of one switch change a state of the key.
func local(k Key) bool { return k == Port || k == Switch }

// hasKey reports whether an event that triggers can have the key.
func (on Trigger) hasKey(k Key) bool {
	switch on {
	case OnPort:
		return k >= Port
	case OnSwitch:
		return k >= Switch
	}
	return true
}

var triggerNames = [triggers]string{"a packet", "after", "port", "rule", "switch"}

func (t Trigger) String() string { return triggerNames[t%triggers] }

// shows are the fields that such an event may have.
func (t Trigger) shows() flow.Field {
	switch t {
	case OnPort:
		return flow.FieldInPort
	case OnSwitch:
		return 0
	}
	return flow.AllFields
}

// parseValue reads a value of the key that a policy names and returns it as it is written.
func parseValue(k Key, s string) (string, error) {
	one := func(s string) (string, error) {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
			return a.String(), nil
		}
		if a, err := flow.ParseMAC(s); err == nil {
			return a.String(), nil
		}
		return "", fmt.Errorf("%.60q: want a network address such as 10.0.0.5, or an Ethernet address of what has none", s)
	}
	switch k {
	case Src, Dst:
		return one(s)
	case Pair:
		src, dst, _ := strings.Cut(s, "/")
		a, err := one(src)
		if err != nil {
			return "", err
		}
		b, err := one(dst)
		return a + "/" + b, err
	case Switch:
		dpid, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			return "", fmt.Errorf("%.60q: want a datapath id in hexadecimal, such as 1f", s)
		}
		return strconv.FormatUint(dpid, 16), nil
	case Port:
		sw, port, _ := strings.Cut(s, "/")
		dpid, err := strconv.ParseUint(sw, 16, 64)
		no, err2 := flow.ParseNumber(port, 32)
		if err != nil || err2 != nil {
			return "", fmt.Errorf("%.60q: want a datapath id in hexadecimal and a port, such as 1f/3", s)
		}
		return fmt.Sprintf("%x/%d", dpid, no), nil
	}
	return "", fmt.Errorf("a machine of key %v takes none", k)
}

// storeKey returns the key of a machine's state in a store: [switchbridge/state.Store] says what it may consist of.
func storeKey(name string, value []byte) string {
	b := make([]byte, 0, len(name)+1+len(value))
	return string(append(append(append(b, name...), '/'), value...))
}

// LocalKey reports whether a key of a store is that of ev's own switch or of one of its ports: no other switch's events change that state. Other
// keys' values can't be taken for such a one: they have dots, colons, or more digits than a datapath id.
func LocalKey(ev *flow.Event, key string) bool {
	_, value, ok := strings.Cut(key, "/")
	dpid, _, _ := strings.Cut(value, "/")
	return ok && ev.Switch != nil && dpid == strconv.FormatUint(uint64(ev.Switch.DPID), 16)
}

// parseName takes what can stand in a store's key.
func parseName(s string) (string, error) {
	if s == "" || len(s) > 40 || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) {
		return "", fmt.Errorf("%.80q: want at most 40 letters, digits, hyphens, dots and underscores", s)
	}
	return s, nil
}
