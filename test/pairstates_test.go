package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/functiontest/conformance"
	"switchbridge/gateway"
	"switchbridge/settings"
	"switchbridge/state/travel"
)

// knockPolicy lets in who knocks at port 1, until he knocks at port 2.
const knockPolicy = `
serial: 1
install: %s
chain:
  - machine:
      machines:
        - name: door
          for: {ip_proto: tcp, ip_src: 10.0.0.1}
          key: src
          forget: 1h
          start: shut
          states: {shut: deny, open: next}
          transitions:
            - {from: shut, to: open, match: {tcp_dst: 1}}
            - {from: open, to: shut, match: {tcp_dst: 2}}
  - forward: {mode: normal}
`

func sealKeys(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(conformance.StateKeys[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPairBeginsAnew has states travel in a pair. Whoever takes the lead knows none: who was let in knocks again, and who was shut out by one gateway is not let in
// by an older state that the other one had when it led before.
func TestPairBeginsAnew(t *testing.T) {
	for _, protocol := range []string{"OpenFlow13", "OpenFlow10"} {
		t.Run(protocol, func(t *testing.T) {
			l := newPairLab(t, protocol, fmt.Sprintf(knockPolicy, "flow"), sealKeys(t))
			l.h2.ServeEcho(80)
			l.leads(0)
			knock := func(port uint16) { _, _ = l.h1.Connect(l.h2.IP, port, 300*time.Millisecond) }
			in := func(within time.Duration) bool {
				_, err := l.h1.Connect(l.h2.IP, 80, within)
				return err == nil
			}
			opens := func(when string) {
				t.Helper()
				eventually(t, when+": who has knocked is let in", func() bool {
					knock(1)
					return in(2 * time.Second)
				})
			}
			stays := func(when string) {
				t.Helper()
				for range 3 {
					if in(300 * time.Millisecond) {
						t.Errorf("%s: who has not knocked is let in", when)
					}
				}
			}
			handover := func(from int) {
				t.Helper()
				if err := l.gateways[from].Handover(t.Context()); err != nil {
					t.Fatal(err)
				}
				l.leads(1 - from)
			}

			stays("at the start")
			opens("at the start")
			handover(0)
			stays("after the handover")
			opens("after the handover")
			knock(2)
			stays("shut again")
			handover(1)
			stays("when the first gateway leads again, which knew him as open")
			opens("when the first gateway leads again")
			l.gateways[0].stop()
			l.gateways[0] = nil
			l.leads(1)
			stays("when the leader has died")
			opens("when the leader has died")
		})
	}
}

// TestPairRefusesStatesThatWouldOpen has a gateway of a pair refuse a policy whose states, forgotten, let in more: at its start and at a reload.
func TestPairRefusesStatesThatWouldOpen(t *testing.T) {
	l := newPairLab(t, "OpenFlow13", askAlways, sealKeys(t))
	if err := os.WriteFile(l.policy, fmt.Appendf(nil, scanPolicy, "none"), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "machine scan: in a pair the other gateway does not have its states"
	if err := l.gateways[0].Reload(t.Context(), "test"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a reload: %v", err)
	}
	set := settings.Default()
	set.Function.URLs, set.Policy, set.Admin.Listen, set.State.URL, set.State.SealFile = []string{settings.Native}, l.policy, "", travel.URL, l.keys
	set.Pair = settings.Pair{Listen: freePort(t), Peer: freePort(t), Timeout: time.Second, Cert: l.certs[0] + ".pem", Key: l.certs[0] + ".key", CA: l.ca}
	if g, err := gateway.New(set, gateway.Options{Logger: testLog(t, "gateway")}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a start: %v", err)
		if err == nil {
			_ = g.Close()
		}
	}
}
