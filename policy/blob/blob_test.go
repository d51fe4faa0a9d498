package blob

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"switchbridge/policy/wire"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/policyfile"
)

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// full uses everything that a policy can say. Prefixes are sorted as they come back.
func full() *policy.Policy {
	icmp := flow.Match{}
	icmp.SetEthType(flow.EthTypeIPv4)
	icmp.Fields |= flow.FieldIPProto | flow.FieldICMPType | flow.FieldICMPCode | flow.FieldIPSrc | flow.FieldIPDst
	icmp.IPProto, icmp.ICMPType, icmp.ICMPCode = flow.ProtoICMP, 8, 0
	icmp.IPSrc, icmp.IPDst = netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.2.3/32")
	tcp := flow.Match{}
	tcp.SetInPort(7)
	tcp.SetEthType(flow.EthTypeIPv6)
	tcp.Fields |= flow.FieldIPProto | flow.FieldIPSrc
	tcp.IPProto, tcp.IPSrc = flow.ProtoTCP, netip.MustParsePrefix("2001:db8::/33")
	l2 := flow.Match{}
	l2.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
	l2.SetEthDst(flow.MAC{1}, flow.MAC{1})
	l2.SetVLAN(flow.VLANPresent|100, flow.VLANExact)
	arp := flow.Match{}
	arp.SetEthType(flow.EthTypeARP)
	arp.Fields |= flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA
	arp.ARPOp, arp.ARPSPA, arp.ARPTPA = 1, netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.0.1/32")
	return &policy.Policy{
		Serial: 1<<40 + 3, Hash: 0xdeadbeef,
		Install: policy.Install{Rule: policy.InstallHostPair, IdleTimeout: 30 * time.Second, HardTimeout: 65535 * time.Second, Priority: 60000, Table: 2},
		Chain: []policy.Source{
			&blocklist.Config{Match: blocklist.Dst, Lists: []blocklist.List{
				{Name: "ipsum.txt", Prefixes: prefixes("0.0.0.0/0", "10.0.0.0/8", "1.2.3.4/32", "255.255.255.255/32", "::/0", "2001:db8::/32", "2001:db8::1/128")},
				{}}},
			&header.Config{MaxProactive: 70, Rules: []header.Rule{
				{Name: "ping", Priority: 1, Match: header.Condition{Header: icmp}, Action: header.Action{Output: []flow.PortNo{1, flow.PortFlood}, SetQueue: true, Queue: 3, Meter: 9}},
				{Name: "ssh", Priority: 60000, Match: header.Condition{Header: tcp, Src: &header.PortRange{First: 1024, Last: 65535}, Dst: &header.PortRange{First: 22, Last: 22}}, Action: header.Action{Deny: true}},
				{Priority: 5, Match: header.Condition{Header: l2}, Action: header.Action{Output: []flow.PortNo{2}}},
				{Name: "who has", Priority: 6, Match: header.Condition{Header: arp}, Action: header.Action{Deny: true}},
			}},
			&forward.Config{Mode: policy.Flood},
		},
	}
}

var same = []cmp.Option{cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

func pack(t testing.TB, p *policy.Policy) []byte {
	t.Helper()
	b, err := Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	want := full()
	b := pack(t, want)
	got, err := Unpack(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, same...); diff != "" {
		t.Error(diff)
	}
	if again := pack(t, got); !bytes.Equal(again, b) {
		t.Error("packed again it differs")
	}
}

// What rules have beside what they had at first comes through, and an entry that has it begins with a number that older functions refuse.
func TestMoreOfHeaderRules(t *testing.T) {
	p := full()
	old := p.Chain[1].(*header.Config)
	more := *old
	more.Rules = slices.Clone(old.Rules)
	more.Zone = []header.Shift{{From: 0, Offset: -3600}, {From: 1 << 40, Offset: 86400}}
	more.Rules[1].Hours = []header.Span{{From: 0, To: 60}, {From: 7*24*60 - 1, To: 7 * 24 * 60}}
	more.Rules[1].Flags = header.Flags{Set: flow.SYN, Clear: flow.ACK}
	more.Rules[1].Action.Reject = true
	more.Rules[2].Or = []header.Condition{old.Rules[0].Match, old.Rules[1].Match}
	p.Chain = []policy.Source{&more}
	got, err := Unpack(pack(t, p))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got, same...); diff != "" {
		t.Error(diff)
	}
	w := wire.NewWriter(nil)
	more.Write(w)
	if r := wire.NewReader(w.Bytes()); r.Uint(0xffff) != 0 || r.Err() == nil {
		t.Error("a function that knows nothing of it would read on")
	}
}

// TestBytesStay holds what Pack writes to what deployed functions read: testdata/full.hex was packed once, and is not made anew. Other
// bytes for it are another format version.
func TestBytesStay(t *testing.T) {
	text, err := os.ReadFile("testdata/full.hex")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := pack(t, full()); !bytes.Equal(got, want) {
		t.Errorf("packed\n%x\nwant\n%x", got, want)
	}
	got, err := Unpack(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), got, same...); diff != "" {
		t.Error(diff)
	}
}

