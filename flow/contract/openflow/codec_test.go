package openflow

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"switchbridge/flow"
	"switchbridge/internal/ovs"
	"switchbridge/ofproxy/ofp"
)

var update = flag.Bool("update", false, "write the golden files anew; needs ovs-ofctl for their comments")

const (
	v10 = flow.OpenFlow10
	v13 = flow.OpenFlow13

	testXID = 0x80000001
)

var (
	macA, macB = flow.MAC{2, 0, 0, 0, 0, 0xa}, flow.MAC{2, 0, 0, 0, 0, 0xb}

	ports = []flow.Port{{No: 1, HWAddr: macA, Name: "eth1"}, {No: 2, HWAddr: macB, Name: "eth2", State: 1}}

	// A TCP segment of 10.0.0.1:40000 to 10.0.0.2:443.
	segment, _ = hex.DecodeString("02000000000b02000000000a0800" + "4500002800004000400626ce0a0000010a000002" + "9c4001bb00000000000000005002200000000000")
)

func switch10() *flow.Switch {
	return &flow.Switch{DPID: 1, Protocol: v10, NBuffers: 256, NTables: 1, Capabilities: 0xc7, Actions: 0xfff, Ports: slices.Clone(ports)}
}

func switch13() *flow.Switch {
	return &flow.Switch{DPID: 1, Protocol: v13, NTables: 254, Capabilities: 0x4f}
}

func packetIn(bufferID uint32) *flow.PacketIn {
	return &flow.PacketIn{BufferID: bufferID, TotalLen: len(segment), Match: flow.ParseFrame(segment, 1), Data: segment}
}

func event(typ flow.EventType, sw *flow.Switch, fill func(ev *flow.Event)) flow.Event {
	ev := flow.Event{Type: typ, XID: testXID, Switch: sw}
	if fill != nil {
		fill(&ev)
	}
	return ev
}

// exactRule is what the controller installs for an exact flow, with buffer and
// out_port as they are read.
func exactRule(actions ...flow.Action) flow.Rule {
	return flow.Rule{Priority: 100, IdleTimeout: 30 * time.Second, HardTimeout: 300 * time.Second, BufferID: flow.NoBuffer, OutPort: flow.PortAny,
		Match: flow.ParseFrame(segment, 1).Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldIPProto |
			flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Src | flow.FieldL4Dst), Actions: actions}
}

var digest = match(func(m *flow.Match) {
	m.SetInPort(1)
	m.SetEthType(flow.EthTypeIPv4)
	m.SetIPProto(flow.ProtoTCP)
	m.SetIPSrc(netip.MustParsePrefix("10.0.0.1/32"))
	m.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	m.SetL4Dst(443)
})

func match(set func(m *flow.Match)) flow.Match {
	var m flow.Match
	set(&m)
	return m
}

// exchange is one event and its answer; each has a file in testdata.
type exchange struct {
	name     string
	full     bool
	event    flow.Event
	seen     func(ev *flow.Event) // what the function sees of it, where that is less
	decision flow.Decision
}

func (x *exchange) codec() Codec { return Codec{Full: x.full} }

func (x *exchange) want() flow.Event {
	ev := x.event
	if ev.Switch != nil {
		sw := *ev.Switch
		ev.Switch = &sw
	}
	if x.seen != nil {
		x.seen(&ev)
	}
	return ev
}

// bare is what a bare message says of its switch.
func bare(ev *flow.Event) { ev.Switch = &flow.Switch{DPID: 1, Protocol: ev.Switch.Protocol} }

func allow() flow.Decision {
	return flow.Decision{Rules: []flow.Rule{exactRule(flow.OutputTo(flow.PortNormal))}, HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(flow.PortNormal)}}
}

