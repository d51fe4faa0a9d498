package sourceguard

import (
	"encoding/binary"
	"net/netip"
	"time"

	"switchbridge/flow"
)

// Ports of DHCP (RFC 2131, 4.1).
const dhcpServer, dhcpClient = 67, 68

// dhcpMessage is what a DHCP message says (RFC 2131, 2; RFC 2132).
type dhcpMessage struct {
	reply  bool
	client netip.Addr // ciaddr: the address that the client has
	yours  netip.Addr // yiaddr: the one that it is given
	mac    flow.MAC   // chaddr
	kind   byte
	lease  time.Duration // 0: none is named
}

const (
	dhcpHeader  = 236
	dhcpMagic   = 0x63825363
	dhcpAck     = 5
	leaseOption = 51
	kindOption  = 53
)

// parseDHCP reads a UDP header and the message behind it. It reports false for what is no DHCP for Ethernet. Options that others
// overflow into sname and file (RFC 2132, 9.3) are not read: a lease is not among them.
func parseDHCP(l4 []byte) (d dhcpMessage, ok bool) {
	if len(l4) < 8+dhcpHeader+4 {
		return d, false
	}
	b := l4[8:]
	const ethernet = 1
	if b[0] != 1 && b[0] != 2 || b[1] != ethernet || b[2] != 6 || binary.BigEndian.Uint32(b[dhcpHeader:]) != dhcpMagic {
		return d, false
	}
	d.reply = b[0] == 2
	d.client, d.yours = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	d.mac = flow.MAC(b[28:34])
	for rest := b[dhcpHeader+4:]; len(rest) > 0 && rest[0] != 255; {
		if rest[0] == 0 { // padding
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || 2+int(rest[1]) > len(rest) {
			return d, false
		}
		value := rest[2 : 2+int(rest[1])]
		switch {
		case rest[0] == kindOption && len(value) == 1:
			d.kind = value[0]
		case rest[0] == leaseOption && len(value) == 4:
			d.lease = time.Duration(binary.BigEndian.Uint32(value)) * time.Second
		}
		rest = rest[2+len(value):]
	}
	return d, d.kind != 0
}

// dhcp looks at what clients and servers say to each other, where bindings come from it. A client speaks for itself alone; what a server
// says counts from a trusted port, and nowhere else is one.
func (g *guard) dhcp() bool {
	if !g.see(flow.FieldIPProto) {
		return false
	}
	if g.m.IPProto != flow.ProtoUDP {
		return true
	}
	const ports = flow.FieldL4Src | flow.FieldL4Dst
	if g.at.kind&trusted != 0 {
		if g.out.Depends |= ports; g.m.Has(ports) && g.m.L4Src == dhcpServer && g.m.L4Dst == dhcpClient {
			return g.server()
		}
		return true
	}
	if !g.see(ports) {
		return false
	}
	if g.m.L4Src == dhcpServer {
		return g.deny("a DHCP server at a port that is not trusted")
	}
	if g.m.L4Dst != dhcpServer {
		return true
	}
	g.out.NoRule = "what DHCP says"
	in, ok := g.whole()
	if !ok {
		return false
	}
	d, ok := parseDHCP(in.Layer4())
	if !ok || d.reply {
		return g.deny("what is sent to a DHCP server is no DHCP")
	}
	if d.mac != g.m.EthSrc {
		return g.deny(g.m.EthSrc.String() + " asks a DHCP server for " + d.mac.String())
	}
	if !d.client.IsUnspecified() && d.client != g.m.IPSrc.Addr() {
		return g.deny("a DHCP client at " + g.m.IPSrc.Addr().String() + " says that it has " + d.client.String())
	}
	return true
}

// server takes a binding from an acknowledgement. The packet itself passes whatever it says.
func (g *guard) server() bool {
	g.out.NoRule = "what DHCP says"
	in := g.p.In
	if in != nil && in.Withheld {
		g.out.Unseen = true
		return false
	}
	if in == nil || in.TotalLen > len(in.Data) {
		return true
	}
	if d, ok := parseDHCP(in.Layer4()); ok && d.reply && d.kind == dhcpAck && station(d.yours) {
		return g.given(&d)
	}
	return true
}
