package ofproxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/internal/testlong"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// series returns how many series a metric has, and their values' sum.
func series(t *testing.T, reg *prometheus.Registry, name string) (n int, sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				n++
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return n, sum
}

// addressed is a connection from an address.
type addressed struct {
	net.Conn
	from *net.TCPAddr
}

func (a addressed) RemoteAddr() net.Addr { return a.from }

// dial is a connection from an address to the rig's server.
func (r *rig) dial(ip string, port int) net.Conn {
	client, server := net.Pipe()
	go r.server.ServeConn(r.ctx, addressed{server, &net.TCPAddr{IP: net.ParseIP(ip), Port: port}})
	return client
}

// Ten times as many connections as there may be, none of which says a word, leave
// room for a switch from elsewhere, and end at the handshake's deadline.
func TestHalfOpenConnectionsLeaveRoom(t *testing.T) {
	for _, from := range []func(i int) string{
		func(int) string { return "192.0.2.1" },
		func(i int) string { return fmt.Sprintf("2001:db8::%x:%x", i>>16, i&0xffff) }, // one host's /64
	} {
		t.Run(from(1), func(t *testing.T) {
			reg := prometheus.NewRegistry()
			bubble(t, func(c *testConfig) { c.Metrics = NewMetrics(reg); c.MaxSessions, c.MaxPerAddress = 4096, 1024 }, func(r *rig) {
				var open []net.Conn
				for i := range 40960 {
					open = append(open, r.dial(from(i), 1024+i%60000))
				}
				synctest.Wait()
				if n := len(r.server.Sessions()); n != 1024 {
					t.Errorf("%d connections of one address, want 1024", n)
				}
				sw := oftest.Serve(r.dial("192.0.2.2", 1), oftest.Config{DPID: 7})
				defer sw.Close()
				synctest.Wait()
				if !r.ready(7) {
					t.Error("a switch from another address is locked out")
				}
				time.Sleep(r.server.cfg.HandshakeTimeout + time.Second)
				synctest.Wait()
				if n := len(r.server.Sessions()); n != 1 {
					t.Errorf("%d connections after the handshake's deadline, want 1", n)
				}
				if n, sum := series(t, reg, "switchbridge_openflow_sessions_closed_total"); n != 2 || sum != 40960 {
					t.Errorf("%d causes, %v connections counted", n, sum)
				}
				if n := len(r.logs.String()); n > 1<<17 {
					t.Errorf("%d bytes of log", n)
				}
				again := oftest.Serve(r.dial(from(0), 2), oftest.Config{DPID: 8})
				defer again.Close()
				synctest.Wait()
				if !r.ready(8) {
					t.Error("the address can't connect afterwards")
				}
				for _, c := range open {
					c.Close()
				}
			})
		})
	}
}

// A handshake's deadline holds for a peer that always has something to say.
func TestTricklingHandshakeEnds(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		client := r.pipe()
		defer client.Close()
		go func() {
			b := make([]byte, 64)
			for {
				if _, err := client.Read(b); err != nil {
					return
				}
			}
		}()
		hello := ofp.AppendHello(nil, 1, flow.OpenFlow13)
		start := time.Now()
		var err error
		for i := 0; err == nil && time.Since(start) < time.Minute; i++ {
			msg := hello
			if i > 0 {
				msg = ofp.AppendEchoRequest(nil, flow.OpenFlow13, uint32(i), nil)
			}
			_, err = client.Write(msg)
			time.Sleep(50 * time.Millisecond)
		}
		synctest.Wait()
		if d := time.Since(start); d > r.server.cfg.HandshakeTimeout+time.Second {
			t.Errorf("the connection lives %v", d)
		}
		r.wantLog("session ended", "cause=handshake_timeout")
	})
}

// readable is a configuration whose log is what a gateway writes by default: a flood's lines at debug level take most of a test's time.
func readable(c *testConfig) { c.Level.Set(slog.LevelInfo) }

// What a peer can have logged again and again is logged now and then: each kind
// of flood, 200 times a second for a quarter of a minute, or for a whole one in the
// long test, makes less than 1 MB a minute, and says how much was left out.
func TestFloodsLeaveTheLogReadable(t *testing.T) { floodsLeaveTheLogReadable(t, 15) }

func TestLongFloodsLeaveTheLogReadable(t *testing.T) {
	testlong.Need(t)
	floodsLeaveTheLogReadable(t, 60)
}

