package jsonenc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// DefaultPriority is what a rule without one gets (OpenFlow's
// OFP_DEFAULT_PRIORITY). Ryu's default, 0, is the table-miss entry's, which no
// function may replace.
const DefaultPriority = 0x8000

func (w *writer) decision(ev *flow.Event, d *flow.Decision) {
	covers := ev.Accepts&flow.AcceptsCoversIncomplete != 0
	w.open('{')
	w.rules(d.Rules, covers)
	if len(d.Entries) > 0 {
		w.key("entries")
		w.open('[')
		for i := range d.Entries {
			w.next()
			w.entry(&d.Entries[i])
		}
		w.close(']')
	}
	if d.HasPacketOut {
		w.packetOut(d.PacketOut)
	}
	if d.Reject && ev.Accepts&flow.AcceptsReject != 0 {
		w.key("reject")
		w.b = append(w.b, "true"...)
	}
	if d.Log && ev.Accepts&flow.AcceptsLog != 0 {
		w.key("log")
		w.b = append(w.b, "true"...)
	}
	if ev.Accepts&flow.AcceptsReply != 0 {
		w.reply("if_reply", d.IfReply)
	}
	if contract.SaysReuse(ev, d) {
		w.key("reuse")
		w.open('{')
		w.uint("seconds", uint64(d.Reuse.For/time.Second))
		w.names("fields", contract.ReuseNames(&d.Reuse, &ev.PacketIn.Match))
		w.close('}')
		w.reply("reply", d.Reuse.Reply)
	}
	if len(d.State) > 0 {
		w.bytes("state", d.State)
		w.string("state_key", d.StateKey.String())
	}
	if ev.Accepts&flow.AcceptsTravel != 0 {
		w.travel(d.Travel)
	}
	if ev.Accepts&flow.AcceptsRevoke != 0 {
		w.states(d)
	}
	if d.Verdict != flow.NoVerdict {
		w.string("verdict", d.Verdict.String())
	}
	if d.Reason != "" {
		w.string("reason", d.Reason)
	}
	if !d.Policy.IsZero() {
		w.string("policy", d.Policy.String())
	}
	if len(d.Handshake) > 0 {
		w.bytes("handshake", d.Handshake)
	}
	w.close('}')
}

func (w *writer) rules(rules []flow.Rule, covers bool) {
	if len(rules) == 0 || w.err != nil {
		return
	}
	w.key("flows")
	w.open('[')
	for i := range rules {
		w.next()
		w.rule(&rules[i], covers)
		if w.err != nil {
			w.err = at(fmt.Sprintf("flows[%d]", i), w.err)
			return
		}
	}
	w.close(']')
}

// reply writes what becomes of a reply, where that is said.
func (w *writer) reply(name string, r *flow.Reply) {
	if r == nil {
		return
	}
	w.key(name)
	w.open('{')
	w.rules(r.Rules, false)
	if r.HasPacketOut {
		w.packetOut(r.PacketOut)
	}
	if r.Reason != "" {
		w.string("reason", r.Reason)
	}
	w.close('}')
}

func (w *writer) packetOut(actions []flow.Action) {
	w.key("packet_out")
	w.open('{')
	w.actions(actions)
	w.close('}')
}

// travel writes the states with names of an event or an answer.
func (w *writer) travel(list []flow.Travelling) {
	if len(list) == 0 {
		return
	}
	w.key("travel")
	w.open('[')
	for i := range list {
		t := &list[i]
		w.next()
		w.open('{')
		w.string("name", t.Name)
		w.string("key", t.Key.String())
		w.string("version", strconv.FormatUint(t.Version, 10))
		if t.TTL > 0 {
			w.uint("ttl", contract.TravelSeconds(t.TTL))
		}
		if t.Data != nil {
			w.bytes("data", t.Data)
		}
		w.close('}')
	}
	w.close(']')
}

// parseTravel is travel's inverse, of at most max states. unknown is the error for a member that is not known here.
func parseTravel(raw json.RawMessage, list []flow.Travelling, max int, unknown error) ([]flow.Travelling, error) {
	err := elements(raw, max, func(_ int, v json.RawMessage) error {
		var t flow.Travelling
		err := members(v, func(name string, v json.RawMessage) (err error) {
			var text string
			switch name {
			case "name":
				t.Name, err = stringOf(v)
			case "key":
				if text, err = stringOf(v); err == nil {
					t.Key, err = flow.ParseStateKey(text)
				}
			case "version":
				t.Version, err = uintOf[uint64](v)
			case "ttl":
				var seconds uint64
				if seconds, err = uintOf[uint64](v); err == nil && seconds > contract.MaxTravelSeconds {
					err = fmt.Errorf("%d, at most %d", seconds, contract.MaxTravelSeconds)
				}
				t.TTL = time.Duration(seconds) * time.Second
			case "data":
				t.Data, err = base64Of(v, nil, flow.MaxState)
			default:
				err = unknown
			}
			return err
		})
		if err == nil {
			list, err = contract.AddTravel(list, t, max)
		}
		return err
	})
	return list, err
}

