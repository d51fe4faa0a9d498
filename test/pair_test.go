package test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"switchbridge/internal/certs/certstest"
	"switchbridge/internal/ovs"
	"switchbridge/pair"
	"switchbridge/settings"
	"switchbridge/state/travel"
)

// pairLab is a bridge with two hosts and two gateways.
type pairLab struct {
	t        *testing.T
	sw       *ovs.Switchd
	h1, h2   *ovs.Host
	ca       string
	certs    [2]string
	link     [2]string // addresses at which the gateways ask each other
	switches [2]string // addresses at which the bridge's connections come in
	policy   string
	keys     string // file of the keys that states are sealed with; empty: there are none
	gateways [2]*runningGateway
}

// askAlways installs nothing, so every packet asks whoever leads.
const askAlways = "serial: 1\ninstall: none\nchain:\n  - forward: {mode: normal}\n"

// freePort is an address on loopback that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newPairLab(t *testing.T, protocol, policy, keys string) *pairLab {
	t.Helper()
	l := &pairLab{t: t, keys: keys, sw: ovs.Start(t, ovs.Options{})}
	if l.sw.Dummy() {
		t.Skip("hosts need root for network namespaces")
	}
	authority := certstest.New(t)
	l.ca = authority.File(t)
	dir := t.TempDir()
	l.policy = filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(l.policy, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range l.gateways {
		cert := authority.Issue(t, fmt.Sprintf("gateway-%d", i), time.Now().Add(time.Hour))
		l.certs[i] = filepath.Join(dir, fmt.Sprintf("gateway-%d", i))
		writeCert(t, l.certs[i], cert)
		l.link[i] = freePort(t)
	}
	var targets []string
	for i := range l.gateways {
		l.switches[i] = filepath.Join(l.sw.Dir(), fmt.Sprintf("pair%d.sock", i))
		targets = append(targets, "unix:"+l.switches[i])
		l.start(i)
	}
	l.sw.AddBridge("br0", ovs.Bridge{DPID: 7, Protocols: []string{protocol}, Controllers: targets})
	l.h1, l.h2 = l.sw.AddHost("br0", "h1"), l.sw.AddHost("br0", "h2")
	return l
}

