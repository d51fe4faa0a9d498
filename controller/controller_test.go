package controller_test

import (
	"strings"
	"testing"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/policyfile"
)

func newController(t testing.TB, text string) *controller.Controller {
	t.Helper()
	p, err := policyfile.Parse(strings.NewReader(text), "test.yaml", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return controller.New(p)
}

func TestSmoke(t *testing.T) {
	c := newController(t, `
serial: 3
chain:
  - blocklist: {addresses: [10.0.0.3]}
  - header:
      rules:
        - {name: no-telnet, match: {tcp_dst: 23}, action: deny}
  - forward: {mode: normal}
`)
	m := flow.ParseFrame(make([]byte, 64), 1)
	var d flow.Decision
	if err := c.Decide(t.Context(), &flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{Match: m}}, &d); err != nil {
		t.Fatal(err)
	}
	t.Log(d.Reason, d.Verdict, d.Rules)
}
