package ofproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/internal/logbuffer"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// rig is a server with a decider of the test's, in a synctest bubble.
type rig struct {
	t      *testing.T
	server *Server
	logs   *logbuffer.Buffer
	ctx    context.Context
	cancel context.CancelFunc
}

// local makes a function a flow.Local.
type local func(ev *flow.Event, d *flow.Decision) error

func (f local) Decide(_ context.Context, ev *flow.Event, d *flow.Decision) error { return f(ev, d) }
func (f local) Local() bool                                                      { return true }

// exactRule answers a packet with one rule for its flow to port 2.
func exactRule(ev *flow.Event, d *flow.Decision) error {
	if ev.Type != flow.EventPacketIn {
		return nil
	}
	m := ev.PacketIn.Match.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType)
	d.Rules = append(d.Rules, flow.Rule{Priority: 100, IdleTimeout: 30 * time.Second, Match: m, Actions: []flow.Action{flow.OutputTo(2)}})
	d.Verdict, d.Reason = flow.Allow, "test: exact"
	return nil
}

// testConfig is a server's configuration and that of its bridge.
type testConfig struct {
	Config
	B     bridge.Config
	Level *slog.LevelVar // of the log; debug unless it is set otherwise
}

// bubble runs a test with a server whose configuration is changed by adapt.
func bubble(t *testing.T, adapt func(*testConfig), body func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, logs: new(logbuffer.Buffer)}
		r.ctx, r.cancel = context.WithCancel(t.Context())
		level := new(slog.LevelVar)
		level.Set(slog.LevelDebug)
		log := slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: level}))
		cfg := testConfig{Config: Config{Logger: log}, B: bridge.Config{Decider: local(exactRule), Logger: log}, Level: level}
		if adapt != nil {
			adapt(&cfg)
		}
		var err error
		if cfg.Bridge, err = bridge.New(cfg.B); err != nil {
			t.Fatal(err)
		}
		if r.server, err = NewServer(cfg.Config); err != nil {
			t.Fatal(err)
		}
		body(r)
		r.server.drain()
		r.cancel()
		synctest.Wait()
	})
}

// pipe gives the server one end of a connection and returns the other.
func (r *rig) pipe() net.Conn {
	client, server := net.Pipe()
	go r.server.ServeConn(r.ctx, server)
	return client
}

// connect brings a fake switch to the ready state.
func (r *rig) connect(cfg oftest.Config) *oftest.Switch {
	r.t.Helper()
	sw := oftest.Serve(r.pipe(), cfg)
	synctest.Wait()
	if !r.ready(cfg.DPID) {
		r.t.Fatalf("datapath %v is not ready:\n%s", cfg.DPID, r.logs)
	}
	sw.Take()
	return sw
}

func (r *rig) ready(dpid flow.DPID) bool {
	for _, s := range r.server.Sessions() {
		if s.Switch.DPID == dpid && s.State == "ready" {
			return true
		}
	}
	return false
}

func (r *rig) wantLog(parts ...string) {
	r.t.Helper()
	for _, line := range strings.Split(r.logs.String(), "\n") {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return
		}
	}
	r.t.Errorf("no log line with %q in:\n%s", parts, r.logs)
}

var versions = []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13}

func forVersions(t *testing.T, f func(t *testing.T, v flow.Protocol)) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) { f(t, v) })
	}
}

func one(v flow.Protocol) []flow.Protocol { return []flow.Protocol{v} }

func TestHandshakeNegotiatesTheHighestCommonVersion(t *testing.T) {
	for _, row := range []struct {
		ours, theirs []flow.Protocol
		want         flow.Protocol
	}{
		{nil, nil, flow.OpenFlow13},
		{nil, one(flow.OpenFlow10), flow.OpenFlow10},
		{one(flow.OpenFlow10), nil, flow.OpenFlow10},
		{one(flow.OpenFlow13), nil, flow.OpenFlow13},
	} {
		t.Run(fmt.Sprint(row.ours, row.theirs), func(t *testing.T) {
			bubble(t, func(c *testConfig) { c.Protocols = row.ours }, func(r *rig) {
				sw := r.connect(oftest.Config{DPID: 7, Versions: row.theirs})
				defer sw.Close()
				if sw.Version() != row.want {
					t.Errorf("negotiated %v, want %v", sw.Version(), row.want)
				}
			})
		})
	}
}

