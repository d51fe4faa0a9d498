package contract

import (
	"encoding/base64"
	"fmt"

	"switchbridge/flow"
)

// PutMembers writes what an event says beside its body, where its encoding has
// no place for it in the body: travelling state, what the gateway accepts, what
// the packet lacks. A rehearsal is said beside the body in every encoding.
func PutMembers(h Header, contentType string, ev *flow.Event) {
	if ev.Rehearsal {
		h.Set(HeaderRehearsal, "true")
	}
	if contentType == TypeJSON {
		return
	}
	if len(ev.State) > 0 {
		h.Set(HeaderState, base64.StdEncoding.EncodeToString(ev.State))
	}
	if text := TravelText(ev.Travel); text != "" {
		h.Set(HeaderTravel, text)
	}
	if ev.Accepts != 0 {
		h.Set(HeaderAccepts, AcceptsText(ev.Accepts))
	}
	if text := IncompleteText(ev.PacketIn); text != "" {
		h.Set(HeaderIncomplete, text)
	}
}

// GetMembers reads what a request says beside its body into ev, whose body has
// been parsed. What no header says stays as it is.
func GetMembers(h Header, contentType string, ev *flow.Event) (err error) {
	if v := h.Get(HeaderRehearsal); v != "" {
		if ev.Rehearsal, err = truth(HeaderRehearsal, v); err != nil {
			return err
		}
	}
	if contentType != TypeJSON {
		SetMembers(ev, h.Get(HeaderAccepts), h.Get(HeaderIncomplete))
		var err error
		if ev.Travel, err = ParseTravel(ev.Travel, h.Get(HeaderTravel), flow.MaxTravelEvent); err != nil {
			return err
		}
	}
	return GetState(h, ev)
}

// GetState reads the travelling state of a request into ev, and leaves ev as it
// is where the request has none.
func GetState(h Header, ev *flow.Event) error {
	state, err := decodeState(nil, h.Get(HeaderState))
	if state != nil {
		ev.State = state
	}
	return err
}

// PutDecision writes what an answer to ev says beside its body: policy version,
// verdict and reason always, the state and what its rules cover where the
// encoding of the body has no place for it.
func PutDecision(h Header, contentType string, ev *flow.Event, d *flow.Decision) {
	if !d.Policy.IsZero() {
		h.Set(HeaderPolicy, d.Policy.String())
	}
	if d.Verdict != flow.NoVerdict {
		h.Set(HeaderVerdict, d.Verdict.String())
	}
	if d.Reason != "" {
		h.Set(HeaderReason, Printable(d.Reason))
	}
	if d.Stateful {
		h.Set(HeaderStateful, "true")
	}
	if contentType == TypeJSON {
		return
	}
	if d.Reject && ev.Accepts&flow.AcceptsReject != 0 {
		h.Set(HeaderReject, "true")
	}
	if d.Log && ev.Accepts&flow.AcceptsLog != 0 {
		h.Set(HeaderLog, "true")
	}
	if len(d.State) > 0 {
		h.Set(HeaderState, base64.StdEncoding.EncodeToString(d.State))
		h.Set(HeaderStateKey, d.StateKey.String())
	}
	if ev.Accepts&flow.AcceptsTravel != 0 && len(d.Travel) > 0 {
		h.Set(HeaderTravel, TravelText(d.Travel))
	}
	if ev.Accepts&flow.AcceptsRevoke != 0 {
		putStates(h, ev, d)
	}
	if CoversIncomplete(ev, d) {
		h.Set(HeaderCoversIncomplete, "true")
	}
}

// GetDecision reads an answer's headers into d. A header wins over what the
// body said, so it is called after the body has been parsed; an absent one
// leaves d as it is. Errors name the header.
func GetDecision(h Header, d *flow.Decision) error {
	var err error
	if v := h.Get(HeaderPolicy); v != "" {
		if d.Policy, err = flow.ParsePolicyVersion(v); err != nil {
			return fmt.Errorf("%s: %w", HeaderPolicy, err)
		}
	}
	if v := h.Get(HeaderVerdict); v != "" {
		if d.Verdict, err = flow.ParseVerdict(v); err != nil {
			return fmt.Errorf("%s: %w", HeaderVerdict, err)
		}
	}
	if v := h.Get(HeaderReason); v != "" {
		d.Reason = Printable(v)
	}
	if v := h.Get(HeaderStateKey); v != "" {
		if d.StateKey, err = flow.ParseStateKey(v); err != nil {
			return fmt.Errorf("%s: %w", HeaderStateKey, err)
		}
	}
	if v := h.Get(HeaderCoversIncomplete); v != "" {
		covers, err := truth(HeaderCoversIncomplete, v)
		if err != nil {
			return err
		}
		SetCoversIncomplete(d, covers)
	}
	if v := h.Get(HeaderReject); v != "" {
		if d.Reject, err = truth(HeaderReject, v); err != nil {
			return err
		}
	}
	if v := h.Get(HeaderLog); v != "" {
		if d.Log, err = truth(HeaderLog, v); err != nil {
			return err
		}
	}
	if v := h.Get(HeaderStateful); v != "" {
		if d.Stateful, err = truth(HeaderStateful, v); err != nil {
			return err
		}
	}
	if err := getStates(h, d); err != nil {
		return err
	}
	if v := h.Get(HeaderTravel); v != "" {
		if d.Travel, err = ParseTravel(d.Travel[:0], v, flow.MaxTravelling); err != nil {
			return err
		}
	}
	state, err := decodeState(d.State[:0], h.Get(HeaderState))
	if state != nil {
		d.State = state
	}
	return err
}

// truth reads a header that is true or false.
func truth(name, v string) (bool, error) {
	if v != "true" && v != "false" {
		return false, fmt.Errorf("%s %q: want true or false", name, Printable(v))
	}
	return v == "true", nil
}

// decodeState appends the state in s to b; nil where s is empty.
func decodeState(b []byte, s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	if len(s) > base64.StdEncoding.EncodedLen(flow.MaxState) {
		return nil, fmt.Errorf("%s: more than %d bytes", HeaderState, flow.MaxState)
	}
	state, err := base64.StdEncoding.AppendDecode(b, []byte(s))
	if err != nil {
		return nil, fmt.Errorf("%s: not base64: %w", HeaderState, err)
	}
	if len(state) > flow.MaxState {
		return nil, fmt.Errorf("%s: %d bytes, more than %d", HeaderState, len(state), flow.MaxState)
	}
	return state, nil
}
