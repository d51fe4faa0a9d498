// Package bridgetest is the conformance suite of sessions: what a switch's user
// may rely on, whatever protocol the switch speaks and whether it is a fake or
// a real one. A protocol's tests give it a [Target] for each kind of switch.
package bridgetest

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
)

// Target makes switches of one kind.
type Target struct {
	Name string // such as "OpenFlow 1.3, Open vSwitch"

	// Simulated targets live in a synctest bubble, in which waiting takes no time.
	Simulated bool

	// Connect makes a switch with ports 1 to 4 whose session belongs to b. It
	// returns when the switch's packets reach the session. It skips the test,
	// with the reason, where the switch can't be had here.
	Connect func(t *testing.T, b *bridge.Bridge) Peer

	// Inexpressible is a rule that denies TCP port 22 and more, which the switch
	// can't hold; the zero rule where there is none.
	Inexpressible func(packet *flow.Match) flow.Rule

	// Room, if not 0, is how many further rules a table of the switch takes after
	// Fill; the rest it refuses.
	Room int

	// ExactFirst says that exact rules are looked up before others, whatever the
	// priorities.
	ExactFirst bool

	// Buffers says that the switch holds packets and sends only their start.
	Buffers bool

	// Elapse, if not nil, takes the switch's clock ahead, so that its rules end. A
	// simulated target's is that of the test.
	Elapse func(d time.Duration)

	// Digests says that a question has no frame, so that a packet which asks is
	// lost.
	Digests bool
}

// Frame is an Ethernet frame at a port.
type Frame struct {
	Port flow.PortNo
	Data []byte
}

// Peer is one switch that is connected.
type Peer interface {
	// Inject has a frame come in by a port.
	Inject(port flow.PortNo, frame []byte)
	// Out returns the frames that have left since the last call.
	Out() []Frame
	// Rules returns the rules in the switch's tables, whoever put them there.
	Rules() []flow.Rule
	// Load puts a rule of somebody else's into the tables.
	Load(r flow.Rule)
	// Wipe removes every rule from the tables, as somebody else might.
	Wipe()
	// Fill leaves room in the tables for Target.Room further rules.
	Fill()
	// Reconnect ends the connection and makes another. The tables stay.
	Reconnect()
	// Restart ends the connection and has another gateway take over the switch, as
	// a new process would. The tables stay.
	Restart(b *bridge.Bridge)
	// Close ends the connection.
	Close()
}

// rig is one case on one target.
type rig struct {
	*testing.T
	target  Target
	remote  bool
	bridge  *bridge.Bridge
	config  bridge.Config // what bridge was made of
	metrics *prometheus.Registry
	peer    Peer
	logs    *logbuffer.Buffer

	mu      sync.Mutex
	asked   []flow.Event // what the decider was asked, packets copied
	answer  func(ev *flow.Event, d *flow.Decision) error
	hold    chan struct{} // the decider waits for it, where it is not nil
	records []record
}

// record is what a test looks at of a bridge.Record.
type record struct {
	event   flow.EventType
	verdict flow.Verdict
	err     error
	cookie  uint64
	xid     uint32
	refused int
}

// function is the rig as a remote decider.
type function struct{ r *rig }

func (f function) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	r := f.r
	seen := *ev
	if ev.PacketIn != nil {
		p := *ev.PacketIn
		p.Data = slices.Clone(p.Data)
		seen.PacketIn = &p
	}
	r.mu.Lock()
	r.asked = append(r.asked, seen)
	answer, hold := r.answer, r.hold
	r.mu.Unlock()
	if hold != nil && ev.Type == flow.EventPacketIn {
		select {
		case <-hold:
		case <-ctx.Done():
			return flow.Errorf(flow.Unavailable, "test: %w", ctx.Err())
		}
	}
	if answer == nil {
		return nil
	}
	return answer(ev, d)
}

// inPlace is the rig as a local decider.
type inPlace struct{ function }

func (inPlace) Local() bool { return true }

