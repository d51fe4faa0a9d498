package function

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

var all = []string{"covers_incomplete", "reply", "revoke", "reuse"}

// event is a packet of TCP, or of a fragment of it, with further headers.
func event(accepts []string, hidden bool, more Match) *Event {
	m := Match{"in_port": 1, "eth_type": 2048, "vlan_vid": "0x0000", "ip_proto": 6, "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "tcp_src": 40000, "tcp_dst": 443}
	maps.Copy(m, more)
	p := &PacketIn{InPort: 1, Match: m}
	if hidden {
		delete(m, "tcp_src")
		delete(m, "tcp_dst")
		p.Incomplete = []string{"tcp_src", "tcp_dst"}
	} else {
		p.RuleMatch = m
	}
	return &Event{Switch: &Switch{DPID: "0000000000000001", Protocol: "OpenFlow 1.3"}, PacketIn: p, Accepts: accepts}
}

func post(h http.Handler, body string, change map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	for name, value := range map[string]string{"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Type": "switchbridge.packet_in.v1", "Ce-Id": "1"} {
		r.Header.Set(name, value)
	}
	for name, value := range change {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func text(e *Event) string {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A gateway that keeps the trace of an event is told how long the decision took, and no other.
func TestServerTiming(t *testing.T) {
	h := &Handler{PacketIn: func(p *Packet) *Decision { return p.Deny("all") }}
	for parent, want := range map[string]string{"": "", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00": "",
		"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01": "decide;dur="} {
		w := post(h, text(event(all, false, nil)), map[string]string{"Traceparent": parent})
		if got := w.Header().Get("Server-Timing"); w.Code != http.StatusOK || !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("traceparent %q: status %d, Server-Timing %q", parent, w.Code, got)
		}
	}
}

func answer(t *testing.T, decide func(*Packet) *Decision, e *Event) (d Decision) {
	t.Helper()
	w := post(&Handler{PacketIn: decide, Policy: "7-0c0ffee1"}, text(e), nil)
	if w.Code != http.StatusOK || w.Header().Get("Switchbridge-Policy") != "7-0c0ffee1" {
		t.Fatalf("status %d %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func noSSH(p *Packet) *Decision {
	if port, _ := p.Number("tcp_dst"); port == 22 {
		return p.Deny("no ssh")
	}
	return p.Allow("not ssh")
}

func TestHelpers(t *testing.T) {
	pair := func(p *Packet) *Decision {
		if p.Text("ipv4_src") == "10.0.0.1" {
			return p.AllowPair("these two")
		}
		return p.Deny("others")
	}
	looked := func(p *Packet) *Decision { p.Number("tcp_dst"); return p.AllowPair("these two") }
	reply := func(p *Packet) *Decision { return p.DenyUnlessReply("no") }
	reuse := func(p *Packet) *Decision { return p.ReuseFor(noSSH(p), 5) }
	states := func(p *Packet) *Decision {
		d := p.Allow("yes")
		d.States = []StateVersion{{State: "a", Version: 1}}
		return d
	}
	for _, row := range []struct {
		name   string
		decide func(*Packet) *Decision
		e      *Event
		good   func(d *Decision) bool
	}{
		{"exact", noSSH, event(all, false, nil), func(d *Decision) bool {
			return d.Verdict == "allow" && len(d.Flows[0].Match) == 8 && d.Flows[0].IdleTimeout > 0 && len(d.PacketOut.Actions) == 1
		}},
		{"denied", noSSH, event(all, false, Match{"tcp_dst": 22}), func(d *Decision) bool {
			return d.Verdict == "deny" && len(d.Flows) == 1 && d.Flows[0].Actions == nil && len(d.PacketOut.Actions) == 0
		}},
		{"hidden", noSSH, event(all, true, nil), func(d *Decision) bool {
			return d.Verdict == "deny" && d.Flows == nil && strings.Contains(d.Reason, "tcp_dst")
		}},
		{"pair", pair, event(all, false, nil), func(d *Decision) bool {
			return slices.Equal(slices.Sorted(maps.Keys(d.Flows[0].Match)), []string{"eth_type", "in_port", "ipv4_dst", "ipv4_src", "vlan_vid"}) && !d.Flows[0].CoversIncomplete
		}},
		{"pair, fragment", pair, event(all, true, nil), func(d *Decision) bool { return d.Flows[0].CoversIncomplete }},
		{"pair, fragment, older gateway", pair, event(nil, true, nil), func(d *Decision) bool { return d.Flows == nil && d.Verdict == "allow" }},
		{"pair, not wider than looked at", looked, event(all, false, nil), func(d *Decision) bool { return d.Flows[0].Match["tcp_dst"] != nil }},
		{"reply", reply, event(all, false, nil), func(d *Decision) bool {
			return d.Flows[0].HardTimeout == 2 && len(d.IfReply.Flows) == 1 && d.PacketOut.Actions != nil && len(d.PacketOut.Actions) == 0
		}},
		{"reply, older gateway", reply, event(nil, false, nil), func(d *Decision) bool { return d.IfReply == nil && d.Verdict == "deny" }},
		{"reply, an ICMP error", reply, event(all, false, Match{"icmpv4_type": 3}), func(d *Decision) bool { return d.IfReply == nil && d.Flows == nil }},
		{"reuse", reuse, event(all, false, nil), func(d *Decision) bool {
			return d.Reuse != nil && slices.Equal(d.Reuse.Fields, []string{"tcp_dst"}) && d.Reuse.Seconds == 5
		}},
		{"reuse, older gateway", reuse, event(nil, false, nil), func(d *Decision) bool { return d.Reuse == nil }},
		{"reuse, fragment", reuse, event(all, true, nil), func(d *Decision) bool { return d.Reuse == nil }},
		{"states", states, event(all, false, nil), func(d *Decision) bool { return len(d.States) == 1 && len(d.Flows) == 1 }},
		{"states, older gateway", states, event(nil, false, nil), func(d *Decision) bool { return d.States == nil && d.Flows == nil && d.Verdict == "allow" }},
		{"nothing", func(*Packet) *Decision { return nil }, event(all, false, nil), func(d *Decision) bool { return d.PacketOut == nil && d.Flows == nil }},
	} {
		if d := answer(t, row.decide, row.e); !row.good(&d) {
			t.Errorf("%s: %+v", row.name, d)
		}
	}
}

func TestHeaders(t *testing.T) {
	answer(t, func(p *Packet) *Decision {
		if n, ok := p.Number("vlan_vid"); n != 0 || !ok {
			t.Errorf("vlan_vid %d, %v", n, ok)
		}
		if _, ok := p.Number("udp_dst"); ok || p.Text("ipv6_src") != "" || p.Hidden() != "" {
			t.Error("a header that the packet does not have")
		}
		defer func() {
			if recover() == nil {
				t.Error("a field that is none")
			}
		}()
		p.Number("tcp_port")
		return nil
	}, event(all, false, nil))
}

func TestOtherEvents(t *testing.T) {
	connected := map[string]string{"Ce-Type": "switchbridge.switch_connected.v1"}
	if w := post(&Handler{}, text(event(all, false, nil)), connected); w.Body.String() != "{}" {
		t.Errorf("%s", w.Body)
	}
	h := &Handler{On: func(kind string, e *Event) *Decision { return &Decision{Reason: kind + " " + e.Switch.DPID} }}
	if w := post(h, text(event(all, false, nil)), connected); w.Body.String() != `{"reason":"switch_connected 0000000000000001"}` {
		t.Errorf("%s", w.Body)
	}
}

func TestRefusals(t *testing.T) {
	good := text(event(all, false, nil))
	for _, row := range []struct {
		name, value, body string
		want              int
	}{
		{"Content-Type", "text/xml", good, 415},
		{"Content-Encoding", "gzip", good, 415},
		{"Ce-Type", "switchbridge.other.v1", good, 400},
		{"Ce-Id", "", good, 400},
		{"X", "", "[]", 400},
		{"X", "", "null", 400},
		{"X", "", "{", 400},
		{"X", "", `{"switch": {}}`, 400},
		{"X", "", strings.Repeat(" ", maxBody) + "{}", 413},
		{"X", "", text(event(all, false, Match{"unheard_of": 1})), 400},
		{"X", "", strings.Replace(good, "1.3", "9.9", 1), 400},
	} {
		if w := post(&Handler{PacketIn: noSSH}, row.body, map[string]string{row.name: row.value}); w.Code != row.want {
			t.Errorf("%s %q, %.40s: status %d, want %d", row.name, row.value, row.body, w.Code, row.want)
		}
	}
}
