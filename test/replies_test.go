package test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/internal/ovs"
	"switchbridge/settings"
	"switchbridge/state/stores"
)

// answeredPolicy lets host 1 ask, and be answered; nobody else may say anything.
const answeredPolicy = `
serial: 1
chain:
  - header:
      rules:
        - {name: arp, match: {eth_type: arp}, action: allow, proactive: true}
        - {name: web, priority: 200, match: {in_port: 1, tcp_dst: 80}, action: allow, replies: allow}
        - {name: ping, priority: 200, match: {in_port: 1, icmp_type: 8}, action: allow, replies: allow}
        - {name: one-way, priority: 200, match: {in_port: 1, tcp_dst: 81}, action: allow}
        - {name: nothing-else, match: {eth_type: ipv4}, action: deny}
  - forward: {mode: %s}
`

// TestReplies has real hosts speak through a policy that lets one of them ask: with the controller in the gateway, in its embedded guest, and
// behind HTTPS in both encodings.
func TestReplies(t *testing.T) {
	for _, row := range []struct{ version, how, mode string }{
		{"1.3", "native", "normal"}, {"1.0", "native", "normal"}, {"1.3", "native", "learn"}, {"1.3", "native", "flood"},
		{"1.3", "openflow", "normal"}, {"1.0", "openflow", "normal"}, {"1.3", "json", "normal"}, {"1.0", "json", "normal"},
	} {
		t.Run(strings.Join([]string{row.version, row.how, row.mode}, " "), func(t *testing.T) {
			t.Parallel()
			text := fmt.Sprintf(answeredPolicy, row.mode)
			l := answeringLab(t, row.version, row.how, text)
			eventually(t, "ARP passes", func() bool { return l.hasRule("arp") })
			for _, h := range []*ovs.Host{l.h1, l.h2} {
				h.ServeEcho(80)
				h.ServeEcho(81)
			}
			if _, err := l.h1.Connect(l.h2.IP, 80, 5*time.Second); err != nil {
				t.Errorf("a question that may be answered: %v\n%s", err, l.flows())
			}
			l.pings(l.h1, l.h2)
			if !l.hasRule("in_port=2", "tp_src=80", "idle_timeout=120") && !l.hasRule("in_port=h2", "tp_src=80", "idle_timeout=120") {
				t.Errorf("no rule of an answer:\n%s", l.flows())
			}
			if _, err := l.h2.Connect(l.h1.IP, 80, 500*time.Millisecond); err == nil {
				t.Error("who may answer may ask, too")
			}
			if _, err := l.h1.Connect(l.h2.IP, 81, 500*time.Millisecond); err == nil {
				t.Error("a question passes and is answered though its rule lets no replies in")
			}
		})
	}
}

// knockingPolicy lets host 1 ask, and be answered, until it sends to UDP port 9999, and again when it sends to 9998.
const knockingPolicy = `
serial: 1
chain:
  - header: {rules: [{name: arp, match: {eth_type: arp}, action: allow, proactive: true}]}
  - machine:
      machines:
        - name: client
          for: {eth_type: ipv4}
          key: src
          forget: never
          start: trusted
          states: {trusted: next, shut: deny}
          transitions:
            - {from: trusted, to: shut, match: {udp_dst: 9999}}
            - {from: shut, to: trusted, match: {udp_dst: 9998}}
  - header: {rules: [{name: web, match: {ip_dst: %v, tcp_dst: 80}, action: allow, replies: allow}]}
`

// TestRepliesBehindMachines has a machine be asked about a question before the entry that lets its answers in: when its state changes, the rules of the
// question and of the answer go before anything else passes.
func TestRepliesBehindMachines(t *testing.T) {
	for _, row := range []struct{ version, how string }{{"1.3", "native"}, {"1.0", "native"}, {"1.3", "openflow"}, {"1.0", "json"}} {
		t.Run(row.version+" "+row.how, func(t *testing.T) {
			t.Parallel()
			policy := fmt.Sprintf(knockingPolicy, "10.0.0.2")
			var l *lab
			if row.how == "native" {
				l = policyLab(t, row.version, policy)
			} else {
				set := stores.Default()
				set.URL = "memory:"
				l = functionLab(t, row.version, row.how, policy, remembers(t, set))
			}
			eventually(t, "ARP passes", func() bool { return l.hasRule("arp") })
			for _, h := range []*ovs.Host{l.h1, l.h2} {
				h.ServeEcho(80)
			}
			allowed := func(what string) bool {
				return slices.ContainsFunc(l.rules(), func(r string) bool {
					return strings.Contains(r, what) && !strings.HasSuffix(r, "actions=drop")
				})
			}
			for range 2 {
				eventually(t, "host 1 is answered", func() bool {
					_, err := l.h1.Connect(l.h2.IP, 80, time.Second)
					return err == nil
				})
				if !allowed("tp_src=80") || !allowed("tp_dst=80") {
					t.Errorf("no rules of the question and of its answer:\n%s", l.flows())
				}
				if _, err := l.h2.Connect(l.h1.IP, 80, 500*time.Millisecond); err == nil {
					t.Error("who may answer may ask, too")
				}
				knock(t, l, 9999)
				eventually(t, "the rules of who is shut out go", func() bool { return !allowed("tp_src=80") && !allowed("tp_dst=80") })
				if _, err := l.h1.Connect(l.h2.IP, 80, 500*time.Millisecond); err == nil {
					t.Error("who is shut out is answered")
				}
				knock(t, l, 9998)
			}
		})
	}
}

