package test

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/faas/instance/embedded"
	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/internal/built"
	"switchbridge/internal/flowtest"
	"switchbridge/internal/frames"
	"switchbridge/internal/ovs"
	"switchbridge/internal/testlong"
	"switchbridge/settings"
	"switchbridge/state/statetest/redistest"
)

// Ports of each bridge of a site.
const (
	sensorPort = 1
	cameraPort = 2
	hubPort    = 3
)

// site is two bridges of one gateway, each with a sensor, a camera and a hub.
type site struct {
	t       *testing.T
	sw      *ovs.Switchd
	bridges []string
	ports   map[string][]*ovs.Port // by bridge; port 1 is at 0
	set     *settings.Settings
	socket  string
	gateway *runningGateway
	sent    atomic.Uint32 // numbers the frames
}

func newSite(t *testing.T, version, function, store string) *site {
	t.Helper()
	return newSiteOf(t, version, function, store, flowtest.Machines(1, 5))
}

func newSiteOf(t *testing.T, version, function, store, policy string) *site {
	t.Helper()
	if function == settings.Embedded {
		if err := embedded.Built(); err != nil {
			t.Skip(err)
		}
		t.Setenv("CACHE_DIRECTORY", built.CacheDir(t))
	}
	s := &site{t: t, sw: ovs.Start(t, ovs.Options{Dummy: true}), bridges: []string{"br0", "br1"}, ports: map[string][]*ovs.Port{}, set: settings.Default()}
	s.set.Function.URLs, s.set.State.URL = []string{function}, store
	s.set.Policy, s.set.Admin.Listen = filepath.Join(t.TempDir(), "policy.yaml"), "127.0.0.1:0"
	s.socket = filepath.Join(s.sw.Dir(), "gateway.sock")
	if err := os.WriteFile(s.set.Policy, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	for i, name := range s.bridges {
		s.sw.AddBridge(name, ovs.Bridge{DPID: uint64(0x2a + i), Protocols: []string{protocols[version]}, Controllers: []string{"unix:" + s.socket}})
		for no := range uint32(3) {
			s.ports[name] = append(s.ports[name], s.sw.AddPort(name, fmt.Sprintf("%s-p%d", name, no+1), no+1))
		}
	}
	s.serves()
	return s
}

// write writes the policy with a serial and the number of ports that make a scanner.
func (s *site) write(serial, scan int) {
	s.t.Helper()
	if err := os.WriteFile(s.set.Policy, []byte(flowtest.Machines(serial, scan)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) start() {
	s.t.Helper()
	os.Remove(s.socket)
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.gateway = startGateway(s.t, s.set, l)
	for began := time.Now(); s.gateway.Ready() != nil; time.Sleep(20 * time.Millisecond) { // a guest is compiled first
		if time.Since(began) > 3*time.Minute {
			s.t.Fatal(s.gateway.Ready())
		}
	}
}

// serves waits until the gateway serves both bridges.
func (s *site) serves() {
	s.t.Helper()
	eventually(s.t, "both switches are ready", func() bool {
		n := 0
		for _, sw := range s.gateway.Switches() {
			if sw.State == "ready" {
				n++
			}
		}
		return n == len(s.bridges)
	})
}

// datagram returns a frame that is like no other one, and its number.
func (s *site) datagram(from byte, port uint16) ([]byte, uint32) {
	n := s.sent.Add(1)
	return frames.UDP(frames.Host(from).At(40000), frames.Host(9).At(port), fmt.Appendf(nil, "%08d", n)), n
}

// inject has a frame come in. It may be called by any goroutine.
func (s *site) inject(bridge string, port int, frame []byte) {
	if _, err := s.sw.Control().Call("netdev-dummy/receive", s.ports[bridge][port-1].Name, hex.EncodeToString(frame)); err != nil {
		s.t.Error(err)
	}
}

// left returns the frames that a bridge has sent to its hub.
func (s *site) left(bridge string) [][]byte { return s.ports[bridge][hubPort-1].Sent() }

func (s *site) hasLeft(bridge string, frame []byte) bool {
	for _, f := range s.left(bridge) {
		if string(f) == string(frame) {
			return true
		}
	}
	return false
}

// report has the sensor report at the first bridge, and waits until the hub has it. Then every rule that rested on the sensor's last state has gone.
func (s *site) report(port uint16) {
	s.t.Helper()
	frame, _ := s.datagram(1, port)
	s.inject("br0", sensorPort, frame)
	for end := time.Now().Add(10 * time.Second); !s.hasLeft("br0", frame); {
		if time.Now().After(end) {
			s.t.Fatal("the sensor's report does not arrive")
		}
	}
}

const (
	motion = 5683
	quiet  = 5684
)

// streams has a camera send until a rule says what becomes of its frames, and reports whether they pass then.
func (s *site) streams(bridge string) bool {
	s.t.Helper()
	var rules []string
	eventually(s.t, "a rule says what becomes of the camera's stream", func() bool {
		frame, _ := s.datagram(2, 5004)
		s.inject(bridge, cameraPort, frame)
		rules = s.streamRules(bridge)
		return len(rules) > 0
	})
	frame, _ := s.datagram(2, 5004)
	s.inject(bridge, cameraPort, frame)
	patience := 10 * time.Second
	if strings.HasSuffix(rules[0], "actions=drop") {
		patience = 100 * time.Millisecond
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s.hasLeft(bridge, frame) {
			return true
		}
	}
	return false
}

// streamRules are the rules of a bridge for the camera.
func (s *site) streamRules(bridge string) (list []string) {
	for _, f := range s.sw.Flows(bridge) {
		if strings.Contains(f.Match, "tp_dst=5004") {
			list = append(list, f.Text)
		}
	}
	return list
}

// TestSensorAndCamera has cameras of two switches send without end, while the sensor's machine moves: from the moment that the report is through nothing of
// the cameras passes, nor is anything held back once they may stream again.
func TestSensorAndCamera(t *testing.T) {
	for version := range protocols {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			testSensorAndCamera(t, newSite(t, version, settings.Native, "memory:"))
		})
	}
}

func TestLongSensorAndCameraOfInstances(t *testing.T) {
	testlong.Need(t)
	testSensorAndCamera(t, newSite(t, "1.3", settings.Embedded, "memory:"))
}

func testSensorAndCamera(t *testing.T, s *site) {
	for _, bridge := range s.bridges {
		if s.streams(bridge) {
			t.Fatalf("%s: the camera streams before there is motion", bridge)
		}
	}
	for round := range 3 {
		s.report(motion)
		for _, bridge := range s.bridges {
			for _, rule := range s.streamRules(bridge) {
				t.Errorf("%s, round %d: a rule of the sensor's quiet is there after its report of motion: %s", bridge, round, rule)
			}
			if !s.streams(bridge) {
				t.Errorf("%s, round %d: the camera does not stream in spite of motion", bridge, round)
			}
		}

		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				for _, bridge := range s.bridges {
					frame, _ := s.datagram(2, 5004)
					s.inject(bridge, cameraPort, frame)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		before := s.sent.Load()
		eventually(t, "the cameras stream", func() bool { return s.sent.Load() > before+20 })
		s.report(quiet)
		reported := s.sent.Load()
		for _, bridge := range s.bridges {
			for _, rule := range s.streamRules(bridge) {
				if !strings.HasSuffix(rule, "actions=drop") {
					t.Errorf("%s, round %d: a rule of the sensor's motion is there after its report of quiet: %s", bridge, round, rule)
				}
			}
		}
		// The tables have let nothing through since then. The datapath remembers for a moment what they said before.
		if _, err := s.sw.Control().Call("revalidator/wait"); err != nil {
			t.Fatal(err)
		}
		last := s.sent.Load() + uint32(len(s.bridges)) // which may be on its way
		eventually(t, "the cameras send on", func() bool { return s.sent.Load() > last+20 })
		close(stop)
		<-done
		for _, bridge := range s.bridges {
			if s.streams(bridge) {
				t.Errorf("%s, round %d: the camera streams while all is quiet", bridge, round)
			}
			passed, between := 0, 0
			for _, f := range s.left(bridge) {
				var n uint32
				if _, err := fmt.Sscanf(string(f[len(f)-8:]), "%08d", &n); err != nil {
					t.Fatal(err)
				}
				if n > last {
					passed++
				} else if n > reported {
					between++
				}
			}
			if passed > 0 {
				t.Errorf("%s, round %d: %d frames of the camera passed after the sensor's report", bridge, round, passed)
			}
			if between > 0 {
				t.Logf("%s, round %d: %d frames passed by the datapath's memory", bridge, round, between)
			}
		}
	}
}

// TestPortScan has a host open connections to 200 ports at once, at two switches: less than the threshold are reached.
func TestPortScan(t *testing.T) {
	for _, kind := range []string{"memory:", "redis:"} {
		for version := range protocols {
			t.Run(kind+version, func(t *testing.T) {
				t.Parallel()
				store := kind
				if kind == "redis:" {
					store = "redis://" + redistest.Start(t).Addr
				}
				testPortScan(t, newSite(t, version, settings.Native, store))
			})
		}
	}
}

func TestLongPortScanOfInstances(t *testing.T) {
	testlong.Need(t)
	testPortScan(t, newSite(t, "1.3", settings.Embedded, "redis://"+redistest.Start(t).Addr))
}

func testPortScan(t *testing.T, s *site) {
	const threshold, tried = 20, 200
	s.write(2, threshold)
	if err := s.gateway.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	scanner, other := frames.Host(5), frames.Host(6)
	for i := range tried {
		for _, bridge := range s.bridges { // the same host, seen by two switches
			s.inject(bridge, cameraPort, frames.TCP(scanner.At(40000), frames.Host(9).At(uint16(1000+i)), frames.SYN, nil))
		}
	}
	honest := frames.TCP(other.At(40000), frames.Host(9).At(80), frames.SYN, nil)
	for _, bridge := range s.bridges {
		s.inject(bridge, cameraPort, honest)
		eventually(t, "somebody else's connection passes", func() bool { return s.hasLeft(bridge, honest) })
	}
	eventually(t, "the scanner has a rule that drops", func() bool {
		s.inject("br0", cameraPort, frames.TCP(scanner.At(40000), frames.Host(9).At(1000), frames.SYN, nil))
		for _, f := range s.sw.Flows("br0") {
			if f.Actions == "drop" && strings.Contains(f.Match, "nw_src="+scanner.IP.String()) {
				return true
			}
		}
		return false
	})
	ports := map[uint16]bool{}
	for _, bridge := range s.bridges {
		for _, f := range s.left(bridge) {
			if m := flow.ParseFrame(f, 1); m.IPSrc == netip.PrefixFrom(scanner.IP, 32) {
				ports[m.L4Dst] = true
			}
		}
	}
	// A packet that others' changes of the state overtake again and again is dropped, so fewer may pass.
	if len(ports) >= threshold || len(ports) < threshold/2 {
		t.Errorf("%d of %d ports were reached, want %d at most, and half of that at least", len(ports), tried, threshold-1)
	}
}

// TestRestartWithStates has a gateway restart while rules rest on a state: they go, and their packets are asked about by the state that is kept, or by the start
// state where none is.
func TestRestartWithStates(t *testing.T) {
	for kind, streams := range map[string]bool{"memory:": false, "bbolt:": true} {
		for version := range protocols {
			t.Run(kind+version, func(t *testing.T) {
				t.Parallel()
				store := kind
				if kind == "bbolt:" {
					store += filepath.Join(t.TempDir(), "states")
				}
				testRestartWithStates(t, newSite(t, version, settings.Native, store), streams)
			})
		}
	}
}

func TestLongRestartOfInstancesWithStates(t *testing.T) {
	testlong.Need(t)
	testRestartWithStates(t, newSite(t, "1.3", settings.Embedded, "bbolt:"+filepath.Join(t.TempDir(), "states")), true)
}

func testRestartWithStates(t *testing.T, s *site, streams bool) {
	s.report(motion)
	old := map[string]bool{}
	for _, bridge := range s.bridges {
		if !s.streams(bridge) {
			t.Fatalf("%s: the camera does not stream in spite of motion", bridge)
		}
		for _, rule := range s.streamRules(bridge) {
			cookie, _, _ := strings.Cut(rule, ",")
			old[cookie] = true
		}
	}
	s.gateway.stop()
	for _, bridge := range s.bridges {
		if len(s.streamRules(bridge)) != 1 {
			t.Errorf("%s: without its gateway it has %q", bridge, s.streamRules(bridge))
		}
	}
	s.start()
	s.serves()
	for _, bridge := range s.bridges {
		eventually(t, "rules of the last gateway's states go", func() bool {
			for _, rule := range s.streamRules(bridge) {
				if cookie, _, _ := strings.Cut(rule, ","); old[cookie] {
					return false
				}
			}
			return true
		})
		if got := s.streams(bridge); got != streams {
			t.Errorf("%s: after the restart the camera streams: %v, want %v", bridge, got, streams)
		}
	}
}

// TestReloadKeepsStates changes one machine in the file: it begins again, and the others are where they were.
func TestReloadKeepsStates(t *testing.T) {
	t.Parallel()
	s := newSite(t, "1.3", settings.Native, "memory:")
	s.report(motion)
	denied := func() (n int) {
		var list []gateway.ShownDecision
		s.gateway.get(t, "/api/v1/decisions?verdict=deny&host="+frames.Host(5).IP.String(), &list)
		return len(list)
	}
	// reach counts the ports that the host's segments reach, each decided about before the next is sent.
	reach := func(ports int) (reached int) {
		for i := range ports {
			before := denied()
			frame := frames.TCP(frames.Host(5).At(40000), frames.Host(9).At(uint16(1000+i)), frames.SYN, fmt.Appendf(nil, "%08d", s.sent.Add(1)))
			s.inject("br0", cameraPort, frame)
			eventually(t, "the segment has left or is denied", func() bool {
				if s.hasLeft("br0", frame) {
					reached++
					return true
				}
				return denied() > before
			})
		}
		return reached
	}
	if n := reach(6); n != 4 {
		t.Errorf("%d ports were reached, want 4", n)
	}
	s.write(2, 10)
	if err := s.gateway.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if !s.streams("br0") {
		t.Error("the sensor's machine, which was not changed, has forgotten its motion")
	}
	if n := reach(6); n != 6 {
		t.Errorf("with 10 for a threshold %d ports were reached, want 6", n)
	}
}
