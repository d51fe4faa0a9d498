package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/doctor"
	"switchbridge/internal/certs/certstest"
	"switchbridge/internal/child"
	"switchbridge/internal/ovs"
)

// machine is a computer with an Open vSwitch of its own, on which the program is run.
type machine struct {
	t   *testing.T
	sw  *ovs.Switchd
	dir string
}

func newMachine(t *testing.T, o ovs.Options) *machine {
	t.Helper()
	return &machine{t, ovs.Start(t, o), t.TempDir()}
}

// command prepares the program, beside the switch.
func (m *machine) command(args ...string) *exec.Cmd {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := m.sw.Command(self, args...)
	cmd.Dir = m.dir
	cmd.Env = append(cmd.Env, asProgram+"=1", "XDG_CACHE_HOME="+filepath.Join(m.dir, "cache"))
	return cmd
}

// run runs the program and returns what it printed and its exit code.
func (m *machine) run(args ...string) (string, int) {
	m.t.Helper()
	cmd := m.command(args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// write puts a file into the machine's folder.
func (m *machine) write(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// examine runs doctor. The exit code tells faults.
func (m *machine) examine(args ...string) []doctor.Finding {
	m.t.Helper()
	cmd := m.command(append([]string{"doctor", "--json"}, args...)...)
	out, err := cmd.Output()
	var got struct {
		Faults   int
		Findings []doctor.Finding
	}
	if err2 := json.Unmarshal(out, &got); err2 != nil {
		m.t.Fatalf("%v, %v\n%s", err, err2, out)
	}
	if code := cmd.ProcessState.ExitCode(); got.Faults != doctor.Faults(got.Findings) || (code == 1) != (got.Faults > 0) || code > 1 {
		m.t.Errorf("exit code %d with %d faults", code, got.Faults)
	}
	return got.Findings
}

// complaints are the findings that are faults and warnings, a line each.
func complaints(list []doctor.Finding) (lines []string) {
	for _, f := range list {
		if f.Level == doctor.Fault || f.Level == doctor.Warning {
			lines = append(lines, fmt.Sprintf("%s: %s: %s [%s]", f.Level, f.Area, f.Text, strings.Join(f.Type, "; ")))
		}
	}
	return lines
}

// well waits until doctor has no complaint: the gateway needs a moment for its function and the bridge.
func (m *machine) well(what string, args ...string) {
	m.t.Helper()
	var list []string
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if list = complaints(m.examine(args...)); len(list) == 0 {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("%s:\n%s", what, strings.Join(list, "\n"))
		}
	}
}

// finds wants a complaint that holds all of the words.
func finds(t *testing.T, what string, list []doctor.Finding, words ...string) {
	t.Helper()
	for _, line := range complaints(list) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return
		}
	}
	t.Errorf("%s: no complaint has %q; there are:\n%s", what, words, strings.Join(complaints(list), "\n"))
}

// gateway starts the program's gateway, which listens afterwards.
func (m *machine) gateway(args ...string) {
	m.t.Helper()
	cmd := m.command(append([]string{"run"}, args...)...)
	file, err := os.Create(filepath.Join(m.t.TempDir(), "log"))
	if err != nil {
		m.t.Fatal(err)
	}
	cmd.Stderr = file
	if err := child.Start(cmd); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); file.Close() })
	m.eventually("the gateway listens", func() bool {
		b, err := os.ReadFile(file.Name())
		return err == nil && strings.Contains(string(b), "waiting for switches")
	})
}

func (m *machine) eventually(what string, holds func() bool) {
	m.t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// typed takes what a text says to type at a shell, and types it: the lines that begin with a program.
func (m *machine) typed(text, program string) int {
	m.t.Helper()
	n := 0
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, program+" ") {
			if out, err := m.sw.Command("sh", "-c", line).CombinedOutput(); err != nil {
				m.t.Errorf("%s: %v\n%s", line, err, out)
			}
			n++
		}
	}
	return n
}

