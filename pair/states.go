package pair

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"syscall"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/decider"
)

// Bounds of the states on the link.
const (
	maxPart      = 256              // states in one message
	maxPartBytes = maxMessage / 4   // of their data; base64 and JSON make more of it
	maxShared    = 8192             // changes that wait to go to the peer
	copyWithin   = 30 * time.Second // for a whole copy
	copyAgain    = time.Second      // after a copy that failed
	partWithin   = 2 * time.Second  // for one message of a copy
	retryShare   = 5 * time.Millisecond
)

// copyMode is what the peer has of this gateway's states.
type copyMode uint8

const (
	// copyNone: the peer has no copy, and knows it. Changes count at once.
	copyNone copyMode = iota
	// copyBegun: the peer gets one, and knows that it is not whole yet. Changes count at once, and are sent.
	copyBegun
	// copyWhole: the peer has all. A change counts when the peer has it.
	copyWhole
	// copyUnsure: the peer does not answer, and may believe that it has all. Nothing may change.
	copyUnsure
)

// States has the other gateway keep a copy of the states that travel with events. The one that leads sends it first all that it has, and then each change,
// before it counts. So the other one has every state that a packet was decided by, or knows that it may lack some: when it takes the lead then, it believes
// none until the last of them has expired. It implements [decider.Peer].
type States struct {
	tables func() map[string]*decider.State // by function
	log    *slog.Logger
	m      *Metrics
	id     string // of this process: its states end with it

	timeout time.Duration // the pair's

	receiving sync.Mutex // one message at a time, and none while this gateway takes the lead. Before mu and a table's lock

	mu     sync.Mutex // after a table's lock
	leads  bool
	mode   copyMode
	queue  []*shared
	wake   chan struct{}
	told   time.Time // when the peer was last told that it has a whole copy
	asked  time.Time // when the peer last asked
	speaks bool      // the peer takes copies
	lived  bool      // there has been a state
	copied bool      // standing by: this gateway has had a whole copy
	number uint64    // standing by: of the last message of the copy
	gen    uint64    // the highest generation that states came with, or were kept by
	behind bool      // the other gateway has led since this one did
	whole  bool      // standing by: who leads has said that the copy here is whole
	leader string    // the process of the other gateway that led last
	doubts string    // leading, in doubt: the process whose states are missing
}

// shared is a change on its way to the peer.
type shared struct {
	function string
	list     []decider.Copied
	done     chan error // nil where nobody waits
}

// NewStates makes what shares the states of tables, which it asks for them each time.
func NewStates(tables func() map[string]*decider.State, log *slog.Logger) *States {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &States{tables: tables, log: log, m: NewMetrics(nil), id: rand.Text(), wake: make(chan struct{}, 1)}
}

var _ decider.Peer = (*States)(nil)

var (
	errUnconfirmed = errors.New("the other gateway of the pair does not confirm the state")
	errElsewhere   = errors.New("this gateway leads")
)

// Share implements [decider.Peer].
func (s *States) Share(function string, list []decider.Copied) (confirmed func(context.Context) error, alone, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.leads || s.mode == copyUnsure:
		return nil, false, false
	case !s.lived && s.mode != copyWhole && s.speaks && time.Since(s.asked) <= aloneAfter(s.timeout):
		return nil, false, false // the first of all states: the peer believes that there is none
	}
	s.lived = true
	switch {
	case s.mode == copyNone:
		return nil, true, true
	case len(s.queue) >= maxShared:
		if s.mode == copyWhole {
			return nil, false, false
		}
		s.drop(copyNone, nil)
		return nil, true, true
	}
	one := &shared{function: function, list: list}
	s.queue = append(s.queue, one)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	if s.mode == copyBegun {
		return nil, false, true
	}
	one.done = make(chan error, 1)
	return func(ctx context.Context) error {
		select {
		case err := <-one.done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}, false, true
}

// drop forgets the changes that wait, tells those who wait for them err, and sets the mode. The caller holds mu.
func (s *States) drop(mode copyMode, err error) {
	for _, one := range s.queue {
		if one.done != nil {
			one.done <- err
		}
	}
	s.queue = nil
	s.set(mode)
}

// set sets the mode. The caller holds mu.
func (s *States) set(mode copyMode) {
	s.mode = mode
	s.m.whole.Set(0)
	if mode == copyWhole {
		s.m.whole.Set(1)
	}
}

