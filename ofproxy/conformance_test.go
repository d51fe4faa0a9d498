package ofproxy

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/bridge"
	"switchbridge/bridge/bridgetest"
	"switchbridge/flow"
	"switchbridge/internal/ovs"
	"switchbridge/ofproxy/oftest"
)

func TestMain(m *testing.M) { bridgetest.Main(m, 16) }

// TestConformance runs the suite of all protocols' sessions on fake switches and
// on Open vSwitch, in both versions.
func TestConformance(t *testing.T) {
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		t.Run("fake", func(t *testing.T) {
			bridgetest.Run(t, bridgetest.Target{Name: v.String() + ", fake", Simulated: true, Inexpressible: inexpressible(v), Room: 3,
				Connect: func(t *testing.T, b *bridge.Bridge) bridgetest.Peer {
					return newFake(t, b, oftest.Config{DPID: 1, Versions: one(v)})
				}})
		})
		t.Run("fake with buffers", func(t *testing.T) {
			bridgetest.Run(t, bridgetest.Target{Name: v.String() + ", fake with buffers", Simulated: true, Buffers: true, Inexpressible: inexpressible(v), Room: 3,
				Connect: func(t *testing.T, b *bridge.Bridge) bridgetest.Peer {
					return newFake(t, b, oftest.Config{DPID: 1, Versions: one(v), NBuffers: 64})
				}})
		})
		t.Run("Open vSwitch", func(t *testing.T) {
			t.Parallel()
			bridgetest.RunApart(t, func(t *testing.T) bridgetest.Target {
				w := newVswitch(t, v)
				return bridgetest.Target{Name: v.String() + ", Open vSwitch", Inexpressible: inexpressible(v), Room: 3, Elapse: w.Elapse,
					Connect: func(t *testing.T, b *bridge.Bridge) bridgetest.Peer { return w.connect(t, b) }}
			})
		})
	})
}

// inexpressible denies TCP port 22, and more that the version can't say.
func inexpressible(v flow.Protocol) func(packet *flow.Match) flow.Rule {
	return func(packet *flow.Match) flow.Rule {
		m := packet.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthType | flow.FieldIPProto)
		m.SetL4Dst(22)
		r := flow.Rule{Priority: 200, IdleTimeout: 60 * time.Second, Match: m}
		if v == flow.OpenFlow10 {
			r.Match.Fields |= flow.FieldIPECN // 1.0 has no such field
			r.Match.IPECN = packet.IPECN
			return r
		}
		r.Match.SetVLAN(5, flow.VLANExact) // a tag without the bit that says there is one
		return r
	}
}

// fake is a switch of oftest's as the suite's peer.
type fake struct {
	t      *testing.T
	cfg    oftest.Config
	server *Server
	ctx    context.Context
	cancel context.CancelFunc

	mu   sync.Mutex
	sw   *oftest.Switch
	room int // further rules that it takes; negative: any number
	out  []bridgetest.Frame
}

func newFake(t *testing.T, b *bridge.Bridge, cfg oftest.Config) *fake {
	f := &fake{t: t, cfg: cfg, room: -1}
	f.ctx, f.cancel = context.WithCancel(t.Context())
	f.cfg.Refuse = f.refuse
	var err error
	if f.server, err = NewServer(Config{Bridge: b}); err != nil {
		t.Fatal(err)
	}
	f.connect(nil)
	return f
}

// refuse says no when there is no room. It is called by the switch.
func (f *fake) refuse(r *flow.Rule) (flow.SwitchError, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Command != flow.Add || f.room < 0 {
		return flow.SwitchError{}, false
	}
	if f.room == 0 {
		if f.cfg.Versions[0] == flow.OpenFlow10 {
			return flow.SwitchError{Type: 3, Code: 0}, true
		}
		return flow.SwitchError{Type: 5, Code: 1}, true
	}
	f.room--
	return flow.SwitchError{}, false
}

