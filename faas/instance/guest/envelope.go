package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// ABIVersion is what a guest's switchbridge_abi_version must return.
const ABIVersion = 1

// EnvelopeVersion is the first byte of every request and answer.
const EnvelopeVersion = 1

// Limits in bytes.
const (
	MaxBody     = flow.MaxBody     // of a request or an answer
	MaxEnvelope = MaxBody + 72<<10 // a body and everything around it, encoded: states that travel take 49 KiB at most
	MaxPolicy   = 32 << 20         // what configure is given
)

// Encoding says how a body is written.
type Encoding uint8

// The encodings of the contract.
const (
	EncodingNone     Encoding = iota // no body
	EncodingOpenFlow                 // application/openflow
	EncodingJSON                     // application/json
)

// String returns the media type, empty for EncodingNone and for what the contract doesn't have.
func (e Encoding) String() string {
	switch e {
	case EncodingOpenFlow:
		return contract.TypeOpenFlow
	case EncodingJSON:
		return contract.TypeJSON
	}
	return ""
}

// ParseEncoding returns the encoding of a Content-Type, whose parameters don't matter;
// EncodingNone for any that the contract doesn't have.
func ParseEncoding(contentType string) Encoding {
	mediaType, _, _ := strings.Cut(contentType, ";")
	switch strings.TrimSpace(mediaType) {
	case contract.TypeOpenFlow:
		return EncodingOpenFlow
	case contract.TypeJSON:
		return EncodingJSON
	}
	return EncodingNone
}

// Request is one event as a guest receives it.
type Request struct {
	Event    flow.EventType // the ABI has flow's numbers
	Encoding Encoding       // of Body, and of the answer's body
	DPID     uint64         // the switch, from ce-source
	Time     int64          // ce-time in nanoseconds since 1970, 0 when unknown

	ID          string // ce-id; a repeated event repeats it
	Session     string // ce-subject, the switch's connection
	TraceParent string // traceparent, when tracing is on

	// Of application/openflow, whose body has no place for them: contract.HeaderAccepts
	// and contract.HeaderIncomplete as they came.
	Accepts    string
	Incomplete string

	// Travel is of application/openflow: contract.HeaderTravel as it came.
	Travel string

	State  []byte // what an earlier answer for the same key returned, as it came; nil when none
	States []byte // those of the policy's machines: see AppendStates
	Body   []byte // at most MaxBody
}

// Answer is a guest's answer to one Request.
type Answer struct {
	// Status means what it means in HTTP: 2xx is a decision, 4xx refuses this event for good,
	// 429 and 5xx may be asked again.
	Status   uint16
	Encoding Encoding // of Body

	Policy   string // <serial>-<hash>, the Switchbridge-Policy header
	Reason   string // why, for people: the rule that matched, or the error
	Verdict  string // what, for decision records: "allow", "deny", ...
	StateKey string // flow, src, dst or port: the Switchbridge-State-Key header

	// CoversIncomplete is of application/openflow: contract.HeaderCoversIncomplete is true.
	CoversIncomplete bool

	// Reject is of application/openflow: contract.HeaderReject is true.
	Reject bool

	// Log is of application/openflow: contract.HeaderLog is true.
	Log bool

	// IfReply, Reuse and Reply are of application/openflow: contract.HeaderIfReply, HeaderReuse and HeaderReply as they stand there.
	IfReply string
	Reuse   string
	Reply   string

	// Travel and Rests are of application/openflow: contract.HeaderTravel and HeaderStates as they stand there.
	Travel string
	Rests  string

	State  []byte // at most 4 KiB
	Change []byte // of one of the request's States: see AppendChange; nil when none
	Body   []byte // at most MaxBody
}

