package gateway

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// treatment is what an answer comes to for its packet, or, for another event, for the switch.
type treatment struct {
	verdict flow.Verdict
	reason  string
	actions []flow.Action
	rules   int
	reject  bool // of a packet that does not pass: who sent it is told
	open    bool // it hangs on whether the packet is a reply, and nobody knows
}

// same reports whether two answers treat an event alike. cut says that what the packet does is known of one of them by its verdict alone.
func (t *treatment) same(o *treatment, cut, packet bool) bool {
	if !packet {
		return t.rules == o.rules
	}
	a, b := t.passes(), o.passes()
	return a == b && (cut || a && slices.Equal(t.actions, o.actions) || !a && t.reject == o.reject)
}

// word is the verdict as a policy says it.
func (t *treatment) word() string {
	if t.reject && t.verdict == flow.Deny {
		return "reject"
	}
	return t.verdict.String()
}

// passes reports whether the packet passes, by the verdict or, without one, by what is done with it.
func (t *treatment) passes() bool {
	if t.verdict == flow.NoVerdict {
		return len(t.actions) > 0
	}
	return t.verdict == flow.Allow
}

// maxDisagreements is how many kinds of disagreements are told apart; the rest are counted together.
const maxDisagreements = 64

// shadowFigures are about one version of the policy beside one of the shadow's.
type shadowFigures struct {
	ShadowStatus
	first, second flow.PolicyVersion
	entries       map[entryPair]*Disagreement
	unasked       uint64 // events that were shed before
	mute          *bridge.Mute
}

// entryPair names the entries that decided, and what they said.
type entryPair struct {
	was, is       string // words of treatments
	first, second string
}

// ShadowStatus is GET /api/v1/shadow: how a second policy, or function, has decided about what the first one decided.
type ShadowStatus struct {
	Shadow string    `json:"shadow"`           // its policy file or URL
	Policy string    `json:"policy,omitempty"` // the version that its answers name
	Beside string    `json:"beside,omitempty"` // that of the first
	Since  time.Time `json:"since"`            // the first event that counts: another version of either begins anew

	Agree       uint64 `json:"agree"`
	Disagree    uint64 `json:"disagree"`
	Unexplained uint64 `json:"unexplained"` // of those: one of the two does not say which of its entries decided
	Undecided   uint64 `json:"undecided"`   // there is nothing to compare: the first failed, or whether a packet is a reply is not known
	Failed      uint64 `json:"failed"`      // the shadow gave no answer
	Shed        uint64 `json:"shed"`        // it was not asked, since there was no room or time
	Stale       uint64 `json:"stale"`       // answers of an older version of either

	// Disagreements are the most frequent kinds, the most frequent first; Others are counted together.
	Disagreements []Disagreement `json:"disagreements"`
	Others        uint64         `json:"other_disagreements"`
}

// Events is how many events there were.
func (s *ShadowStatus) Events() uint64 {
	return s.Agree + s.Disagree + s.Undecided + s.Failed + s.Shed + s.Stale
}

// Disagreement is a kind of event that the two decide differently: those that two entries decided.
type Disagreement struct {
	Count         uint64    `json:"count"`
	Last          time.Time `json:"last"`
	Verdict       string    `json:"verdict"`
	Entry         string    `json:"entry"` // of the first policy
	ShadowVerdict string    `json:"shadow_verdict"`
	ShadowEntry   string    `json:"shadow_entry"`
	Unexplained   bool      `json:"unexplained,omitempty"`

	// The latest of them.
	DPID         string `json:"dpid"`
	Decision     uint32 `json:"decision"` // the number in its record
	Match        string `json:"match,omitempty"`
	Reason       string `json:"reason"`
	ShadowReason string `json:"shadow_reason"`
}

func (d *Disagreement) key() string {
	return d.Verdict + d.Entry + "\x00" + d.ShadowVerdict + d.ShadowEntry
}

func (f *shadowFigures) reset(first, second flow.PolicyVersion, log *slog.Logger, unasked uint64) {
	*f = shadowFigures{first: first, second: second, entries: make(map[entryPair]*Disagreement), unasked: unasked, mute: &bridge.Mute{Log: log}}
	f.Since = time.Now()
}

// versions reports whether answers of these versions count, and begins anew where one of them is newer than before.
func (f *shadowFigures) versions(first, second flow.PolicyVersion, log *slog.Logger, unasked uint64) bool {
	switch {
	case first == f.first && second == f.second:
		return true
	case first != f.first && first.Serial <= f.first.Serial && !f.first.IsZero() || second != f.second && second.Serial <= f.second.Serial && !f.second.IsZero():
		return false
	}
	f.reset(first, second, log, unasked)
	return true
}

