package decider

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"switchbridge/flow"
)

// ReuseLimits bound what a Reuse remembers.
type ReuseLimits struct {
	Entries int // default 65,536
	Bytes   int // about, of the entries; default 8 MiB, some 12,000 answers
}

const (
	maxShapes     = 16 // sets of fields that answers hang on, at a time
	maxReuseRules = 16 // of an answer that is kept
	// newestFor is how long the greatest serial of answers counts that no policy check has brought and no answer repeated.
	newestFor = time.Minute
)

// ReuseOutcome says in one word whether an answer was used again or kept, or why not. It is a metric's label.
type ReuseOutcome string

const (
	Reused  ReuseOutcome = "reused"  // a packet was answered without the function
	Replied ReuseOutcome = "replied" // likewise, by what the function said of replies
	Shared  ReuseOutcome = "shared"  // likewise, by the answer to a question that was under way
	Kept    ReuseOutcome = "kept"    // the function was asked, and its answer may be used again

	// Why an answer is not kept whose function says that it holds for other packets.
	NotIncomplete ReuseOutcome = "incomplete" // the packet does not show all headers, or is an ICMP error
	NotState      ReuseOutcome = "state"      // it rests on a state, or has one travel
	NotReply      ReuseOutcome = "if_reply"   // it hangs on what the switch holds
	NotEntries    ReuseOutcome = "entries"    // it has P4 table entries
	NotRules      ReuseOutcome = "rules"      // a rule has other values than the packet's own, or there are too many
	NotActions    ReuseOutcome = "actions"    // its actions mean something on one switch only, and it is for all
	NotVersion    ReuseOutcome = "version"    // it is of a policy version that does not count
	NotChanged    ReuseOutcome = "changed"    // what was known has been emptied since the question
	NotShapes     ReuseOutcome = "shapes"     // answers hang on too many different sets of fields
	NotFailure    ReuseOutcome = "failure"    // it is a fail mode's
)

// ReuseOutcomes are all that there are.
var ReuseOutcomes = []ReuseOutcome{Reused, Replied, Shared, Kept, NotIncomplete, NotState, NotReply, NotEntries, NotRules, NotActions, NotVersion, NotChanged, NotShapes, NotFailure}

// Reuse is the decorator that uses a remote function's answers again for other packets, where the function says for which
// ([flow.Decision.Reuse]). It stands around one function: an answer never reaches a packet that another function decides about.
//
// A packet is answered by an earlier answer if it has the same headers, by presence, and the same values in the fields that the answer
// hangs on and their prerequisites; the same metadata and tunnel; and if it comes from a switch of the same protocol (and P4 program), by
// the same table, reason and cookie. What is served is a decision as any other: its rules are made of the packet's own values, and the
// guardrails see them.
//
// A packet may differ from one that the function is being asked about only in fields that no answer so far has depended on. It then waits for that
// answer and looks again. If the answer doesn't fit, it asks itself.
//
// An answer that also says what becomes of replies is used for its own conversation only, on all switches. It says nothing of another conversation's
// replies, and each switch would have to ask about those; the function, asked about that conversation's first packet, answers for both directions.
//
// All answers are forgotten when the policy version changes, whether in this function's answers or in the gateway, and
// when an answer revokes a state.
type Reuse struct {
	next    flow.Decider
	limits  ReuseLimits // of a shelf
	version func() flow.PolicyVersion

	// OnOutcome, if set before use, is told what became of each answer of a function that uses this.
	OnOutcome func(ReuseOutcome)
	// Now, if set before use, is the clock: a simulation has one of its own.
	Now func() time.Time

	inUse atomic.Bool // something has been kept; else no packet is looked up

	mu         sync.Mutex         // of what follows
	generation uint64             // grows when all is forgotten
	checked    flow.PolicyVersion // what policy checks have brought to this function's name
	newest     flow.PolicyVersion // without one, the greatest that answers have
	newestAt   time.Time
	until      []time.Time          // of each of view's shapes: no answer of it lives longer
	hangs      shape                // what any answer has hung on: all of their fields together; none yet: no packet waits for another
	flights    map[string]*question // under way, by hangs

	// A packet is looked up without mu, which questions hold: a switch that floods asks many, and another switch's packet would wait for
	// whoever of them the kernel has paused in the middle.
	view    atomic.Pointer[view]      // replaced by a holder of mu
	replies atomic.Pointer[time.Time] // until when some answer says what becomes of replies; nil: none has
	shelves []shelf                   // the answers, by their key's hash; a holder of mu adds and empties
	seed    maphash.Seed

	kept atomic.Uint64 // answers, ever: what was looked for in vain need not be looked for again as long as it stays
}