// sealed gives a changed blob its right length and checksum.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[16:], uint32(len(b)-headerSize))
	binary.BigEndian.PutUint32(b[checksumAt:], checksum(b))
	return b
}

func TestBadBlobs(t *testing.T) {
	good := pack(t, full())
	edit := func(change func([]byte) []byte) []byte { return change(bytes.Clone(good)) }
	for _, row := range []struct {
		name string
		blob []byte
		want error
		text string
	}{
		{"empty", nil, ErrFormat, ""},
		{"YAML", []byte("serial: 1\nchain: []\n"), ErrFormat, ""},
		{"another version", edit(func(b []byte) []byte { b[3] = 2; return b }), ErrVersion, "format 2, this function reads 1"},
		{"a flipped bit", edit(func(b []byte) []byte { b[headerSize+20] ^= 1; return b }), ErrChecksum, "checksum"},
		{"another serial", edit(func(b []byte) []byte { b[10]++; return b }), ErrChecksum, ""},
		{"more behind it", append(bytes.Clone(good), 0), ErrFormat, "1 bytes after its end"},
		{"stray bytes", edit(func(b []byte) []byte { return sealed(append(b, 0, 0)) }), ErrFormat, "2 stray bytes"},
		{"unknown entry", edit(func(b []byte) []byte { b[len(b)-2] = 77; return sealed(b) }), ErrFormat, "unknown kind 77"},
		{"a number without end", sealed(append(make([]byte, 0, 99), append(bytes.Clone(good[:headerSize]), bytes.Repeat([]byte{0xff}, 20)...)...)), ErrFormat, "number"},
		{"more entries than bytes", sealed(append(bytes.Clone(good[:headerSize]), 0, 30, 30, 100, 0, 0xff, 0xff, 0xff, 0x7f)), ErrFormat, "items in"},
		{"a policy that isn't valid", edit(func(b []byte) []byte { b[len(b)-1] = 9; return sealed(b) }), nil, "chain entry 3: forward"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := Unpack(row.blob)
			if err == nil {
				t.Fatalf("%+v", p)
			}
			if row.want != nil && !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) {
				t.Errorf("got %v, want %v with %q", err, row.want, row.text)
			}
		})
	}
	for n := range good {
		if _, err := Unpack(good[:n]); n > len(magic) && !errors.Is(err, ErrTruncated) || err == nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if n > headerSize { // cut, and sealed again
			if _, err := Unpack(sealed(bytes.Clone(good[:n]))); err == nil {
				t.Fatalf("cut and sealed at %d: no error", n)
			}
		}
	}
}

func dataFile(t testing.TB, name string) string {
	dir := os.Getenv("SWITCHBRIDGE_DATA")
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(wd, "..", "..", "..", "shared", "data")
	}
	found := ""
	_ = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Name() == name {
			found = path
		}
		return nil
	})
	if found == "" {
		t.Skipf("no %s in the test data", name)
	}
	return found
}

func loadList(t testing.TB, name string) *policy.Policy {
	p, err := policyfile.Parse(strings.NewReader("serial: 1\nchain:\n  - blocklist: {files: ["+dataFile(t, name)+"]}\n  - forward: {mode: normal}\n"), "policy.yaml", "/")
	if err != nil {
		t.Fatalf("policy with %s: %v", name, err)
	}
	return p
}

// A configuration value of Fastly holds 8,000 characters; 500 addresses must leave room.
func TestFitsAConfigurationValue(t *testing.T) {
	p := loadList(t, "ipsum-500.txt")
	b := pack(t, p)
	if size := base64.StdEncoding.EncodedLen(len(b)); size > 3000 {
		t.Errorf("%d characters", size)
	}
	got, err := Unpack(b)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(p.Chain[0].(*blocklist.Config).Lists[0].Prefixes)
	slices.SortFunc(want, netip.Prefix.Compare)
	have := got.Chain[0].(*blocklist.Config).Lists[0].Prefixes
	slices.SortFunc(have, netip.Prefix.Compare)
	if !slices.Equal(slices.Compact(want), have) {
		t.Error("other addresses came back")
	}
}

func BenchmarkUnpack(b *testing.B) {
	blob := pack(b, loadList(b, "ipsum-1.txt"))
	b.SetBytes(int64(len(blob)))
	for b.Loop() {
		if _, err := Unpack(blob); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, full())[headerSize:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := sealed(append(append([]byte(magic), make([]byte, headerSize-len(magic))...), body...))
		b[len(magic)] = formatVersion
		p, err := Unpack(sealed(b))
		if err != nil {
			return
		}
		packed := pack(t, p)
		again, err := Unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(pack(t, again), packed) {
			t.Fatal("packed a second time it differs")
		}
	})
}

func TestSerial(t *testing.T) {
	p := forward.Default()
	p.Serial = 1<<63 + 7
	b, err := Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Serial(b[:headerSize]); err != nil || got != p.Serial {
		t.Errorf("serial %d, %v, want %d", got, err, p.Serial)
	}
	other := bytes.Clone(b)
	other[len(magic)]++
	for want, b := range map[error][]byte{ErrFormat: []byte("serial: 7"), ErrTruncated: b[:headerSize-1], ErrVersion: other} {
		if _, err := Serial(b); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}
