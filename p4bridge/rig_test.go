package p4bridge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"switchbridge/bridge"
	"switchbridge/bridge/bridgetest"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/p4test"
	"switchbridge/p4src"
)

var (
	program = p4src.Switchbridge
	binding = sync.OnceValue(func() *mapping.Mapping {
		m, err := mapping.Default().Bind(program())
		if err != nil {
			panic(err)
		}
		return m
	})
)

func TestMain(m *testing.M) { bridgetest.Main(m, 6) }

// rig is a switch, simulated or real, with four ports.
type rig interface {
	dial(ctx context.Context, addr string) (net.Conn, error)
	packet(t testing.TB, port uint32, frame []byte)
	out() <-chan p4test.Frame
	restart(t testing.TB)
	addr() string
}

// onBoth runs a case against p4test, and against BMv2 where it is found: the same
// case, the same results.
func onBoth(t *testing.T, f func(t *testing.T, r rig)) {
	t.Parallel() // most of a case is waiting
	t.Run("p4test", func(t *testing.T) {
		t.Parallel()
		f(t, newSimulated(t, p4test.Options{DeviceID: 1}))
	})
	t.Run("bmv2", func(t *testing.T) {
		t.Parallel()
		f(t, newReal(t))
	})
}

type simulated struct{ *p4test.Target }

func newSimulated(t testing.TB, o p4test.Options) *simulated {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &simulated{p4test.New(o)}
	s.Start(l)
	t.Cleanup(s.Stop)
	return s
}

func (s *simulated) dial(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}
func (s *simulated) packet(_ testing.TB, port uint32, frame []byte) { s.Packet(port, frame) }
func (s *simulated) out() <-chan p4test.Frame                       { return s.Out() }
func (s *simulated) addr() string                                   { return s.Addr() }
func (s *simulated) restart(t testing.TB) {
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

type realSwitch struct {
	*bmv2
	path   string
	frames chan p4test.Frame
}

func newReal(t testing.TB) *realSwitch {
	r := &realSwitch{bmv2: newBMv2(t, 1, 2, 3, 4), frames: make(chan p4test.Frame, 4096)}
	r.path = bmv2Path(t)
	go func() {
		for {
			select {
			case f := <-r.bmv2.out:
				r.frames <- p4test.Frame{Port: f.port, Data: f.data}
			case <-r.done:
				return
			}
		}
	}()
	return r
}

func (r *realSwitch) addr() string             { return bmv2Addr }
func (r *realSwitch) out() <-chan p4test.Frame { return r.frames }
func (r *realSwitch) packet(t testing.TB, port uint32, frame []byte) {
	if err := r.send(port, frame); err != nil {
		t.Fatal(err)
	}
}
func (r *realSwitch) restart(t testing.TB) {
	r.stop()
	r.start(t, r.path)
}

// fastConfig is a configuration with short waits.
func fastConfig(r rig) Config {
	return Config{
		Device: 1, Addr: r.addr(), Dial: r.dial, Pipeline: program(), Mapping: binding(), Ports: []uint32{1, 2, 3, 4},
		Election: ElectionID{Low: 10}, MinBackoff: 20 * time.Millisecond, MaxBackoff: 200 * time.Millisecond,
		CallTimeout: 5 * time.Second, Counters: -1,
	}
}

// gatewayID is that of every bridge in these tests.
const gatewayID bridge.GatewayID = 7

// bridgeOf makes the bridge that a session's events go through.
func bridgeOf(t testing.TB, d flow.Decider, change func(*bridge.Config)) *bridge.Bridge {
	t.Helper()
	cfg := bridge.Config{Decider: d, Gateway: gatewayID, LookInterval: -1}
	if change != nil {
		change(&cfg)
	}
	b, err := bridge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run starts a session, with a bridge of its own unless it has one, and stops it
// with the test.
func run(t testing.TB, cfg Config, d flow.Decider) *Session {
	t.Helper()
	s, stop := runUntil(t, cfg, d)
	t.Cleanup(stop)
	return s
}

// runUntil is run, for a session that is stopped sooner.
func runUntil(t testing.TB, cfg Config, d flow.Decider) (s *Session, stop func()) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(logWriter{t}, nil))
	}
	if cfg.Bridge == nil {
		cfg.Bridge = bridgeOf(t, d, nil)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

func serving(t testing.TB, s *Session) {
	t.Helper()
	eventually(t, "the session serves", func() bool { return s.Status().State == "serving" })
}

// eventually waits for what another goroutine or process brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// expect waits for a frame to leave by a port.
func expect(t testing.TB, r rig, port uint32, frame []byte) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case f := <-r.out():
			if f.Port == port && string(f.Data) == string(frame) {
				return
			}
		case <-timeout:
			t.Fatalf("the frame did not leave by port %d", port)
		}
	}
}

