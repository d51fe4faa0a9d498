package machine

import (
	"encoding/binary"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy/wire"
)

// A state as stores keep it. Numbers are little-endian; all before the ids has its place, since to read varints takes a guest longer than to decide.
//
//	version (1) | checksum of what follows (4) | hash of the machine (8) | state (1) | serial (8) | written (8) | entered (8) | ids (1 and 9 each) | windows
//
// The checksum is 32 bits of FNV-1a: it finds damage, not forgery. The serial grows by one with each change and begins at 1. Written and entered are when the
// value was made and when the machine came into its state, in milliseconds of Unix time. Ids are the hashes (8) of the last
// events that changed it, each with the state (1) that the event was decided in. A window is the index of a transition that counts, and its
// entries, in varints: how long before written each was, and for distinct values the value.
const (
	valueVersion = 1

	atHash    = 5
	atState   = 13
	atSerial  = 14
	atWritten = 22
	atEntered = 30
	atIDs     = 38
	idSize    = 9
)

var le = binary.LittleEndian

func checksum(b []byte) uint32 {
	h := hashOf(b[atHash:])
	return uint32(h ^ h>>32)
}

const (
	maxValue   = 4096 // bytes, as stores take (state.MaxData)
	maxIDs     = 4
	maxWindows = 3500 // bytes of all windows; the rest of a value is less than 100
)

// value is a state of a machine, decoded.
type value struct {
	state   int
	serial  uint64 // 0: there is none, and the machine is in its start state
	entered int64  // 0: the machine is in its start state, nobody knows since when
	written int64
	ids     [maxIDs]seen
	windows []window
}

// seen is an event that changed the value.
type seen struct {
	id    uint64 // 0: none
	state uint8
}

// fault is why a value can't be used; empty where it can.
type fault string

const (
	faultUnread  fault = "state unread"
	faultCorrupt fault = "state corrupt"
	faultNewer   fault = "state of a newer version of Switchbridge"
	faultMachine fault = "state of another version of the machine"
	faultFuture  fault = "state from the future"
	faultTime    fault = "event without a time"
)

// whole looks whether b is a value of any machine.
func whole(b []byte) fault {
	switch {
	case len(b) > 0 && b[0] > valueVersion: // which may have another checksum, too
		return faultNewer
	case len(b) <= atIDs || len(b) > maxValue || b[0] != valueVersion || checksum(b) != le.Uint32(b[1:]):
		return faultCorrupt
	}
	return ""
}

// parse reads a value of a machine. Its windows share b's memory.
func (v *value) parse(b []byte, m *machine) fault {
	if f := whole(b); f != "" {
		return f
	}
	v.serial = le.Uint64(b[atSerial:])
	if le.Uint64(b[atHash:]) != m.hash {
		return faultMachine
	}
	v.state = int(b[atState])
	v.written, v.entered = int64(le.Uint64(b[atWritten:])), int64(le.Uint64(b[atEntered:]))
	n := int(b[atIDs])
	if v.state >= len(m.states) || v.serial == 0 || v.entered <= 0 || v.entered > v.written || n > maxIDs || len(b) < atIDs+1+n*idSize {
		return faultCorrupt
	}
	b = b[atIDs+1:]
	for i := range n {
		v.ids[i] = seen{le.Uint64(b), b[idSize-1]}
		if v.ids[i].id == 0 || int(v.ids[i].state) >= len(m.states) {
			return faultCorrupt
		}
		b = b[idSize:]
	}
	if len(b) == 0 {
		return ""
	}
	r := wire.NewReader(b)
	if v.windows = readWindows(r, v.written, m.Transitions); r.Err() != nil {
		return faultCorrupt
	}
	return ""
}

// append appends a value as parse reads it.
func (v *value) append(b []byte, m *machine) []byte {
	start := len(b)
	b = append(b, valueVersion, 0, 0, 0, 0)
	b = le.AppendUint64(b, m.hash)
	b = append(b, byte(v.state))
	b = le.AppendUint64(b, v.serial)
	b = le.AppendUint64(b, uint64(v.written))
	b = le.AppendUint64(b, uint64(v.entered))
	n := 0
	for n < maxIDs && v.ids[n].id != 0 {
		n++
	}
	b = append(b, byte(n))
	for _, s := range v.ids[:n] {
		b = append(le.AppendUint64(b, s.id), s.state)
	}
	b = appendWindows(b, v, m.Transitions)
	le.PutUint32(b[start+1:], checksum(b[start:]))
	return b
}

// sighted puts an event in front of those that changed the value.
func (v *value) sighted(id uint64) {
	if id != 0 {
		copy(v.ids[1:], v.ids[:])
		v.ids[0] = seen{id, uint8(v.state)}
	}
}

