package mud_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/eval"
	"switchbridge/policy/mud"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/replay/capture"
)

// profile is a MUD file with these entries, in the form of the RFC or of the draft.
func profile(container, from, to string) string {
	list := func(name, entries string) string {
		return `{"name": "` + name + `", "type": "ipv4-acl-type", "aces": {"ace": [` + entries + `]}}`
	}
	policy := func(name string) string { return `{"access-lists": {"access-list": [{"name": "` + name + `"}]}}` }
	return `{"ietf-mud:mud": {"mud-version": 1, "mud-url": "https://maker.example/lamp", "systeminfo": "a lamp", "from-device-policy": ` + policy("from") + `, "to-device-policy": ` + policy("to") + `},
		"ietf-access-control-list:` + container + `": {"acl": [` + list("from", from) + `, ` + list("to", to) + `]}}`
}

func entry(matches, forwarding string) string {
	return `{"name": "e", "matches": {` + matches + `}, "actions": {"forwarding": "` + forwarding + `"}}`
}

var network = mud.Options{
	Device:           netip.MustParseAddr("10.0.0.9"),
	Controllers:      map[string][]netip.Prefix{mud.Gateway: {netip.MustParsePrefix("10.0.0.1/32")}},
	MyController:     []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32")},
	LocalNetworks:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
	SameManufacturer: []netip.Prefix{netip.MustParsePrefix("10.0.0.8/32")},
	Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
		if name == "cloud.example" {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}, nil
		}
		return nil, nil
	},
}

