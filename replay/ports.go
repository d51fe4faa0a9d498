package replay

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"switchbridge/flow"
)

// Ports says by which port of its switch a packet comes in, which no capture
// records, by its source. A nil Ports, and a source that it does not name, is
// port 1.
type Ports struct {
	macs     map[flow.MAC]flow.PortNo
	prefixes []prefixPort // longest first
}

type prefixPort struct {
	prefix netip.Prefix
	port   flow.PortNo
}

// switchPorts is how many ports an agent's switch has, from 1.
const switchPorts = 48

// maxPorts bounds what is read of a mapping.
const maxPorts = 100_000

// ParsePorts reads ADDRESS=PORT,... where ADDRESS is a MAC address, an IP address
// or a prefix; or else the name of a file with one ADDRESS=PORT a line, in which
// a # begins a comment. Of a packet's source the MAC address counts first, since
// it is what is at a port, then the longest prefix.
func ParsePorts(text string) (*Ports, error) {
	p := &Ports{macs: make(map[flow.MAC]flow.PortNo)}
	var err error
	if strings.Contains(text, "=") {
		for entry := range strings.SplitSeq(text, ",") {
			if err = p.add(entry); err != nil {
				return nil, fmt.Errorf("ports %q: %w", text, err)
			}
		}
	} else if err = p.file(text); err != nil {
		return nil, err
	}
	slices.SortStableFunc(p.prefixes, func(a, b prefixPort) int { return b.prefix.Bits() - a.prefix.Bits() })
	return p, nil
}

func (p *Ports) file(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("ports: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxPorts*64))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := p.add(line); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (p *Ports) add(entry string) error {
	address, number, ok := strings.Cut(entry, "=")
	address, number = strings.TrimSpace(address), strings.TrimSpace(number)
	port, err := flow.ParseNumber(number, 32)
	if !ok || err != nil || port < 1 || port > switchPorts {
		return fmt.Errorf("%q: want ADDRESS=PORT, with a port from 1 to %d", entry, switchPorts)
	}
	if len(p.macs)+len(p.prefixes) == maxPorts {
		return fmt.Errorf("more than %d addresses", maxPorts)
	}
	if mac, err := flow.ParseMAC(address); err == nil {
		if _, twice := p.macs[mac]; twice {
			return fmt.Errorf("%s is there twice", address)
		}
		p.macs[mac] = flow.PortNo(port)
		return nil
	}
	prefix, err := netip.ParsePrefix(address)
	if err != nil {
		a, err := netip.ParseAddr(address)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return fmt.Errorf("%q: want a MAC address, an IP address or a prefix before the =", entry)
		}
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	if prefix != prefix.Masked() {
		return fmt.Errorf("%s has bits beyond its length: write %v", address, prefix.Masked())
	}
	if slices.ContainsFunc(p.prefixes, func(q prefixPort) bool { return q.prefix == prefix }) {
		return fmt.Errorf("%s is there twice", address)
	}
	p.prefixes = append(p.prefixes, prefixPort{prefix, flow.PortNo(port)})
	return nil
}

// of returns the port of a packet with headers m.
func (p *Ports) of(m *flow.Match) flow.PortNo {
	if p == nil {
		return 1
	}
	if port, ok := p.macs[m.EthSrc]; ok && m.Has(flow.FieldEthSrc) {
		return port
	}
	src := m.IPSrc
	if m.Has(flow.FieldARPSPA) {
		src = m.ARPSPA
	}
	if src.IsValid() {
		for _, q := range p.prefixes {
			if q.prefix.Contains(src.Addr()) {
				return q.port
			}
		}
	}
	return 1
}