// quiet asserts that a frame does not leave by any port for a while.
func quiet(t testing.TB, r rig, frame []byte, d time.Duration) {
	t.Helper()
	timeout := time.After(d)
	for {
		select {
		case f := <-r.out():
			if string(f.Data) == string(frame) {
				t.Fatalf("the frame left by port %d", f.Port)
			}
		case <-timeout:
			return
		}
	}
}

// reader is a bare client for looking into a switch's tables: reading needs no
// arbitration.
func reader(t testing.TB, r rig, opts ...grpc.DialOption) p4v1.P4RuntimeClient {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+r.addr(), append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(r.dial), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return p4v1.NewP4RuntimeClient(cc)
}

func entries(t testing.TB, r rig, table string) []*p4v1.TableEntry {
	t.Helper()
	rd, err := reader(t, r).Read(context.Background(), &p4v1.ReadRequest{DeviceId: 1, Entities: []*p4v1.Entity{
		{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{TableId: program().Table(table).ID}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var out []*p4v1.TableEntry
	for {
		resp, err := rd.Recv()
		if err != nil {
			return out
		}
		for _, e := range resp.GetEntities() {
			if te := e.GetTableEntry(); te != nil && !te.GetIsDefaultAction() {
				out = append(out, te)
			}
		}
	}
}

// udp makes a frame from host a to host b: station and address end in the
// number, and the port tells flows apart.
func udp(a, b byte, port uint16) []byte {
	return frames.UDP(frames.Host(a).At(port), frames.Host(b).At(53), make([]byte, 18))
}

// tcp6 makes a frame of IPv6.
func tcp6(a, b byte, port uint16) []byte {
	from, to := frames.Host(a).At(port), frames.Host(b).At(443)
	from.IP, to.IP = netip.MustParseAddr(fmt.Sprintf("fd00::%d", a)), netip.MustParseAddr(fmt.Sprintf("fd00::%d", b))
	return frames.TCP(from, to, 0, nil)
}

// arp makes a request.
func arp(a, b byte) []byte { return frames.ARPRequest(frames.Host(a), frames.Host(b).IP) }

// exactNormal is the policy that most cases need: every flow gets a rule of its
// own, NORMAL.
func exactNormal(_ context.Context, ev *flow.Event, d *flow.Decision) error {
	if ev.PacketIn != nil {
		d.Rules = append(d.Rules, flow.Rule{Priority: 100, Match: ev.PacketIn.Match, IdleTimeout: 30 * time.Second,
			Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}})
	}
	return nil
}

// local makes a policy one that decides in place.
type local struct{ flow.DeciderFunc }

func (local) Local() bool { return true }

func toPort(p flow.PortNo) flow.DeciderFunc {
	return func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			d.Rules = append(d.Rules, flow.Rule{Priority: 100, Match: ev.PacketIn.Match, IdleTimeout: time.Minute, Actions: []flow.Action{flow.OutputTo(p)}})
		}
		return nil
	}
}
