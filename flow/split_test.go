package flow_test

import (
	"bytes"
	"net/netip"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// What stands behind the IP header is found behind tags, and is nothing where a switch does not look, or where there is none.
func TestSplit(t *testing.T) {
	a, b := frames.Host(1).At(40000), frames.Host(2).At(53)
	a6, b6 := a, b
	a6.IP, b6.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	payload := []byte("a question")
	for name, tt := range map[string]struct {
		frame []byte
		want  int // bytes behind the transport header's end; -1: there is no header
	}{
		"IPv4":             {frames.UDP(a, b, payload), len(payload)},
		"IPv6":             {frames.UDP(a6, b6, payload), len(payload)},
		"behind a tag":     {frames.Tagged(frames.UDP(a, b, payload), 7, 0), len(payload)},
		"behind two tags":  {frames.Tagged(frames.Tagged(frames.UDP(a, b, payload), 7, 0), 7, 0), -1},
		"a fragment":       {frames.LaterFragment(frames.UDP(a, b, payload)), -1},
		"ARP":              {frames.ARPRequest(a, b.IP), -1},
		"cut short":        {frames.UDP(a, b, payload)[:len(frames.UDP(a, b, nil))], 0},
		"with a trailer":   {append(frames.UDP(a, b, payload), 1, 2, 3), len(payload)},
		"less than a word": {frames.UDP(a, b, payload)[:30], -1},
	} {
		p := flow.Parser{}
		m, l4 := p.Split(tt.frame, len(tt.frame)+len(payload), 3)
		if m != p.Parse(tt.frame, len(tt.frame)+len(payload), 3) {
			t.Errorf("%s: %v", name, m)
		}
		switch {
		case tt.want < 0 && l4 != nil:
			t.Errorf("%s: %x", name, l4)
		case tt.want >= 0 && (len(l4) != 8+tt.want || !bytes.Equal(l4[8:], payload[:tt.want])):
			t.Errorf("%s: %x, want 8 bytes of UDP and %q", name, l4, payload[:tt.want])
		}
	}
}
