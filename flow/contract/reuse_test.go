package contract_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
)

// written is an answer in an encoding: its body and its headers.
func written(t *testing.T, c contract.Codec, ev *flow.Event, d *flow.Decision) (body []byte, h http.Header) {
	t.Helper()
	h = http.Header{}
	body, err := c.AppendDecision(nil, ev, d)
	if err == nil {
		err = contract.PutReply(h, c, ev, d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return body, h
}

func read(c contract.Codec, ev *flow.Event, body []byte, h http.Header) (d flow.Decision, err error) {
	if err = c.ParseDecision(body, ev, &d); err == nil {
		err = contract.GetReply(h, c, ev, &d)
	}
	return d, err
}

// TestReuseMembers writes for which other packets an answer holds in both encodings, and reads it again. A gateway that does not take it
// gets nothing of it.
func TestReuseMembers(t *testing.T) {
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		for _, proto := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13, flow.P4Runtime} {
			p := packet(t, "tcp 10.0.0.1:40000 > 10.0.0.2:22", 0)
			ev := &flow.Event{Type: flow.EventPacketIn, XID: 7, Switch: &flow.Switch{DPID: 1, Protocol: proto}, PacketIn: p, Accepts: flow.AcceptsAll}
			back, ok := p.Match.Answer()
			if !ok {
				t.Fatal("nothing answers the packet")
			}
			reply := &flow.Reply{Reason: "header: ssh (a reply)", Rules: []flow.Rule{{Priority: 100, IdleTimeout: time.Minute, BufferID: flow.NoBuffer, Match: back,
				Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}}}
			for name, want := range map[string]flow.Reuse{
				"all fields":  {For: 5 * time.Second, Fields: flow.AllFields, Switch: true},
				"no fields":   {For: time.Second},
				"the switch":  {For: time.Second, Switch: true},
				"a few":       {For: 60 * time.Second, Fields: flow.FieldInPort | flow.FieldIPDst | flow.FieldL4Dst},
				"and a reply": {For: 60 * time.Second, Fields: flow.FieldIPDst, Reply: reply},
			} {
				d := flow.Decision{Reuse: want, HasPacketOut: true}
				body, h := written(t, codec, ev, &d)
				got, err := read(codec, ev, body, h)
				if err != nil {
					t.Fatalf("%s, %s: %v", codec.ContentType(), name, err)
				}
				if r := got.Reuse; r.For != want.For || r.Fields != want.Fields || r.Switch != want.Switch || !reflect.DeepEqual(rulesOf(r.Reply), rulesOf(want.Reply)) ||
					r.Reply != nil && r.Reply.Reason != want.Reply.Reason {
					t.Errorf("%s, %s: read as %+v, want %+v\n%s\n%v", codec.ContentType(), name, r, want, body, h)
				}
				older := *ev
				older.Accepts &^= flow.AcceptsReuse
				body, h = written(t, codec, &older, &d)
				if got, err := read(codec, &older, body, h); err != nil || !reflect.DeepEqual(got.Reuse, flow.Reuse{}) || len(h) != 0 {
					t.Errorf("%s, %s: a gateway that does not take it gets %+v, %v (%v)", codec.ContentType(), name, got.Reuse, h, err)
				}
			}
			noPacket := &flow.Event{Type: flow.EventSwitchConnected, XID: 7, Switch: ev.Switch, Accepts: flow.AcceptsAll}
			body, h := written(t, codec, noPacket, &flow.Decision{Reuse: flow.Reuse{For: time.Second}})
			if got, err := read(codec, noPacket, body, h); err != nil || got.Reuse.For != 0 || len(h) != 0 {
				t.Errorf("%s: an event without a packet: %+v, %v (%v)", codec.ContentType(), got.Reuse, h, err)
			}
		}
	}
}

func rulesOf(r *flow.Reply) (s []string) {
	if r != nil {
		for i := range r.Rules {
			s = append(s, r.Rules[i].String())
		}
	}
	return s
}

// TestReuseRefused: what can't be understood is no answer. To pass over a field that is not known here would have an answer used for packets
// that it is not for.
func TestReuseRefused(t *testing.T) {
	ev := &flow.Event{Type: flow.EventPacketIn, XID: 7, Switch: &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13}, PacketIn: packet(t, "tcp 10.0.0.1:1 > 10.0.0.2:22", 0)}
	for _, row := range []struct{ reuse, reply, want string }{
		{"5 eth_src,tcp_flags", "", "tcp_flags"},
		{"5 " + strings.Repeat("eth_src,", 65), "", "more than 64"},
		{"-1 eth_src", "", "seconds"},
		{"65536", "", "seconds"},
		{"eth_src", "", "seconds"},
		{"", "AA==", "Switchbridge-Reply"},
		{"5", "!", "Switchbridge-Reply"},
		{"", " why", "reply without reuse"},
	} {
		h := http.Header{}
		if h.Set(contract.HeaderReuse, row.reuse); row.reply != "" {
			h.Set(contract.HeaderReply, row.reply)
		}
		if _, err := read(openflow.Codec{}, ev, nil, h); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q, %q: %v, want %s", row.reuse, row.reply, err, row.want)
		}
	}
	for _, row := range []struct{ body, want string }{
		{`{"reuse": {"seconds": 5, "fields": ["tcp_flags"]}}`, `tcp_flags`},
		{`{"reuse": {"seconds": -1}}`, "seconds"},
		{`{"reuse": {"minutes": 5}}`, "minutes"},
		{`{"reply": {"reason": "x"}}`, "reply without reuse"},
		{`{"reuse": {"seconds": 5}, "reply": {"rules": []}}`, "rules"},
	} {
		if _, err := read(jsonenc.Codec{}, ev, []byte(row.body), nil); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.body, err, row.want)
		}
	}
}
