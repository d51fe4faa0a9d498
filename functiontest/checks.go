package functiontest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/ofproxy/ofp"
)

// event is the check that all cases of a type are answered. A refusal is an answer.
func event(t flow.EventType) func(*session) {
	return func(s *session) {
		list := s.ofType(t)
		refused := 0
		for _, a := range list {
			switch {
			case !a.decided():
				refused++
			case t != flow.EventPacketIn && a.decision().HasPacketOut:
				s.warn("%s: packet_out, and there is no packet", a.name)
			}
		}
		if refused > 0 {
			s.note("refuses %d of %d", refused, len(list))
		}
	}
}

func (s *session) packetIn() {
	event(flow.EventPacketIn)(s)
	if len(s.row.Details) > 0 && s.row.Status == Failed {
		return
	}
	for protocol := range s.protocols() {
		if !slices.ContainsFunc(slices.Collect(maps.Values(s.answers)), func(a *answer) bool { return a.ev.Switch.Protocol == protocol && a.decided() }) {
			s.fail("every packet of %v is refused: %v", protocol, s.refusal(protocol))
		}
	}
}

// protocols are those that packets have been asked about.
func (s *session) protocols() map[flow.Protocol]bool {
	list := make(map[flow.Protocol]bool)
	for _, a := range s.answers {
		list[a.ev.Switch.Protocol] = true
	}
	return list
}

// refusal is what the function has against packets of a protocol.
func (s *session) refusal(protocol flow.Protocol) error {
	for _, c := range s.cases {
		if a := s.answers[c.Name]; a != nil && a.ev.Switch.Protocol == protocol {
			return a.refusal()
		}
	}
	return errors.New("nothing was asked")
}

// typeHello is OFPT_HELLO, in every version. OpenFlow 1.3.5, 7.1.
const typeHello = 0

// handshake: HELLO is answered by HELLO and FEATURES_REQUEST, FEATURES_REPLY by an acknowledgement. A function that refuses both, or
// answers without messages, can't be asked with the whole handshake, and needs not.
func (s *session) handshake() {
	list := s.ofType(flow.EventHandshake)
	offers := slices.ContainsFunc(list, func(a *answer) bool { return a.decided() && len(a.decision().Handshake) > 0 })
	if !offers {
		if s.row.Status != Failed {
			s.skip("the function does not answer them, so set the gateway's openflow.handshake to combined")
		}
		return
	}
	for _, a := range list {
		if !a.decided() {
			s.fail("%s: %v, and others are answered", a.name, a.refusal())
			continue
		}
		d := a.decision()
		if err := CheckHandshake(a.ev, d); err != nil {
			s.fail("%s: %v", a.name, err)
		}
	}
}

// CheckHandshake looks at what a switch is sent, which a gateway that does not know the controller relies on.
func CheckHandshake(ev *flow.Event, d *flow.Decision) error {
	var want []byte
	if ev.Type == flow.EventHandshake && ev.Handshake[1] == typeHello {
		v := ev.Switch.Protocol
		want = append(want, byte(v), typeHello, 0, 8, 0, 0, 0x12, 0x67) // no bitmap: the version is settled
		want = ofp.AppendFeaturesRequest(want, v, ev.XID)
	}
	if got := d.Handshake; !sameMessages(got, want) {
		return fmt.Errorf("the switch is sent %x, want %x", got, want)
	}
	if ev.Type == flow.EventHandshake && (d.Verdict != flow.NoVerdict || len(d.Rules) > 0) {
		return fmt.Errorf("a handshake is answered with %s and %d rules", d.Verdict, len(d.Rules))
	}
	return nil
}

// sameMessages compares OpenFlow messages but for their xids, which the gateway sets.
func sameMessages(a, b []byte) bool {
	return slices.Equal(headers(a), headers(b))
}

