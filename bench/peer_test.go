package bench

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchbridge/flow"
)

// childPeer is a controller in a process of its own; see TestMain.
func childPeer(name string) Peer {
	return Peer{
		Name: name, Command: []string{"{bench}"}, Protocol: flow.OpenFlow13, Start: 20 * time.Second,
		Env: map[string]string{"SWITCHBRIDGE_BENCH_CHILD": name, "SWITCHBRIDGE_BENCH_LISTEN": "127.0.0.1:{port}"},
	}
}

func TestStartup(t *testing.T) {
	got, err := Startup(t.Context(), childPeer("responder"), 3)
	c, d := got.Connection, got.Decision
	if err != nil || c.Runs != 3 || c.Min <= 0 || c.Max > 20_000 || d.Runs != 3 || d.Min <= c.Min || d.Max > 20_000 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A controller that sets up the switch, or says nothing, has not decided yet.
func TestFirstDecision(t *testing.T) {
	for name, row := range map[string]struct {
		answer   func(n int, xid, buffer uint32) ([]byte, error)
		answered bool
	}{
		"after rules that name no packet": {func(n int, xid, buffer uint32) ([]byte, error) {
			if n < 5 {
				return flowMod(t, flow.Add, xid, flow.NoBuffer), nil
			}
			return flowMod(t, flow.Add, xid, buffer), nil
		}, true},
		"by a packet": {func(_ int, _, buffer uint32) ([]byte, error) {
			return packetOut(t, flow.OpenFlow10, flow.NoBuffer, make([]byte, 60)), nil
		}, true},
		"never": {func(int, uint32, uint32) ([]byte, error) { return nil, nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := dialSwitch(t.Context(), fakeController(t, row.answer), nil, flow.OpenFlow10, 1, 1, 4<<10)
			if err != nil {
				t.Fatal(err)
			}
			defer s.conn.Close()
			const limit = 200 * time.Millisecond
			took, answered, err := s.firstDecision(limit)
			if err != nil || answered != row.answered || took <= 0 || !answered && took < limit {
				t.Errorf("%v, %v, %v", took, answered, err)
			}
		})
	}
}

func TestResources(t *testing.T) {
	res, err := MeasureResources(t.Context(), childPeer("responder"), ResourcesConfig{Rate: 2000, Duration: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if res.IdleRSS < 1<<20 || res.ActiveRSS < 1<<20 || res.Sent < 300 || res.Sent > 600 || res.Answered+50 < res.Sent || res.ActiveCPU < 0 {
		t.Errorf("%+v", res)
	}
	if (res.PerfNote == "") != (res.Cycles > 0 && res.Instructions > 0) {
		t.Errorf("perf: %+v", res)
	}
	var text bytes.Buffer
	if err := res.WriteText(&text); err != nil || !strings.Contains(text.String(), "active:") {
		t.Errorf("%v: %s", err, &text)
	}
}

// Controllers are measured round by round, and one that is not there has a row that says
// so. What the gateway's own names stand for is judged against Open vSwitch's.
func TestVersus(t *testing.T) {
	var peers []Peer
	for _, name := range []string{SelfPeers()[1].Name, NameTestController} {
		p := childPeer("responder")
		p.Name = name
		peers = append(peers, p)
	}
	peers = append(peers, Peer{Name: "absent", Command: []string{"no-such-program-here"}})
	var order []string
	res, err := Versus(t.Context(), VersusConfig{Peers: peers, Rounds: 2, Duration: 50 * time.Millisecond, WarmUp: 10 * time.Millisecond,
		OnRound: func(_ int, p *Peer, _ *Round) { order = append(order, p.Name) }})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{peers[0].Name, peers[1].Name, peers[0].Name, peers[1].Name}; !slices.Equal(order, want) {
		t.Errorf("measured in the order %q, want %q", order, want)
	}
	var text bytes.Buffer
	if err := res.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"absent  absent: not installed", "figure controller.native_vs_peer ", " goal >= 1.2 ", "figure controller.native_flood_vs_peer ", "figure controller.native_p99_to_p50 "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing:\n%s", want, &text)
		}
	}
	if len(res.Failures) > 0 {
		t.Errorf("failures %q", res.Failures)
	}

	peers[0].Env = map[string]string{"SWITCHBRIDGE_BENCH_CHILD": "ends", "SWITCHBRIDGE_BENCH_LISTEN": "127.0.0.1:{port}"}
	res, err = Versus(t.Context(), VersusConfig{Peers: peers[:1], Rounds: 1, Duration: 50 * time.Millisecond, WarmUp: 10 * time.Millisecond})
	if err != nil || res.Err() == nil {
		t.Errorf("a gateway that ends is no failure: %v", err)
	}
}

// A stopped peer leaves nothing behind: neither a process nor its folder.
func TestPeerIsStopped(t *testing.T) {
	p := childPeer("responder")
	r, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := groupUsage(r.cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	r.Close()
	r.Close()
	if err := syscall.Kill(r.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the process is there: %v", err)
	}
	if _, err := os.Stat(r.Dir); !os.IsNotExist(err) {
		t.Errorf("its folder is there: %v", err)
	}
}

func TestPeerFaults(t *testing.T) {
	if _, err := Startup(t.Context(), Peer{Name: "x", Command: []string{"no-such-program-here"}}, 1); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("not installed: %v", err)
	}
	if _, err := Startup(t.Context(), childPeer("ends"), 1); err == nil || !strings.Contains(err.Error(), "it ended") || !strings.Contains(err.Error(), "no configuration") {
		t.Errorf("one that ends at once: %v", err)
	}
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Skipf("no sleep: %v", err)
	}
	mute := Peer{Name: "sleeper", Command: []string{path, "100"}, Protocol: flow.OpenFlow10, Start: 200 * time.Millisecond}
	if _, err := Startup(t.Context(), mute, 1); err == nil || !strings.Contains(err.Error(), "sleeper: it answered no connection in time") {
		t.Errorf("one that never listens: %v", err)
	}
}

