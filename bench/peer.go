package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/sibling"
	"switchbridge/internal/yamlerr"
)

// Peer is a controller that is measured beside others, and how it is started.
type Peer struct {
	Name string
	// Command is the program and its arguments, in which {port} is the port it
	// must listen on, {other} one that nobody listens on either, {dir} a folder of its
	// own for the time of the run, {self} switchbridge, and {bench} this program.
	Command []string
	Env     map[string]string // added to the environment; the same placeholders
	// Near are paths, from the folder of this program, where the command's
	// program is looked for before PATH.
	Near     []string
	Needs    string            // a file without which the peer is not installed, where the command is an interpreter
	Install  string            // the command or place that it comes from
	Files    map[string]string // written to {dir} before it starts, by name
	Dir      string            // working directory; empty: {dir}
	Protocol flow.Protocol     // that it is asked in
	// Start is the limit of the time from exec to the first answered
	// connection: 60 s.
	Start time.Duration
}

// ErrNotInstalled is wrapped where a peer's program is not on this machine.
var ErrNotInstalled = errors.New("not installed")

// oskenApp is what os-ken runs: Debian's package has no learning switch.
//
//go:embed oskenapp.py
var oskenApp string

// DefaultPeers are the controllers of Debian's packages, which make peers
// installs, and a controller that does nothing, for what is left of a figure
// without one.
func DefaultPeers() []Peer {
	return []Peer{
		{
			Name: NameTestController, Protocol: flow.OpenFlow10,
			Command: []string{"ovs-testcontroller", "--unixctl={dir}/ctl", "-vconsole:emer", "-vsyslog:off", "ptcp:{port}:127.0.0.1"},
			Env:     map[string]string{"OVS_RUNDIR": "{dir}", "OVS_LOGDIR": "{dir}"},
			Near:    []string{"ovs-testcontroller", "../build/ovs-testcontroller"}, // as make testcontroller leaves it
			Install: "make peers",
		},
		{
			Name: "os-ken", Protocol: flow.OpenFlow13,
			Command: []string{"osken-manager", "--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", "{port}", "{dir}/learning.py"},
			Files:   map[string]string{"learning.py": oskenApp}, Install: "make peers",
		},
		{
			Name: NameResponder, Protocol: flow.OpenFlow10,
			Command: []string{"{bench}", "responder", "--listen", "127.0.0.1:{port}"},
		},
	}
}

// Names of peers whose figures others are compared with.
const (
	NameTestController = "ovs-testcontroller"
	NameResponder      = "do-nothing responder"
)

// SelfPeers are switchbridge's gateway: with the controller in a WebAssembly instance for each event, and compiled in.
func SelfPeers() []Peer {
	gateway := func(name, function string) Peer {
		return Peer{
			Name: name, Protocol: flow.OpenFlow10,
			Command: []string{"{self}", "run", "--openflow", "tcp:127.0.0.1:{port}", "--admin", "off", "--function", function, "--log-decisions", "off", "--log-level", "error"},
		}
	}
	return []Peer{gateway("switchbridge, WebAssembly", "embedded"), gateway("switchbridge, native", "native")}
}

// ColdPeer is the first of SelfPeers on a machine that never ran it: nothing it compiled is kept.
func ColdPeer() Peer {
	p := SelfPeers()[0]
	p.Name += ", first run"
	p.Env = map[string]string{"CACHE_DIRECTORY": "{dir}"}
	return p
}