// view is what a lookup needs to know. It is never modified.
type view struct {
	gateway flow.PolicyVersion // what version returned last
	shapes  []shape            // that answers depend on
}

// shelf has a part of the answers.
type shelf struct {
	mu      sync.Mutex
	entries *simplelru.LRU[string, *keptAnswer]
	bytes   int
}

// shelfEntries is how many answers a shelf holds at least: a memo that is bounded to few has one.
const shelfEntries, maxShelves = 1024, 16

// question is one that is under way.
type question struct {
	answered chan struct{} // closed with the answer; nil: nobody waits
}

// shape is a set of fields that answers depend on, with their prerequisites.
type shape struct {
	fields   flow.Field
	bySwitch bool
}

// keptAnswer is an answer that is used again. It is never modified.
type keptAnswer struct {
	asked, until time.Time
	bytes        int
	decision     uint32 // the number of the question

	verdict flow.Verdict
	reason  string
	policy  flow.PolicyVersion
	reply   bool // it is for packets that are replies
	reject  bool
	log     bool
	replies bool // it came with what becomes of replies, which is kept beside it for its own conversation

	rules  []keptRule
	hasOut bool
	out    []flow.Action
	why    string // of a reply

	// What most answers have, in the same piece of memory: a collector of garbage has less to look at.
	oneRule   [1]keptRule
	oneAction [1]flow.Action
}

// keptRule is an added rule without its match's values, which are those of the packet that is answered.
type keptRule struct {
	table, next      uint8
	priority         uint16
	flags            flow.RuleFlags
	coversIncomplete bool
	fields           flow.Field
	meter            uint32
	idle, hard       time.Duration
	actions          []flow.Action
}

// NewReuse makes a Reuse in front of next. version returns the gateway's policy version, which is the same for all functions.
func NewReuse(next flow.Decider, limits ReuseLimits, version func() flow.PolicyVersion) *Reuse {
	if limits.Entries == 0 {
		limits.Entries = 1 << 16
	}
	if limits.Bytes == 0 {
		limits.Bytes = 8 << 20
	}
	r := &Reuse{next: next, version: version, Now: time.Now, seed: maphash.MakeSeed()}
	r.view.Store(new(view))
	n := min(max(limits.Entries/shelfEntries, 1), maxShelves)
	r.limits = ReuseLimits{Entries: limits.Entries / n, Bytes: limits.Bytes / n}
	r.shelves = make([]shelf, n)
	for i := range r.shelves {
		r.shelves[i].entries, _ = simplelru.NewLRU[string, *keptAnswer](r.limits.Entries, nil) // it fails for 0 and less
	}
	return r
}

// Decide answers ev by an earlier answer where there is one, and asks next otherwise.
func (r *Reuse) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if ev.Looked != r.kept.Load()+1 && r.Recall(ev, d) { // else nothing has been kept since the caller looked
		return nil
	}
	asked := r.Now()
	generation, before, done := r.open(ev)
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			return flow.Errorf(flow.Unavailable, "waiting for the answer about a packet like it: %w", context.Cause(ctx))
		}
		asked = r.Now()
		if r.recall(ev, d, asked, Shared) {
			return nil
		}
		generation, _, done = r.open(ev)
	}
	defer done()
	err := r.next.Decide(ctx, ev, d)
	if ev.Type == flow.EventPolicyCheck {
		r.check(d.Policy, err)
		return err
	}
	if err != nil {
		return err
	}
	outcome := r.note(ev, d, generation, asked)
	d.Reuse = flow.Reuse{} // it has been dealt with
	if outcome != "" {
		r.count(outcome)
	}
	return nil
}

// Recall answers ev by an earlier answer if there is one.
func (r *Reuse) Recall(ev *flow.Event, d *flow.Decision) bool {
	if ev.PacketIn == nil || ev.Switch == nil {
		return false
	}
	kept := r.kept.Load()
	if r.inUse.Load() && r.recall(ev, d, r.Now(), Reused) {
		return true
	}
	ev.Looked = kept + 1
	return false
}

func (r *Reuse) count(outcome ReuseOutcome) {
	if r.OnOutcome != nil {
		r.OnOutcome(outcome)
	}
}