// headers are version, type and length of each message. HELLO may have elements (OpenFlow 1.3.5, 7.5.1), so that its length is left out.
func headers(b []byte) (list []string) {
	for len(b) >= 8 {
		n := int(b[2])<<8 | int(b[3])
		if n < 8 || n > len(b) {
			return append(list, "broken")
		}
		if b[1] == typeHello {
			list = append(list, fmt.Sprintf("%d HELLO", b[0]))
		} else {
			list = append(list, fmt.Sprintf("%d %x %x", b[0], b[1], b[8:n]))
		}
		b = b[n:]
	}
	if len(b) > 0 {
		list = append(list, "broken")
	}
	return list
}

// holds is a switch of an OpenFlow version, to guardrails.
type holds flow.Protocol

func (v holds) Fit(r *flow.Rule, _ *flow.Match) error { return ofp.Fit(flow.Protocol(v), r) }
func (v holds) FitActions(list []flow.Action, packet *flow.Match) error {
	return ofp.FitPacketOut(flow.Protocol(v), &ofp.PacketOut{InPort: packet.InPort, Actions: list, Match: packet})
}
func (holds) Before(_, _ *flow.Rule) bool { return false }

// violations are what a gateway would not install of an answer to ev.
func violations(ev *flow.Event, d *flow.Decision) []guard.Violation {
	var sw guard.Switch
	if p := ev.Switch.Protocol; p != flow.P4Runtime {
		sw = holds(p)
	}
	var out guard.Outcome
	guard.Default().Check(ev, d, sw, nil, &out)
	return out.Violations
}

func (s *session) rules() {
	for a, d := range s.decisions {
		for _, v := range violations(a.ev, d) {
			s.fail("%s: %v", a.name, v)
		}
	}
}

// effect is what an answer does with its packet.
func effect(a *answer, d *flow.Decision) string {
	actions, _ := d.PacketActions(&a.ev.PacketIn.Match)
	return flow.ActionsString(actions)
}

// drops reports whether an answer drops its packet.
func drops(a *answer, d *flow.Decision) bool {
	actions, rule := d.PacketActions(&a.ev.PacketIn.Match)
	return len(actions) == 0 && (rule < 0 || !d.Rules[rule].Passes())
}

func (s *session) verdict() {
	for a, d := range s.decisions {
		switch {
		case a.ev.PacketIn == nil:
		case d.Verdict == flow.NoVerdict:
			s.warn("%s: no verdict, so records and metrics have none", a.name)
		case (d.Verdict == flow.Deny) != drops(a, d):
			s.fail("%s: the verdict is %v, and the packet gets %q", a.name, d.Verdict, effect(a, d))
		}
	}
}

// accepts asks for gateways that accept one member, and none.
func (s *session) accepts() {
	packets := slices.DeleteFunc(slices.Clone(s.cases), func(c Case) bool { return c.Event.Type != flow.EventPacketIn || c.Event.Accepts == 0 })
	for bit := flow.Accepts(1); bit/2 <= flow.AcceptsAll; bit <<= 1 { // the last one is none that there is
		for _, c := range packets {
			ev := *c.Event
			ev.Accepts = bit & flow.AcceptsAll
			a := s.ask(c.Name, &ev, nil)
			if err := a.fault(); err != nil {
				s.fail("%s, to a gateway that accepts %q: %v", c.Name, contract.AcceptsText(ev.Accepts), err)
			}
		}
	}
}

func (s *session) reply() {
	said := 0
	for a, d := range s.decisions {
		r := d.IfReply
		if r == nil {
			continue
		}
		said++
		packet := a.ev.PacketIn
		if packet == nil {
			s.fail("%s: if_reply in an answer to no packet", a.name)
			continue
		}
		if !drops(a, d) {
			s.fail("%s: if_reply beside an answer that lets the packet pass", a.name)
		}
		then := flow.Decision{Rules: r.Rules, HasPacketOut: r.HasPacketOut, PacketOut: r.PacketOut}
		if drops(a, &then) {
			s.fail("%s: if_reply drops the packet, too", a.name)
		}
		if packet.Match.ICMPError() {
			if len(r.Rules)+len(d.Rules) > 0 {
				s.fail("%s: a rule for an ICMP error, which is judged one by one", a.name)
			}
			continue
		}
		exact, ok := flow.RuleMatch(a.ev.Switch, packet)
		if !ok {
			if len(r.Rules) > 0 && a.ev.Switch.Protocol != flow.P4Runtime {
				s.fail("%s: if_reply has rules for a packet that has no rule_match", a.name)
			}
			continue
		}
		for i := range d.Rules {
			if m := &d.Rules[i].Match; m.Covers(&packet.Match) && !d.Rules[i].Passes() && !m.Has(exact.Fields&^flow.FieldInPort) {
				s.fail("%s: the deny covers other packets than this conversation's: %s", a.name, &d.Rules[i])
			}
		}
	}
	if said == 0 && s.row.Status == Passed {
		s.skip("no answer has if_reply")
	}
}

