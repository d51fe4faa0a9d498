package jsonenc

import (
	"encoding/json"
	"errors"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// Bounds of what is read, beside the contract's of a body.
const (
	// MaxFlows is the most rules in an answer. It is what a body of 1 MiB holds
	// of ordinary rules; the empty ones that it could hold as well would take a
	// hundred times their size in memory.
	MaxFlows = 16384

	maxActions = 256 // in a list
	maxPorts   = 4096
	maxMembers = 256 // of an object
	maxDepth   = 16  // of objects and lists; the contract needs 5
)

// Codec is the encoding. The zero value is ready.
type Codec struct{}

var _ contract.Codec = Codec{}

// ContentType returns "application/json".
func (Codec) ContentType() string { return contract.TypeJSON }

// AppendEvent appends ev's body. State travels in it.
func (Codec) AppendEvent(b []byte, ev *flow.Event) ([]byte, error) {
	w := &writer{b: b}
	w.event(ev)
	return w.b, w.err
}

// ParseEvent reads an event's body into ev, whose envelope has been read. Data
// without a match is given the match of its headers.
func (Codec) ParseEvent(body []byte, ev *flow.Event) error {
	if len(body) == 0 && ev.Type == flow.EventPolicyCheck {
		return nil
	}
	if err := check(body); err != nil {
		return err
	}
	return parseEvent(body, ev)
}

// AppendDecision appends d as the answer to ev.
func (Codec) AppendDecision(b []byte, ev *flow.Event, d *flow.Decision) ([]byte, error) {
	w := &writer{b: b}
	w.decision(ev, d)
	return w.b, w.err
}

// ParseDecision reads an answer to ev into d.
func (Codec) ParseDecision(body []byte, ev *flow.Event, d *flow.Decision) error {
	if err := check(body); err != nil {
		return err
	}
	return parseDecision(body, ev, d)
}

// check bounds a body and makes sure that it is JSON, before anything is made of it.
func check(body []byte) error {
	switch {
	case len(body) > flow.MaxBody:
		return errors.New("body is larger than the contract allows")
	case space(body, 0) == len(body):
		return errors.New("empty body")
	}
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errors.New("body is nested too deep")
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	if !json.Valid(body) {
		return json.Unmarshal(body, new(json.RawMessage)) // which says where
	}
	return nil
}