// states writes what an answer rests on and what it revokes.
func (w *writer) states(d *flow.Decision) {
	if len(d.Read) > 0 {
		w.key("states")
		w.open('[')
		for _, r := range d.Read {
			w.next()
			w.open('{')
			w.string("state", contract.StateName(r.Key))
			w.string("version", strconv.FormatUint(r.Version, 10))
			w.close('}')
		}
		w.close(']')
	}
	if len(d.Revoke) > 0 {
		w.names("revoke", contract.StateNames(d.Revoke))
	}
}

// rule writes a rule; covers says whether the gateway takes covers_incomplete.
func (w *writer) rule(r *flow.Rule, covers bool) {
	w.open('{')
	if r.Command != flow.Add {
		w.string("command", r.Command.String())
	}
	if r.Table != 0 {
		w.uint("table_id", uint64(r.Table))
	}
	w.uint("priority", uint64(r.Priority))
	w.seconds("idle_timeout", r.IdleTimeout)
	w.seconds("hard_timeout", r.HardTimeout)
	if r.Flags != 0 {
		w.uint("flags", uint64(r.Flags))
	}
	if r.Cookie != 0 {
		w.hex("cookie", r.Cookie)
	}
	if r.CookieMask != 0 {
		w.hex("cookie_mask", r.CookieMask)
	}
	if r.OutPort != 0 && r.OutPort != flow.PortAny {
		w.port("out_port", r.OutPort)
	}
	w.key("match")
	w.match(&r.Match)
	if r.Meter != 0 {
		w.uint("meter", uint64(r.Meter))
	}
	w.actions(r.Actions)
	if r.Goto != 0 {
		w.uint("goto_table", uint64(r.Goto))
	}
	if r.CoversIncomplete && covers {
		w.key("covers_incomplete")
		w.b = append(w.b, "true"...)
	}
	w.close('}')
}

func parseDecision(body []byte, ev *flow.Event, d *flow.Decision) error {
	err := members(body, func(name string, v json.RawMessage) (err error) {
		var text string
		switch name {
		case "flows":
			d.Rules, err = parseRules(v, ev, d.Rules)
		case "entries":
			return elements(v, MaxFlows, func(_ int, v json.RawMessage) error {
				if ev.Switch == nil || ev.Switch.Protocol != flow.P4Runtime {
					return errNotP4
				}
				var e flow.Entry
				if err := parseEntry(v, &e); err != nil {
					return err
				}
				d.Entries = append(d.Entries, e)
				return nil
			})
		case "packet_out":
			d.HasPacketOut = true
			d.PacketOut, err = parsePacketOut(v, d.PacketOut)
		case "reject":
			d.Reject, err = boolOf(v)
		case "log":
			d.Log, err = boolOf(v)
		case "if_reply":
			d.IfReply = new(flow.Reply)
			return parseReply(v, ev, d.IfReply)
		case "reuse":
			return parseReuse(v, &d.Reuse)
		case "reply":
			d.Reuse.Reply = new(flow.Reply)
			return parseReply(v, ev, d.Reuse.Reply)
		case "state":
			d.State, err = base64Of(v, d.State[:0], flow.MaxState)
		case "state_key":
			if text, err = stringOf(v); err == nil {
				d.StateKey, err = flow.ParseStateKey(text)
			}
		case "travel":
			d.Travel, err = parseTravel(v, d.Travel[:0], flow.MaxTravelling, errUnknown)
		case "states":
			return elements(v, contract.MaxStates, func(_ int, v json.RawMessage) error { return parseState(v, d) })
		case "revoke":
			return elements(v, contract.MaxStates, func(_ int, v json.RawMessage) error {
				name, err := stringOf(v)
				if err != nil {
					return err
				}
				return contract.AddRevoke(d, name)
			})
		case "reason":
			d.Reason, err = whyOf(v)
		case "verdict":
			if text, err = stringOf(v); err == nil {
				d.Verdict, err = flow.ParseVerdict(text)
			}
		case "policy":
			if text, err = stringOf(v); err == nil {
				d.Policy, err = flow.ParsePolicyVersion(text)
			}
		case "handshake":
			d.Handshake, err = base64Of(v, d.Handshake[:0], flow.MaxBody)
		default:
			return errUnknown
		}
		return err
	})
	if err == nil {
		err = contract.CheckReuse(&d.Reuse)
	}
	return err
}

