package mac_test

import (
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/mac"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/policy/wire"
)

var (
	device = mac.Prefix{Addr: flow.MAC{2, 0, 0, 0, 0, 3}, Bits: 48}
	vendor = mac.Prefix{Addr: flow.MAC{0xb8, 0x27, 0xeb}, Bits: 24}
	small  = mac.Prefix{Addr: flow.MAC{0x70, 0xb3, 0xd5, 0x12, 0x30}, Bits: 36}
	lists  = []mac.List{{Prefixes: []mac.Prefix{device, small}}, {Name: "lab.txt", Prefixes: []mac.Prefix{vendor, {Addr: flow.MAC{0xb8, 0x27, 0xeb, 1}, Bits: 32}}}}
)

func frame(src, dst flow.MAC) (m flow.Match) {
	m.SetEthSrc(src, flow.MACExact)
	m.SetEthDst(dst, flow.MACExact)
	m.SetEthType(flow.EthTypeLLDP)
	return m
}

func TestDecide(t *testing.T) {
	other, broadcast := flow.MAC{2, 0, 0, 0, 0, 9}, flow.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	const src, dst = flow.FieldEthSrc, flow.FieldEthDst
	const missing = "mac: the packet's Ethernet addresses are missing"
	for _, tt := range []struct {
		name    string
		match   mac.Direction
		deny    mac.Denied
		packet  flow.Match
		reason  string // empty: passed on
		depends flow.Field
	}{
		{"listed source", mac.Src, mac.Listed, frame(device.Addr, other), "mac: 02:00:00:00:00:03", src},
		{"the widest prefix is named, and its file", mac.Src, mac.Listed, frame(flow.MAC{0xb8, 0x27, 0xeb, 1, 2, 3}, other), "mac: b8:27:eb:01:02:03 of b8:27:eb in lab.txt", src},
		{"a prefix of 36 bits", mac.Src, mac.Listed, frame(flow.MAC{0x70, 0xb3, 0xd5, 0x12, 0x3f, 1}, other), "mac: 70:b3:d5:12:3f:01 of 70:b3:d5:12:30:00/36", src},
		{"beyond the prefix", mac.Src, mac.Listed, frame(flow.MAC{0x70, 0xb3, 0xd5, 0x12, 0x40}, other), "", src},
		{"listed destination, source only", mac.Src, mac.Listed, frame(other, device.Addr), "", src},
		{"listed destination", mac.Dst, mac.Listed, frame(other, device.Addr), "mac: 02:00:00:00:00:03", dst},
		{"either, the destination", mac.Both, mac.Listed, frame(other, device.Addr), "mac: 02:00:00:00:00:03", src | dst},
		{"either, the source", mac.Both, mac.Listed, frame(device.Addr, other), "mac: 02:00:00:00:00:03", src},
		{"a listed one among listed ones", mac.Both, mac.Unlisted, frame(device.Addr, vendor.Addr), "", src | dst},
		{"unlisted source", mac.Both, mac.Unlisted, frame(other, device.Addr), "mac: 02:00:00:00:00:09 is not listed", src},
		{"unlisted destination", mac.Both, mac.Unlisted, frame(device.Addr, other), "mac: 02:00:00:00:00:09 is not listed", src | dst},
		{"to everybody", mac.Both, mac.Unlisted, frame(device.Addr, broadcast), "", src | dst},
		{"from a group address", mac.Src, mac.Unlisted, frame(broadcast, device.Addr), "mac: ff:ff:ff:ff:ff:ff is not listed", src},
		{"cut short, listed", mac.Src, mac.Listed, flow.Match{}, missing, src},
		{"cut short, unlisted", mac.Dst, mac.Unlisted, flow.Match{}, missing, dst},
		{"a P4 digest without it", mac.Src, mac.Listed, frame(other, other).Keep(flow.FieldEthType), missing, src},
	} {
		t.Run(tt.name, func(t *testing.T) {
			(&policytest.Denial{Entry: &mac.Config{Match: tt.match, Deny: tt.deny, Lists: lists}, Packet: tt.packet, Reason: tt.reason, Depends: tt.depends}).Check(t)
		})
	}
}

// The compiled list finds what a walk over all prefixes finds.
func TestLookupAgainstWalk(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	random := func() (a flow.MAC) {
		for i := range a {
			a[i] = byte(r.IntN(2)) * byte(r.IntN(4)) // few values, so that prefixes nest
		}
		return a
	}
	for range 200 {
		var list mac.List
		for range r.IntN(50) {
			p := mac.Prefix{Addr: random(), Bits: uint8(24 + r.IntN(25))}
			for i := p.Bits; i < 48; i++ {
				p.Addr[i/8] &^= 0x80 >> (i % 8)
			}
			list.Prefixes = append(list.Prefixes, p)
		}
		c := &mac.Config{Lists: []mac.List{list}}
		if err := c.Validate(nil); err != nil {
			t.Fatal(err)
		}
		link := c.Compile()
		for range 200 {
			a := random()
			want := false
			for _, p := range list.Prefixes {
				same := true
				for i := range p.Bits {
					same = same && (a[i/8]^p.Addr[i/8])&(0x80>>(i%8)) == 0
				}
				want = want || same
			}
			m := frame(a, a)
			if got := link.Decide(policy.NewPacket(&m)).Verdict == flow.Deny; got != want {
				t.Fatalf("%v: denied %v, want %v, by %v", a, got, want, list.Prefixes)
			}
		}
	}
}

