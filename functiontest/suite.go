// Package functiontest says of any function whether it keeps the contract (docs/contract.md): it asks events of every type as a gateway
// does, and judges the answers as one. It knows nothing of what the function is to decide, so it judges promises: a rule that a gateway
// would not install, an answer for a fragment that packets with ports contradict, a repeat that is decided otherwise.
//
// What it finds is so; what it does not find may still be there, since it asks a few hundred of all packets.
package functiontest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
)

// Config says which function is tested, and by what.
type Config struct {
	Exchange Exchange

	// Encodings must be spoken (openflow, json). Empty: whichever the function speaks, one at least.
	Encodings []string

	// Checks are the names of those to make; empty: all. Those of the events are always made, since the others look at their answers.
	Checks []string

	// Packets are asked about beside the suite's own.
	Packets []Case

	// Concurrency is how many events are under way at a time in the check of that name; 0: DefaultConcurrency.
	Concurrency int

	// Samples is how many events the latency is measured with; 0: DefaultSamples. MaxLatency is what 99 of 100 must be answered within; 0:
	// no limit.
	Samples    int
	MaxLatency time.Duration
}

// What is asked where nothing is said.
const (
	DefaultConcurrency = 32
	DefaultSamples     = 100
)

// Status is what became of a check.
type Status uint8

const (
	Passed  Status = iota
	Warned         // the contract says should
	Skipped        // the function does not offer it
	Failed
)

func (s Status) String() string { return [...]string{"ok", "warning", "skipped", "FAILED"}[s&3] }

// Result is a check in one encoding.
type Result struct {
	Encoding string // openflow, openflow-full or json
	Check    string
	About    string // what it looks at, and the section of docs/contract.md
	Status   Status
	Asked    int      // events
	Details  []string // what was found; what was measured; why it was skipped. At most maxDetails
	More     int      // further ones, which are left out
	Took     time.Duration
}

// maxDetails bounds what is kept of one check.
const maxDetails = 5

// encoding is a way of asking.
type encoding struct {
	name  string
	codec contract.Codec
	full  bool // with the whole handshake, which few functions offer
}

var encodings = []encoding{
	{"openflow", openflow.Codec{}, false},
	{"openflow-full", openflow.Codec{Full: true}, true},
	{"json", jsonenc.Codec{}, false},
}

// check is one thing that is looked at, in every encoding that the function speaks.
type check struct {
	name, about string
	section     string // of docs/contract.md
	run         func(*session)
	full        bool // also with the whole handshake
}

// checks are in the order in which they are made. The first asks what most of the others look at.
var checks = []check{
	{"packet_in", "packets of OpenFlow 1.0 and 1.3 and P4 digests get answers", "events", (*session).packetIn, true},
	{"switch_connected", "the event gets an answer", "events", event(flow.EventSwitchConnected), true},
	{"flow_removed", "the event gets an answer", "events", event(flow.EventFlowRemoved), true},
	{"port_status", "the event gets an answer", "events", event(flow.EventPortStatus), true},
	{"error", "the event gets an answer", "events", event(flow.EventError), true},
	{"policy_check", "the event gets an answer", "events", event(flow.EventPolicyCheck), true},
	{"handshake", "HELLO and FEATURES_REPLY get the answers that a switch expects", "events", (*session).handshake, true},
	{"rules", "a gateway with default guardrails installs every rule and carries out every packet_out", "what-an-answer-means-for-the-packet", (*session).rules, true},
	{"verdict", "the verdict says what the rules and packet_out do", "answer", (*session).verdict, true},
	{"accepts", "an answer has no member that its gateway does not accept", "request", (*session).accepts, false},
	{"incomplete", "the answer about a fragment is also right for the packets that the fragment may belong to", "incomplete-packets", (*session).incomplete, false},
	{"reply", "if_reply comes with a deny for exactly this conversation, and lets the packet pass", "replies", (*session).reply, false},
	{"reuse", "an answer with reuse is right for every packet with the same values in its fields", "one-answer-for-many-packets", (*session).reuse, false},
	{"states", "versions of states never get smaller, and P4 entries depend on no state", "rules-that-rest-on-a-state", (*session).states, false},
	{"state", "the function takes its travelling state back, and a damaged one does no harm", "state", (*session).state, false},
	{"stateful", "if the function's decisions write a store, every answer says so", "answer", (*session).stateful, false},
	{"policy", "the answers name one policy version, which never gets smaller", "policy-version", (*session).policy, false},
	{"repeat", "an event that is sent again gets the same answer", "status", (*session).repeat, false},
	{"concurrency", "events sent at the same time get the same answers as one by one", "limits", (*session).concurrency, false},
	{"newer gateway", "the function ignores members, headers and names that it does not know", "applicationjson", (*session).newer, false},
	{"bad input", "the function refuses what it can't read, with 4xx", "request", (*session).badInput, false},
	{"latency", "answers come in time", "status", (*session).latency, false},
}

