package flow

import (
	"fmt"
	"strconv"
	"strings"
)

// DPID is a datapath's 64-bit identity: OpenFlow's datapath_id, or a P4
// target's device_id.
type DPID uint64

// String returns the 16 hexadecimal digits that logs, paths and the contract use.
func (d DPID) String() string { return fmt.Sprintf("%016x", uint64(d)) }

// ParseDPID reads 1 to 16 hexadecimal digits, with or without colons between
// them or a leading 0x.
func ParseDPID(s string) (DPID, error) {
	digits := strings.ReplaceAll(strings.TrimPrefix(s, "0x"), ":", "")
	v, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || len(digits) > 16 {
		return 0, fmt.Errorf("datapath id %q: want 1 to 16 hexadecimal digits", s)
	}
	return DPID(v), nil
}

// Protocol is the protocol a switch's session speaks.
type Protocol uint8

// The values are OpenFlow's wire version; P4Runtime has none and takes a value
// that no OpenFlow version uses.
const (
	OpenFlow10 Protocol = 0x01
	OpenFlow13 Protocol = 0x04
	P4Runtime  Protocol = 0x80
)

// String returns the name that the JSON contract uses, such as "OpenFlow 1.3".
func (p Protocol) String() string {
	switch p {
	case OpenFlow10:
		return "OpenFlow 1.0"
	case OpenFlow13:
		return "OpenFlow 1.3"
	case P4Runtime:
		return "P4Runtime"
	}
	return fmt.Sprintf("protocol %#02x", uint8(p))
}

// ParseProtocol is the inverse of [Protocol.String]; it also takes "1.0" and "1.3".
func ParseProtocol(s string) (Protocol, error) {
	switch s {
	case "OpenFlow 1.0", "1.0":
		return OpenFlow10, nil
	case "OpenFlow 1.3", "1.3":
		return OpenFlow13, nil
	case "P4Runtime":
		return P4Runtime, nil
	}
	return 0, fmt.Errorf("protocol %q: want OpenFlow 1.0, OpenFlow 1.3 or P4Runtime", s)
}

// PortNo is a port number in OpenFlow 1.3's numbering.
type PortNo uint32

// Reserved ports (OpenFlow 1.3.5, 7.2.1, enum ofp_port_no).
const (
	PortMax        PortNo = 0xffffff00 // the largest number of a real port
	PortIn         PortNo = 0xfffffff8 // back out of the port the packet came in by
	PortTable      PortNo = 0xfffffff9 // PACKET_OUT only: submit to the first table
	PortNormal     PortNo = 0xfffffffa // the switch's own learning pipeline
	PortFlood      PortNo = 0xfffffffb
	PortAll        PortNo = 0xfffffffc
	PortController PortNo = 0xfffffffd
	PortLocal      PortNo = 0xfffffffe
	PortAny        PortNo = 0xffffffff
)

var reservedPorts = map[PortNo]string{
	PortIn: "IN_PORT", PortTable: "TABLE", PortNormal: "NORMAL", PortFlood: "FLOOD",
	PortAll: "ALL", PortController: "CONTROLLER", PortLocal: "LOCAL", PortAny: "ANY",
}

// String returns the number, or the reserved port's name as ofctl_rest and
// ovs-ofctl write it.
func (p PortNo) String() string {
	if name, ok := reservedPorts[p]; ok {
		return name
	}
	return strconv.FormatUint(uint64(p), 10)
}

// Reserved reports whether p is a reserved port rather than a switch's own.
func (p PortNo) Reserved() bool { return p > PortMax }

// ParsePort reads a number or a reserved port's name, in any case.
func ParsePort(s string) (PortNo, error) {
	for p, name := range reservedPorts {
		if strings.EqualFold(s, name) {
			return p, nil
		}
	}
	v, err := ParseNumber(s, 32)
	if err != nil {
		return 0, fmt.Errorf("port %q: want a number, in decimal or in hexadecimal after 0x, or one of IN_PORT, TABLE, NORMAL, FLOOD, ALL, CONTROLLER, LOCAL", s)
	}
	return PortNo(v), nil
}

// Port is one port of a switch (OpenFlow 1.3.5, 7.2.1, struct ofp_port).
type Port struct {
	No     PortNo
	HWAddr MAC
	Name   string
	Config uint32 // OFPPC_*: bit 0 port down, bit 2 no receive, bit 5 no forward, bit 6 no packet-in
	State  uint32 // OFPPS_*: bit 0 link down
}

// Up reports whether the port is administratively up and has a link.
func (p *Port) Up() bool { return p.Config&1 == 0 && p.State&1 == 0 }

// Switch describes the switch an event comes from.
type Switch struct {
	DPID         DPID
	Protocol     Protocol
	NBuffers     uint32 // packets the switch can hold; 0: every PACKET_IN carries its whole frame
	NTables      uint8
	Auxiliary    uint8 // OpenFlow 1.3: 0 is the main connection
	Capabilities uint32
	Actions      uint32 // OpenFlow 1.0: bitmap of supported OFPAT_* actions

	// Matchable has, for each P4 table that rules of table 0 may go to, the fields
	// that it can match. An OpenFlow switch has none: there the protocol says it.
	Matchable []Field

	// Ports is replaced as a whole when a port changes, never modified, so an
	// event may keep it.
	Ports []Port
}

// Port returns the port with the given number, or nil.
func (s *Switch) Port(no PortNo) *Port {
	for i := range s.Ports {
		if s.Ports[i].No == no {
			return &s.Ports[i]
		}
	}
	return nil
}