// Run runs the suite on a target. Each case is a test of its own, named after
// what must hold.
func Run(t *testing.T, target Target) {
	for _, remote := range []bool{false, true} {
		t.Run(where(remote), func(t *testing.T) {
			for _, c := range casesOf(&target, remote) {
				t.Run(c.name, func(t *testing.T) { run(t, target, remote, c) })
			}
		})
	}
}

// apart is on how many targets of a kind cases run side by side, for each of the two places of decision.
const apart = 4

// RunApart is Run for switches for which a case mostly waits: cases run side by side, on several targets, which with makes. At most one case at a
// time has a target.
func RunApart(t *testing.T, with func(t *testing.T) Target) {
	for _, remote := range []bool{false, true} {
		t.Run(where(remote), func(t *testing.T) {
			t.Parallel()
			targets := make(chan Target, apart)
			var last Target
			for range apart {
				last = with(t)
				targets <- last
			}
			for _, c := range casesOf(&last, remote) {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					target := <-targets
					defer func() { targets <- target }()
					run(t, target, remote, c)
				})
			}
		})
	}
}

// Main runs the tests of a package most of which wait: n of them side by side, unless -parallel says how many.
func Main(m *testing.M, n int) {
	flag.Parse()
	const name = "test.parallel"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if !given {
		_ = flag.Set(name, strconv.Itoa(n))
	}
	os.Exit(m.Run())
}

// where is who decides.
func where(remote bool) string {
	if remote {
		return "remote"
	}
	return "in place"
}

// casesOf are those that a target can be held to.
func casesOf(target *Target, remote bool) []testCase {
	return slices.DeleteFunc(all(), func(c testCase) bool {
		return c.idles && !remote && !target.Simulated && target.Elapse == nil || c.remoteOnly && !remote || c.needs != nil && !c.needs(target)
	})
}

// run runs a case, in a bubble where waiting takes no time if the target is simulated.
func run(t *testing.T, target Target, remote bool, c testCase) {
	if target.Simulated {
		synctest.Test(t, func(t *testing.T) { runCase(t, target, remote, c) })
	} else {
		runCase(t, target, remote, c)
	}
}

func runCase(t *testing.T, target Target, remote bool, c testCase) {
	r := &rig{T: t, target: target, remote: remote, logs: new(logbuffer.Buffer), answer: c.answer, metrics: prometheus.NewRegistry()}
	log := slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg := bridge.Config{Logger: log, Coalesce: true, LookInterval: time.Hour, OnDecision: r.observe, Metrics: bridge.NewMetrics(r.metrics)}
	if remote {
		cfg.Decider = function{r}
	} else {
		cfg.Decider = inPlace{function{r}}
	}
	if c.config != nil {
		c.config(&cfg)
	}
	var err error
	if r.bridge, err = bridge.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.config = cfg
	r.peer = target.Connect(t, r.bridge)
	defer func() {
		r.peer.Close()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", r.logs)
		}
	}()
	r.eventually("the switch is asked about", func() bool { return r.count(flow.EventSwitchConnected) > 0 })
	r.settle()
	c.run(r)
}

func (r *rig) observe(rec *bridge.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := record{event: rec.Event.Type, err: rec.Err, cookie: rec.Cookie, xid: rec.Event.XID, refused: rec.Refused}
	if rec.Err == nil {
		one.verdict = rec.Decision.Verdict
	}
	r.records = append(r.records, one)
}

// answers sets what the decider answers from now on.
func (r *rig) answers(f func(ev *flow.Event, d *flow.Decision) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// holds makes the decider wait until release is called.
func (r *rig) holds() (release func()) {
	ch := make(chan struct{})
	r.mu.Lock()
	r.hold = ch
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		r.hold = nil
		r.mu.Unlock()
		close(ch)
	}
}

// count returns how many events of a type were asked about.
func (r *rig) count(t flow.EventType) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for i := range r.asked {
		if r.asked[i].Type == t {
			n++
		}
	}
	return n
}

