package eval_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/replay/capture"
)

// dataFile returns a file of the captures beside the checkout.
func dataFile(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("SWITCHBRIDGE_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no capture to read: %v", err)
	}
	return path
}

func evaluate(t *testing.T, text, pcap string, opt eval.Options) *eval.Report {
	t.Helper()
	p, err := policyfile.Parse(strings.NewReader(text), "policy.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	r, err := capture.NewReader(nil, pcap)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := eval.EvalPCAP(t.Context(), controller.New(p), r, opt)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

const denyWeb = `
serial: 9
chain:
  - header:
      rules:
        - {name: no-plain-web, match: {tcp_dst: 80}, action: deny}
  - forward: {mode: normal}
`

// The capture's description counts 956 packets.
func TestHomeWeb(t *testing.T) {
	report := evaluate(t, denyWeb, dataFile(t, "home-web.pcapng"), eval.Options{})
	if report.Packets != 956 {
		t.Errorf("%d packets, want 956", report.Packets)
	}
	packets := 0
	for _, f := range report.Flows {
		packets += f.Packets
		web := f.Headers().Has(flow.FieldL4Dst) && f.Headers().IPProto == flow.ProtoTCP && f.Headers().L4Dst == 80
		want, reason := "allow", "forward: normal"
		if web {
			want, reason = "deny", "header: no-plain-web"
		}
		if f.Verdict != want || f.Reason != reason {
			t.Errorf("%s: %s (%s), want %s (%s)", f.Match, f.Verdict, f.Reason, want, reason)
		}
		if len(f.Rules) != 1 {
			t.Errorf("%s: rules %q, want one", f.Match, f.Rules)
		}
	}
	if packets != report.Packets {
		t.Errorf("the flows have %d packets of %d", packets, report.Packets)
	}
	if report.Denied == 0 || report.Allowed == 0 || report.Allowed+report.Denied != len(report.Flows) {
		t.Errorf("%d allowed and %d denied of %d flows", report.Allowed, report.Denied, len(report.Flows))
	}
}

func TestWrite(t *testing.T) {
	report := evaluate(t, denyWeb, dataFile(t, "home-mail.pcapng"), eval.Options{Protocol: flow.OpenFlow10, InPort: 7})
	var text, js bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := report.WriteJSON(&js); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PACKET  PACKETS  FROM", "policy 9-", "58 packets", "forward: normal", ":25",
		"  1. header: decides by headers: 0 rules that allow, 1 that deny\n  2. forward: allows what reaches it; allowed packets go by normal\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text has no %q:\n%s", want, text.String())
		}
	}
	var back eval.Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Packets != report.Packets || len(back.Flows) != len(report.Flows) || !strings.HasPrefix(back.Flows[0].Match, "in_port=7,") {
		t.Errorf("JSON gives %d packets in %d flows, the first of them %+v", back.Packets, len(back.Flows), back.Flows[0])
	}
}

func TestCutCapture(t *testing.T) {
	whole, err := os.ReadFile(dataFile(t, "home-mail.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut.pcapng")
	if err := os.WriteFile(path, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policyfile.Parse(strings.NewReader(denyWeb), "policy.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	r, err := capture.NewReader(nil, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := eval.EvalPCAP(t.Context(), controller.New(p), r, eval.Options{})
	if err == nil || !strings.Contains(err.Error(), "cut.pcapng: packet ") {
		t.Errorf("error %v, want one that names file and packet", err)
	}
	if report.Packets == 0 || report.Packets >= 58 {
		t.Errorf("%d packets before the cut", report.Packets)
	}
}

// A machine for each device of two captures allows what it does; policy/machine/README.md has these figures.
func TestDevicesOfCaptures(t *testing.T) {
	for _, tt := range []struct {
		policy, pcap                  string
		packets, asked, denied, moves int
		states                        map[string]int
		firstMove                     string
	}{
		{"iot-hue.yaml", "iot-hue-switch.pcap", 2397, 1497, 0, 2, map[string]int{"hue: idle": 1, "to-hue: guest": 1}, "hue/network from idle to asked at packet 82"},
		// The capture begins while the lock is connected, and the first 217 packets come before it asks a name server.
		{"iot-lock.yaml", "iot-schlage-lock.pcap", 11150, 7101, 217, 1, map[string]int{"lock: online": 1}, "lock/network from quiet to online at packet 314"},
	} {
		text, err := os.ReadFile("../../configs/policies/" + tt.policy)
		if err != nil {
			t.Fatal(err)
		}
		report := evaluate(t, string(text), dataFile(t, tt.pcap), eval.Options{})
		asked, denied := 0, 0
		for _, f := range report.Flows {
			asked, denied = asked+f.Asked, denied+f.PacketsDenied
		}
		if report.Packets != tt.packets || asked != tt.asked || denied != tt.denied || len(report.Moves) != tt.moves || !maps.Equal(report.States, tt.states) {
			t.Errorf("%s: %d packets, %d asked about, %d denied, %d moves, %v; want %+v", tt.policy, report.Packets, asked, denied, len(report.Moves), report.States, tt)
		}
		if m := report.Moves[0]; fmt.Sprintf("%s from %s to %s at packet %d", m.Key, m.From, m.To, m.Packet) != tt.firstMove {
			t.Errorf("%s: the first move is %+v, want %s", tt.policy, m, tt.firstMove)
		}
		var text2, js bytes.Buffer
		if err := report.WriteText(&text2); err != nil {
			t.Fatal(err)
		}
		if err := report.WriteJSON(&js); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{fmt.Sprintf("\n%d of %d packets were asked about, %d denied; machines moved %d times\n", asked, tt.packets, denied, tt.moves), "PACKET  SECONDS", "KEYS  IN THE END\n1     "} {
			if !strings.Contains(text2.String(), want) {
				t.Errorf("%s: the text has no %q:\n%s", tt.policy, want, text2.String())
			}
		}
		if !strings.Contains(js.String(), `"moves": [`) || !strings.Contains(js.String(), `"packets_denied"`) && denied > 0 {
			t.Errorf("%s: JSON without moves or denied packets", tt.policy)
		}
	}
}