// open begins a question and returns its generation. If answers are forgotten while it is pending, the generation grows, and this question's answer is
// not kept. If a similar question is pending, before is closed when it ends; otherwise the caller must call done when this one ends.
func (r *Reuse) open(ev *flow.Event) (generation uint64, before <-chan struct{}, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sync()
	if r.hangs == (shape{}) || ev.PacketIn == nil || ev.Switch == nil || !tells(ev.PacketIn) {
		return r.generation, nil, func() {}
	}
	var room keyRoom
	key := string(keyOfPacket(room[:0], ev, r.hangs))
	if under, ok := r.flights[key]; ok {
		if under.answered == nil {
			under.answered = make(chan struct{})
		}
		return r.generation, under.answered, func() {}
	}
	if r.flights == nil {
		r.flights = make(map[string]*question)
	}
	mine := new(question)
	r.flights[key] = mine
	return r.generation, nil, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.flights[key] == mine {
			delete(r.flights, key)
		}
		if mine.answered != nil {
			close(mine.answered)
		}
	}
}

// sync forgets all answers if the gateway's policy version has changed. A lower serial than before is a rollback: then the versions that this function
// has named don't count any more, either. The caller holds mu.
func (r *Reuse) sync() {
	v, before := r.version(), r.view.Load().gateway
	if v == before {
		return
	}
	if v.Serial < before.Serial {
		r.checked, r.newest = flow.PolicyVersion{}, flow.PolicyVersion{}
	}
	r.view.Store(&view{gateway: v})
	r.clear()
}

// Forget forgets all.
func (r *Reuse) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
}

func (r *Reuse) clear() {
	r.generation++
	r.until = nil
	r.view.Store(&view{gateway: r.view.Load().gateway})
	r.flights = nil // nobody begins to wait for an answer that was made before
	for i := range r.shelves {
		r.shelves[i].clear()
	}
	r.inUse.Store(false)
}

// check notes the answer to a policy check.
func (r *Reuse) check(v flow.PolicyVersion, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		if flow.KindOf(err) == flow.Refused {
			r.checked = flow.PolicyVersion{}
		}
	case v == r.checked:
	case r.checked.IsZero() && v == r.newest:
		r.checked = v // all that is kept is of it
	case v.IsZero(), r.checked.IsZero(), v.Serial > r.checked.Serial:
		r.checked = v
		r.clear()
	default:
		r.clear() // the function was taken back; what counts stays as it is until somebody says so
	}
}

// counts reports whether answers of version v may be used again. If v is not the version of the answers before, it forgets all of them.
func (r *Reuse) counts(v flow.PolicyVersion, now time.Time) bool {
	switch {
	case !r.checked.IsZero():
		if v == r.checked {
			return true
		}
	case v == r.newest:
		r.newestAt = now
		return true
	case r.newest.IsZero(), v.Serial > r.newest.Serial, now.Sub(r.newestAt) > newestFor:
		r.newest, r.newestAt = v, now
		r.clear()
		return true
	}
	r.clear()
	return false
}

// note keeps an answer if it may be used again, and returns the outcome. The outcome is empty if the function doesn't allow it.
func (r *Reuse) note(ev *flow.Event, d *flow.Decision, generation uint64, asked time.Time) ReuseOutcome {
	reuse := &d.Reuse
	wanted := reuse.For > 0 && ev.PacketIn != nil && ev.Switch != nil && !ev.Rehearsal // of which there is no record
	var a, reply *keptAnswer
	var outcome ReuseOutcome
	if wanted {
		if a, outcome = keepable(ev, d); a != nil {
			reply = keepableReply(ev, d)
			for _, k := range []*keptAnswer{a, reply} {
				if k != nil {
					k.asked, k.until, k.decision = asked, asked.Add(min(reuse.For, flow.MaxReuse)), ev.XID
				}
			}
		}
	}
	s := shape{reuse.Fields.Prerequisites(), reuse.Switch}
	var packetRoom, replyRoom keyRoom
	var packetKey, replyKey []byte
	if a != nil {
		packetKey = keyOfPacket(packetRoom[:0], ev, s)
	}
	if reply != nil {
		replyKey = keyOfQuestion(replyRoom[:0], ev, &ev.PacketIn.Match, s.bySwitch)
	}
	now := r.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sync()
	changed := generation != r.generation
	counts := r.counts(d.Policy, now)
	if len(d.Revoke) > 0 {
		r.clear()
	}
	switch {
	case a == nil:
		return outcome
	case !counts:
		return NotVersion
	case changed:
		return NotChanged
	}
	r.hangs = shape{r.hangs.fields | s.fields, r.hangs.bySwitch || s.bySwitch}
	if reply != nil {
		a.replies = true
		r.hangs.fields |= flow.Conversation &^ flow.FieldInPort
	}
	if !r.shaped(s, a.until, now) {
		return NotShapes
	}
	r.put(string(packetKey), a)
	if reply != nil {
		r.put(string(replyKey), reply)
		if before := r.replies.Load(); before == nil || reply.until.After(*before) {
			r.replies.Store(&reply.until)
		}
	}
	r.kept.Add(1)
	r.inUse.Store(true)
	return Kept
}