func TestHelloFailedIsReadable(t *testing.T) {
	bubble(t, func(c *testConfig) { c.Protocols = one(flow.OpenFlow13) }, func(r *rig) {
		conn := r.pipe()
		got := make(chan []byte)
		go func() { b, _ := io.ReadAll(conn); got <- b }()
		conn.Write(ofp.AppendHello(nil, 1, flow.OpenFlow10))
		b := <-got
		synctest.Wait()
		if !bytes.Contains(b, []byte("this gateway speaks 1.3, the switch 1.0: ovs-vsctl set bridge")) {
			t.Errorf("HELLO_FAILED says %q", b)
		}
		r.wantLog("cause=version", "speaks 1.3, the switch 1.0")
	})
}

func TestTableMissEntry(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1, Versions: one(flow.OpenFlow13)})
		defer sw.Close()
		rules := sw.Rules()
		if len(rules) != 1 || rules[0].Rule.Priority != 0 || rules[0].Rule.Actions[0].Port != flow.PortController || rules[0].Rule.Actions[0].MaxLen != 0xffff {
			t.Errorf("rules after connect: %+v", rules)
		}
	})
}

func TestMeteredMissLeavesEssentialsUnmetered(t *testing.T) {
	bubble(t, func(c *testConfig) {
		c.Meters = []ofp.Meter{{ID: 5, Rate: 100, Burst: 10}}
		c.MissMeter = 5
	}, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1, Versions: one(flow.OpenFlow13)})
		defer sw.Close()
		metered, free := 0, map[uint16]int{}
		for _, st := range sw.Rules() {
			if st.Rule.Meter == 5 {
				metered++
			} else {
				free[st.Rule.Match.EthType]++
			}
		}
		if metered != 1 || free[flow.EthTypeARP] != 1 || free[flow.EthTypeLLDP] != 1 || free[flow.EthTypeIPv4] != 2 || free[flow.EthTypeIPv6] != 2 {
			t.Errorf("%d metered, free by EtherType: %v", metered, free)
		}
	})
}

// The rule goes first, then the packet; a buffer is used once.
func TestRuleBeforePacket(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		for _, buffers := range []uint32{0, 256} {
			t.Run(fmt.Sprintf("buffers=%d", buffers), func(t *testing.T) {
				bubble(t, nil, func(r *rig) {
					sw := r.connect(oftest.Config{DPID: 1, Versions: one(v), NBuffers: buffers})
					defer sw.Close()
					if err := sw.PacketIn(1, frame); err != nil {
						t.Fatal(err)
					}
					got, err := sw.UntilReleased(r.ctx, frame)
					if err != nil {
						t.Fatal(err)
					}
					want := 2
					if buffers > 0 {
						want = 1 // one FLOW_MOD with the buffer_id does both
					}
					if len(got) != want || got[0].Type != ofp.TypeFlowMod {
						t.Fatalf("answer: %v", got)
					}
					rule := got[0].Rule
					if rule.Cookie>>48 != 1 || uint32(rule.Cookie) != got[0].XID || got[0].XID == 0 {
						t.Errorf("cookie %#x, xid %#x", rule.Cookie, got[0].XID)
					}
					if last := got[len(got)-1]; last.XID != got[0].XID {
						t.Errorf("xids %#x and %#x", got[0].XID, last.XID)
					}
					synctest.Wait()
					if more := sw.Take(); len(more) != 0 {
						t.Errorf("more came: %v", more)
					}
				})
			})
		}
	})
}

func TestBarrierBetweenRuleAndPacket(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		bubble(t, func(c *testConfig) { c.BarrierFirst = true }, func(r *rig) {
			var order []ofp.Type
			sw := r.connect(oftest.Config{DPID: 1, Versions: one(v), NBuffers: 8, Intercept: func(h ofp.Header, _ []byte) bool {
				order = append(order, h.Type)
				return false
			}})
			defer sw.Close()
			order = nil
			sw.PacketIn(1, frame)
			synctest.Wait()
			if got := fmt.Sprint(order); got != fmt.Sprint([]ofp.Type{ofp.TypeFlowMod, ofp.TypeBarrierRequest, ofp.TypePacketOut}) {
				t.Errorf("order: %s", got)
			}
		})
	})
}

