package test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/internal/ovs"
)

// linePolicy lets host 1 ask, and be answered. Nobody else may say anything but ARP.
const linePolicy = `
serial: 1
chain:
  - header:
      rules:
        - {name: arp, match: {eth_type: arp}, action: allow}
        - {name: web, priority: 200, match: {ip_src: 10.0.0.1, tcp_dst: 80}, action: allow, replies: allow}
        - {name: ping, priority: 200, match: {ip_src: 10.0.0.1, icmp_type: 8}, action: allow, replies: allow}
        - {name: nothing-else, match: {eth_type: ipv4}, action: deny}
  - forward: {mode: normal}
`

// line is bridges in a row, a host at each end and a third one at the far end.
type line struct {
	t          *testing.T
	f          *function
	g          *runningGateway
	sw         *ovs.Switchd
	h1, h2, h3 *ovs.Host
}

func newLine(t *testing.T, bridges int, version, encoding, policy string, with ...func(*function)) *line {
	t.Helper()
	l := &line{t: t}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	l.f = startFunction(t, file, with...)
	set := l.f.settings()
	set.Function.Encoding = encoding
	l.sw = ovs.Start(t, ovs.Options{})
	listener := l.sw.Listen()
	l.g = startGateway(t, set, listener)
	name := func(i int) string { return fmt.Sprint("s", i+1) }
	for i := range bridges {
		l.sw.AddBridge(name(i), ovs.Bridge{DPID: uint64(0x100 + i), Protocols: []string{protocols[version]}, Controllers: []string{ovs.Target(listener)}})
		if i > 0 {
			l.sw.Join(name(i-1), name(i))
		}
	}
	l.h1, l.h2, l.h3 = l.sw.AddHost(name(0), "h1"), l.sw.AddHost(name(bridges-1), "h2"), l.sw.AddHost(name(bridges-1), "h3")
	for i := range bridges {
		l.sw.WaitConnected(name(i))
	}
	eventually(t, "the gateway is ready", func() bool {
		resp, err := http.Get(l.g.admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return l
}

// calls returns how often the function was asked about packets while f ran.
func (l *line) calls(f func()) int64 {
	before := l.f.asked.Load()
	f()
	return l.f.asked.Load() - before
}

// TestReuse has real hosts at the ends of a line of real bridges speak: whatever its length, a conversation costs one call.
func TestReuse(t *testing.T) {
	for _, row := range []struct {
		bridges           int
		version, encoding string
	}{{4, "1.3", "json"}, {4, "1.0", "openflow"}, {8, "1.3", "openflow"}} {
		t.Run(fmt.Sprint(row.bridges, " bridges ", row.version, " ", row.encoding), func(t *testing.T) {
			l := newLine(t, row.bridges, row.version, row.encoding, linePolicy)
			l.h2.ServeEcho(80)
			l.h1.ServeEcho(80)
			if n := l.calls(func() {
				if took, err := l.h1.Ping(l.h2.IP, 5*time.Second); err != nil {
					t.Errorf("ping: %v", err)
				} else {
					t.Logf("the first ping with ARP took %v", took)
				}
			}); n != 2 { // ARP, which the policy takes for one whoever asks whom, and the ping
				t.Errorf("the first ping took %d calls, want one for ARP and one for the ping", n)
			}
			if n := l.calls(func() {
				if _, err := l.h1.Connect(l.h2.IP, 80, 5*time.Second); err != nil {
					t.Errorf("TCP: %v", err)
				}
			}); n != 1 {
				t.Errorf("a TCP connection took %d calls", n)
			}
			// What was allowed to one is not allowed to others.
			for _, h := range []*ovs.Host{l.h2, l.h3} {
				if _, err := h.Connect(l.h1.IP, 80, 500*time.Millisecond); err == nil {
					t.Errorf("%s may ask, too", h.Name)
				}
			}
		})
	}
}

// lineIPv6Policy is linePolicy for IPv6, where neighbour discovery stands for ARP.
const lineIPv6Policy = `
serial: 1
chain:
  - header:
      rules:
        - {name: solicitation, match: {icmpv6_type: 135}, action: allow}
        - {name: advertisement, match: {icmpv6_type: 136}, action: allow}
        - {name: web, priority: 200, match: {ip_src: "fd00::1", tcp_dst: 80}, action: allow, replies: allow}
        - {name: ping, priority: 200, match: {ip_src: "fd00::1", icmpv6_type: 128}, action: allow, replies: allow}
        - {name: nothing-else, match: {eth_type: ipv6}, action: deny}
  - forward: {mode: normal}
`

// TestReuseOfIPv6 is TestReuse for IPv6: neighbour discovery costs a call for its questions and one for its answers, on however many bridges. What the hosts'
// kernels say beside that, such as which groups they are in, is not counted.
func TestReuseOfIPv6(t *testing.T) {
	for _, row := range []struct {
		bridges  int
		encoding string
	}{{4, "json"}, {8, "openflow"}} {
		t.Run(fmt.Sprint(row.bridges, " bridges ", row.encoding), func(t *testing.T) {
			var mu sync.Mutex
			asked := make(map[string]int)
			l := newLine(t, row.bridges, "1.3", row.encoding, lineIPv6Policy, func(f *function) {
				f.tamper = func(d flow.Decider) flow.Decider {
					return &decider.Observe{Next: d, On: func(o decider.Observation) {
						if o.Event.PacketIn == nil {
							return
						}
						m := &o.Event.PacketIn.Match
						kind := fmt.Sprint("protocol ", m.IPProto)
						switch {
						case m.IPProto == flow.ProtoICMPv6:
							kind = fmt.Sprint("ICMPv6 ", m.ICMPType)
						case m.IPProto == flow.ProtoTCP:
							kind = "TCP"
						}
						mu.Lock()
						defer mu.Unlock()
						asked[kind]++
					}}
				}
			})
			// calls returns how often the function was asked about packets of these kinds while f ran.
			calls := func(f func(), kinds ...string) map[string]int {
				mu.Lock()
				before := maps.Clone(asked)
				mu.Unlock()
				f()
				mu.Lock()
				defer mu.Unlock()
				n := make(map[string]int)
				for _, kind := range kinds {
					n[kind] = asked[kind] - before[kind]
				}
				return n
			}
			for _, h := range []*ovs.Host{l.h1, l.h2, l.h3} {
				h.SpeakIPv6()
			}
			l.h2.ServeEcho(80)
			l.h1.ServeEcho(80)
			if n := calls(func() {
				if took, err := l.h1.Ping(l.h2.IPv6, 5*time.Second); err != nil {
					t.Errorf("ping: %v", err)
				} else {
					t.Logf("the first ping with neighbour discovery took %v", took)
				}
			}, "ICMPv6 135", "ICMPv6 136", "ICMPv6 128", "ICMPv6 129"); !maps.Equal(n, map[string]int{"ICMPv6 135": 1, "ICMPv6 136": 1, "ICMPv6 128": 1, "ICMPv6 129": 0}) {
				t.Errorf("the first ping took these calls: %v, want one for a solicitation, one for its answer, and one for the ping", n)
			}
			if n := calls(func() {
				if _, err := l.h1.Connect(l.h2.IPv6, 80, 5*time.Second); err != nil {
					t.Errorf("TCP: %v", err)
				}
			}, "TCP"); n["TCP"] != 1 {
				t.Errorf("a TCP connection took %d calls", n["TCP"])
			}
			// What was allowed to one is not allowed to others.
			for _, h := range []*ovs.Host{l.h2, l.h3} {
				if _, err := h.Connect(l.h1.IPv6, 80, 500*time.Millisecond); err == nil {
					t.Errorf("%s may ask, too", h.Name)
				}
			}
		})
	}
}