// shaped reports whether there is room for answers that hang on s, and makes it.
func (r *Reuse) shaped(s shape, until, now time.Time) bool {
	old := r.view.Load()
	place := slices.Index(old.shapes, s)
	if place >= 0 {
		if until.After(r.until[place]) {
			r.until[place] = until
		}
		return true
	}
	shapes := slices.Clone(old.shapes)
	switch place = slices.IndexFunc(r.until, now.After); {
	case place >= 0:
		shapes[place], r.until[place] = s, until
	case len(shapes) < maxShapes:
		shapes, r.until = append(shapes, s), append(r.until, until)
	default:
		return false
	}
	r.view.Store(&view{gateway: old.gateway, shapes: shapes})
	return true
}

// shelf returns where the answer of a key is, if there is one.
func (r *Reuse) shelf(key []byte) *shelf {
	if len(r.shelves) == 1 {
		return &r.shelves[0]
	}
	return &r.shelves[maphash.Bytes(r.seed, key)%uint64(len(r.shelves))]
}

// put keeps an answer, and drops those that hold no more.
func (r *Reuse) put(key string, a *keptAnswer) {
	a.bytes += len(key)
	place := r.shelf([]byte(key))
	for i := range r.shelves {
		s := &r.shelves[i]
		if s != place && s.mu.TryLock() { // who has it drops them the next time
			s.drop(a.asked, 0, 0, r.limits)
			s.mu.Unlock()
		}
	}
	place.mu.Lock()
	defer place.mu.Unlock()
	place.remove(key)
	place.drop(a.asked, 1, a.bytes, r.limits)
	place.entries.Add(key, a)
	place.bytes += a.bytes
}

// drop drops answers, the oldest first, that hold no more or whose room is needed by so many of so many bytes. The caller holds mu.
func (s *shelf) drop(now time.Time, answers, bytes int, limits ReuseLimits) {
	for {
		_, oldest, ok := s.entries.GetOldest()
		if !ok || now.Before(oldest.until) && s.entries.Len()+answers <= limits.Entries && s.bytes+bytes <= limits.Bytes {
			return
		}
		s.entries.RemoveOldest()
		s.bytes -= oldest.bytes
	}
}

func (s *shelf) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries.Purge()
	s.bytes = 0
}

func (s *shelf) remove(key string) {
	if a, ok := s.entries.Peek(key); ok {
		s.bytes -= a.bytes
		s.entries.Remove(key)
	}
}

// Held returns how many answers are held, and about how many bytes they take.
func (r *Reuse) Held() (entries, bytes int) {
	for i := range r.shelves {
		s := &r.shelves[i]
		s.mu.Lock()
		entries += s.entries.Len()
		bytes += s.bytes
		s.mu.Unlock()
	}
	return entries, bytes
}

// recall fills d with an earlier answer for a packet and counts the outcome. It returns false if there is none.
func (r *Reuse) recall(ev *flow.Event, d *flow.Decision, now time.Time, outcome ReuseOutcome) bool {
	if !tells(ev.PacketIn) {
		return false
	}
	a := r.find(ev, now)
	if a == nil || !a.fill(&ev.PacketIn.Match, now, d) {
		return false
	}
	if a.reply {
		outcome = Replied
	}
	r.count(outcome)
	return true
}

