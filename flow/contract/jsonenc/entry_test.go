package jsonenc

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"switchbridge/flow"
)

func TestEntries(t *testing.T) {
	ev := &flow.Event{Type: flow.EventPacketIn, Switch: &flow.Switch{DPID: 1, Protocol: flow.P4Runtime}}
	body := `{"entries":[{"table":"acl","match":{"ip_dst":"10.0.0.3","l4_dst":22},"priority":10,"action":"drop","params":{"port":2},"idle_timeout":30,"hard_timeout":60}]}`
	want := []flow.Entry{{Table: "acl", Match: map[string]string{"ip_dst": "10.0.0.3", "l4_dst": "22"}, Priority: 10, Action: "drop",
		Params: map[string]string{"port": "2"}, IdleTimeout: 30 * time.Second, HardTimeout: time.Minute}}
	var d flow.Decision
	if err := (Codec{}).ParseDecision([]byte(body), ev, &d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, d.Entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := Codec{}.AppendDecision(nil, ev, &d)
	if err != nil {
		t.Fatal(err)
	}
	var back flow.Decision
	if err := (Codec{}).ParseDecision(again, ev, &back); err != nil {
		t.Fatalf("%v in %s", err, again)
	}
	if diff := cmp.Diff(want, back.Entries); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
	for bad, says := range map[string]string{
		`{"entries":[{"tabel":"acl"}]}`:                "entries[0].tabel: unknown member",
		`{"entries":[{},{"match":{"a":[1]}}]}`:         "entries[1].match.a: ",
		`{"entries":[{"priority":2147483648}]}`:        "entries[0].priority: ",
		`{"entries":[{"params":{"port":1,"port":2}}]}`: "params.port: occurs twice",
		`{"entries":[{"idle_timeout":"for a while"}]}`: "entries[0].idle_timeout: ",
		`{"entries":{}}`:                               "entries: ",
	} {
		if err := (Codec{}).ParseDecision([]byte(bad), ev, new(flow.Decision)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one with %q", bad, err, says)
		}
	}
}
