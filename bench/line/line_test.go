package line

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"switchbridge/policy/policyfile"
	"switchbridge/replay"
	"switchbridge/replay/capture"
)

// A switch asks about each flow once, about each pair of hosts once, or never, by the rules that answers install; the rest of its packets find them.
func TestCalls(t *testing.T) {
	profile, err := replay.ProfileNamed("home")
	if err != nil {
		t.Fatal(err)
	}
	profile.Flows, profile.Duration = 200, time.Minute
	var pcap bytes.Buffer
	made, err := replay.Generate(&pcap, nil, replay.GenerateConfig{Profile: profile, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	play := func(install string, switches, limit int) *Line {
		t.Helper()
		p, err := policyfile.Parse(strings.NewReader("serial: 1\ninstall: "+install+"\nchain:\n  - forward: {mode: normal}\n"), "test", ".")
		if err != nil {
			t.Fatal(err)
		}
		r, err := capture.NewReader(bytes.NewReader(pcap.Bytes()), "-")
		if err != nil {
			t.Fatal(err)
		}
		l := New(p, switches, false)
		if err := l.Play(t.Context(), r, limit); err != nil {
			t.Fatal(err)
		}
		return l
	}
	flow := play("flow", 1, 0)
	if flow.Calls != made.Flows || flow.Packets != made.Packets || flow.Lasts <= 0 {
		t.Errorf("%+v, of %+v", flow, made)
	}
	if none := play("none", 1, 0); none.Calls != made.Packets {
		t.Errorf("%d calls about %d packets of which nothing is installed", none.Calls, made.Packets)
	}
	if two := play("flow", 2, 0); two.Calls != 2*flow.Calls {
		t.Errorf("%d calls of two switches, %d of one", two.Calls, flow.Calls)
	}
	if widest := play("widest", 1, 0); widest.Calls == 0 || widest.Calls >= flow.Calls/2 {
		t.Errorf("%d calls with the widest rules, %d with those of flows", widest.Calls, flow.Calls)
	}
	if some := play("flow", 1, 10); some.Packets != 10 {
		t.Errorf("%+v", some)
	}
}
