// Package isolate measures what one hostile switch does to fifteen others: the
// latency of their packets with it and without it, the gateway's memory, and
// what it logs.
//
// The gateway is a process of its own with default settings. The well-behaved
// switches live in this process, on a thread that is bound to one core and goes
// before all others there; the hostile one is a third process, bound to the same
// core, so that the load never takes more than one core and what it takes is not
// measured as the gateway's. Rounds are quiet, hostile, quiet, and so on: what
// else the machine does meets both.
package isolate

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"switchbridge/bench"
	"switchbridge/bench/figures"
	"switchbridge/bench/fleet"
	"switchbridge/bench/stats"
	"switchbridge/faas/function/devca"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/oftest"
)

// Functions that a gateway is measured with.
const (
	Embedded = "embedded"
	Remote   = "remote"
)

// Config says what to measure. Zero values take the defaults named.
type Config struct {
	Kinds     []string // all
	Functions []string // both

	Victims int           // 15
	Rate    float64       // packets a second of each victim: 20
	Rounds  int           // hostile phases, each between two quiet ones: 3
	Quiet   time.Duration // of one quiet phase: 3 s
	Hostile time.Duration // of one hostile phase: 7 s, longer than the gateway's timeouts

	// Gateway are further flags of the gateway, for a look at what a setting does.
	// Figures are of none.
	Gateway []string
	// Profiles is a folder that gets a CPU profile of the gateway of each run's last
	// hostile phase. Empty: none.
	Profiles string
	// OnRow is told of each run when it is over.
	OnRow func(*Row)
}

// Quick makes a configuration whose whole run takes under two minutes.
func (c *Config) Quick() {
	c.Rounds, c.Quiet, c.Hostile = 1, 1200*time.Millisecond, 2500*time.Millisecond
}

// Row is one run: a kind of hostility and a function.
type Row struct {
	Kind     string        `json:"kind"`
	Function string        `json:"function"`
	Quiet    stats.Latency `json:"quiet"`
	Hostile  stats.Latency `json:"hostile"`

	QuietRSS   int64   `json:"quiet_rss_bytes"`   // the most before any hostility, with all switches connected
	HostileRSS int64   `json:"hostile_rss_bytes"` // the most since
	QuietLog   float64 `json:"quiet_log_bytes_per_minute"`
	HostileLog float64 `json:"hostile_log_bytes_per_minute"`

	Did      float64 `json:"hostile_per_s"`          // what the hostile one sent
	Answered float64 `json:"hostile_answered_per_s"` // and what it was answered
	Newcomer float64 `json:"newcomer_ms"`            // the longest that a switch which connects meanwhile waited for its first answer

	Sent   uint64 `json:"sent"`
	Lost   uint64 `json:"lost"`
	Wrong  uint64 `json:"wrong"`
	Failed string `json:"failed,omitempty"` // why the run could not be made

	failures []string
}

// Result is what Run measured.
type Result struct {
	Machine bench.Machine `json:"machine"`
	Thread  string        `json:"measuring_thread"` // how urgent it could be made
	Victims int           `json:"victims"`
	Rate    float64       `json:"rate_per_s"` // of each victim
	Rows    []*Row        `json:"rows"`
	figures.List
}

