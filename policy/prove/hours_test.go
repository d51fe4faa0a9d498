package prove

import (
	"strings"
	"testing"
)

// Hours and flags of TCP are decided exactly: rules that share them out cover what they cover together, and a packet that is found comes when it counts.
func TestHoursAndFlags(t *testing.T) {
	const head = "chain:\n  - header:\n      rules:\n"
	const zone = "time_zone: Europe/Berlin\n"
	const day = "        - {name: day, priority: 300, match: {ip_dst: 10.0.0.9}, days: mon-fri, hours: 08:00-18:00, action: deny}\n"
	const night = "        - {name: night, priority: 300, match: {ip_dst: 10.0.0.9}, days: mon-fri, hours: 18:00-08:00, action: deny}\n"
	const weekend = "        - {name: weekend, priority: 300, match: {ip_dst: 10.0.0.9}, days: sat-mon, action: deny}\n"
	const syn = "        - {name: syn, match: {ip_dst: 10.0.0.9, ip_proto: tcp}, tcp_flags: [syn, no-ack], action: deny}\n"
	const ack = "        - {name: ack, match: {ip_dst: 10.0.0.9, ip_proto: tcp}, tcp_flags: ack, action: deny}\n"
	const neither = "        - {name: neither, match: {ip_dst: 10.0.0.9, ip_proto: tcp}, tcp_flags: [no-syn, no-ack], action: deny}\n"
	for _, tt := range []struct{ name, rules, promise, want string }{
		{"all of the week", day + night + weekend, "never: {to: 10.0.0.9, tcp_dst: 80}", "proved"},
		{"the day alone", day, "never: {to: 10.0.0.9, tcp_dst: 80}", "tcp 10.0.0.1:40000 > 10.0.0.9:80"},
		{"all but some hours", strings.Replace(day, "18:00", "17:59", 1) + night + weekend, "never: {to: 10.0.0.9, tcp_dst: 80}", "at tue 16:59, tcp 10.0.0.1:40000 > 10.0.0.9:80"},
		{"all flags", syn + ack + neither, "never: {to: 10.0.0.9, tcp_dst: 80}", "proved"},
		{"some flags", syn + ack, "never: {to: 10.0.0.9, tcp_dst: 80}", "tcp 10.0.0.1:40000 > 10.0.0.9:80 flags none"},
		{"the first packet alone", syn, "never: {to: 10.0.0.9, tcp_dst: 80}", "tcp 10.0.0.1:40000 > 10.0.0.9:80 flags syn+ack"},
		{"what hours allow", "        - {name: day, priority: 300, match: {ip_dst: 10.0.0.8}, days: wed, hours: 08:00-18:00, action: deny}\n", "always: {to: 10.0.0.8, tcp_dst: 80}", "at wed 07:00, tcp 10.0.0.1:40000 > 10.0.0.8:80"},
	} {
		text := zone + head + tt.rules + "  - forward: {}\npromises:\n  - " + tt.promise + "\n"
		prover, err := New(document(t, text).Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(t, prover, text, 0); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	doc := document(t, head+syn+ack+neither+"        - {name: rest, match: {ip_dst: 10.0.0.9, ip_proto: tcp}, action: allow}\n")
	prover, err := New(doc.Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	never, err := prover.Never()
	if err != nil || len(never) != 1 || never[0].Label != "header: rest" || len(never[0].By) != 3 {
		t.Errorf("%+v, %v: want rest, by the three before it", never, err)
	}
	changes, _, err := Diff(document(t, zone+head+day+"  - forward: {}\n").Policy, document(t, zone+head+strings.Replace(day, "18:00", "19:00", 1)+"  - forward: {}\n").Policy, nil, nil, 0)
	if err != nil || len(changes) == 0 || !strings.Contains(changes[0].Packets, "in the hours mon 18:00-mon 19:00, tue 18:00-tue 19:00") {
		t.Errorf("%+v, %v", changes, err)
	}
	for _, c := range changes {
		if c.Example.Trace[0].Line == "" || !strings.HasPrefix(c.Example.Trace[0].Line, "at ") {
			t.Errorf("%+v", c.Example.Trace)
		}
	}
}