func TestDropFreesTheBuffer(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	deny := local(func(ev *flow.Event, d *flow.Decision) error {
		d.HasPacketOut, d.Verdict = true, flow.Deny
		return nil
	})
	refuse := local(func(ev *flow.Event, d *flow.Decision) error { return flow.Errorf(flow.Refused, "status 403") })
	for name, dec := range map[string]local{"deny": deny, "refused": refuse} {
		t.Run(name, func(t *testing.T) {
			forVersions(t, func(t *testing.T, v flow.Protocol) {
				bubble(t, func(c *testConfig) { c.B.Decider = dec }, func(r *rig) {
					sw := r.connect(oftest.Config{DPID: 1, Versions: one(v), NBuffers: 8})
					defer sw.Close()
					sw.PacketIn(1, frame)
					synctest.Wait()
					got := sw.Take()
					if len(got) != 1 || got[0].PacketOut == nil || got[0].PacketOut.BufferID == flow.NoBuffer || len(got[0].PacketOut.Actions) != 0 {
						t.Errorf("answer: %v", got)
					}
				})
				bubble(t, func(c *testConfig) { c.B.Decider = dec }, func(r *rig) {
					sw := r.connect(oftest.Config{DPID: 1, Versions: one(v)})
					defer sw.Close()
					sw.PacketIn(1, frame)
					synctest.Wait()
					if got := sw.Take(); len(got) != 0 {
						t.Errorf("without a buffer: %v", got)
					}
				})
			})
		})
	}
}

// A rule that 1.0 can't express is not installed and the verdict holds.
func TestInexpressibleRuleKeepsTheVerdict(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	dec := local(func(ev *flow.Event, d *flow.Decision) error {
		exactRule(ev, d)
		for i := range d.Rules {
			d.Rules[i].Goto = 1
			d.HasPacketOut, d.PacketOut = true, []flow.Action{flow.OutputTo(3)}
		}
		return nil
	})
	bubble(t, func(c *testConfig) { c.B.Decider = dec }, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1, Versions: one(flow.OpenFlow10)})
		defer sw.Close()
		sw.PacketIn(1, frame)
		synctest.Wait()
		got := sw.Take()
		if len(got) != 1 || got[0].PacketOut == nil || got[0].PacketOut.Actions[0].Port != 3 {
			t.Errorf("answer: %v", got)
		}
		r.wantLog("a guardrail refuses part of an answer", "rail=not-expressible", "goto:1")
	})
}

func TestErrorIsTiedToItsDecision(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		var seen []flow.SwitchError
		dec := local(func(ev *flow.Event, d *flow.Decision) error {
			if ev.Type == flow.EventError {
				seen = append(seen, *ev.Error)
				return nil
			}
			return exactRule(ev, d)
		})
		bubble(t, func(c *testConfig) {
			c.B.Decider = dec
			c.B.Subscribe = map[flow.EventType]bool{flow.EventError: true}
		}, func(r *rig) {
			sw := r.connect(oftest.Config{DPID: 1, Versions: one(v), Refuse: func(rule *flow.Rule) (flow.SwitchError, bool) {
				return flow.SwitchError{Type: uint16(map[flow.Protocol]int{flow.OpenFlow10: 3, flow.OpenFlow13: 5}[v]), Code: 0}, rule.Priority == 100
			}})
			defer sw.Close()
			sw.PacketIn(1, frame)
			synctest.Wait()
			r.wantLog("refuses a rule of a decision", "FLOW_MOD_FAILED", "reason=\"test: exact\"", "priority=100")
			if len(seen) != 1 || seen[0].XID == 0 || !strings.Contains(seen[0].Rule, "priority=100") {
				t.Errorf("error events: %+v", seen)
			}
		})
	})
}

func TestEchoIsAnsweredWhileDecisionsArePending(t *testing.T) {
	block := make(chan struct{})
	remote := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.Type != flow.EventPacketIn {
			return nil
		}
		select {
		case <-block:
		case <-ctx.Done():
			return flow.Errorf(flow.Unavailable, "%w", ctx.Err())
		}
		return exactRule(ev, d)
	})
	block = nil // made inside the bubble
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	bubble(t, func(c *testConfig) {
		block = make(chan struct{})
		c.B.Decider = remote
		c.B.Workers = 2
		c.B.QueuePerSwitch = 4
	}, func(r *rig) {
		echoes := 0
		sw := r.connect(oftest.Config{DPID: 1, Intercept: func(h ofp.Header, _ []byte) bool {
			if h.Type == ofp.TypeEchoReply {
				echoes++
			}
			return false
		}})
		defer sw.Close()
		sw.PacketIn(1, frame)
		synctest.Wait() // the one that a worker takes
		for range 9 {
			sw.PacketIn(1, frame)
		}
		sw.SendEcho(77, []byte("alive?"))
		synctest.Wait()
		if echoes != 1 {
			t.Errorf("%d echo replies while decisions are pending", echoes)
		}
		// One worker for this switch (half of two), four queued: the rest is dropped, and counted.
		if got := r.server.Sessions()[0]; got.Drops != 5 || got.Pending != 5 {
			t.Errorf("%d drops, %d pending; want 5 and 5", got.Drops, got.Pending)
		}
		r.wantLog("events are dropped", "waiting=4")
		close(block)
		synctest.Wait()
		if got := sw.Take(); len(got) != 10 { // FLOW_MOD and PACKET_OUT for each of five
			t.Errorf("%d messages after the decisions: %v", len(got), got)
		}
	})
}