var exchanges = []exchange{
	{name: "handshake-hello", full: true, event: event(flow.EventHandshake, &flow.Switch{DPID: 1}, func(ev *flow.Event) {
		ev.Handshake = ofp.AppendHello(nil, testXID, v10, v13)
	}), decision: flow.Decision{Handshake: ofp.AppendFeaturesRequest(ofp.AppendHello(nil, testXID, v13), v13, testXID)}},
	{name: "handshake-features", full: true, event: event(flow.EventHandshake, switch13(), func(ev *flow.Event) {
		ev.Handshake = ofp.AppendFeaturesReply(nil, v13, testXID, ev.Switch)
	})},
	{name: "switch_connected-1.0", event: event(flow.EventSwitchConnected, switch10(), nil),
		decision: flow.Decision{Rules: []flow.Rule{{Priority: 10, BufferID: flow.NoBuffer, OutPort: flow.PortAny, Match: match(func(m *flow.Match) { m.SetEthType(flow.EthTypeLLDP) })}}}},
	{name: "switch_connected-1.3", full: true, event: event(flow.EventSwitchConnected, switch13(), func(ev *flow.Event) { ev.Switch.Ports = ports }),
		decision: flow.Decision{Rules: []flow.Rule{{Priority: 10, Meter: 4, Goto: 1, BufferID: flow.NoBuffer, OutPort: flow.PortAny}}}},
	{name: "packet_in-1.0", event: event(flow.EventPacketIn, switch10(), func(ev *flow.Event) { ev.PacketIn = packetIn(7) }), decision: allow()},
	{name: "packet_in-1.3", event: event(flow.EventPacketIn, switch13(), func(ev *flow.Event) { ev.PacketIn = packetIn(flow.NoBuffer) }), decision: allow()},
	{name: "packet_in-1.3-full", full: true, event: event(flow.EventPacketIn, switch13(), func(ev *flow.Event) { ev.PacketIn = packetIn(flow.NoBuffer) }), seen: bare,
		decision: flow.Decision{Rules: []flow.Rule{exactRule()}}},
	{name: "packet_in-1.0-full-drop", full: true, event: event(flow.EventPacketIn, switch10(), func(ev *flow.Event) { ev.PacketIn = packetIn(flow.NoBuffer) }), seen: bare,
		decision: flow.Decision{HasPacketOut: true}},
	{name: "packet_in-p4", event: event(flow.EventPacketIn, &flow.Switch{DPID: 1, Protocol: flow.P4Runtime}, func(ev *flow.Event) {
		ev.PacketIn = &flow.PacketIn{BufferID: flow.NoBuffer, Match: digest}
	}), seen: func(ev *flow.Event) { ev.Switch.Protocol, ev.PacketIn.Data = v13, []byte{} },
		decision: flow.Decision{Rules: []flow.Rule{{Priority: 1, BufferID: flow.NoBuffer, OutPort: flow.PortAny, Match: digest, Actions: []flow.Action{flow.OutputTo(2)}}},
			HasPacketOut: true, PacketOut: []flow.Action{{Type: flow.SetL4Dst, Value: 8443, IPProto: flow.ProtoTCP}, flow.OutputTo(2)}}},
	{name: "flow_removed-1.0", event: event(flow.EventFlowRemoved, switch10(), func(ev *flow.Event) {
		ev.FlowRemoved = &flow.FlowRemoved{Reason: flow.RemovedIdle, Priority: 100, Cookie: 5, Match: digest, Duration: time.Minute, Idle: 30 * time.Second, Packets: 9, Bytes: 900}
	})},
	{name: "port_status-1.3", event: event(flow.EventPortStatus, switch13(), func(ev *flow.Event) {
		ev.PortStatus = &flow.PortStatus{Reason: flow.PortModified, Port: ports[1]}
	})},
	{name: "error-1.3", event: event(flow.EventError, switch13(), func(ev *flow.Event) {
		ev.Error = &flow.SwitchError{Type: 4, Code: 9, Name: "BAD_MATCH: BAD_PREREQ", XID: 0x77, Data: []byte{4, 14, 0, 72, 0, 0, 0, 0x77}}
	})},
	{name: "policy_check", event: flow.Event{Type: flow.EventPolicyCheck}},
}

