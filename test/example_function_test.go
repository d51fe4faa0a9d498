package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/functiontest"
	"switchbridge/internal/child"
	"switchbridge/internal/ovs"
	"switchbridge/policy/policytest"
	"switchbridge/settings"
)

// startExample runs the function of docs/functions.md as it stands there, but for its port, and
// returns its address.
func startExample(t *testing.T) *url.URL {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is missing, which the example is written in")
	}
	text, err := os.ReadFile("../docs/functions.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(text), "<!-- example: test/example_function_test.go runs this block -->\n```python\n")
	code, _, ok2 := strings.Cut(code, "```")
	if !ok || !ok2 {
		t.Fatal("docs/functions.md has no Python block that says that this test runs it")
	}
	if lines := strings.Count(strings.TrimSpace(code), "\n") + 1; lines > 32 {
		t.Errorf("the example has %d lines; it is to be read at a glance", lines)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().(*net.TCPAddr)
	free.Close()
	if !strings.Contains(code, "8080") {
		t.Fatal("the example does not listen on port 8080")
	}
	_, port, _ := net.SplitHostPort(address.String())
	script := filepath.Join(t.TempDir(), "function.py")
	if err := os.WriteFile(script, []byte(strings.Replace(code, "8080", port, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, script)
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &url.URL{Scheme: "http", Host: address.String()}
}

// asked is what a function was asked and answered about one packet.
type asked struct {
	Packet struct {
		Data       []byte          `json:"data"`
		Incomplete []string        `json:"incomplete"`
		RuleMatch  json.RawMessage `json:"rule_match"`
	} `json:"packet_in"`
	verdict, reason string
	rules           int
}

// witness stands between a gateway and a function that speaks JSON, and writes
// down what is said about packets.
type witness struct {
	t     *testing.T
	proxy *httputil.ReverseProxy

	mu  sync.Mutex
	all []asked
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	record := httptest.NewRecorder()
	w.proxy.ServeHTTP(record, r)
	if r.Header.Get(contract.HeaderType) == flow.EventPacketIn.String() && record.Code == http.StatusOK {
		var a asked
		var d struct {
			Verdict, Reason string
			Flows           []json.RawMessage
		}
		if err := json.Unmarshal(body, &a); err != nil {
			w.t.Errorf("event %s: %v", body, err)
		}
		if err := json.Unmarshal(record.Body.Bytes(), &d); err != nil {
			w.t.Errorf("answer %s: %v", record.Body, err)
		}
		a.verdict, a.reason, a.rules = d.Verdict, d.Reason, len(d.Flows)
		w.mu.Lock()
		w.all = append(w.all, a)
		w.mu.Unlock()
	}
	for name, values := range record.Header() {
		rw.Header()[name] = values
	}
	rw.WriteHeader(record.Code)
	rw.Write(record.Body.Bytes())
}

// about returns what was said about a frame.
func (w *witness) about(frame []byte) (list []asked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.all {
		if bytes.Equal(a.Packet.Data, frame) {
			list = append(list, a)
		}
	}
	return list
}

// exampleLab is a switch with two ports and nothing behind them, governed by
// the documents' function.
type exampleLab struct {
	t      *testing.T
	sw     *ovs.Switchd
	p1, p2 *ovs.Port
	*witness
	denied [][]byte // what must never leave port 2
}

func newExampleLab(t *testing.T, protocol string) *exampleLab {
	t.Helper()
	w := &witness{t: t, proxy: httputil.NewSingleHostReverseProxy(startExample(t))}
	w.proxy.ErrorHandler = func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusServiceUnavailable) } // it starts
	front := httptest.NewServer(w)
	t.Cleanup(front.Close)

	l := &exampleLab{t: t, witness: w, sw: ovs.Start(t, ovs.Options{Dummy: true})}
	set := settings.Default()
	set.Function.URLs = []string{front.URL}
	set.Function.Encoding = "json"
	listener := l.sw.Listen()
	g := startGateway(t, set, listener)
	l.sw.AddBridge("br0", ovs.Bridge{Protocols: []string{protocols[protocol]}, Controllers: []string{ovs.Target(listener)}})
	l.p1, l.p2 = l.sw.AddPort("br0", "p1", 1), l.sw.AddPort("br0", "p2", 2)
	l.sw.WaitConnected("br0")
	eventually(t, "the example answers", func() bool { return g.Ready() == nil })
	return l
}

// sent counts how often a frame has left port 2.
func (l *exampleLab) sent(frame []byte) (n int) {
	l.t.Helper()
	for _, f := range l.p2.Sent() {
		if bytes.Equal(f, frame) {
			n++
		}
	}
	return n
}

// ask has a frame come in by port 1 until the function has been asked about it
// once more than before; a switch that has only just connected drops what reaches
// it before its rules do.
func (l *exampleLab) ask(frame []byte) asked {
	l.t.Helper()
	before := len(l.about(frame))
	l.p1.Receive(frame)
	eventually(l.t, "the function is asked", func() bool { return len(l.about(frame)) > before })
	list := l.about(frame)
	return list[len(list)-1]
}

// allowed: the packet passes, and further ones like it; with rule, these ask
// nobody.
func (l *exampleLab) allowed(name string, frame []byte, rule bool) {
	l.t.Helper()
	a := l.ask(frame)
	if a.verdict != "allow" || a.reason != "not ssh" || a.rules == 1 != rule || (a.Packet.RuleMatch != nil) != rule {
		l.t.Errorf("%s: %s (%s), %d rules, rule_match %s; want allow, rule: %v", name, a.verdict, a.reason, a.rules, a.Packet.RuleMatch, rule)
	}
	const more = 3
	passed := func(n int) {
		l.t.Helper()
		eventually(l.t, name+" passes", func() bool { return l.sent(frame) >= n })
	}
	passed(1)
	for n := range more {
		l.p1.Receive(frame)
		passed(n + 2) // one by one: the same packet twice at a time would be asked about once anyway
	}
	want := 1
	if !rule {
		want += more
	}
	if got := len(l.about(frame)); got != want {
		l.t.Errorf("%s: the function was asked %d times about %d packets, want %d\n%s", name, got, more+1, want, l.flows())
	}
}

// drops: the packet is denied, and further ones like it. With rule, the switch
// gets to know.
func (l *exampleLab) drops(name string, frame []byte, reason string, rule bool) {
	l.t.Helper()
	l.denied = append(l.denied, frame)
	a := l.ask(frame)
	if a.verdict != "deny" || a.reason != reason || a.rules == 1 != rule || (a.Packet.RuleMatch != nil) != rule {
		l.t.Errorf("%s: %s (%s), %d rules, rule_match %s; want deny (%s), rule: %v", name, a.verdict, a.reason, a.rules, a.Packet.RuleMatch, reason, rule)
	}
	if !rule {
		l.ask(frame)
		return
	}
	// The packet itself was dropped without the rule. Those that follow are the rule's.
	dropped := func(n uint64) func() bool {
		m := flow.ParseFrame(frame, 1)
		return func() bool {
			for _, f := range l.sw.DumpFlows("br0") {
				if f.Actions == "drop" && f.Packets >= n && strings.Contains(f.Match+",", fmt.Sprintf(",tp_src=%d,tp_dst=%d,", m.L4Src, m.L4Dst)) {
					return true
				}
			}
			return false
		}
	}
	eventually(l.t, name+": a rule drops it", dropped(0))
	before := len(l.about(frame))
	l.p1.Receive(frame, frame)
	eventually(l.t, name+": the rule drops what follows", dropped(2))
	if got := len(l.about(frame)); got != before {
		l.t.Errorf("%s: the function was asked %d times, want %d", name, got, before)
	}
}

func (l *exampleLab) flows() string {
	var b strings.Builder
	for _, f := range l.sw.DumpFlows("br0") {
		fmt.Fprintln(&b, f.Text)
	}
	return b.String()
}

// The function in another language that stands in docs/functions.md governs a real switch in either version
// as it stands there. What it denies never passes, whichever fragment or runt of
// the same two hosts came before. About what it allows it is asked once, except
// where the switch can hold no rule for it.
func TestDocumentedFunction(t *testing.T) {
	for version := range protocols {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l := newExampleLab(t, version)
			packet := func(line string) []byte {
				t.Helper()
				frame, _, err := policytest.Packet(line)
				if err != nil {
					t.Fatal(err)
				}
				return frame
			}
			const (
				noSSH  = "no ssh"
				hidden = "may be ssh: it does not show its port"
				v6     = "[2001:db8::1]:%d > [2001:db8::2]:%d"
			)
			udpFragment := packet("fragment 10.0.0.1 > 10.0.0.2")
			udpFragment[23] = flow.ProtoUDP
			icmpFragment := packet("fragment 10.0.0.1 > 10.0.0.2")
			icmpFragment[23] = flow.ProtoICMP
			runt := func(n int) []byte { return packet("tcp 10.0.0.1:40022 > 10.0.0.2:22")[:n] }

			l.drops("a fragment of TCP comes first", packet("fragment 10.0.0.1 > 10.0.0.2"), hidden, false)
			l.drops("TCP without ports", runt(36), hidden, false)
			l.drops("half an IPv4 header", runt(24), hidden, false)
			l.drops("an Ethernet header alone", runt(14), hidden, false)
			l.drops("ssh", packet("tcp 10.0.0.1:40000 > 10.0.0.2:22"), noSSH, true)

			l.allowed("ARP", packet("arp 10.0.0.1 > 10.0.0.2"), true)
			l.allowed("TCP", packet("tcp 10.0.0.1:40000 > 10.0.0.2:443"), true)
			l.allowed("TCP in a VLAN", packet("tcp 10.0.0.1:40000 > 10.0.0.2:443 vlan 7"), true)
			l.allowed("UDP", packet("udp 10.0.0.1:40000 > 10.0.0.2:53"), true)
			l.allowed("ICMP", packet("icmp 10.0.0.1 > 10.0.0.2 type 8"), true)
			l.allowed("a fragment of UDP", udpFragment, false)
			l.allowed("a fragment of ICMP", icmpFragment, false)
			// After this one's rule fragments of ICMP don't ask any more: to the switch they are of type 0.
			l.allowed("an echo reply", packet("icmp 10.0.0.1 > 10.0.0.2 type 0"), true)
			hasIPv6 := version != "1.0"
			l.allowed("TCP over IPv6", packet(fmt.Sprintf("tcp "+v6, 40000, 443)), hasIPv6)
			l.allowed("a neighbour solicitation", packet("icmpv6 2001:db8::1 > 2001:db8::2 type 135"), hasIPv6)

			// Now there are rules for conversations of the same hosts.
			l.drops("a fragment of TCP comes later", packet("fragment 10.0.0.1 > 10.0.0.2"), hidden, false)
			l.drops("another ssh", packet("tcp 10.0.0.1:40001 > 10.0.0.2:22"), noSSH, true)
			l.drops("TCP without ports, again", runt(37), hidden, false)
			l.drops("a third ssh", packet("tcp 10.0.0.1:40002 > 10.0.0.2:22"), noSSH, true)
			l.drops("ssh over IPv6", packet(fmt.Sprintf("tcp "+v6, 40000, 22)), noSSH, hasIPv6)
			l.allowed("another TCP", packet("tcp 10.0.0.1:40001 > 10.0.0.2:443"), true)

			for _, frame := range l.denied {
				if n := l.sent(frame); n > 0 {
					t.Errorf("%d of %x passed\n%s", n, frame, l.flows())
				}
			}
			for _, f := range l.sw.DumpFlows("br0") { // the gateway's own rules are exact about nothing
				if f.Actions != "drop" && strings.Contains(f.Match, "tcp") && (!strings.Contains(f.Match, "tp_src=") || !strings.Contains(f.Match, "tp_dst=")) {
					t.Errorf("a rule allows TCP whatever its ports: %s", f.Text)
				}
			}
		})
	}
}

// That function keeps the contract. It does nothing beyond, so that there are warnings.
func TestDocumentedFunctionKeepsContract(t *testing.T) {
	address := startExample(t)
	eventually(t, "the example listens", func() bool {
		conn, err := net.Dial("tcp", address.Host)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	exchange := functiontest.Posts(&http.Client{Timeout: 20 * time.Second}, address.String(), nil)
	for _, r := range functiontest.Run(t.Context(), functiontest.Config{Exchange: exchange, Encodings: []string{"json"}, Samples: 10}) {
		if r.Status == functiontest.Failed {
			t.Errorf("%s: %s", r.Check, strings.Join(r.Details, "\n"))
		}
	}
}