// What init writes passes every check, a gateway runs with it as it is, and what init says to type then is
// all that it takes: doctor has no complaint, and what the policy says holds for real hosts.
func TestInit(t *testing.T) {
	m := newMachine(t, ovs.Options{})
	m.sw.AddBridge("br0", ovs.Bridge{FailMode: "standalone", InBand: true})
	h1, h2 := m.sw.AddHost("br0", "h1"), m.sw.AddHost("br0", "h2")
	h2.ServeEcho(80)
	h2.ServeEcho(23)
	said, code := m.run("init")
	if code != 0 || !strings.Contains(said, "found bridge br0: OpenFlow 1.0 and up, fail mode standalone, ports: 1 is h1, 2 is h2") {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	for _, args := range [][]string{{"run", "--config", "switchbridge.yaml", "--check", "--function", "native"}, {"policy", "check", "--config", "switchbridge.yaml", "policy.yaml"}, {"policy", "test", "policy.yaml"}} {
		if out, code := m.run(args...); code != 0 || strings.Contains(out, "warning") {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
	}
	policy, err := os.ReadFile(filepath.Join(m.dir, "policy.yaml"))
	if err != nil || !strings.Contains(string(policy), "The ports of br0: 1 is h1, 2 is h2.") {
		t.Errorf("the policy, %v:\n%s", err, policy)
	}
	// What is typed from top to bottom starts the gateway first, and hands the bridge over by one line.
	var order []string
	for _, f := range m.examine("--config", "switchbridge.yaml") {
		if f.Level == doctor.Fault {
			order = append(order, f.Area)
		}
	}
	if want := []string{"gateway", "bridge br0"}; !slices.Equal(order, want) {
		t.Errorf("faults of %q, want %q", order, want)
	}
	finds(t, "before the gateway runs", m.examine("--config", "switchbridge.yaml"), "fault: gateway", "no gateway answers at http://127.0.0.1:9653", "run --config switchbridge.yaml]")
	finds(t, "before the bridge is handed over", m.examine("--config", "switchbridge.yaml"), "fault: bridge br0", "no controller", "set-controller br0 tcp:127.0.0.1:6653")
	if !strings.Contains(said, "run --config switchbridge.yaml\n") {
		t.Errorf("it does not say how to start a gateway:\n%s", said)
	}
	// The same controller without an instance, which takes half a minute to compile under the race detector;
	// TestFirstSteps runs the files as they are.
	m.gateway("--config", "switchbridge.yaml", "--function", "native")
	if n := m.typed(said, "ovs-vsctl"); n != 1 {
		t.Errorf("%d lines for ovs-vsctl in:\n%s", n, said)
	}
	m.sw.WaitConnected("br0")
	m.well("doctor complains of a network that is well", "--config", "switchbridge.yaml")
	if _, err := h1.Ping(h2.IP, 10*time.Second); err != nil {
		t.Error(err)
	}
	if _, err := h1.Connect(h2.IP, 80, 10*time.Second); err != nil {
		t.Error(err)
	}
	if _, err := h1.Connect(h2.IP, 23, time.Second); err == nil {
		t.Error("the policy denies Telnet, and it passes")
	}

	before := string(policy)
	if out, code := m.run("init"); code != 1 || !strings.Contains(out, "switchbridge.yaml exists already") {
		t.Errorf("init a second time: exit code %d\n%s", code, out)
	}
	if after, _ := os.ReadFile(filepath.Join(m.dir, "policy.yaml")); string(after) != before {
		t.Error("init replaced a file")
	}
}

// Every choice makes files that are good, and mistakes write none.
func TestInitChoices(t *testing.T) {
	m := newMachine(t, ovs.Options{Dummy: true})
	ca := m.write("ca.pem", string(certstest.New(t).PEM()))
	ok := func(dir string, args ...string) string {
		t.Helper()
		out, code := m.run(append([]string{"init", "--dir", dir}, args...)...)
		if code != 0 {
			t.Fatalf("init %q: exit code %d\n%s", args, code, out)
		}
		if out, code := m.run("run", "--check", "--function", "native", "--config", dir+"/switchbridge.yaml"); code != 0 {
			t.Errorf("run --check: exit code %d\n%s", code, out)
		}
		return out
	}
	if out := ok("none"); !strings.Contains(out, "there is no bridge br0 yet") || !strings.Contains(out, "ovs-vsctl add-br br0") {
		t.Errorf("without a bridge:\n%s", out)
	}
	m.sw.AddBridge("br1", ovs.Bridge{Controllers: []string{"tcp:127.0.0.1:1"}})
	m.sw.Vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=2")
	if out := ok("one", "--allow", "listed"); !strings.Contains(out, "another controller, tcp:127.0.0.1:1") || !strings.Contains(out, "set-controller br1 tcp:127.0.0.1:6653") {
		t.Errorf("a bridge with a controller:\n%s", out)
	}
	for _, args := range [][]string{{"policy", "check", "one/policy.yaml"}, {"policy", "test", "one/policy.yaml"}} {
		if out, code := m.run(args...); code != 0 {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(m.dir, "one/switchbridge.yaml"))
	if err != nil || !strings.Contains(string(text), "vlan_limit: 2") {
		t.Errorf("Open vSwitch looks behind two tags, %v:\n%s", err, text)
	}
	m.sw.AddBridge("br2", ovs.Bridge{})
	ok("remote", "--bridge", "br2", "--function", "https://127.0.0.1:8443/x", "--function-ca", "ca.pem", "--encoding", "json", "--openflow", "unix:/tmp/of.sock", "--admin", "127.0.0.1:9700")
	if _, err := os.Stat(filepath.Join(m.dir, "remote/policy.yaml")); err == nil {
		t.Error("a policy beside a function")
	}
	text, _ = os.ReadFile(filepath.Join(m.dir, "remote/switchbridge.yaml"))
	for _, want := range []string{"https://127.0.0.1:8443/x", ca, "encoding: json", "unix:/tmp/of.sock", "http://127.0.0.1:9700/"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{nil, "there are several bridges: say --bridge with one of br1, br2", 2},
		{[]string{"--bridge", "br1", "--allow", "some"}, "want all or listed", 2},
		{[]string{"--bridge", "br1", "--admin", "here"}, "admin.listen", 2},
		{[]string{"--bridge", "br1", "--openflow", "ssl:0.0.0.0:6653"}, "TLS wants certificates", 2},
		{[]string{"--bridge", "br1", "--encoding", "json"}, "want --function", 2},
		{[]string{"--bridge", "br1", "--function", "https://x/", "--function-ca", "nosuch.pem"}, "nosuch.pem", 1},
		{[]string{"--bridge", "br1", "--function", "ftp://x/"}, "function.urls", 2},
	} {
		out, code := m.run(append([]string{"init", "--dir", "wrong"}, tt.args...)...)
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("init %q: exit code %d, want %d and %q\n%s", tt.args, code, tt.code, tt.want, out)
		}
	}
	if _, err := os.Stat(filepath.Join(m.dir, "wrong")); err == nil {
		t.Error("a mistake made a folder")
	}
	if out, code := (&machine{t, m.sw, m.dir}).away("init", "--dir", "away"); code != 1 || !strings.Contains(out, "type: service openvswitch-switch start") {
		t.Errorf("Open vSwitch does not run: exit code %d\n%s", code, out)
	}
}

// away runs the program where no Open vSwitch runs.
func (m *machine) away(args ...string) (string, int) {
	m.t.Helper()
	cmd := m.command(args...)
	cmd.Env = append(cmd.Env, "OVS_RUNDIR="+m.t.TempDir())
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// Each fault, made on purpose on a real Open vSwitch, is found, and the line that doctor says to type mends it.
func TestDoctorBridge(t *testing.T) {
	m := newMachine(t, ovs.Options{})
	const config = "openflow: {listen: [\"tcp:127.0.0.1:6653\"]}\nfunction: {urls: [native]}\npolicy: policy.yaml\n"
	m.write("switchbridge.yaml", config)
	m.write("policy.yaml", "serial: 1\nchain: [{forward: {mode: normal}}]\n")
	examine := func() []doctor.Finding { return m.examine("--config", "switchbridge.yaml") }

	finds(t, "no bridge", examine(), "fault: bridges", "no bridge", "ovs-vsctl add-br br0 -- set bridge br0 datapath_type=netdev")
	finds(t, "no such bridge", m.examine("--bridge", "br7"), "fault: bridge br7", "no such bridge", "add-br br7")
	m.sw.AddBridge("br0", ovs.Bridge{Controllers: []string{"tcp:127.0.0.1:6653"}})
	h1 := m.sw.AddHost("br0", "h1")
	m.gateway("--config", "switchbridge.yaml")
	m.sw.WaitConnected("br0")
	well := func(what string) {
		t.Helper()
		m.well(what+" is mended", "--config", "switchbridge.yaml")
	}
	well("nothing to be")

	for _, tt := range []struct {
		name string
		make []string // by ovs-vsctl
		want []string
	}{
		{"standalone", []string{"set-fail-mode", "br0", "standalone"}, []string{"fault: bridge br0", "fail mode is standalone"}},
		{"in-band", []string{"remove", "bridge", "br0", "other-config", "disable-in-band"}, []string{"fault: bridge br0", "hidden rules"}},
		{"another controller", []string{"set-controller", "br0", "tcp:127.0.0.1:6653", "tcp:127.0.0.1:1"}, []string{"warning: bridge br0", "also connects to tcp:127.0.0.1:1"}},
		{"the wrong controller", []string{"set-controller", "br0", "tcp:127.0.0.1:6633"}, []string{"fault: bridge br0", "where this gateway does not listen"}},
		{"no controller", []string{"del-controller", "br0"}, []string{"fault: bridge br0", "has no controller"}},
		{"versions", []string{"set", "bridge", "br0", "protocols=OpenFlow14"}, []string{"fault: bridge br0", "OpenFlow14 alone"}},
		{"VLAN limit", []string{"set", "Open_vSwitch", ".", "other_config:vlan-limit=2"}, []string{"warning: Open vSwitch", "behind 2 VLAN tags"}},
		{"a port that is not there", []string{"--no-wait", "add-port", "br0", "nosuch0"}, []string{"fault: bridge br0", "port nosuch0"}},
	} {
		m.sw.Vsctl(tt.make...)
		m.eventually(tt.name+" is found", func() bool { return len(complaints(examine())) > 0 })
		list := examine()
		finds(t, tt.name, list, tt.want...)
		for _, f := range list {
			if f.Level == doctor.Fault || f.Level == doctor.Warning {
				for _, line := range f.Type {
					if strings.HasPrefix(line, "ovs-vsctl set") || strings.HasPrefix(line, "ovs-vsctl del") {
						m.typed(line, "ovs-vsctl")
					}
				}
			}
		}
		well(tt.name)
	}

	// What the gateway alone can tell.
	m.write("policy.yaml", "serial: 2\nchain: [{sideways: {}}]\n")
	m.eventually("the gateway has seen the policy", func() bool {
		return strings.Contains(strings.Join(complaints(examine()), "\n"), "fault: gateway")
	})
	finds(t, "a policy that can't be read", examine(), "fault: gateway", "a change of its policy is not in use", "sideways")
	finds(t, "a policy that can't be read", examine(), "fault: configuration", "policy.yaml", "sideways")
	m.write("policy.yaml", "serial: 2\nchain: [{forward: {mode: normal}}]\n")
	well("the policy")
	m.sw.SetController("br0", "tcp:127.0.0.1:6654")
	finds(t, "no session", m.examine("--config", "switchbridge.yaml", "--openflow", "tcp:127.0.0.1:6654"), "fault: bridge br0", "should connect to tcp:127.0.0.1:6654, but the gateway has no session with it")
	m.sw.SetController("br0", "tcp:127.0.0.1:6653")
	well("the session")

	// What is behind a port leaves checksums to its card. A process in its namespace makes it one that can be seen.
	sleep := h1.Command("sleep", "600")
	if err := child.Start(sleep); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })
	if out, err := h1.Command("ethtool", "-K", "eth0", "tx", "on").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	list := examine()
	finds(t, "checksum offload", list, "fault: bridge br0", "behind its port h1 (interface eth0)", "ethtool -K eth0 tx off")
	for _, f := range list {
		if f.Level == doctor.Fault && len(f.Type) == 1 {
			m.typed(f.Type[0], "nsenter")
		}
	}
	well("checksum offload")

	if _, err := os.Stat("/sys/module/openvswitch"); err != nil {
		m.sw.Vsctl("--no-wait", "set", "bridge", "br0", "datapath_type=system")
		finds(t, "a datapath in a kernel without", examine(), "fault: bridge br0", "nothing is forwarded", "datapath_type=netdev")
		m.sw.Vsctl("set", "bridge", "br0", "datapath_type=netdev")
		well("the datapath")
	}
	m.sw.Stop()
	finds(t, "ovs-vswitchd has ended", examine(), "fault: bridge br0", "ovs-vswitchd does not serve bridge br0", "service openvswitch-switch restart")
}

// What is wrong beside the bridge is found, too: the configuration, functions, certificates, clocks, Open vSwitch.
func TestDoctorSurroundings(t *testing.T) {
	m := newMachine(t, ovs.Options{Dummy: true})
	m.write("open.yaml", "serial: 1\nchain: [{forward: {mode: normal}}]\n")
	m.write("never.yaml", "serial: 1\nchain: [{forward: {mode: normal}}, {header: {rules: [{name: late, match: {tcp_dst: 22}, action: deny}]}}]\n")
	m.write("broken.yaml", "serial: 1\nchain: [{sideways: {}}]\n")
	finds(t, "a policy with a mistake", m.examine("--policy", "broken.yaml"), "fault: configuration", "broken.yaml", "sideways")
	finds(t, "no such policy", m.examine("--policy", "nosuch.yaml"), "fault: configuration", "nosuch.yaml")
	finds(t, "an entry that can never decide", m.examine("--policy", "never.yaml"), "warning: configuration", "late")
	finds(t, "no policy", m.examine(), "warning: configuration", "every packet")
	m.write("typo.yaml", "polcy: x\n")
	finds(t, "a misspelt key", m.examine("--config", "typo.yaml"), "fault: configuration", "polcy")
	if out, code := m.run("doctor", "--encoding", "xml"); code != 2 {
		t.Errorf("a wrong flag: exit code %d\n%s", code, out)
	}

	// Functions. The dummy switch runs in the test's own network.
	authority := certstest.New(t)
	token := m.write("token", "secret\n")
	var date atomic.Int64 // time.Duration by which the function's clock is off
	function := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Duration(date.Load())).UTC().Format(http.TimeFormat))
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.Header().Set("Switchbridge-Policy", "7-0c0ffee1")
		if r.Header.Get("Content-Type") == "application/json" {
			fmt.Fprint(w, "{}")
		}
	})
	serve := func(until time.Time) string {
		s := httptest.NewUnstartedServer(function)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "function", until)}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // of those who don't trust it
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	url := serve(time.Now().Add(time.Hour))
	ca := authority.File(t)
	ask := func(args ...string) []doctor.Finding {
		t.Helper()
		return m.examine(append([]string{"--encoding", "json", "--function"}, args...)...)
	}
	for _, f := range ask(url, "--function-ca", ca, "--function-token-file", token) {
		if (f.Level == doctor.Fault || f.Level == doctor.Warning) && (strings.HasPrefix(f.Area, "function") || f.Area == "clock" || f.Area == "configuration") {
			t.Errorf("a function that is well: %+v", f)
		}
	}
	finds(t, "an authority that is not known", ask(url, "--function-token-file", token), "fault: function "+url, "does not answer", "function-ca")
	finds(t, "no token", ask(url, "--function-ca", ca), "fault: function "+url, "401", "function-token-file")
	finds(t, "nobody listens", ask("https://"+closedPort(t), "--function-ca", ca), "fault: function", "connection refused")
	ended := serve(time.Now().Add(-time.Hour))
	finds(t, "a certificate that has ended", ask(ended, "--function-ca", ca, "--function-token-file", token), "fault: function "+ended, "its certificate ended on")
	date.Store(int64(-10 * time.Minute))
	finds(t, "a clock that is ahead", ask(url, "--function-ca", ca, "--function-token-file", token), "warning: clock", "10m", "ahead of the function's", "timedatectl")

	// Certificates that the configuration names.
	pem := func(name string, until time.Time) {
		t.Helper()
		cert, key := certstest.Pair(t, authority.Issue(t, name, until))
		m.write(name+".pem", string(cert))
		m.write(name+".key", string(key))
	}
	pem("old", time.Now().Add(-time.Minute))
	pem("soon", time.Now().Add(20*time.Minute))
	pem("later", time.Now().Add(3*time.Hour))
	admin := func(name, listen string) string {
		file := "admin-" + name + ".yaml"
		m.write(file, fmt.Sprintf("policy: open.yaml\nadmin: {listen: %q, tls: {cert: %s.pem, key: %s.key}}\n", listen, name, name))
		return file
	}
	finds(t, "it has ended", m.examine("--config", admin("old", "127.0.0.1:0")), "fault: certificate", "admin.tls.cert ended on")
	finds(t, "it ends soon", m.examine("--config", admin("soon", "127.0.0.1:0")), "warning: certificate", "admin.tls.cert ends on")
	finds(t, "it counts from later on", m.examine("--config", admin("later", "127.0.0.1:0")), "fault: certificate", "counts from", "date -u")
	finds(t, "it has another name", m.examine("--config", admin("soon", "127.0.0.2:0")), "fault: certificate", "is for 127.0.0.1, and callers come to 127.0.0.2")

	// A P4 switch that is not there.
	m.write("p4.yaml", fmt.Sprintf("policy: open.yaml\nfunction: {urls: [native]}\nopenflow: {listen: [\"unix:of.sock\"]}\nadmin: {listen: %q}\np4: {switches: [{device: 7, address: %q}]}\n", closedPort(t), closedPort(t)))
	m.gateway("--config", "p4.yaml")
	m.eventually("the gateway has tried the P4 switch", func() bool {
		return strings.Contains(strings.Join(complaints(m.examine("--config", "p4.yaml")), "\n"), "fault: P4 switch 7: the gateway has no session with it")
	})

	// Open vSwitch itself.
	out, code := m.away("doctor", "--policy", "open.yaml")
	if code != 1 || !strings.Contains(out, "it is not running") || !strings.Contains(out, "type: service openvswitch-switch start") {
		t.Errorf("Open vSwitch does not run: exit code %d\n%s", code, out)
	}
	out, _ = m.away("doctor", "--policy", "open.yaml", "--openflow", "tcp:0.0.0.0:6653")
	if strings.Contains(out, "not running") || !strings.Contains(out, "the switches are elsewhere") {
		t.Errorf("a gateway for switches elsewhere:\n%s", out)
	}
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
