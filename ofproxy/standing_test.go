package ofproxy

import (
	"bytes"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// A FLOW_MOD that carries a packet's buffer and is refused: the packet goes on
// its own, unless its buffer is gone.
func TestRefusedRuleLetsItsPacketGo(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	type refusal struct{ v10, v13 flow.SwitchError }
	for name, e := range map[string]refusal{
		"table full":     {flow.SwitchError{Type: 3, Code: 0}, flow.SwitchError{Type: 5, Code: 1}},
		"prerequisites":  {flow.SwitchError{Type: 2, Code: 3}, flow.SwitchError{Type: 4, Code: 9}},
		"no permission":  {flow.SwitchError{Type: 3, Code: 2}, flow.SwitchError{Type: 5, Code: 4}},
		"bad action":     {flow.SwitchError{Type: 2, Code: 0}, flow.SwitchError{Type: 2, Code: 0}},
		"buffer unknown": {flow.SwitchError{Type: 1, Code: 8}, flow.SwitchError{Type: 1, Code: 8}},
	} {
		t.Run(name, func(t *testing.T) {
			forVersions(t, func(t *testing.T, v flow.Protocol) {
				bubble(t, nil, func(r *rig) {
					sw := r.connect(oftest.Config{DPID: 1, Versions: one(v), NBuffers: 8, Refuse: func(rule *flow.Rule) (flow.SwitchError, bool) {
						if v == flow.OpenFlow10 {
							return e.v10, rule.Priority == 100
						}
						return e.v13, rule.Priority == 100
					}})
					defer sw.Close()
					if err := sw.PacketIn(1, frame); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					var sent []flow.Action
					for _, m := range sw.Take() {
						if m.PacketOut != nil && bytes.Equal(m.Frame, frame) {
							sent = m.PacketOut.Actions
						}
					}
					if name == "buffer unknown" {
						if sent != nil {
							t.Errorf("a packet that the switch does not have was sent: %v", sent)
						}
						return
					}
					if len(sent) != 1 || sent[0].Port != 2 {
						t.Errorf("the packet takes %v, want output:2", sent)
					}
				})
			})
		})
	}
}

// A switch whose table has no room for the table-miss entry is connected and not
// governed; it is tried again until it has.
func TestTableMissIsRefusedAtConnect(t *testing.T) {
	var full atomic.Bool
	full.Store(true)
	bubble(t, nil, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1, Versions: one(flow.OpenFlow13), Refuse: func(rule *flow.Rule) (flow.SwitchError, bool) {
			return flow.SwitchError{Type: 5, Code: 1}, full.Load() && rule.Priority == 0
		}})
		defer sw.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := r.server.Sessions()[0]; s.Missing == "" || r.server.bridge.Ready() == nil {
			t.Errorf("the switch counts as governed: %+v", s)
		}
		full.Store(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := r.server.Sessions()[0]; s.Missing != "" || r.server.bridge.Ready() != nil {
			t.Errorf("the switch counts as not governed: %q, %v", s.Missing, r.server.bridge.Ready())
		}
		if rules := sw.Rules(); len(rules) != 1 || rules[0].Rule.Priority != 0 || rules[0].Rule.Actions[0].Port != flow.PortController {
			t.Errorf("rules: %v", rules)
		}
	})
}

// A switch that answers no statistics, as cbench's do, stays ready.
func TestSilentSwitchStaysReady(t *testing.T) {
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		bubble(t, nil, func(r *rig) {
			sw := r.connect(oftest.Config{DPID: 1, Versions: one(v), Intercept: func(h ofp.Header, msg []byte) bool {
				if h.Type != ofp.TypeStatsRequest {
					return false
				}
				kind, _, err := ofp.ParseStatsType(msg)
				return err == nil && kind == ofp.StatsFlow
			}})
			defer sw.Close()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if s := r.server.Sessions(); len(s) != 1 || s[0].Missing != "" || s[0].State != "ready" {
				t.Errorf("sessions: %+v", s)
			}
		})
	})
}

