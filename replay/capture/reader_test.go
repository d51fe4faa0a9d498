package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var epoch = time.Unix(1_700_000_000, 0).UTC()

type record struct {
	at   time.Duration // after epoch
	data []byte
	wire int // 0: len(data)
}

// frames are three packets, the second cut by the capture.
var frames = []record{
	{0, bytes.Repeat([]byte{0x11}, 60), 0},
	{1500 * time.Microsecond, bytes.Repeat([]byte{0x22}, 64), 1400},
	{2 * time.Second, bytes.Repeat([]byte{0x33}, 80), 0},
}

func pcap(t testing.TB, link layers.LinkType, records ...record) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(65535, link); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		ci := gopacket.CaptureInfo{Timestamp: epoch.Add(r.at), CaptureLength: len(r.data), Length: max(r.wire, len(r.data))}
		if err := w.WritePacket(ci, r.data); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func pcapng(t testing.TB, link layers.LinkType, records ...record) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, link)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		ci := gopacket.CaptureInfo{Timestamp: epoch.Add(r.at), CaptureLength: len(r.data), Length: max(r.wire, len(r.data))}
		if err := w.WritePacket(ci, r.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t testing.TB, b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll returns copies of all packets, and the error that ended it.
func readAll(r *Reader) (all []Packet, err error) {
	defer r.Close()
	for {
		p, err := r.Next()
		if err != nil {
			return all, err
		}
		c := *p
		c.Frame = bytes.Clone(p.Frame)
		all = append(all, c)
	}
}

func TestFormats(t *testing.T) {
	le := pcap(t, layers.LinkTypeEthernet, frames...)
	for name, file := range map[string][]byte{
		"pcap":             le,
		"pcap, big-endian": bigEndian(le),
		"pcapng":           pcapng(t, layers.LinkTypeEthernet, frames...),
		"pcap.gz":          zip(t, le),
		"pcapng.gz":        zip(t, pcapng(t, layers.LinkTypeEthernet, frames...)),
	} {
		t.Run(name, func(t *testing.T) {
			for _, stdin := range []bool{false, true} {
				paths := []string{"-"}
				if !stdin {
					paths[0] = write(t, "c", file)
				}
				r, err := NewReader(bytes.NewReader(file), paths...)
				if err != nil {
					t.Fatal(err)
				}
				all, err := readAll(r)
				if err != io.EOF || len(all) != len(frames) {
					t.Fatalf("%d packets, %v", len(all), err)
				}
				for i, p := range all {
					f := frames[i]
					if !bytes.Equal(p.Frame, f.data) || p.WireLen != max(f.wire, len(f.data)) || p.Number != i+1 ||
						!p.Time.Equal(epoch.Add(f.at)) || p.Offset != f.at || p.Truncated() != (f.wire > 0) {
						t.Errorf("packet %d is %+v", i+1, p)
					}
				}
				read, size := r.Progress()
				if want := int64(len(file)); read != want || (size != want && !stdin) || (size != -1 && stdin) {
					t.Errorf("progress %d of %d, want %d", read, size, want)
				}
			}
		})
	}
}

// bigEndian turns the integers of a pcap file around.
func bigEndian(le []byte) []byte {
	be := bytes.Clone(le)
	swap := func(at, n int) {
		for i := range n / 2 {
			be[at+i], be[at+n-1-i] = be[at+n-1-i], be[at+i]
		}
	}
	for _, f := range [][2]int{{0, 4}, {4, 2}, {6, 2}, {8, 4}, {12, 4}, {16, 4}, {20, 4}} {
		swap(f[0], f[1])
	}
	for at := 24; at < len(le); {
		n := int(binary.LittleEndian.Uint32(le[at+8:]))
		for i := range 4 {
			swap(at+4*i, 4)
		}
		at += 16 + n
	}
	return be
}

// Two files are one capture, whenever each was made.
func TestSeveralFiles(t *testing.T) {
	one := write(t, "1.pcap", pcap(t, layers.LinkTypeEthernet, record{at: 0, data: frames[0].data}, record{at: time.Second, data: frames[0].data}))
	two := write(t, "2.pcapng", pcapng(t, layers.LinkTypeEthernet, record{at: -time.Hour, data: frames[0].data}, record{at: time.Second - time.Hour, data: frames[0].data}))
	r, err := NewReader(nil, one, two)
	if err != nil {
		t.Fatal(err)
	}
	all, err := readAll(r)
	if err != io.EOF || len(all) != 4 {
		t.Fatalf("%d packets, %v", len(all), err)
	}
	for i, want := range []time.Duration{0, time.Second, time.Second, 2 * time.Second} {
		if all[i].Offset != want {
			t.Errorf("packet %d at %v, want %v", i, all[i].Offset, want)
		}
	}
	if all[2].File != two || all[2].Number != 1 || r.ClockBack != 0 {
		t.Errorf("%+v, %d back", all[2], r.ClockBack)
	}
}

func TestClockGoesBack(t *testing.T) {
	d := frames[0].data
	r, err := NewReader(bytes.NewReader(pcap(t, layers.LinkTypeEthernet, record{at: time.Hour, data: d}, record{at: 0, data: d}, record{at: time.Second, data: d})), "-")
	if err != nil {
		t.Fatal(err)
	}
	all, err := readAll(r)
	if err != io.EOF || len(all) != 3 || r.ClockBack != 1 {
		t.Fatalf("%d packets, %v, %d back", len(all), err, r.ClockBack)
	}
	if all[1].Offset != 0 || all[2].Offset != time.Second {
		t.Errorf("at %v and %v", all[1].Offset, all[2].Offset)
	}
}

// A file cut anywhere gives the packets before the cut and then says where it
// was cut; only a cut between two blocks (of a pcap: packets) looks like an end.
func TestCut(t *testing.T) {
	for _, tt := range []struct {
		name   string
		file   []byte
		blocks int // that more can follow
	}{
		{"pcap", pcap(t, layers.LinkTypeEthernet, frames...), 3},
		{"pcapng", pcapng(t, layers.LinkTypeEthernet, frames...), 4},
	} {
		name, file := tt.name, tt.file
		full, err := NewReader(bytes.NewReader(file), "-")
		if err != nil {
			t.Fatal(err)
		}
		if all, err := readAll(full); len(all) != 3 || err != io.EOF {
			t.Fatalf("%s: %d packets, %v", name, len(all), err)
		}
		clean := 0
		for n := range file {
			r, err := NewReader(bytes.NewReader(file[:n]), "-")
			if err != nil {
				t.Fatal(err)
			}
			all, err := readAll(r)
			var e *Error
			switch {
			case err == io.EOF:
				clean++
			case !errors.As(err, &e) || e.File != "standard input":
				t.Errorf("%s cut at %d: %v", name, n, err)
			case e.Packet != 0 && e.Packet != len(all)+1:
				t.Errorf("%s cut at %d: %d packets, then %v", name, n, len(all), err)
			}
		}
		if clean != tt.blocks {
			t.Errorf("%s: %d cuts went unnoticed", name, clean)
		}
	}
}

// cutBad is a record that holds more than the packet had, as it says, at the end of a file that is cut.
func cutBad(t *testing.T) []byte {
	b := pcap(t, layers.LinkTypeEthernet, frames[0])
	binary.LittleEndian.PutUint32(b[24+12:], 1)
	return b[:len(b)-1]
}

// A record that can't be is left out and counted; those around it are read.
func TestBadRecords(t *testing.T) {
	more := pcap(t, layers.LinkTypeEthernet, frames...)
	second := 24 + 16 + int(binary.LittleEndian.Uint32(more[24+8:]))
	binary.LittleEndian.PutUint32(more[second+12:], 3) // it holds more than the packet had
	for name, tt := range map[string]struct {
		file []byte
		good int
	}{
		"longer than the packet":             {more, len(frames) - 1},
		"longer than the packet, big-endian": {bigEndian(more), len(frames) - 1},
		"longer than the packet, compressed": {zip(t, more), len(frames) - 1},
		"a cut header of the link":           {pcap(t, layers.LinkTypeLinuxSLL, record{data: make([]byte, 16)}, record{data: make([]byte, 15)}, record{data: make([]byte, 20)}), 2},
	} {
		r, err := NewReader(nil, write(t, "file", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		all, err := readAll(r)
		if err != io.EOF || len(all) != tt.good || r.Bad != 1 {
			t.Errorf("%s: %d packets and %d bad records, %v", name, len(all), r.Bad, err)
		} else if last := all[len(all)-1]; last.Number != tt.good+1 {
			t.Errorf("%s: the last packet has the number %d: records that are left out count", name, last.Number)
		}
	}
}

func TestFaults(t *testing.T) {
	long := pcap(t, layers.LinkTypeEthernet, frames...)
	binary.LittleEndian.PutUint32(long[24+8:], 0xfffffff0)
	binary.LittleEndian.PutUint32(long[24+12:], 0xfffffff0)
	longNG := pcapng(t, layers.LinkTypeEthernet, frames[0])
	at := bytes.LastIndex(longNG, []byte{6, 0, 0, 0}) // the enhanced packet block
	binary.LittleEndian.PutUint32(longNG[at+4:], 0xfffffff0)
	binary.LittleEndian.PutUint32(longNG[at+20:], 0xffffff00)
	binary.LittleEndian.PutUint32(longNG[at+24:], 0xffffff00)
	badZip := zip(t, pcap(t, layers.LinkTypeEthernet, frames...))
	badZip[len(badZip)-5] ^= 0xff // the checksum

	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "the file is empty"},
		{"short", []byte{0xd4}, "neither a pcap nor a pcapng file"},
		{"text", []byte("hello, world"), "neither a pcap nor a pcapng file (it begins with 68 65 6c 6c)"},
		{"a header alone, cut", pcap(t, layers.LinkTypeEthernet)[:20], "in the middle of its header"},
		{"4 GB record", long, "packet 1: capture length"},
		{"4 GB record, pcapng", longNG, "packet 1: "},
		{"gzip of nothing known", zip(t, []byte("hello, world")), "neither a pcap"},
		{"gzip, broken", badZip, "gzip: "},
		{"wireless", pcap(t, layers.LinkTypeIEEE802_11, frames...), "packet 1: link type 105 (802.11) is not Ethernet"},
		{"a bad record, cut", cutBad(t), "packet 1: capture length"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, "file", tt.file)
			r, err := NewReader(nil, path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = readAll(r)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), path+": ") {
				t.Errorf("%v\nwant it to name the file and say %q", err, tt.want)
			}
		})
	}
	for _, paths := range [][]string{nil, {"no-such-file"}, {t.TempDir()}} {
		if _, err := NewReader(nil, paths...); err == nil {
			t.Errorf("%v: no error", paths)
		}
	}
}