// sighting returns the state that an event was decided in which changed the value before; -1 where it did not.
func (v *value) sighting(id uint64) int {
	for _, s := range v.ids {
		if s.id == id && id != 0 {
			return int(s.state)
		}
	}
	return -1
}

// hashOf is FNV-1a, and never 0.
func hashOf[T string | []byte](s T) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return max(h, 1)
}

// window is what one transition has counted.
type window struct {
	transition int
	entries    []entry
}

type entry struct {
	at    int64 // milliseconds of Unix time
	value []byte
}

// distinctSize is how many bytes a value of a field takes; f may be 0.
func distinctSize(f flow.Field) int {
	if f == 0 {
		return 0
	}
	switch x := f.Info(); x.Kind {
	case flow.MaskedMAC, flow.Address:
		return 6
	case flow.Prefix:
		return 16
	case flow.PortNumber, flow.Number32:
		return 4
	case flow.Number8:
		return 1
	}
	return 2
}

// distinctValue appends the value of a field that m has.
func distinctValue(b []byte, m *flow.Match, f flow.Field) []byte {
	x := f.Info()
	switch x.Kind {
	case flow.MaskedMAC, flow.Address:
		a, _ := x.MAC(m)
		return append(b, a[:]...)
	case flow.Prefix:
		a := x.Prefix(m).Addr().As16()
		return append(b, a[:]...)
	}
	v, _ := x.Number(m)
	for i := distinctSize(f) - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// maxAgo is the most bytes that a time takes in a window: [maxTime] in milliseconds.
const maxAgo = 5

// windowSize is the most bytes that a transition's window takes.
func (t *Transition) windowSize() int {
	if !t.counts() {
		return 0
	}
	return 4 + int(min(t.Packet.Count, maxValue))*(maxAgo+distinctSize(t.Packet.Distinct))
}

func (t *Transition) counts() bool { return t.Packet != nil && t.Packet.Count != 0 }

// readWindows decodes the windows of a value, of a machine with transitions t.
func readWindows(r *wire.Reader, written int64, t []Transition) (list []window) {
	last := -1
	for r.Left() > 0 && r.Err() == nil {
		w := window{transition: int(r.Uint(maxTransitions))}
		if w.transition <= last || w.transition >= len(t) || !t[w.transition].counts() {
			r.Failf("transition %d counts nothing", w.transition)
			return nil
		}
		last = w.transition
		counts := t[w.transition].Packet
		size := distinctSize(counts.Distinct)
		n := r.Count(1 + size)
		if n >= int(counts.Count) {
			r.Failf("%d of %d counted", n, counts.Count)
			return nil
		}
		w.entries = make([]entry, 0, n+1)
		for range n {
			at := written - int64(r.Uint(uint64(counts.Within.Milliseconds())))
			w.entries = append(w.entries, entry{at, r.Raw(size)})
		}
		list = append(list, w)
	}
	return list
}

// appendWindows appends what v has counted. What is older than its transition counts is left out.
func appendWindows(b []byte, v *value, t []Transition) []byte {
	for i := range v.windows {
		w := &v.windows[i]
		if w.trim(t[w.transition].Packet, v.written); len(w.entries) == 0 {
			continue
		}
		b = binary.AppendUvarint(b, uint64(w.transition))
		b = binary.AppendUvarint(b, uint64(len(w.entries)))
		for _, e := range w.entries {
			b = append(binary.AppendUvarint(b, uint64(v.written-e.at)), e.value...)
		}
	}
	return b
}

// window returns what a transition has counted, which may be nothing yet.
func (v *value) window(transition int) *window {
	at, found := slices.BinarySearchFunc(v.windows, transition, func(w window, t int) int { return w.transition - t })
	if !found {
		v.windows = slices.Insert(v.windows, at, window{transition: transition})
	}
	return &v.windows[at]
}

// trim forgets what is older than the transition counts.
func (w *window) trim(t *Packet, now int64) {
	w.entries = slices.DeleteFunc(w.entries, func(e entry) bool { return now-e.at >= t.Within.Milliseconds() })
}

// count takes one packet at a time now into a window and reports whether the transition has seen enough. distinct is the packet's value, if
// the transition counts values.
func (w *window) count(t *Packet, now int64, distinct []byte) (enough bool) {
	w.trim(t, now)
	if t.Distinct != 0 {
		w.entries = slices.DeleteFunc(w.entries, func(e entry) bool { return string(e.value) == string(distinct) })
	}
	w.entries = append(w.entries, entry{now, distinct})
	return len(w.entries) >= int(t.Count)
}