// connect makes a connection of a switch whose tables hold rules.
func (f *fake) connect(rules []flow.Rule) {
	client, server := net.Pipe()
	go f.server.ServeConn(f.ctx, server)
	f.cfg.Rules = rules
	f.sw = oftest.Serve(client, f.cfg)
	for range 1000 {
		for _, s := range f.server.Sessions() {
			if s.State == "ready" {
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
	f.t.Fatal("the fake switch is not ready")
}

func (f *fake) Close() {
	f.sw.Close()
	f.cancel()
	f.server.drain()
}

func (f *fake) Reconnect() {
	rules := f.Rules()
	f.sw.Close()
	for len(f.server.Sessions()) > 0 {
		time.Sleep(time.Millisecond)
	}
	f.connect(rules)
}

func (f *fake) Restart(b *bridge.Bridge) {
	rules := f.Rules()
	f.Close()
	f.ctx, f.cancel = context.WithCancel(f.t.Context())
	var err error
	if f.server, err = NewServer(Config{Bridge: b}); err != nil {
		f.t.Fatal(err)
	}
	f.connect(rules)
}

func (f *fake) Inject(port flow.PortNo, frame []byte) {
	actions, _, err := f.sw.Forward(port, frame)
	if err != nil {
		f.t.Fatal(err)
	}
	f.sent(actions, frame)
}

// sent notes the frames that actions send.
func (f *fake) sent(actions []flow.Action, frame []byte) {
	for _, a := range actions {
		if a.Type == flow.Output {
			f.out = append(f.out, bridgetest.Frame{Port: a.Port, Data: bytes.Clone(frame)})
		}
	}
}

func (f *fake) Out() []bridgetest.Frame {
	for _, m := range f.sw.Take() {
		switch {
		case m.Frame == nil:
		case m.PacketOut != nil:
			f.sent(m.PacketOut.Actions, m.Frame)
		case m.Rule != nil:
			f.sent(m.Rule.Actions, m.Frame)
		}
	}
	out := f.out
	f.out = nil
	return out
}

func (f *fake) Rules() []flow.Rule {
	var list []flow.Rule
	for _, e := range f.sw.Rules() {
		list = append(list, e.Rule)
	}
	return list
}

func (f *fake) Load(r flow.Rule) { f.sw.Load(r) }

func (f *fake) Wipe() {
	for _, e := range f.sw.Wipe() {
		if e.Rule.Flags&flow.SendFlowRemoved != 0 {
			f.sw.SendFlowRemoved(&flow.FlowRemoved{Reason: flow.RemovedDelete, Table: e.Rule.Table, Priority: e.Rule.Priority, Cookie: e.Rule.Cookie, Match: e.Rule.Match})
		}
	}
}

func (f *fake) Fill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room = 3
}

// vswitch is a bridge of Open vSwitch as the suite's peer, of one case after
// the other.
type vswitch struct {
	s       *ovs.Switchd
	control *ovs.Control
	ports   []*ovs.Port
	seen    []int // frames of each port that were returned
	full    bool  // Fill has bounded the table

	// Of the case that runs.
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	server *Server
}

const bridgeName = "br0"

func newVswitch(t *testing.T, v flow.Protocol) *vswitch {
	s := ovs.Start(t, ovs.Options{Dummy: true})
	w := &vswitch{s: s, control: s.Control()}
	protocol := "OpenFlow13"
	if v == flow.OpenFlow10 {
		protocol = "OpenFlow10"
	}
	s.AddBridge(bridgeName, ovs.Bridge{DPID: 1, Protocols: []string{protocol}})
	for i := range 4 {
		w.ports = append(w.ports, s.AddPort(bridgeName, fmt.Sprintf("p%d", i+1), uint32(i+1)))
	}
	w.seen = make([]int, len(w.ports))
	return w
}

// connect makes b the controller of the bridge, whose tables are empty.
func (w *vswitch) connect(t *testing.T, b *bridge.Bridge) *vswitch {
	server, err := NewServer(Config{Bridge: b})
	if err != nil {
		t.Fatal(err)
	}
	w.t, w.server = t, server
	if w.full {
		w.s.Vsctl("clear", "bridge", bridgeName, "flow_tables")
		w.full = false
	}
	w.Wipe()
	w.serve()
	if _, err := w.control.Call("revalidator/wait"); err != nil { // the datapath remembers what the tables said before
		t.Fatal(err)
	}
	w.Out()
	return w
}

// serve has the bridge connect to the server.
func (w *vswitch) serve() {
	server := w.server
	w.done = make(chan struct{})
	l := w.s.ListenUnix()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.cancel = cancel
	done := w.done
	go func() {
		defer close(done)
		server.Serve(ctx, l, false)
	}()
	w.s.SetController(bridgeName, ovs.Target(l))
	w.ready()
}

// Restart has the bridge connect to another gateway. It keeps its tables.
func (w *vswitch) Restart(b *bridge.Bridge) {
	w.Close()
	var err error
	if w.server, err = NewServer(Config{Bridge: b}); err != nil {
		w.t.Fatal(err)
	}
	w.serve()
}

// Elapse takes Open vSwitch's clock ahead, by steps in which it still hears the gateway.
func (w *vswitch) Elapse(d time.Duration) {
	for _, call := range [][]string{{"time/warp", fmt.Sprint(d.Milliseconds()), "1000"}, {"revalidator/wait"}} {
		if _, err := w.control.Call(call[0], call[1:]...); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *vswitch) ready() {
	for range 2000 {
		for _, s := range w.server.Sessions() {
			if s.State == "ready" {
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatal("Open vSwitch is not ready")
}

func (w *vswitch) Close() {
	w.cancel()
	<-w.done
}

func (w *vswitch) Reconnect() {
	// A bridge's first controller clears its tables; one that is lost does not.
	w.server.mu.Lock()
	open := slices.Collect(maps.Values(w.server.switches))
	w.server.mu.Unlock()
	for _, s := range open {
		s.close(errShutdown)
	}
	for len(w.server.Sessions()) > 0 {
		time.Sleep(time.Millisecond)
	}
	w.ready()
}

func (w *vswitch) Inject(port flow.PortNo, frame []byte) {
	if _, err := w.control.Call("netdev-dummy/receive", w.ports[port-1].Name, hex.EncodeToString(frame)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *vswitch) Out() []bridgetest.Frame {
	var out []bridgetest.Frame
	for i, p := range w.ports {
		frames := p.Sent()
		for _, f := range frames[w.seen[i]:] {
			out = append(out, bridgetest.Frame{Port: flow.PortNo(p.Number), Data: f})
		}
		w.seen[i] = len(frames)
	}
	return out
}

// Rules returns what the suite looks at of each rule, as ovs-ofctl prints it.
func (w *vswitch) Rules() []flow.Rule {
	var list []flow.Rule
	for _, f := range w.s.Flows(bridgeName) {
		r := flow.Rule{Table: uint8(f.Table), Priority: uint16(f.Priority), Cookie: f.Cookie, IdleTimeout: f.IdleTimeout, HardTimeout: f.HardTimeout}
		if f.Actions != "drop" {
			r.Actions = []flow.Action{{Type: flow.Output}}
		}
		list = append(list, r)
	}
	return list
}

func (w *vswitch) Load(r flow.Rule) {
	text := fmt.Sprintf("cookie=%#x,priority=%d,tcp,tp_dst=%d,actions=drop", r.Cookie, r.Priority, r.Match.L4Dst)
	if len(r.Actions) > 0 {
		text = strings.Replace(text, "drop", fmt.Sprintf("output:%d", r.Actions[0].Port), 1)
	}
	w.s.Ofctl("add-flow", bridgeName, text)
}

func (w *vswitch) Wipe() { w.s.Ofctl("del-flows", bridgeName) }

func (w *vswitch) Fill() {
	w.full = true
	n := len(w.s.Flows(bridgeName))
	w.s.Vsctl("--", "--id=@t", "create", "Flow_Table", fmt.Sprintf("flow_limit=%d", n+3), "overflow_policy=refuse",
		"--", "set", "bridge", bridgeName, "flow_tables:0=@t")
}
