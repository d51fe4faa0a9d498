package ofp

import (
	"bytes"
	"fmt"

	"switchbridge/flow"
)

const helloVersionBitmap = 1 // OFPHET_VERSIONBITMAP

// AppendHello offers versions (OpenFlow 1.3.5, 7.5.1). The header carries the
// highest; where 1.3 is among them an element lists all, since a switch would
// otherwise take a header of 1.3 to mean 1.1 and 1.2 as well.
func AppendHello(b []byte, xid uint32, versions ...flow.Protocol) []byte {
	highest, bitmap := flow.OpenFlow10, uint32(0)
	for _, v := range versions {
		highest = max(highest, v)
		bitmap |= 1 << v
	}
	start := len(b)
	b = begin(b, highest, TypeHello, xid)
	if highest >= flow.OpenFlow13 {
		b = append(b, 0, helloVersionBitmap, 0, 8)
		b = be.AppendUint32(b, bitmap)
	}
	return mustEnd(b, start)
}

// ParseHello returns the versions that a HELLO of any version offers: bit n is
// wire version n. Where no bitmap of versions can be used these are all up to
// the header's: there is no element of that type, it has no bitmap or an empty
// one, or what stands before it is no element. A HELLO may have any body, which
// a receiver must not refuse, and unknown elements are passed over (OpenFlow
// 1.3.5, 6.3.1 and 7.5.1; 1.0.0, 5.5.1).
func ParseHello(msg []byte) (bitmap uint32, err error) {
	h, err := ParseHeader(msg)
	switch {
	case err != nil:
		return 0, err
	case h.Type != TypeHello:
		return 0, fmt.Errorf("%v (%d) where HELLO is wanted", h.Type, msg[1])
	case h.Length != len(msg):
		return 0, fmt.Errorf("HELLO: length %d of a message of %d bytes", h.Length, len(msg))
	}
	for b := msg[HeaderLen:]; len(b) >= 4; {
		typ, n := be.Uint16(b), int(be.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			break // not an element; where another one begins can't be told
		}
		if typ == helloVersionBitmap && n >= 8 && be.Uint32(b[4:]) != 0 {
			return be.Uint32(b[4:]), nil
		}
		b = b[min(aligned(n), len(b)):]
	}
	return 1<<(min(uint(h.Version), 31)+1) - 2, nil
}

// AppendEchoRequest asks for data to come back. data beyond a message's 64 KiB
// is cut.
func AppendEchoRequest(b []byte, v flow.Protocol, xid uint32, data []byte) []byte {
	return appendEcho(b, v, TypeEchoRequest, xid, data)
}

// AppendEchoReply answers an echo request: its xid, and its data unchanged.
func AppendEchoReply(b []byte, v flow.Protocol, xid uint32, data []byte) []byte {
	return appendEcho(b, v, TypeEchoReply, xid, data)
}

func appendEcho(b []byte, v flow.Protocol, t Type, xid uint32, data []byte) []byte {
	start := len(b)
	b = begin(b, v, t, xid)
	b = append(b, data[:min(len(data), maxLen-HeaderLen)]...)
	return mustEnd(b, start)
}

// AppendError reports an error (OpenFlow 1.3.5, 7.5.4): data is the start of
// the offending message, or a text for HELLO_FAILED. data beyond a message's
// 64 KiB is cut.
func AppendError(b []byte, v flow.Protocol, xid uint32, typ, code uint16, data []byte) []byte {
	start := len(b)
	b = begin(b, v, TypeError, xid)
	b = be.AppendUint16(b, typ)
	b = be.AppendUint16(b, code)
	b = append(b, data[:min(len(data), maxLen-HeaderLen-4)]...)
	return mustEnd(b, start)
}

// ParseError reads an error of any version; XID is the header's, which a
// switch copies from the message it refuses. Data aliases msg.
func ParseError(msg []byte) (flow.SwitchError, error) {
	h, err := ParseHeader(msg)
	switch {
	case err != nil:
		return flow.SwitchError{}, err
	case h.Type != TypeError:
		return flow.SwitchError{}, fmt.Errorf("%v (%d) where ERROR is wanted", h.Type, msg[1])
	case h.Length != len(msg):
		return flow.SwitchError{}, fmt.Errorf("ERROR: length %d of a message of %d bytes", h.Length, len(msg))
	case len(msg) < HeaderLen+4:
		return flow.SwitchError{}, short(TypeError, len(msg)-HeaderLen, 4)
	}
	e := flow.SwitchError{Type: be.Uint16(msg[8:]), Code: be.Uint16(msg[10:]), XID: h.XID, Data: msg[12:]}
	e.Name = ErrorName(h.Version, e.Type, e.Code)
	return e, nil
}

// maxErrorText is how much of an error's text is worth reading.
const maxErrorText = 512

// ErrorText returns the text that a HELLO_FAILED error carries to say more
// (OpenFlow 1.3.5, 7.5.4.1), such as Open vSwitch's "We support version 0x04,
// you support version 0x01.", or "" where e is of another type or its data is
// not printable ASCII.
func ErrorText(e *flow.SwitchError) string {
	if e.Type != ErrHelloFailed {
		return ""
	}
	b := bytes.Trim(e.Data, " \t\r\n\x00")
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\t' && c != '\r' && c != '\n' {
			return ""
		}
	}
	return string(b[:min(len(b), maxErrorText)])
}