// draft makes the policy of a profile, by way of its text.
func draft(t *testing.T, text string, o mud.Options) (*policy.Policy, string, []string) {
	t.Helper()
	p, err := mud.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	d, notes, err := p.Policy(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := d.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	made, err := policyfile.Parse(bytes.NewReader(out.Bytes()), "draft", ".")
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return made, out.String(), notes
}

// Each way in which a profile names hosts and packets lets these pass and no others, in both forms of the file.
func TestProfiles(t *testing.T) {
	for _, row := range []struct {
		name, from, to string
		allow, deny    []string
	}{
		{"a name", entry(`"ipv4": {"protocol": 6, "ietf-acldns:dst-dnsname": "cloud.example"}, "tcp": {"destination-port": {"operator": "eq", "port": 443}, "ietf-mud:direction-initiated": "from-device"}`, "accept"),
			entry(`"ipv4": {"protocol": 6, "ietf-acldns:src-dnsname": "cloud.example"}, "tcp": {"source-port": {"operator": "eq", "port": 443}}`, "accept"),
			[]string{"tcp 10.0.0.9:40000 > 192.0.2.1:443", "tcp 10.0.0.9:40000 > 192.0.2.2:443", "arp 10.0.0.9 > 10.0.0.1"},
			[]string{"tcp 10.0.0.9:40000 > 192.0.2.3:443", "tcp 10.0.0.9:40000 > 192.0.2.1:80", "udp 10.0.0.9:40000 > 192.0.2.1:443", "tcp 10.0.0.7:40000 > 192.0.2.1:443"}},
		{"a controller, both ways", entry(`"ietf-mud:mud": {"controller": "urn:ietf:params:mud:gateway"}, "ipv4": {"protocol": 17}, "udp": {"destination-port": {"operator": "eq", "port": 123}}`, "accept"),
			entry(`"ietf-mud:mud": {"controller": "urn:ietf:params:mud:gateway"}, "ipv4": {"protocol": 17}, "udp": {"source-port": {"operator": "eq", "port": 123}}`, "accept"),
			[]string{"udp 10.0.0.9:123 > 10.0.0.1:123", "udp 10.0.0.1:123 > 10.0.0.9:5"}, []string{"udp 10.0.0.9:123 > 10.0.0.2:123", "udp 10.0.0.2:123 > 10.0.0.9:5"}},
		{"my-controller, local-networks, same-manufacturer", entry(`"ietf-mud:mud": {"my-controller": [null]}`, "accept") + "," + entry(`"ietf-mud:mud": {"local-networks": [null]}, "tcp": {"destination-port": {"lower-port": 80, "upper-port": 81}}`, "accept"),
			entry(`"ietf-mud:mud": {"same-manufacturer": [null]}, "udp": {"destination-port": {"operator": "gte", "port": 5000}}`, "accept"),
			[]string{"udp 10.0.0.9:1 > 10.0.0.5:1", "tcp 10.0.0.9:1 > 10.0.0.77:81", "udp 10.0.0.8:1 > 10.0.0.9:5001"},
			[]string{"udp 10.0.0.9:1 > 10.0.0.6:1", "tcp 10.0.0.9:1 > 10.0.0.77:82", "tcp 10.0.0.9:1 > 192.0.2.9:81", "udp 10.0.0.8:1 > 10.0.0.9:4999", "udp 10.0.0.7:1 > 10.0.0.9:5001"}},
		{"a network, and what is dropped of it", entry(`"ipv4": {"destination-ipv4-network": "192.0.2.128/25"}`, "drop") + "," + entry(`"ipv4": {"destination-ipv4-network": "192.0.2.0/24"}`, "accept"), "",
			[]string{"udp 10.0.0.9:1 > 192.0.2.1:1"}, []string{"udp 10.0.0.9:1 > 192.0.2.200:1"}},
		{"ICMP and an EtherType", entry(`"ipv4": {"destination-ipv4-network": "192.0.2.0/24"}, "icmp": {"type": 8, "code": 0}`, "accept"), entry(`"eth": {"ethertype": "0x888e"}`, "accept"),
			[]string{"icmp 10.0.0.9 > 192.0.2.1 type 8", "eth eth_type 0x888e"}, []string{"icmp 10.0.0.9 > 192.0.2.1 type 13", "eth eth_type 0x88b5"}},
	} {
		for _, container := range []string{"acls", "access-lists"} {
			made, text, notes := draft(t, profile(container, row.from, row.to), network)
			if len(notes) > 0 {
				t.Errorf("%s: left out: %q", row.name, notes)
			}
			c := controller.New(made)
			for want, list := range map[flow.Verdict][]string{flow.Allow: row.allow, flow.Deny: row.deny} {
				for _, line := range list {
					ev, err := policytest.Event(line, flow.OpenFlow13)
					if err != nil {
						t.Fatal(err)
					}
					var d flow.Decision
					if err := c.Decide(t.Context(), ev, &d); err != nil || d.Verdict != want {
						t.Errorf("%s (%s): %s: %s, want %v\n%s", row.name, container, line, policytest.Sum(&d), want, text)
					}
				}
			}
		}
	}
}

// The answers to what the device alone may begin are replies, and nothing else of that host gets in.
func TestAnswersAreReplies(t *testing.T) {
	made, text, _ := draft(t, profile("acls",
		entry(`"ipv4": {"ietf-acldns:dst-dnsname": "cloud.example"}, "tcp": {"destination-port": {"operator": "eq", "port": 443}, "ietf-mud:direction-initiated": "from-device"}`, "accept"),
		entry(`"ipv4": {"ietf-acldns:src-dnsname": "cloud.example"}, "tcp": {"source-port": {"operator": "eq", "port": 443}}`, "accept")), network)
	ev, err := policytest.Event("tcp 192.0.2.1:443 > 10.0.0.9:40000", flow.OpenFlow13)
	if err != nil {
		t.Fatal(err)
	}
	var d flow.Decision
	if err := controller.New(made).Decide(t.Context(), ev, &d); err != nil || d.Verdict != flow.Deny || d.IfReply == nil {
		t.Errorf("%s\n%s", policytest.Sum(&d), text)
	}
}

// What a policy can't say, or nobody has said, is never allowed.
func TestNotAllowed(t *testing.T) {
	for _, row := range []struct{ name, entry, want string }{
		{"a condition that is not known", entry(`"ipv4": {"ttl": 3}`, "accept"), "ttl"},
		{"another container", entry(`"vendor:thing": {}`, "accept"), "vendor:thing"},
		{"neither accept nor drop", entry(`"ipv4": {}`, "log"), `forwarding "log"`},
		{"neq", entry(`"udp": {"source-port": {"operator": "neq", "port": 5}}`, "accept"), `operator "neq"`},
		{"two protocols", entry(`"ipv4": {"protocol": 6}, "udp": {}`, "accept"), "protocol tcp, and udp"},
		{"the device by a name", entry(`"ipv4": {"ietf-acldns:src-dnsname": "me.example"}`, "accept"), "names the device's side"},
		{"two names for one side", entry(`"ipv4": {"ietf-acldns:dst-dnsname": "cloud.example"}, "ietf-mud:mud": {"my-controller": [null]}`, "accept"), "in several ways"},
		{"the other direction", entry(`"tcp": {"ietf-mud:direction-initiated": "to-device"}`, "accept"), "direction-initiated to-device"},
		{"ports from high to low", entry(`"tcp": {"source-port": {"lower-port": 9, "upper-port": 3}}`, "accept"), "ports 9 to 3"},
	} {
		p, err := mud.Parse(strings.NewReader(profile("acls", row.entry, "")))
		if err == nil {
			_, _, err = p.Policy(t.Context(), network)
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), `"from"`) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	_, text, notes := draft(t, profile("acls", entry(`"ipv4": {"ietf-acldns:dst-dnsname": "unknown.example"}`, "accept")+","+entry(`"ietf-mud:mud": {"controller": "https://x.example"}`, "accept"), ""), network)
	if len(notes) != 2 || !strings.Contains(notes[0], "unknown.example") || !strings.Contains(notes[1], "https://x.example") || strings.Contains(text, "name: e") {
		t.Errorf("notes %q\n%s", notes, text)
	}
	for text, want := range map[string]string{
		"":                                 "the JSON ends too early",
		"{}":                               "it is no MUD file",
		`{"ietf-mud:mud": {}}`:             "no member ietf-access-control-list:acls",
		"{\n\"ietf-mud:mud\": {,}}":        "line 2: no JSON: invalid character ','",
		`{"ietf-mud:mud": {"mud-url": 3}}`: "line 1: ietf-mud:mud.mud-url can't be a number",
		profile("acls", "3", ""):           `access list "from", entry 1: it can't be a number`,
		profile("acls", entry(`"ipv4": {"ttl": 3}`, "accept"), ""):                     `unknown member "ttl": what it asks of packets would be left out`,
		strings.Replace(profile("acls", "", ""), `"name": "to"`, `"name": "other"`, 1): `access list "other" is not in the file`,
	} {
		if p, err := mud.Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %+v, %v, want %s", text, p, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(profile("acls", entry(`"ipv4": {"protocol": 6}`, "accept"), "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) {
			return
		}
		p, err := mud.Parse(bytes.NewReader(b))
		if err != nil {
			return
		}
		if d, _, err := p.Policy(t.Context(), network); err == nil {
			var out bytes.Buffer
			d.WriteTo(&out)
			if _, err := policyfile.Parse(bytes.NewReader(out.Bytes()), "draft", "."); err != nil {
				t.Errorf("%v\n%s", err, out.String())
			}
		}
	})
}