// Rules of a gateway with another id, or of one with ours that this process is
// not, are noticed where they come while this one serves the switch.
func TestAnotherGatewayIsNoticed(t *testing.T) {
	for name, cookie := range map[string]uint64{
		"with an id of its own": 0x0002_1234_0000_0007,
		"with this one's id":    0x0001_1234_0000_0007,
	} {
		t.Run(name, func(t *testing.T) {
			forVersions(t, func(t *testing.T, v flow.Protocol) {
				bubble(t, nil, func(r *rig) {
					sw := r.connect(oftest.Config{DPID: 1, Versions: one(v)})
					defer sw.Close()
					time.Sleep(2 * time.Minute)
					synctest.Wait()
					rule := flow.Rule{Priority: 9, Cookie: cookie, IdleTimeout: time.Hour, HardTimeout: time.Hour, Actions: []flow.Action{flow.OutputTo(1)}}
					rule.Match.SetInPort(3)
					sw.Load(rule)
					time.Sleep(2 * time.Minute)
					synctest.Wait()
					r.wantLog("another gateway installs rules in this switch", "0x")
				})
			})
		})
	}
	// What an earlier run of this gateway left, and somebody's own cookies, are no gateway.
	bubble(t, nil, func(r *rig) {
		left := flow.Rule{Priority: 9, Cookie: 0x0001_1234_0000_0007, IdleTimeout: time.Hour, Actions: []flow.Action{flow.OutputTo(1)}}
		left.Match.SetInPort(3)
		onos := left
		onos.Cookie, onos.Priority = 0x0001_0000_9465_555a, 10
		sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Rules: []flow.Rule{left, onos}})
		defer sw.Close()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if bytes.Contains([]byte(r.logs.String()), []byte("another gateway")) {
			t.Errorf("rules of before are taken for another gateway's:\n%s", r.logs)
		}
		if n := len(sw.Rules()); n != 3 {
			t.Errorf("%d rules, want the two and the table-miss entry", n)
		}
	})
}

// A deny that the switch refused holds allows back that it would shield, until
// the switch takes it.
func TestRefusedDenyShieldsUntilItIsTaken(t *testing.T) {
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		var full atomic.Bool
		full.Store(true)
		deny, allow := flow.Rule{Priority: 200, IdleTimeout: time.Minute}, flow.Rule{Priority: 100, IdleTimeout: time.Minute, Actions: []flow.Action{flow.OutputTo(2)}}
		dec := local(func(ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn == nil {
				return nil
			}
			m := ev.PacketIn.Match.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthType)
			deny.Match, allow.Match = m, m
			if full.Load() || ev.PacketIn.Match.ICMPType == 8 {
				d.Rules = append(d.Rules, deny)
				return nil
			}
			d.Rules = append(d.Rules, allow)
			return nil
		})
		bubble(t, func(c *testConfig) { c.B.Decider = dec }, func(r *rig) {
			sw := r.connect(oftest.Config{DPID: 1, Versions: one(v), Refuse: func(rule *flow.Rule) (flow.SwitchError, bool) {
				return flow.SwitchError{Type: 5, Code: 1}, full.Load() && rule.Priority == 200
			}})
			defer sw.Close()
			ping := func(answer bool) {
				frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
				if answer {
					frame = frames.Pong(frames.Host(1), frames.Host(2), 1, 1)
				}
				if err := sw.PacketIn(1, frame); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			count := func(priority uint16) (n int) {
				for _, e := range sw.Rules() {
					if e.Rule.Priority == priority {
						n++
					}
				}
				return n
			}
			ping(false) // refused, and remembered
			full.Store(false)
			ping(true)
			if n := count(100); n != 0 {
				t.Errorf("the allow is installed %d times below a deny that the switch refused", n)
			}
			ping(false) // taken
			if n := count(200); n != 1 {
				t.Errorf("the deny is there %d times", n)
			}
			ping(true)
			if n := count(100); n != 1 {
				t.Errorf("the allow is there %d times, below a deny that the switch has:\n%s", n, r.logs)
			}
		})
	})
}

// A switch that says ever again that a standing rule was removed has its tables
// looked at once at a time, with pauses.
func TestFloodOfRemovedStandingRules(t *testing.T) {
	var looks atomic.Int64
	bubble(t, nil, func(r *rig) {
		sw := r.connect(oftest.Config{DPID: 1, Versions: one(flow.OpenFlow13), Intercept: func(h ofp.Header, _ []byte) bool {
			if h.Type == ofp.TypeStatsRequest {
				looks.Add(1)
			}
			return false
		}})
		defer sw.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		sw.Take()
		looks.Store(0)
		begin := time.Now()
		for time.Since(begin) < time.Second {
			if err := sw.SendFlowRemoved(&flow.FlowRemoved{Cookie: 1 << 48}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := looks.Load(); n < 2 || n > 15 {
			t.Errorf("the switch was asked for its rules %d times within a second", n)
		}
	})
}
