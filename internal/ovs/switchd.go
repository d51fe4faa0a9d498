package ovs

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Options choose the kind of switch.
type Options struct {
	// Dummy asks for the dummy datapath: no root, no namespace, ports instead of hosts.
	Dummy bool
}

// Switchd is a private ovsdb-server with its ovs-vswitchd. Its methods fail the test that started it
// rather than return errors, and are for that test's goroutine.
type Switchd struct {
	tb    TB
	dir   string
	dummy bool
	ns    *namespace // nil on the dummy datapath

	db, vswitchd *process
	logStart     int // where in the log file this ovs-vswitchd's part begins

	bridges map[string]Bridge // as they were added
	hosts   int               // hosts made so far: the next one's number
	sockets int
}

// Start runs a private Open vSwitch until the test ends. It skips the test, with the reason, where Open
// vSwitch isn't installed or, for [Options.Dummy] unset, where namespaces can't be made; with CI set a
// missing installation is a failure.
func Start(tb TB, o Options) *Switchd {
	tb.Helper()
	tools := need(tb, "ovsdb-server", "ovs-vswitchd", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl")
	s := &Switchd{tb: tb, dummy: o.Dummy, bridges: make(map[string]Bridge)}
	if !o.Dummy {
		s.ns = newNamespace(tb)
	}

	// Not tb.TempDir: with a long test name the sockets' paths would pass the 108 bytes that Linux allows.
	dir, err := os.MkdirTemp("", "ovs-")
	if err != nil {
		tb.Fatal(err)
	}
	s.dir = dir
	tb.Cleanup(func() { os.RemoveAll(dir) })
	tb.Cleanup(func() {
		if tb.Failed() {
			s.logTail()
		}
	})

	schema := schemaPath(tools["ovsdb-tool"])
	if _, err := os.Stat(schema); err != nil {
		unavailable(tb, "Open vSwitch's database schema: %v", err)
	}
	run(tb, s.Command("ovsdb-tool", "create", s.path("conf.db"), schema))
	s.db = s.daemon("ovsdb-server", s.path("conf.db"), "--remote=punix:"+s.path("db.sock"))
	s.await(s.path("db.sock"), s.db)
	s.Vsctl("--no-wait", "init")
	s.startVswitchd()
	return s
}

// schemaPath finds the schema beside the programs: /usr/bin/ovsdb-tool belongs to
// /usr/share/openvswitch/vswitch.ovsschema.
func schemaPath(tool string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(tool)), "share/openvswitch/vswitch.ovsschema")
}

func (s *Switchd) path(name string) string { return filepath.Join(s.dir, name) }

// Dummy says whether the switch runs on the dummy datapath.
func (s *Switchd) Dummy() bool { return s.dummy }

// Dir is the folder of this switch's database, sockets and logs, removed when the test ends.
func (s *Switchd) Dir() string { return s.dir }

// Command prepares a program to run where the switch does: in its namespace, with OVS_RUNDIR and its
// companions set, so that ovs-vsctl and the like find this switch and no other.
func (s *Switchd) Command(name string, args ...string) *exec.Cmd {
	cmd := s.ns.command(name, args...)
	cmd.Env = append(os.Environ(),
		"OVS_RUNDIR="+s.dir, "OVS_DBDIR="+s.dir, "OVS_LOGDIR="+s.dir, "OVS_SYSCONFDIR="+s.dir)
	return cmd
}

// daemon starts a program of the switch's, which ends with the test.
func (s *Switchd) daemon(name string, args ...string) *process {
	s.tb.Helper()
	args = append(args, "-vconsole:off", "-vsyslog:off", "-vfile:info", "--log-file="+s.path(name+".log"))
	p, err := start(s.Command(name, args...))
	if err != nil {
		s.tb.Fatalf("start %s: %v", name, err)
	}
	s.tb.Cleanup(p.stop)
	return p
}

// await returns when the daemon listens at its socket: the file is there a moment earlier.
func (s *Switchd) await(socket string, p *process) {
	s.tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return
		}
		select {
		case <-p.exited:
			s.tb.Fatalf("%s ended before it was ready: %v", filepath.Base(p.cmd.Path), p.err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.tb.Fatalf("%s is not there after 10 s", socket)
		}
	}
}

