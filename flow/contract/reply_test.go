package contract_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
)

// TestIfReplyHeader writes what becomes of a reply beside OpenFlow bodies, and reads it again.
func TestIfReplyHeader(t *testing.T) {
	for _, proto := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13, flow.P4Runtime} {
		p := packet(t, "tcp 10.0.0.2:22 > 10.0.0.1:40000 port 2", 0)
		ev := &flow.Event{Type: flow.EventPacketIn, XID: 7, Switch: &flow.Switch{DPID: 1, Protocol: proto}, PacketIn: p, Accepts: flow.AcceptsReply}
		rule := flow.Rule{Priority: 100, IdleTimeout: 120 * time.Second, Match: p.Match.Keep(flow.Conversation), Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}
		for name, r := range map[string]*flow.Reply{
			"a rule":          {Rules: []flow.Rule{rule}, Reason: "header: ssh (a reply)"},
			"the packet":      {HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(1)}},
			"a rule and more": {Rules: []flow.Rule{rule}, HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(1)}, Reason: "two\nlines"},
			"nothing":         {HasPacketOut: true, Reason: "why"},
		} {
			h, d := http.Header{}, flow.Decision{IfReply: r}
			if err := contract.PutReply(h, openflow.Codec{}, ev, &d); err != nil {
				t.Fatal(err)
			}
			text := h.Get(contract.HeaderIfReply)
			if len(text) > 1000 {
				t.Errorf("%s: the header has %d bytes: the packet's own?", name, len(text))
			}
			var back flow.Decision
			if err := contract.GetReply(h, openflow.Codec{}, ev, &back); err != nil || back.IfReply == nil {
				t.Fatalf("%v, %s: %q is read as %+v (%v)", proto, name, text, back.IfReply, err)
			}
			got := back.IfReply
			if len(got.Rules) != len(r.Rules) || got.HasPacketOut != r.HasPacketOut || flow.ActionsString(got.PacketOut) != flow.ActionsString(r.PacketOut) || got.Reason != contract.Printable(r.Reason) {
				t.Errorf("%v, %s: %q is read as %+v, want %+v", proto, name, text, got, r)
			}
			if len(r.Rules) > 0 && (got.Rules[0].Match != rule.Match || got.Rules[0].IdleTimeout != rule.IdleTimeout) {
				t.Errorf("%v, %s: the rule is %v, want %v", proto, name, &got.Rules[0], &rule)
			}

			for why, not := range map[string]struct {
				codec contract.Codec
				ev    flow.Event
			}{
				"a gateway that does not take it": {openflow.Codec{}, flow.Event{Type: ev.Type, XID: 7, Switch: ev.Switch, PacketIn: p, Accepts: flow.AcceptsCoversIncomplete}},
				"JSON, whose body has it":         {jsonenc.Codec{}, *ev},
				"an event without a packet":       {openflow.Codec{}, flow.Event{Type: flow.EventSwitchConnected, Switch: ev.Switch, Accepts: flow.AcceptsReply}},
			} {
				h := http.Header{}
				if err := contract.PutReply(h, not.codec, &not.ev, &d); err != nil || len(h) != 0 {
					t.Errorf("%s: %v (%v)", why, h, err)
				}
			}
		}
		for name, text := range map[string]string{
			"no base64": "!", "no messages": "AAAA", "too long": strings.Repeat("A", 17<<10),
		} {
			d := flow.Decision{}
			if err := contract.GetReply(http.Header{contract.HeaderIfReply: {text}}, openflow.Codec{}, ev, &d); err == nil || d.IfReply != nil || !strings.Contains(err.Error(), contract.HeaderIfReply) {
				t.Errorf("%s: %v, %+v", name, err, d.IfReply)
			}
		}
	}
}
