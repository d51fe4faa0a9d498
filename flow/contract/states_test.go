package contract_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// TestStateHeaders has what an answer rests on and revokes written as headers and read again.
func TestStateHeaders(t *testing.T) {
	d := flow.Decision{Read: []flow.StateVersion{{Key: 1, Version: 1<<64 - 1}, {Key: 1 << 63, Version: 0}}, Revoke: []uint64{7, 0xfedcba9876543210}}
	h := http.Header{}
	contract.PutDecision(h, contract.TypeOpenFlow, &flow.Event{Accepts: flow.AcceptsAll}, &d)
	if got, want := h.Get(contract.HeaderStates), "0000000000000001=18446744073709551615,8000000000000000=0"; got != want {
		t.Errorf("%s: %q, want %q", contract.HeaderStates, got, want)
	}
	var back flow.Decision
	if err := contract.GetDecision(h, &back); err != nil || !slices.Equal(back.Read, d.Read) || !slices.Equal(back.Revoke, d.Revoke) {
		t.Errorf("%v is read as %+v, %x (%v)", h, back.Read, back.Revoke, err)
	}
	for _, accepts := range []flow.Accepts{0, flow.AcceptsCoversIncomplete} {
		h := http.Header{}
		if contract.PutDecision(h, contract.TypeOpenFlow, &flow.Event{Accepts: accepts}, &d); len(h) != 0 {
			t.Errorf("a gateway that does not revoke gets %v", h)
		}
	}
	named := flow.Decision{}
	if err := contract.GetDecision(http.Header{contract.HeaderStates: {"sensor-7=3, camera=4"}, contract.HeaderRevoke: {"sensor-7"}}, &named); err != nil ||
		len(named.Read) != 2 || len(named.Revoke) != 1 || named.Read[0].Key != named.Revoke[0] || named.Read[0].Key == named.Read[1].Key {
		t.Errorf("names are read as %+v, %x (%v)", named.Read, named.Revoke, err)
	}
	many := strings.Repeat("a=1,", contract.MaxStates)
	for _, row := range []struct{ header, value, want string }{
		{contract.HeaderStates, "sensor", "want <state>=<version>"},
		{contract.HeaderStates, "sensor=-1", "want <state>=<version>"},
		{contract.HeaderStates, "=1", "printable characters"},
		{contract.HeaderStates, "a b=1", "printable characters"},
		{contract.HeaderStates, strings.Repeat("x", 201) + "=1", "at most 200"},
		{contract.HeaderStates, many + "b=1", "more than 64"},
		{contract.HeaderRevoke, "ä", "printable characters"},
		{contract.HeaderRevoke, strings.ReplaceAll(many, "=1", "") + "b", "more than 64"},
	} {
		err := contract.GetDecision(http.Header{row.header: {row.value}}, new(flow.Decision))
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), row.header) {
			t.Errorf("%s %.40q: %v, want %q", row.header, row.value, err, row.want)
		}
	}
	if err := contract.GetDecision(http.Header{contract.HeaderStates: {many}}, new(flow.Decision)); err != nil {
		t.Errorf("%d states: %v", contract.MaxStates, err)
	}
}

// TestRestrict: a gateway that does not revoke gets the packet's decision, and no rule that rests on a state.
func TestRestrict(t *testing.T) {
	p := packet(t, "tcp 10.0.0.1:1 > 10.0.0.2:2", 0)
	decision := func(read ...flow.StateVersion) *flow.Decision {
		return &flow.Decision{Rules: []flow.Rule{{Priority: 1, Match: p.Match, Actions: []flow.Action{flow.OutputTo(7)}}}, Read: read, Revoke: []uint64{1}}
	}
	for _, row := range []struct {
		accepts flow.Accepts
		d       *flow.Decision
		want    string
	}{
		{flow.AcceptsAll, decision(flow.StateVersion{Key: 1}), "1 rules, packet_out false [drop], 1 states, 1 revoked"},
		{0, decision(), "1 rules, packet_out false [drop], 0 states, 0 revoked"},
		{0, decision(flow.StateVersion{Key: 1}), "0 rules, packet_out true [output:7], 0 states, 0 revoked"},
	} {
		contract.Restrict(&flow.Event{Accepts: row.accepts, PacketIn: p}, row.d)
		d := row.d
		if got := fmt.Sprintf("%d rules, packet_out %v [%s], %d states, %d revoked", len(d.Rules), d.HasPacketOut, flow.ActionsString(d.PacketOut), len(d.Read), len(d.Revoke)); got != row.want {
			t.Errorf("accepts %b: %s, want %s", row.accepts, got, row.want)
		}
	}
	d := &flow.Decision{Rules: []flow.Rule{{Priority: 1}}, Read: []flow.StateVersion{{Key: 1}}}
	if contract.Restrict(&flow.Event{}, d); len(d.Rules) != 0 || d.HasPacketOut {
		t.Errorf("an answer to an event without a packet: %+v", d)
	}
}
