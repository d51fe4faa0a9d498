package ofp

import (
	"fmt"

	"switchbridge/flow"
)

// Action types, OFPAT_* (OpenFlow 1.0.0, 5.2.4; 1.3.5, 7.2.5).
const (
	act10Output     = 0
	act10SetVLANVID = 1
	act10SetVLANPCP = 2
	act10StripVLAN  = 3
	act10SetDLSrc   = 4
	act10SetDLDst   = 5
	act10SetNWSrc   = 6
	act10SetNWDst   = 7
	act10SetNWTOS   = 8
	act10SetTPSrc   = 9
	act10SetTPDst   = 10
	act10Enqueue    = 11

	act13Output   = 0
	act13PushVLAN = 17
	act13PopVLAN  = 18
	act13SetQueue = 21
	act13DecTTL   = 24
	act13SetField = 25
)

// appendActions appends a list that fitActions has accepted. proto is the protocol of
// the packets: in 1.3 it says whether a port is of TCP or of UDP if the action itself
// doesn't.
func appendActions(b []byte, v flow.Protocol, list []flow.Action, proto uint8) []byte {
	if v == flow.OpenFlow10 {
		return appendActions10(b, list)
	}
	for i := range list {
		b = appendAction13(b, &list[i], proto)
	}
	return b
}

// appendActions10 writes an ENQUEUE for each output that follows a SET_QUEUE.
func appendActions10(b []byte, list []flow.Action) []byte {
	queue := flow.NoQueue
	for i := range list {
		a := &list[i]
		switch a.Type {
		case flow.Output:
			port, _ := port16(a.Port)
			if queue == flow.NoQueue || a.Port == flow.PortController {
				b = append(b, 0, act10Output, 0, 8)
				b = be.AppendUint16(b, port)
				b = be.AppendUint16(b, maxLenOf(a))
				continue
			}
			b = append(b, 0, act10Enqueue, 0, 16)
			b = be.AppendUint16(b, port)
			b = pad(b, 6)
			b = be.AppendUint32(b, queue)
		case flow.SetQueue:
			queue = a.ID
		case flow.PopVLAN:
			b = append(b, 0, act10StripVLAN, 0, 8, 0, 0, 0, 0)
		case flow.SetVLANVID:
			b = append(b, 0, act10SetVLANVID, 0, 8, uint8(a.Value>>8), uint8(a.Value), 0, 0)
		case flow.SetVLANPCP:
			b = append(b, 0, act10SetVLANPCP, 0, 8, uint8(a.Value), 0, 0, 0)
		case flow.SetEthSrc, flow.SetEthDst:
			b = append(b, 0, pick(a.Type == flow.SetEthSrc, act10SetDLSrc, act10SetDLDst), 0, 16)
			b = append(b, a.MAC[:]...)
			b = pad(b, 6)
		case flow.SetIPSrc, flow.SetIPDst:
			addr := a.Addr.As4()
			b = append(b, 0, pick(a.Type == flow.SetIPSrc, act10SetNWSrc, act10SetNWDst), 0, 8)
			b = append(b, addr[:]...)
		case flow.SetIPDSCP:
			b = append(b, 0, act10SetNWTOS, 0, 8, uint8(a.Value<<2), 0, 0, 0)
		case flow.SetL4Src, flow.SetL4Dst:
			b = append(b, 0, pick(a.Type == flow.SetL4Src, act10SetTPSrc, act10SetTPDst), 0, 8, uint8(a.Value>>8), uint8(a.Value), 0, 0)
		}
	}
	return b
}