func TestStormOfOneSwitchLeavesAnotherItsTurn(t *testing.T) {
	var release chan struct{}
	bubble(t, func(c *testConfig) {
		release = make(chan struct{})
		c.B.Workers = 2
		c.B.QueuePerSwitch = 1000
		c.B.EventTimeout = time.Hour
		c.B.Decider = flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.Type == flow.EventPacketIn && ev.Switch.DPID == 1 {
				<-release
			}
			return exactRule(ev, d)
		})
	}, func(r *rig) {
		storm := r.connect(oftest.Config{DPID: 1})
		quiet := r.connect(oftest.Config{DPID: 2})
		defer storm.Close()
		defer quiet.Close()
		for i := range 500 {
			storm.PacketIn(1, frames.Ping(frames.Host(1), frames.Host(2), 1, uint16(i)))
		}
		synctest.Wait()
		frame := frames.Ping(frames.Host(3), frames.Host(4), 1, 1)
		quiet.PacketIn(1, frame)
		synctest.Wait()
		if got := quiet.Take(); len(got) != 2 {
			t.Errorf("the quiet switch got %v", got)
		}
		close(release)
		synctest.Wait()
		if got := storm.Take(); len(got) != 1000 {
			t.Errorf("the storm's switch got %d messages", len(got))
		}
	})
}

func TestCoalescedPacketsFollowTheRule(t *testing.T) {
	var asked int
	bubble(t, func(c *testConfig) {
		c.B.Coalesce = true
		c.B.Decider = flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.Type == flow.EventPacketIn {
				asked++
				time.Sleep(100 * time.Millisecond)
			}
			return exactRule(ev, d)
		})
	}, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1})
		defer sw.Close()
		var sent [][]byte
		for i := range 5 {
			f := frames.Ping(frames.Host(1), frames.Host(2), 1, uint16(i))
			sent = append(sent, f)
			sw.PacketIn(1, f)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		got := sw.Take()
		if asked != 1 || len(got) != 6 || got[0].Type != ofp.TypeFlowMod {
			t.Fatalf("asked %d times, got %v", asked, got)
		}
		for i, m := range got[1:] {
			if !bytes.Equal(m.Frame, sent[i]) {
				t.Errorf("packet %d out of order", i)
			}
		}
	})
}

// Faults of a peer: what it does, and what must be said about it.
func TestBadPeers(t *testing.T) {
	hello := ofp.AppendHello(nil, 1, flow.OpenFlow13)
	for _, row := range []struct {
		name  string
		send  []byte
		then  time.Duration // how long until the session must have ended
		cause string
		says  string
	}{
		{"nothing at all", nil, 11 * time.Second, "handshake_timeout", "did not finish the handshake within 10s (state hello)"},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 0, "not_openflow", "speaks HTTP"},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01"), 0, "not_openflow", "the switch speaks TLS"},
		{"garbage", bytes.Repeat([]byte{0xff, 0x07, 0x00, 0x10}, 64), 0, "not_openflow", "first message is not a HELLO"},
		{"length under 8", []byte{4, 0, 0, 7, 0, 0, 0, 1}, 0, "framing", "length 7 is under 8"},
		{"half a HELLO, for ever", hello[:5], 11 * time.Second, "handshake_timeout", ""},
		{"HELLO and no more", hello, 11 * time.Second, "handshake_timeout", "state features"},
		{"an error instead of features", append(append([]byte(nil), hello...), ofp.AppendError(nil, flow.OpenFlow13, 2, 1, 6, []byte("no"))...), 0, "refused_by_switch", "refuses"},
		{"features cut short", append(append([]byte(nil), hello...), 4, 6, 0, 12, 0, 0, 0, 2, 1, 2, 3, 4), 0, "malformed", "FEATURES_REPLY"},
		{"another version after HELLO", append(append([]byte(nil), hello...), ofp.AppendEchoRequest(nil, flow.OpenFlow10, 9, nil)...), 0, "wrong_version", "version 0x01"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) {
				conn := r.pipe()
				go io.Copy(io.Discard, conn)
				go conn.Write(row.send)
				time.Sleep(row.then)
				synctest.Wait()
				if n := len(r.server.Sessions()); n != 0 {
					t.Errorf("%d sessions are still open", n)
				}
				r.wantLog("session ended", "cause="+row.cause, row.says)
				conn.Close()
			})
		})
	}
}

