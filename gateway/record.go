package gateway

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"switchbridge/bridge"
	"switchbridge/faas/distribution/policyhost"
	"switchbridge/flow"
	"switchbridge/settings"
)

// recorder counts decisions, writes records of some to the log, and of all to a
// file where one is configured.
type recorder struct {
	log   *slog.Logger
	mode  atomic.Value // string: settings.Log.Decisions
	limit logLimit
	file  *recordFile // nil: none
	feed  *feed       // of the page; nil: there is no admin side
	// local is the policy of this process, which is told of packets; nil: none.
	local atomic.Pointer[policyhost.File]
	// shadow is asked about what was decided; nil: none.
	shadow atomic.Pointer[shadow]

	decisions *prometheus.CounterVec // verdict, policy
	failures  *prometheus.CounterVec // kind
	// For each verdict, the counter of the policy seen last: looking a labelled
	// counter up costs more than a decision in process.
	last [3]lastCounter

	mu       sync.Mutex
	policies map[string]bool
}

func newRecorder(log *slog.Logger, set *settings.Log, reg prometheus.Registerer) (*recorder, error) {
	r := &recorder{log: log, policies: map[string]bool{},
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_decisions_total",
			Help: "Decisions by verdict and by the policy of the chain that made them."}, []string{"verdict", "policy"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_decision_failures_total",
			Help: "Events without a decision, by kind: unavailable, refused, invalid, overload."}, []string{"kind"}),
	}
	r.setMode(set.Decisions)
	r.limit = logLimit{log: log, perSwitch: uint32(set.DecisionsRate)}
	unlogged := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "switchbridge_decisions_unlogged_total",
		Help: "Decisions beyond the rate at which they are logged."}, func() float64 { return float64(r.limit.total.Load()) })
	reg.MustRegister(r.decisions, r.failures, unlogged)
	var err error
	r.file, err = newRecordFile(set, log, reg)
	return r, err
}

// setMode says which decisions are recorded in the log from now on.
func (r *recorder) setMode(mode string) { r.mode.Store(mode) }

// observe is the bridge's OnDecision. It is called by many at a time.
func (r *recorder) observe(rec *bridge.Record) {
	failure := rec.Failure() // the fail mode's answer may be there
	if failure != nil {
		r.failures.WithLabelValues(flow.KindOf(failure).String()).Inc()
	}
	switch {
	case failure != nil:
	case rec.Event.Type == flow.EventPacketIn:
		if p := r.local.Load(); p != nil {
			p.Saw(&rec.Event.PacketIn.Match)
		}
		r.counter(rec.Decision).Inc()
	}
	if s := r.shadow.Load(); s == nil || !s.offer(rec, failure) {
		r.file.put(rec, failure)
	}
	r.feed.put(rec, failure)
	if mode := r.mode.Load().(string); !asked(rec) && (mode == "off" || mode == "deny" && failure == nil && rec.Decision.Verdict != flow.Deny) {
		return
	}
	level := levelOf(failure)
	if !r.log.Enabled(context.Background(), level) || !r.limit.take(rec, failure) {
		return
	}
	var one decision
	one.fill(rec, failure)
	attrs := one.attrs()
	if r.limit.fits(rec, failure, lineLen(attrs)) {
		r.log.LogAttrs(context.Background(), level, "decision", attrs...)
	}
}

// asked reports whether the entry that decided wants the decision in the log.
func asked(rec *bridge.Record) bool { return rec.Err == nil && rec.Decision.Log }

// lineLen is about how many bytes a line of the log with attrs has.
func lineLen(attrs []slog.Attr) int {
	n := len(`time=2006-01-02T15:04:05.000Z level=INFO msg=decision `)
	for _, a := range attrs {
		n += len(a.Key) + len(a.Value.String()) + len(`="" `)
	}
	return n
}

