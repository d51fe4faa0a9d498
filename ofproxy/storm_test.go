package ofproxy

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/oftest"
)

// A function with a greater serial in each answer, policy checks and the ones
// about connected switches included, decides as it likes and has no switch asked
// about without end.
func TestGrowingSerialIsNoStorm(t *testing.T) {
	forVersions(t, func(t *testing.T, v flow.Protocol) {
		for _, checked := range []bool{true, false} {
			t.Run(fmt.Sprintf("checked %v", checked), func(t *testing.T) {
				var serial, connected atomic.Uint64
				decide := func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
					d.Policy = flow.PolicyVersion{Serial: serial.Add(1), Hash: 1}
					switch ev.Type {
					case flow.EventSwitchConnected:
						connected.Add(1)
					case flow.EventPacketIn:
						return exactRule(ev, d)
					}
					return nil
				}
				bubble(t, func(c *testConfig) { c.B.Decider = flow.DeciderFunc(decide) }, func(r *rig) {
					b := r.server.bridge
					ctx, stop := context.WithCancel(r.ctx)
					defer stop()
					if checked {
						check := bridge.PolicyCheck{Decider: flow.DeciderFunc(decide), Versions: b.Versions(), OnNewer: b.PolicySeen}
						go check.Run(ctx)
					}
					sw := r.connect(oftest.Config{DPID: 1, Versions: one(v)})
					defer sw.Close()
					synctest.Wait()
					start, asked := time.Now(), connected.Load()
					for i := range 3000 { // 5 min
						sw.PacketIn(1, frames.Ping(frames.Host(1), frames.Host(uint8(2+i%100)), 1, uint16(i)))
						time.Sleep(100 * time.Millisecond)
						synctest.Wait()
						got := sw.Take()
						rules := 0
						for _, m := range got {
							if m.Rule != nil && m.Rule.Command == flow.Add && m.Rule.Priority == 100 {
								rules++
								if checked && (m.Rule.HardTimeout == 0 || m.Rule.HardTimeout > bridge.StaleTimeout) {
									t.Fatalf("packet %d: a rule that nobody confirmed lives %v", i, m.Rule.HardTimeout)
								}
								if !checked && m.Rule.HardTimeout == bridge.StaleTimeout {
									t.Fatalf("packet %d: without policy checks no rule is cut short for its serial", i)
								}
							}
						}
						if rules != 1 {
							t.Fatalf("packet %d after %v: %d rules", i, time.Since(start), rules)
						}
					}
					// At 0, 0, 10, 30, 70, 150 and 310 s.
					if n := connected.Load() - asked; n < 4 || n > 7 {
						t.Errorf("checked %v: asked about the switch %d times in 5 min", checked, n)
					}
					r.wantLog("policy version changes again and again", "once_in_seconds=80")
					if n := len(r.logs.String()); n > 1<<20 {
						t.Errorf("%d bytes of log", n)
					}
				})
			})
		}
	})
}
