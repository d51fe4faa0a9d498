package bridge

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/flow"
)

// Each of so many switches has numbers of its own, which go on when it connects
// again; whoever says to be more and more switches gets one row for all of them.
func TestSwitchMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	verdicts := []flow.Verdict{flow.Allow, flow.Deny, flow.NoVerdict}
	asked := 0
	b, err := New(Config{Metrics: NewMetrics(reg), Decider: here{flow.DeciderFunc(func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		asked++
		if asked%4 == 0 {
			return errors.New("away")
		}
		d.Verdict = verdicts[asked%4-1]
		return nil
	})}})
	if err != nil {
		t.Fatal(err)
	}
	connect := func(dpid flow.DPID, packets int) *Session {
		s := b.NewSession(t.Context(), &deaf{flow.Switch{DPID: dpid, Protocol: flow.OpenFlow13}}, SessionOptions{})
		for range packets {
			s.PacketIn(tcpPacket(80), time.Now(), nil)
		}
		return s
	}
	rows := func() map[string]map[string]float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				name, dpid := f.GetName(), ""
				for _, l := range m.Label {
					switch l.GetName() {
					case "dpid":
						dpid = l.GetValue()
					case "verdict":
						name += " " + l.GetValue()
					}
				}
				if dpid == "" {
					continue
				}
				if all[dpid] == nil {
					all[dpid] = map[string]float64{}
				}
				all[dpid][name] = m.GetCounter().GetValue()
			}
		}
		return all
	}
	is := func(dpid string, events, each, drops float64) {
		t.Helper()
		got := rows()[dpid]
		if got["switchbridge_switch_events_total"] != events || got["switchbridge_switch_packet_in_drops_total"] != drops {
			t.Errorf("%s: %v, want %v events and %v drops", dpid, got, events, drops)
		}
		for _, v := range []string{"allow", "deny", "none", "failed"} {
			if n := got["switchbridge_switch_decisions_total "+v]; n != each {
				t.Errorf("%s: %v decisions of %s, want %v", dpid, n, v, each)
			}
		}
	}
	first := connect(1, 8)
	is("0000000000000001", 8, 2, 2) // what failed is dropped, too
	first.Close()
	first.Close()
	is("0000000000000001", 8, 2, 2)
	first = connect(1, 4)
	is("0000000000000001", 12, 3, 3)

	var open []*Session
	for dpid := range flow.DPID(maxNamedSwitches + 10) { // all at a time
		open = append(open, connect(dpid+2, 4))
	}
	is("0000000000000001", 12, 3, 3)
	is("other", 44, 11, 11)
	if n := len(rows()); n != maxNamedSwitches+1 {
		t.Errorf("%d rows", n)
	}
	for _, s := range open {
		s.Close()
	}
	connect(0xff00, 4).Close() // the one that was away longest gives way
	if all := rows(); all["0000000000000002"] != nil || all["000000000000ff00"] == nil || len(all) != maxNamedSwitches+1 {
		t.Errorf("%d rows; %v, %v", len(all), all["0000000000000002"], all["000000000000ff00"])
	}
	is("other", 48, 12, 12)
	first.Close()
}