func writeCert(t *testing.T, path string, c tls.Certificate) {
	t.Helper()
	cert, key := certstest.Pair(t, c)
	for name, text := range map[string][]byte{".pem": cert, ".key": key} {
		if err := os.WriteFile(path+name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *pairLab) start(i int) {
	l.t.Helper()
	set := settings.Default()
	set.Function.URLs = []string{settings.Native}
	set.Policy = l.policy
	set.Admin.Listen = "127.0.0.1:0"
	if l.keys != "" {
		set.State.URL, set.State.SealFile = travel.URL, l.keys
	}
	set.Pair = settings.Pair{Listen: l.link[i], Peer: l.link[1-i], Member: uint32(i), Prefer: i == 0, Timeout: pair.DefaultTimeout,
		Cert: l.certs[i] + ".pem", Key: l.certs[i] + ".key", CA: l.ca}
	os.Remove(l.switches[i])
	listener, err := net.Listen("unix", l.switches[i])
	if err != nil {
		l.t.Fatal(err)
	}
	l.gateways[i] = startGateway(l.t, set, listener)
}

// leader is the gateway whose session with the switch is ready; -1 where none is, or both are.
func (l *pairLab) leader() int {
	found := -1
	for i, g := range l.gateways {
		if g == nil {
			continue
		}
		for _, s := range g.Switches() {
			if s.State == "ready" {
				if found >= 0 {
					return -1
				}
				found = i
			}
		}
	}
	return found
}

func (l *pairLab) leads(i int) {
	l.t.Helper()
	eventually(l.t, fmt.Sprintf("gateway %d leads", i), func() bool { return l.leader() == i })
}

// TestPair has two gateways serve one Open vSwitch, the lead handed over, and each of them die.
func TestPair(t *testing.T) {
	for _, protocol := range []string{"OpenFlow13", "OpenFlow10"} {
		t.Run(protocol, func(t *testing.T) {
			l := newPairLab(t, protocol, askAlways, "")
			l.leads(0)
			addr := l.h2.IP
			eventually(t, "a ping comes back", func() bool {
				_, err := l.h1.Ping(addr, time.Second)
				return err == nil
			})
			var st struct{ Pair *pair.Status }
			if l.gateways[1].get(t, "/api/v1/status", &st); st.Pair == nil || st.Pair.Leads || !st.Pair.Answers || st.Pair.PeerIs == nil || !st.Pair.PeerIs.Leads {
				t.Errorf("the one that stands by says %+v", st.Pair)
			}

			lost, sent := l.pingDuring(addr, func(pings func(n int)) {
				for i := range 6 {
					pings(10)
					if err := l.gateways[i%2].Handover(t.Context()); err != nil {
						t.Errorf("handover %d: %v", i, err)
					}
					l.leads(1 - i%2)
				}
				pings(10)
			})
			t.Logf("%d of %d pings lost in six handovers", lost, sent)
			if lost > 0 {
				t.Errorf("%d of %d pings were lost when the lead was handed over", lost, sent)
			}

			l.gateways[0].stop()
			l.gateways[0] = nil
			began := time.Now()
			l.leads(1)
			t.Logf("the other gateway leads %v after the leader was stopped", time.Since(began).Round(time.Millisecond))
			if _, err := l.h1.Ping(addr, 2*time.Second); err != nil {
				t.Errorf("a ping after the leader was stopped: %v", err)
			}
			l.start(0)
			eventually(t, "the switch is connected to the gateway that came back", func() bool { return len(l.gateways[0].Switches()) == 1 })
			time.Sleep(500 * time.Millisecond)
			if got := l.leader(); got != 1 {
				t.Errorf("after the other one came back %d leads, want 1", got)
			}
			if _, err := l.h1.Ping(addr, 2*time.Second); err != nil {
				t.Errorf("a ping after the other one came back: %v", err)
			}
		})
	}
}

// TestPairUpgrade replaces both gateways of a pair, one after the other, while hosts ping, and loses nothing: the one that stands by first, then, when it has
// the lead, the other one. Then both are gone at a time, and come back.
func TestPairUpgrade(t *testing.T) {
	for _, protocol := range []string{"OpenFlow13", "OpenFlow10"} {
		t.Run(protocol, func(t *testing.T) {
			l := newPairLab(t, protocol, askAlways, "")
			l.leads(0)
			eventually(t, "a ping comes back", func() bool {
				_, err := l.h1.Ping(l.h2.IP, time.Second)
				return err == nil
			})
			there := func(i int) {
				t.Helper()
				eventually(t, "it stands by, and both hear each other", func() bool {
					for _, g := range l.gateways {
						var st struct{ Pair *pair.Status }
						if g.get(t, "/api/v1/status", &st); st.Pair == nil || !st.Pair.Answers {
							return false
						}
					}
					list := l.gateways[i].Switches()
					return len(list) == 1 && list[0].State == "standby"
				})
			}
			there(1)
			lost, sent := l.pingDuring(l.h2.IP, func(pings func(n int)) {
				for _, i := range []int{1, 0} {
					pings(5)
					l.gateways[i].stop()
					pings(5)
					l.start(i)
					there(i)
					if i == 1 {
						if err := l.gateways[0].Handover(t.Context()); err != nil {
							t.Error(err)
						}
						l.leads(1)
					}
				}
				pings(5)
			})
			if lost > 0 {
				t.Errorf("%d of %d pings were lost", lost, sent)
			}
			for _, g := range l.gateways {
				g.stop()
			}
			for i := range l.gateways {
				l.start(i)
			}
			eventually(t, "one of them leads", func() bool { return l.leader() >= 0 })
			eventually(t, "a ping comes back after both were gone", func() bool {
				_, err := l.h1.Ping(l.h2.IP, time.Second)
				return err == nil
			})
		})
	}
}

// pingDuring pings without a pause, one after the other, while f runs. pings waits for a number of them.
func (l *pairLab) pingDuring(addr netip.Addr, f func(pings func(n int))) (lost, sent int) {
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan struct{})
	one := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			sent++
			if _, err := l.h1.Ping(addr, 2*time.Second); err != nil {
				lost++
				l.t.Logf("a ping is lost: %v", err)
			}
			select {
			case one <- struct{}{}:
			default:
			}
		}
	}()
	defer func() {
		cancel()
		<-done
	}()
	f(func(n int) {
		for range n {
			<-one
		}
	})
	cancel()
	<-done
	return lost, sent
}
