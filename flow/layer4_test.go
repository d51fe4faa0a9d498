package flow_test

import (
	"bytes"
	"net/netip"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// What stands behind the IP header is found behind tags and extension headers and ends with the packet, and is nothing where a switch does not look.
func TestLayer4(t *testing.T) {
	a, b := frames.Host(1).At(40000), frames.Host(2).At(53)
	a6, b6 := a, b
	a6.IP, b6.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	payload := []byte("a question")
	udp := frames.UDP(a, b, payload)
	// extended has a header of options in front of UDP.
	extended := frames.UDP(a6, b6, payload)
	extended = append(append(append([]byte(nil), extended[:54]...), 17, 0, 1, 4, 0, 0, 0, 0), extended[54:]...)
	extended[19], extended[20] = extended[19]+8, 60
	snap := append(append(append([]byte(nil), udp[:12]...), 0, byte(len(udp)-6), 0xaa, 0xaa, 3, 0, 0, 0), udp[12:]...)
	for name, tt := range map[string]struct {
		frame []byte
		want  int // bytes behind UDP's header; -1: there is nothing
	}{
		"IPv4":               {udp, len(payload)},
		"IPv6":               {frames.UDP(a6, b6, payload), len(payload)},
		"an extension":       {extended, len(payload)},
		"SNAP":               {snap, len(payload)},
		"behind a tag":       {frames.Tagged(udp, 7, 0), len(payload)},
		"behind two tags":    {frames.Tagged(frames.Tagged(udp, 7, 0), 7, 0), -1},
		"ARP":                {frames.ARPRequest(a, b.IP), -1},
		"cut short":          {udp[:len(udp)-len(payload)], 0},
		"in the IP header":   {udp[:30], -1},
		"with padding":       {append(append([]byte(nil), udp...), 1, 2, 3), len(payload)},
		"nothing but a type": {udp[:14], -1},
	} {
		m := flow.Parser{}.Parse(tt.frame, len(tt.frame)+len(payload), 3)
		got := (&flow.PacketIn{Match: m, Data: tt.frame}).Layer4()
		switch {
		case tt.want < 0 && got != nil:
			t.Errorf("%s: %x", name, got)
		case tt.want >= 0 && (len(got) != 8+tt.want || !bytes.Equal(got[8:], payload[:tt.want])):
			t.Errorf("%s: %x, want 8 bytes of UDP and %q", name, got, payload[:tt.want])
		}
	}
}
