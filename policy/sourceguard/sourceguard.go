// Package sourceguard is the policy that ties Ethernet and IP addresses to ports: nobody speaks with an address that belongs elsewhere.
// README.md describes it for users.
//
// It is what RFC 7039 calls source address validation, and vendors IP source guard with dynamic ARP inspection.
package sourceguard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Name is the policy's name in files and reasons.
const Name = "sourceguard"

// Place is ports of one switch, or of every switch.
type Place struct {
	Every  bool // of every switch; Switch is 0 then
	Switch flow.DPID
	Ports  []flow.PortNo
}

// on reports whether the place is on a switch.
func (p *Place) on(sw flow.DPID) bool { return p.Every || p.Switch == sw }

func (p *Place) has(sw flow.DPID, port flow.PortNo) bool {
	return p.on(sw) && slices.Contains(p.Ports, port)
}

func (p *Place) String() string {
	s := "port "
	if len(p.Ports) > 1 {
		s = "ports "
	}
	for i, port := range p.Ports {
		switch {
		case i > 0 && i == len(p.Ports)-1:
			s += " and "
		case i > 0:
			s += ", "
		}
		s += port.String()
	}
	if !p.Every {
		s += " of switch " + p.Switch.String()
	}
	return s
}

func (p *Place) validate() error {
	if len(p.Ports) == 0 {
		return errors.New("want a port")
	}
	if p.Every && p.Switch != 0 {
		return fmt.Errorf("switch %v and every switch", p.Switch)
	}
	for i, port := range p.Ports {
		if err := checkPort(port); err != nil {
			return err
		}
		if slices.Contains(p.Ports[:i], port) {
			return fmt.Errorf("port %v is given twice", port)
		}
	}
	return nil
}

func checkPort(p flow.PortNo) error {
	if p == 0 || p.Reserved() && p != flow.PortLocal {
		return fmt.Errorf("port %v: packets come from a port of the switch, or LOCAL", p)
	}
	return nil
}

// Binding ties a station to a place.
type Binding struct {
	Place
	HasMAC    bool
	MAC       flow.MAC
	Addresses []netip.Prefix // none: whatever the station uses that is nobody else's
}

func (b *Binding) validate() error {
	if err := b.Place.validate(); err != nil {
		return err
	}
	switch {
	case !b.HasMAC && len(b.Addresses) == 0:
		return errors.New("want a mac or addresses: without them it binds nothing to the port")
	case !b.HasMAC && b.MAC != flow.MAC{}:
		return errors.New("a mac is given, and HasMAC is not set")
	case b.HasMAC && (b.MAC.Multicast() || b.MAC == flow.MAC{}):
		return fmt.Errorf("mac %v is no station's", b.MAC)
	}
	for i, p := range b.Addresses {
		switch {
		case !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "":
			return fmt.Errorf("address %v: want an IP address, or a prefix whose other bits are 0", p)
		case p.IsSingleIP() && !station(p.Addr()):
			return fmt.Errorf("address %v is no station's", p.Addr())
		case slices.Contains(b.Addresses[:i], p):
			return fmt.Errorf("address %v is given twice", p)
		}
	}
	return nil
}