// Run measures. Of a run that fails half-way the result has what came before.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Kinds == nil {
		cfg.Kinds = Kinds()
	}
	for _, k := range cfg.Kinds {
		if !slices.Contains(Kinds(), k) {
			return nil, fmt.Errorf("bench isolate: hostile kind %q: want one of %s", k, strings.Join(Kinds(), ", "))
		}
	}
	if cfg.Functions == nil {
		cfg.Functions = []string{Embedded, Remote}
	}
	for _, f := range cfg.Functions {
		if f != Embedded && f != Remote {
			return nil, fmt.Errorf("bench isolate: function %q: want %s or %s", f, Embedded, Remote)
		}
	}
	if cfg.Victims == 0 {
		cfg.Victims = 15
	}
	if cfg.Rate == 0 {
		cfg.Rate = 20
	}
	if cfg.Rounds == 0 {
		cfg.Rounds = 3
	}
	if cfg.Quiet == 0 {
		cfg.Quiet = 3 * time.Second
	}
	if cfg.Hostile == 0 {
		cfg.Hostile = 7 * time.Second
	}
	// The measuring thread must find a P whenever it returns from the kernel.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0))))
	res := &Result{Machine: bench.ThisMachine(), Victims: cfg.Victims, Rate: cfg.Rate}
	e, err := newEnvironment(cfg)
	if err != nil {
		return nil, fmt.Errorf("bench isolate: %w", err)
	}
	defer os.RemoveAll(e.dir)
	for _, kind := range cfg.Kinds {
		for _, function := range cfg.Functions {
			if function == Embedded && remoteOnly(kind) {
				continue
			}
			row := &Row{Kind: kind, Function: function}
			err := e.run(ctx, row)
			if ctx.Err() != nil {
				return res, ctx.Err()
			}
			if err != nil {
				row.Failed = err.Error()
			}
			res.Thread = e.thread
			res.Rows = append(res.Rows, row)
			res.judge(row)
			if cfg.OnRow != nil {
				cfg.OnRow(row)
			}
		}
	}
	return res, nil
}

// Goals.
const (
	goalRatio = 2                    // of latency and memory to the quiet ones
	goalSlack = 2 * time.Millisecond // that latency may grow by, whatever the ratio
	goalLog   = 1.0                  // MB a minute
)

// judge makes a run's figures.
func (r *Result) judge(row *Row) {
	name := "isolate." + row.Kind + "." + row.Function
	if row.Failed != "" {
		r.Failf(name, "%s", row.Failed)
		return
	}
	for _, f := range row.failures {
		r.Failf(name, "%s", f)
	}
	if row.Quiet.Count == 0 || row.Hostile.Count == 0 || row.QuietRSS == 0 {
		return
	}
	atMost := r.AtMost
	if row.Kind == Three {
		atMost = func(name string, v, _ float64) { r.Note(name, v) }
	}
	quiet := float64(row.Quiet.P99)
	atMost(name+".victim_p99_ratio", float64(row.Hostile.P99)/quiet, max(goalRatio, (quiet+float64(goalSlack))/quiet))
	atMost(name+".rss_ratio", float64(row.HostileRSS)/float64(row.QuietRSS), goalRatio)
	atMost(name+".log_mb_per_minute", row.HostileLog/1e6, goalLog)
}

// environment is what all runs share.
type environment struct {
	cfg    Config
	dir    string
	policy string
	ca     string // folder of the functions' authority
	caFile string
	self   string // this program
	core   int    // that the load is bound to
	all    unix.CPUSet
	thread string
	runs   int
}

const policyText = `serial: 1
chain:
  - blocklist: {addresses: [203.0.113.9]}
  - forward: {mode: normal}
`

func newEnvironment(cfg Config) (*environment, error) {
	e := &environment{cfg: cfg}
	if err := unix.SchedGetaffinity(0, &e.all); err != nil {
		return nil, fmt.Errorf("which cores this process may use: %w", err)
	}
	var err error
	if e.core, err = fleet.Core(); err != nil {
		return nil, err
	}
	if e.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if e.dir, err = os.MkdirTemp("", "switchbridge-isolate-"); err != nil {
		return nil, err
	}
	e.policy = filepath.Join(e.dir, "policy.yaml")
	e.ca = filepath.Join(e.dir, "ca")
	ca, err := devca.Open(e.ca)
	if err != nil {
		return nil, err
	}
	e.caFile = ca.Path
	return e, os.WriteFile(e.policy, []byte(policyText), 0o600)
}

