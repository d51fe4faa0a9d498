// Package function has what all hosts of a function share: the controller as an Answerer of guest requests, the
// translation between these and the contract's headers, and a guest as a flow.Decider.
//
// It knows no HTTP server and no platform, so that it also runs inside a WebAssembly guest. It
// imports no encoding: its users pass in those that they need.
package function

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// Answerer answers one event: the controller itself, or a guest that a host runs.
//
// Answer resets a and fills it. It may append to a's State, Change and Body and must not
// keep them. An error means that there is no answer; if the function refuses an event, it returns
// an answer with a status. Several goroutines call Answer at a time.
type Answerer interface {
	Answer(ctx context.Context, r *guest.Request, a *guest.Answer) error
}

// Codecs are the encodings that a function speaks; nil for one that it doesn't.
type Codecs struct {
	OpenFlow, JSON contract.Codec
}

func (c *Codecs) of(e guest.Encoding) contract.Codec {
	switch e {
	case guest.EncodingOpenFlow:
		return c.OpenFlow
	case guest.EncodingJSON:
		return c.JSON
	}
	return nil
}

// types are the media types of those that are spoken.
func (c *Codecs) types() (list []string) {
	for _, codec := range []contract.Codec{c.OpenFlow, c.JSON} {
		if codec != nil {
			list = append(list, codec.ContentType())
		}
	}
	return list
}

// Function is an Answerer that asks a Decider, such as the controller.
type Function struct {
	decider flow.Decider
	codecs  Codecs
	scratch sync.Pool // of *scratch
}

type scratch struct {
	event    flow.Event
	states   []flow.State
	sw       flow.Switch
	decision flow.Decision

	// The policy's version as text: to write it takes a guest longer than to decide.
	policy     flow.PolicyVersion
	policyText string
}

// New returns a Function that asks decider.
func New(decider flow.Decider, codecs Codecs) *Function {
	return &Function{decider: decider, codecs: codecs, scratch: sync.Pool{New: func() any { return new(scratch) }}}
}

// Answer implements Answerer. It has no errors: whatever is wrong is in the status.
func (f *Function) Answer(ctx context.Context, r *guest.Request, a *guest.Answer) error {
	s := f.scratch.Get().(*scratch)
	defer f.scratch.Put(s)
	*a = guest.Answer{State: a.State[:0], Change: a.Change[:0], Body: a.Body[:0]}
	if status, err := f.answer(ctx, s, r, a); err != nil {
		*a = guest.Answer{Status: status, Policy: a.Policy, Reason: contract.Printable(err.Error()), State: a.State[:0], Change: a.Change[:0], Body: a.Body[:0]}
	}
	return nil
}

func (f *Function) answer(ctx context.Context, s *scratch, r *guest.Request, a *guest.Answer) (status uint16, err error) {
	codec := f.codecs.of(r.Encoding)
	if codec == nil {
		return 415, NotSpoken(r.Encoding.String(), f.codecs.types()...)
	}
	s.sw = flow.Switch{DPID: flow.DPID(r.DPID)}
	s.event = flow.Event{Type: r.Event, ID: r.ID, Session: r.Session, Switch: &s.sw, State: r.State}
	if r.Time != 0 {
		s.event.Time = time.Unix(0, r.Time)
	}
	if err := codec.ParseEvent(r.Body, &s.event); err != nil {
		return 400, fmt.Errorf("%s: %w", r.Event, err)
	}
	contract.SetMembers(&s.event, r.Accepts, r.Incomplete)
	if s.event.Travel, err = contract.ParseTravel(s.event.Travel, r.Travel, flow.MaxTravelEvent); err != nil {
		return 400, err
	}
	if s.states, err = guest.ParseStates(s.states[:0], r.States); err != nil {
		return 400, err
	}
	s.event.States = s.states
	d := &s.decision
	d.Reset()
	if err := f.decider.Decide(ctx, &s.event, d); err != nil {
		return statusOf(err), err
	}
	contract.Restrict(&s.event, d)
	if a.Body, err = codec.AppendDecision(a.Body, &s.event, d); err != nil {
		return 500, fmt.Errorf("decision %q: %w", d.Reason, err)
	}
	a.Status, a.Encoding = 200, r.Encoding
	if d.Policy != s.policy {
		s.policy, s.policyText = d.Policy, d.Policy.String()
	}
	if !d.Policy.IsZero() {
		a.Policy = s.policyText
	}
	a.Reason = d.Reason
	if d.Verdict != flow.NoVerdict {
		a.Verdict = d.Verdict.String()
	}
	if a.IfReply, err = contract.IfReplyText(codec, &s.event, d); err != nil {
		return 500, fmt.Errorf("decision %q: %w", d.Reason, err)
	}
	if a.Reuse, a.Reply, err = contract.ReuseText(codec, &s.event, d); err != nil {
		return 500, fmt.Errorf("decision %q: %w", d.Reason, err)
	}
	if r.Encoding != guest.EncodingJSON {
		a.Rests = contract.StatesText(&s.event, d)
		if s.event.Accepts&flow.AcceptsTravel != 0 {
			a.Travel = contract.TravelText(d.Travel)
		}
	}
	a.Reject = r.Encoding != guest.EncodingJSON && d.Reject && s.event.Accepts&flow.AcceptsReject != 0
	a.Log = r.Encoding != guest.EncodingJSON && d.Log && s.event.Accepts&flow.AcceptsLog != 0
	a.CoversIncomplete = r.Encoding != guest.EncodingJSON && contract.CoversIncomplete(&s.event, d)
	if len(d.State) > 0 {
		a.State, a.StateKey = append(a.State, d.State...), d.StateKey.String()
	}
	if d.Change != nil {
		a.Change = guest.AppendChange(a.Change, d.Change)
	}
	return 200, nil
}