var equal = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// TestExchanges has every event and every decision from both sides, against
// the bytes in testdata.
func TestExchanges(t *testing.T) {
	for _, x := range exchanges {
		t.Run(x.name, func(t *testing.T) {
			body, err := x.codec().AppendEvent([]byte("before"), &x.event)
			if err != nil {
				t.Fatal(err)
			}
			body = golden(t, x.name+".event", bytes.TrimPrefix(body, []byte("before")))

			want := x.want()
			got := flow.Event{Type: x.event.Type}
			if x.event.Switch != nil {
				got.Switch = &flow.Switch{DPID: x.event.Switch.DPID}
			}
			for _, c := range []Codec{{}, {Full: true}} { // a reader takes either form
				ev := got
				if ev.Switch != nil {
					sw := *ev.Switch
					ev.Switch = &sw
				}
				if err := c.ParseEvent(body, &ev); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, ev, equal); d != "" {
					t.Errorf("event (-want +got):\n%s", d)
				}
			}

			// The function answers what it has seen, the gateway reads it with what it knows.
			answer, err := Codec{}.AppendDecision([]byte("before"), &want, &x.decision)
			if err != nil {
				t.Fatal(err)
			}
			answer = golden(t, x.name+".decision", bytes.TrimPrefix(answer, []byte("before")))
			var d flow.Decision
			if err := x.codec().ParseDecision(answer, &x.event, &d); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(x.decision, d, equal); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

// golden compares b with the file's messages and returns these. A file has a
// line for each message, in hexadecimal, and above it as a comment what Open
// vSwitch reads in it.
func golden(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	file := filepath.Join("testdata", name+".hex")
	if *update {
		writeGolden(t, file, b)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			msg, err := hex.DecodeString(strings.TrimSpace(line))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			want = append(want, msg...)
		}
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%s: the body is\n%x, want\n%x", name, b, want)
	}
	return want
}

func writeGolden(t *testing.T, file string, b []byte) {
	t.Helper()
	var msgs [][]byte
	for len(b) > 0 {
		_, msg, rest, err := split(b)
		if err != nil {
			t.Fatal(err)
		}
		msgs, b = append(msgs, msg), rest
	}
	var out strings.Builder
	if len(msgs) == 0 {
		out.WriteString("# The body is empty.\n")
	}
	for i, text := range ovs.Print(t, msgs...) {
		for line := range strings.Lines(strings.TrimSpace(text)) {
			fmt.Fprintf(&out, "# %s\n", strings.TrimRight(line, "\n "))
		}
		fmt.Fprintf(&out, "%x\n", msgs[i])
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTruncatedEvents cuts every event's body: none of its beginnings is an
// event.
func TestTruncatedEvents(t *testing.T) {
	for _, x := range exchanges {
		body, err := x.codec().AppendEvent(nil, &x.event)
		if err != nil {
			t.Fatal(err)
		}
		for n := range body {
			ev := flow.Event{Type: x.event.Type, Switch: &flow.Switch{DPID: 1}}
			if err := (Codec{}).ParseEvent(body[:n], &ev); err == nil {
				t.Errorf("%s: cut to %d bytes of %d, it parses", x.name, n, len(body))
			}
		}
	}
}

func TestMalformedEvents(t *testing.T) {
	hello13, features13 := ofp.AppendHello(nil, 1, v13), ofp.AppendFeaturesReply(nil, v13, 1, switch13())
	in13, err := ofp.AppendPacketIn(nil, v13, 1, packetIn(flow.NoBuffer))
	if err != nil {
		t.Fatal(err)
	}
	in10, err := ofp.AppendPacketIn(nil, v10, 1, packetIn(flow.NoBuffer))
	if err != nil {
		t.Fatal(err)
	}
	other := switch13()
	other.DPID = 2
	join := func(msgs ...[]byte) []byte { return slices.Concat(msgs...) }
	for _, tt := range []struct {
		name string
		typ  flow.EventType
		body []byte
		want string
	}{
		{"nothing", flow.EventPacketIn, nil, "ends before"},
		{"no packet", flow.EventPacketIn, join(hello13, features13), "ends before"},
		{"two packets", flow.EventPacketIn, join(in13, in13), "PACKET_IN is out of place"},
		{"a HELLO too late", flow.EventPacketIn, join(features13, hello13, in13), "HELLO is out of place"},
		{"two HELLOs", flow.EventPacketIn, join(hello13, hello13, in13), "HELLO is out of place"},
		{"another event's message", flow.EventPortStatus, in13, "PACKET_IN is out of place in switchbridge.port_status.v1"},
		{"a FLOW_MOD", flow.EventPacketIn, ofp.AppendBarrierReply(nil, v13, 1), "BARRIER_REPLY is out of place"},
		{"two versions", flow.EventPacketIn, join(hello13, features13, in10), "OpenFlow 1.0 after a message of OpenFlow 1.3"},
		{"another version", flow.EventPacketIn, []byte{6, 0, 0, 8, 0, 0, 0, 1}, "wire version 0x06"},
		{"another switch", flow.EventPacketIn, join(hello13, ofp.AppendFeaturesReply(nil, v13, 1, other), in13), "switch 0000000000000002 in an event of switch 0000000000000001"},
		{"ports where none belong", flow.EventPacketIn, join(features13, ofp.AppendPortDescReply(nil, 1, nil), in13), "STATS_REPLY is out of place"},
		{"1.3 without ports", flow.EventSwitchConnected, join(hello13, features13), "ends before"},
		{"ports that go on", flow.EventSwitchConnected, join(hello13, features13, ofp.AppendPortDescReply(nil, 1, make([]flow.Port, 1100))[:16+1023*64]), "ends before"},
		{"a body for a check", flow.EventPolicyCheck, hello13, "16 bytes of body"},
		{"too much", flow.EventPacketIn, make([]byte, flow.MaxBody+1), "at most 1048576"},
		{"an ECHO", flow.EventHandshake, ofp.AppendEchoRequest(nil, v13, 1, nil), "ECHO_REQUEST where HELLO"},
		{"two of a handshake", flow.EventHandshake, join(hello13, features13), "32 bytes after the HELLO"},
		{"another switch's handshake", flow.EventHandshake, ofp.AppendFeaturesReply(nil, v13, 1, other), "in an event of switch"},
		{"JSON", flow.EventPacketIn, []byte(`{"switch": {"dpid": "1"}}`), "length 29559"},
	} {
		ev := flow.Event{Type: tt.typ, Switch: &flow.Switch{DPID: 1}}
		if err := (Codec{}).ParseEvent(tt.body, &ev); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestManyPorts has a switch whose ports take two messages.
func TestManyPorts(t *testing.T) {
	ev := event(flow.EventSwitchConnected, switch13(), func(ev *flow.Event) {
		ev.Switch.Ports = make([]flow.Port, 1500)
		ev.Switch.Ports[1499].Name = "last"
	})
	body, err := Codec{}.AppendEvent(nil, &ev)
	if err != nil {
		t.Fatal(err)
	}
	got := flow.Event{Type: ev.Type, Switch: &flow.Switch{DPID: 1}}
	if err := (Codec{}).ParseEvent(body, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ev, got, equal); d != "" {
		t.Error(d)
	}
}

func TestMalformedDecisions(t *testing.T) {
	mod := func(v flow.Protocol, xid uint32) []byte {
		r := exactRule(flow.OutputTo(1))
		b, err := ofp.AppendFlowMod(nil, v, xid, &r, flow.NoBuffer)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	out := func(p ofp.PacketOut) []byte {
		b, err := ofp.AppendPacketOut(nil, v13, testXID, &p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	release := out(ofp.PacketOut{BufferID: flow.NoBuffer, Data: segment})
	for _, tt := range []struct {
		name string
		typ  flow.EventType
		body []byte
		want string
	}{
		{"another xid", flow.EventPacketIn, mod(v13, 5), "message 1 of the answer: FLOW_MOD with xid 0x00000005, where the event has 0x80000001"},
		{"another version", flow.EventPacketIn, mod(v10, testXID), "FLOW_MOD of wire version 0x01, to a switch of OpenFlow 1.3"},
		{"two PACKET_OUTs", flow.EventPacketIn, append(bytes.Clone(release), release...), "message 2 of the answer: a second PACKET_OUT"},
		{"another packet", flow.EventPacketIn, out(ofp.PacketOut{BufferID: flow.NoBuffer, Data: segment[:20]}), "another packet"},
		{"another buffer", flow.EventPacketIn, out(ofp.PacketOut{BufferID: 9}), "buffer 0x9"},
		{"a packet for no packet", flow.EventPortStatus, release, "PACKET_OUT in answer to switchbridge.port_status.v1"},
		{"an error", flow.EventPacketIn, ofp.AppendError(nil, v13, testXID, 1, 1, []byte("no")), `BAD_REQUEST: BAD_TYPE "no"`},
		{"a barrier", flow.EventPacketIn, ofp.AppendBarrierReply(nil, v13, testXID), "BARRIER_REPLY: want FLOW_MOD or PACKET_OUT"},
		{"a part of a message", flow.EventPacketIn, mod(v13, testXID)[:80], "length"},
		{"HTML", flow.EventPacketIn, []byte("<!doctype html><html>"), "length"},
		{"too much", flow.EventPacketIn, make([]byte, flow.MaxBody+1), "at most 1048576"},
		{"an answer to a check", flow.EventPolicyCheck, mod(v13, testXID), "bytes of body"},
		{"a rule in a handshake", flow.EventHandshake, mod(v13, testXID), "FLOW_MOD in answer to a handshake"},
		{"half a handshake", flow.EventHandshake, []byte{4, 0, 0, 8}, "4 bytes of 8"},
	} {
		ev := event(tt.typ, switch13(), func(ev *flow.Event) { ev.PacketIn = packetIn(flow.NoBuffer) })
		var d flow.Decision
		if err := (Codec{}).ParseDecision(tt.body, &ev, &d); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestAnswersOfTheWholeHandshake has a function that answers a combined event
// with all that a handshake takes.
func TestAnswersOfTheWholeHandshake(t *testing.T) {
	ev := event(flow.EventPacketIn, switch13(), func(ev *flow.Event) { ev.PacketIn = packetIn(flow.NoBuffer) })
	body := ofp.AppendFeaturesRequest(ofp.AppendHello(nil, 1, v13), v13, 2)
	want := allow()
	body, err := Codec{}.AppendDecision(body, &ev, &want)
	if err != nil {
		t.Fatal(err)
	}
	d := flow.Decision{Rules: make([]flow.Rule, 0, 4)}
	if err := (Codec{}).ParseDecision(body, &ev, &d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, d, equal); diff != "" {
		t.Error(diff)
	}
	clear(body)
	if diff := cmp.Diff(want, d, equal); diff != "" {
		t.Errorf("the decision keeps the body: %s", diff)
	}
}

// TestInexpressibleRule has a decision with a rule that 1.0 can't say. The rule
// is left out; the packet fares as the rule says.
func TestInexpressibleRule(t *testing.T) {
	frame, _ := hex.DecodeString("02000000000b02000000000a86dd" + "60000000" + "00003b40" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002")
	ev := event(flow.EventPacketIn, switch10(), func(ev *flow.Event) {
		ev.PacketIn = &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: flow.ParseFrame(frame, 1), Data: frame}
	})
	for _, actions := range [][]flow.Action{nil, {flow.OutputTo(2)}} {
		given := flow.Decision{Rules: []flow.Rule{{Priority: 5, Match: ev.PacketIn.Match.Keep(flow.FieldInPort | flow.FieldEthType | flow.FieldIPSrc), Actions: actions}}}
		body, err := Codec{}.AppendDecision(nil, &ev, &given)
		if err != nil {
			t.Fatal(err)
		}
		var d flow.Decision
		if err := (Codec{}).ParseDecision(body, &ev, &d); err != nil {
			t.Fatal(err)
		}
		if len(d.Rules) != 0 || !d.HasPacketOut || !slices.Equal(d.PacketOut, actions) {
			t.Errorf("%d rules, packet out %t %v; want only %v", len(d.Rules), d.HasPacketOut, d.PacketOut, actions)
		}
	}
	given := flow.Decision{HasPacketOut: true, PacketOut: []flow.Action{{Type: flow.DecTTL}}}
	_, err := Codec{}.AppendDecision(nil, &ev, &given)
	if u := (*ofp.UnsupportedError)(nil); !errors.As(err, &u) {
		t.Errorf("a packet's action that 1.0 lacks: error %v", err)
	}
}

// TestPrerequisites has a rule and a digest that lack what OpenFlow wants.
func TestPrerequisites(t *testing.T) {
	ev := event(flow.EventPacketIn, &flow.Switch{DPID: 1, Protocol: flow.P4Runtime}, func(ev *flow.Event) {
		ev.PacketIn = &flow.PacketIn{BufferID: flow.NoBuffer, Match: match(func(m *flow.Match) {
			m.SetIPSrc(netip.MustParsePrefix("10.0.0.1/32"))
			m.SetIPProto(flow.ProtoUDP)
		})}
	})
	body, err := Codec{}.AppendEvent(nil, &ev)
	if err != nil {
		t.Fatal(err)
	}
	got := flow.Event{Type: ev.Type}
	if err := (Codec{}).ParseEvent(body, &got); err != nil {
		t.Fatal(err)
	}
	if want := flow.FieldIPSrc | flow.FieldIPProto | flow.FieldEthType; got.PacketIn.Match.Fields != want || got.Switch.DPID != 1 {
		t.Errorf("the function sees %v of switch %v", got.PacketIn.Match, got.Switch.DPID)
	}
	given := flow.Decision{Rules: []flow.Rule{{Match: match(func(m *flow.Match) { m.SetL4Dst(53) })}}}
	if body, err = (Codec{}).AppendDecision(nil, &got, &given); err != nil {
		t.Fatal(err)
	}
	var d flow.Decision
	if err := (Codec{}).ParseDecision(body, &ev, &d); err != nil {
		t.Fatal(err)
	}
	if want := flow.FieldL4Dst | flow.FieldIPProto | flow.FieldEthType; d.Rules[0].Match.Fields != want || d.Rules[0].Match.IPProto != flow.ProtoUDP {
		t.Errorf("the rule became %v", &d.Rules[0])
	}
	if given.Rules[0].Match.Fields != flow.FieldL4Dst {
		t.Error("AppendDecision changed the decision")
	}
}

// TestIncomplete: what a packet hides its body says only by what it lacks. A
// digest lacks what its program leaves out, which is nothing hidden; a switch's
// packet that came without data hides what its match lacks.
func TestIncomplete(t *testing.T) {
	const ports = flow.FieldL4Src | flow.FieldL4Dst
	fragment := bytes.Clone(segment)
	fragment[20], fragment[21] = 0, 185 // the offset
	runt := segment[:36]
	withoutPorts := digest.Keep(^ports)
	for _, row := range []struct {
		name string
		sw   *flow.Switch
		p    flow.PacketIn
		want flow.Field
	}{
		{"a whole segment", switch13(), *packetIn(flow.NoBuffer), 0},
		{"a fragment", switch13(), flow.PacketIn{BufferID: flow.NoBuffer, Match: flow.ParseFrame(fragment, 1), Data: fragment}, ports},
		{"a runt", switch10(), flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(segment), Match: flow.Parser{}.Parse(runt, len(segment), 1), Data: runt}, ports},
		{"a digest", &flow.Switch{DPID: 1, Protocol: flow.P4Runtime}, flow.PacketIn{BufferID: flow.NoBuffer, Match: digest}, 0},
		{"a digest without ports", &flow.Switch{DPID: 1, Protocol: flow.P4Runtime}, flow.PacketIn{BufferID: flow.NoBuffer, Match: withoutPorts}, 0},
		{"a packet that the switch keeps", switch13(), flow.PacketIn{BufferID: 7, Match: withoutPorts}, ports},
		{"a packet cut to nothing", switch13(), flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: 64, Match: withoutPorts}, ports},
	} {
		ev := event(flow.EventPacketIn, row.sw, func(ev *flow.Event) { ev.PacketIn = &row.p })
		body, err := Codec{}.AppendEvent(nil, &ev)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		got := flow.Event{Type: ev.Type}
		if err := (Codec{}).ParseEvent(body, &got); err != nil || got.PacketIn.Incomplete != row.want {
			t.Errorf("%s: incomplete %v (%v), want %v", row.name, got.PacketIn.Incomplete, err, row.want)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, x := range exchanges {
		body, err := x.codec().AppendEvent(nil, &x.event)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(x.event.Type), body)
	}
	f.Fuzz(func(t *testing.T, typ uint8, body []byte) {
		first := flow.Event{Type: flow.EventType(typ)}
		if (Codec{}).ParseEvent(body, &first) != nil {
			return
		}
		again, err := Codec{}.AppendEvent(nil, &first)
		if err != nil {
			return // such as a match whose prerequisites contradict each other
		}
		second := flow.Event{Type: first.Type}
		if err := (Codec{}).ParseEvent(again, &second); err != nil {
			t.Fatalf("%x parses, and as it is written again, %x, does not: %v", body, again, err)
		}
		first.Switch, second.Switch = nil, nil // a bare message says less of it
		if d := cmp.Diff(first, second, equal); d != "" && first.FlowRemoved == nil && (first.PacketIn == nil || len(first.PacketIn.Data) > 0) {
			t.Fatalf("%x and %x parse to different events (-first +second):\n%s", body, again, d)
		}
	})
}

func FuzzParseDecision(f *testing.F) {
	for _, x := range exchanges {
		ev := x.want()
		body, err := Codec{}.AppendDecision(nil, &ev, &x.decision)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(x.event.Type), ev.Switch != nil && ev.Switch.Protocol == v10, body)
	}
	f.Fuzz(func(t *testing.T, typ uint8, old bool, body []byte) {
		ev := event(flow.EventType(typ), switch13(), func(ev *flow.Event) { ev.PacketIn = packetIn(7) })
		if old {
			ev.Switch = switch10()
		}
		var first, second flow.Decision
		if (Codec{}).ParseDecision(body, &ev, &first) != nil {
			return
		}
		again, err := Codec{}.AppendDecision(nil, &ev, &first)
		if err != nil {
			return // such as an action that is not supported
		}
		if err := (Codec{}).ParseDecision(again, &ev, &second); err != nil {
			t.Fatalf("%x parses, and as it is written again, %x, does not: %v", body, again, err)
		}
		if len(second.Rules) > len(first.Rules) {
			t.Fatalf("%d rules became %d", len(first.Rules), len(second.Rules))
		}
		m := &ev.PacketIn.Match
		was, _ := first.PacketActions(m)
		is, _ := second.PacketActions(m)
		if first.HasPacketOut && !slices.Equal(was, is) {
			t.Fatalf("the packet's actions %v became %v", was, is)
		}
	})
}

func BenchmarkPacketIn(b *testing.B) {
	for _, x := range exchanges {
		if x.event.Type != flow.EventPacketIn {
			continue
		}
		seen := x.want()
		body, err := x.codec().AppendEvent(nil, &x.event)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := Codec{}.AppendDecision(nil, &seen, &x.decision)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, 1024)
			var d flow.Decision
			for b.Loop() {
				ev := flow.Event{Type: flow.EventPacketIn, Switch: &flow.Switch{DPID: 1}}
				_, err1 := x.codec().AppendEvent(buf, &x.event)
				err2 := Codec{}.ParseEvent(body, &ev)
				_, err3 := Codec{}.AppendDecision(buf, &seen, &x.decision)
				d.Reset()
				if err := errors.Join(err1, err2, err3, x.codec().ParseDecision(answer, &x.event, &d)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
