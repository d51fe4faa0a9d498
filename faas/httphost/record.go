package httphost

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"switchbridge/faas/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// Record is the JSON line of one event.
type Record struct {
	Time     time.Time `json:"time"`               // when the request had come in
	Function string    `json:"function,omitempty"` // where a server has names for them
	Event    string    `json:"event,omitempty"`
	ID       string    `json:"id,omitempty"`
	DPID     string    `json:"dpid,omitempty"`
	Session  string    `json:"session,omitempty"`
	Encoding string    `json:"encoding,omitempty"`
	Match    string    `json:"match,omitempty"` // of a packet; where the event was decoded here
	Status   int       `json:"status"`
	Verdict  string    `json:"verdict,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Rules    *int      `json:"rules,omitempty"` // where the decision was encoded here
	DecideUS float64   `json:"decide_us"`       // microseconds in the controller
	TotalUS  float64   `json:"total_us"`        // and in all
	Error    string    `json:"error,omitempty"`
}

// recorder writes records, one at a time.
type recorder struct {
	mu       sync.Mutex
	out      *json.Encoder
	function string
}

func newRecorder(function string, w io.Writer) *recorder {
	if w == nil {
		return nil
	}
	return &recorder{out: json.NewEncoder(w), function: function}
}

// write records c. A nil recorder writes nothing; that a record can't be
// written stops no event.
func (r *recorder) write(c *call) {
	if r == nil {
		return
	}
	rec := Record{
		Time:     c.started,
		Function: r.function,
		Encoding: c.encoding,
		Status:   c.status,
		DecideUS: microseconds(c.decided),
		TotalUS:  microseconds(time.Since(c.started)),
	}
	if c.direct {
		rec.ofGuest(&c.request, &c.reply)
	} else {
		rec.ofEvent(&c.ev)
	}
	switch {
	case c.err != nil:
		rec.Error = c.err.Error()
	case !c.direct:
		rules := len(c.d.Rules)
		rec.Verdict, rec.Reason, rec.Rules = c.d.Verdict.String(), c.d.Reason, &rules
		if !c.d.Policy.IsZero() {
			rec.Policy = c.d.Policy.String()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Encode(&rec)
}

func (rec *Record) ofEvent(ev *flow.Event) {
	rec.ID, rec.Session = ev.ID, ev.Session
	if ev.Type != 0 {
		rec.Event = ev.Type.String()
	}
	if ev.Switch != nil {
		rec.DPID = ev.Switch.DPID.String()
	}
	if ev.PacketIn != nil {
		rec.Match = ev.PacketIn.Match.String()
	}
}

func (rec *Record) ofGuest(r *guest.Request, a *guest.Answer) {
	rec.ID, rec.Session = r.ID, r.Session
	if r.Event != 0 {
		rec.Event, rec.DPID = r.Event.String(), flow.DPID(r.DPID).String()
	}
	rec.Verdict, rec.Reason, rec.Policy = a.Verdict, contract.Printable(a.Reason), a.Policy
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
