package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"switchbridge/controller"
)

// CheckRecord says whether a line is the decision record of an event that was decided by Policy,
// in the one form that all hosts write.
func CheckRecord(line []byte) error {
	var r struct {
		Time       time.Time `json:"time"`
		Function   string    `json:"function"`
		Event      string    `json:"event"`
		DPID       string    `json:"dpid"`
		ID         string    `json:"id"`
		Session    string    `json:"session"`
		Match      string    `json:"match"`
		Status     int       `json:"status"`
		Verdict    string    `json:"verdict"`
		Reason     string    `json:"reason"`
		Policy     string    `json:"policy"`
		DurationUS *float64  `json:"duration_us"`
		Error      string    `json:"error"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return fmt.Errorf("record %q: %w", line, err)
	}
	switch {
	case d.More():
		return fmt.Errorf("record %q: more than one on its line", line)
	case r.Time.IsZero(), !strings.HasPrefix(r.Event, "switchbridge."), r.DPID != "00000000000000ab", r.ID == "", r.Session == "",
		r.Status != 200, r.Error != "", r.Policy != controller.New(Policy()).Version().String(),
		r.DurationUS == nil, *r.DurationUS < 0:
		return fmt.Errorf("record %q: a field is missing or wrong", line)
	}
	switch r.Verdict {
	case "none":
	case "allow", "deny":
		if r.Reason == "" {
			return fmt.Errorf("record %q: no reason", line)
		}
	default:
		return fmt.Errorf("record %q: verdict %q", line, r.Verdict)
	}
	return nil
}
