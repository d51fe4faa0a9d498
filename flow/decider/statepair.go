package decider

import (
	"bytes"
	"context"
	"math"
	"time"

	"switchbridge/flow"
)

// Endless is the life of a state that does not expire.
const Endless = time.Duration(math.MaxInt64)

// Copied is a state that one gateway of a pair tells the other.
type Copied struct {
	Value           string // of the key, as [flow.StateKey.AppendValue] writes it
	flow.Travelling        // TTL is what is left of its life; without Data it was the version of one that is no more
	Lost            bool   // both gateways have changed it while neither heard of the other
}

// Peer is the other gateway of a pair, which has a copy of what States hold.
type Peer interface {
	// Share gives the peer changes of one function's states, in the order of its calls. It is called under the State's lock and does not wait. ok is false
	// where nothing may change now: this gateway does not lead, or can't know whether the other one does. Then nobody hears of the changes. alone says that
	// the peer gets nothing and knows that it lacks something. confirmed, if not nil, waits until the peer has the changes; an error says that
	// it may not have them. The list and its data are the peer's, and are not modified.
	Share(function string, list []Copied) (confirmed func(context.Context) error, alone, ok bool)
}

// pairing is what a State has for a pair of gateways. It is under State.mu, but for peer, which is set before the first event.
type pairing struct {
	peer   Peer
	name   string        // of the function, for the peer
	life   time.Duration // the longest of the states that it has held
	doubt  time.Time     // until then nothing of the table is believed
	copied []change      // scratch of Keep and Merge
}

// Pair has the peer keep a copy of what s holds of a function. The first call must be before the first event.
func (s *State) Pair(function string, peer Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer, s.name = peer, function
}

// lives notes the life of a state. The caller holds mu.
func (s *State) lives(ttl time.Duration) {
	if ttl == 0 {
		ttl = Endless
	}
	s.life = max(s.life, ttl)
}

// Life returns the longest life of the states that s has held: 0 if it has held none, [Endless] if one has no end.
func (s *State) Life() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// Doubt forgets everything, and has nothing believed for a while: the other gateway of the pair may have had newer states. Meanwhile functions are asked by a
// gateway that does not accept states, and do what they are to do then.
func (s *State) Doubt(now time.Time, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	if s.doubt = now.Add(life); life == Endless || s.doubt.Before(now) {
		s.doubt = now.AddDate(1000, 0, 0)
	}
}

// Sure ends a doubt: the table has what the other gateway had.
func (s *State) Sure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubt = time.Time{}
}

// Doubts reports whether nothing of the table is believed now.
func (s *State) Doubts(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doubts(now)
}

func (s *State) doubts(now time.Time) bool { return !s.doubt.IsZero() && now.Before(s.doubt) }

// Clear forgets everything.
func (s *State) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

func (s *State) clear() {
	clear(s.table)
	s.entries, s.bytes = 0, 0
}

// copies is what changes are for the peer. Their data are copied.
func (s *State) copies(list []change) []Copied {
	out := make([]Copied, len(list))
	for i := range list {
		out[i] = Copied{Value: list[i].key[1:], Travelling: list[i].Travelling}
		out[i].Data = bytes.Clone(list[i].Data)
	}
	return out
}

// Each calls f with everything that s holds, or only with what the peer has not had, in parts of at most n. Meanwhile s may change: what f gets is of the moment
// in which it is called.
func (s *State) Each(n int, alone bool, f func([]Copied) error) error {
	s.mu.Lock()
	keys := make([]string, 0, len(s.table))
	for key := range s.table {
		keys = append(keys, key)
	}
	s.mu.Unlock()
	var part []Copied
	for len(keys) > 0 {
		now := time.Now()
		s.mu.Lock()
		for len(keys) > 0 && len(part) < n {
			key := keys[0]
			keys = keys[1:]
			for i := range s.table[key] {
				h := &s.table[key][i]
				there, known := h.there(now)
				if !known || alone && !h.alone {
					continue
				}
				k := Copied{Value: key[1:], Travelling: flow.Travelling{Name: h.name, Key: flow.StateKey(key[0]), Version: h.version}, Lost: h.lost && there}
				if there {
					if k.Data = h.data; !h.expires.IsZero() {
						k.TTL = h.expires.Sub(now)
					}
				}
				part = append(part, k)
			}
		}
		s.mu.Unlock()
		if len(part) == 0 {
			continue
		}
		if err := f(part); err != nil {
			return err
		}
		part = nil
	}
	return nil
}

// Shared says that the peer has everything.
func (s *State) Shared() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.table {
		for i := range list {
			list[i].alone = false
		}
	}
}

// Keep takes what the other gateway holds. Of two versions of a state the newer one stays. It returns how many were older, and an error where there is no
// room for one: then the table is no copy.
func (s *State) Keep(list []Copied) (older int, err error) {
	return s.keep(list, func(h *held, k *Copied) bool { return k.Name == "" || k.Version > h.version })
}

// Merge takes what the other gateway has changed alone, while neither heard of the other. A state that this gateway, too, has changed alone is lost: nobody
// knows which one counts, and none is believed for as long as it lives. It returns how many those are.
func (s *State) Merge(list []Copied) (lost int, err error) {
	_, err = s.keep(list, func(h *held, k *Copied) bool {
		switch {
		case !h.alone:
			return k.Name == "" || k.Version > h.version
		case h.version == k.Version && bytes.Equal(h.data, k.Data):
			return false
		}
		lost++
		h.lost, h.version = true, max(h.version, k.Version)
		if until := time.Now().Add(k.TTL); k.Data != nil && k.TTL == 0 {
			h.expires = time.Time{}
		} else if !h.expires.IsZero() && h.expires.Before(until) {
			h.expires = until
		}
		return false
	})
	return lost, err
}

// keep puts states in the table, where newer says so of a state that it has.
func (s *State) keep(list []Copied, newer func(h *held, k *Copied) bool) (older int, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		k := &list[i]
		if k.Key >= flow.StateKeys {
			return older, flow.Errorf(flow.Invalid, "state key %d", k.Key)
		}
		s.copied = append(s.copied[:0], change{key: string(byte(k.Key)) + k.Value, Travelling: k.Travelling})
		t := &s.copied[0]
		if h := s.find(t.key, t.Name); h != nil {
			if _, known := h.there(now); known && !newer(h, k) {
				if k.Version < h.version {
					older++
				}
				continue
			}
		}
		if err := s.few(t); err != nil {
			return older, err
		}
		if !s.room(s.copied, now) {
			return older, full
		}
		s.kinds.Or(1 << t.Key)
		if s.find(t.key, t.Name) == nil && t.Data == nil && t.Name != "" { // the version of one that is no more, which put would not note
			t.Data, t.TTL = []byte{}, time.Second
			if !s.room(s.copied, now) {
				return older, full
			}
			s.put(t, now, false)
			t.Data, t.TTL = nil, 0
		}
		s.put(t, now, false)
		if h := s.find(t.key, t.Name); h != nil {
			h.lost = k.Lost
		}
	}
	return older, nil
}
