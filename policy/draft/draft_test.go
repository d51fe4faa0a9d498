package draft_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"switchbridge/controller"
	"switchbridge/policy"
	"switchbridge/policy/draft"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/replay/capture"
)

// record makes a capture of lines of packets, a second apart.
func record(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		frame, _, err := policytest.Packet(line)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1700000000+int64(i), 0), CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// suggest returns the draft of a capture as text and as a policy, and what it would have denied.
func suggest(t *testing.T, pcap string) (text string, p *policy.Policy, seen *draft.Observed, report *eval.Report) {
	t.Helper()
	open := func() *capture.Reader {
		r, err := capture.NewReader(nil, pcap)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	d, seen, err := draft.Suggest(t.Context(), open())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := d.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	if p, err = policyfile.Parse(bytes.NewReader(out.Bytes()), "draft", "."); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if report, err = eval.EvalPCAP(t.Context(), controller.New(p), open(), eval.Options{}); err != nil {
		t.Fatal(err)
	}
	return out.String(), p, seen, report
}

// talk is a TCP conversation that is answered.
func talk(from, to string) []string {
	return []string{"tcp " + from + " > " + to, "tcp " + to + " > " + from + " flags syn+ack", "tcp " + from + " > " + to + " flags ack"}
}

// A draft allows what was answered, to those who asked, and says why; a scan and a stranger's packet are denied.
func TestSuggest(t *testing.T) {
	var lines []string
	add := func(list ...string) { lines = append(lines, list...) }
	add("arp 10.0.0.1 > 10.0.0.2", "dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3", "eth eth_type 0x88b5")
	for _, host := range []string{"10.0.0.1", "10.0.0.3"} {
		add(talk(host+":40000", "10.0.0.2:22")...)
		add("udp "+host+":40001 > 10.0.0.53:53", "udp 10.0.0.53:53 > "+host+":40001")
	}
	for _, port := range []string{"1", "2", "3", "4"} {
		add("tcp 10.0.0.66:50000 > 10.0.0.2:" + port)
	}
	for i := range 12 {
		add(talk(fmt.Sprintf("10.0.0.4:%d", 41000+i), fmt.Sprintf("192.0.2.%d:443", 1+i%9))...)
	}
	add("icmp 10.0.0.1 > 10.0.0.2 type 8", "icmp 10.0.0.2 > 10.0.0.1 type 0", "udp 10.0.0.1:5353 > 224.0.0.251:5353", "ip 10.0.0.1 > 10.0.0.2 ip_proto 47", "fragment 10.0.0.1 > 10.0.0.2")
	pcap := record(t, lines...)
	text, p, seen, report := suggest(t, pcap)
	if seen.Unanswered != 4 || seen.Incomplete != 1 || seen.Packets != len(lines) {
		t.Errorf("%+v of %d packets", seen, len(lines))
	}
	denied := 0
	for _, f := range report.Flows {
		if f.Verdict == "deny" && !strings.Contains(f.Match, "ip_src=10.0.0.66") {
			denied++
			if f.Headers().Missing() == 0 {
				t.Errorf("%s is denied (%s)", f.Match, f.Reason)
			}
		}
	}
	if denied != 1 {
		t.Errorf("%d flows beside the scan's are denied, want the fragment's alone", denied)
	}
	for _, want := range []string{"# these 2 hosts ask for the same, 2 services\n  like-10-0-0-1: [10.0.0.1, 10.0.0.3]\n", "# 10.0.0.1, 10.0.0.3: these behave alike\n",
		"{name: like-10-0-0-1-tcp-22, match: {ip_src: like-10-0-0-1, ip_dst: 10.0.0.2, tcp_dst: 22}, action: allow, replies: allow} # 2 conversations, 6 packets, the first is 4; of 2 hosts",
		"priority: 50, match: {ip_src: 10.0.0.4, tcp_dst: 443}, action: allow, replies: allow} # 12 conversations", "9 hosts", "priority: 60, match: {ip_src: 10.0.0.4, ip_dst: 10.0.0.0/8, tcp_dst: 443}, action: deny"} {
		if !strings.Contains(text, want) {
			t.Errorf("the draft has no %q:\n%s", want, text)
		}
	}
	c := eval.NewTrial(controller.New(p))
	for _, line := range []string{"tcp 10.0.0.4:1 > 10.0.0.2:22 => deny", "tcp 10.0.0.1:1 > 10.0.0.2:23 => deny", "tcp 10.0.0.4:1 > 10.0.0.9:443 => deny", "tcp 10.0.0.4:1 > 192.0.2.99:443 => allow", "tcp 10.0.0.3:1 > 192.0.2.1:443 => deny", "tcp 10.0.0.1:1 > 10.0.0.2:22 => allow", "tcp 10.0.0.3:1 > 10.0.0.2:22 => allow", "tcp 10.0.0.5:1 > 10.0.0.2:22 => deny"} {
		e, err := policytest.ParseExpectation(line)
		if err != nil {
			t.Fatal(err)
		}
		if got, met, err := c.Try(t.Context(), &e); err != nil || !met {
			t.Errorf("%s: %s, %v", line, got, err)
		}
	}
}

// Hosts that behave alike are in one section, and a device that asks a name server before it speaks to the outside becomes a machine.
func TestSuggestGroupsAndMachines(t *testing.T) {
	var lines []string
	for range 3 {
		for i, host := range []string{"10.0.0.7", "10.0.0.8"} {
			port := fmt.Sprint(40000 + len(lines))
			lines = append(lines, "udp "+host+":"+port+" > 10.0.0.53:53", "udp 10.0.0.53:53 > "+host+":"+port)
			lines = append(lines, talk(host+":"+port, fmt.Sprintf("192.0.2.%d:8883", 1+i))...)
		}
	}
	text, p, _, report := suggest(t, record(t, lines...))
	if report.Denied != 0 {
		t.Errorf("%d flows of the capture are denied:\n%s", report.Denied, text)
	}
	if !strings.Contains(text, "# each of the 3 conversations of 10.0.0.7 with the outside came after a question to a name server") {
		t.Errorf("no machine:\n%s", text)
	}
	trial := eval.NewTrial(controller.New(p))
	for _, line := range []string{"tcp 10.0.0.7:1 > 192.0.2.1:8883 => deny", "udp 10.0.0.7:1 > 10.0.0.53:53 => allow", "tcp 10.0.0.7:1 > 192.0.2.1:8883 => allow", "after 2m, tcp 10.0.0.7:1 > 192.0.2.1:8883 => deny"} {
		e, err := policytest.ParseExpectation(line)
		if err != nil {
			t.Fatal(err)
		}
		if got, met, err := trial.Try(t.Context(), &e); err != nil || !met {
			t.Errorf("%s: %s, %v", line, got, err)
		}
	}
	var same []string
	for _, host := range []string{"10.0.0.7", "10.0.0.8"} {
		same = append(same, talk(host+":40000", "10.0.0.2:22")...)
	}
	same = append(same, talk("[2001:db8::7]:40000", "[2001:db8::2]:22")...)
	same = append(same, talk("[2001:db8::8]:40000", "[2001:db8::2]:22")...)
	if text, _, _, report := suggest(t, record(t, same...)); report.Denied != 0 || !strings.Contains(text, "# 10.0.0.7, 10.0.0.8: these behave alike\n") ||
		!strings.Contains(text, `like-2001-db8--7: ["2001:db8::7", "2001:db8::8"]`) {
		t.Errorf("no groups, or %d flows are denied:\n%s", report.Denied, text)
	}
}

// Of real captures a draft allows nearly all, and of a scan nearly nothing.
func TestSuggestOfCaptures(t *testing.T) {
	dir := os.Getenv("SWITCHBRIDGE_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	for _, row := range []struct {
		pcap        string
		least, most float64 // share of packets that is denied
	}{{"iot-plug.pcap", 0, 0.05}, {"iot-hue-switch.pcap", 0, 0.05}, {"home-web.pcapng", 0, 0.05}, {"synscan.pcapng", 0.9, 1}} {
		path := filepath.Join(dir, row.pcap)
		if _, err := os.Stat(path); err != nil {
			t.Skipf("no capture to read: %v", err)
		}
		text, p, seen, report := suggest(t, path)
		denied := 0
		for _, f := range report.Flows {
			switch {
			case p.Stateful():
				denied += f.PacketsDenied
			case f.Verdict == "deny":
				denied += f.Packets
			}
		}
		share := float64(denied) / float64(report.Packets)
		t.Logf("%s: %d rules, %+v, %d of %d packets would be denied", row.pcap, strings.Count(text, "- {name:"), seen, denied, report.Packets)
		if share < row.least || share > row.most {
			for _, f := range report.Flows {
				if f.Verdict == "deny" {
					t.Logf("denied: %d packets: %s (%s)", f.Packets, f.Match, f.Reason)
				}
			}
			t.Errorf("%s: %.3f of the packets would be denied, want %v to %v", row.pcap, share, row.least, row.most)
		}
	}
}
