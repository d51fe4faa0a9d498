package gateway

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/settings"
)

// A switch that was told ssl: and meets a listener of tcp: is named in the log,
// and so are a connection that is reset and one of something else.
func TestWhatConnects(t *testing.T) {
	r := startFile(t, "function: {urls: [native]}\n", nil)
	address := r.gateway.Addrs()[0].String()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("a TLS handshake with a listener of tcp:")
	}
	r.eventually("TLS is named", func() bool {
		return strings.Contains(r.logs.String(), "the switch speaks TLS, and this listener doesn't")
	})
	if conn, err = net.Dial("tcp", address); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 8)
	if _, err := conn.Read(one); err != nil { // the gateway's HELLO, so that it waits for ours
		t.Fatal(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	r.eventually("a reset is in words", func() bool {
		return strings.Contains(r.logs.String(), "the switch reset the connection") && strings.Contains(r.logs.String(), "cause=reset_by_switch")
	})
}

// The status of a rule is all that the rule says.
func TestRuleStatus(t *testing.T) {
	var in bridge.Installed
	in.Rule = flow.Rule{Priority: 7, Meter: 3, Goto: 1, Flags: flow.SendFlowRemoved | flow.ResetCounts | 1<<9, IdleTimeout: time.Second,
		Actions: []flow.Action{{Type: flow.SetEthDst, MAC: flow.MAC{2, 0, 0, 0, 0, 9}}, {Type: flow.SetL4Dst, Value: 8080}, flow.OutputTo(2)}}
	in.Rule.Match.SetInPort(1)
	in.Text = "tcp_flags=0x0002/0x0012"
	got := ruleStatus(&in)
	want := RuleStatus{Priority: 7, Match: "in_port=1", Actions: "meter:3,set_eth_dst:02:00:00:00:00:09,set_l4_dst:8080,output:2,goto:1",
		Meter: 3, Goto: 1, Flags: "send_flow_rem,reset_counts,0x200", More: in.Text, Idle: 1, Cookie: "0x0"}
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// Without events there is no latency.
func TestNoEventsNoFigures(t *testing.T) {
	reg := prometheus.NewRegistry()
	bridge.NewMetrics(reg)
	r, err := newRecorder(nil, &settings.Log{Decisions: "off"}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r.stats(reg))
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != `{"allow":0,"deny":0,"none":0,"failed":0,"count":0}` {
		t.Errorf("%s", b)
	}
	stage := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "switchbridge_stage_seconds", Buckets: []float64{1, 2, 5}, ConstLabels: prometheus.Labels{"stage": "total"}})
	other := prometheus.NewRegistry()
	other.MustRegister(stage)
	if _, v := latencies(other, .5); v[0] != 0 {
		t.Errorf("p50 of no events is %v", v[0])
	}
	stage.Observe(1.5)
	if n, v := latencies(other, .5); n != 1 || v[0] <= 1 || v[0] > 2 {
		t.Errorf("p50 of one event of 1.5 s is %v", v[0])
	}
}