// One unreadable message costs itself; the session goes on.
func TestMalformedMessagesCostThemselves(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	bubble(t, nil, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1, Versions: one(flow.OpenFlow13)})
		defer sw.Close()
		for typ := range byte(40) {
			if typ == 0 {
				continue
			}
			sw.SendRaw([]byte{4, typ, 0, 8, 0, 0, 0, 9})
			sw.SendRaw([]byte{4, typ, 0, 13, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0xff})
		}
		sw.PacketIn(1, frame)
		if _, err := sw.UntilReleased(r.ctx, frame); err != nil {
			t.Fatalf("%v\n%s", err, r.logs)
		}
	})
}

func TestDeadSwitchIsNoticed(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1, Intercept: func(h ofp.Header, _ []byte) bool { return h.Type == ofp.TypeEchoRequest }})
		defer sw.Close()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if !r.ready(1) {
			t.Fatal("given up before the echo timeout")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r.ready(1) {
			t.Fatal("a switch that answers no echo is still connected")
		}
		r.wantLog("cause=dead", "dpid=0000000000000001")
	})
}

func TestLiveSwitchStays(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1})
		defer sw.Close()
		time.Sleep(time.Hour)
		if !r.ready(1) {
			t.Fatalf("gone after an hour:\n%s", r.logs)
		}
	})
}

func TestSwitchThatNeverReads(t *testing.T) {
	frame := frames.UDP(frames.Host(1).At(1), frames.Host(2).At(2), make([]byte, 1000))
	bubble(t, nil, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1})
		defer sw.Close()
		sw.Stall()
		for range 100 {
			sw.PacketIn(1, frame)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if r.ready(1) {
			t.Fatal("still connected after the write timeout")
		}
		r.wantLog("session ended", "does not read")
	})
}

func TestTwoSwitchesWithOneDPID(t *testing.T) {
	t.Run("the live one stays", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			first := r.connect(oftest.Config{DPID: 1})
			defer first.Close()
			second := oftest.Serve(r.pipe(), oftest.Config{DPID: 1})
			defer second.Close()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if first.Err() != nil || second.Err() == nil {
				t.Errorf("first %v, second %v", first.Err(), second.Err())
			}
			r.wantLog("cause=duplicate_dpid", "connected from", "datapath-id")
		})
	})
	t.Run("a dead one gives way", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			first := r.connect(oftest.Config{DPID: 1, Intercept: func(h ofp.Header, _ []byte) bool { return h.Type == ofp.TypeEchoRequest }})
			defer first.Close()
			second := oftest.Serve(r.pipe(), oftest.Config{DPID: 1})
			defer second.Close()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if first.Err() == nil || second.Err() != nil || !r.ready(1) {
				t.Errorf("first %v, second %v\n%s", first.Err(), second.Err(), r.logs)
			}
		})
	})
}

// TestSwitchThatCameBack: a switch that hangs up and connects again is served at once, also if the gateway learns of the end of its old connection
// only while it asks there for a sign of life.
func TestSwitchThatCameBack(t *testing.T) {
	frame := frames.UDP(frames.Host(1).At(1), frames.Host(2).At(2), []byte("x"))
	for name, last := range map[string]func(t *testing.T, conn net.Conn){
		"silently": func(*testing.T, net.Conn) {},
		"with something on its way": func(t *testing.T, conn net.Conn) {
			pi := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame}
			pi.Match.SetInPort(1)
			msg, err := ofp.AppendPacketIn(nil, flow.OpenFlow13, 7, &pi)
			if err == nil {
				_, err = conn.Write(msg)
			}
			if err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) {
				conn := r.pipe()
				first := oftest.Serve(conn, oftest.Config{DPID: 1, Intercept: func(h ofp.Header, _ []byte) bool {
					if h.Type == ofp.TypeEchoRequest {
						last(t, conn)
						conn.Close()
						return true
					}
					return false
				}})
				defer first.Close()
				synctest.Wait()
				if !r.ready(1) {
					t.Fatalf("not ready:\n%s", r.logs)
				}
				second := oftest.Serve(r.pipe(), oftest.Config{DPID: 1})
				defer second.Close()
				synctest.Wait()
				if second.Err() != nil || !r.ready(1) {
					t.Errorf("%v\n%s", second.Err(), r.logs)
				}
			})
		})
	}
}

// TestManyClaimOneDPID: a switch that answers keeps its datapath id, however many claim it at a time.
func TestManyClaimOneDPID(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		first := r.connect(oftest.Config{DPID: 1})
		defer first.Close()
		var others []*oftest.Switch
		for range 20 {
			others = append(others, oftest.Serve(r.pipe(), oftest.Config{DPID: 1}))
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if first.Err() != nil || !r.ready(1) {
			t.Errorf("the live one: %v\n%s", first.Err(), r.logs)
		}
		for i, sw := range others {
			if sw.Close(); sw.Err() == nil {
				t.Errorf("claim %d is not refused", i)
			}
		}
	})
}

