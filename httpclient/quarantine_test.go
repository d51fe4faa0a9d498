package httpclient

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// packetOf is a packet of a switch, one of many.
func packetOf(dpid, which int) *flow.Event {
	ev := packetIn()
	ev.Switch = &flow.Switch{DPID: flow.DPID(dpid), Protocol: flow.OpenFlow13}
	ev.PacketIn.Match.SetInPort(flow.PortNo(which))
	return ev
}

// One of 16 switches sends packets on which the function fails, 20 a second and
// each another. The others' are all decided, and the poison is soon asked about
// no more than now and then.
func TestOneSwitchsPoison(t *testing.T) {
	for _, row := range []struct {
		name string
		key  func(i int) int
		most int32 // questions about poison in 30 s
	}{
		{"one packet again and again", func(int) int { return 1 }, 31},
		{"each another packet", func(i int) int { return i }, 4 * 31},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				const poisonous = 16
				var poison atomic.Int32
				n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.Header.Get(contract.HeaderSource), "/0000000000000010") {
						poison.Add(1)
						status(500)(w, r)
						return
					}
					good(w, r)
				}))
				var seen counts
				c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, MaxTries: 1, Metrics: seen.metrics()})
				synctest.Wait()
				var d flow.Decision
				for i := range 20 * 30 {
					if err := c.Decide(t.Context(), packetOf(poisonous, row.key(i)), &d); flow.KindOf(err) != flow.Unavailable {
						t.Fatalf("a poisonous packet: %v", err)
					}
					// The others are rarely there: one a second.
					if i%20 == 0 {
						d.Reset()
						if err := c.Decide(t.Context(), packetOf(1+i/20%15, i), &d); err != nil {
							t.Fatalf("after %d poisonous packets another switch's gets: %v", i+1, err)
						}
					}
					time.Sleep(50 * time.Millisecond)
				}
				if got := c.Endpoints()[0]; got.Breaker != "closed" || got.Fault != "" {
					t.Errorf("endpoint is %+v", got)
				}
				if got := poison.Load(); got > row.most || got < 10 {
					t.Errorf("the function was asked about %d of 600 poisonous packets, want at most %d", got, row.most)
				}
				if n := len(seen.states); n != 1 {
					t.Errorf("the breaker moved: %v", seen.states)
				}
				// When it is mended, the switch is served within the breaker's time.
				time.Sleep(1100 * time.Millisecond)
				if what, left := c.poison.holds(packetOf(poisonous, row.key(599))); left > 0 {
					t.Errorf("the %s is kept back for %v more", what, left)
				}
			})
		})
	}
}

// A function that is ill for everybody is noticed though there is one switch
// alone, and so is one that fails for several while its policy checks are well.
func TestIllFunctionOpensTheBreaker(t *testing.T) {
	for _, row := range []struct {
		name     string
		handler  func(ill *atomic.Bool) http.HandlerFunc
		switches int
	}{
		{"one switch, checks fail too", func(ill *atomic.Bool) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if ill.Load() {
					status(503)(w, r)
					return
				}
				good(w, r)
			}
		}, 1},
		{"several switches, checks are well", func(*atomic.Bool) http.HandlerFunc { return eventsOnly(status(503)) }, 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				var ill atomic.Bool
				n.serve("a", row.handler(&ill))
				n.serve("b", good)
				c := newClient(t, Config{Endpoints: []string{"http://a/", "http://b/"}, dial: n.dial, RetryBudget: 1})
				synctest.Wait()
				ill.Store(true)
				opened := -1
				for i := range 30 {
					var d flow.Decision
					if err := c.Decide(t.Context(), packetOf(1+i%row.switches, 1+i), &d); err != nil {
						t.Fatalf("event %d: %v", i, err)
					}
					synctest.Wait()
					if opened < 0 && c.Endpoints()[0].Breaker == "open" {
						opened = i
					}
				}
				if opened < 0 || opened > 10 {
					t.Errorf("the breaker opened at event %d", opened)
				}
			})
		})
	}
}

// What is remembered is bounded, whatever switches send.
func TestQuarantineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		var logs strings.Builder
		q := quarantine{lasts: time.Second, log: textLog(&logs), tell: func(string) { told++ }}
		for i := range 10 * maxPoisoned {
			q.failed(packetOf(i, 1), errAllOpen)
		}
		if len(q.switches) != maxPoisoned {
			t.Errorf("%d switches are remembered", len(q.switches))
		}
		if _, left := q.holds(packetOf(1, 1)); left == 0 || told != 1 {
			t.Errorf("what failed is not kept back; told %d", told)
		}
		if logs.Len() > 4<<10 {
			t.Errorf("%d bytes of log", logs.Len())
		}
		time.Sleep(2 * time.Second)
		q.failed(packetOf(1<<20, 1), errAllOpen)
		if len(q.switches) != 1 {
			t.Errorf("%d switches are remembered after their time", len(q.switches))
		}
	})
}

func textLog(w *strings.Builder) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
