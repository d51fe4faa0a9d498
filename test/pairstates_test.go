package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/functiontest/conformance"
	"switchbridge/internal/certs/certstest"
	"switchbridge/internal/child"
	"switchbridge/internal/ovs"
	"switchbridge/pair"
	"switchbridge/state/travel"
)

// relay passes connections on until it is cut.
type relay struct {
	addr string
	to   string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// lead has new connections lead elsewhere.
func (r *relay) lead(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); r.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.pass(c)
		}
	}()
	return r
}

// pass passes one connection on. While the relay is cut nothing passes, and nobody is told.
func (r *relay) pass(c net.Conn) {
	r.mu.Lock()
	r.conns[c] = true
	cut, to := r.cut, r.to
	r.mu.Unlock()
	if cut {
		return
	}
	peer, err := net.Dial("tcp", to)
	if err != nil {
		r.close(c)
		return
	}
	r.mu.Lock()
	r.conns[peer] = true
	r.mu.Unlock()
	for _, way := range [][2]net.Conn{{c, peer}, {peer, c}} {
		go func() {
			_, _ = io.Copy(way[0], gate{way[1], r})
			r.close(c)
			r.close(peer)
		}()
	}
}

// gate reads what comes while the relay is whole.
type gate struct {
	net.Conn
	r *relay
}

// Read implements [io.Reader].
func (g gate) Read(b []byte) (int, error) {
	for {
		n, err := g.Conn.Read(b)
		g.r.mu.Lock()
		cut := g.r.cut
		g.r.mu.Unlock()
		if !cut || err != nil {
			return n, err
		}
	}
}

func (r *relay) close(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.cut {
		c.Close()
		delete(r.conns, c)
	}
}

// set cuts the relay, or has it pass new connections: old ones have lost something.
func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut = cut; !cut {
		for c := range r.conns {
			c.Close()
		}
		clear(r.conns)
	}
}

// member is a gateway of a pair as a process of its own.
type member struct {
	config string
	socket string // where the bridge's connections come in
	admin  string
	cmd    *exec.Cmd
	ended  chan struct{}
}

// travelPair is a bridge with three hosts, and two processes whose states travel.
type travelPair struct {
	*lab
	program string
	relays  [2]*relay // on the way to each
	members [2]*member
}

func newTravelPair(t *testing.T, version string) *travelPair {
	t.Helper()
	p := &travelPair{lab: &lab{t: t, sw: ovs.Start(t, ovs.Options{})}}
	if p.sw.Dummy() {
		t.Skip("hosts need root for network namespaces")
	}
	dir := p.sw.Dir()
	p.program = filepath.Join(dir, "switchbridge")
	if out, err := exec.Command("go", "build", "-o", p.program, "switchbridge/cmd/switchbridge").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.policy = filepath.Join(dir, "policy.yaml")
	keys := filepath.Join(dir, "keys")
	for path, text := range map[string]string{p.policy: fmt.Sprintf(scanPolicy, "none"), keys: conformance.StateKeys[0]} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority := certstest.New(t)
	ca := authority.File(t)
	var listens [2]string
	for i := range listens {
		listens[i] = freePort(t)
		p.relays[i] = newRelay(t, listens[i])
	}
	var targets []string
	for i := range p.members {
		m := &member{config: filepath.Join(dir, fmt.Sprintf("gateway%d.yaml", i)), socket: filepath.Join(dir, fmt.Sprintf("gateway%d.sock", i)), admin: freePort(t)}
		cert := filepath.Join(dir, fmt.Sprintf("gateway%d", i))
		writeCert(t, cert, authority.Issue(t, fmt.Sprintf("gateway-%d", i), time.Now().Add(time.Hour)))
		text := fmt.Sprintf(`
function: {urls: [native]}
policy: %s
openflow: {listen: ["unix:%s"]}
admin: {listen: %q}
state: {url: %q, seal_file: %s}
pair: {listen: %q, peer: %q, member: %d, prefer: %t, cert: %s.pem, key: %s.key, ca: %s}
`, p.policy, m.socket, m.admin, travel.URL, keys, listens[i], p.relays[1-i].addr, i, i == 0, cert, cert, ca)
		if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		targets = append(targets, "unix:"+m.socket)
		p.members[i] = m
		p.start(i)
	}
	p.sw.AddBridge("br0", ovs.Bridge{DPID: 7, Protocols: []string{protocols[version]}, Controllers: targets})
	p.h1, p.h2, p.h3 = p.sw.AddHost("br0", "h1"), p.sw.AddHost("br0", "h2"), p.sw.AddHost("br0", "h3")
	p.h2.ServeEcho(80)
	p.h2.ServeEcho(443)
	return p
}