func TestHundredMegabytesOfEchoes(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 100 MB")
	}
	bubble(t, nil, func(r *rig) {
		var back int
		sw := r.connect(oftest.Config{DPID: 1, Intercept: func(h ofp.Header, _ []byte) bool {
			if h.Type == ofp.TypeEchoReply {
				back += h.Length
				return true
			}
			return false
		}})
		defer sw.Close()
		echo := ofp.AppendEchoRequest(nil, flow.OpenFlow13, 5, make([]byte, 60000))
		const n = 100 << 20 / 60000
		for range n {
			sw.SendRaw(echo)
			synctest.Wait()
		}
		if back != n*len(echo) {
			t.Errorf("%d bytes of replies to %d", back, n*len(echo))
		}
		if !r.ready(1) {
			t.Error("the session is gone")
		}
	})
}

func TestPortStatusIsKept(t *testing.T) {
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		var events []flow.PortStatus
		bubble(t, func(c *testConfig) {
			c.B.Subscribe = map[flow.EventType]bool{flow.EventPortStatus: true}
			c.B.Decider = local(func(ev *flow.Event, d *flow.Decision) error {
				if ev.PortStatus != nil {
					events = append(events, *ev.PortStatus)
				}
				return nil
			})
		}, func(r *rig) {
			sw := r.connect(oftest.Config{DPID: 1, Versions: one(v), Ports: oftest.Ports(2)})
			defer sw.Close()
			sw.SendPortStatus(&flow.PortStatus{Reason: flow.PortAdded, Port: flow.Port{No: 9, Name: "new"}})
			sw.SendPortStatus(&flow.PortStatus{Reason: flow.PortDeleted, Port: flow.Port{No: 1}})
			synctest.Wait()
			ports := r.server.Sessions()[0].Switch.Ports
			if len(ports) != 2 || ports[0].No != 2 || ports[1].No != 9 || ports[1].Name != "new" {
				t.Errorf("ports %+v", ports)
			}
			if len(events) != 2 {
				t.Errorf("%d events", len(events))
			}
		})
	})
}

// After a reconnect proactive rules come again, rules of this gateway's other
// policy versions go, and nobody else's are touched.
func TestResyncSweepsOnlyItsOwn(t *testing.T) {
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		current := flow.PolicyVersion{Serial: 5, Hash: 55}
		old := flow.PolicyVersion{Serial: 4, Hash: 44}
		dec := local(func(ev *flow.Event, d *flow.Decision) error {
			d.Policy = current
			if ev.Type == flow.EventSwitchConnected {
				var m flow.Match
				m.SetEthType(flow.EthTypeLLDP)
				d.Rules = append(d.Rules, flow.Rule{Priority: 200, Match: m})
			}
			return nil
		})
		rule := func(port flow.PortNo, cookie uint64) flow.Rule {
			r := flow.Rule{Priority: 10, Cookie: cookie, Actions: []flow.Action{flow.OutputTo(2)}}
			r.Match.SetInPort(port)
			return r
		}
		bubble(t, func(c *testConfig) { c.B.Decider = dec; c.B.Gateway = 3 }, func(r *rig) {
			client, server := net.Pipe()
			sw := oftest.Serve(client, oftest.Config{DPID: 1, Versions: one(v)})
			defer sw.Close()
			sw.Load(
				rule(1, 3<<48|uint64(old.Tag())<<32|1),     // ours, older: goes
				rule(2, 3<<48|uint64(current.Tag())<<32|2), // ours, current: stays
				rule(3, 4<<48|uint64(old.Tag())<<32|3),     // another gateway's: stays
				rule(4, 0xabcdef),                          // nobody's: stays
				rule(5, 3<<48|9),                           // ours, of no version: stays
			)
			r.server.bridge.Versions().Checked(current)
			go r.server.ServeConn(r.ctx, server)
			synctest.Wait()
			left := map[flow.PortNo]bool{}
			proactive := false
			for _, st := range sw.Rules() {
				left[st.Rule.Match.InPort] = true
				proactive = proactive || st.Rule.Priority == 200
			}
			if left[1] || !left[2] || !left[3] || !left[4] || !left[5] || !proactive {
				t.Errorf("left %v, proactive %v\n%s", left, proactive, r.logs)
			}
			r.wantLog("rules that are not this gateway's", "example=")
		})
	})
}

