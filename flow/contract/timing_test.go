package contract

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A function takes its times where the trace is kept, and a gateway reads what it wrote.
func TestTimings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer := http.Header{}, http.Header{}
		asked.Set("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
		timings := NewTimings(asked)
		time.Sleep(1500 * time.Microsecond)
		timings.Done("policy")
		time.Sleep(20 * time.Millisecond)
		timings.Done("decide")
		timings.Put(answer)
		if got := answer.Get("Server-Timing"); got != "policy;dur=1.5, decide;dur=20" {
			t.Errorf("Server-Timing: %s", got)
		}
		want := []Timing{{"policy", 1500 * time.Microsecond}, {"decide", 20 * time.Millisecond}}
		if diff := cmp.Diff(want, ParseTimings(answer.Values("Server-Timing"), time.Second)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	for _, parent := range []string{"", "01", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-xx"} {
		h, answer := http.Header{}, http.Header{}
		h.Set("Traceparent", parent)
		timings := NewTimings(h)
		timings.Done("decide")
		timings.Put(answer)
		if timings != nil || len(answer) != 0 {
			t.Errorf("traceparent %q: %v", parent, answer)
		}
	}
}

// What others on the way write is no fault, and nobody's answer makes many spans, long ones, or ones with strange names.
func TestParseTimings(t *testing.T) {
	for _, row := range []struct {
		name   string
		values []string
		want   []Timing
	}{
		{"as of the specification", []string{`miss, db;dur=53, app;desc="x y";DUR="4.2"`, "cache ; dur = 1"},
			[]Timing{{"db", 53 * time.Millisecond}, {"app", 4200 * time.Microsecond}, {"cache", time.Millisecond}}},
		{"nothing took time", []string{"decide;dur=0"}, []Timing{{"decide", 0}}},
		{"no duration", []string{"cfL4;desc=\"?proto=TCP\"", "a;dur=", "a;dur=x", "a;dur=-1", "a;dur=NaN", "a;dur=Inf", "a;dur=1e300"}, nil},
		{"names", []string{";dur=1", "a b;dur=1", "é;dur=1", strings.Repeat("a", maxTimingName+1) + ";dur=1"}, nil},
		{"longer than the request", []string{"a;dur=600, b;dur=600"}, nil},
		{"many", []string{strings.Repeat("a;dur=1,", maxTimings+1)}, nil},
	} {
		if diff := cmp.Diff(row.want, ParseTimings(row.values, time.Second)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
}
