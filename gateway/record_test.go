package gateway

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
	"switchbridge/settings"
)

// Decisions about P4 switches' packets are counted and recorded as others are.
func TestP4Records(t *testing.T) {
	var logs logbuffer.Buffer
	reg := prometheus.NewRegistry()
	r, err := newRecorder(logs.Text(), &settings.Default().Log, reg)
	if err != nil {
		t.Fatal(err)
	}
	ev := flow.Event{Type: flow.EventPacketIn, XID: 9, Switch: &flow.Switch{DPID: 3, Protocol: flow.P4Runtime}, PacketIn: &flow.PacketIn{}}
	d := flow.Decision{Verdict: flow.Deny, Reason: "blocklist: 10.0.0.66", Rules: make([]flow.Rule, 1), Reused: 7}
	r.observe(&bridge.Record{Switch: ev.Switch, Event: &ev, Decision: &d, Decide: 1_186_309_838, Total: 1_186_322_402})
	r.observe(&bridge.Record{Switch: ev.Switch, Event: &ev, Decision: &d, Err: flow.Errorf(flow.Unavailable, "away")})
	if got := r.stats(reg); got.Deny != 1 || got.Failed != 1 || got.Allow+got.None != 0 {
		t.Errorf("counted %+v", got)
	}
	lines := strings.SplitAfter(logs.String(), "\n")
	for i, wants := range [][]string{
		{"level=INFO", "msg=decision", "dpid=0000000000000003", "decision=9", "verdict=deny", "reused_from=7", `reason="blocklist: 10.0.0.66"`, "rules=1", "decide_seconds=1.186309838 total_seconds=1.186322402"},
		{"level=WARN", "msg=decision", `err="unavailable: away"`},
	} {
		for _, want := range wants {
			if !strings.Contains(lines[i], want) {
				t.Errorf("record %q without %s", lines[i], want)
			}
		}
	}
}