// A switch that gives no statistics keeps its rules, and nothing waits for it.
func TestNoStatisticsNoSweep(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
		sw := r.connect(oftest.Config{DPID: 1, Versions: one(flow.OpenFlow10), Intercept: func(h ofp.Header, _ []byte) bool { return h.Type == ofp.TypeStatsRequest }})
		defer sw.Close()
		sw.PacketIn(1, frame)
		synctest.Wait()
		if got := sw.Take(); len(got) != 2 {
			t.Errorf("answer while the sweep waits: %v", got)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		r.wantLog("could not be removed", "no flow statistics")
	})
}

func TestNewPolicySweepsTheOld(t *testing.T) {
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		version := flow.PolicyVersion{Serial: 1, Hash: 1}
		dec := local(func(ev *flow.Event, d *flow.Decision) error {
			d.Policy = version
			return exactRule(ev, d)
		})
		bubble(t, func(c *testConfig) { c.B.Decider = dec }, func(r *rig) {
			sw := r.connect(oftest.Config{DPID: 1, Versions: one(v)})
			defer sw.Close()
			sw.PacketIn(1, frames.Ping(frames.Host(1), frames.Host(2), 1, 1))
			synctest.Wait()
			version = flow.PolicyVersion{Serial: 2, Hash: 2}
			sw.PacketIn(3, frames.Ping(frames.Host(3), frames.Host(4), 1, 1))
			synctest.Wait()
			if n := len(sw.Rules()); n < 2 {
				t.Errorf("an answer alone has the older rules swept: %d are left", n)
			}
			if r.server.bridge.Versions().Checked(version) == bridge.Newer {
				r.server.bridge.PolicySeen(version)
			}
			synctest.Wait()
			for _, st := range sw.Rules() {
				if st.Rule.Priority == 100 && st.Rule.Match.InPort == 1 {
					t.Errorf("a rule of the older policy is still there: %v", st.Rule.String())
				}
			}
			// An edge that was not updated yet: its rule is short-lived and nothing is swept.
			version = flow.PolicyVersion{Serial: 1, Hash: 1}
			sw.Take()
			sw.PacketIn(4, frames.Ping(frames.Host(4), frames.Host(1), 1, 1))
			synctest.Wait()
			got := sw.Take()
			if len(got) == 0 || got[0].Rule == nil || got[0].Rule.HardTimeout != 10*time.Second {
				t.Errorf("rule of an older version: %v", got)
			}
		})
	})
}

func TestTruncatedPacketIsNotSentOn(t *testing.T) {
	frame := frames.UDP(frames.Host(1).At(1), frames.Host(2).At(2), make([]byte, 300))
	bubble(t, nil, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1, Versions: one(flow.OpenFlow10)})
		defer sw.Close()
		pi := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: flow.ParseFrame(frame, 1), Data: frame[:128]}
		raw, err := ofp.AppendPacketIn(nil, flow.OpenFlow10, 0, &pi)
		if err != nil {
			t.Fatal(err)
		}
		sw.SendRaw(raw)
		synctest.Wait()
		if got := sw.Take(); len(got) != 1 || got[0].Rule == nil {
			t.Errorf("want the rule alone, got %v", got)
		}
		r.wantLog("packet not sent on", "data=128")
	})
}

func TestUnauthorizedDatapath(t *testing.T) {
	bubble(t, func(c *testConfig) {
		c.Authorize = func(_ *tls.ConnectionState, dpid flow.DPID) error { return errors.New("its certificate is switch2's") }
	}, func(r *rig) {
		sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1})
		defer sw.Close()
		synctest.Wait()
		if sw.Err() == nil {
			t.Error("it is connected")
		}
		r.wantLog("cause=not_authorized", "its certificate is switch2's")
	})
}

// Shutdown lets a pending decision reach the switch.
func TestShutdownDrains(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	bubble(t, func(c *testConfig) {
		c.B.Decider = flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.Type == flow.EventPacketIn {
				time.Sleep(2 * time.Second)
			}
			return exactRule(ev, d)
		})
	}, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1})
		defer sw.Close()
		sw.PacketIn(1, frame)
		synctest.Wait()
		r.server.drain()
		if got := sw.Take(); len(got) != 2 {
			t.Errorf("the switch got %v", got)
		}
		r.wantLog("cause=shutdown")
	})
}

