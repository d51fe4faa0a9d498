package prove

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"switchbridge/controller"
	"switchbridge/policy/eval"
	"switchbridge/policy/policytest"
)

const watched = `
chain:
  - header: {rules: [{name: no-telnet, match: {tcp_dst: 23}, action: deny}]}
  - machine:
      machines:
        - name: door
          for: {ip_dst: 10.0.0.9}
          key: network
          start: shut
          states: {shut: deny, open: next}
          transitions:
            - {from: shut, to: open, match: {udp_dst: 9}}
            - {from: open, to: shut, after: 10s}
  - header: {rules: [{name: camera, match: {ip_dst: 10.0.0.9}, action: allow}, {name: ssh, match: {ip_dst: 10.0.0.9, tcp_dst: 23}, action: allow}]}
  - forward: {}
promises:
  - never: {to: 10.0.0.9, tcp_dst: 23}
  - always: {to: 10.0.0.8, tcp_dst: 80}
  - never: {to: 10.0.0.9, tcp_dst: 80}
  - never: {to: 10.0.0.8/31, tcp_dst: 80}
  - never: {to: 10.0.0.9}
    unless: {machine: door, state: open}
`

// outcome is what is said of a promise: proved, undecided, or the trace that breaks it.
func outcome(t *testing.T, prover *Prover, text string, i int) string {
	t.Helper()
	doc := document(t, text)
	c, err := prover.Keeps(&doc.Promises[i])
	switch {
	case err != nil:
		return err.Error()
	case c == nil:
		return "proved"
	}
	// The trace is written as expectations are, and meets them.
	trial := eval.NewTrial(controller.New(doc.Policy))
	var lines []string
	for _, m := range c.Trace {
		lines = append(lines, m.Line)
		e := policytest.Expectation{Packet: m.Line, Want: m.Got}
		if got, met, err := trial.Try(t.Context(), &e); err != nil || !met {
			t.Errorf("%s: %s, want %s (%v)", m.Line, got, m.Got, err)
		}
	}
	if !c.Fewest {
		lines = append(lines, "or fewer")
	}
	return strings.Join(lines, "; ")
}