// last returns the latest event of a type.
func (r *rig) last(t flow.EventType) *flow.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.asked) - 1; i >= 0; i-- {
		if r.asked[i].Type == t {
			ev := r.asked[i]
			return &ev
		}
	}
	return nil
}

// eventually waits until ok.
func (r *rig) eventually(what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		r.wait()
		if ok() {
			return
		}
		if time.Now().After(end) {
			r.Fatalf("it does not come true that %s; rules:\n%s\nlog:\n%s", what, r.rules(), r.logs)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// wait lets a simulated switch come to rest.
func (r *rig) wait() {
	if r.target.Simulated {
		synctest.Wait()
	}
}

// settle waits as long as it takes that nothing more happens.
func (r *rig) settle() {
	if r.target.Simulated {
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		return
	}
	time.Sleep(100 * time.Millisecond)
}

// rules writes the switch's rules for a message.
func (r *rig) rules() string {
	var b strings.Builder
	for _, rule := range r.peer.Rules() {
		fmt.Fprintf(&b, "  cookie %#x %s\n", rule.Cookie, rule.String())
	}
	return b.String()
}

// find returns the rules that ok selects.
func (r *rig) find(ok func(*flow.Rule) bool) []flow.Rule {
	var list []flow.Rule
	for _, rule := range r.peer.Rules() {
		if ok(&rule) {
			list = append(list, rule)
		}
	}
	return list
}

// decided returns this gateway's rules that a decision installed.
func (r *rig) decided() []flow.Rule {
	return r.find(func(rule *flow.Rule) bool { return r.bridge.Owns(rule.Cookie) && bridge.Decision(rule.Cookie) != 0 })
}

// passes reports by which ports a frame leaves that comes in by port 1, and
// whether the decider was asked about it.
func (r *rig) passes(frame []byte) (ports []flow.PortNo, asked bool) {
	r.Helper()
	return r.inject(1, frame, func([]flow.PortNo, bool) bool { return true })
}

// inject is passes, of a frame that comes in by any port, and waits until enough
// has happened, where a real switch is slower than usual.
func (r *rig) inject(port flow.PortNo, frame []byte, enough func(ports []flow.PortNo, asked bool) bool) (ports []flow.PortNo, asked bool) {
	r.Helper()
	r.peer.Out()
	before := r.count(flow.EventPacketIn)
	r.peer.Inject(port, frame)
	look := func() {
		for _, f := range r.peer.Out() {
			if string(f.Data) == string(frame) {
				ports = append(ports, f.Port)
			}
		}
		asked = r.count(flow.EventPacketIn) > before
	}
	r.settle()
	look()
	for end := time.Now().Add(2 * time.Second); !r.target.Simulated && !enough(ports, asked) && time.Now().Before(end); look() {
		time.Sleep(20 * time.Millisecond)
	}
	slices.Sort(ports)
	return ports, asked
}

// want checks that a frame which comes in by port 1 leaves by a port (0: by
// none), and whether the decider is asked about it.
func (r *rig) want(what string, frame []byte, port flow.PortNo, asked bool) {
	r.Helper()
	r.wantFrom(1, what, frame, port, asked)
}

// wantFrom is want for a frame that comes in by any port.
func (r *rig) wantFrom(from flow.PortNo, what string, frame []byte, port flow.PortNo, asked bool) {
	r.Helper()
	var wanted []flow.PortNo
	if port != 0 && !(asked && r.target.Digests) { // a digest's packet is lost
		wanted = []flow.PortNo{port}
	}
	ports, was := r.inject(from, frame, func(ports []flow.PortNo, was bool) bool { return len(ports) >= len(wanted) && (was || !asked) })
	if !slices.Equal(ports, wanted) || was != asked {
		r.Errorf("%s: leaves by %v, want %v; asked: %v, want %v; rules:\n%s", what, ports, wanted, was, asked, r.rules())
	}
}