func (r *Reuse) find(ev *flow.Event, now time.Time) *keptAnswer {
	v := r.view.Load()
	if r.version() != v.gateway {
		r.mu.Lock()
		r.sync()
		v = r.view.Load()
		r.mu.Unlock()
	}
	var room keyRoom
	for _, s := range v.shapes {
		a := r.get(keyOfPacket(room[:0], ev, s), now)
		if a != nil && (!a.replies || r.get(keyOfQuestion(room[:0], ev, &ev.PacketIn.Match, s.bySwitch), now) != nil) {
			return a
		}
	}
	if until := r.replies.Load(); until == nil || !now.Before(*until) {
		return nil
	}
	if q, ok := ev.PacketIn.Match.Question(); ok {
		for _, bySwitch := range []bool{false, true} {
			if a := r.get(keyOfQuestion(room[:0], ev, &q, bySwitch), now); a != nil {
				return a
			}
		}
	}
	return nil
}

// get returns the answer of a key, which may change as soon as get has returned.
func (r *Reuse) get(key []byte, now time.Time) *keptAnswer {
	s := r.shelf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.entries.Get(unsafe.String(unsafe.SliceData(key), len(key))) // which is not kept
	if ok && !now.Before(a.until) {
		s.remove(string(key))
		return nil
	}
	return a
}

// tells reports whether a packet's headers are all that its decision depends on. An incomplete packet hides some, and an ICMP error is decided by
// the packet that it quotes.
func tells(p *flow.PacketIn) bool {
	return p.Incomplete == 0 && p.Match.Missing() == 0 && !p.Match.ICMPError()
}

// around are the fields that belong to every key: they tell where in a switch's tables, and in whose network, a packet is.
const around = flow.FieldMetadata | flow.FieldTunnelID

// keyRoom is room for a key: none is longer as a rule.
type keyRoom [256]byte

// A key tells the packets apart that one answer is for. keyOfPacket's is of the packets that have the same values in a shape's fields. It is
// appended to b, as the others are.
func keyOfPacket(b []byte, ev *flow.Event, s shape) []byte {
	return ev.PacketIn.Match.AppendKey(appendPlace(b, ev, false, s), s.fields|around)
}

// keyOfQuestion is the key of the packets that answer one with the headers q. ev is of either.
func keyOfQuestion(b []byte, ev *flow.Event, q *flow.Match, bySwitch bool) []byte {
	b = q.AppendKey(appendPlace(b, ev, true, shape{bySwitch: bySwitch}), flow.Conversation&^flow.FieldInPort)
	return ev.PacketIn.Match.AppendKey(b, around)
}

// appendPlace begins a key with what all have: the shape, whether it is of packets that answer another, what the packet shows, and where it was.
func appendPlace(b []byte, ev *flow.Event, reply bool, s shape) []byte {
	p, sw := ev.PacketIn, ev.Switch
	var dpid flow.DPID // 0: any switch
	if s.bySwitch {
		dpid = sw.DPID
	}
	program := uint64(0)        // of a P4 switch, what its tables can match
	const prime = 0x100000001b3 // FNV-1
	for _, f := range sw.Matchable {
		program = (program ^ uint64(f)) * prime
	}
	kind := uint8(0)
	if reply {
		kind |= 1
	}
	if s.bySwitch {
		kind |= 2
	}
	b = append(b, kind, uint8(sw.Protocol), p.TableID, uint8(p.Reason))
	b = binary.LittleEndian.AppendUint32(b, uint32(s.fields))
	b = binary.LittleEndian.AppendUint32(b, uint32(p.Match.Fields))
	b = binary.LittleEndian.AppendUint64(b, uint64(dpid))
	b = binary.LittleEndian.AppendUint64(b, program)
	return binary.LittleEndian.AppendUint64(b, p.Cookie)
}

// keepable returns what to keep of an answer about a packet, or the reason to keep nothing.
func keepable(ev *flow.Event, d *flow.Decision) (*keptAnswer, ReuseOutcome) {
	m := &ev.PacketIn.Match
	switch {
	case d.Failure != nil:
		return nil, NotFailure
	case !tells(ev.PacketIn):
		return nil, NotIncomplete
	case d.IfReply != nil:
		return nil, NotReply
	case len(d.State)+len(d.Travel)+len(d.Read)+len(d.Revoke) > 0 || d.Change != nil:
		return nil, NotState
	case len(d.Entries)+len(d.Handshake) > 0:
		return nil, NotEntries
	case len(d.Rules) > maxReuseRules:
		return nil, NotRules
	}
	for i := range d.Rules {
		if r := &d.Rules[i]; r.Command != flow.Add || r.Match != m.Keep(r.Match.Fields) {
			return nil, NotRules
		}
	}
	if !d.Reuse.Switch && !anywhere(d.Rules, d.PacketOut) {
		return nil, NotActions
	}
	a := &keptAnswer{verdict: d.Verdict, reason: d.Reason, policy: d.Policy, hasOut: d.HasPacketOut, reject: d.Reject, log: d.Log}
	a.take(d.Rules, d.PacketOut)
	return a, Kept
}