// station reports whether a is an address that one station can have on a wire.
func station(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// LinkLocal is the address that a station makes of its Ethernet address (RFC 4291, 2.5.1 and appendix A).
func LinkLocal(m flow.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// Others says what becomes of packets from ports that the policy says nothing of.
type Others uint8

const (
	Next Others = iota // they pass on if their addresses are bound nowhere
	Deny
)

var othersNames = [...]string{"next", "deny"}

func (o Others) String() string {
	if int(o) < len(othersNames) {
		return othersNames[o]
	}
	return fmt.Sprintf("others %d", uint8(o))
}

// Config is the policy's source form.
type Config struct {
	Bindings []Binding
	Trusted  []Place // ports behind which there are many stations, such as uplinks
	Others   Others
	Learn    Learn
	For      time.Duration // how long a learned binding lives; 0 where nothing is learned
	Log      bool          // what is denied is logged
}

// Name implements [policy.Source].
func (*Config) Name() string { return Name }

// Validate implements [policy.Source].
func (c *Config) Validate(earlier []policy.Source) error {
	if int(c.Others) >= len(othersNames) {
		return fmt.Errorf("others: %v", c.Others)
	}
	switch {
	case int(c.Learn) >= len(learnNames):
		return fmt.Errorf("learn: %v", c.Learn)
	case c.Learn == Nothing && c.For != 0:
		return errors.New("for: it says how long learned bindings live, and nothing is learned: want learn, too")
	case c.Learn != Nothing && (c.For < minFor || c.For > maxFor || c.For%time.Second != 0):
		return fmt.Errorf("for: %v: want whole seconds, %v to %v", c.For, minFor, maxFor)
	case c.Learn != Nothing && c.Others == Deny:
		return errors.New("others: deny and learn: ports that are not listed are denied, and nothing is learned there")
	case c.Learn == DHCP && len(c.Trusted) == 0:
		return errors.New("learn: dhcp without a trusted port: answers of DHCP servers come from trusted ports only, so no station would get an address")
	}
	for i := range c.Bindings {
		if err := c.Bindings[i].validate(); err != nil {
			return &policy.ItemError{Index: i, Item: fmt.Sprintf("binding %d", i+1), Err: err}
		}
	}
	for i := range c.Trusted {
		t := &c.Trusted[i]
		if err := t.validate(); err != nil {
			return fmt.Errorf("trusted %d: %w", i+1, err)
		}
		for j := range c.Bindings {
			b := &c.Bindings[j]
			if !t.Every && !b.on(t.Switch) || !b.Every && !t.on(b.Switch) {
				continue
			}
			for _, port := range b.Ports {
				if slices.Contains(t.Ports, port) {
					err := fmt.Errorf("port %v is trusted: a binding at it has no effect", port)
					return &policy.ItemError{Index: j, Item: fmt.Sprintf("binding %d", j+1), Err: err}
				}
			}
		}
	}
	if len(c.Bindings) == 0 && c.Others == Next && c.Learn == Nothing {
		return errors.New("no binding: want at least one, or learn, or others: deny")
	}
	for _, s := range earlier {
		if s.Name() == Name {
			return errors.New("the chain has one already: put all bindings into it, since one does not know the addresses of the other")
		}
	}
	return nil
}

// Remembers implements [policy.Remembering].
func (c *Config) Remembers() bool { return c.Learn != Nothing }

// CantTravel implements [policy.Remembering]. Bindings are of addresses that may show up anywhere: whoever forgets one frees its address.
func (*Config) CantTravel(bool) []string {
	return []string{Name + ": what is learned of an address is asked for at every port, and must outlive the gateway: name a store"}
}

// Notes says what `policy check` tells of a good entry.
func (c *Config) Notes() []string {
	if !c.Remembers() {
		return nil
	}
	return []string{policy.StalenessNote("what " + Name + " has learned")}
}

// Uncovered implements [policy.Guard].
func (c *Config) Uncovered() string {
	var list []string
	add := func(p *Place) {
		if s := p.String(); !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if c.Others == Next && c.Learn == Nothing {
		for i := range c.Bindings {
			add(&c.Bindings[i].Place)
		}
		const most = 8
		if n := len(list) - most; n > 0 {
			list = append(list[:most], fmt.Sprintf("%d more", n))
		}
		return "all ports but " + strings.Join(list, ", ") + ": a host there may use any address that is not bound elsewhere"
	}
	for i := range c.Trusted {
		add(&c.Trusted[i])
	}
	if list == nil {
		return ""
	}
	return strings.Join(list, ", ") + ": trusted, so a host behind it may use any address that is not bound to another port of the switch"
}