func (p *travelPair) start(i int) {
	p.t.Helper()
	m := p.members[i]
	os.Remove(m.socket)
	m.cmd, m.ended = exec.Command(p.program, "run", "--config", m.config), make(chan struct{})
	log, err := os.OpenFile(m.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := child.Start(m.cmd); err != nil {
		p.t.Fatal(err)
	}
	ended, cmd := m.ended, m.cmd
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if text, err := os.ReadFile(m.config + ".log"); err == nil && p.t.Failed() {
			p.t.Logf("gateway %d: %s", i, text)
		}
	})
}

// kill has a member die at once (SIGKILL).
func (p *travelPair) kill(i int) {
	p.t.Helper()
	m := p.members[i]
	if err := m.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-m.ended
}

// status is what a member says of the pair; nil while it does not answer.
func (p *travelPair) status(i int) *pair.Status {
	resp, err := http.Get("http://" + p.members[i].admin + "/api/v1/status")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var st struct{ Pair *pair.Status }
	if json.NewDecoder(resp.Body).Decode(&st) != nil {
		return nil
	}
	return st.Pair
}

// leads waits until a member leads, and the other one has its states if whole.
func (p *travelPair) leads(i int, whole bool) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("gateway %d leads, whole %v", i, whole), func() bool {
		st := p.status(i)
		return st != nil && st.Leads && st.States != nil && (!whole || st.States.Whole)
	})
}

// TestPairCarriesTravellingStates has the gateways of a pair killed in traffic, whose states travel: who was shut out stays so, whoever of them leads, and also if he
// was while the link between them was cut.
func TestPairCarriesTravellingStates(t *testing.T) {
	for version := range protocols {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			testTravelPair(t, newTravelPair(t, version), version)
		})
	}
}

func testTravelPair(t *testing.T, p *travelPair, version string) {
	p.leads(0, true)
	p.scan()

	var passed, tried atomic.Int32
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // who is shut out tries on
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if tried.Add(1); p.connects(p.h1, 80, 100*time.Millisecond) {
				passed.Add(1)
			}
		}
	}()
	goesOn := func(what string) {
		t.Helper()
		before := tried.Load()
		eventually(t, what+": somebody else is let in", func() bool { return p.connects(p.h3, 80, 200*time.Millisecond) })
		eventually(t, what+": the scanner tries on", func() bool { return tried.Load() >= before+5 })
	}

	for round := range 4 { // each dies twice, the other one of a pair that has begun anew
		leader := round % 2
		p.leads(leader, true)
		p.kill(leader)
		p.leads(1-leader, false)
		goesOn(fmt.Sprintf("round %d, after the leader was killed", round))
		p.start(leader)
		p.leads(1-leader, true)
		goesOn(fmt.Sprintf("round %d, when it is back", round))
	}

	for _, r := range p.relays {
		r.set(true)
	}
	p.leads(1, false)     // the one that stood by claims
	if version != "1.0" { // where a switch tells nobody, and gives the other one no packets
		eventually(t, "the other one yields", func() bool { st := p.status(0); return st != nil && !st.Leads })
	}
	goesOn("with the link cut")
	for _, port := range []uint16{443, 22, 21, 20} { // the second is shut out by who leads alone
		_ = p.connects(p.h3, port, 300*time.Millisecond)
	}
	if p.connects(p.h3, 80, 2*time.Second) {
		t.Error("a second scanner is let in")
	}
	for _, r := range p.relays {
		r.set(false)
	}
	p.leads(1, true)
	p.kill(1)
	p.leads(0, false)
	before := tried.Load()
	eventually(t, "the scanner tries on", func() bool { return tried.Load() >= before+10 })
	if p.connects(p.h3, 80, 2*time.Second) {
		t.Error("who was shut out while the link was cut is let in")
	}
	if st := p.status(0); st == nil || st.States.Doubts {
		t.Errorf("the one that is left does not believe its states: %+v", st)
	}
	close(stop)
	<-done
	if passed.Load() > 0 {
		log, _ := os.ReadFile(p.members[0].config + ".log")
		t.Errorf("the scanner got in %d times in %d tries\n%s", passed.Load(), tried.Load(), strings.TrimSpace(string(log)))
	}
}
