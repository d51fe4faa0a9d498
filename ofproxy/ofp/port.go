package ofp

import (
	"bytes"
	"fmt"

	"switchbridge/flow"
)

// Lengths of struct ofp_phy_port (OpenFlow 1.0.0, 5.2.1) and struct ofp_port
// (1.3.5, 7.2.1), and of the name in both.
const (
	portLen10   = 48
	portLen13   = 64
	portNameLen = 16
)

// The 16-bit port numbers of 1.0 above OFPP_MAX (0xff00) are reserved, and
// have the low 16 bits that 1.3's reserved ports have.
const portMax10 = 0xff00

func port32(p uint16) flow.PortNo {
	if p > portMax10 {
		return flow.PortNo(p) | 0xffff0000
	}
	return flow.PortNo(p)
}

// port16 is the inverse of port32; ok is false for a port whose number 1.0
// can't say.
func port16(p flow.PortNo) (n uint16, ok bool) {
	return uint16(p), p <= portMax10 || p > flow.PortMax
}

func appendPort(b []byte, v flow.Protocol, p *flow.Port) []byte {
	var name [portNameLen]byte
	copy(name[:portNameLen-1], p.Name) // NUL-terminated
	if v == flow.OpenFlow10 {
		no, _ := port16(p.No)
		b = be.AppendUint16(b, no)
		b = append(b, p.HWAddr[:]...)
	} else {
		b = be.AppendUint32(b, uint32(p.No))
		b = pad(b, 4)
		b = append(b, p.HWAddr[:]...)
		b = pad(b, 2)
	}
	b = append(b, name[:]...)
	b = be.AppendUint32(b, p.Config)
	b = be.AppendUint32(b, p.State)
	b = append(b, make([]byte, 16)...) // current, advertised, supported and peer features
	if v == flow.OpenFlow10 {
		return b
	}
	return append(b, make([]byte, 8)...) // current and maximal speed
}

func parsePort(b []byte, v flow.Protocol) (p flow.Port) {
	if v == flow.OpenFlow10 {
		p.No = port32(be.Uint16(b))
		p.HWAddr = flow.MAC(b[2:8])
		b = b[8:]
	} else {
		p.No = flow.PortNo(be.Uint32(b))
		p.HWAddr = flow.MAC(b[8:14])
		b = b[16:]
	}
	p.Name = cString(b[:portNameLen])
	p.Config, p.State = be.Uint32(b[portNameLen:]), be.Uint32(b[portNameLen+4:])
	return p
}

func portLen(v flow.Protocol) int {
	if v == flow.OpenFlow10 {
		return portLen10
	}
	return portLen13
}

func parsePorts(b []byte, v flow.Protocol) ([]flow.Port, error) {
	n := portLen(v)
	if len(b)%n != 0 {
		return nil, fmt.Errorf("ports: %d bytes are not a multiple of %d", len(b), n)
	}
	ports := make([]flow.Port, 0, len(b)/n)
	for ; len(b) > 0; b = b[n:] {
		ports = append(ports, parsePort(b, v))
	}
	return ports, nil
}

// cString returns the text up to the first NUL, which the last byte of a field
// counts as whatever it is.
func cString(b []byte) string {
	b = b[:len(b)-1]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// AppendPortStatus reports a change of a port (OpenFlow 1.3.5, 7.4.3).
func AppendPortStatus(b []byte, v flow.Protocol, xid uint32, p *flow.PortStatus) []byte {
	start := len(b)
	b = begin(b, v, TypePortStatus, xid)
	b = append(b, uint8(p.Reason))
	b = pad(b, 7)
	b = appendPort(b, v, &p.Port)
	return mustEnd(b, start)
}

// ParsePortStatus reads a PORT_STATUS.
func ParsePortStatus(msg []byte, p *flow.PortStatus) error {
	v, b, err := body(msg, TypePortStatus, 8)
	if err != nil {
		return err
	}
	if len(b) < 8+portLen(v) {
		return short(TypePortStatus, len(b), 8+portLen(v))
	}
	*p = flow.PortStatus{Reason: flow.PortReason(b[0]), Port: parsePort(b[8:], v)}
	return nil
}