func floodsLeaveTheLogReadable(t *testing.T, seconds int) {
	t.Parallel()
	version := flow.OpenFlow13
	wrong := func(typ byte, body ...byte) []byte {
		n := ofp.HeaderLen + len(body)
		return append([]byte{byte(version), typ, byte(n >> 8), byte(n), 0, 0, 0, 9}, body...)
	}
	desc := func() []byte { // an unasked description: 1056 bytes
		b := wrong(19, make([]byte, 8+1056)...)
		copy(b[ofp.HeaderLen+8+256:], "Open vSwitch")
		return b
	}()
	for name, flood := range map[string]func(r *rig, sw *oftest.Switch, i int){
		"ERROR":              func(r *rig, sw *oftest.Switch, i int) { sw.SendError(uint32(i), uint16(i), uint16(i>>8), nil) },
		"malformed":          func(r *rig, sw *oftest.Switch, i int) { sw.SendRaw(wrong(11, 1, 2, 3)) },
		"malformed PACKETIN": func(r *rig, sw *oftest.Switch, i int) { sw.SendRaw(wrong(10, 1, 2, 3)) },
		"description":        func(r *rig, sw *oftest.Switch, i int) { sw.SendRaw(desc) },
		"PORT_STATUS": func(r *rig, sw *oftest.Switch, i int) {
			sw.SendPortStatus(&flow.PortStatus{Reason: flow.PortModified, Port: flow.Port{No: 1, Name: strings.Repeat("x", 15), State: uint32(i & 1)}})
		},
		"truncated": func(r *rig, sw *oftest.Switch, i int) {
			p, _ := ofp.AppendPacketIn(nil, version, 9, &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: 1500, Match: inPort(1), Data: frames.Ping(frames.Host(1), frames.Host(2), 1, uint16(i))})
			sw.SendRaw(p)
		},
		"reconnect": func(r *rig, _ *oftest.Switch, i int) {
			sw := oftest.Serve(r.pipe(), oftest.Config{DPID: flow.DPID(1000 + i)})
			synctest.Wait()
			sw.Close()
		},
		"one DPID": func(r *rig, _ *oftest.Switch, i int) {
			sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1})
			synctest.Wait()
			sw.Close()
		},
		"not OpenFlow": func(r *rig, _ *oftest.Switch, i int) {
			c := r.pipe()
			go c.Write([]byte("GET / HTTP/1.1\r\nHost: switchbridge\r\n\r\n"))
			synctest.Wait()
			c.Close()
		},
		"hangs up": func(r *rig, _ *oftest.Switch, i int) {
			r.pipe().Close()
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, readable, func(r *rig) {
				sw := r.connect(oftest.Config{DPID: 1, Versions: one(version)})
				defer sw.Close()
				const rate = 200
				for i := range rate * seconds {
					flood(r, sw, i)
					if i%10 == 0 {
						time.Sleep(10 * time.Second / rate)
					}
					if i%1000 == 0 {
						synctest.Wait()
						sw.Take()
					}
				}
				synctest.Wait()
				if logged := len(r.logs.String()); logged > seconds<<20/60 {
					t.Errorf("%d bytes of log in %d s", logged, seconds)
				}
				if !strings.Contains(r.logs.String(), "also_muted=") && name != "description" {
					t.Errorf("nothing says that lines were left out:\n%.2000s", r.logs)
				}
			})
		})
	}
}

// Whatever type of message a switch sends again and again, asked for or not and
// well-formed or not, the log stays readable and the gateway's memory small. A
// switch whose connection ends for it comes again. 100 messages a second come for ten seconds, or for a minute in the long test.
func TestEveryMessageLeavesTheLogReadable(t *testing.T) {
	everyMessageLeavesTheLogReadable(t, 10, 1<<16)
}

func TestLongEveryMessageLeavesTheLogReadable(t *testing.T) {
	testlong.Need(t)
	everyMessageLeavesTheLogReadable(t, 60, 1<<18)
}