// run makes one run.
func (e *environment) run(ctx context.Context, row *Row) (err error) {
	e.runs++
	url, control := "", ""
	if row.Function == Remote {
		f, err := e.function(ctx, row.Kind)
		if err != nil {
			return err
		}
		defer f.Close()
		url = "https://" + f.Addr
		if remoteOnly(row.Kind) {
			control = url
		}
	}
	logFile := filepath.Join(e.dir, fmt.Sprintf("log-%d", e.runs))
	p4 := ""
	if row.Kind == Digests {
		if p4, err = freeAddr(); err != nil {
			return err
		}
	}
	g, admin, err := e.gateway(ctx, row, url, p4, logFile)
	if err != nil {
		return err
	}
	defer g.Close()
	v, err := fleet.Dial(victims(g.Addr, e.cfg.Victims, e.cfg.Rate))
	if err != nil {
		return err
	}
	defer v.Close()
	h, err := e.hostile(ctx, row.Kind, cmp.Or(p4, g.Addr))
	if err != nil {
		return err
	}
	defer h.close()

	memory := bench.WatchMemory(g.PID())
	defer memory.Stop()
	var quiet, hostile stats.Histogram
	phase := func(d time.Duration, into *stats.Histogram, wait bool) {
		var t fleet.Tally
		e.thread = fleet.Urgent(e.core, func() { t = v.Run(d, into, wait) })
		row.Sent += t.Sent
		row.Lost += t.Lost
		row.Wrong += t.Wrong
		if t.Lost+t.Wrong > 0 {
			when := "quiet"
			if into == &hostile {
				when = "hostile"
			}
			row.failures = append(row.failures, fmt.Sprintf("of %d packets of victims in a %s phase %d were lost and %d answered wrongly %s", t.Sent, when, t.Lost, t.Wrong, t.Example))
		}
	}
	const settle = 400 * time.Millisecond
	phase(settle, nil, true) // the first of everything: connections are dialled, code is read
	logged := func(into *float64, d time.Duration, do func()) error {
		before, err := size(logFile)
		if err != nil {
			return err
		}
		begin := time.Now()
		do()
		after, err := size(logFile)
		*into += float64(after-before) / max(time.Since(begin), d).Minutes()
		return err
	}
	var quietLog, hostileLog, did, answered float64
	memory.Reset()
	if err := logged(&quietLog, e.cfg.Quiet, func() { phase(e.cfg.Quiet, &quiet, true) }); err != nil {
		return err
	}
	row.QuietRSS = memory.Reset()
	for round := range e.cfg.Rounds {
		begin := time.Now()
		if err := h.start(ctx, control, e.caFile); err != nil {
			return err
		}
		newcomer := make(chan string, 1)
		go func() {
			time.Sleep(e.cfg.Hostile / 4)
			took, err := greet(ctx, g.Addr, flow.DPID(500+round), e.cfg.Hostile)
			row.Newcomer = max(row.Newcomer, float64(took)/float64(time.Millisecond))
			said := ""
			if err != nil {
				said = fmt.Sprintf("a switch that connected in a hostile phase was not served within %v: %v", e.cfg.Hostile, err)
			}
			newcomer <- said
		}()
		profiled := make(chan error, 1)
		go func() { profiled <- e.profile(ctx, row, admin, round) }()
		if err := logged(&hostileLog, e.cfg.Hostile, func() { phase(e.cfg.Hostile, &hostile, true) }); err != nil {
			return err
		}
		took := time.Since(begin).Seconds()
		var d Did
		stopped := make(chan error, 1)
		go func() {
			var err error
			d, err = h.stop(ctx, control, e.caFile)
			stopped <- err
		}()
		for over := false; !over; { // victims go on meanwhile
			phase(settle, nil, false)
			select {
			case err := <-stopped:
				if over = true; err != nil {
					return err
				}
			default:
			}
		}
		did += float64(d.Sent) / took
		answered += float64(d.Answered) / took
		if said := <-newcomer; said != "" {
			row.failures = append(row.failures, said)
		}
		if err := <-profiled; err != nil {
			return err
		}
		row.HostileRSS = max(row.HostileRSS, memory.Reset())
		phase(e.cfg.Quiet, &quiet, true)
	}
	if n, example := v.Ended(); n > 0 {
		row.failures = append(row.failures, fmt.Sprintf("%d victims lost their connection: %s", n, example))
		if why := ended(logFile); why != "" {
			row.failures = append(row.failures, "the gateway ended: "+why)
		}
	}
	row.Quiet, row.Hostile = quiet.Latency(), hostile.Latency()
	n := float64(e.cfg.Rounds)
	row.QuietLog, row.HostileLog, row.Did, row.Answered = quietLog, hostileLog/n, did/n, answered/n
	return nil
}

