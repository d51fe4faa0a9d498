package flow

import "encoding/binary"

// FrameOf returns a frame that [ParseFrame] reads m from, for a question about a packet of which nothing but its headers is known; flags are a TCP
// packet's. m has whole addresses; ok is false for any other, and where no frame has these headers and no others. Fields that m lacks and a frame must have
// (ip_dscp, ipv6_flabel) are 0. An IPv4 packet that doesn't show its ports is a later fragment. The frame ends with the last header, and has no
// checksum but IPv4's.
func FrameOf(m *Match, flags TCPFlags) (frame []byte, ok bool) {
	if !m.Has(ethFields) {
		return nil, false
	}
	b := append(append(make([]byte, 0, 96), m.EthDst[:]...), m.EthSrc[:]...)
	if m.VLAN&VLANPresent != 0 {
		b = binary.BigEndian.AppendUint16(b, EthTypeVLAN)
		b = binary.BigEndian.AppendUint16(b, m.VLAN&0x0fff|uint16(m.VLANPCP)<<13)
	}
	if m.EthType == 0x05ff { // a frame of 802.3, whose length is here
		b = append(b, 0, 3, 0x42, 0x42, 3)
	} else {
		b = binary.BigEndian.AppendUint16(b, m.EthType)
	}
	switch m.EthType {
	case EthTypeARP:
		if m.Missing() == 0 {
			b = m.appendARP(b)
		}
	case EthTypeIPv4, EthTypeIPv6:
		if !m.Has(ipFields) || m.IPSrc.Addr().Is4() != (m.EthType == EthTypeIPv4) || m.IPDst.Addr().Is4() != m.IPSrc.Addr().Is4() {
			return nil, false
		}
		b = m.appendIP(b, flags)
	}
	got := ParseFrame(b, m.InPort)
	return b, got.Keep(m.Fields) == *m && got.Missing() == m.Missing() // not so with a prefix for an address, say
}

// appendARP is parseARP's inverse.
func (m *Match) appendARP(b []byte) []byte {
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, m.ARPOp)
	b = append(append(b, m.ARPSHA[:]...), m.ARPSPA.Addr().AsSlice()...)
	return append(append(b, m.ARPTHA[:]...), m.ARPTPA.Addr().AsSlice()...)
}

// appendIP is the inverse of parseIPv4 and parseIPv6.
func (m *Match) appendIP(b []byte, flags TCPFlags) []byte {
	l4, offset := m.appendL4(nil, flags), byte(0)
	if m.Missing() != 0 {
		l4, offset = make([]byte, 8), 1
	}
	tos := m.IPDSCP<<2 | m.IPECN
	if m.EthType == EthTypeIPv6 {
		b = binary.BigEndian.AppendUint32(b, 6<<28|uint32(tos)<<20|m.FlowLabel)
		b = binary.BigEndian.AppendUint16(b, uint16(len(l4)))
		b = append(b, m.IPProto, 64)
		b = append(append(b, m.IPSrc.Addr().AsSlice()...), m.IPDst.Addr().AsSlice()...)
		return append(b, l4...)
	}
	at := len(b)
	b = append(b, 0x45, tos)
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(l4)))
	b = append(b, 0, 0, 0, offset, 64, m.IPProto, 0, 0)
	b = append(append(b, m.IPSrc.Addr().AsSlice()...), m.IPDst.Addr().AsSlice()...)
	sum := uint32(0)
	for i := at; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[at+10:], ^uint16(sum))
	return append(b, l4...)
}

// appendL4 is the inverse of parseL4.
func (m *Match) appendL4(b []byte, flags TCPFlags) []byte {
	ports := func() {
		b = binary.BigEndian.AppendUint16(b, m.L4Src)
		b = binary.BigEndian.AppendUint16(b, m.L4Dst)
	}
	switch m.IPProto {
	case ProtoTCP:
		ports()
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 5<<4, byte(flags), 0xff, 0xff, 0, 0, 0, 0)
	case ProtoUDP:
		ports()
		b = append(b, 0, 8, 0, 0)
	case ProtoSCTP:
		ports()
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	case ProtoICMP, ProtoICMPv6:
		b = append(b, m.ICMPType, m.ICMPCode, 0, 0, 0, 0, 0, 0)
		if m.Has(FieldNDTarget) {
			b = append(b, m.NDTarget.AsSlice()...)
			if m.Has(FieldNDSLL) && m.NDSLL != (MAC{}) {
				b = append(append(b, 1, 1), m.NDSLL[:]...)
			}
		}
	}
	return b
}