// note counts an event. It returns the kind of a disagreement.
func (f *shadowFigures) note(outcome shadowOutcome, q *question, second *treatment) (kind string) {
	switch outcome {
	case agree:
		f.Agree++
	case undecided:
		f.Undecided++
	case failed:
		f.Failed++
	case stale:
		f.Stale++
	case disagree:
		return f.disagreement(q, second)
	}
	return ""
}

func (f *shadowFigures) disagreement(q *question, second *treatment) (kind string) {
	f.Disagree++
	unexplained := q.one.reason == "" || second.reason == ""
	if unexplained {
		f.Unexplained++
	}
	key := entryPair{q.first.word(), second.word(), entryOf(q.one.reason), entryOf(second.reason)}
	d := f.entries[key]
	if d == nil {
		if len(f.entries) == maxDisagreements {
			f.Others++
			return ""
		}
		d = &Disagreement{Verdict: key.was, Entry: key.first, ShadowVerdict: key.is, ShadowEntry: key.second, Unexplained: unexplained}
		f.entries[key] = d
	}
	d.Count++
	d.Last, d.DPID, d.Decision, d.Match, d.Reason, d.ShadowReason = q.one.at, q.one.dpid.String(), q.one.number, "", q.one.reason, second.reason
	if q.one.packet {
		d.Match = q.one.match.String()
	}
	return d.key()
}

// entryOf is what names the entry in a reason: not what follows it, nor the address of a list.
func entryOf(reason string) string {
	reason, _, _ = strings.Cut(reason, "; ")
	kind, item, ok := strings.Cut(reason, ": ")
	if !ok {
		return reason
	}
	address, _, _ := strings.Cut(item, " ")
	if _, err := netip.ParsePrefix(address); err == nil {
		return kind
	}
	if _, err := netip.ParseAddr(address); err == nil {
		return kind
	}
	if _, err := flow.ParseMAC(address); err == nil {
		return kind
	}
	return reason
}

// status returns a copy.
func (s *shadow) status() ShadowStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.figures.ShadowStatus
	st.Shadow, st.Disagreements = s.name, []Disagreement{}
	st.Shed = s.unasked.Load() - s.figures.unasked
	second := s.figures.second
	if s.host != nil && second.IsZero() {
		second = s.host.Version()
	}
	for _, v := range []struct {
		of *string
		flow.PolicyVersion
	}{{&st.Policy, second}, {&st.Beside, s.figures.first}} {
		if !v.IsZero() {
			*v.of = v.String()
		}
	}
	for _, d := range s.figures.entries {
		st.Disagreements = append(st.Disagreements, *d)
	}
	slices.SortFunc(st.Disagreements, func(a, b Disagreement) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.key(), b.key()))
	})
	return st
}

// conversations are what a shadow has allowed to begin: by the headers of the packet that asks, without in_port, until when its rule lives
// at the most.
type conversations struct {
	mu    sync.Mutex
	until map[flow.Match]time.Time
}

const (
	maxConversations = 1 << 14
	// openFor is how long a rule without timeouts is taken to live.
	openFor = time.Hour
)

// note takes note of a conversation that an answer opens.
func (c *conversations) note(m *flow.Match, d *flow.Decision, now time.Time) {
	if !m.Converses() {
		return
	}
	key := m.Keep(flow.Conversation &^ flow.FieldInPort)
	for i := range d.Rules {
		r := &d.Rules[i]
		if !key.OpenedBy(r) {
			continue
		}
		life := openFor
		if r.HardTimeout > 0 {
			life = r.HardTimeout
		}
		c.mu.Lock()
		if len(c.until) >= maxConversations {
			for k, until := range c.until { // those that are over; and any, so that there is room
				if delete(c.until, k); !now.After(until) {
					break
				}
			}
		}
		if c.until == nil {
			c.until = make(map[flow.Match]time.Time)
		}
		c.until[key] = now.Add(life)
		c.mu.Unlock()
	}
}

// answers reports whether a packet answers one of them, or is an ICMP error about one that does.
func (c *conversations) answers(pi *flow.PacketIn, now time.Time) bool {
	m := &pi.Match
	if about, ok := pi.Quoted(); ok {
		m = &about
	}
	q, ok := m.Question()
	if !ok {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	until, known := c.until[q]
	return known && now.Before(until)
}
