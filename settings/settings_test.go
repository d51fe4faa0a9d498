package settings

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"switchbridge/flow"
)

const reference = "../configs/reference.yaml"

// The reference shows the defaults, so loading it must change nothing.
func TestReferenceIsTheDefault(t *testing.T) {
	got, err := Load(reference)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	for _, p := range []*Settings{got, want} {
		normalise(reflect.ValueOf(p).Elem())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reference.yaml differs from the defaults (-default +file):\n%s", diff)
	}
}

// The examples in the reference's comments are settings, too: what stands before a list
// that is empty by default is put into it.
func TestReferenceExamples(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	var file, example []string
	inside := false
	for line := range strings.Lines(string(text)) {
		comment, isComment := strings.CutPrefix(strings.TrimLeft(line, " "), "#")
		switch {
		case isComment && strings.HasPrefix(comment, "   - "), inside && strings.HasPrefix(comment, "     "):
			example, inside = append(example, "      "+comment), true
			continue
		case strings.HasSuffix(strings.TrimSpace(line), ": []") && example != nil:
			file = append(file, strings.Replace(line, " []", "", 1))
			file, example = append(file, example...), nil
		default:
			file = append(file, line)
		}
		inside = false
	}
	got, err := Parse(strings.NewReader(strings.NewReplacer(
		`client_ca: ""                 # PEM file`, `client_ca: ca.pem # PEM file`, // which bind needs
		"device=1,", "device=2,", // the short form is about the same switch
	).Replace(strings.Join(file, ""))), "etc/sb.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(file, ""))
	}
	if len(got.OpenFlow.TLS.Bind) != 1 || len(got.OpenFlow.Meters) != 1 || len(got.Routes) != 1 || len(got.P4.Switches) != 2 {
		t.Errorf("examples left out: %d bindings, %d meters, %d routes, %d P4 switches",
			len(got.OpenFlow.TLS.Bind), len(got.OpenFlow.Meters), len(got.Routes), len(got.P4.Switches))
	}
	if f := got.Routes[0].Function.TokenFile; f != "etc/iot.token" {
		t.Errorf("token file %q is not in the file's folder", f)
	}
}

func TestSocketInTheFilesFolder(t *testing.T) {
	s, err := Parse(strings.NewReader(`openflow: {listen: ["unix:sb.sock", "unix:/run/sb.sock", "unix:@sb", "tcp:127.0.0.1:0"]}`), "etc/sb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"etc/sb.sock", "/run/sb.sock", "@sb", "127.0.0.1:0"} {
		if got := s.OpenFlow.Listen[i].Address; got != want {
			t.Errorf("address %q, want %q", got, want)
		}
	}
}

// normalise makes empty slices and maps nil.
func normalise(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			normalise(v.Field(i))
		}
	case reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			v.SetZero()
		}
	}
}

// Each key of the structs stands in the reference.
func TestReferenceHasEveryKey(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	checkKeys(t, "", doc.Content[0], reflect.TypeFor[Settings]())
}

func checkKeys(t *testing.T, path string, n *yaml.Node, typ reflect.Type) {
	have := map[string]*yaml.Node{}
	for i := 0; i < len(n.Content); i += 2 {
		have[n.Content[i].Value] = n.Content[i+1]
	}
	for i := range typ.NumField() {
		key := typ.Field(i).Tag.Get("yaml")
		value, ok := have[key]
		if !ok {
			t.Errorf("key %s%s is not documented", path, key)
			continue
		}
		if ft := typ.Field(i).Type; ft.Kind() == reflect.Struct {
			checkKeys(t, path+key+".", value, ft)
		}
	}
}