func everyMessageLeavesTheLogReadable(t *testing.T, seconds, limit int) {
	t.Parallel()
	bodies := [][]byte{nil, make([]byte, 8), bytes.Repeat([]byte{0xff}, 60), bytes.Repeat([]byte("sb"), 500), nil}
	for _, version := range versions {
		xid := uint32(0)
		header := func(typ byte, body []byte) []byte {
			xid += 0x01010101
			b := []byte{byte(version), typ, byte((8 + len(body)) >> 8), byte(8 + len(body))}
			return append(binary.BigEndian.AppendUint32(b, xid), body...)
		}
		floods := map[string]func(i int) []byte{
			"HELLO again":      func(int) []byte { return ofp.AppendHello(nil, 1, version) },
			"HELLO of another": func(int) []byte { return ofp.AppendHello(nil, 1, flow.OpenFlow13+1) },
			"HELLO_FAILED's text": func(int) []byte {
				return ofp.AppendError(nil, version, 1, ofp.ErrHelloFailed, ofp.HelloIncompatible, bytes.Repeat([]byte("no "), 20_000))
			},
			"large ECHO_REQUEST": func(i int) []byte { return ofp.AppendEchoRequest(nil, version, uint32(i), make([]byte, 65_000)) },
			"FLOW_REMOVED of others, ours and standing rules": func(i int) []byte {
				r := flow.FlowRemoved{Reason: flow.RemovedReason(i % 7), Cookie: []uint64{rand.Uint64(), 1<<48 | rand.Uint64()>>16, 1 << 48}[i%3], Match: inPort(1)}
				return ofp.AppendFlowRemoved(nil, version, uint32(i), &r)
			},
			"PORT_STATUS of new ports": func(i int) []byte {
				ps := flow.PortStatus{Reason: flow.PortAdded, Port: flow.Port{No: flow.PortNo(i % 0xff00), Name: strings.Repeat("\x01", 15)}}
				return ofp.AppendPortStatus(nil, version, uint32(i), &ps)
			},
		}
		for typ := range 40 { // OpenFlow 1.3.5 has 30, 1.0 has 22
			floods[fmt.Sprintf("type %d", typ)] = func(i int) []byte { return header(byte(typ), bodies[i%len(bodies)]) }
		}
		floods["type 255"] = func(i int) []byte { return header(255, bodies[i%len(bodies)]) }
		for name, message := range floods {
			t.Run(version.String()+"/"+name, func(t *testing.T) {
				bubble(t, readable, func(r *rig) {
					cfg := oftest.Config{DPID: 1, Versions: one(version)}
					sw := r.connect(cfg)
					defer func() { sw.Close() }()
					messages := 100 * seconds
					for i := range messages {
						sw.SendRaw(message(i))
						time.Sleep(time.Second / 100)
						if i%25 == 0 {
							synctest.Wait()
							sw.Take()
						}
						select {
						case <-sw.Done(): // it was hung up on, for good reason
							synctest.Wait()
							sw = r.connect(cfg)
						default:
						}
					}
					synctest.Wait()
					// As many lines as all connections may make of a kind, of a few kinds.
					if logged := len(r.logs.String()); logged > limit {
						t.Errorf("%d bytes of log of %d messages in %d s:\n%.3000s", logged, messages, seconds, r.logs)
					}
				})
			})
		}
	}
}

func inPort(p flow.PortNo) (m flow.Match) {
	m.SetInPort(p)
	return m
}

// A switch that makes errors up, of every type and code, makes no series of each: 65,536 of them in each version, and in the long test a million.
func TestErrorLabelsAreBounded(t *testing.T) { errorLabelsAreBounded(t, 1<<16) }

func TestLongErrorLabelsAreBounded(t *testing.T) {
	testlong.Need(t)
	errorLabelsAreBounded(t, 1<<20)
}

func errorLabelsAreBounded(t *testing.T, errors int) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	labels := map[string]bool{}
	for i := range errors {
		for _, v := range versions {
			e := flow.SwitchError{Type: uint16(i >> 8 & 0xfff), Code: uint16(i & 0xff)}
			if i&1 == 1 {
				e.Type, e.Code = uint16(i*7919), uint16(i*104729)
			}
			e.Name = ofp.ErrorName(v, e.Type, e.Code)
			if label := errorLabel(v, &e); !labels[label] {
				labels[label] = true
				m.errors.WithLabelValues(label).Inc()
			}
		}
	}
	n, _ := series(t, reg, "switchbridge_openflow_switch_errors_total")
	if n != len(labels) || n > 160 {
		t.Errorf("%d series of %d labels for %v errors", n, len(labels), 2*errors)
	}
	e := flow.SwitchError{Type: 4, Code: 9, Name: ofp.ErrorName(flow.OpenFlow13, 4, 9)}
	if got := errorLabel(flow.OpenFlow13, &e); got != "BAD_MATCH: BAD_PREREQ" {
		t.Errorf("a known error is %q", got)
	}
	// And by the session itself.
	reg = prometheus.NewRegistry()
	bubble(t, func(c *testConfig) { c.Metrics = NewMetrics(reg) }, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1})
		defer sw.Close()
		for i := range 5000 {
			sw.SendError(uint32(i), uint16(1000+i), uint16(i), nil)
		}
		synctest.Wait()
		if n, sum := series(t, reg, "switchbridge_openflow_switch_errors_total"); n != 1 || sum != 5000 {
			t.Errorf("%d series for %v errors", n, sum)
		}
	})
}