// Names are those of the checks.
func Names() (list []string) {
	for _, c := range checks {
		list = append(list, c.name)
	}
	return list
}

// Run makes every check, and says what became of it. It ends early, with what it has, when ctx is done.
func Run(ctx context.Context, cfg Config) []Result {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	if cfg.Samples == 0 {
		cfg.Samples = DefaultSamples
	}
	cases := append(Cases(), cfg.Packets...)
	var results []Result
	spoken := 0
	decided := make(map[string]map[string]*answer) // of an encoding, of a case
	for _, e := range encodings {
		s := &session{ctx: ctx, cfg: &cfg, encoding: e, cases: cases}
		wanted := slices.Contains(cfg.Encodings, e.name)
		if e.full && decided["openflow"] == nil || !e.full && len(cfg.Encodings) > 0 && !wanted {
			continue
		}
		why, err := s.offered()
		if err != nil {
			return append(results, Result{Encoding: e.name, Check: "encoding", About: aboutAnswers, Status: Failed, Asked: 1, Details: []string{err.Error()}})
		}
		if why != "" {
			r := Result{Encoding: e.name, Check: "encoding", About: "the function speaks it", Status: Skipped, Asked: 1, Details: []string{why}}
			if wanted {
				r.Status = Failed
			}
			results = append(results, r)
			continue
		}
		spoken++
		for _, c := range checks {
			left := len(cfg.Checks) > 0 && c.section != "events" && !slices.Contains(cfg.Checks, c.name)
			if e.full && !c.full || left || ctx.Err() != nil {
				continue
			}
			results = append(results, s.make(c))
		}
		decided[e.name] = s.answers
		if other := decided["openflow"]; e.name != "openflow" && other != nil && len(cfg.Checks) == 0 {
			results = append(results, s.make(check{name: "encodings agree", about: "the decisions are those of openflow", section: "request",
				run: func(s *session) { s.agree(other) }}))
		}
	}
	if spoken == 0 {
		results = append(results, Result{Encoding: "any", Check: "encoding", About: "the function speaks one of them", Status: Failed,
			Details: []string{fmt.Sprintf("it speaks neither %s nor %s", contract.TypeOpenFlow, contract.TypeJSON)}})
	}
	if err := ctx.Err(); err != nil {
		results = append(results, Result{Encoding: "any", Check: "end", About: "every check was made", Status: Failed, Details: []string{err.Error()}})
	}
	return results
}

// aboutAnswers is what is looked at before all checks.
const aboutAnswers = "the function answers"

// NoAnswer reports whether nothing answered at all, so that results say nothing about a function.
func NoAnswer(results []Result) bool {
	return len(results) == 1 && results[0].About == aboutAnswers
}

// AnyFailed reports whether a check has failed; with strict, or has a warning.
func AnyFailed(results []Result, strict bool) bool {
	for _, r := range results {
		if r.Status == Failed || strict && r.Status == Warned {
			return true
		}
	}
	return false
}

// session is what is asked in one encoding.
type session struct {
	ctx context.Context
	cfg *Config
	encoding
	cases   []Case
	answers map[string]*answer // of cases, as they were asked one by one
	asked   int                // all events so far
	row     *Result            // of the check that is being made
}