func TestBadSettings(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"unknown key", "openflow:\n  listn: []\n", `sb.yaml: line 2: unknown key "listn"`},
		{"unknown key in function", "function:\n  url: x\n", `line 2: unknown key "url"`},
		{"two shadows", "shadow: {policy: a.yaml, function: {urls: [\"https://x\"]}}", "line 1: shadow: has both a policy and a function"},
		{"shadow without URLs", "shadow:\n  function: {}", "shadow.function.urls: embedded: want URLs; name a policy of this process in shadow.policy"},
		{"no scheme", "openflow:\n  listen: [6653]\n", `listen "6653"`},
		{"version", "openflow:\n  versions:\n  - \"1.5\"\n", `line 3: OpenFlow version "1.5"`},
		{"gateway id", "openflow: {gateway_id: 65535}", "openflow.gateway_id: 65535: want 1 to 65534"},
		{"ssl without certificate", `openflow: {listen: ["ssl:127.0.0.1:6653"]}`, "needs openflow.tls.cert"},
		{"meter twice", "openflow: {meters: [{id: 1, rate: 1, unit: pktps}, {id: 1, rate: 1, unit: kbps}]}", "line 1: openflow.meters[1].id: 1 is defined twice"},
		{"miss meter", "openflow: {miss_meter: 3}", "no meter 3"},
		{"duration", "openflow:\n  echo_interval: 5\n", `line 2: "5": want a duration`},
		{"event", "openflow:\n  subscribe: [flow_stats]\n", `line 2: event "flow_stats"`},
		{"handshake", "openflow: {handshake: half}", `handshake "half"`},
		{"fail mode", "fail_mode: {default: open}", `fail mode "open"`},
		{"fail mode switch", "fail_mode: {switches: {xyz: secure}}", "fail_mode.switches"},
		{"dpid pattern", "openflow: {tls: {client_ca: x, bind: [{name: a, dpids: [\"12\"]}]}}", `datapath id pattern "12"`},
		{"url", "function: {urls: [\"ftp://x\"]}", `function.urls[0]: "ftp://x"`},
		{"encoding", "function: {encoding: xml}", "function.encoding"},
		{"cert without key", "function: {cert: c.pem}", "cert and key go together"},
		{"log format", "log: {format: xml}", "log.format"},
		{"admin", "admin: {listen: here}", "admin.listen"},
		{"admin port", `admin: {listen: "127.0.0.1:99999"}`, `admin.listen: address 127.0.0.1:99999: port "99999"`},
		{"listen port", `openflow: {listen: ["tcp:127.0.0.1:99999"]}`, `openflow.listen[0]: address 127.0.0.1:99999: port "99999"`},
		{"nobody to govern", "openflow: {listen: []}", "no switch would be governed"},
		{"no tables", "guardrails: {tables: []}", "guardrails.tables: empty"},
		{"hard timeout", "guardrails: {hard_timeout: -1s}", "guardrails.hard_timeout: -1s: want 1s to 18h12m15s"},
		{"max hard timeout", "guardrails: {max_hard_timeout: 0s}", "guardrails.max_hard_timeout: 0s: want 1s to 18h12m15s"},
		{"long max hard timeout", "guardrails: {max_hard_timeout: 19h}", "guardrails.max_hard_timeout: 19h0m0s: want 1s to"},
		{"hard timeout above the max", "guardrails: {hard_timeout: 2h}", "guardrails.hard_timeout: 2h0m0s is above max_hard_timeout 1h0m0s"},
		{"proactive wide", "guardrails:\n  proactive_wide: maybe", "line 2"},
		{"long hard timeout", "guardrails: {hard_timeout: 19h}", "guardrails.hard_timeout: 19h0m0s: want 1s to"},
		{"queue", "limits: {queue: -1}", "limits.queue: -1"},
		{"octal", "openflow:\n  gateway_id: 010\n", `sb.yaml: line 2: "010": want a whole number in decimal`},
		{"binary", "openflow: {gateway_id: 0b11}", `line 1: "0b11": want a whole number`},
		{"octal in YAML 1.2", "openflow: {gateway_id: 0o7}", `line 1: "0o7": want a whole number`},
		{"underscore", "limits: {queue: 1_0}", `line 1: "1_0": want a whole number`},
		{"a fraction", "limits: {queue: 10.5}", `line 1: "10.5": want a whole number`},
		{"octal meter", "openflow:\n  meters:\n  - {id: 1, rate: 010, unit: pktps}\n", `line 3: "010": want a whole number`},
		{"octal rate", "limits: {per_switch: {rate: 010}}", `line 1: "010": want a number in decimal`},
		{"octal in a list", "guardrails: {tables: [0, 01]}", `line 1: "01": want a whole number`},
		{"octal in a custom mapping", "function: {connections: 010}", `line 1: "010": want a whole number`},
		{"octal P4 ports", "p4: {switches: [{device: 1, address: \"h:1\", ports: [010]}]}", `line 1: "010": want a whole number`},
		{"octal P4 device", "p4: {switches: [{device: 010, address: \"h:1\"}]}", `line 1: "010": want a whole number`},
		{"octal device", "p4: {switches: [\"device=010,addr=h:1\"]}", `device: "010": want a number in decimal`},
		{"octal election", "p4: {switches: [\"device=1,addr=h:1,election=0b1\"]}", `election: "0b1": want a number`},
		{"octal ports", "p4: {switches: [\"device=1,addr=h:1,ports=010\"]}", `ports "010": want numbers from 1`},
		{"vlan limit", "openflow: {vlan_limit: 3}", "openflow.vlan_limit: 3: want 1 to 2"},
		{"no vlan limit", "openflow: {vlan_limit: 0}", "openflow.vlan_limit: 0: want 1 to 2"},
		{"sessions", "openflow: {max_sessions: 0}", "openflow.max_sessions: 0"},
		{"rate", "limits: {per_port: {rate: -5}}", "limits.per_port.rate: -5"},
		{"no rate", "limits: {per_switch: {rate: .nan}}", "limits.per_switch.rate: NaN"},
		{"burst", "limits: {essentials: {rate: 5, burst: -1}}", "limits.essentials.burst: -1"},
		{"connections", "function: {connections: 0}", "function.connections: 0"},
		{"try timeout", "function: {try_timeout: -1s}", "function.try_timeout: -1s"},
		{"connection age", "function: {connection_age: 0s}", "function.connection_age: 0s"},
		{"hedge", "function: {hedge_after: -1ms}", "function.hedge_after: -1ms"},
		{"policy check", "function: {policy_check: -1s}", "function.policy_check: -1s"},
		{"p4 device", "p4: {switches: [\"device=x,addr=h:1\"]}", `device: "x": want a number in decimal`},
		{"p4 rate", "p4: {switches: [\"device=1,addr=h:1,miss_rate=a\"]}", `miss_rate: "a": want a number in decimal`},
		{"p4 entries", "p4: {switches: [\"device=1,addr=h:1,entries=yess\"]}", `entries: "yess" is neither true nor false`},
		{"priorities", "guardrails: {min_priority: 9, max_priority: 3}", "guardrails.min_priority: 9 is above"},
		{"route", "routes: [{name: a, function: {urls: [\"https://x\"], timeout: 0s}}]", `routes[0].function.timeout`},
		{"not yaml", "{", "sb.yaml: "},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(row.text), "sb.yaml")
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("error %v, want one with %q", err, row.want)
			}
		})
	}
}

func TestDPIDPattern(t *testing.T) {
	for _, row := range []struct {
		pattern string
		dpid    flow.DPID
		want    bool
	}{
		{"*", 7, true}, {"0000000000000007", 7, true}, {"0000000000000007", 8, false},
		{"000000000000000*", 8, true}, {"000000000000000*", 0x18, false}, {"00:00:00:00:00:00:00:0A", 10, true},
	} {
		p, err := ParseDPIDPattern(row.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Matches(row.dpid); got != row.want {
			t.Errorf("%s matches %v: %v", row.pattern, row.dpid, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile(reference)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("routes: [{function: {urls: [a]}}]")
	f.Fuzz(func(t *testing.T, text string) { Parse(strings.NewReader(text), "fuzz.yaml") })
}