// StatesStatus is what a member says of its states that travel.
type StatesStatus struct {
	Process string `json:"process"` // its states end with it
	Whole   bool   `json:"whole"`   // it leads, and the other gateway has them all
	Copy    bool   `json:"copy"`    // it stands by, and has all that the one that leads had
	Life    int64  `json:"life_ms"` // the longest of any: 0 if there was none, -1 without an end
	Doubts  bool   `json:"doubts"`  // it believes none, since the other gateway may have had newer ones
}

// life returns the longest life of any state, in ms; -1 if one has no end.
func (s *States) life() (ms int64) {
	for _, t := range s.tables() {
		switch life := t.Life(); {
		case life == decider.Endless:
			return -1
		default:
			ms = max(ms, int64((life+time.Millisecond-1)/time.Millisecond))
		}
	}
	return ms
}

// anyDoubts reports whether nothing of some table is believed.
func (s *States) anyDoubts(now time.Time) bool {
	for _, t := range s.tables() {
		if t.Doubts(now) {
			return true
		}
	}
	return false
}

// status is what the peer and the operator are told. Peer says whether it is the peer.
func (s *States) status(now time.Time, peer bool) *StatesStatus {
	if s == nil {
		return nil
	}
	st := &StatesStatus{Process: s.id, Life: s.life(), Doubts: s.anyDoubts(now)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if peer {
		s.asked = now
	}
	if st.Whole = s.leads && s.mode == copyWhole && !st.Doubts; st.Whole && peer {
		s.told = now
	}
	st.Copy = !s.leads && s.copied && s.whole
	return st
}

// copies reports whether this gateway stands by and has all that the one that leads had.
func (s *States) copies() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.leads && s.copied && s.whole
}

// handsOver reports whether the peer misses nothing if it takes the lead now.
func (s *States) handsOver() bool {
	if s == nil || s.life() == 0 {
		return true
	}
	return s.in(copyWhole)
}

// leadsNow says that this gateway leads, by a claim. The peer is what it last said, if it did, and silent that this is too long ago.
func (s *States) leadsNow(generation uint64, peer *StatesStatus, now time.Time, silent bool) {
	if s == nil {
		return
	}
	s.receiving.Lock()
	defer s.receiving.Unlock()
	life, tables := s.life(), s.tables()
	s.mu.Lock()
	began := !s.leads
	whole := s.copied && s.whole && !silent || !s.behind && (peer == nil || !peer.Copy)
	s.leads, s.copied, s.whole, s.behind, s.gen = true, false, false, false, max(s.gen, generation)
	if began {
		s.drop(copyNone, errUnconfirmed)
	}
	if peer != nil && (peer.Life < 0 || life >= 0 && peer.Life > life) {
		life = peer.Life
	}
	if life == 0 && silent {
		life = unknownLife.Milliseconds()
	}
	lost := began && !whole && life != 0
	if began {
		if s.doubts = s.leader; peer != nil && peer.Copy {
			s.doubts = peer.Process
		}
	}
	s.mu.Unlock()
	if !lost {
		return
	}
	d := time.Duration(life) * time.Millisecond
	if life < 0 {
		d = decider.Endless
	}
	for _, t := range tables {
		t.Doubt(now, d)
	}
	s.m.gone.Inc()
	args := []any{"until", "this gateway is started again"}
	if life >= 0 {
		args[1] = now.Add(d).Format(time.RFC3339)
	}
	s.log.Error("this gateway leads, and may not have all states that travel with events: packets whose states are not known are handled as the function's on_failure says", args...)
}

// leadsNoMore says that the other gateway leads, or may. The peer is what it last said, if it did.
func (s *States) leadsNoMore(peer *StatesStatus) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leads, s.behind, s.copied, s.whole = false, true, false, false
	if peer != nil {
		s.leader = peer.Process
	}
	s.drop(copyNone, errUnconfirmed)
}

// peerLeads says that the other gateway leads while this one does not, and what that says of its states.
func (s *States) peerLeads(peer *StatesStatus) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leads {
		return
	}
	if s.behind, s.whole = true, false; peer != nil {
		s.leader, s.whole = peer.Process, peer.Whole
	}
}

// hears notes whether the peer takes copies.
func (s *States) hears(peer *StatesStatus) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.speaks = peer != nil
}

// aloneAfter is how long after the peer was last told that its copy is whole changes count without it. What the peer was told it believes for less
// ([believedFor]), and where it has taken the lead by then, switches have said so, or give this gateway no packets any more (OpenFlow 1.0).
func aloneAfter(timeout time.Duration) time.Duration { return 2*timeout + 2*time.Second }

// unknownLife is taken for the longest life of states that this gateway has never heard of.
const unknownLife = 24 * time.Hour