// {self} is switchbridge's program, which the variable names here.
func TestPeerIsSwitchbridge(t *testing.T) {
	t.Setenv("SWITCHBRIDGE", os.Args[0])
	p := childPeer("responder")
	p.Command = []string{"{self}", "{self}", "{bench}"}
	r, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.cmd.Args, []string{self, self, self}) {
		t.Errorf("started as %q, want %s", r.cmd.Args, self)
	}

	t.Setenv("SWITCHBRIDGE", "no-such-program-here")
	for _, command := range [][]string{{"{self}", "{port}"}, {"{bench}", "{port}", "{self}"}} {
		p.Command = command
		if r, err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "SWITCHBRIDGE") {
			t.Errorf("%q: %v, want an error about SWITCHBRIDGE", command, err)
			if r != nil {
				r.Close()
			}
		}
	}
}

func TestParsePeers(t *testing.T) {
	peers, err := ParsePeers(strings.NewReader(`
peers:
  - name: POX
    command: [python3, /opt/pox/pox.py, openflow.of_01, "--port={port}"]
    openflow: "1.0"
    env: {PYTHONPATH: /opt/pox}
    start: 30s
    needs: /no/such/pox.py
    install: git clone it
  - {name: b, command: [x, "{port}"], openflow: "1.3"}
`))
	if err != nil || len(peers) != 2 {
		t.Fatal(peers, err)
	}
	if p := peers[0]; p.Name != "POX" || len(p.Command) != 4 || p.Protocol != flow.OpenFlow10 || p.Start != 30*time.Second || p.Env["PYTHONPATH"] != "/opt/pox" {
		t.Errorf("%+v", p)
	}
	peers[0].Command[0] = os.Args[0]
	if _, err := peers[0].Find(); !errors.Is(err, ErrNotInstalled) || peers[0].Install != "git clone it" {
		t.Errorf("the interpreter is there and the program is not: %v", err)
	}
	for file, want := range map[string]string{
		`peers: [{command: [x, "{port}"], openflow: "1.0"}]`:                                                              "entry 1 (\"\"): no name",
		`peers: [{name: a, openflow: "1.0"}]`:                                                                             "no command",
		`peers: [{name: a, command: [x], openflow: "1.0"}]`:                                                               "{port} is nowhere",
		`peers: [{name: a, command: [x, "{port}"], openflow: "1.1"}]`:                                                     `openflow "1.1"`,
		`peers: [{name: a, command: [x, "{port}"], colour: red}]`:                                                         "colour",
		`peers: [{name: a, command: [x, "{port}"], openflow: "1.0"}, {name: a, command: [x, "{port}"], openflow: "1.0"}]`: "taken",
		`{`: "peers: ",
	} {
		if _, err := ParsePeers(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}

func TestParsePerf(t *testing.T) {
	if c := parsePerf("1200,,cycles:u,10,100.00,,\n3400,,instructions:u,10,100.00,2.8,insn per cycle\n"); c != (perfCount{1200, 3400, ""}) {
		t.Errorf("%+v", c)
	}
	if c := parsePerf("<not supported>,,cycles,0,100.00,,\n"); c.note != "perf says of cycles: <not supported>" {
		t.Errorf("%+v", c)
	}
	if c := parsePerf(""); c.note == "" {
		t.Errorf("%+v", c)
	}
}

// The example file that users start from is valid.
func TestExamplePeers(t *testing.T) {
	f, err := os.Open("../configs/peers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if peers, err := ParsePeers(f); err != nil || len(peers) != 3 {
		t.Errorf("%+v, %v", peers, err)
	}
}