func levelOf(failure error) slog.Level {
	if failure != nil {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// decision is what is kept of one for the log and the file of records. It points
// to nothing of the session's.
type decision struct {
	at      time.Time
	dpid    flow.DPID
	number  uint32
	event   flow.EventType
	packet  bool // match is a packet's
	match   flow.Match
	flags   flow.TCPFlags // of a TCP packet that shows them
	tcp     bool
	failure string
	decided bool // what follows is known
	verdict flow.Verdict
	logged  bool // the policy wants it in the log
	reason  string
	policy  flow.PolicyVersion
	rules   int
	refused int
	reused  uint32 // the number of the decision whose answer it is; 0: its own
	decide  time.Duration
	total   time.Duration
	wait    time.Duration
	trace   string

	shadowFailure string // why a shadow has given no answer
	shadowed      bool   // what follows is known
	shadowVerdict flow.Verdict
	shadowReason  string
	shadowPolicy  flow.PolicyVersion
}

func (d *decision) fill(rec *bridge.Record, failure error) {
	d.fillWith(rec, failure)
	if d.decided {
		d.rules, d.reason = len(rec.Decision.Rules), strings.Clone(rec.Decision.Reason)
	}
}

// fillWith is fill without what the session uses again: the rules and the reason.
func (d *decision) fillWith(rec *bridge.Record, failure error) {
	*d = decision{at: rec.Event.Time, dpid: rec.Switch.DPID, number: rec.Event.XID, event: rec.Event.Type, refused: rec.Refused,
		decide: rec.Decide, total: rec.Total, wait: rec.Wait, trace: rec.Trace}
	if pi := rec.Event.PacketIn; pi != nil {
		d.packet, d.match = true, pi.Match
		d.flags, d.tcp = pi.ReadTCPFlags()
	}
	if failure != nil {
		d.failure = failure.Error()
	}
	if rec.Err == nil {
		d.decided, d.verdict, d.policy = true, rec.Decision.Verdict, rec.Decision.Policy
		d.logged, d.reused = rec.Decision.Log, rec.Decision.Reused
	}
}

func (d *decision) attrs() []slog.Attr {
	attrs := make([]slog.Attr, 0, 20)
	attrs = append(attrs, slog.String("dpid", d.dpid.String()), slog.Uint64("decision", uint64(d.number)), slog.String("event", d.event.String()))
	if d.packet {
		attrs = append(attrs, slog.String("match", d.match.String()))
		if d.tcp {
			attrs = append(attrs, slog.String("tcp_flags", d.flags.String()))
		}
	}
	if d.failure != "" {
		attrs = append(attrs, slog.String("err", d.failure))
	}
	if d.decided {
		attrs = append(attrs, slog.String("verdict", d.verdict.String()), slog.String("reason", d.reason), slog.Int("rules", d.rules))
		if !d.policy.IsZero() {
			attrs = append(attrs, slog.String("policy", d.policy.String()))
		}
		if d.logged {
			attrs = append(attrs, slog.Bool("log", true))
		}
		if d.reused != 0 {
			attrs = append(attrs, slog.Uint64("reused_from", uint64(d.reused)))
		}
		if d.refused > 0 {
			attrs = append(attrs, slog.Int("rules_refused", d.refused))
		}
	}
	attrs = append(attrs, slog.Float64("decide_seconds", seconds(d.decide)), slog.Float64("total_seconds", seconds(d.total)))
	if d.wait > 0 {
		attrs = append(attrs, slog.Float64("wait_seconds", seconds(d.wait)))
	}
	if d.trace != "" {
		attrs = append(attrs, slog.String("trace_id", d.trace))
	}
	if d.shadowFailure != "" {
		attrs = append(attrs, slog.String("shadow_err", d.shadowFailure))
	}
	if d.shadowed {
		attrs = append(attrs, slog.String("shadow_verdict", d.shadowVerdict.String()), slog.String("shadow_reason", d.shadowReason))
		if !d.shadowPolicy.IsZero() {
			attrs = append(attrs, slog.String("shadow_policy", d.shadowPolicy.String()))
		}
	}
	return attrs
}

// seconds are those of d, to the nanosecond and no further: [time.Duration.Seconds] adds two numbers, which gives 1.1863098380000001.
func seconds(d time.Duration) float64 { return float64(d) / float64(time.Second) }

// lastCounter remembers one labelled counter.
type lastCounter struct {
	at atomic.Pointer[namedCounter]
}

type namedCounter struct {
	policy  string
	counter prometheus.Counter
}

// counter returns the counter of a decision's verdict and policy. The policy is the part
// of the reason before the colon, such as blocklist. A function may make up any number
// of reasons, so names beyond maxPolicies are counted together.
func (r *recorder) counter(d *flow.Decision) prometheus.Counter {
	policy, _, _ := strings.Cut(d.Reason, ":")
	slot := &r.last[d.Verdict%3].at
	if c := slot.Load(); c != nil && c.policy == policy {
		return c.counter
	}
	label := policy
	r.mu.Lock()
	if !r.policies[policy] {
		if len(r.policies) < maxPolicies {
			r.policies[strings.Clone(policy)] = true
		} else {
			label = "other"
		}
	}
	r.mu.Unlock()
	c := &namedCounter{policy: strings.Clone(policy), counter: r.decisions.WithLabelValues(d.Verdict.String(), label)}
	slot.Store(c)
	return c.counter
}

// maxPolicies bounds the values of the label policy.
const maxPolicies = 50

// latencies estimates quantiles of the whole stage from its histogram.
func latencies(g prometheus.Gatherer, quantiles ...float64) (count uint64, values []float64) {
	values = make([]float64, len(quantiles))
	families, err := g.Gather()
	if err != nil {
		return 0, values
	}
	for _, f := range families {
		if f.GetName() != "switchbridge_stage_seconds" {
			continue
		}
		var all dto.Histogram // of both protocols
		for _, m := range f.GetMetric() {
			if label(m, "stage") == "total" {
				add(&all, m.GetHistogram())
			}
		}
		for i, q := range quantiles {
			values[i] = quantile(&all, q)
		}
		return all.GetSampleCount(), values
	}
	return 0, values
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// add adds a histogram to one with the same buckets, or none yet.
func add(sum, h *dto.Histogram) {
	n := sum.GetSampleCount() + h.GetSampleCount()
	sum.SampleCount = &n
	for i, b := range h.GetBucket() {
		if i == len(sum.Bucket) {
			sum.Bucket = append(sum.Bucket, &dto.Bucket{UpperBound: b.UpperBound})
		}
		c := sum.Bucket[i].GetCumulativeCount() + b.GetCumulativeCount()
		sum.Bucket[i].CumulativeCount = &c
	}
}

// quantile interpolates within the bucket that holds the q-th sample.
// There is none without samples, for which it returns 0.
func quantile(h *dto.Histogram, q float64) float64 {
	if h.GetSampleCount() == 0 {
		return 0
	}
	rank := q * float64(h.GetSampleCount())
	lower, below := 0.0, 0.0
	for _, b := range h.GetBucket() {
		at := float64(b.GetCumulativeCount())
		if at >= rank && at > below {
			return lower + (b.GetUpperBound()-lower)*(rank-below)/(at-below)
		}
		lower, below = b.GetUpperBound(), at
	}
	return lower
}

// DecisionStats sums up what was decided since the start. Latencies are in
// seconds, from a PACKET_IN's read to its answer handed to the connection.
type DecisionStats struct {
	Allow  uint64  `json:"allow"`
	Deny   uint64  `json:"deny"`
	None   uint64  `json:"none"`
	Failed uint64  `json:"failed"`
	Count  uint64  `json:"count"`
	P50    float64 `json:"p50,omitempty"` // absent where Count is 0
	P90    float64 `json:"p90,omitempty"`
	P99    float64 `json:"p99,omitempty"`
}

func (r *recorder) stats(g prometheus.Gatherer) DecisionStats {
	var st DecisionStats
	sum := func(vec prometheus.Collector, label, value string) (n uint64) {
		ch := make(chan prometheus.Metric, 64)
		go func() { vec.Collect(ch); close(ch) }()
		for m := range ch {
			var d dto.Metric
			if m.Write(&d) != nil {
				continue
			}
			for _, l := range d.GetLabel() {
				if l.GetName() == label && (value == "" || l.GetValue() == value) {
					n += uint64(d.GetCounter().GetValue())
				}
			}
		}
		return n
	}
	st.Allow = sum(r.decisions, "verdict", "allow")
	st.Deny = sum(r.decisions, "verdict", "deny")
	st.None = sum(r.decisions, "verdict", "none")
	st.Failed = sum(r.failures, "kind", "")
	var v []float64
	st.Count, v = latencies(g, .5, .9, .99)
	st.P50, st.P90, st.P99 = v[0], v[1], v[2]
	return st
}