// The function comes back after the switch connected: its proactive rules still arrive.
func TestProactiveRulesAreAskedForUntilTheyCome(t *testing.T) {
	var up atomic.Bool
	dec := local(func(ev *flow.Event, d *flow.Decision) error {
		if !up.Load() {
			return flow.Errorf(flow.Unavailable, "connection refused")
		}
		d.Rules = append(d.Rules, flow.Rule{Priority: 200})
		return nil
	})
	bubble(t, func(c *testConfig) { c.B.Decider = dec }, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1})
		defer sw.Close()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		up.Store(true)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		found := false
		for _, st := range sw.Rules() {
			found = found || st.Rule.Priority == 200
		}
		if !found {
			t.Errorf("no proactive rule:\n%s", r.logs)
		}
		r.wantLog("no proactive rules yet")
	})
}

// What a switch says when it refuses the session is told, and so is what to set
// for one that hangs up on an offer of 1.3.
func TestRefusedHelloIsTold(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		conn := r.pipe()
		go io.Copy(io.Discard, conn)
		conn.Write(ofp.AppendError(nil, flow.OpenFlow10, 1, ofp.ErrHelloFailed, ofp.HelloIncompatible, []byte("only 1.5 here")))
		synctest.Wait()
		r.wantLog("session ended", "only 1.5 here", "HELLO_FAILED")
	})
	bubble(t, nil, func(r *rig) {
		conn := r.pipe()
		io.ReadFull(conn, make([]byte, 16)) // HELLO with its bitmap
		conn.Close()
		synctest.Wait()
		r.wantLog(`set openflow.versions: [\"1.0\"]`)
	})
}

// A switch that says more than can be decided is read more slowly, and what it
// asks itself is still answered.
func TestCrowdedSwitchIsReadSlowly(t *testing.T) {
	var release chan struct{}
	bubble(t, func(c *testConfig) {
		release = make(chan struct{})
		c.B.Workers, c.B.QueuePerSwitch, c.B.EventTimeout = 2, 4, time.Hour
		c.B.Decider = flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.Type == flow.EventPacketIn && ev.Switch.DPID == 1 {
				<-release
			}
			return exactRule(ev, d)
		})
	}, func(r *rig) {
		defer close(release)
		var echoed time.Time
		storm := r.connect(oftest.Config{DPID: 1, Intercept: func(h ofp.Header, _ []byte) bool {
			if h.Type == ofp.TypeEchoReply {
				echoed = time.Now()
			}
			return false
		}})
		quiet := r.connect(oftest.Config{DPID: 2})
		defer storm.Close()
		defer quiet.Close()
		begin := time.Now()
		const packets = 6400
		for i := range packets {
			storm.PacketIn(1, frames.Ping(frames.Host(1), frames.Host(2), uint16(i>>8), uint16(i)))
		}
		storm.SendEcho(77, []byte("alive?"))
		frame := frames.Ping(frames.Host(3), frames.Host(4), 1, 1)
		quiet.PacketIn(1, frame)
		if _, err := quiet.UntilReleased(context.Background(), frame); err != nil || time.Since(begin) > bridge.TurnPause {
			t.Errorf("another switch waited %v: %v", time.Since(begin), err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if took := echoed.Sub(begin); took < 95*time.Millisecond || took > 110*time.Millisecond {
			t.Errorf("%d packets that find no room were read in %v, want some 64 in %v", packets, took, bridge.TurnPause)
		}
		if got := r.server.Sessions()[0]; got.Drops != packets-5 {
			t.Errorf("%d drops of %d packets, want all but the 5 that there is room for", got.Drops, packets)
		}
	})
}

// TestOrderOfMessages: a packet goes behind its rule and does not wait for the switch to confirm that, unless the switch reorders messages.
func TestOrderOfMessages(t *testing.T) {
	for first, want := range map[bool][]ofp.Type{
		false: {ofp.TypeFlowMod, ofp.TypePacketOut, ofp.TypeBarrierRequest},
		true:  {ofp.TypeFlowMod, ofp.TypeBarrierRequest, ofp.TypePacketOut},
	} {
		bubble(t, func(c *testConfig) {
			c.B.Decider = flow.DeciderFunc(func(_ context.Context, ev *flow.Event, d *flow.Decision) error { return exactRule(ev, d) })
			c.B.Coalesce, c.BarrierFirst = true, first
		}, func(r *rig) {
			var mu sync.Mutex
			var got []ofp.Type
			sw := r.connect(oftest.Config{DPID: 1, Versions: []flow.Protocol{flow.OpenFlow13}, Intercept: func(h ofp.Header, _ []byte) bool {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, h.Type)
				return false
			}})
			defer sw.Close()
			mu.Lock()
			got = nil
			mu.Unlock()
			if err := sw.PacketIn(1, frames.UDP(frames.Host(1).At(1), frames.Host(2).At(2), []byte("x"))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, want) {
				t.Errorf("barrier first %t: the switch was sent %v, want %v", first, got, want)
			}
		})
	}
}