// Tags of the fields. An envelope is the version byte and then fields in ascending order of tag:
// the tag's byte, the value's length as 32 bits big-endian, the value. Absent means zero or
// empty. A reader skips tags that it doesn't know.
const (
	tagEvent       = 1 // 1 byte
	tagEncoding    = 2 // 1 byte
	tagDPID        = 3 // 8 bytes, big-endian
	tagTime        = 4 // 8 bytes, big-endian, signed
	tagID          = 5
	tagSession     = 6
	tagTraceParent = 7
	tagState       = 8
	tagAccepts     = 10
	tagIncomplete  = 11
	tagStates      = 12
	tagTravel      = 13
	tagBody        = 15

	tagStatus   = 1 // 2 bytes, big-endian; tagEncoding, tagState, tagTravel and tagBody as in requests
	tagPolicy   = 3
	tagReason   = 4
	tagVerdict  = 5
	tagStateKey = 6
	tagCovers   = 7 // 1 byte: 1
	tagIfReply  = 9
	tagChange   = 10
	tagReuse    = 11
	tagReply    = 12
	tagRests    = 14
	tagReject   = 16 // 1 byte: 1; behind the body, as the numbers before it are taken
	tagLog      = 17 // 1 byte: 1
)

// ErrEnvelope is in the chain of every error that ParseRequest and ParseAnswer return.
var ErrEnvelope = errors.New("malformed envelope")

// AppendBinary appends the request's envelope to b. It never fails: who fills the fields keeps
// to their limits.
func (r *Request) AppendBinary(b []byte) []byte {
	b = append(b, EnvelopeVersion)
	b = appendUint(b, tagEvent, uint64(r.Event), 1)
	b = appendUint(b, tagEncoding, uint64(r.Encoding), 1)
	b = appendUint(b, tagDPID, r.DPID, 8)
	b = appendUint(b, tagTime, uint64(r.Time), 8)
	b = appendBytes(b, tagID, r.ID)
	b = appendBytes(b, tagSession, r.Session)
	b = appendBytes(b, tagTraceParent, r.TraceParent)
	b = appendBytes(b, tagState, r.State)
	b = appendBytes(b, tagAccepts, r.Accepts)
	b = appendBytes(b, tagIncomplete, r.Incomplete)
	b = appendBytes(b, tagStates, r.States)
	b = appendBytes(b, tagTravel, r.Travel)
	return appendBytes(b, tagBody, r.Body)
}

// Parse fills r from an envelope. State, States and Body share b's memory.
func (r *Request) Parse(b []byte) error {
	*r = Request{}
	return parse(b, func(tag byte, value []byte) (err error) {
		switch tag {
		case tagEvent:
			r.Event, err = parseUint[flow.EventType](value, 1)
		case tagEncoding:
			r.Encoding, err = parseUint[Encoding](value, 1)
		case tagDPID:
			r.DPID, err = parseUint[uint64](value, 8)
		case tagTime:
			r.Time, err = parseUint[int64](value, 8)
		case tagID:
			r.ID = string(value)
		case tagSession:
			r.Session = string(value)
		case tagTraceParent:
			r.TraceParent = string(value)
		case tagState:
			r.State = value
		case tagAccepts:
			r.Accepts = string(value)
		case tagIncomplete:
			r.Incomplete = string(value)
		case tagStates:
			r.States = value
		case tagTravel:
			r.Travel = string(value)
		case tagBody:
			r.Body = value
		}
		return err
	})
}

// AppendBinary appends the answer's envelope to b.
func (a *Answer) AppendBinary(b []byte) []byte {
	b = append(b, EnvelopeVersion)
	b = appendUint(b, tagStatus, uint64(a.Status), 2)
	b = appendUint(b, tagEncoding, uint64(a.Encoding), 1)
	b = appendBytes(b, tagPolicy, a.Policy)
	b = appendBytes(b, tagReason, a.Reason)
	b = appendBytes(b, tagVerdict, a.Verdict)
	b = appendBytes(b, tagStateKey, a.StateKey)
	if a.CoversIncomplete {
		b = appendUint(b, tagCovers, 1, 1)
	}
	b = appendBytes(b, tagState, a.State)
	b = appendBytes(b, tagIfReply, a.IfReply)
	b = appendBytes(b, tagChange, a.Change)
	b = appendBytes(b, tagReuse, a.Reuse)
	b = appendBytes(b, tagReply, a.Reply)
	b = appendBytes(b, tagTravel, a.Travel)
	b = appendBytes(b, tagRests, a.Rests)
	b = appendBytes(b, tagBody, a.Body)
	if a.Reject {
		b = appendUint(b, tagReject, 1, 1)
	}
	if a.Log {
		b = appendUint(b, tagLog, 1, 1)
	}
	return b
}

