package ovs

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Bridge describes a bridge. Its zero value is what a governed bridge wants: fail mode secure, no in-band
// rules, every OpenFlow version that Open vSwitch enables by itself, no controller.
type Bridge struct {
	// DPID is the datapath's identifier; 0 leaves the choice to Open vSwitch.
	DPID uint64
	// Protocols restricts the versions, such as "OpenFlow10" or "OpenFlow13".
	Protocols []string
	// Controllers are connection methods, such as [Target] returns.
	Controllers []string
	// FailMode is "secure" (the default) or "standalone".
	FailMode string
	// InBand leaves Open vSwitch's hidden in-band rules on.
	InBand bool
	// Probe is the time after which a silent controller is asked for a sign of life, whole seconds; 0
	// leaves Open vSwitch's default of 5 s.
	Probe time.Duration
	// MaxBackoff is the longest wait between attempts to connect, whole seconds; 0 means 1 s, the least
	// that Open vSwitch takes, so that a test that restarts its controller needn't wait for it.
	MaxBackoff time.Duration
}

// AddBridge makes a bridge and returns when ovs-vswitchd has it. Its controllers connect afterwards:
// see [Switchd.WaitConnected].
func (s *Switchd) AddBridge(name string, b Bridge) {
	s.tb.Helper()
	if b.FailMode == "" {
		b.FailMode = "secure"
	}
	datapath := "netdev"
	if s.dummy {
		datapath = "dummy"
	}
	// One transaction: a bridge that existed for a moment without its fail mode would forward as it likes.
	args := []string{
		"add-br", name,
		"--", "set", "bridge", name, "datapath_type=" + datapath, "fail_mode=" + b.FailMode,
		fmt.Sprintf("other-config:disable-in-band=%t", !b.InBand),
	}
	if b.DPID != 0 {
		args = append(args, fmt.Sprintf("other-config:datapath-id=%016x", b.DPID))
	}
	if len(b.Protocols) > 0 {
		args = append(args, "protocols="+strings.Join(b.Protocols, ","))
	}
	args = append(args, b.controllerArgs(name, b.Controllers)...)
	s.Vsctl(args...)
	s.bridges[name] = b
}

// Join puts a cable between two bridges: interfaces a-b and b-a. Patch ports would not do, as what comes over one from a PACKET_OUT
// is asked about with another reason.
func (s *Switchd) Join(a, b string) {
	s.tb.Helper()
	if s.dummy {
		s.tb.Fatal("Join on the dummy datapath, which has no cables")
	}
	if err := s.ns.do(disableIPv6); err != nil {
		s.tb.Fatal(err)
	}
	to, from := a+"-"+b, b+"-"+a
	run(s.tb, s.ns.command("ip", "link", "add", to, "up", "type", "veth", "peer", "name", from))
	run(s.tb, s.ns.command("ip", "link", "set", from, "up"))
	s.Vsctl("add-port", a, to, "--", "add-port", b, from)
}

// controllerArgs are the rest of an ovs-vsctl transaction that gives a bridge these controllers and no
// others.
func (b Bridge) controllerArgs(name string, targets []string) []string {
	if b.MaxBackoff == 0 {
		b.MaxBackoff = time.Second
	}
	var args, ids []string
	for i, target := range targets {
		id := fmt.Sprintf("@c%d", i)
		ids = append(ids, id)
		args = append(args, "--", "--id="+id, "create", "controller",
			fmt.Sprintf("target=%q", target), fmt.Sprintf("max_backoff=%d", b.MaxBackoff.Milliseconds()))
		if b.Probe != 0 {
			args = append(args, fmt.Sprintf("inactivity_probe=%d", b.Probe.Milliseconds()))
		}
	}
	return append(args, "--", "set", "bridge", name, "controller=["+strings.Join(ids, ",")+"]")
}

