package capture

import (
	"encoding/binary"
	"fmt"

	"github.com/gopacket/gopacket/layers"
)

// Link types (the registry of tcpdump.org) that gopacket has other numbers for,
// or none.
const (
	linkRawBSD   layers.LinkType = 12
	linkRawOther layers.LinkType = 14
	linkSLL2     layers.LinkType = 276
)

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
)

// ethernet returns data as an Ethernet frame and how many bytes longer that is.
// The addresses of a made header are locally administered ones: a sender's own
// where the link type has it, else 02:00:00:00:00:01.
func (r *Reader) ethernet(link layers.LinkType, data []byte) (frame []byte, added int, err error) {
	var (
		ethType uint16
		source  []byte // at most six bytes
		skip    int
	)
	need := func(n int) bool {
		skip = n
		if len(data) < n {
			err = fmt.Errorf("%w: %d bytes, under the %d of a header of %v", errBadRecord, len(data), n, link)
			return false
		}
		return true
	}
	switch link {
	case layers.LinkTypeEthernet:
		return data, 0, nil
	case layers.LinkTypeRaw, linkRawBSD, linkRawOther, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		ethType = ipVersion(data)
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		if !need(4) {
			return nil, 0, err
		}
		ethType = ipVersion(data[4:]) // the family's number differs between systems
	case layers.LinkTypeLinuxSLL:
		if !need(16) {
			return nil, 0, err
		}
		source = data[6:12]
		ethType = binary.BigEndian.Uint16(data[14:])
	case linkSLL2:
		if !need(20) {
			return nil, 0, err
		}
		source = data[12:18]
		ethType = binary.BigEndian.Uint16(data)
	default:
		return nil, 0, fmt.Errorf("link type %d (%v) is not Ethernet and carries no EtherType", int(link), link)
	}
	frame = append(r.frame[:0], 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1)
	if source != nil {
		copy(frame[6:], source)
	}
	frame = binary.BigEndian.AppendUint16(frame, ethType)
	frame = append(frame, data[skip:]...)
	r.frame = frame
	return frame, 14 - skip, nil
}

// ipVersion is the EtherType of a packet that begins with an IP header, or 0.
func ipVersion(b []byte) uint16 {
	if len(b) == 0 {
		return 0
	}
	switch b[0] >> 4 {
	case 4:
		return typeIPv4
	case 6:
		return typeIPv6
	}
	return 0
}