// A record that pretends to be long can't make the reader take memory for it.
func TestMemoryIsBounded(t *testing.T) {
	head := pcapng(t, layers.LinkTypeEthernet, frames[0])
	at := bytes.LastIndex(head, []byte{6, 0, 0, 0})
	binary.LittleEndian.PutUint32(head[at+4:], 0xfffffff0)
	binary.LittleEndian.PutUint32(head[at+20:], 0xffffff00)
	binary.LittleEndian.PutUint32(head[at+24:], 0xffffff00)
	endless := &zeros{}
	r, err := NewReader(io.MultiReader(bytes.NewReader(head), endless), "-")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(r); !errors.Is(err, errTooLong) {
		t.Errorf("%v, want %v", err, errTooLong)
	}
	if endless.read > maxRecord+1<<20 {
		t.Errorf("read %d bytes for one record", endless.read)
	}
}

type zeros struct{ read int }

func (z *zeros) Read(b []byte) (int, error) {
	clear(b)
	z.read += len(b)
	return len(b), nil
}

func TestLinkTypes(t *testing.T) {
	v4 := append([]byte{0x45}, make([]byte, 19)...)
	v6 := append([]byte{0x60}, make([]byte, 39)...)
	sll := append([]byte{0, 0, 0, 1, 0, 6, 2, 3, 4, 5, 6, 7, 0, 0, 8, 0}, v4...)
	sll2 := append([]byte{0x86, 0xdd, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 3, 4, 5, 6, 7, 0, 0}, v6...)
	for _, tt := range []struct {
		link    layers.LinkType
		data    []byte
		ethType uint16
		payload []byte
	}{
		{layers.LinkTypeRaw, v4, typeIPv4, v4},
		{layers.LinkTypeRaw, v6, typeIPv6, v6},
		{layers.LinkTypeIPv6, v6, typeIPv6, v6},
		{linkRawBSD, v4, typeIPv4, v4},
		{layers.LinkTypeNull, append([]byte{30, 0, 0, 0}, v6...), typeIPv6, v6},
		{layers.LinkTypeLinuxSLL, sll, typeIPv4, v4},
		{linkSLL2, sll2, typeIPv6, v6},
		{layers.LinkTypeRaw, nil, 0, nil},
	} {
		var r Reader
		frame, added, err := r.ethernet(tt.link, tt.data)
		if err != nil || binary.BigEndian.Uint16(frame[12:]) != tt.ethType || !bytes.Equal(frame[14:], tt.payload) || len(tt.data)+added != len(frame) {
			t.Errorf("%v: % x, %d, %v", tt.link, frame, added, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(pcap(f, layers.LinkTypeEthernet, frames...))
	f.Add(pcapng(f, layers.LinkTypeLinuxSLL, frames...))
	f.Add(zip(f, pcap(f, layers.LinkTypeRaw, frames...)))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader(bytes.NewReader(file), "-")
		if err != nil {
			t.Fatal(err)
		}
		all, err := readAll(r)
		if err == nil {
			t.Fatal("no end")
		}
		for _, p := range all {
			if p.WireLen < len(p.Frame) || p.Offset < 0 {
				t.Fatalf("%+v", p)
			}
		}
	})
}