// believedFor is how long a gateway that stands by believes that its copy is whole without hearing so again. It takes the lead sooner, unless it was stopped.
func believedFor(timeout time.Duration) time.Duration { return timeout + time.Second }

// wire is a state on the link.
type wire struct {
	Function string `json:"function"`
	Key      string `json:"key"`
	Value    string `json:"value"`
	Name     string `json:"name,omitempty"`
	Version  uint64 `json:"version,string"`
	Life     int64  `json:"life_ms,omitempty"` // what is left of it, rounded up; 0: no end
	Lost     bool   `json:"lost,omitempty"`    // both gateways have changed it while neither heard of the other
	Data     []byte `json:"data"`              // null: it was the version of one that is no more
}

func toWire(function string, c *decider.Copied) wire {
	return wire{Function: function, Key: c.Key.String(), Value: c.Value, Name: c.Name, Version: c.Version, Data: c.Data, Lost: c.Lost,
		Life: int64((c.TTL + time.Millisecond - 1) / time.Millisecond)}
}

func (w *wire) copied() (c decider.Copied, err error) {
	if c.Key, err = flow.ParseStateKey(w.Key); err != nil {
		return c, err
	}
	if len(w.Data) > flow.MaxState || len(w.Value) > maxName || len(w.Name) > maxName || w.Life < 0 || w.Life > maxLife {
		return c, errors.New("a state is too large, or lives too long")
	}
	c.Value, c.Name, c.Version, c.Data, c.Lost, c.TTL = w.Value, w.Name, w.Version, w.Data, w.Lost, time.Duration(w.Life)*time.Millisecond
	return c, nil
}

const (
	maxName = 255
	maxLife = int64(100 * 365 * 24 * time.Hour / time.Millisecond)
)

// statesBody are states for the one that stands by.
type statesBody struct {
	Generation uint64 `json:"generation,string"` // of the claim by which the sender leads
	Number     uint64 `json:"number"`            // counts the messages since a whole copy began
	Begin      bool   `json:"begin,omitempty"`   // a copy begins: what was kept goes
	End        bool   `json:"end,omitempty"`     // the copy is whole with this
	States     []wire `json:"states"`
}

// aloneBody asks the one that stands by for what it has changed alone, or for all that it has. The answer is lines: whether it is all, the states, and a last
// line that is empty.
type aloneBody struct {
	Generation uint64 `json:"generation,string"`
	Process    string `json:"process,omitempty"` // all, if it is this process
}

type aloneHead struct {
	All bool `json:"all"` // it is that process, and says all that it has
}

// take keeps what the peer sends. The status is that of the answer's HTTP.
func (s *States) take(b *statesBody) (status int, err error) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	tables := s.tables()
	if status, err := s.follows(b); err != nil {
		return status, err
	}
	if b.Begin {
		for _, t := range tables {
			t.Clear()
		}
	}
	for i := range b.States {
		if status, err = s.keep(tables, &b.States[i]); err != nil {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.copied, s.number = false, 0
		return status, err
	}
	s.number = b.Number
	s.copied = s.copied || b.End
	return http.StatusNoContent, nil
}

// follows reports whether a message is of the gateway that leads, and the next one of its copy.
func (s *States) follows(b *statesBody) (status int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.leads:
		return http.StatusConflict, errElsewhere
	case b.Generation < s.gen:
		s.m.refused.WithLabelValues("earlier_claim").Inc()
		return http.StatusConflict, errors.New("it is of an earlier claim")
	case b.Begin:
		s.copied, s.behind = false, true
	case b.Number == s.number && b.Number > 0: // sent again
	case b.Number != s.number+1:
		s.copied, s.number = false, 0
		return http.StatusPreconditionFailed, errors.New("something before it did not arrive")
	}
	s.gen = b.Generation
	return 0, nil
}

// keep puts one state into its function's table.
func (s *States) keep(tables map[string]*decider.State, w *wire) (status int, err error) {
	t := tables[w.Function]
	if t == nil {
		s.m.refused.WithLabelValues("function").Inc()
		return http.StatusInsufficientStorage, fmt.Errorf("no states are kept for the function %q here", w.Function)
	}
	c, err := w.copied()
	if err != nil {
		s.m.refused.WithLabelValues("invalid").Inc()
		return http.StatusBadRequest, err
	}
	older, err := t.Keep([]decider.Copied{c})
	if err != nil {
		s.m.refused.WithLabelValues("full").Inc()
		return http.StatusInsufficientStorage, fmt.Errorf("function %q: %w", w.Function, err)
	}
	if older > 0 {
		s.m.refused.WithLabelValues("older").Inc()
	} else {
		s.m.received.Inc()
	}
	s.mu.Lock()
	s.lived = true
	s.mu.Unlock()
	return 0, nil
}

