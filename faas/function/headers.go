package function

import (
	"encoding/base64"
	"fmt"
	"strings"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
)

const (
	headerContentType = "Content-Type"
	headerTraceParent = "Traceparent"
)

// ReadRequest fills r from the headers of the contract and a body, which r shares. Its errors are
// StatusErrors.
func ReadRequest(h contract.Header, body []byte, r *guest.Request) error {
	*r = guest.Request{}
	if len(body) > guest.MaxBody {
		return TooLarge()
	}
	var ev flow.Event
	if err := contract.GetEvent(h, &ev); err != nil {
		return &StatusError{Status: 400, Err: err}
	}
	contentType := h.Get(headerContentType)
	if r.Encoding = guest.ParseEncoding(contentType); r.Encoding == guest.EncodingNone {
		return NotSpoken(contentType, contract.TypeOpenFlow, contract.TypeJSON)
	}
	if err := contract.GetState(h, &ev); err != nil {
		return &StatusError{Status: 400, Err: err}
	}
	r.Event, r.ID, r.Session, r.State, r.Body = ev.Type, ev.ID, ev.Session, ev.State, body
	r.TraceParent = h.Get(headerTraceParent)
	if r.Encoding != guest.EncodingJSON { // which has them in its body
		r.Accepts, r.Incomplete, r.Travel = h.Get(contract.HeaderAccepts), h.Get(contract.HeaderIncomplete), h.Get(contract.HeaderTravel)
	}
	if ev.Switch != nil {
		r.DPID = uint64(ev.Switch.DPID)
	}
	if !ev.Time.IsZero() {
		r.Time = ev.Time.UnixNano()
	}
	return nil
}

// WriteAnswer writes an answer's headers and returns its body: the decision, or for a status
// that is none, the reason as text.
func WriteAnswer(h contract.Header, a *guest.Answer) (body []byte) {
	set := func(key, value string) {
		if value != "" {
			h.Set(key, contract.Printable(value))
		}
	}
	set(contract.HeaderPolicy, a.Policy)
	if a.Status >= 300 {
		h.Set(headerContentType, "text/plain; charset=utf-8")
		return fmt.Appendln(nil, contract.Printable(a.Reason))
	}
	set(headerContentType, a.Encoding.String())
	set(contract.HeaderReason, a.Reason)
	if a.Verdict != flow.NoVerdict.String() { // which an absent header says
		set(contract.HeaderVerdict, a.Verdict)
	}
	if len(a.State) > 0 {
		h.Set(contract.HeaderState, base64.StdEncoding.EncodeToString(a.State))
		set(contract.HeaderStateKey, a.StateKey)
	}
	if a.CoversIncomplete {
		h.Set(contract.HeaderCoversIncomplete, "true")
	}
	if a.Reject {
		h.Set(contract.HeaderReject, "true")
	}
	if a.Log {
		h.Set(contract.HeaderLog, "true")
	}
	for name, value := range map[string]string{contract.HeaderIfReply: a.IfReply, contract.HeaderReuse: a.Reuse, contract.HeaderReply: a.Reply,
		contract.HeaderTravel: a.Travel, contract.HeaderStates: a.Rests} {
		if value != "" {
			h.Set(name, value)
		}
	}
	return a.Body
}

// Headers are a contract.Header for platforms that hand headers over as a map. Keys are in lower case.
type Headers map[string]string

// Get returns a header whatever its case.
func (h Headers) Get(key string) string { return h[strings.ToLower(key)] }

// Set sets a header.
func (h Headers) Set(key, value string) { h[strings.ToLower(key)] = value }
