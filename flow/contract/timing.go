package contract

import (
	"strconv"
	"strings"
	"time"
)

// Headers by which a function's own times reach a trace: W3C Trace Context in the request, W3C Server Timing in the answer.
const (
	headerTraceParent = "Traceparent"
	HeaderTiming      = "Server-Timing"
)

// Timing is how long a function took for a part of its work.
type Timing struct {
	Name string
	Took time.Duration
}

// Bounds of what is believed of an answer.
const (
	maxTimings    = 8
	maxTimingName = 32
)

// Timings are taken while an event is answered, one part after the other. A nil one takes none.
type Timings struct {
	parts []Timing
	last  time.Time
}

// NewTimings returns nil unless the request says that its event's trace is kept (Trace Context 3.2.2.5, sampled).
func NewTimings(h Header) *Timings {
	parent := h.Get(headerTraceParent)
	if len(parent) < len("00-")+32+len("-")+16+len("-01") {
		return nil
	}
	flags, err := strconv.ParseUint(parent[53:55], 16, 8)
	if err != nil || flags&1 == 0 {
		return nil
	}
	return &Timings{last: time.Now()}
}

// Done says that a part, whose name is a token of HTTP, ends now. It began when the one before it ended.
func (t *Timings) Done(name string) {
	if t == nil {
		return
	}
	now := time.Now()
	t.parts = append(t.parts, Timing{name, now.Sub(t.last)})
	t.last = now
}

// Put puts the parts into an answer.
func (t *Timings) Put(h Header) {
	if t == nil || len(t.parts) == 0 {
		return
	}
	var b []byte
	for i, p := range t.parts {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, p.Name...), ";dur="...)
		b = strconv.AppendFloat(b, float64(p.Took.Microseconds())/1000, 'f', -1, 64) // milliseconds
	}
	h.Set(HeaderTiming, string(b))
}

// ParseTimings reads the parts in the values of an answer's header, which a proxy on the way may have added to. What has no
// duration is passed over. Of parts that are too many, or that together took longer than the request, none is believed; a millisecond
// more is no lie, since the clock of Workers is no finer.
func ParseTimings(values []string, request time.Duration) []Timing {
	var parts []Timing
	total := time.Duration(0)
	for _, value := range values {
		for metric := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(metric, ";")
			name = strings.TrimSpace(name)
			took, ok := duration(params)
			if !ok || name == "" || len(name) > maxTimingName || strings.Trim(name, tokenCharacters) != "" {
				continue
			}
			if total += took; total > request+time.Millisecond || len(parts) == maxTimings {
				return nil
			}
			parts = append(parts, Timing{name, took})
		}
	}
	return parts
}

// tokenCharacters are those of names in HTTP (RFC 9110, 5.6.2).
const tokenCharacters = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func duration(params string) (time.Duration, bool) {
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(key), "dur") {
			continue
		}
		ms, err := strconv.ParseFloat(strings.Trim(strings.TrimSpace(value), `"`), 64)
		const day = 24 * 60 * 60 * 1000
		return time.Duration(ms * float64(time.Millisecond)), err == nil && ms >= 0 && ms < day
	}
	return 0, false
}