// make makes one check.
func (s *session) make(c check) Result {
	r := Result{Encoding: s.name, Check: c.name, About: c.about + " (#" + c.section + ")"}
	s.row = &r
	start := time.Now()
	c.run(s)
	r.Took = time.Since(start)
	return r
}

func (s *session) add(status Status, format string, args ...any) {
	if status > s.row.Status {
		if s.row.Status == Passed || status == Failed { // what was said of a lesser status says nothing now
			s.row.Details, s.row.More = nil, 0
		}
		s.row.Status = status
	} else if status < s.row.Status {
		return
	}
	if len(s.row.Details) == maxDetails {
		s.row.More++
		return
	}
	s.row.Details = append(s.row.Details, contract.Printable(fmt.Sprintf(format, args...)))
}

func (s *session) fail(format string, args ...any) { s.add(Failed, format, args...) }
func (s *session) warn(format string, args ...any) { s.add(Warned, format, args...) }
func (s *session) skip(format string, args ...any) { s.add(Skipped, format, args...) }
func (s *session) note(format string, args ...any) { s.add(Passed, format, args...) }

// fresh is a copy of an event with an id and an xid of its own.
func (s *session) fresh(ev *flow.Event) *flow.Event {
	s.asked++
	s.row.Asked++
	c := *ev
	c.ID, c.XID = fmt.Sprintf("function-test-%s-%d", s.name, s.asked), uint32(s.asked)
	return &c
}

// ask asks an event of its own id.
func (s *session) ask(name string, ev *flow.Event, change func(http.Header, []byte) []byte) *answer {
	a := ask(s.ctx, s.cfg.Exchange, s.codec, s.fresh(ev), change)
	a.name = name
	return a
}

// ofType asks all cases of a type, fails for those that get no answer a gateway can use, and keeps the answers.
func (s *session) ofType(t flow.EventType) (list []*answer) {
	if s.answers == nil {
		s.answers = make(map[string]*answer)
	}
	for _, c := range s.cases {
		if c.Event.Type != t {
			continue
		}
		a := s.ask(c.Name, c.Event, nil)
		s.answers[c.Name] = a
		if err := a.fault(); err != nil {
			s.fail("%s: %v", c.Name, err)
			continue
		}
		list = append(list, a)
	}
	return list
}

// decisions are the answers so far that are decisions, in the order of the cases.
func (s *session) decisions(yield func(*answer, *flow.Decision) bool) {
	for _, c := range s.cases {
		if a := s.answers[c.Name]; a != nil && a.decided() && !yield(a, a.decision()) {
			return
		}
	}
}

// offered says why the encoding is not spoken; empty where it is. An error says that nobody answers.
func (s *session) offered() (why string, err error) {
	s.row = new(Result)
	sw := Switch(flow.OpenFlow13)
	if s.full {
		for _, c := range s.cases {
			if c.Event.Type != flow.EventHandshake {
				continue
			}
			if a := s.ask(c.Name, c.Event, nil); !a.decided() {
				return "the function does not answer the handshake, so set the gateway's openflow.handshake to combined", nil
			} else if len(a.decision().Handshake) > 0 {
				return "", nil
			}
		}
		return "the function answers the handshake without messages, so set the gateway's openflow.handshake to combined", nil
	}
	check := s.ask("policy check", &flow.Event{Type: flow.EventPolicyCheck, Switch: sw, Session: "1", Accepts: flow.AcceptsAll}, nil)
	if check.err != nil || check.decided() {
		return "", check.err
	}
	if check.status == http.StatusUnsupportedMediaType {
		return check.refusal().Error(), nil
	}
	// A function that knows one encoding alone may refuse what it can't read, or answer in the other.
	i := slices.IndexFunc(s.cases, func(c Case) bool { return c.Event.PacketIn != nil && c.Event.Switch.Protocol == flow.OpenFlow13 })
	switch packet := s.ask("a packet", s.cases[i].Event, nil); {
	case packet.err != nil:
		return "", packet.err
	case packet.decided(), packet.status/100 == 5, packet.status == 401, packet.status == 403, packet.status == 429:
		return "", nil
	case packet.status/100 == 4:
		return packet.refusal().Error(), nil
	default:
		return packet.fault().Error(), nil
	}
}