func TestParse(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.txt": "# the lab\n02:00:00:00:00:01 # printer\n\nb8:27:eb\n", "bad.txt": "02:00:00:00:00:01\nprinter\n", "empty.txt": "# none\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parse := func(entry string) (*policy.Policy, error) {
		return policyfile.Parse(strings.NewReader("serial: 1\nchain:\n  - mac: "+entry+"\n"), "p.yaml", dir)
	}
	p, err := parse(`{deny: unlisted, match: both, addresses: ["70:b3:d5:12:30:00/36", "02:00:00:00"], files: [good.txt]}`)
	if err != nil {
		t.Fatal(err)
	}
	const want = "denies packets from or to Ethernet addresses that are not among the 4 listed addresses and prefixes"
	if got := p.Chain[0].Explain(); got != want {
		t.Errorf("%s; want %s", got, want)
	}
	for _, tt := range []struct{ entry, want string }{
		{`{deny: all}`, `p.yaml:3: mac: deny: "all": want listed or unlisted`},
		{`{match: to}`, `p.yaml:3: mac: match: "to": want src, dst or both`},
		{`{vendors: []}`, `p.yaml:3: mac: unknown key "vendors": want one of deny, match, action, log, addresses, files, urls`},
		{`{addresses: ["02:00"]}`, `p.yaml:3: mac: address 1: "02:00": want an Ethernet address such as`},
		{`{addresses: [02-00-00-00-00-01]}`, `p.yaml:3: mac: address 1: "02-00-00-00-00-01": want an Ethernet address such as`},
		{`{addresses: ["02:00:00:00:00:01/36"]}`, `p.yaml:3: mac: address 1: 02:00:00:00:00:01/36 has bits beyond its length`},
		{`{addresses: ["02:00:00:00:00:00/8"]}`, `p.yaml:3: mac: address 1: "02:00:00:00:00:00/8": want`},
		{`{addresses: ["02:00:00:00:00:00/49"]}`, `p.yaml:3: mac: address 1: "02:00:00:00:00:00/49": want`},
		{`{addresses: ["02:00:00/24"]}`, `p.yaml:3: mac: address 1: "02:00:00/24": want`},
		{`{files: [gone.txt]}`, "p.yaml:3: mac: file " + filepath.Join(dir, "gone.txt") + ": no such file"},
		{`{files: [bad.txt]}`, filepath.Join(dir, "bad.txt") + `:2: "printer": want an Ethernet address`},
		{`{deny: unlisted, files: [empty.txt]}`, "p.yaml:3: mac: deny: unlisted without an address on a list denies every packet"},
	} {
		if _, err := parse(tt.entry); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s...", tt.entry, err, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []*mac.Config{
		{Match: 3}, {Deny: 2}, {Deny: mac.Unlisted},
		{Lists: []mac.List{{Prefixes: []mac.Prefix{{Bits: 23}}}}}, {Lists: []mac.List{{Prefixes: []mac.Prefix{{Bits: 49}}}}},
		{Lists: []mac.List{{Prefixes: []mac.Prefix{{Addr: flow.MAC{1, 2, 3, 4}, Bits: 24}}}}},
	} {
		if c.Validate(nil) == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

// Functions that are deployed read these bytes.
func TestBytesStay(t *testing.T) {
	const want = "0201" + // both, unlisted
		"02" + "00" + "02" + "24" + "01" + "a3a2f5d970" + "30" + "01" + "8380808080" + "40" +
		"07" + "6c61622e747874" + "02" + "18" + "01" + "ebcfe005" + "20" + "01" + "81d69fc10b"
	c := &mac.Config{Match: mac.Both, Deny: mac.Unlisted, Lists: lists}
	w := wire.NewWriter(nil)
	c.Write(w)
	if got := hex.EncodeToString(w.Bytes()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if code := (mac.Kind{}).Code(); code != 4 {
		t.Errorf("code %d, want 4", code)
	}
	// A length that shifts everything out, and a difference beyond the last address.
	for _, bad := range []string{"0000" + "01" + "00" + "01" + "00" + "01" + "00", "0000" + "01" + "00" + "01" + "18" + "02" + "ffffff07" + "01"} {
		b, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatal(err)
		}
		r := wire.NewReader(b)
		if s := (mac.Kind{}).Read(r); r.Err() == nil {
			t.Errorf("%s reads as %+v", bad, s)
		}
	}
}