// statusOf is the status that means the same to a caller as the Decider's error (DESIGN: 4xx is
// never repeated, 5xx may be).
func statusOf(err error) uint16 {
	switch flow.KindOf(err) {
	case flow.Refused:
		return 422
	case flow.Overload:
		return 429
	case flow.Invalid:
		return 500
	}
	return 503
}

// Decider is a flow.Decider that asks an Answerer, such as a guest in this process.
type Decider struct {
	answerer Answerer
	codec    contract.Codec
	encoding guest.Encoding
	noID     bool
	scratch  sync.Pool // of *Exchange
}

// Exchange is one event on its way to a guest and back.
type Exchange struct {
	f        *Decider
	asked    flow.Event // the event, and what is accepted
	request  guest.Request
	answer   guest.Answer
	body     []byte
	states   []byte
	envelope []byte
}

// NewDecider returns a Decider that speaks to answerer in codec's encoding.
func NewDecider(answerer Answerer, codec contract.Codec) *Decider {
	return &Decider{answerer: answerer, codec: codec, encoding: guest.ParseEncoding(codec.ContentType()),
		scratch: sync.Pool{New: func() any { return new(Exchange) }}}
}

// WithoutID makes f leave out an event's id and session, which only a function's own records need, and decisions by
// states, and returns f.
func (f *Decider) WithoutID() *Decider {
	f.noID = true
	return f
}

// Local implements flow.Local: a guest in this process answers within microseconds.
func (f *Decider) Local() bool { return true }

// Decide implements flow.Decider.
func (f *Decider) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	x, err := f.Open(ev)
	if err != nil {
		return err
	}
	defer x.Close()
	if err := f.answerer.Answer(ctx, &x.request, &x.answer); err != nil {
		return &flow.Error{Kind: flow.Unavailable, Err: err}
	}
	return f.decision(ev, &x.answer, d)
}

// Open encodes an event. The exchange must be closed.
func (f *Decider) Open(ev *flow.Event) (*Exchange, error) {
	x := f.scratch.Get().(*Exchange)
	x.f, x.asked = f, *ev
	x.asked.Accepts |= flow.AcceptsAll &^ (flow.AcceptsReuse | flow.AcceptsTravel) // which whoever uses answers again, and brings states back, says
	var err error
	if x.body, err = f.codec.AppendEvent(x.body[:0], &x.asked); err != nil {
		x.Close()
		return nil, flow.Errorf(flow.Refused, "encode %s: %w", ev.Type, err) // what came is at fault, not the function
	}
	x.request = guest.Request{
		Event: ev.Type, Encoding: f.encoding, State: ev.State, Body: x.body,
	}
	if len(ev.States) > 0 {
		x.states = guest.AppendStates(x.states[:0], ev.States)
		x.request.ID, x.request.States = ev.ID, x.states
	}
	if !f.noID {
		x.request.ID, x.request.Session = ev.ID, ev.Session
	}
	if ev.Switch != nil {
		x.request.DPID = uint64(ev.Switch.DPID)
	}
	if !ev.Time.IsZero() {
		x.request.Time = ev.Time.UnixNano()
	}
	if f.encoding != guest.EncodingJSON {
		x.request.Travel = contract.TravelText(ev.Travel)
		x.request.Accepts, x.request.Incomplete = contract.AcceptsText(x.asked.Accepts), contract.IncompleteText(ev.PacketIn)
	}
	return x, nil
}

