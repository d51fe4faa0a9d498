package machine_test

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/eval"
	"switchbridge/policy/lookup"
	"switchbridge/policy/lookup/lookuptest"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

const groups = `groups:
  lab: [10.0.7.0/24, "2001:db8:7::/64"]
  servers: [10.0.1.1, 10.0.1.2, "2001:db8:1::/64"]
  web: [tcp/80, tcp/443, udp/443]
`

// words decides packets one after the other, and returns what becomes of each.
func words(t *testing.T, p *policy.Policy, packets string) (list []string) {
	t.Helper()
	trial := eval.NewTrial(controller.New(p))
	for _, text := range strings.Split(packets, "\n") {
		ev, err := policytest.Event(text, flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		ev.Time = time.Unix(1000, 0)
		var d flow.Decision
		if err := trial.Decide(context.Background(), ev, &d); err != nil {
			t.Fatal(err)
		}
		list = append(list, d.Word())
	}
	return list
}

// A machine whose conditions name groups, lists and not is what it is with each of them written as a machine would have to without: a packet that
// meets several alternatives is counted once. Compiled it is the same.
func TestGroups(t *testing.T) {
	const text = groups + `chain:
  - machine:
      machines:
        - name: m
          for: {from: lab, to: servers}
          key: network
          start: a
          states:
            a: {rules: [{name: w, match: {service: web}, action: reject}], action: allow}
            b: deny
          transitions:
            - {from: a, to: b, match: {from: [lab, 10.0.7.9], udp_dst: [1000-2000, 1500]}, count: 3, within: 1m}
            - {from: b, to: a, match: {tcp_dst: [7, 9], ip_dst: servers}}
  - forward: {}
`
	p, err := policyfile.Parse(strings.NewReader(text), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	b, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := blob.Unpack(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(compiled.Chain, p.Chain) {
		t.Errorf("compiled and read again it is\n%+v, want\n%+v", compiled.Chain[0], p.Chain[0])
	}
	const packets = `tcp 10.0.7.1:1 > 10.0.1.1:22
tcp 10.0.7.1:1 > 10.0.1.3:443
tcp 10.0.7.1:1 > 10.0.1.2:443
udp [2001:db8:7::1]:1 > [2001:db8:1::5]:443
udp 10.0.7.9:1 > 10.0.1.2:1500
udp 10.0.7.9:1 > 10.0.1.2:1500
udp 10.0.7.9:1 > 10.0.1.2:2001
tcp 10.0.7.1:1 > 10.0.1.1:22
udp 10.0.7.9:1 > 10.0.1.2:1502
tcp 10.0.7.1:1 > 10.0.1.1:22
tcp 10.0.8.1:1 > 10.0.1.1:22
tcp [2001:db8:7::1]:1 > [2001:db8:1::5]:9
tcp 10.0.7.1:1 > 10.0.1.1:22`
	want := strings.Fields("allow allow reject reject allow allow allow allow deny deny allow allow allow")
	for form, p := range map[string]*policy.Policy{"file": p, "compiled": compiled} {
		if got := words(t, p, packets); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", form, got, want)
		}
	}
}

// A host's name in a machine is an error, by itself and in a group: its addresses are part of the machine.
func TestNoNames(t *testing.T) {
	dns := lookuptest.NewDNS(t)
	dns.Set("www.example.org", "203.0.113.1")
	r := policyfile.Reader{Store: lookup.NewStore(t.TempDir(), nil, dns.Resolver(), nil)}
	for match, want := range map[string]string{
		"{from: www.example.org}":               "for: from: www.example.org: its addresses may change",
		"{from: outside}":                       "for: from: outside: its addresses may change",
		"{ip_dst: outside}":                     "for: ip_dst: outside: its addresses may change",
		"{ip_dst: [10.0.0.1, www.example.org]}": "for: ip_dst: www.example.org: its addresses may change",
		"{not: {from: nested}}":                 "for: not: from: nested: its addresses may change",
		"{from: inside}":                        "",
	} {
		path := filepath.Join(t.TempDir(), "p.yaml")
		text := "groups: {outside: [www.example.org, 10.0.0.1], nested: [outside], inside: [10.0.0.1, 10.0.0.2]}\nchain:\n" +
			"  - machine: {machines: [{name: m, for: " + match + ", key: network, start: a, states: {a: allow}}]}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := r.Read(t.Context(), path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), path+":3: machine m: "+want) {
			t.Errorf("%s: %v, want %s", match, err, want)
		}
	}
}