func (s *session) states() {
	said := 0
	seen := make(map[uint64]uint64)
	for a, d := range s.decisions {
		if len(d.Read)+len(d.Revoke) == 0 {
			continue
		}
		said++
		if len(d.Entries) > 0 {
			s.fail("%s: entries and states in one answer", a.name)
		}
		again := s.ask(a.name, a.ev, nil)
		answers := []*flow.Decision{d}
		if again.decided() {
			answers = append(answers, again.decision())
		}
		for _, d := range answers {
			for _, read := range d.Read {
				if read.Version < seen[read.Key] {
					s.fail("%s: version %d of a state whose version was %d before", a.name, read.Version, seen[read.Key])
				}
				seen[read.Key] = max(seen[read.Key], read.Version)
			}
		}
	}
	if said == 0 && s.row.Status == Passed {
		s.skip("no answer names states")
	}
}

// state brings states back, and rubbish in their place: who can write to the network between may send some.
func (s *session) state() {
	said := 0
	for _, c := range s.cases {
		a := s.answers[c.Name]
		if a == nil || !a.decided() {
			continue
		}
		d := a.decision()
		if len(d.State) == 0 {
			continue
		}
		said++
		for what, state := range map[string][]byte{"its own state": d.State, "rubbish as state": bytes.Repeat([]byte{0xff}, flow.MaxState), "a state cut short": d.State[:len(d.State)/2+1]} {
			ev := *c.Event
			ev.State = state
			back := s.ask(c.Name, &ev, nil)
			if err := back.fault(); err != nil {
				s.fail("%s, with %s: %v", c.Name, what, err)
			} else if what == "its own state" && !back.decided() {
				s.fail("%s, with %s: %v", c.Name, what, back.refusal())
			}
		}
	}
	if said == 0 && s.row.Status == Passed {
		s.skip("no answer has a state")
	}
}

func (s *session) stateful() {
	var with, without []string
	for a, d := range s.decisions {
		if d.Stateful {
			with = append(with, a.name)
		} else {
			without = append(without, a.name)
		}
	}
	switch {
	case len(with) == 0:
		s.note("no answer says so, so a gateway may send an event again")
	case len(without) > 0:
		s.warn("%d answers say so, but %d do not, such as that to %s", len(with), len(without), without[0])
	}
}

func (s *session) policy() {
	versions := make(map[flow.PolicyVersion]string)
	for a, d := range s.decisions {
		versions[d.Policy] = a.name
	}
	var none flow.PolicyVersion
	if at, ok := versions[none]; ok {
		if len(versions) == 1 {
			s.warn("no answer names a policy version, so rules disappear only when their timeouts expire, and when a switch connects again")
			return
		}
		s.fail("%s: the answer names no policy version, but others do", at)
	}
	if len(versions) > 1 {
		s.fail("%d versions within this test: %v", len(versions), slices.Collect(maps.Keys(versions)))
	}
}

// same says how an answer differs from the one of before; "" where it does not. Answers of a function that writes a store may differ.
func same(before, now *answer) string {
	if err := now.fault(); err != nil {
		return err.Error()
	}
	if before.decided() != now.decided() {
		return fmt.Sprintf("status %d, before %d", now.status, before.status)
	}
	if !before.decided() {
		return ""
	}
	d, e := before.decision(), now.decision()
	if d.Stateful || e.Stateful {
		return ""
	}
	if x, y := text(d), text(e); x != y {
		return fmt.Sprintf("%s, before %s", y, x)
	}
	return ""
}