func (s *Switchd) startVswitchd() {
	s.tb.Helper()
	args := []string{"unix:" + s.path("db.sock"), "--unixctl=" + s.path("vswitchd.ctl")}
	if s.dummy {
		args = append(args, "--enable-dummy=override", "--disable-system", "--disable-system-route")
	}
	s.logStart += len(s.log()) // the file is kept when the daemon restarts
	s.vswitchd = s.daemon("ovs-vswitchd", args...)
	s.await(s.path("vswitchd.ctl"), s.vswitchd)
	// Any change waits until ovs-vswitchd has taken it, and with it all that the database holds.
	s.Vsctl("set", "Open_vSwitch", ".", "external-ids:started="+time.Now().Format("150405.000000"))
}

// Restart kills ovs-vswitchd, as a crash would, and starts it again on the same database: bridges and ports
// come back, rules don't.
func (s *Switchd) Restart() {
	s.tb.Helper()
	s.Stop()
	s.startVswitchd()
}

// Stop kills ovs-vswitchd, as a crash would. [Switchd.Restart] brings it back.
func (s *Switchd) Stop() {
	s.vswitchd.kill()
	os.Remove(s.path("vswitchd.ctl"))
}

// Vsctl runs ovs-vsctl on this switch's database and returns what it printed.
func (s *Switchd) Vsctl(args ...string) string {
	s.tb.Helper()
	return run(s.tb, s.Command("ovs-vsctl",
		append([]string{"--timeout=10", "--db=unix:" + s.path("db.sock")}, args...)...))
}

// Ofctl runs ovs-ofctl in this switch's folder and returns what it printed. It negotiates 1.0 or 1.3,
// whichever the bridge allows; an -O among the arguments says otherwise.
func (s *Switchd) Ofctl(args ...string) string {
	s.tb.Helper()
	return run(s.tb, s.Command("ovs-ofctl", append([]string{"-O", "OpenFlow10,OpenFlow13"}, args...)...))
}

// Appctl runs ovs-appctl on this switch's ovs-vswitchd and returns what it printed.
func (s *Switchd) Appctl(args ...string) string {
	s.tb.Helper()
	return run(s.tb, s.Command("ovs-appctl",
		append([]string{"--timeout=10", "-t", s.path("vswitchd.ctl")}, args...)...))
}

// Listen opens a TCP listener on a free port of the switch's loopback, for a controller that runs in the
// test. It closes with the test. [Target] names it.
func (s *Switchd) Listen() net.Listener {
	s.tb.Helper()
	return s.listen("tcp", "127.0.0.1:0")
}

// ListenUnix opens a listener on a unix socket in the switch's folder, for a controller that runs in the
// test. It closes with the test. [Target] names it.
func (s *Switchd) ListenUnix() net.Listener {
	s.tb.Helper()
	s.sockets++
	return s.listen("unix", s.path(fmt.Sprintf("controller%d.sock", s.sockets)))
}

func (s *Switchd) listen(network, addr string) net.Listener {
	s.tb.Helper()
	l, err := s.ns.listen(network, addr)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { l.Close() })
	return l
}

// Target says how a bridge is told to connect to a listener: tcp:127.0.0.1:6653 or unix:/path.
func Target(l net.Listener) string { return l.Addr().Network() + ":" + l.Addr().String() }

// log is what the running ovs-vswitchd has logged so far.
func (s *Switchd) log() []byte {
	b, err := os.ReadFile(s.path("ovs-vswitchd.log"))
	if err != nil {
		return nil // it hasn't logged anything yet
	}
	return b[min(s.logStart, len(b)):]
}

// logTail shows the end of the log beside a failed test.
func (s *Switchd) logTail() {
	lines := bytes.Split(bytes.TrimSpace(s.log()), []byte("\n"))
	lines = lines[max(0, len(lines)-25):]
	s.tb.Logf("the end of ovs-vswitchd.log:\n%s", bytes.Join(lines, []byte("\n")))
}