// 65,536 ports that come, change and go one by one cost a bounded number of
// copies, and the list is right within a moment.
func TestManyPortsAreNotCopiedForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		copied, shown := 0, []flow.Port(nil)
		p := portList{show: func(list []flow.Port) {
			mu.Lock()
			defer mu.Unlock()
			copied += len(list)
			shown = list
		}}
		p.set(nil)
		tell := func(reason flow.PortReason, n int, name string) error {
			return p.change(&flow.PortStatus{Reason: reason, Port: flow.Port{No: flow.PortNo(n), Name: name}})
		}
		each := func(reason flow.PortReason, name string) {
			mu.Lock()
			copied = 0
			mu.Unlock()
			for i := range maxPorts {
				if err := tell(reason, i+1, name); err != nil {
					t.Fatal(err)
				}
			}
			mu.Lock()
			if copied > fewPorts*fewPorts {
				t.Errorf("%v: %d ports copied for %d changes", reason, copied, maxPorts)
			}
			mu.Unlock()
			time.Sleep(2 * maxPorts * portPause)
			synctest.Wait()
		}
		each(flow.PortAdded, "a")
		if len(shown) != maxPorts || shown[maxPorts-1].No != maxPorts {
			t.Fatalf("%d ports are shown", len(shown))
		}
		if tell(flow.PortAdded, maxPorts+1, "one too many") == nil {
			t.Error("there is no bound")
		}
		old := shown
		each(flow.PortModified, "b")
		if len(shown) != maxPorts || shown[0].Name != "b" || shown[maxPorts-1].Name != "b" {
			t.Errorf("%d ports are shown, the last %+v", len(shown), shown[len(shown)-1])
		}
		if old[0].Name != "a" {
			t.Error("a list that somebody has was modified")
		}
		copied = 0
		for i := range 10 * maxPorts { // one comes and goes
			if err := tell(flow.PortReason(1-i&1), 5, "c"); err != nil {
				t.Fatal(err)
			}
		}
		if copied > 0 || cap(p.list) > 2*maxPorts {
			t.Errorf("%d ports copied in no time, room for %d", copied, cap(p.list))
		}
		tell(flow.PortAdded, 5, "c")
		each(flow.PortDeleted, "")
		if len(shown) != 0 || len(p.list) != 0 {
			t.Errorf("%d ports are left, %d kept", len(shown), len(p.list))
		}
	})
}

// With a remote function that is slow, floods of what it is subscribed to wait
// in a bounded queue: what is equal collapses, the rest is shed, and all is
// counted.
func TestSubscribedFloodsAreBounded(t *testing.T) {
	const queue = 64
	reg := prometheus.NewRegistry()
	hold := make(chan struct{})
	asked := 0
	bubble(t, func(c *testConfig) {
		c.B.Metrics, c.B.QueuePerSwitch, c.B.Workers, c.B.EventTimeout = bridge.NewMetrics(reg), queue, 2, time.Hour
		c.B.Subscribe = map[flow.EventType]bool{flow.EventFlowRemoved: true, flow.EventPortStatus: true}
		hold = make(chan struct{})
		h := hold
		c.B.Decider = flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.Type != flow.EventSwitchConnected {
				<-h
				asked++
			}
			return nil
		})
	}, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1})
		defer sw.Close()
		rest := func() { // a switch that floods is read more slowly
			time.Sleep(time.Second)
			synctest.Wait()
		}
		removed := func(port uint32) *flow.FlowRemoved {
			return &flow.FlowRemoved{Priority: 7, Match: inPort(flow.PortNo(port)), Packets: uint64(port)}
		}
		for range 10 * queue { // all the same
			sw.SendFlowRemoved(removed(1))
			sw.SendPortStatus(&flow.PortStatus{Reason: flow.PortModified, Port: flow.Port{No: 1, Name: "p1"}})
		}
		rest()
		if _, n := series(t, reg, "switchbridge_events_shed_total"); n != 0 {
			t.Errorf("%v equal events were shed", n)
		}
		if _, n := series(t, reg, "switchbridge_events_collapsed_total"); n < 20*queue-4 {
			t.Errorf("%v of %d equal events collapsed", n, 20*queue)
		}
		if n := r.server.Sessions()[0].Pending; n > 4 {
			t.Errorf("%d equal events are pending", n)
		}
		for i := range 10 * queue { // each another
			sw.SendFlowRemoved(removed(uint32(10 + i)))
		}
		rest()
		pending := r.server.Sessions()[0].Pending
		if pending > queue+2 {
			t.Errorf("%d events are pending, the queue takes %d", pending, queue)
		}
		if _, n := series(t, reg, "switchbridge_events_shed_total"); int(n) < 10*queue-pending {
			t.Errorf("%v events counted as shed, %d pending", n, pending)
		}
		close(hold)
		rest()
		asked = 0
		sw.SendFlowRemoved(removed(1)) // what waited is told again
		rest()
		if asked != 1 {
			t.Errorf("an event that came after the equal one was decided is told %d times", asked)
		}
	})
}
