package replay

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"switchbridge/flow"
)

// Record is what became of one event.
type Record struct {
	Event  int64     // from 1, in the order of the capture
	Agent  int       // from 0
	DPID   flow.DPID // of the agent's switch
	File   string
	Packet int       // number in the file, from 1
	Time   time.Time // of the packet in the capture
	Match  flow.Match

	Due     time.Duration // since the replay began
	Sent    time.Duration
	Latency time.Duration // from sending to the answer, the handshake included
	// Handshake is the part of Latency before the PACKET_IN itself went out
	// (Config.Handshake full).
	Handshake time.Duration

	Verdict flow.Verdict
	Rules   int    // FLOW_MODs in the answer; from a gateway: 1 or 0
	Reason  string // the function's
	Error   string // why there is no verdict
}

// FromDue is the latency from when the event was due.
func (r *Record) FromDue() time.Duration { return r.Sent - r.Due + r.Latency }

// Recorder takes records, in the order of their answers, from one goroutine. It
// must not keep the pointer.
type Recorder interface {
	Record(*Record) error
	Flush() error
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// jsonRecord is a record's line; columns below has the same names.
type jsonRecord struct {
	Event     int64     `json:"event"`
	Agent     int       `json:"agent"`
	DPID      string    `json:"dpid"`
	File      string    `json:"file"`
	Packet    int       `json:"packet"`
	Time      time.Time `json:"time"`
	Match     string    `json:"match"`
	Due       float64   `json:"due_us"`
	Sent      float64   `json:"sent_us"`
	Latency   float64   `json:"latency_us"`
	FromDue   float64   `json:"latency_from_due_us"`
	Handshake float64   `json:"handshake_us"`
	Verdict   string    `json:"verdict"`
	Rules     int       `json:"rules"`
	Reason    string    `json:"reason,omitempty"`
	Error     string    `json:"error,omitempty"`
}

type jsonRecorder struct {
	w *bufio.Writer
	e *json.Encoder
}

// NewJSONRecorder writes records as JSON, one a line. Times of day are RFC 3339,
// durations microseconds.
func NewJSONRecorder(w io.Writer) Recorder {
	b := bufio.NewWriterSize(w, 64<<10)
	return &jsonRecorder{b, json.NewEncoder(b)}
}

func (j *jsonRecorder) Record(r *Record) error {
	return j.e.Encode(jsonRecord{
		r.Event, r.Agent, r.DPID.String(), r.File, r.Packet, r.Time, r.Match.String(), micros(r.Due), micros(r.Sent), micros(r.Latency),
		micros(r.FromDue()), micros(r.Handshake), r.Verdict.String(), r.Rules, r.Reason, r.Error,
	})
}

func (j *jsonRecorder) Flush() error { return j.w.Flush() }

var columns = []string{"event", "agent", "dpid", "file", "packet", "time", "match", "due_us", "sent_us", "latency_us", "latency_from_due_us",
	"handshake_us", "verdict", "rules", "reason", "error"}

type csvRecorder struct {
	w      *csv.Writer
	header bool
}

// NewCSVRecorder writes records as CSV, under a line with the columns' names,
// which are those of the JSON.
func NewCSVRecorder(w io.Writer) Recorder { return &csvRecorder{w: csv.NewWriter(w)} }

func (c *csvRecorder) Record(r *Record) error {
	if !c.header {
		c.header = true
		if err := c.w.Write(columns); err != nil {
			return err
		}
	}
	us := func(d time.Duration) string { return strconv.FormatFloat(micros(d), 'f', -1, 64) }
	return c.w.Write([]string{
		strconv.FormatInt(r.Event, 10), strconv.Itoa(r.Agent), r.DPID.String(), r.File, strconv.Itoa(r.Packet), r.Time.Format(time.RFC3339Nano),
		r.Match.String(), us(r.Due), us(r.Sent), us(r.Latency), us(r.FromDue()), us(r.Handshake), r.Verdict.String(), strconv.Itoa(r.Rules),
		r.Reason, r.Error,
	})
}

func (c *csvRecorder) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

// ParseRecorder makes the Recorder for a format: json (or jsonl) or csv.
func ParseRecorder(format string, w io.Writer) (Recorder, error) {
	switch format {
	case "json", "jsonl":
		return NewJSONRecorder(w), nil
	case "csv":
		return NewCSVRecorder(w), nil
	}
	return nil, fmt.Errorf("format %q of records: want json or csv", format)
}
