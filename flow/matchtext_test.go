package flow

import (
	"net/netip"
	"strings"
	"testing"
)

// A match is read as it is written, whatever field it has.
func TestParseMatch(t *testing.T) {
	var all Match
	for i := range Fields {
		x := &Fields[i]
		var m Match
		switch x.Kind {
		case Address:
			x.SetMAC(&m, MAC{2, 0, 0, 0, 0, 7}, MACExact)
		case MaskedMAC:
			x.SetMAC(&m, MAC{1}, MAC{1})
		case Prefix:
			x.SetPrefix(&m, netip.MustParsePrefix("10.0.0.0/8"))
		case IPv6:
			x.SetAddr(&m, netip.MustParseAddr("2001:db8::1"))
		case VLANTag:
			x.SetNumber(&m, uint64(VLANPresent|7), uint64(VLANExact))
		case Number64:
			x.SetNumber(&m, 5, 0xff)
		default:
			x.SetNumber(&m, 3, 0)
		}
		x.Copy(&all, &m)
		if got, err := ParseMatch(m.String()); err != nil || got != m {
			t.Errorf("%v becomes %v, %v", m, got, err)
		}
	}
	all.SetInPort(PortLocal)
	all.SetIPDst(netip.MustParsePrefix("2001:db8::/32"))
	all.SetARPSPA(netip.MustParsePrefix("10.0.0.1/32"))
	if got, err := ParseMatch(all.String()); err != nil || got != all {
		t.Errorf("%v becomes %v, %v", all, got, err)
	}
	if got, err := ParseMatch("any"); err != nil || got != (Match{}) {
		t.Error(got, err)
	}
	for text, want := range map[string]string{"": `no field ""`, "in_port=1,moon=2": `no field "moon"`, "eth_src=02": "eth_src: MAC address", "ip_src=x": "ip_src", "vlan_vid=7": "vlan_vid",
		"ip_proto=256": "more than 8 bits", "ipv6_nd_target=1": "ipv6_nd_target", "in_port=x": "in_port"} {
		if _, err := ParseMatch(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
