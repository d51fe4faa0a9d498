// Package contract is version 1 of what a gateway and a function say to each
// other: one HTTP POST for one event (docs/contract.md). The envelope is
// CloudEvents 1.0 in HTTP binary mode and is the same for both encodings of the
// body, which live in the folders below: openflow, the paper's, and jsonenc,
// for functions written by anyone in any language.
//
// The package knows no HTTP: headers go through the [Header] interface, so that
// it also runs inside a WebAssembly guest.
package contract

import (
	"fmt"
	"strings"
	"time"

	"switchbridge/flow"
)

// Content types of the two encodings.
const (
	TypeOpenFlow = "application/openflow"
	TypeJSON     = "application/json"
)

// Headers of a request. CloudEvents 1.0.2, HTTP protocol binding, 3.1.
const (
	HeaderSpecVersion = "Ce-Specversion"
	HeaderType        = "Ce-Type"
	HeaderSource      = "Ce-Source"  // /switches/<dpid, 16 hex digits>
	HeaderSubject     = "Ce-Subject" // the session
	HeaderID          = "Ce-Id"      // a repeat of the event repeats it
	HeaderTime        = "Ce-Time"    // RFC 3339
)

// HeaderRehearsal, of a request in either encoding, is true where nothing comes of the answer: the function must not write a store for it.
const HeaderRehearsal = "Switchbridge-Rehearsal"

// Headers of a request in application/openflow. In JSON they are members of the body.
const (
	HeaderAccepts    = "Switchbridge-Accepts"    // members of an answer that the gateway takes, with commas between
	HeaderIncomplete = "Switchbridge-Incomplete" // fields that the packet has and does not show, with commas between
)

// Headers of an answer; State and Travel are of both.
const (
	HeaderPolicy   = "Switchbridge-Policy"    // <serial>-<hash>
	HeaderReason   = "Switchbridge-Reason"    // what decided, at most 1,024 bytes of printable text
	HeaderVerdict  = "Switchbridge-Verdict"   // allow, deny or none
	HeaderState    = "Switchbridge-State"     // standard base64
	HeaderStateKey = "Switchbridge-State-Key" // flow, connection, src, dst, pair, port, switch or network

	// HeaderTravel has states with names that travel ([TravelText]), of application/openflow alone.
	HeaderTravel = "Switchbridge-Travel"

	// HeaderCoversIncomplete is true or false, for all rules of the answer.
	HeaderCoversIncomplete = "Switchbridge-Covers-Incomplete"

	// HeaderIfReply is what becomes of a packet that is a reply ([IfReplyText]), of application/openflow alone.
	HeaderIfReply = "Switchbridge-If-Reply"

	// HeaderReuse and HeaderReply say for which other packets the answer holds, and what becomes of a packet that answers the event's
	// ([ReuseText]), of application/openflow alone.
	HeaderReuse = "Switchbridge-Reuse"
	HeaderReply = "Switchbridge-Reply"

	// HeaderReject is true where the sender of the packet, which is dropped, is told so.
	HeaderReject = "Switchbridge-Reject"

	// HeaderLog is true where the decision is to be in the gateway's log.
	HeaderLog = "Switchbridge-Log"

	// HeaderStateful is true where an event that may have reached the function must not be sent again, in both encodings.
	HeaderStateful = "Switchbridge-Stateful"

	HeaderStates = "Switchbridge-States" // <state>=<version>, with commas between: what the answer rests on
	HeaderRevoke = "Switchbridge-Revoke" // states whose rules go, with commas between
)

// SpecVersion is the value of [HeaderSpecVersion].
const SpecVersion = "1.0"

// Codec is one encoding of the bodies.
//
// The Append methods append to b and return it, as the append built-in does.
// ParseEvent fills ev, whose Type, XID 0 and Switch (with the DPID of
// ce-source) the envelope has set; what it fills may alias body. What the
// packet's headers don't show it finds out itself, unless the body says it
// ([GetMembers] reads the headers that do). ParseDecision
// fills d, which the caller has reset, and copies what it keeps of body.
// Errors of ParseDecision say which part of the answer is wrong.
type Codec interface {
	ContentType() string
	AppendEvent(b []byte, ev *flow.Event) ([]byte, error)
	ParseEvent(body []byte, ev *flow.Event) error
	AppendDecision(b []byte, ev *flow.Event, d *flow.Decision) ([]byte, error)
	ParseDecision(body []byte, ev *flow.Event, d *flow.Decision) error
}

// Header is what the envelope needs of a set of headers; http.Header has it.
type Header interface {
	Get(key string) string
	Set(key, value string)
}

const (
	sourcePrefix  = "/switches/"
	sourceGateway = "/gateway" // no switch's, or one's that is not known yet
)

// PutEvent writes ev's envelope, all but the content type and the body.
func PutEvent(h Header, ev *flow.Event) {
	h.Set(HeaderSpecVersion, SpecVersion)
	h.Set(HeaderType, ev.Type.String())
	if ev.Switch != nil && !(ev.Type == flow.EventHandshake && ev.Switch.DPID == 0) { // HELLO comes before the switch says who it is
		h.Set(HeaderSource, sourcePrefix+ev.Switch.DPID.String())
	} else {
		h.Set(HeaderSource, sourceGateway)
	}
	if ev.Session != "" {
		h.Set(HeaderSubject, ev.Session)
	}
	h.Set(HeaderID, ev.ID)
	h.Set(HeaderTime, ev.Time.UTC().Format(time.RFC3339Nano))
}

// GetEvent reads an envelope into ev. It wants the required attributes of
// CloudEvents and a type of this contract; ce-time may be absent.
func GetEvent(h Header, ev *flow.Event) error {
	if v := h.Get(HeaderSpecVersion); v != SpecVersion {
		return fmt.Errorf("ce-specversion %q: want %s", v, SpecVersion)
	}
	var err error
	if ev.Type, err = flow.ParseEventType(h.Get(HeaderType)); err != nil {
		return fmt.Errorf("ce-type: %w", err)
	}
	if ev.ID = h.Get(HeaderID); ev.ID == "" {
		return fmt.Errorf("ce-id is missing")
	}
	ev.Session = h.Get(HeaderSubject)
	source := h.Get(HeaderSource)
	if digits, ok := strings.CutPrefix(source, sourcePrefix); ok {
		dpid, err := flow.ParseDPID(digits)
		if err != nil {
			return fmt.Errorf("ce-source: %w", err)
		}
		ev.Switch = &flow.Switch{DPID: dpid}
	} else if ev.Type == flow.EventHandshake && source == sourceGateway {
		ev.Switch = new(flow.Switch)
	} else if ev.Type != flow.EventPolicyCheck || source == "" {
		return fmt.Errorf("ce-source %q: want %s<dpid>", source, sourcePrefix)
	}
	if t := h.Get(HeaderTime); t != "" {
		if ev.Time, err = time.Parse(time.RFC3339Nano, t); err != nil {
			return fmt.Errorf("ce-time %q: want RFC 3339", t)
		}
	}
	return nil
}

const maxReason = 1024

// Printable returns s cut to 1,024 bytes with everything but printable ASCII
// replaced, so that it can stand in a header and in a log line.
func Printable(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
