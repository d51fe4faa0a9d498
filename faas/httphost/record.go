package httphost

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Record is the JSON line of one event.
type Record struct {
	Time     time.Time `json:"time"` // when the request had come in
	Event    string    `json:"event,omitempty"`
	ID       string    `json:"id,omitempty"`
	DPID     string    `json:"dpid,omitempty"`
	Session  string    `json:"session,omitempty"`
	Encoding string    `json:"encoding,omitempty"`
	Match    string    `json:"match,omitempty"` // of a packet
	Status   int       `json:"status"`
	Verdict  string    `json:"verdict,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Rules    int       `json:"rules"`
	DecideUS float64   `json:"decide_us"` // microseconds in the controller
	TotalUS  float64   `json:"total_us"`  // and in all
	Error    string    `json:"error,omitempty"`
}

// recorder writes records, one at a time.
type recorder struct {
	mu  sync.Mutex
	out *json.Encoder
}

func newRecorder(w io.Writer) *recorder {
	if w == nil {
		return nil
	}
	return &recorder{out: json.NewEncoder(w)}
}

// write records c. A nil recorder writes nothing; that a record can't be
// written stops no event.
func (r *recorder) write(c *call) {
	if r == nil {
		return
	}
	rec := Record{
		Time:     c.started,
		ID:       c.ev.ID,
		Session:  c.ev.Session,
		Encoding: c.encoding,
		Status:   c.status,
		DecideUS: microseconds(c.decided),
		TotalUS:  microseconds(time.Since(c.started)),
	}
	if c.ev.Type != 0 {
		rec.Event = c.ev.Type.String()
	}
	if c.ev.Switch != nil {
		rec.DPID = c.ev.Switch.DPID.String()
	}
	if c.ev.PacketIn != nil {
		rec.Match = c.ev.PacketIn.Match.String()
	}
	if c.err != nil {
		rec.Error = c.err.Error()
	} else {
		rec.Verdict, rec.Reason, rec.Rules = c.d.Verdict.String(), c.d.Reason, len(c.d.Rules)
		if !c.d.Policy.IsZero() {
			rec.Policy = c.d.Policy.String()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Encode(&rec)
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
