// Package function makes a function for Switchbridge of a Go function about packets. It needs the standard library alone, so that this
// folder can be copied into any module.
//
//	func decide(p *function.Packet) *function.Decision {
//		if port, _ := p.Number("tcp_dst"); port == 22 {
//			return p.Deny("no ssh")
//		}
//		return p.Allow("not ssh")
//	}
//
//	http.Handle("/", &function.Handler{PacketIn: decide})
//
// The contract is docs/contract.md of Switchbridge.
package function

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

const maxBody = 1 << 20

// traced is a traceparent of an event whose trace is kept.
var traced = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]`)

// Handler answers a gateway's events. It is safe for concurrent use if PacketIn and On are.
type Handler struct {
	// PacketIn decides about a packet. nil counts as a deny.
	PacketIn func(p *Packet) *Decision

	// On decides about other events: "switch_connected", "flow_removed", "port_status", "error". Without it they are answered without
	// rules.
	On func(kind string, event *Event) *Decision

	// Policy is the version of what the function decides by, "<serial>-<8 hexadecimal digits>"; empty: none, so that rules disappear only
	// by their timeouts.
	Policy string
}

// kinds are the events of the contract; others are refused.
var kinds = map[string]bool{"packet_in": true, "switch_connected": true, "flow_removed": true, "port_status": true, "error": true, "policy_check": true, "handshake": true}

// ServeHTTP answers one event. What can't be read is refused with a 4xx, which a gateway does not repeat.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, format string, args ...any) { http.Error(w, fmt.Sprintf(format, args...), status) }
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); media != "application/json" {
		refuse(http.StatusUnsupportedMediaType, "content type %q: want application/json", r.Header.Get("Content-Type"))
		return
	}
	if e := r.Header.Get("Content-Encoding"); e != "" {
		refuse(http.StatusUnsupportedMediaType, "content encoding %q: bodies are sent as they are", e)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		refuse(http.StatusRequestEntityTooLarge, "body of more than %d bytes", maxBody)
		return
	}
	kind := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Ce-Type"), "switchbridge."), ".v1")
	if !kinds[kind] || r.Header.Get("Ce-Id") == "" || r.Header.Get("Ce-Specversion") != "1.0" {
		refuse(http.StatusBadRequest, "want CloudEvents 1.0 with an id, of an event of version 1")
		return
	}
	began := time.Now()
	event, err := read(kind, body)
	if err != nil {
		refuse(http.StatusBadRequest, "%v", err)
		return
	}
	d := h.decide(kind, event)
	d.restrict(event)
	if h.Policy != "" {
		w.Header().Set("Switchbridge-Policy", h.Policy)
	}
	answer, err := json.Marshal(d)
	if err != nil {
		refuse(http.StatusInternalServerError, "%v", err)
		return
	}
	if traced.MatchString(r.Header.Get("Traceparent")) { // the gateway makes a span of it
		w.Header().Set("Server-Timing", fmt.Sprintf("decide;dur=%.3f", time.Since(began).Seconds()*1000))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
}

// read reads an event strictly where a mistake could widen a rule: a header in a match that is not known is an error.
func read(kind string, body []byte) (*Event, error) {
	var event *Event
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	switch err := d.Decode(&event); {
	case err != nil:
		return nil, fmt.Errorf("the event is no JSON of the contract: %w", err)
	case event == nil:
		return nil, errors.New("no event")
	case event.Switch == nil && kind != "policy_check":
		return nil, errors.New("no switch")
	case event.Switch != nil && !slices.Contains([]string{"", "OpenFlow 1.0", "OpenFlow 1.3", "P4Runtime"}, event.Switch.Protocol):
		return nil, fmt.Errorf("protocol %q", event.Switch.Protocol)
	case kind == "packet_in" && event.PacketIn == nil:
		return nil, errors.New("packet_in without its content")
	case event.PacketIn != nil:
		for name := range event.PacketIn.Match {
			if !matchFields[name] {
				return nil, fmt.Errorf("packet_in.match.%s: unknown field", name)
			}
		}
	}
	return event, nil
}

func (h *Handler) decide(kind string, event *Event) *Decision {
	var d *Decision
	switch {
	case kind == "packet_in" && h.PacketIn != nil:
		d = h.PacketIn(&Packet{Event: event, PacketIn: event.PacketIn, looked: map[string]bool{}})
	case kind != "policy_check" && kind != "handshake" && h.On != nil:
		d = h.On(kind, event)
	}
	if d == nil {
		d = &Decision{}
	}
	return d
}

// restrict takes out what the gateway does not accept.
func (d *Decision) restrict(event *Event) {
	accepts := func(name string) bool { return slices.Contains(event.Accepts, name) }
	if !accepts("covers_incomplete") {
		for i := range d.Flows {
			d.Flows[i].CoversIncomplete = false
		}
	}
	if !accepts("reply") {
		d.IfReply = nil
	}
	if !accepts("reuse") {
		d.Reuse, d.Reply = nil, nil
	}
	if !accepts("revoke") {
		if len(d.States) > 0 { // a rule would stay when the state has changed
			d.Flows, d.IfReply = nil, nil
		}
		d.States, d.Revoke = nil, nil
	}
}

// Packet is a packet that needs a decision. It remembers which headers were looked at, since the answer holds for those packets alone that
// have the same.
type Packet struct {
	*Event
	*PacketIn
	looked map[string]bool
}

// Number returns a header that is a number. ok is false where the packet has none, or does not show it; Allow then denies.
func (p *Packet) Number(field string) (n uint64, ok bool) {
	switch v := p.look(field).(type) {
	case json.Number:
		f, err := v.Float64()
		return uint64(f), err == nil && f >= 0 && f <= math.MaxUint32
	case string:
		_, err := fmt.Sscan(v, &n) // also 0x...
		return n, err == nil
	}
	return 0, false
}

// Text returns a header that is an address, as the contract writes it; empty where the packet has none, or does not show it.
func (p *Packet) Text(field string) string {
	s, _ := p.look(field).(string)
	return s
}

func (p *Packet) look(field string) any {
	if !matchFields[field] {
		panic("function: no field of a match: " + field) // the caller's own mistake
	}
	p.looked[field] = true
	return p.Match[field]
}

// Hidden is the first header that was looked at, and that the packet has and does not show, such as the ports of a fragment.
func (p *Packet) Hidden() string {
	for _, field := range p.Incomplete {
		if p.looked[field] {
			return field
		}
	}
	return ""
}

// Timeouts of rules, in seconds: a deny is short, so that a changed mind counts soon.
const (
	allowIdle, allowHard = 60, 3600
	denyHard             = 30
	replyLife            = 2 // of a deny that may be of a reply
)

func normal() []Action { return []Action{{Type: "OUTPUT", Port: "NORMAL"}} }

// Allow forwards the packet, with a rule for exactly its conversation where the switch can hold one. If the packet hides a header that was
// looked at, it is denied, and no rule is left.
func (p *Packet) Allow(reason string) *Decision {
	if hidden := p.Hidden(); hidden != "" {
		return p.answer("deny", "the packet does not show "+hidden+", so it is not: "+reason, nil)
	}
	return p.answer("allow", reason, p.RuleMatch)
}

// Deny drops the packet, with a rule for exactly its conversation where the switch can hold one.
func (p *Packet) Deny(reason string) *Decision { return p.answer("deny", reason, p.RuleMatch) }

// answer is a decision with a rule of m, where that is not nil.
func (p *Packet) answer(verdict, reason string, m Match) *Decision {
	actions, idle, hard := []Action{}, uint32(0), uint32(denyHard)
	if verdict == "allow" {
		actions, idle, hard = normal(), allowIdle, allowHard
	}
	d := &Decision{Verdict: verdict, Reason: reason, PacketOut: &PacketOut{Actions: actions}}
	if m != nil {
		d.Flows = []Flow{{Priority: 100, IdleTimeout: idle, HardTimeout: hard, Match: m, Actions: actions}}
	}
	return d
}

// pairFields are what a rule for two hosts goes by.
var pairFields = []string{"in_port", "eth_type", "vlan_vid", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"}

// AllowPair is Allow with a rule for all packets of these two hosts by this port, fragments among them. It is for those who have looked
// at nothing else: where another header was looked at, the rule is that of Allow. So it is for packets that are not IP.
func (p *Packet) AllowPair(reason string) *Decision {
	d := p.Allow(reason)
	m := Match{}
	for _, field := range pairFields {
		if v, ok := p.Match[field]; ok {
			m[field] = v
		}
	}
	v4, v6 := m["ipv4_dst"] != nil, m["ipv6_dst"] != nil
	holds := v4 || v6 && p.Switch.Protocol == "OpenFlow 1.3"
	if d.Verdict != "allow" || !holds || p.Switch.Protocol == "P4Runtime" || len(p.Incomplete) > 0 && !slices.Contains(p.Accepts, "covers_incomplete") {
		return d
	}
	for field := range p.looked {
		if !slices.Contains(pairFields, field) {
			return d
		}
	}
	d.Flows = []Flow{{Priority: 90, IdleTimeout: allowIdle, HardTimeout: allowHard, Match: m, Actions: normal(), CoversIncomplete: len(p.Incomplete) > 0}}
	return d
}

// DenyUnlessReply denies a packet, unless the switch holds the rule of a packet that it answers, which Allow has left. Then it is
// allowed.
func (p *Packet) DenyUnlessReply(reason string) *Decision {
	d := p.Deny(reason)
	if p.RuleMatch == nil || p.icmpError() {
		d.Flows = nil
		return d
	}
	d.Flows[0].HardTimeout = replyLife
	d.IfReply = &Reply{Reason: reason + " (a reply)", Flows: []Flow{{Priority: 100, IdleTimeout: allowIdle, HardTimeout: allowHard, Match: p.RuleMatch, Actions: normal()}},
		PacketOut: &PacketOut{Actions: normal()}}
	return d
}

// icmpError reports whether the packet is an ICMP message about another packet, which answers nothing.
func (p *Packet) icmpError() bool {
	has := func(field string, types ...string) bool {
		return p.Match[field] != nil && slices.Contains(types, fmt.Sprint(p.Match[field]))
	}
	return has("icmpv4_type", "3", "11", "12") || has("icmpv6_type", "1", "2", "3", "4")
}

// ReuseFor says that for so many seconds every packet with the same values in the headers that were looked at gets this answer, whichever
// switch asks and by whichever port it comes. It returns d.
func (p *Packet) ReuseFor(d *Decision, seconds uint32) *Decision {
	if len(p.Incomplete) > 0 || d.IfReply != nil || len(d.States) > 0 {
		return d
	}
	fields := []string{}
	for field := range p.looked {
		fields = append(fields, field)
	}
	sort.Strings(fields)
	d.Reuse = &Reuse{Seconds: seconds, Fields: fields}
	return d
}