// changedAlone answers the peer that leads.
func (s *States) changedAlone(w http.ResponseWriter, b *aloneBody) error {
	tables := s.tables()
	s.mu.Lock()
	refused := s.leads || b.Generation < s.gen
	s.mu.Unlock()
	if refused {
		return errElsewhere
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(copyWithin))
	out := json.NewEncoder(w)
	head := aloneHead{All: b.Process == s.id}
	_ = out.Encode(&head) // who asked has gone, then; so below
	for function, t := range tables {
		err := t.Each(maxPart, !head.All, func(list []decider.Copied) error {
			for i := range list {
				if err := out.Encode(toWire(function, &list[i])); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil
		}
	}
	_, _ = io.WriteString(w, "\n")
	return nil
}

// shareStates has the peer keep a copy of this gateway's states while this one leads, until ctx is done.
func (m *Member) shareStates(ctx context.Context) {
	s := m.cfg.States
	if s == nil {
		return
	}
	for ctx.Err() == nil {
		generation, ok := m.sharesWith()
		if !ok {
			sleep(ctx, m.cfg.Poll)
			continue
		}
		x := &stream{m: m, generation: generation}
		if err := m.copyStates(ctx, x); err != nil {
			s.failed(err)
			s.log.Debug("the other gateway does not get the states that travel", "peer", m.cfg.Peer, "err", err)
			sleep(ctx, m.cfg.Poll)
			if errors.As(err, new(*refusedError)) {
				sleep(ctx, copyAgain)
			}
			continue
		}
		err := m.shareChanges(ctx, x)
		s.failed(err)
	}
}

// sharesWith returns the generation by which this gateway leads, if it does and the other one answers and does not.
func (m *Member) sharesWith() (generation uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gen, m.leads && m.answers(time.Now()) && !m.peer.Leads && m.peer.States != nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// look has changes count again without the peer, once that must have taken the lead if it believes that it has all.
func (s *States) look(now time.Time, timeout time.Duration) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leads && s.mode >= copyWhole && now.Sub(s.told) > aloneAfter(timeout) {
		s.drop(copyNone, nil)
	}
}

// failed notes that the peer could not be given something.
func (s *States) failed(err error) {
	var refused *refusedError
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil || !s.leads:
	case s.mode == copyNone:
	case s.mode == copyBegun: // it knows that its copy is not whole
		s.drop(copyNone, nil)
	case errors.As(err, &refused) && refused.status != http.StatusConflict: // it has said so itself
		s.drop(copyNone, nil)
	case errors.Is(err, syscall.ECONNREFUSED): // nobody is there who could believe anything
		s.drop(copyNone, nil)
	case s.mode == copyWhole:
		s.drop(copyUnsure, errUnconfirmed)
	}
}

// stream is a copy that the peer gets.
type stream struct {
	m          *Member
	generation uint64
	number     uint64 // of the last message
}

// send sends states in as many messages as they need; flags are of the last one.
func (x *stream) send(ctx context.Context, list []wire, end bool) error {
	for {
		n, bytes := 0, 0
		for n < len(list) && n < maxPart && bytes <= maxPartBytes {
			bytes += len(list[n].Data)
			n++
		}
		x.number++
		b := statesBody{Generation: x.generation, Number: x.number, End: end && n == len(list), States: list[:n]}
		if err := x.m.sendStates(ctx, &b); err != nil {
			return err
		}
		x.m.cfg.States.m.sent.Add(float64(n))
		if list = list[n:]; len(list) == 0 {
			return nil
		}
	}
}

// sendStates sends one message, and again where it is not known to have arrived. It gives up soon: packets wait for it.
func (m *Member) sendStates(ctx context.Context, b *statesBody) error {
	within := m.cfg.Timeout / 2
	if b.Begin || b.End {
		within = partWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := m.call(ctx, http.MethodPost, "/pair/v1/states", b, nil)
		if err == nil || errors.As(err, new(*refusedError)) || errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		sleep(ctx, retryShare)
		if ctx.Err() != nil {
			return err
		}
	}
}

// waiting returns the changes that wait, as many as go together.
func (s *States) waiting() (list []wire, changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.queue {
		if len(list) >= maxPart {
			break
		}
		for i := range one.list {
			list = append(list, toWire(one.function, &one.list[i]))
		}
		changes++
	}
	return list, changes
}

// confirm says that the peer has the first changes that wait.
func (s *States) confirm(changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.queue[:min(changes, len(s.queue))] { // all may have been dropped meanwhile
		if one.done != nil {
			one.done <- nil
		}
	}
	s.queue = s.queue[min(changes, len(s.queue)):]
}

// in reports whether this gateway still leads, with a mode.
func (s *States) in(mode copyMode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leads && s.mode == mode
}

// copyStates gives the peer all states. What changes meanwhile is sent behind them.
func (m *Member) copyStates(ctx context.Context, x *stream) error {
	s := m.cfg.States
	ctx, cancel := context.WithTimeout(ctx, copyWithin)
	defer cancel()
	if err := m.fetchAlone(ctx, x.generation); err != nil {
		return err
	}
	if err := m.sendStates(ctx, &statesBody{Generation: x.generation, Begin: true, States: []wire{}}); err != nil {
		return err
	}
	s.mu.Lock()
	if !s.leads {
		s.mu.Unlock()
		return errElsewhere
	}
	s.drop(copyBegun, nil) // the peer knows from here on that it has no whole copy
	s.mu.Unlock()
	for function, t := range s.tables() {
		err := t.Each(maxPart, false, func(list []decider.Copied) error {
			part := make([]wire, len(list))
			for i := range list {
				part[i] = toWire(function, &list[i])
			}
			return x.send(ctx, part, false)
		})
		if err != nil {
			return err
		}
	}
	for s.in(copyBegun) {
		list, changes := s.waiting()
		if changes > 0 {
			if err := x.send(ctx, list, false); err != nil {
				return err
			}
			s.confirm(changes)
			continue
		}
		s.mu.Lock()
		if len(s.queue) == 0 && s.leads && s.mode == copyBegun {
			s.set(copyWhole) // a change waits for the peer from here on
			s.told = time.Now()
		}
		s.mu.Unlock()
	}
	if !s.in(copyWhole) {
		return errElsewhere
	}
	if err := x.send(ctx, []wire{}, true); err != nil {
		return err
	}
	for _, t := range s.tables() {
		t.Shared()
	}
	return nil
}

// shareChanges gives the peer each change, until it can't or the lead goes elsewhere.
func (m *Member) shareChanges(ctx context.Context, x *stream) error {
	s := m.cfg.States
	for s.in(copyWhole) && ctx.Err() == nil {
		list, changes := s.waiting()
		if changes > 0 {
			if err := x.send(ctx, list, false); err != nil {
				return err
			}
			s.confirm(changes)
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		case <-time.After(m.cfg.Timeout): // what else may have changed
		}
	}
	return nil
}

// fetchAlone takes what the peer has changed alone; in a doubt, all that it has, if its are the states that are missed.
func (m *Member) fetchAlone(ctx context.Context, generation uint64) error {
	s := m.cfg.States
	body := aloneBody{Generation: generation}
	if s.anyDoubts(time.Now()) {
		s.mu.Lock()
		body.Process = s.doubts
		s.mu.Unlock()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := time.AfterFunc(partWithin, cancel)
	defer patience.Stop()
	resp, err := m.request(ctx, http.MethodPost, "/pair/v1/states/alone", &body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	patience.Reset(copyWithin)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	var head aloneHead
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &head) != nil {
		return errors.New("the other gateway does not say which states it has")
	}
	tables, lost := s.tables(), 0
	if head.All = head.All && body.Process != ""; head.All {
		for _, t := range tables {
			t.Clear()
		}
	}
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			if head.All {
				for _, t := range tables {
					t.Sure()
				}
				s.log.Info("this gateway has the states that travel with events again: the other one had them")
			}
			if lost > 0 {
				s.m.gone.Add(float64(lost))
				s.log.Error("both gateways have changed states while neither heard of the other: their packets are handled as the function's on_failure says until they expire", "states", lost)
			}
			return nil
		}
		var w wire
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			return err
		}
		c, err := w.copied()
		t := tables[w.Function]
		if err != nil || t == nil {
			continue // of a function that is not asked here
		}
		n, list := 0, []decider.Copied{c}
		if head.All {
			_, err = t.Keep(list)
		} else {
			n, err = t.Merge(list)
		}
		if lost += n; err != nil {
			return err
		}
		s.m.received.Inc()
	}
	return fmt.Errorf("the other gateway's states end early: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}

// maxLine bounds one state of an answer: its data in base64, names and numbers.
const maxLine = 16 << 10