// knock has host 1 send one packet to a UDP port of host 2.
func knock(t *testing.T, l *lab, port uint16) {
	t.Helper()
	c, err := l.h1.Dial(t.Context(), "udp", fmt.Sprintf("%v:%d", l.h2.IP, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("knock")); err != nil {
		t.Fatal(err)
	}
}

// scanner is a bridge of Open vSwitch's with a gateway that has a policy of configs, and four ports to put frames in at.
type scanner struct {
	t     *testing.T
	sw    *ovs.Switchd
	ports []*ovs.Port
	seen  []int
}

func newScanner(t *testing.T, version, policy string) *scanner {
	t.Helper()
	s := &scanner{t: t, sw: ovs.Start(t, ovs.Options{Dummy: true}), seen: make([]int, 4)}
	set := settings.Default()
	set.Function.URLs = []string{settings.Native}
	set.Policy, set.Admin.Listen = policy, "127.0.0.1:0"
	listener := s.sw.ListenUnix()
	startGateway(t, set, listener)
	s.sw.AddBridge("br0", ovs.Bridge{DPID: 0x2a, Protocols: []string{protocols[version]}, Controllers: []string{ovs.Target(listener)}})
	for i := range 4 {
		s.ports = append(s.ports, s.sw.AddPort("br0", fmt.Sprintf("p%d", i+1), uint32(i+1)))
	}
	s.sw.WaitConnected("br0")
	return s
}

func (s *scanner) inject(port int, frame []byte) {
	s.t.Helper()
	if _, err := s.sw.Control().Call("netdev-dummy/receive", s.ports[port-1].Name, hex.EncodeToString(frame)); err != nil {
		s.t.Fatal(err)
	}
}

// out returns the frames that have left since the last call, by port.
func (s *scanner) out() map[int][]string {
	out := map[int][]string{}
	for i, p := range s.ports {
		sent := p.Sent()
		for _, f := range sent[s.seen[i]:] {
			out[i+1] = append(out[i+1], string(f))
		}
		s.seen[i] = len(sent)
	}
	return out
}

// passes waits until a frame that comes in by one port leaves by another.
func (s *scanner) passes(what string, from int, frame []byte, by int) {
	s.t.Helper()
	s.inject(from, frame)
	var all []string
	eventually(s.t, what+" passes", func() bool {
		all = append(all, s.out()[by]...)
		return slices.Contains(all, string(frame))
	})
}

// TestScan has an attacker send from the ports that servers answer from, through the example policies on a real Open vSwitch: from the own
// port in the own name and in others', and from a server that was taken over, also in the middle of a conversation.
func TestScan(t *testing.T) {
	host := func(port byte, ip string) frames.Endpoint {
		return frames.Endpoint{MAC: flow.MAC{2, 0, 0, 0, 0, port}, IP: netip.MustParseAddr(ip)}
	}
	for _, row := range []struct {
		policy         string
		client, server frames.Endpoint
		clientAt       int
		serverAt       int
		service        uint16
	}{
		{"office.yaml", host(1, "10.0.0.1"), host(4, "10.1.0.10"), 1, 4, 443},
		{"allowlist.yaml", host(1, "192.168.5.2"), host(2, "192.168.5.130"), 1, 2, 502},
	} {
		for version := range protocols {
			t.Run(row.policy+" "+version, func(t *testing.T) {
				t.Parallel()
				s := newScanner(t, version, "../configs/policies/"+row.policy)
				question := frames.TCP(row.client.At(40000), row.server.At(row.service), frames.SYN, nil)
				answer := frames.TCP(row.server.At(row.service), row.client.At(40000), frames.SYN|frames.ACK, nil)
				s.passes("a question", row.clientAt, question, row.serverAt)
				s.passes("its answer", row.serverAt, answer, row.clientAt)

				forbidden := map[string]string{}
				attack := func(what string, port int, frame []byte) {
					forbidden[string(frame)] = what
					s.inject(port, frame)
				}
				attacker := host(3, "10.0.0.66")
				if row.policy == "allowlist.yaml" {
					attacker.IP = netip.MustParseAddr("192.168.5.66")
				}
				for _, from := range []uint16{row.service, 443, 53, 22} {
					for _, to := range []uint16{22, 23, 53, 80, 445, 502, 1023, 3389, 39999, 40001, 49152, 65535} {
						attack("the server, taken over", row.serverAt, frames.TCP(row.server.At(from), row.client.At(to), frames.SYN, nil))
						attack("the server, taken over", row.serverAt, frames.UDP(row.server.At(from), row.client.At(to), nil))
						forged := row.server
						forged.MAC = attacker.MAC
						attack("an attacker in the server's name", 3, frames.TCP(forged.At(from), row.client.At(to), frames.SYN, nil))
						attack("an attacker with the server's addresses", 3, frames.TCP(row.server.At(from), row.client.At(to), frames.ACK, nil))
						if to != row.service && to != 443 { // the services of office.yaml are for everybody
							attack("an attacker", 3, frames.TCP(attacker.At(from), row.server.At(to), frames.SYN, nil))
							attack("an attacker in the client's name", 3, frames.UDP(row.client.At(from), row.server.At(to), nil))
						}
					}
				}
				// When what came later has passed, what came before has been decided.
				again := frames.TCP(row.client.At(40002), row.server.At(row.service), frames.SYN, nil)
				s.inject(row.clientAt, again)
				var left []string
				eventually(t, "a question after the scan passes", func() bool {
					for _, f := range s.out() {
						left = append(left, f...)
					}
					return slices.Contains(left, string(again))
				})
				time.Sleep(300 * time.Millisecond) // looks into the switch that are under way
				for _, f := range s.out() {
					left = append(left, f...)
				}
				for _, f := range left {
					if what, ok := forbidden[f]; ok {
						t.Errorf("%s: a packet passed: %v", what, flow.ParseFrame([]byte(f), 0))
					}
				}
				if len(forbidden) < 150 {
					t.Errorf("%d packets only", len(forbidden))
				}
			})
		}
	}
}

// strictPolicy lets host 1 ask by a SYN, and be answered.
const strictPolicy = `
serial: 1
chain:
  - header:
      rules:
        - {name: web, match: {in_port: 1, tcp_dst: 80}, action: {output: 2}, replies: allow, tcp: strict}
        - {name: marks, match: {udp_dst: 7}, action: {output: 4}}
  - header: {rules: [{name: nothing-else, action: deny}]}
  - forward: {mode: flood}
`

// TestStrictTCP has segments that open nothing come before the SYN that does, on a real Open vSwitch.
func TestStrictTCP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte(strictPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	for version := range protocols {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := newScanner(t, version, path)
			client, server := frames.Host(1).At(40000), frames.Host(2).At(80)
			probe := frames.TCP(client, server, frames.ACK, []byte("probe"))
			forged := frames.TCP(server, client, frames.ACK, []byte("nobody asked"))
			for _, flags := range []uint8{frames.ACK, frames.SYN | frames.ACK, frames.PSH | frames.ACK, 0} {
				s.inject(1, frames.TCP(client, server, flags, []byte("probe")))
			}
			s.inject(1, probe)
			s.inject(2, forged)
			mark := frames.UDP(client, frames.Host(4).At(7), nil)
			var left []string
			s.inject(1, mark)
			eventually(t, "what came later passes", func() bool {
				for _, list := range s.out() {
					left = append(left, list...)
				}
				return slices.Contains(left, string(mark))
			})
			for _, f := range left {
				if f != string(mark) {
					t.Errorf("a segment that opens nothing has passed: %v", flow.ParseFrame([]byte(f), 0))
				}
			}
			for _, f := range s.sw.Flows("br0") {
				if strings.Contains(f.Match, "tcp") && f.Actions != "drop" {
					t.Errorf("a segment that opens nothing has brought a rule: %s", f.Text)
				}
			}
			s.passes("a SYN", 1, frames.TCP(client, server, frames.SYN, nil), 2)
			eventually(t, "the denial of what was no answer ends", func() bool {
				return !slices.ContainsFunc(s.sw.Flows("br0"), func(f ovs.Flow) bool { return strings.Contains(f.Match, "tp_src=80") && f.Actions == "drop" })
			})
			s.passes("its answer", 2, frames.TCP(server, client, frames.SYN|frames.ACK, nil), 1)
			s.passes("what follows", 1, frames.TCP(client, server, frames.ACK, []byte("data")), 2)
			s.passes("what follows that", 2, frames.TCP(server, client, frames.ACK, []byte("data")), 1)
		})
	}
}