func appendAction13(b []byte, a *flow.Action, proto uint8) []byte {
	switch a.Type {
	case flow.Output:
		b = append(b, 0, act13Output, 0, 16)
		b = be.AppendUint32(b, uint32(a.Port))
		b = be.AppendUint16(b, maxLenOf(a))
		return pad(b, 6)
	case flow.SetQueue:
		b = append(b, 0, act13SetQueue, 0, 8)
		return be.AppendUint32(b, a.ID)
	case flow.PushVLAN:
		return append(b, 0, act13PushVLAN, 0, 8, uint8(a.Value>>8), uint8(a.Value), 0, 0)
	case flow.PopVLAN:
		return append(b, 0, act13PopVLAN, 0, 8, 0, 0, 0, 0)
	case flow.DecTTL:
		return append(b, 0, act13DecTTL, 0, 8, 0, 0, 0, 0)
	}
	start := len(b)
	b = append(b, 0, act13SetField, 0, 0)
	switch a.Type {
	case flow.SetVLANVID:
		b = oxm16(b, oxmVLAN, flow.VLANPresent|uint16(a.Value))
	case flow.SetVLANPCP:
		b = oxm8(b, oxmVLANPCP, uint8(a.Value))
	case flow.SetEthSrc:
		b = append(oxm(b, oxmEthSrc, 6), a.MAC[:]...)
	case flow.SetEthDst:
		b = append(oxm(b, oxmEthDst, 6), a.MAC[:]...)
	case flow.SetIPSrc, flow.SetIPDst:
		src := a.Type == flow.SetIPSrc
		if a.Addr.Is4() {
			addr := a.Addr.As4()
			b = append(oxm(b, pick(src, oxmIPv4Src, oxmIPv4Dst), 4), addr[:]...)
		} else {
			addr := a.Addr.As16()
			b = append(oxm(b, pick(src, oxmIPv6Src, oxmIPv6Dst), 16), addr[:]...)
		}
	case flow.SetIPDSCP:
		b = oxm8(b, oxmIPDSCP, uint8(a.Value))
	case flow.SetL4Src, flow.SetL4Dst:
		if a.IPProto != 0 {
			proto = a.IPProto
		}
		src, dst := portFields(proto)
		b = oxm16(b, pick(a.Type == flow.SetL4Src, src, dst), uint16(a.Value))
	}
	b = padTo8(b, start)
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

func pick(first bool, a, b uint8) uint8 {
	if first {
		return a
	}
	return b
}

// maxLenOf returns max_len, which has a meaning only for outputs to the controller.
func maxLenOf(a *flow.Action) uint16 {
	if a.Port == flow.PortController {
		return a.MaxLen
	}
	return 0
}

// parseActions appends the actions in b to list. An action that package flow has no kind
// for becomes flow.Unsupported with its OFPAT_* number. A wrong length is an error. proto
// is as in appendActions.
func parseActions(list []flow.Action, b []byte, v flow.Protocol, proto uint8) ([]flow.Action, error) {
	queue := flow.NoQueue
	for len(b) > 0 {
		if len(b) < 8 {
			return list, short("action", len(b), 8)
		}
		typ, n := be.Uint16(b), int(be.Uint16(b[2:]))
		if n < 8 || n%8 != 0 || n > len(b) {
			return list, fmt.Errorf("action %d: length %d, of %d bytes left", typ, n, len(b))
		}
		var err error
		if v == flow.OpenFlow10 {
			list, err = parseAction10(list, typ, b[:n], proto, &queue)
		} else {
			list, err = parseAction13(list, typ, b[:n])
		}
		if err != nil {
			return list, err
		}
		b = b[n:]
	}
	return list, nil
}

func actionLen(typ uint16, b []byte, want int) error {
	if len(b) != want {
		return fmt.Errorf("action %d: length %d, want %d", typ, len(b), want)
	}
	return nil
}

func outputAction(port flow.PortNo, maxLen uint16) flow.Action {
	a := flow.OutputTo(port)
	if port == flow.PortController {
		a.MaxLen = maxLen
	}
	return a
}

// parseAction10 reads one action, which is all of b. An ENQUEUE becomes an output, with a
// SET_QUEUE before it unless that queue is set already. An OUTPUT after it uses no queue.
func parseAction10(list []flow.Action, typ uint16, b []byte, proto uint8, queue *uint32) ([]flow.Action, error) {
	want := 8
	switch typ {
	case act10SetDLSrc, act10SetDLDst, act10Enqueue:
		want = 16
	}
	if typ > act10Enqueue {
		return append(list, flow.Action{Type: flow.Unsupported, ID: uint32(typ)}), nil
	}
	if err := actionLen(typ, b, want); err != nil {
		return list, err
	}
	var a flow.Action
	switch typ {
	case act10Output:
		a = outputAction(port32(be.Uint16(b[4:])), be.Uint16(b[6:]))
		if a.Port != flow.PortController { // the controller's port has no queues
			list = setQueue(list, queue, flow.NoQueue)
		}
	case act10Enqueue:
		list = setQueue(list, queue, be.Uint32(b[12:]))
		a = flow.OutputTo(port32(be.Uint16(b[4:])))
	case act10StripVLAN:
		a.Type = flow.PopVLAN
	case act10SetVLANVID:
		a.Type, a.Value = flow.SetVLANVID, uint32(be.Uint16(b[4:]))
	case act10SetVLANPCP:
		a.Type, a.Value = flow.SetVLANPCP, uint32(b[4])
	case act10SetDLSrc:
		a.Type, a.MAC = flow.SetEthSrc, flow.MAC(b[4:10])
	case act10SetDLDst:
		a.Type, a.MAC = flow.SetEthDst, flow.MAC(b[4:10])
	case act10SetNWSrc:
		a.Type, a.Addr = flow.SetIPSrc, addr4(b[4:])
	case act10SetNWDst:
		a.Type, a.Addr = flow.SetIPDst, addr4(b[4:])
	case act10SetNWTOS:
		a.Type, a.Value = flow.SetIPDSCP, uint32(b[4]>>2)
	case act10SetTPSrc:
		a.Type, a.Value, a.IPProto = flow.SetL4Src, uint32(be.Uint16(b[4:])), proto
	case act10SetTPDst:
		a.Type, a.Value, a.IPProto = flow.SetL4Dst, uint32(be.Uint16(b[4:])), proto
	}
	return append(list, a), nil
}

func setQueue(list []flow.Action, holds *uint32, queue uint32) []flow.Action {
	if *holds == queue {
		return list
	}
	*holds = queue
	return append(list, flow.Action{Type: flow.SetQueue, ID: queue})
}

func parseAction13(list []flow.Action, typ uint16, b []byte) ([]flow.Action, error) {
	a := flow.Action{}
	want := 8
	switch typ {
	case act13Output:
		if want = 16; len(b) == want {
			a = outputAction(flow.PortNo(be.Uint32(b[4:])), be.Uint16(b[8:]))
		}
	case act13PushVLAN:
		a.Type, a.Value = flow.PushVLAN, uint32(be.Uint16(b[4:]))
	case act13PopVLAN:
		a.Type = flow.PopVLAN
	case act13SetQueue:
		a.Type, a.ID = flow.SetQueue, be.Uint32(b[4:])
	case act13DecTTL:
		a.Type = flow.DecTTL
	case act13SetField:
		a, err := parseSetField(b)
		return append(list, a), err
	default:
		return append(list, flow.Action{Type: flow.Unsupported, ID: uint32(typ)}), nil
	}
	if err := actionLen(typ, b, want); err != nil {
		return list, err
	}
	return append(list, a), nil
}

// parseSetField reads OFPAT_SET_FIELD: one field without a mask, padded.
func parseSetField(b []byte) (flow.Action, error) {
	a := flow.Action{Type: flow.Unsupported, ID: act13SetField}
	x, _, err := nextOXM(b[4:])
	if err != nil {
		return a, err
	}
	known, err := x.known()
	if err != nil || !known || x.masked {
		return a, err
	}
	switch x.field {
	case oxmVLAN:
		if vid := be.Uint16(x.value); vid&flow.VLANPresent != 0 {
			a = flow.Action{Type: flow.SetVLANVID, Value: uint32(vid & 0xfff)}
		}
	case oxmVLANPCP:
		a = flow.Action{Type: flow.SetVLANPCP, Value: uint32(x.value[0])}
	case oxmEthSrc:
		a = flow.Action{Type: flow.SetEthSrc, MAC: flow.MAC(x.value)}
	case oxmEthDst:
		a = flow.Action{Type: flow.SetEthDst, MAC: flow.MAC(x.value)}
	case oxmIPv4Src:
		a = flow.Action{Type: flow.SetIPSrc, Addr: addr4(x.value)}
	case oxmIPv4Dst:
		a = flow.Action{Type: flow.SetIPDst, Addr: addr4(x.value)}
	case oxmIPv6Src:
		a = flow.Action{Type: flow.SetIPSrc, Addr: addr16(x.value)}
	case oxmIPv6Dst:
		a = flow.Action{Type: flow.SetIPDst, Addr: addr16(x.value)}
	case oxmIPDSCP:
		a = flow.Action{Type: flow.SetIPDSCP, Value: uint32(x.value[0])}
	case oxmTCPSrc, oxmUDPSrc, oxmSCTPSrc:
		a = flow.Action{Type: flow.SetL4Src, Value: uint32(be.Uint16(x.value)), IPProto: protoOf(x.field)}
	case oxmTCPDst, oxmUDPDst, oxmSCTPDst:
		a = flow.Action{Type: flow.SetL4Dst, Value: uint32(be.Uint16(x.value)), IPProto: protoOf(x.field)}
	}
	return a, nil
}
