package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"switchbridge/internal/ovs"
)

// refusingPolicy refuses SSH, and UDP port 53, and says so; telnet it refuses without a word.
const refusingPolicy = `
serial: 1
chain:
  - header:
      rules:
        - {name: no-ssh, match: {tcp_dst: 22}, action: reject}
        - {name: no-dns, match: {udp_dst: 53}, action: reject}
        - {name: no-telnet, match: {tcp_dst: 23}, action: deny}
  - forward: {mode: normal}
`

// TestReject has real hosts be refused: their kernels judge the answers, checksums and all. The controller is in the gateway, and behind HTTPS in both
// encodings.
func TestReject(t *testing.T) {
	for _, row := range []struct{ version, how string }{{"1.3", "native"}, {"1.0", "native"}, {"1.3", "openflow"}, {"1.0", "json"}} {
		t.Run(row.version+" "+row.how, func(t *testing.T) {
			t.Parallel()
			l := answeringLab(t, row.version, row.how, refusingPolicy)
			for _, port := range []uint16{22, 23, 80} {
				l.h2.ServeEcho(port)
			}
			l.pings(l.h1, l.h2)
			refused := func(network, addr string, wants error) {
				t.Helper()
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				c, err := l.h1.Dial(ctx, network, addr)
				if err == nil {
					defer c.Close()
					_ = c.SetDeadline(time.Now().Add(3 * time.Second))
					if _, err = c.Write([]byte("question")); err == nil {
						_, err = c.Read(make([]byte, 10))
					}
				}
				if took := time.Since(start); !errors.Is(err, wants) || took > 2*time.Second {
					t.Errorf("%s to %s: %v after %v, want %v at once\n%s", network, addr, err, took, wants, l.flows())
				}
			}
			for range 3 { // each is a conversation of its own
				refused("tcp", fmt.Sprintf("%v:22", l.h2.IP), syscall.ECONNREFUSED)
			}
			refused("udp", fmt.Sprintf("%v:53", l.h2.IP), syscall.EHOSTUNREACH)
			if _, err := l.h1.Connect(l.h2.IP, 80, 5*time.Second); err != nil {
				t.Errorf("what is allowed: %v", err)
			}
			if _, err := l.h1.Connect(l.h2.IP, 23, 500*time.Millisecond); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("what is denied without a word: %v", err)
			}
			if row.version != "1.3" {
				return
			}
			for i, h := range []*ovs.Host{l.h1, l.h2} {
				other := []*ovs.Host{l.h2, l.h1}[i]
				h.SpeakIPv6()
				if out, err := h.Command("ip", "-6", "neigh", "replace", other.IPv6.String(), "lladdr", other.MAC.String(), "dev", "eth0").CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			refused("tcp", "[fd00::2]:22", syscall.ECONNREFUSED)
			refused("udp", "[fd00::2]:53", syscall.EACCES)
		})
	}
}

// answeringLab is a bridge with three hosts under a policy, whose controller is compiled into the gateway or behind HTTPS in an encoding.
func answeringLab(t *testing.T, version, how, policy string) *lab {
	t.Helper()
	if how == "native" {
		return policyLab(t, version, policy)
	}
	return functionLab(t, version, how, policy)
}

// functionLab is a bridge with three hosts whose gateway asks a function behind HTTPS in an encoding.
func functionLab(t *testing.T, version, encoding, policy string, with ...func(*function)) *lab {
	t.Helper()
	l := &lab{t: t, policy: filepath.Join(t.TempDir(), "policy.yaml")}
	if err := os.WriteFile(l.policy, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	l.function = startFunction(t, l.policy, with...)
	set := l.function.settings()
	set.Function.Encoding = encoding
	l.sw = ovs.Start(t, ovs.Options{})
	listener := l.sw.Listen()
	l.gateway = startGateway(t, set, listener)
	l.sw.AddBridge("br0", ovs.Bridge{DPID: 0x2a, Protocols: []string{protocols[version]}, Controllers: []string{ovs.Target(listener)}})
	l.h1, l.h2, l.h3 = l.sw.AddHost("br0", "h1"), l.sw.AddHost("br0", "h2"), l.sw.AddHost("br0", "h3")
	l.sw.WaitConnected("br0")
	return l
}