// SetController replaces the controllers of a bridge that AddBridge made.
func (s *Switchd) SetController(bridge string, targets ...string) {
	s.tb.Helper()
	s.Vsctl(s.bridges[bridge].controllerArgs(bridge, targets)[1:]...) // without the leading "--"
}

// WaitConnected returns when the bridge has a session, its version negotiated, with its only controller.
// The test fails after ten seconds without.
func (s *Switchd) WaitConnected(bridge string) {
	s.tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !s.connected(bridge) {
		if time.Now().After(deadline) {
			s.tb.Fatalf("bridge %s has no session with its controller after 10 s", bridge)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// connected looks at the log: the database's is_connected is up to five seconds late.
func (s *Switchd) connected(bridge string) bool {
	connected := false
	for line := range bytes.Lines(s.log()) {
		if bytes.Contains(line, []byte("|rconn|")) && bytes.Contains(line, []byte("|"+bridge+"<->")) {
			connected = bytes.HasSuffix(line, []byte(": connected\n"))
		}
	}
	return connected
}

// Flow is an entry of a bridge's flow tables, as ovs-ofctl prints it.
type Flow struct {
	Table       int
	Priority    int
	Cookie      uint64
	Packets     uint64 // frames it has matched
	IdleTimeout time.Duration
	HardTimeout time.Duration
	Match       string // such as "tcp,nw_dst=10.0.0.2,tp_dst=80"; "" matches everything
	Actions     string // such as "NORMAL", "drop"
	Text        string // the whole line
}

// DumpFlows returns the entries of all the bridge's tables, their counters up to date.
func (s *Switchd) DumpFlows(bridge string) []Flow {
	s.tb.Helper()
	s.Appctl("revalidator/wait") // else packets are counted up to half a second after they passed
	return s.Flows(bridge)
}

// Flows is DumpFlows without a wait: counters may be half a second old.
func (s *Switchd) Flows(bridge string) []Flow {
	s.tb.Helper()
	var flows []Flow
	for line := range strings.Lines(s.Ofctl("dump-flows", bridge)) {
		line = strings.TrimSpace(line)
		if !strings.Contains(line, "actions=") {
			continue // the reply's heading
		}
		f, err := parseFlow(line)
		if err != nil {
			s.tb.Fatal(err)
		}
		flows = append(flows, f)
	}
	return flows
}

// flowLine splits "cookie=…, duration=…, table=…, …, send_flow_rem priority=9,tcp,tp_dst=80
// actions=drop": statistics end in ", ", flags in a space, and the match has neither within.
var flowLine = regexp.MustCompile(`^((?:\w+=[^ ,]+, |(?:reset_counts|check_overlap|send_flow_rem) )*)(\S*) ?actions=(.*)$`)

func parseFlow(line string) (Flow, error) {
	m := flowLine.FindStringSubmatch(line)
	if m == nil {
		return Flow{}, fmt.Errorf("no flow as ovs-ofctl prints it: %q", line)
	}
	f := Flow{Priority: 32768, Actions: m[3], Text: line} // ovs-ofctl leaves out the default priority
	for field := range strings.SplitSeq(m[1], ", ") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		n, _ := strconv.ParseUint(value, 0, 64) // durations and the like aren't numbers; they aren't kept
		switch name {
		case "cookie":
			f.Cookie = n
		case "table":
			f.Table = int(n)
		case "n_packets":
			f.Packets = n
		case "idle_timeout":
			f.IdleTimeout = time.Duration(n) * time.Second
		case "hard_timeout":
			f.HardTimeout = time.Duration(n) * time.Second
		}
	}
	f.Match = m[2]
	if rest, ok := strings.CutPrefix(f.Match, "priority="); ok {
		priority, match, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseUint(priority, 10, 16)
		if err != nil {
			return Flow{}, fmt.Errorf("priority in %q: %w", line, err)
		}
		f.Priority, f.Match = int(n), match
	}
	return f, nil
}
