package embedded

import (
	"fmt"
	"net/netip"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/compact"
)

// warmUp are events like those that come: what a guest makes at its first use of a path, such as
// buffers, is then part of the image instead of being made for every event.
func warmUp() (requests, packets [][]byte, err error) {
	var match flow.Match
	match.SetInPort(1)
	match.SetEthType(flow.EthTypeIPv4)
	match.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
	match.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 2}, flow.MACExact)
	match.Fields |= flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Src | flow.FieldL4Dst
	match.IPProto = flow.ProtoTCP
	match.IPSrc, match.IPDst = netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	match.L4Src, match.L4Dst = 40000, 443
	var events []*flow.Event
	for _, protocol := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		events = append(events, &flow.Event{
			Type: flow.EventPacketIn, XID: 1, Accepts: flow.AcceptsAll,
			Switch:   &flow.Switch{DPID: 1, Protocol: protocol},
			PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: 1500, Match: match, Data: make([]byte, 1500)},
		})
	}
	stateful := *events[0] // so that there is room for states
	stateful.Time, stateful.States = time.Unix(1, 0), make([]flow.State, 4)
	events = append(events, &stateful)
	return Encode(events...)
}

// Encode writes events as the embedded guest is given them: all as requests, and those that fit as
// packets in the compact encoding, too.
func Encode(events ...*flow.Event) (requests, packets [][]byte, err error) {
	for _, ev := range events {
		body, err := codec.AppendEvent(nil, ev)
		if err != nil {
			return nil, nil, fmt.Errorf("%s event: %w", ev.Type, err)
		}
		r := guest.Request{Event: ev.Type, Encoding: guest.ParseEncoding(codec.ContentType()),
			DPID: uint64(ev.Switch.DPID), ID: ev.ID, Session: ev.Session, Body: body,
			Accepts: contract.AcceptsText(ev.Accepts), Incomplete: contract.IncompleteText(ev.PacketIn), States: guest.AppendStates(nil, ev.States)}
		if !ev.Time.IsZero() {
			r.Time = ev.Time.UnixNano()
		}
		requests = append(requests, r.AppendBinary(nil))
		if packet, fits := compact.AppendEvent(nil, ev); fits {
			packets = append(packets, packet)
		}
	}
	return requests, packets, nil
}