// Envelope returns the request as a guest reads it, until Close.
func (x *Exchange) Envelope() []byte {
	x.envelope = x.request.AppendBinary(x.envelope[:0])
	return x.envelope
}

// Take makes an encoded guest.Answer the decision about ev.
func (x *Exchange) Take(answer []byte, ev *flow.Event, d *flow.Decision) error {
	if err := x.answer.Parse(answer); err != nil {
		return err
	}
	err := x.f.decision(ev, &x.answer, d)
	x.answer = guest.Answer{} // it refers to the guest's memory
	return err
}

// Close ends the exchange.
func (x *Exchange) Close() {
	x.asked = flow.Event{}
	x.f.scratch.Put(x)
}

// decision makes an answer a decision, by the contract's statuses.
func (f *Decider) decision(ev *flow.Event, a *guest.Answer, d *flow.Decision) (err error) {
	switch {
	case a.Status == 429 || a.Status >= 500:
		return flow.Errorf(flow.Unavailable, "status %d: %s", a.Status, a.Reason)
	case a.Status >= 300:
		return flow.Errorf(flow.Refused, "status %d: %s", a.Status, a.Reason)
	}
	invalid := func(what string, err error) error { return flow.Errorf(flow.Invalid, "%s: %w", what, err) }
	if a.Encoding != f.encoding && len(a.Body) > 0 {
		return invalid("answer", fmt.Errorf("encoding %q, asked in %q", a.Encoding, f.encoding))
	}
	if err := f.codec.ParseDecision(a.Body, ev, d); err != nil {
		return invalid("answer", err)
	}
	if err := contract.ParseIfReply(f.codec, ev, a.IfReply, d); err != nil {
		return invalid("answer", err)
	}
	if err := contract.ParseReuse(f.codec, ev, a.Reuse, a.Reply, d); err != nil {
		return invalid("answer", err)
	}
	if a.Reject {
		d.Reject = true
	}
	if a.Log {
		d.Log = true
	}
	if a.CoversIncomplete {
		contract.SetCoversIncomplete(d, true)
	}
	if d.Travel, err = contract.ParseTravel(d.Travel, a.Travel, flow.MaxTravelling); err != nil {
		return invalid("answer", err)
	}
	if err := contract.ParseStates(a.Rests, d); err != nil {
		return invalid("answer", err)
	}
	if d.Policy, err = flow.ParsePolicyVersion(a.Policy); err != nil {
		return invalid("answer", err)
	}
	if a.Verdict != "" {
		if d.Verdict, err = flow.ParseVerdict(a.Verdict); err != nil {
			return invalid("answer", err)
		}
	}
	if a.Reason != "" {
		d.Reason = contract.Printable(a.Reason)
	}
	if len(a.State) > 0 {
		if len(a.State) > flow.MaxState {
			return invalid("answer", fmt.Errorf("state of %d bytes, limit %d", len(a.State), flow.MaxState))
		}
		if d.StateKey, err = flow.ParseStateKey(a.StateKey); err != nil {
			return invalid("answer", err)
		}
		d.State = append(d.State[:0], a.State...)
	}
	if len(a.Change) > 0 {
		if d.Change, err = guest.ParseChange(a.Change); err != nil {
			return invalid("answer", err)
		}
	}
	return nil
}

// StatusError is an error that a host tells its caller with a status of HTTP's.
type StatusError struct {
	Status int
	Err    error
}

func (e *StatusError) Error() string { return e.Err.Error() }
func (e *StatusError) Unwrap() error { return e.Err }

func statusError(status int, format string, args ...any) error {
	return &StatusError{Status: status, Err: fmt.Errorf(format, args...)}
}

// StatusOf is the status for an error of this package or of an Answerer.
func StatusOf(err error) int {
	var s *StatusError
	switch {
	case errors.As(err, &s):
		return s.Status
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return 504
	}
	return 502
}