// Nothing that a profile says can get out of the comment that it stands in.
func TestTextsAreComments(t *testing.T) {
	const install = "install: mac-pair"
	for _, end := range []string{"\n", "\r", "\r\n", "\u0085", "\u2028", "\u2029"} {
		encoded, err := json.Marshal("a lamp" + end + install + end + "#")
		if err != nil {
			t.Fatal(err)
		}
		text := string(encoded)
		dns := `"ipv4": {"protocol": 6, "ietf-acldns:dst-dnsname": ` + text + `}`
		file := strings.Replace(profile("acls", entry(dns, "accept"), entry(`"ipv4": {"protocol": 6}`, "accept")), `"a lamp"`, text, 1)
		file = strings.Replace(file, `"https://maker.example/lamp"`, text, 1)
		for _, addrs := range [][]netip.Addr{nil, {netip.MustParseAddr("192.0.2.1")}} {
			o := network
			o.Lookup = func(context.Context, string) ([]netip.Addr, error) { return addrs, nil }
			made, text, notes := draft(t, file, o)
			if made.Install.Rule != policy.DefaultInstall.Rule || strings.Count(text, install) < 3 {
				t.Errorf("ends of lines as %q: the policy installs %v\n%s", end, made.Install.Rule, text)
			}
			for _, note := range notes {
				if strings.Contains(note, end) {
					t.Errorf("a note of several lines: %q", note)
				}
			}
		}
	}
}

// dataFile returns a file of the captures beside the checkout.
func dataFile(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("SWITCHBRIDGE_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no capture to read: %v", err)
	}
	return path
}

// A published profile and a capture of the same device agree: with the names that the capture resolves, every conversation that begins in it is allowed. Of
// two that had begun before it shows what two servers still send, and that the device resets them.
func TestProfileAndCaptureAgree(t *testing.T) {
	pcap := dataFile(t, "iot-plug.pcap")
	text, err := os.ReadFile(dataFile(t, "iot-plug.mud.json"))
	if err != nil {
		t.Fatal(err)
	}
	open := func() *capture.Reader {
		r, err := capture.NewReader(nil, pcap)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	names, err := capture.Names(open())
	if err != nil {
		t.Fatal(err)
	}
	router := []netip.Prefix{netip.MustParsePrefix("10.42.0.1/32")}
	device := netip.MustParseAddr("10.42.0.205")
	made, _, notes := draft(t, string(text), mud.Options{Device: device, DNS: router, Controllers: map[string][]netip.Prefix{mud.Gateway: router},
		Lookup: func(_ context.Context, name string) ([]netip.Addr, error) { return names[name], nil }})
	report, err := eval.EvalPCAP(t.Context(), controller.New(made), open(), eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	earlier := map[string]bool{"54.170.92.104": true, "54.169.114.238": true}
	allowed := 0
	for _, f := range report.Flows {
		h := f.Headers()
		own := h.Has(flow.FieldIPSrc) && (h.IPSrc.Addr() == device || h.IPDst.Addr() == device)
		if !own || h.IPProto != flow.ProtoTCP && h.IPProto != flow.ProtoUDP {
			continue
		}
		switch before := earlier[h.IPSrc.Addr().String()] || earlier[h.IPDst.Addr().String()]; {
		case f.Verdict == "allow":
			allowed++
		case !before:
			t.Errorf("%s is %s (%s)", f.Match, f.Verdict, f.Reason)
		}
	}
	t.Logf("%d flows of the device are allowed; left out: %q", allowed, notes)
	if allowed < 20 {
		t.Errorf("%d flows of the device are allowed", allowed)
	}
}
