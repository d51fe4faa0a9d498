package replay

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/flow"
)

func TestPorts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ports.txt")
	if err := os.WriteFile(file, []byte("# the office\n10.0.0.0/8 = 2\n10.1.0.0/24=4   # servers\n\n10.1.0.9=5\n2001:db8::/32=6\n02:00:00:00:00:07=7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inline := "10.0.0.0/8=2,10.1.0.0/24=4,10.1.0.9=5,2001:db8::/32=6,02:00:00:00:00:07=7"
	for _, text := range []string{file, inline} {
		p, err := ParsePorts(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			mac  byte
			src  string
			arp  bool
			want flow.PortNo
		}{
			{1, "10.0.0.1", false, 2}, {1, "10.1.0.1", false, 4}, {1, "10.1.0.9", false, 5}, {1, "10.1.0.9", true, 5},
			{1, "2001:db8::1", false, 6}, {7, "10.1.0.9", false, 7}, {1, "192.0.2.1", false, 1}, {1, "", false, 1},
		} {
			var m flow.Match
			m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, row.mac}, flow.MACExact)
			if row.src != "" {
				a := netip.MustParseAddr(row.src)
				if prefix := netip.PrefixFrom(a, a.BitLen()); row.arp {
					m.SetARPSPA(prefix)
				} else {
					m.SetIPSrc(prefix)
				}
			}
			if got := p.of(&m); got != row.want {
				t.Errorf("%v comes in by %v, want %v", m, got, row.want)
			}
		}
	}
	var none *Ports
	if got := none.of(new(flow.Match)); got != 1 {
		t.Errorf("without a mapping: port %v", got)
	}

	bad := filepath.Join(t.TempDir(), "bad.txt")
	if err := os.WriteFile(bad, []byte("10.0.0.1=1\n10.0.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"10.0.0.1=0":            "with a port from 1 to 48",
		"10.0.0.1=49":           "with a port from 1 to 48",
		"10.0.0.1=010":          "with a port from 1 to 48",
		"10.0.0.1=LOCAL":        "with a port from 1 to 48",
		"10.0.0.1=1,":           `"": want ADDRESS=PORT`,
		"10.0.0.256=1":          "want a MAC address, an IP address or a prefix",
		"10.0.0.1/8=1":          "write 10.0.0.0/8",
		"10.0.0.1=1,10.0.0.1=2": "10.0.0.1 is there twice",
		"nowhere.txt":           "no such file",
		bad:                     bad + `:2: "10.0.0.2": want ADDRESS=PORT`,
	} {
		if _, err := ParsePorts(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

// What comes in by a port that is named is asked about with that port.
func TestReplayWithPorts(t *testing.T) {
	var mem memory
	cfg := fromPcap(t, allow, packet{0, syn(1, 1)}, packet{1, syn(2, 2)})
	cfg.Pace, cfg.Records = PaceMax, &mem
	first := flow.ParseFrame(syn(1, 1), 0)
	var err error
	if cfg.Ports, err = ParsePorts(first.IPSrc.Addr().String() + "=9"); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, r := range mem.list {
		if want := map[bool]flow.PortNo{true: 9, false: 1}[r.Match.IPSrc == first.IPSrc]; r.Match.InPort != want {
			t.Errorf("%v: want port %v", r.Match, want)
		}
	}
	if len(mem.list) != 2 {
		t.Errorf("%d records", len(mem.list))
	}
}