// What an entry decides by its states is proved over all of them, or a trace leads to the packet.
func TestStatesAreDecided(t *testing.T) {
	doc := document(t, watched)
	prover, err := New(doc.Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	never, err := prover.Never()
	if err != nil || len(never) != 1 || never[0].Label != "header: ssh" {
		t.Errorf("%+v, %v: want the rule ssh alone", never, err)
	}
	for i, want := range []string{"proved", "proved",
		"udp 10.0.0.1:40000 > 10.0.0.9:9; tcp 10.0.0.1:40000 > 10.0.0.9:80", "tcp 10.0.0.1:40000 > 10.0.0.8:80", "proved"} {
		if got := outcome(t, prover, watched, i); got != want {
			t.Errorf("%s: %s, want %s", doc.Promises[i].Text, got, want)
		}
	}
	if changes, open, err := Diff(doc.Policy, doc.Policy, nil, nil, 0); err != nil || len(changes) > 0 || len(open) > 0 {
		t.Error(changes, open, err)
	}
}

// machineOf is a policy with one machine and one promise.
func machinePolicy(machines, promise string) string {
	return "chain:\n  - machine:\n      machines:\n" + machines + "  - forward: {}\npromises:\n  - " + promise + "\n"
}

const sensorAndCamera = `
        - name: sensor
          for: {ip_src: 10.0.0.5}
          key: network
          start: quiet
          states: {quiet: allow, motion: allow}
          transitions:
            - {from: any, to: motion, match: {udp_dst: 5683}}
            - {from: motion, to: quiet, after: 10s}
        - name: camera
          for: {ip_src: 10.0.0.6}
          key: network
          start: "on"
          states:
            "on":
              rules:
                - {name: stream, match: {udp_dst: 5004}, when: {sensor: motion}, action: allow}
              action: deny
`

const quietCamera = "never: {from: 10.0.0.6}\n    unless: {machine: sensor, state: motion}"

// A machine that is changed as a person may change it by mistake breaks what it kept.
func TestMutantsOfMachines(t *testing.T) {
	const port = "udp 10.0.0.6:40000 > 10.0.0.2:5004"
	for _, tt := range []struct{ name, old, new, want string }{
		{"as it is", "", "", "proved"},
		{"without the condition", ", when: {sensor: motion}", "", port},
		{"another state", "when: {sensor: motion}", "when: {sensor: quiet}", port},
		{"both states", "when: {sensor: motion}", "when: {sensor: [quiet, motion]}", port},
		{"a wider mask", "for: {ip_src: 10.0.0.6}", "for: {ip_src: 10.0.0.7}", "10.0.0.6"},
		{"the action", "action: deny\n", "action: allow\n", "10.0.0.6"},
	} {
		text := machinePolicy(strings.Replace(sensorAndCamera, tt.old, tt.new, 1), quietCamera)
		prover, err := New(document(t, text).Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(t, prover, text, 0); got != tt.want && (tt.want == "proved" || !strings.Contains(got, tt.want)) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestTraces(t *testing.T) {
	knock := func(more string) string {
		return `
        - name: door
          for: {ip_dst: 10.0.0.9}
          key: src
          forget: never
          start: shut
          states: {shut: deny, half: deny, open: allow}
          transitions:
` + more
	}
	for _, tt := range []struct{ name, machines, promise, want string }{
		{"two knocks", knock(`
            - {from: shut, to: half, match: {udp_dst: 1}}
            - {from: half, to: open, match: {udp_dst: 2}}
`), "never: {to: 10.0.0.9, tcp_dst: 22}",
			"udp 10.0.0.1:40000 > 10.0.0.9:1; udp 10.0.0.1:40000 > 10.0.0.9:2; tcp 10.0.0.1:40000 > 10.0.0.9:22"},
		{"somebody else's knocks don't open", knock(`
            - {from: shut, to: half, match: {udp_dst: 1}}
            - {from: half, to: open, match: {ip_src: 10.0.0.4, udp_dst: 2}}
`), "never: {from: 10.0.0.1, to: 10.0.0.9}", "proved"},
		{"time alone", knock(`
            - {from: shut, to: half, match: {udp_dst: 1}}
            - {from: half, to: open, after: 90s}
`), "never: {to: 10.0.0.9, tcp_dst: 22}",
			"udp 10.0.0.1:40000 > 10.0.0.9:1; after 1m30s, tcp 10.0.0.1:40000 > 10.0.0.9:22"},
		{"a timeout that is always in the way", knock(`
            - {from: shut, to: half, match: {udp_dst: 1}, count: 3, within: 10s}
            - {from: half, to: shut, after: 5s}
            - {from: half, to: open, match: {udp_dst: 2}, count: 2, within: 4s}
`), "never: {to: 10.0.0.9, tcp_dst: 22}",
			"udp 10.0.0.1:40000 > 10.0.0.9:1; udp 10.0.0.1:40000 > 10.0.0.9:1; udp 10.0.0.1:40000 > 10.0.0.9:1; udp 10.0.0.1:40000 > 10.0.0.9:2; udp 10.0.0.1:40000 > 10.0.0.9:2; tcp 10.0.0.1:40000 > 10.0.0.9:22"},
		{"different ports, of which there are enough", knock(`
            - {from: shut, to: open, match: {udp_dst: 1-3}, count: 3, distinct: udp_dst, within: 10s}
`), "never: {to: 10.0.0.9, tcp_dst: 22}",
			"udp 10.0.0.1:40000 > 10.0.0.9:1; udp 10.0.0.1:40000 > 10.0.0.9:2; udp 10.0.0.1:40000 > 10.0.0.9:3; tcp 10.0.0.1:40000 > 10.0.0.9:22"},
		{"different ports, of which there are too few", knock(`
            - {from: shut, to: open, match: {udp_dst: 1-3}, count: 4, distinct: udp_dst, within: 10s}
`), "never: {to: 10.0.0.9, tcp_dst: 22}", "proved"},
		{"flags", knock(`
            - {from: shut, to: open, match: {tcp_dst: 1}, tcp_flags: [fin, no-syn, no-ack]}
`), "never: {to: 10.0.0.9, tcp_dst: 22}",
			"tcp 10.0.0.1:40000 > 10.0.0.9:1 flags fin; tcp 10.0.0.1:40000 > 10.0.0.9:22"},
		{"forgotten", `
        - name: guard
          for: {ip_src: 10.0.0.7}
          key: src
          forget: 1h
          start: good
          states: {good: allow, bad: deny}
          transitions:
            - {from: good, to: bad, match: {udp_dst: 1}}
`, "never: {from: 10.0.0.7, tcp_dst: 22}\n    unless: {machine: guard, state: good}", "proved"},
		{"a port that goes down", `
        - name: socket
          key: port
          start: "off"
          states: {"off": deny, "on": allow}
          transitions:
            - {from: "off", to: "on", port: down}
`, "never: {tcp_dst: 22}", "event port 1 down; tcp 10.0.0.1:40000 > 10.0.0.2:22"},
		{"a rule that goes", `
        - name: socket
          key: network
          start: "off"
          states: {"off": deny, "on": allow}
          transitions:
            - {from: "off", to: "on", rule_removed: hard}
`, "never: {tcp_dst: 22}", "event removed hard tcp 10.0.0.1:40000 > 10.0.0.2:80; tcp 10.0.0.1:40000 > 10.0.0.2:22"},
		{"any host's state", `
        - name: alarm
          for: {ip_dst: 10.0.0.9}
          key: network
          start: quiet
          states: {quiet: deny, loud: allow}
          transitions:
            - {from: quiet, to: loud, match: {}, when: {scan: bad}}
        - name: scan
          key: src
          forget: never
          start: good
          states: {good: next, bad: deny}
          transitions:
            - {from: good, to: bad, match: {ip_dst: 10.0.0.8, udp_dst: 1}}
`, "never: {to: 10.0.0.9, tcp_dst: 22}",
			"udp 10.0.0.1:40000 > 10.0.0.8:1; tcp 10.0.0.1:40000 > 10.0.0.9:22"},
		{"any host's state, which no host is in", `
        - name: alarm
          for: {ip_dst: 10.0.0.9}
          key: network
          start: quiet
          states: {quiet: deny, loud: allow}
          transitions:
            - {from: quiet, to: loud, match: {}, when: {scan: bad}}
        - name: scan
          key: src
          forget: never
          start: good
          states: {good: next, bad: deny}
`, "never: {to: 10.0.0.9, tcp_dst: 22}", "proved"},
		{"any two hosts' states", `
        - name: alarm
          for: {ip_dst: 10.0.0.9}
          key: network
          start: quiet
          states: {quiet: deny, half: deny, loud: allow}
          transitions:
            - {from: quiet, to: half, match: {ip_src: 10.0.0.1}, when: {scan: bad}}
            - {from: half, to: loud, match: {ip_src: 10.0.0.2}, when: {scan: bad}}
        - name: scan
          key: src
          forget: never
          start: good
          states: {good: next, bad: deny}
          transitions:
            - {from: good, to: bad, match: {ip_dst: 10.0.0.8, udp_dst: 1}}
`, "never: {from: 10.0.0.3, to: 10.0.0.9, tcp_dst: 22}",
			"udp 10.0.0.1:40000 > 10.0.0.8:1; tcp 10.0.0.1:40000 > 10.0.0.9:80; udp 10.0.0.2:40000 > 10.0.0.8:1; tcp 10.0.0.2:40000 > 10.0.0.9:80; tcp 10.0.0.3:40000 > 10.0.0.9:22"},
		{"two hosts' states, of which one is no other's", `
        - name: alarm
          for: {ip_dst: 10.0.0.9}
          key: network
          start: quiet
          states: {quiet: deny, half: deny, loud: allow}
          transitions:
            - {from: quiet, to: half, match: {ip_src: 10.0.0.1}, when: {scan: bad}}
            - {from: half, to: loud, match: {ip_src: 10.0.0.2}, when: {scan: good}}
        - name: scan
          key: src
          forget: never
          start: good
          states: {good: next, bad: deny}
          transitions:
            - {from: good, to: bad, match: {ip_dst: 10.0.0.8, udp_dst: 1}}
`, "never: {from: 10.0.0.3, to: 10.0.0.9, tcp_dst: 22}",
			"udp 10.0.0.1:40000 > 10.0.0.8:1; tcp 10.0.0.1:40000 > 10.0.0.9:80; tcp 10.0.0.2:40000 > 10.0.0.9:80; tcp 10.0.0.3:40000 > 10.0.0.9:22"},
		{"quoted packets", knock(`
            - {from: shut, to: open, quotes: {udp_dst: 1}}
`), "never: {to: 10.0.0.9, tcp_dst: 22}",
			"icmp 10.0.0.1 > 10.0.0.9 icmp_type 3 quotes udp 10.0.0.9:40000 > 10.0.0.2:1; tcp 10.0.0.1:40000 > 10.0.0.9:22"},
		{"quoted packets of a family that the error is not of", knock(`
            - {from: shut, to: open, quotes: {ip_dst: "2001:db8::1"}}
`), "never: {to: 10.0.0.9, tcp_dst: 22}", "proved"},
		{"quoted packets of another source than the error's destination", knock(`
            - {from: shut, to: open, quotes: {ip_src: 10.0.0.8}}
`), "never: {to: 10.0.0.9, tcp_dst: 22}", "proved"},
		{"quoted packets that none is", knock(`
            - {from: shut, to: half, quotes: {udp_dst: 1-9}}
            - {from: half, to: open, quotes: {ip_proto: icmp, icmp_type: 3}}
`), "never: {to: 10.0.0.9, tcp_dst: 22}", "proved"},
		{"different packets that are quoted", knock(`
            - {from: shut, to: shut, quotes: {udp_dst: 1-65535}}
            - {from: shut, to: open, match: {icmp_type: 3}}
`), "never: {to: 10.0.0.9, tcp_dst: 22}",
			"icmp 10.0.0.1 > 10.0.0.9 icmp_type 3 quotes tcp 10.0.0.9:40000 > 10.0.0.2:80; tcp 10.0.0.1:40000 > 10.0.0.9:22"},
		{"what can't be read", strings.Replace(knock(`
            - {from: shut, to: open, quotes: {udp_dst: 1}}
`), "{shut: deny,", "{shut: allow,", 1), "always: {to: 10.0.0.9, icmp_type: 3}\n    unless: {machine: door, state: [half, open]}", "icmp 10.0.0.1 > 10.0.0.9 icmp_type 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := machinePolicy(tt.machines, tt.promise)
			prover, err := New(document(t, text).Policy, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(t, prover, text, 0); got != tt.want {
				t.Errorf("%s\n got %s\nwant %s", tt.promise, got, tt.want)
			}
		})
	}
}

// States that a machine never comes to are found, whatever its key, and those are not that it comes to.
func TestUnreachableStates(t *testing.T) {
	for _, tt := range []struct{ name, transitions, want string }{
		{"all are reached", "            - {from: a, to: b, match: {udp_dst: 1}}\n            - {from: b, to: c, after: 1s}\n", ""},
		{"no transition leads there", "            - {from: a, to: b, match: {udp_dst: 1}}\n            - {from: c, to: b, match: {udp_dst: 2}}\n", "c"},
		{"the packet is another machine's", "            - {from: a, to: b, match: {ip_src: 10.0.0.7}}\n            - {from: b, to: c, match: {udp_dst: 1}}\n", "b c"},
		{"the time is over before", "            - {from: a, to: b, match: {udp_dst: 1}}\n            - {from: b, to: a, after: 1s}\n            - {from: b, to: c, match: {udp_dst: 2-4}, count: 4, distinct: udp_dst, within: 1h}\n", "c"},
		{"no host is two", "            - {from: a, to: b, match: {ip_src: 10.0.0.1}}\n            - {from: b, to: c, match: {ip_src: 10.0.0.2}}\n", "c"},
		{"another machine's state that is none", "            - {from: a, to: b, match: {}, when: {other: never}}\n            - {from: a, to: c, match: {}, when: {other: always}}\n", "b"},
	} {
		text := machinePolicy(`
        - name: other
          for: {ip_src: 10.0.0.7}
          key: network
          start: always
          states: {always: next, never: next}
          transitions: [{from: never, to: never, match: {}}]
        - name: m
          key: src
          forget: never
          start: a
          states: {a: next, b: next, c: next}
          transitions:
`+tt.transitions, "never: {from: 10.0.0.1}")
		prover, err := New(document(t, text).Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		list, err := prover.Unreachable()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, u := range list {
			if u.Machine == "m" {
				names = append(names, u.State)
			}
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if !slices.ContainsFunc(list, func(u Unreachable) bool {
			return u.State == "never" && u.Text() == "machine other never comes to its state never"
		}) {
			t.Errorf("%s: %+v lacks the other machine's", tt.name, list)
		}
	}
}

// What machines decide is compared state by state, where the same packets move them in both policies.
func TestDiffOfMachines(t *testing.T) {
	for _, tt := range []struct {
		name, old, new string
		changes        []string
		open           string
	}{
		{"the same", "", "", nil, ""},
		{"an entry of a state", "{name: stream, match: {udp_dst: 5004}", "{name: stream, match: {udp_dst: 5005}", []string{
			"ip_src 10.0.0.6, udp_dst 5004, while camera is in on, while sensor is in motion: was allow output:NORMAL by machine: camera in on: stream, is deny by machine: camera in on, such as udp 10.0.0.5:40000 > 10.0.0.2:5683; udp 10.0.0.6:40000 > 10.0.0.2:5004",
			"ip_src 10.0.0.6, udp_dst 5005, while camera is in on, while sensor is in motion: was deny by machine: camera in on, is allow output:NORMAL by machine: camera in on: stream, such as udp 10.0.0.5:40000 > 10.0.0.2:5683; udp 10.0.0.6:40000 > 10.0.0.2:5005",
		}, ""},
		{"a state's action", "motion: allow}", "motion: deny}", []string{
			"ip_src 10.0.0.5, while sensor is in motion: was allow output:NORMAL by machine: sensor in motion, is deny by machine: sensor in motion, such as udp 10.0.0.5:40000 > 10.0.0.2:5683; tcp 10.0.0.5:40000 > 10.0.0.2:80",
		}, ""},
		{"a transition", "after: 10s", "after: 20s", nil,
			"machine sensor: its transitions, its states or what it is for are others; it decides packets such as"},
		{"what reads another machine's states", "after: 10s", "after: 20s", nil, "machine camera: it reads the states of sensor; it decides packets such as"},
		{"no machine", "        - name: camera", "        - name: lens", nil, "machine camera: only one of the policies has it"},
	} {
		a := document(t, machinePolicy(sensorAndCamera, quietCamera)).Policy
		b := document(t, machinePolicy(strings.Replace(sensorAndCamera, tt.old, tt.new, 1), "never: {from: 10.0.0.8, to: 10.0.0.8, tcp_dst: 1}")).Policy
		changes, open, err := Diff(a, b, nil, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range changes {
			var lines []string
			for _, m := range c.Example.Trace {
				lines = append(lines, m.Line)
			}
			clean := func(s string) string { return strings.ReplaceAll(s, " (chain entry 1)", "") }
			got = append(got, fmt.Sprintf("%s: was %s, is %s, such as %s", c.Packets, clean(c.Old), clean(c.New), strings.Join(lines, "; ")))
		}
		if !slices.Equal(got, tt.changes) {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, strings.Join(got, "\n     "), strings.Join(tt.changes, "\n     "))
		}
		if found := slices.ContainsFunc(open, func(s string) bool { return strings.HasPrefix(s, tt.open) }); tt.open != "" && !found || tt.open == "" && len(open) > 0 {
			t.Errorf("%s: %q, want %q", tt.name, open, tt.open)
		}
	}
}

// What moves a machine in one of two policies alone makes its states others.
func TestDiffOfWhatMovesMachines(t *testing.T) {
	a := document(t, machinePolicy(sensorAndCamera, quietCamera)).Policy
	b := document(t, strings.Replace(machinePolicy(sensorAndCamera, quietCamera), "chain:\n", "chain:\n  - header: {rules: [{match: {ip_dst: 10.0.0.3, udp_dst: 5683}, action: deny}]}\n", 1)).Policy
	changes, open, err := Diff(a, b, nil, nil, 0)
	if err != nil || len(open) == 0 || len(changes) == 0 || !strings.HasPrefix(open[0], "machine sensor: packets such as udp 10.0.0.5:40000 > 10.0.0.3:5683 move it in one of the policies alone") {
		t.Errorf("%v, %q, %v", changes, open, err)
	}
	if _, err := NewDelta(a, b, 0); err == nil || !strings.HasPrefix(err.Error(), "undecided: machine sensor: ") {
		t.Error(err)
	}
	// One that moves nothing is no more than it says.
	b = document(t, strings.Replace(machinePolicy(sensorAndCamera, quietCamera), "chain:\n", "chain:\n  - header: {rules: [{match: {ip_dst: 10.0.0.3, udp_dst: 5684}, action: deny}]}\n", 1)).Policy
	changes, open, err = Diff(a, b, nil, nil, 0)
	if err != nil || len(open) > 0 || len(changes) == 0 {
		t.Errorf("%v, %q, %v", changes, open, err)
	}
	if _, err := NewDelta(a, b, 0); err != nil {
		t.Error(err)
	}
}

// A question that takes too much is given up, never answered.
func TestBudget(t *testing.T) {
	doc := document(t, watched)
	prover, err := New(doc.Policy, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prover.Never(); err == nil || !strings.HasSuffix(err.Error(), "undecided: budget") {
		t.Error(err)
	}
	if c, err := prover.Keeps(&doc.Promises[1]); c != nil || err != ErrBudget {
		t.Error(c, err)
	}
}

// What time alone leads to is fewer events than what a packet leads to at the same moment.
func TestFewestByTime(t *testing.T) {
	const text = `
chain:
  - machine:
      machines:
        - name: m
          key: src
          forget: never
          start: a
          states: {a: deny, b: next, c: allow}
          transitions:
            - {from: a, to: b, match: {tcp_dst: 22}}
            - {from: b, to: c, match: {tcp_dst: 22}}
            - {from: b, to: c, after: 30s}
  - header: {rules: [{match: {in_port: 1, udp_dst: 9}, action: deny}]}
promises:
  - never: {in_port: 1, ip_src: 10.0.0.2, udp_dst: 9}
`
	prover, err := New(document(t, text).Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := outcome(t, prover, text, 0), "tcp 10.0.0.2:40000 > 10.0.0.2:22; after 30s, udp 10.0.0.2:40000 > 10.0.0.2:9"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