// ended returns how the gateway's program ended, where it crashed.
func ended(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for _, word := range []string{"\nfatal error: ", "\npanic: "} {
		if at := strings.Index(string(b), word); at >= 0 {
			return strings.TrimSpace(string(b[at : at+min(len(b)-at, 1500)]))
		}
	}
	return ""
}

func size(path string) (int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// gateway starts one, which may use all cores.
func (e *environment) gateway(ctx context.Context, row *Row, url, p4, logFile string) (r *bench.Process, admin string, err error) {
	settings := "{}\n"
	if row.Kind == FlowRemoved || row.Kind == PortStatus {
		settings = "openflow: {subscribe: [" + row.Kind + "]}\n"
	}
	if admin, err = freeAddr(); err != nil {
		return nil, "", err
	}
	args := "exec {self} run --config {dir}/gateway.yaml --openflow tcp:127.0.0.1:{port} --admin " + admin
	if p4 != "" {
		args += fmt.Sprintf(" --p4 device=%d,addr=%s", hostileDPID, p4)
	}
	for _, f := range e.cfg.Gateway {
		args += " '" + f + "'"
	}
	if e.cfg.Profiles != "" {
		args += " --pprof"
	}
	if row.Function == Embedded {
		args += " --policy " + e.policy
	} else {
		args += " --function " + url + " --function-ca " + e.caFile
	}
	p := bench.Peer{Name: "switchbridge", Protocol: flow.OpenFlow13, Files: map[string]string{"gateway.yaml": settings},
		Command: []string{"sh", "-c", args + " >" + logFile + " 2>&1"}}
	err = bound(e.all, func() (err error) {
		r, err = p.Run(ctx)
		return err
	})
	if err != nil {
		said, _ := os.ReadFile(logFile) // the start's error is what counts
		return nil, "", fmt.Errorf("%w; it said: %s", err, said[max(0, len(said)-1000):])
	}
	for end := time.Now().Add(3 * fleet.AnswerLimit); ; pause(ctx, 10*time.Millisecond) {
		if err = bench.Ask(ctx, http.MethodGet, "http://"+admin+"/readyz", ""); err == nil {
			return r, admin, nil
		}
		if ctx.Err() != nil || time.Now().After(end) {
			r.Close()
			return nil, "", fmt.Errorf("the gateway is not ready: %w", err)
		}
	}
}

// function starts one, which may use all cores, too: as a rule it is elsewhere.
func (e *environment) function(ctx context.Context, kind string) (r *bench.Process, err error) {
	p := bench.Peer{Name: "function", Command: []string{"{self}", "function", "serve", "--listen", "127.0.0.1:{port}", "--dev-ca", e.ca, "--policy", e.policy, "--records", "off", "--log-level", "error"}}
	if remoteOnly(kind) {
		p.Command = []string{"{bench}", "isolate-function", "--kind", kind, "--listen", "127.0.0.1:{port}", "--dev-ca", e.ca, "--policy", e.policy}
	}
	err = bound(e.all, func() (err error) {
		r, err = p.Launch(ctx, func(ctx context.Context, r *bench.Process) error {
			if !remoteOnly(kind) { // it compiles its guest, the first time for seconds
				return bench.Ask(ctx, http.MethodGet, "https://"+r.Addr+"/readyz", e.caFile)
			}
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		return err
	})
	return r, err
}

// adversary is the hostile process.
type adversary struct {
	kind string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
}

func (e *environment) hostile(ctx context.Context, kind, addr string) (*adversary, error) {
	a := &adversary{kind: kind, cmd: exec.CommandContext(ctx, e.self, "isolate-hostile", "--kind", kind, "--target", addr)}
	a.cmd.Stderr = os.Stderr
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.out = bufio.NewScanner(out)
	var core unix.CPUSet
	core.Set(e.core)
	if err := bound(core, a.cmd.Start); err != nil {
		return nil, err
	}
	if _, err := a.line(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *adversary) line() (string, error) {
	if !a.out.Scan() {
		return "", errors.Join(errors.New("the hostile process ended"), a.out.Err())
	}
	return a.out.Text(), nil
}

func (a *adversary) say(word string) (string, error) {
	if _, err := io.WriteString(a.in, word+"\n"); err != nil {
		return "", err
	}
	return a.line()
}

func (a *adversary) start(ctx context.Context, control, ca string) error {
	if control != "" {
		if err := bench.Ask(ctx, http.MethodPost, control+"/go", ca); err != nil {
			return err
		}
	}
	_, err := a.say("go")
	return err
}

func (a *adversary) stop(ctx context.Context, control, ca string) (d Did, err error) {
	if control != "" {
		if err := bench.Ask(ctx, http.MethodPost, control+"/stop", ca); err != nil {
			return d, err
		}
	}
	line, err := a.say("stop")
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal([]byte(line), &d)
}

func (a *adversary) close() {
	a.in.Close()
	timer := time.AfterFunc(3*time.Second, func() { _ = a.cmd.Process.Kill() }) // it may have ended
	defer timer.Stop()
	_ = a.cmd.Wait() // how it ended changes nothing
}

// victims are switches that behave well. They ask about new flows; the policy denies some of these.
func victims(addr string, n int, rate float64) fleet.Config {
	return fleet.Config{Addrs: []string{addr}, Switches: n, First: 1, Rate: rate * float64(n), Packet: func(sw int, n uint32) fleet.Packet {
		from := frames.Host(uint8(1 + (sw+1)%100)).At(uint16(1024 + n%60_000))
		if n%deniedEvery == 0 {
			return fleet.Packet{Frame: frames.TCP(from, denied.At(80), frames.SYN, nil), Deny: true}
		}
		return fleet.Packet{Frame: frames.TCP(from, allowed.At(uint16(1+n/60_000)), frames.SYN, nil)}
	}}
}

// deniedEvery says which of a victim's packets goes to an address that the
// policy denies.
const deniedEvery = 8

// Addresses of the packets.
var (
	allowed = frames.Host(200)
	denied  = frames.Endpoint{MAC: flow.MAC{0x02, 0xfe, 0, 0, 0, 9}, IP: deniedAddr}
)

// bound runs f on a thread that may run on the given cores alone, and so may
// what f starts.
func bound(cores unix.CPUSet, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.SchedSetaffinity(0, &cores); err != nil {
			done <- fmt.Errorf("bind to a core: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// greet connects a switch, has it ask about one packet, and says how long the
// answer took, connection and handshake included.
func greet(ctx context.Context, addr string, dpid flow.DPID, within time.Duration) (time.Duration, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := askOnce(ctx, addr, dpid)
		if err == nil || ctx.Err() != nil {
			return time.Since(begin), err
		}
		select { // as a switch does that is hung up on
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func askOnce(ctx context.Context, addr string, dpid flow.DPID) error {
	s, err := oftest.Dial(ctx, addr, nil, oftest.Config{DPID: dpid, Versions: []flow.Protocol{flow.OpenFlow13}, NBuffers: 256})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.WaitReady(ctx); err != nil {
		return err
	}
	if err := s.Settle(ctx, 20*time.Millisecond); err != nil {
		return err
	}
	frame := frames.TCP(frames.Host(3).At(4000), allowed.At(80), frames.SYN, nil)
	for {
		if err := s.PacketIn(1, frame); err != nil {
			return err
		}
		once, cancel := context.WithTimeout(ctx, time.Second)
		_, err := s.UntilReleased(once, frame)
		cancel()
		if err == nil || ctx.Err() != nil || once.Err() == nil {
			return err
		} // as a host that gets no answer: what comes before a switch is served is dropped
	}
}

// profile keeps what the gateway spends its time on in a hostile phase, and what its memory is for at its end.
func (e *environment) profile(ctx context.Context, row *Row, admin string, round int) error {
	if e.cfg.Profiles == "" || round != e.cfg.Rounds-1 {
		return nil
	}
	seconds := max(1, int(e.cfg.Hostile.Seconds())-1)
	for _, p := range []struct{ from, name string }{{fmt.Sprintf("profile?seconds=%d", seconds), ".pprof"}, {"heap", "-heap.pprof"}} {
		if err := keep(ctx, "http://"+admin+"/debug/pprof/"+p.from, filepath.Join(e.cfg.Profiles, row.Kind+"-"+row.Function+p.name)); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	return nil
}

// keep writes what an address gives to a file.
func keep(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