// text is what a decision does.
func text(d *flow.Decision) string {
	var b strings.Builder
	put := func(list []flow.Rule, hasOut bool, out []flow.Action) {
		for i := range list {
			fmt.Fprintf(&b, "[%s]", &list[i])
		}
		if hasOut {
			fmt.Fprintf(&b, " packet_out %q", flow.ActionsString(out))
		}
	}
	put(d.Rules, d.HasPacketOut, d.PacketOut)
	if r := d.IfReply; r != nil {
		b.WriteString(" if_reply ")
		put(r.Rules, r.HasPacketOut, r.PacketOut)
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return b.String()
}

// repeat sends events again with the same id, as a gateway does whose connection broke.
func (s *session) repeat() {
	for _, c := range s.cases {
		before := s.answers[c.Name]
		if before == nil || before.fault() != nil || before.decided() && before.decision().Stateful {
			continue
		}
		s.row.Asked++
		if now := ask(s.ctx, s.cfg.Exchange, s.codec, before.ev, nil); same(before, now) != "" {
			s.fail("%s: %s", c.Name, same(before, now))
		}
	}
}

func (s *session) concurrency() {
	var events []*flow.Event
	for _, c := range s.cases {
		events = append(events, s.fresh(c.Event))
	}
	now := make([]*answer, len(events))
	var wg sync.WaitGroup
	next := make(chan int)
	for range s.cfg.Concurrency {
		wg.Go(func() {
			for i := range next {
				now[i] = ask(s.ctx, s.cfg.Exchange, s.codec, events[i], nil)
			}
		})
	}
	for i := range events {
		next <- i
	}
	close(next)
	wg.Wait()
	for i, c := range s.cases {
		before := s.answers[c.Name]
		if before == nil || before.fault() != nil {
			continue
		}
		if diff := same(before, now[i]); diff != "" {
			s.fail("%s: %s", c.Name, diff)
		}
	}
}

// newer asks as a gateway of a later contract does, whose additions are ignored.
func (s *session) newer() {
	isJSON := s.codec.ContentType() == contract.TypeJSON
	changes := map[string]func(http.Header, []byte) []byte{
		"a header that is new": func(h http.Header, b []byte) []byte { h.Set("Switchbridge-Unheard-Of", "1"); return b },
		"headers in small letters": func(h http.Header, b []byte) []byte {
			for name := range maps.Clone(h) {
				if name != "Content-Type" { // Go's client looks for it
					h[strings.ToLower(name)] = h[name]
					delete(h, name)
				}
			}
			return b
		},
	}
	if isJSON {
		changes["a member of the event that is new"] = object(func(event map[string]json.RawMessage) {
			event["unheard_of"] = json.RawMessage(`{"of": [1, null]}`)
		})
		changes["a member of the packet that is new"] = object(func(event map[string]json.RawMessage) {
			event["packet_in"] = object(func(packet map[string]json.RawMessage) {
				packet["unheard_of"] = json.RawMessage(`true`)
			})(nil, event["packet_in"])
		})
		changes["accepts has a name that is new"] = object(func(event map[string]json.RawMessage) {
			event["accepts"] = append(bytes.TrimSuffix(event["accepts"], []byte("]")), `,"unheard_of"]`...)
		})
	} else {
		changes["accepts has a name that is new"] = func(h http.Header, b []byte) []byte {
			h.Set(contract.HeaderAccepts, h.Get(contract.HeaderAccepts)+",unheard_of")
			return b
		}
	}
	for _, what := range slices.Sorted(maps.Keys(changes)) {
		for _, c := range s.sample() {
			if diff := same(s.answers[c.Name], s.ask(c.Name, c.Event, changes[what])); diff != "" {
				s.fail("%s: %s: %s", what, c.Name, diff)
			}
		}
	}
	if !isJSON {
		return
	}
	unknownHeader := object(func(event map[string]json.RawMessage) {
		event["packet_in"] = object(func(packet map[string]json.RawMessage) {
			packet["match"] = object(func(match map[string]json.RawMessage) { match["unheard_of"] = json.RawMessage(`1`) })(nil, packet["match"])
		})(nil, event["packet_in"])
	})
	if list := s.sample(); len(list) > 0 {
		c := list[0]
		if a := s.ask(c.Name, c.Event, unknownHeader); a.fault() != nil || a.decided() {
			s.warn("%s: an event whose match has an unknown header should be refused with 4xx, since the function can't decide by that header: %v", c.Name, a.refusal())
		}
	}
}

// sample are packets of newer gateways that are decided, a few of each protocol.
func (s *session) sample() (list []Case) {
	n := make(map[flow.Protocol]int)
	for _, c := range s.cases {
		a, p := s.answers[c.Name], c.Event.Switch.Protocol
		if c.Event.PacketIn != nil && c.Event.Accepts != 0 && a != nil && a.decided() && n[p] < 3 {
			n[p]++
			list = append(list, c)
		}
	}
	return list
}

// object changes a JSON object.
func object(change func(map[string]json.RawMessage)) func(http.Header, []byte) []byte {
	return func(_ http.Header, b []byte) []byte {
		var o map[string]json.RawMessage
		if err := json.Unmarshal(b, &o); err != nil {
			panic("an event of our own: " + err.Error())
		}
		change(o)
		b, err := json.Marshal(o)
		if err != nil {
			panic("an event of our own: " + err.Error())
		}
		return b
	}
}

func (s *session) badInput() {
	for _, bad := range BadInput(s.codec.ContentType()) {
		s.row.Asked++
		h, body, err := bad.Request(s.codec)
		if err != nil {
			s.fail("%s: %v", bad.Name, err)
			continue
		}
		a := &answer{codec: s.codec}
		a.status, a.header, a.body, a.err = s.cfg.Exchange(s.ctx, h, body)
		switch {
		case a.err != nil:
			s.fail("%s: no answer: %v", bad.Name, a.err)
		case a.status/100 == 5, a.status/100 == 3, a.status == 429:
			s.fail("%s: status %d, want %d: a gateway takes that for a function that is away", bad.Name, a.status, bad.Status)
		case a.status/100 == 4:
		case bad.Must:
			s.fail("%s: status %d, want %d", bad.Name, a.status, bad.Status)
		default:
			s.warn("%s: status %d should be %d", bad.Name, a.status, bad.Status)
		}
	}
}

// latency measures packets one after the other.
func (s *session) latency() {
	list := s.sample()
	if len(list) == 0 {
		s.skip("no packet is decided")
		return
	}
	var took []time.Duration
	for i := range s.cfg.Samples {
		c := list[i%len(list)]
		a := s.ask(c.Name, c.Event, nil)
		if err := a.fault(); err != nil {
			s.fail("%s: %v", c.Name, err)
		}
		took = append(took, a.took)
	}
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[(len(took)-1)*percent/100] }
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	figures := fmt.Sprintf("half within %.2f ms, 99 of 100 within %.2f ms, the slowest %.2f ms", ms(at(50)), ms(at(99)), ms(at(100)))
	if p99 := at(99); s.cfg.MaxLatency > 0 && p99 > s.cfg.MaxLatency {
		s.fail("%s; want 99 of 100 within %v", figures, s.cfg.MaxLatency)
		return
	}
	s.note("%s", figures)
}

// agree compares with another encoding's answers: the encoding must not change what is decided.
func (s *session) agree(other map[string]*answer) {
	for _, c := range s.cases {
		a, b := s.answers[c.Name], other[c.Name]
		if a == nil || b == nil || a.fault() != nil || b.fault() != nil || c.Event.Type == flow.EventHandshake {
			continue
		}
		s.row.Asked++
		if diff := same(b, a); diff != "" {
			s.fail("%s: %s", c.Name, strings.Replace(diff, ", before ", "; in openflow ", 1))
		}
	}
}