// ParsePeers reads a file of peers:
//
//	peers:
//	  - name: POX
//	    command: [python3, /opt/pox/pox.py, openflow.of_01, --port={port}, forwarding.l2_learning]
//	    openflow: "1.0"
//
// with env (a map), dir, start (a duration), needs (a file without which it is not
// installed) and install (what brings it) where needed. An unknown key is an error.
func ParsePeers(r io.Reader) ([]Peer, error) {
	var file struct {
		Peers []struct {
			Name     string
			Command  []string
			Env      map[string]string
			Dir      string
			OpenFlow string
			Start    time.Duration
			Needs    string
			Install  string
		}
	}
	if _, err := yamlerr.Load(r, "peers", &file); err != nil {
		return nil, err
	}
	var peers []Peer
	for i, f := range file.Peers {
		p := Peer{Name: f.Name, Command: f.Command, Env: f.Env, Dir: f.Dir, Start: f.Start, Needs: f.Needs, Install: f.Install}
		where := fmt.Sprintf("peers: entry %d (%q)", i+1, f.Name)
		switch {
		case f.Name == "":
			return nil, fmt.Errorf("%s: no name", where)
		case slices.ContainsFunc(peers, func(q Peer) bool { return q.Name == f.Name }):
			return nil, fmt.Errorf("%s: the name is taken", where)
		case len(f.Command) == 0:
			return nil, fmt.Errorf("%s: no command", where)
		case !p.mentions("{port}"):
			return nil, fmt.Errorf("%s: {port} is nowhere in command or env", where)
		case f.Start < 0:
			return nil, fmt.Errorf("%s: start %v", where, f.Start)
		}
		var err error
		if p.Protocol, err = flow.ParseProtocol(f.OpenFlow); err != nil || p.Protocol == flow.P4Runtime {
			return nil, fmt.Errorf("%s: openflow %q: want \"1.0\" or \"1.3\"", where, f.OpenFlow)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// Switchbridge returns the path of the gateway's program: what the variable
// SWITCHBRIDGE names, else the one beside this program or on PATH.
func Switchbridge() (string, error) {
	name := os.Getenv("SWITCHBRIDGE")
	if name == "" {
		return sibling.Find("switchbridge")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("SWITCHBRIDGE names the gateway's program: %w", err)
	}
	return filepath.Abs(path) // it is started in another folder
}

// Find says where the peer's program is, or wraps ErrNotInstalled.
func (p *Peer) Find() (string, error) {
	if p.Needs != "" {
		if _, err := os.Stat(p.Needs); err != nil {
			return "", fmt.Errorf("%s: %w: %v", p.Name, ErrNotInstalled, err)
		}
	}
	switch p.Command[0] {
	case "{self}":
		return Switchbridge()
	case "{bench}":
		return os.Executable()
	}
	if self, err := os.Executable(); err == nil {
		for _, near := range p.Near {
			if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), near)); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(p.Command[0])
	if err != nil {
		return "", fmt.Errorf("%s: %w: %v", p.Name, ErrNotInstalled, err)
	}
	return path, nil
}

// mentions says whether command or environment have a placeholder.
func (p *Peer) mentions(placeholder string) bool {
	return strings.Contains(strings.Join(p.Command, " ")+fmt.Sprint(p.Env), placeholder)
}

// Process is a peer that runs: what was started for it, a process group of its
// own.
type Process struct {
	Addr  string        // where it listens
	Admin string        // where a gateway's admin side does
	Dir   string        // its folder
	Took  time.Duration // from exec to the first answered connection

	peer  *Peer
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has
	err   error         // how, once ended is closed
	log   *tail
	stop  sync.Once
}

// tail keeps the last of what a process prints.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const keep = 2048
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-keep):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// Run starts the peer and waits until it has taken a switch through the
// handshake. The caller closes it.
func (p *Peer) Run(ctx context.Context) (*Process, error) {
	return p.Launch(ctx, func(ctx context.Context, r *Process) error {
		s, err := r.try(ctx)
		if err != nil {
			return err
		}
		return s.conn.Close()
	})
}

// Launch starts a peer that need not be an OpenFlow controller, and waits until
// ready, which is asked again and again, says that it is. The caller closes it.
func (p *Peer) Launch(ctx context.Context, ready func(context.Context, *Process) error) (*Process, error) {
	path, err := p.Find()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	other := port
	for p.mentions("{other}") && other == port {
		if other, err = freePort(); err != nil {
			return nil, err
		}
	}
	self, err := Switchbridge()
	if err != nil && p.mentions("{self}") {
		return nil, err
	}
	bench, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "switchbridge-bench-")
	if err != nil {
		return nil, err
	}
	for name, text := range p.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			os.RemoveAll(dir)
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	fill := strings.NewReplacer("{port}", strconv.Itoa(port), "{other}", strconv.Itoa(other), "{dir}", dir, "{self}", self, "{bench}", bench).Replace
	r := &Process{peer: p, Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Dir: dir, ended: make(chan struct{}), log: &tail{}}
	args := make([]string, len(p.Command)-1)
	for i, a := range p.Command[1:] {
		args[i] = fill(a)
	}
	r.cmd = exec.Command(path, args...)
	r.cmd.Dir = dir
	if p.Dir != "" {
		r.cmd.Dir = fill(p.Dir)
	}
	r.cmd.Env = os.Environ()
	for k, v := range p.Env {
		r.cmd.Env = append(r.cmd.Env, k+"="+fill(v))
	}
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.WaitDelay = time.Second

	begin := time.Now()
	if err := r.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	go func() {
		r.err = r.cmd.Wait()
		close(r.ended)
	}()
	limit := p.Start
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.answered(ctx, ready); err != nil {
		r.Close()
		if said := r.log.String(); said != "" {
			err = fmt.Errorf("%w; it said: %s", err, said)
		}
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	r.Took = time.Since(begin)
	return r, nil
}

// PID is the process's number, and its process group's.
func (r *Process) PID() int { return r.cmd.Process.Pid }

// answered tries until ready has no error.
func (r *Process) answered(ctx context.Context, ready func(context.Context, *Process) error) error {
	const pause = 200 * time.Microsecond
	var last error
	for {
		err := ready(ctx, r)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-r.ended:
			return fmt.Errorf("it ended (%v) before it answered a connection", r.err)
		case <-ctx.Done():
			return fmt.Errorf("it answered no connection in time: %w", errors.Join(context.Cause(ctx), last))
		case <-time.After(pause):
		}
	}
}

func (r *Process) try(ctx context.Context) (*loadSwitch, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return nil, err
	}
	if conn.LocalAddr().String() == conn.RemoteAddr().String() {
		conn.Close() // with nobody listening, TCP can connect a port to itself
		return nil, errors.New("nobody listens")
	}
	return newSwitch(ctx, conn, r.peer.Protocol, 1, 1, 4<<10)
}

// Close ends the peer's process group, politely first, and removes its folder.
func (r *Process) Close() {
	r.stop.Do(func() {
		syscall.Kill(-r.cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-r.ended:
		case <-time.After(3 * time.Second):
		}
		syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // also what it left behind
		<-r.ended
		os.RemoveAll(r.Dir)
	})
}

// freePort finds a port that nobody listens on.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}