// keepableReply returns what to keep of the decision for replies to the event's packet, or nil.
func keepableReply(ev *flow.Event, d *flow.Decision) *keptAnswer {
	r := d.Reuse.Reply
	if r == nil || d.Verdict == flow.Deny || len(r.Rules) > maxReuseRules || !d.Reuse.Switch && !anywhere(r.Rules, r.PacketOut) {
		return nil
	}
	back, ok := ev.PacketIn.Match.Answer()
	if !ok {
		return nil
	}
	for i := range r.Rules {
		if rule := &r.Rules[i]; rule.Command != flow.Add || rule.Match != back.Keep(rule.Match.Fields) {
			return nil
		}
	}
	a := &keptAnswer{verdict: flow.Deny, reason: d.Reason + "; a packet that answers it", policy: d.Policy, reply: true, hasOut: r.HasPacketOut, why: r.Reason}
	a.take(r.Rules, r.PacketOut)
	return a
}

func anywhere(rules []flow.Rule, out []flow.Action) bool {
	return flow.Anywhere(out) && !slices.ContainsFunc(rules, func(r flow.Rule) bool { return !r.Anywhere() })
}

// take copies rules and actions, which are the caller's.
func (a *keptAnswer) take(rules []flow.Rule, out []flow.Action) {
	if a.rules = a.oneRule[:]; len(rules) > 1 {
		a.rules = make([]keptRule, len(rules))
	}
	a.rules = a.rules[:len(rules)]
	free, more := a.oneAction[:], 0
	keep := func(list []flow.Action) []flow.Action {
		switch n := len(list); {
		case n == 0:
			return nil
		case n <= len(free):
			kept := free[:n:n]
			copy(kept, list)
			free = free[n:]
			return kept
		}
		more += len(list)
		return slices.Clone(list)
	}
	for i := range rules {
		r := &rules[i]
		a.rules[i] = keptRule{
			table: r.Table, next: r.Goto, priority: r.Priority, flags: r.Flags, coversIncomplete: r.CoversIncomplete, fields: r.Match.Fields,
			meter: r.Meter, idle: r.IdleTimeout, hard: r.HardTimeout, actions: keep(r.Actions),
		}
	}
	a.out = keep(out)
	const one = unsafe.Sizeof(keptAnswer{}) + 16*unsafe.Sizeof(uintptr(0)) // the map's and the list's key, and pointers
	a.bytes = int(one) + more*int(unsafe.Sizeof(flow.Action{})) + len(a.reason) + len(a.why)
	if len(rules) > 1 {
		a.bytes += len(rules) * int(unsafe.Sizeof(keptRule{}))
	}
}

// fill makes d the answer for a packet with headers m. It returns false if a rule's timeout would have passed by now.
func (a *keptAnswer) fill(m *flow.Match, now time.Time, d *flow.Decision) bool {
	age := now.Sub(a.asked)
	rules := make([]flow.Rule, len(a.rules))
	for i := range rules {
		k, r := &a.rules[i], &rules[i]
		*r = flow.Rule{
			Table: k.table, Goto: k.next, Priority: k.priority, Flags: k.flags, CoversIncomplete: k.coversIncomplete, Match: m.Keep(k.fields),
			Meter: k.meter, IdleTimeout: k.idle, HardTimeout: k.hard, Actions: k.actions, BufferID: flow.NoBuffer,
		}
		if r.HardTimeout > 0 {
			if r.HardTimeout = (r.HardTimeout - age).Truncate(time.Second); r.HardTimeout < time.Second {
				return false
			}
		}
	}
	d.Verdict, d.Reason, d.Policy, d.Reject, d.Log, d.Reused = a.verdict, a.reason, a.policy, a.reject, a.log, a.decision
	if a.reply {
		d.HasPacketOut = true
		d.IfReply = &flow.Reply{Rules: rules, HasPacketOut: a.hasOut, PacketOut: slices.Clone(a.out), Reason: a.why}
		return true
	}
	d.Rules = append(d.Rules, rules...)
	d.HasPacketOut, d.PacketOut = a.hasOut, append(d.PacketOut, a.out...)
	return true
}
