package machine

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy/wire"
)

// A state as stores keep it:
//
//	version (1) | CRC-32C of what follows (4) | hash of the machine (8) | state (1) | serial | entered | written | ids | windows
//
// The serial grows by one with each change and begins at 1. Entered and written are when the machine came into its state and when the
// value was made, in milliseconds of Unix time; entered is written as its distance from written. Ids are the hashes (8) of the last
// events that changed it, each with the state (1) that the event was decided in. A window is the index of a transition that counts, and its
// entries: how long before written each was, and for distinct values the value. Numbers of no fixed size are varints.
const valueVersion = 1

const (
	maxValue   = 4096 // bytes, as stores take (state.MaxData)
	maxIDs     = 4
	maxWindows = 3500 // bytes of all windows; the rest of a value is less than 100
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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

// parse reads a value of a machine. Its windows share b's memory.
func (v *value) parse(b []byte, m *machine) fault {
	const fixed = 14
	if len(b) == 0 || len(b) > maxValue {
		return faultCorrupt
	}
	if b[0] > valueVersion { // which may have another checksum, too
		return faultNewer
	}
	if b[0] != valueVersion || len(b) < fixed || crc32.Checksum(b[5:], castagnoli) != binary.LittleEndian.Uint32(b[1:]) {
		return faultCorrupt
	}
	r := wire.NewReader(b[fixed:])
	v.state = int(b[13])
	v.serial = r.Uint(math.MaxUint64)
	if binary.LittleEndian.Uint64(b[5:]) != m.hash {
		return faultMachine
	}
	ago := int64(r.Uint(math.MaxInt64))
	v.written = int64(r.Uint(math.MaxInt64))
	v.entered = v.written - ago
	n := int(r.Byte())
	if n > maxIDs {
		return faultCorrupt
	}
	for i := range n {
		if id := r.Raw(8); id != nil {
			v.ids[i] = seen{binary.LittleEndian.Uint64(id), r.Byte()}
		}
		if int(v.ids[i].state) >= len(m.states) {
			return faultCorrupt
		}
	}
	if r.Left() > 0 {
		v.windows = readWindows(r, v.written, m.Transitions)
	}
	if r.Err() != nil || v.serial == 0 || v.state >= len(m.states) || v.entered <= 0 {
		return faultCorrupt
	}
	return ""
}

// append appends a value as parse reads it.
func (v *value) append(b []byte, m *machine) []byte {
	start := len(b)
	b = append(b, valueVersion, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, m.hash)
	b = append(b, byte(v.state))
	b = binary.AppendUvarint(b, v.serial)
	b = binary.AppendUvarint(b, uint64(v.written-v.entered))
	b = binary.AppendUvarint(b, uint64(v.written))
	n := 0
	for n < maxIDs && v.ids[n].id != 0 {
		n++
	}
	b = append(b, byte(n))
	for _, s := range v.ids[:n] {
		b = append(binary.LittleEndian.AppendUint64(b, s.id), s.state)
	}
	b = appendWindows(b, v, m.Transitions)
	binary.LittleEndian.PutUint32(b[start+1:], crc32.Checksum(b[start+5:], castagnoli))
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
	if t.Count == 0 {
		return 0
	}
	return 4 + int(min(t.Count, maxValue))*(maxAgo+distinctSize(t.Distinct))
}

// readWindows decodes the windows of a value, of a machine with transitions t.
func readWindows(r *wire.Reader, written int64, t []Transition) (list []window) {
	last := -1
	for r.Left() > 0 && r.Err() == nil {
		w := window{transition: int(r.Uint(maxTransitions))}
		if w.transition <= last || w.transition >= len(t) || t[w.transition].Count == 0 {
			r.Failf("transition %d counts nothing", w.transition)
			return nil
		}
		last = w.transition
		counts := &t[w.transition]
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
		if w.trim(&t[w.transition], v.written); len(w.entries) == 0 {
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
func (w *window) trim(t *Transition, now int64) {
	w.entries = slices.DeleteFunc(w.entries, func(e entry) bool { return now-e.at >= t.Within.Milliseconds() })
}

// count takes one packet at a time now into a window and reports whether the transition has seen enough. distinct is the packet's value, if
// the transition counts values.
func (w *window) count(t *Transition, now int64, distinct []byte) (enough bool) {
	w.trim(t, now)
	if t.Distinct != 0 {
		w.entries = slices.DeleteFunc(w.entries, func(e entry) bool { return string(e.value) == string(distinct) })
	}
	w.entries = append(w.entries, entry{now, distinct})
	return len(w.entries) >= int(t.Count)
}
