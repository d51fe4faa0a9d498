package httphost

import (
	"net/http"
	"time"

	"switchbridge/faas/function/record"
	"switchbridge/flow"
)

// record is the decision record of an event that was answered.
func (c *call) record() record.Record {
	var rec record.Record
	if c.direct {
		rec = record.Of(&c.request, &c.reply)
	} else {
		rec = ofEvent(&c.ev)
		rec.Status = c.status
	}
	if !c.direct && c.status == http.StatusOK {
		rec.Verdict, rec.Reason = c.d.Verdict.String(), c.d.Reason
		if !c.d.Policy.IsZero() {
			rec.Policy = c.d.Policy.String()
		}
	}
	if c.err != nil {
		rec.Error = c.err.Error()
	}
	rec.Time, rec.Duration = c.started, time.Since(c.started)
	return rec
}

func ofEvent(ev *flow.Event) record.Record {
	rec := record.Record{Event: ev.Type, ID: ev.ID, Session: ev.Session}
	if ev.Switch != nil {
		rec.DPID = ev.Switch.DPID
	}
	if ev.PacketIn != nil {
		rec.Match = ev.PacketIn.Match.String()
	}
	return rec
}
