package capture_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/policy/policytest"
	"switchbridge/replay/capture"
)

// A record of a decision comes back as a packet with the headers that it has, whatever it is of; what is no record of a packet is passed over,
// and what can't be read is counted.
func TestRecords(t *testing.T) {
	packets := []string{
		"tcp 10.0.0.1:40000 > 10.0.0.2:22 port 3 vlan 7 flags fin+ack", "udp [2001:db8::1]:5353 > [ff02::fb]:5353", "icmp 10.0.0.1 > 10.0.0.2 type 8",
		"arp 10.0.0.1 > 10.0.0.2", "nd 2001:db8::1 > 2001:db8::2", "lldp", "ip 10.0.0.1 > 10.0.0.2 ip_proto 47", "eth eth_type 0x88b5", "fragment 10.0.0.1 > 10.0.0.2",
		"tcp 10.0.0.1:40000 > 10.0.0.2:22 ip_dscp 46",
	}
	var text strings.Builder
	var wants []flow.Match
	for i, line := range packets {
		ev, err := policytest.Event(line, flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		wants = append(wants, ev.PacketIn.Match)
		flags := ""
		if i == 0 {
			flags = `"tcp_flags":"fin+ack",`
		}
		text.WriteString(`{"time":"2026-01-02T03:04:0` + string(rune('0'+i%10)) + `Z","level":"INFO","msg":"decision","dpid":"00000000000000ab","decision":` + string(rune('1'+i%9)) +
			`,"event":"switchbridge.packet_in.v1","match":"` + ev.PacketIn.Match.String() + `",` + flags + `"verdict":"deny","reason":"header: no","rules":1,"policy":"7-00000001"}` + "\n")
	}
	text.WriteString(`{"time":"2026-01-02T03:04:10Z","msg":"decision","dpid":"00000000000000ab","event":"switchbridge.switch_connected.v1"}
{"time":"2026-01-02T03:04:10Z","msg":"reloaded"}
{"time":"2026-01-02T03:04:10Z","msg":"decision","dpid":"00000000000000ab","event":"switchbridge.packet_in.v1","match":"nonsense=1"}
{"time":"2026-01-02T03:`)
	path := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := capture.NewReader(nil, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, want := range wants {
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := flow.ParseFrame(p.Frame, p.InPort); got != want {
			t.Errorf("%s: %v, want %v", packets[i], got, want)
		}
		if d := p.Decided; d.DPID != 0xab || d.Verdict != flow.Deny || d.Reason != "header: no" || d.Policy != "7-00000001" || p.Number != i+1 || p.Offset != time.Duration(i)*time.Second {
			t.Errorf("%s: %+v, number %d, offset %v", packets[i], d, p.Number, p.Offset)
		}
		if i == 0 {
			pi := flow.PacketIn{Match: want, Data: p.Frame}
			if flags, ok := pi.ReadTCPFlags(); !ok || flags != flow.FIN|flow.ACK {
				t.Errorf("flags %v, %v", flags, ok)
			}
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) || r.Bad != 2 {
		t.Errorf("%v, %d bad lines", err, r.Bad)
	}
}

// A line of any length takes no more memory than the bound.
func TestLongRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(path, []byte(`{"msg":"`+strings.Repeat("x", 2<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := capture.NewReader(nil, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "line 1 has more than 1048576 bytes") {
		t.Errorf("%v", err)
	}
}

// The answers of name servers say who names are: those of a chain, too, and of both families.
func TestNames(t *testing.T) {
	dir := os.Getenv("SWITCHBRIDGE_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	path := filepath.Join(dir, "iot-plug.pcap")
	r, err := capture.NewReader(nil, path)
	if err != nil {
		t.Skipf("no capture to read: %v", err)
	}
	defer r.Close()
	names, err := capture.Names(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pool.ntp.org", "security.iot.i.tplinknbu.com", "euw1-device-cloudgateway.iot.i.tplinknbu.com", "n-euw1-device-api.tplinkcloud.com", "aps1-openapi.i.tplinknbu.com"} {
		if len(names[name]) == 0 {
			t.Errorf("%s has no address; there are %v", name, names)
		}
	}
}
