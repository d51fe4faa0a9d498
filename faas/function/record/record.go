// Package record writes decision records: one JSON line for every event, in the same form on every
// host, where its platform keeps logs. It needs no encoding/json, so that it also runs inside a
// WebAssembly guest.
package record

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
)

// Record is what is kept of one event. Fields that are empty stay out of the line, but for the
// status and the duration.
type Record struct {
	Time     time.Time // when the request had come in
	Function string    // the function's name, where a host has several
	Event    flow.EventType
	ID       string
	DPID     flow.DPID
	Session  string
	Trace    string // id of the trace that the event is in; empty: none
	Match    string // of a packet, where the host itself reads events
	Status   int
	Verdict  string
	Reason   string // the rule that matched
	Policy   string
	Duration time.Duration // from Time to the answer
	Error    string        // why there is no decision, or why it didn't reach the caller
}

// Of fills a record from a request and its answer, whose reason is an error's where its status is
// no decision's.
func Of(r *guest.Request, a *guest.Answer) Record {
	rec := Record{
		Event: r.Event, ID: r.ID, DPID: flow.DPID(r.DPID), Session: r.Session, Trace: TraceID(r.TraceParent),
		Status: int(a.Status), Verdict: a.Verdict, Policy: a.Policy,
	}
	if rec.Status < 300 {
		rec.Reason = a.Reason
		if rec.Verdict == "" {
			rec.Verdict = flow.NoVerdict.String()
		}
	} else {
		rec.Error = a.Reason
	}
	return rec
}

// TraceID returns the trace's id of a header traceparent (W3C Trace Context, 3.2.2),
// or the empty string where there is none that can be read.
func TraceID(traceparent string) string {
	const start, end = len("00-"), len("00-") + 32
	if len(traceparent) < len("00-")+32+len("-")+16+len("-01") || traceparent[start-1] != '-' || traceparent[end] != '-' {
		return ""
	}
	id := traceparent[start:end]
	if strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// Append appends the record as one line of JSON. The duration is in microseconds.
func (r *Record) Append(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	text := func(key, value string) {
		if value != "" {
			b = appendString(append(append(append(b, `,"`...), key...), `":`...), value)
		}
	}
	text("function", r.Function)
	if r.Event != 0 {
		text("event", r.Event.String())
	}
	if r.DPID != 0 {
		text("dpid", r.DPID.String())
	}
	text("id", r.ID)
	text("session", r.Session)
	text("trace_id", r.Trace)
	text("match", r.Match)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	text("verdict", r.Verdict)
	text("reason", r.Reason)
	text("policy", r.Policy)
	b = append(b, `,"duration_us":`...)
	b = strconv.AppendFloat(b, float64(r.Duration.Nanoseconds())/1000, 'f', 1, 64)
	text("error", r.Error)
	return append(b, "}\n"...)
}

const maxText = 1024

// appendString appends s as a JSON string, cut to maxText bytes. What isn't printable ASCII is
// replaced: a caller chose some of it, and it ends up on terminals.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, c := range []byte(s[:min(len(s), maxText)]) {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c > 0x7e:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// Writer writes records, one Write a record. A failed write changes nothing but a count.
type Writer struct {
	mu     sync.Mutex
	w      io.Writer
	buf    []byte
	failed atomic.Uint64
}

// NewWriter returns a Writer that writes to w. A nil *Writer discards, and is what comes of a nil w.
func NewWriter(w io.Writer) *Writer {
	if w == nil {
		return nil
	}
	return &Writer{w: w}
}

// Write writes one record.
func (w *Writer) Write(r *Record) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = r.Append(w.buf[:0])
	if _, err := w.w.Write(w.buf); err != nil {
		w.failed.Add(1)
	}
}

// Failed counts the records that could not be written.
func (w *Writer) Failed() uint64 {
	if w == nil {
		return 0
	}
	return w.failed.Load()
}
