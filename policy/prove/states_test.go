package prove

import (
	"strings"
	"testing"
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
`

// What an entry decides by its states is never taken for proved, nor is what stands behind it: a promise about other packets is decided all the same.
func TestStatesAreUndecided(t *testing.T) {
	doc := document(t, watched)
	prover, err := New(doc.Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	never, err := prover.Never()
	if err != nil || len(never) != 1 || never[0].Label != "header: ssh" {
		t.Errorf("%+v, %v: want the rule ssh alone", never, err)
	}
	for i, want := range []string{"proved", "proved", "undecided: machine: door decides packets such as tcp 10.0.0.1:40000 > 10.0.0.9:80 ", "tcp 10.0.0.1:40000 > 10.0.0.8:80"} {
		o := &doc.Promises[i]
		got := "proved"
		switch c, err := prover.Keeps(o); {
		case err != nil:
			got = err.Error()
		case c != nil:
			got = c.Words
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", o.Text, got, want)
		}
	}
	if _, err := Diff(doc.Policy, doc.Policy, nil, nil, 0); err == nil || !strings.HasPrefix(err.Error(), "undecided: machine: door") {
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