func parseReuse(raw json.RawMessage, r *flow.Reuse) error {
	return members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "seconds":
			r.For, err = secondsOf(v)
		case "fields":
			return elements(v, contract.MaxReuseNames, func(_ int, v json.RawMessage) error {
				field, err := stringOf(v)
				if err != nil {
					return err
				}
				return contract.AddReuse(r, field)
			})
		default:
			return errUnknown
		}
		return err
	})
}

func parseRules(raw json.RawMessage, ev *flow.Event, rules []flow.Rule) ([]flow.Rule, error) {
	err := elements(raw, MaxFlows, func(_ int, v json.RawMessage) error {
		r := flow.Rule{Priority: DefaultPriority, BufferID: flow.NoBuffer}
		if err := parseRule(v, ev, &r); err != nil {
			return err
		}
		rules = append(rules, r)
		return nil
	})
	return rules, err
}

func parseState(raw json.RawMessage, d *flow.Decision) error {
	var name string
	var version uint64
	err := members(raw, func(member string, v json.RawMessage) (err error) {
		switch member {
		case "state":
			name, err = stringOf(v)
		case "version":
			version, err = uintOf[uint64](v)
		default:
			err = errUnknown
		}
		return err
	})
	if err != nil {
		return err
	}
	return contract.AddState(d, name, version)
}

func parsePacketOut(raw json.RawMessage, actions []flow.Action) ([]flow.Action, error) {
	given := false
	err := members(raw, func(name string, v json.RawMessage) (err error) {
		if name != "actions" {
			return errUnknown
		}
		given = true
		actions, err = parseActions(v, actions, nil)
		return err
	})
	if err == nil && !given {
		err = errors.New(`member "actions" is missing; an empty list drops the packet`)
	}
	return actions, err
}

// whyOf returns the reason of a decision, as the header that says it in the other encoding has it: short, and printable. It stands in logs, records and
// metrics, of which thousands may wait for a disk.
func whyOf(raw json.RawMessage) (string, error) {
	s, err := stringOf(raw)
	return contract.Printable(s), err
}

func parseReply(raw json.RawMessage, ev *flow.Event, r *flow.Reply) error {
	return members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "flows":
			r.Rules, err = parseRules(v, ev, nil)
		case "packet_out":
			r.HasPacketOut = true
			r.PacketOut, err = parsePacketOut(v, nil)
		case "reason":
			r.Reason, err = whyOf(v)
		default:
			return errUnknown
		}
		return err
	})
}

func parseRule(raw json.RawMessage, ev *flow.Event, r *flow.Rule) error {
	return members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "dpid":
			return checkDPID(v, ev)
		case "command":
			r.Command, err = nameOf(v, flow.Add, flow.DeleteStrict)
		case "table_id":
			r.Table, err = uintOf[uint8](v)
		case "priority":
			r.Priority, err = uintOf[uint16](v)
		case "idle_timeout":
			r.IdleTimeout, err = secondsOf(v)
		case "hard_timeout":
			r.HardTimeout, err = secondsOf(v)
		case "flags":
			r.Flags, err = uintOf[flow.RuleFlags](v)
		case "cookie":
			r.Cookie, err = uintOf[uint64](v)
		case "cookie_mask":
			r.CookieMask, err = uintOf[uint64](v)
		case "buffer_id":
			r.BufferID, err = uintOf[uint32](v)
		case "out_port":
			r.OutPort, err = portOf(v)
		case "match":
			r.Match, err = parseMatch(v)
		case "meter":
			err = once(&r.Meter, v)
		case "goto_table":
			err = once(&r.Goto, v)
		case "actions":
			r.Actions, err = parseActions(v, nil, r)
		case "covers_incomplete":
			r.CoversIncomplete, err = boolOf(v)
		default:
			return errUnknown
		}
		return err
	})
}

// once reads a number that may stand in two places, as a member and as an
// action, but has one value.
func once[T unsigned](p *T, raw json.RawMessage) error {
	v, err := uintOf[T](raw)
	switch {
	case err != nil:
		return err
	case v == 0:
		return errors.New("0, want at least 1")
	case *p != 0 && *p != v:
		return fmt.Errorf("%d, but %d before", v, *p)
	}
	*p = v
	return nil
}

// checkDPID lets ofctl_rest's member dpid, a number there, stand when it is the
// switch's that asked: rules for another switch are not for this session to install.
func checkDPID(raw json.RawMessage, ev *flow.Event) error {
	var dpid flow.DPID
	var err error
	if raw[0] == '"' {
		var text string
		if text, err = stringOf(raw); err == nil {
			dpid, err = flow.ParseDPID(text)
		}
	} else {
		dpid, err = uintOf[flow.DPID](raw)
	}
	if err != nil {
		return err
	}
	if ev.Switch == nil || dpid != ev.Switch.DPID {
		return fmt.Errorf("%v is not the switch that asked", dpid)
	}
	return nil
}