// Parse fills a from an envelope. State, Change and Body share b's memory. An answer whose status HTTP
// doesn't have is an error, so a guest that returns an empty one is found out.
func (a *Answer) Parse(b []byte) error {
	*a = Answer{}
	err := parse(b, func(tag byte, value []byte) (err error) {
		switch tag {
		case tagStatus:
			a.Status, err = parseUint[uint16](value, 2)
		case tagEncoding:
			a.Encoding, err = parseUint[Encoding](value, 1)
		case tagPolicy:
			a.Policy = string(value)
		case tagReason:
			a.Reason = string(value)
		case tagVerdict:
			a.Verdict = string(value)
		case tagStateKey:
			a.StateKey = string(value)
		case tagCovers:
			var covers uint8
			covers, err = parseUint[uint8](value, 1)
			a.CoversIncomplete = covers == 1
		case tagReject:
			var reject uint8
			reject, err = parseUint[uint8](value, 1)
			a.Reject = reject == 1
		case tagLog:
			var log uint8
			log, err = parseUint[uint8](value, 1)
			a.Log = log == 1
		case tagIfReply:
			a.IfReply = string(value)
		case tagReuse:
			a.Reuse = string(value)
		case tagReply:
			a.Reply = string(value)
		case tagTravel:
			a.Travel = string(value)
		case tagRests:
			a.Rests = string(value)
		case tagState:
			a.State = value
		case tagChange:
			a.Change = value
		case tagBody:
			a.Body = value
		}
		return err
	})
	if err == nil && (a.Status < 200 || a.Status > 599) {
		err = fmt.Errorf("%w: status %d", ErrEnvelope, a.Status)
	}
	return err
}

const fieldHeader = 5

func appendUint(b []byte, tag byte, v uint64, size int) []byte {
	if v == 0 {
		return b
	}
	b = append(b, tag, 0, 0, 0, byte(size))
	for shift := 8 * (size - 1); shift >= 0; shift -= 8 {
		b = append(b, byte(v>>shift))
	}
	return b
}

func appendBytes[T string | []byte](b []byte, tag byte, v T) []byte {
	if len(v) == 0 || len(v) > math.MaxInt32 {
		return b
	}
	b = append(b, tag)
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

func parseUint[T ~uint8 | ~uint16 | ~uint64 | ~int64](value []byte, size int) (T, error) {
	if len(value) != size {
		return 0, fmt.Errorf("%d bytes, want %d", len(value), size)
	}
	var v uint64
	for _, c := range value {
		v = v<<8 | uint64(c)
	}
	return T(v), nil
}

// parse calls field for each field of an envelope. Values are clipped, so that appending to one
// never writes into the next.
func parse(b []byte, field func(tag byte, value []byte) error) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: empty", ErrEnvelope)
	}
	if b[0] != EnvelopeVersion {
		return fmt.Errorf("%w: version %d, want %d", ErrEnvelope, b[0], EnvelopeVersion)
	}
	last := byte(0)
	for at := 1; at < len(b); {
		if len(b)-at < fieldHeader {
			return fmt.Errorf("%w: %d stray bytes at offset %d", ErrEnvelope, len(b)-at, at)
		}
		tag, size := b[at], binary.BigEndian.Uint32(b[at+1:])
		if tag <= last {
			return fmt.Errorf("%w: field %d after field %d at offset %d", ErrEnvelope, tag, last, at)
		}
		last = tag
		at += fieldHeader
		if uint64(size) > uint64(len(b)-at) {
			return fmt.Errorf("%w: field %d of %d bytes at offset %d, %d left", ErrEnvelope, tag, size, at, len(b)-at)
		}
		end := at + int(size)
		if err := field(tag, b[at:end:end]); err != nil {
			return fmt.Errorf("%w: field %d: %w", ErrEnvelope, tag, err)
		}
		at = end
	}
	return nil
}
