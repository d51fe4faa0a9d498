package contract

import (
	"fmt"
	"hash/fnv"
	"iter"
	"strconv"
	"strings"

	"switchbridge/flow"
)

// MaxStates is how many states an answer may name, and how many it may revoke.
const MaxStates = 64

// maxStateName bounds a state's name in bytes.
const maxStateName = 200

// stateNamed returns the hash that stands for a state's name in [flow.StateVersion]. A name of sixteen hexadecimal digits is that hash.
func stateNamed(name string) (uint64, error) {
	if name == "" || len(name) > maxStateName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' || r == '=' }) {
		return 0, fmt.Errorf("state %q: want at most %d printable characters without space, comma and equals sign", Printable(name), maxStateName)
	}
	if len(name) == 16 && strings.Trim(name, "0123456789abcdef") == "" {
		return strconv.ParseUint(name, 16, 64)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64(), nil
}

// StateName is the name under which this program writes a state.
func StateName(key uint64) string { return fmt.Sprintf("%016x", key) }

// StateNames are those of several.
func StateNames(keys []uint64) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, key := range keys {
			if !yield(StateName(key)) {
				return
			}
		}
	}
}

// AddState adds a state that an answer rests on; it is an error if the answer has as many already as it may.
func AddState(d *flow.Decision, name string, version uint64) error {
	key, err := stateNamed(name)
	if err == nil && len(d.Read) >= MaxStates {
		err = fmt.Errorf("more than %d states", MaxStates)
	}
	if err == nil {
		d.Read = append(d.Read, flow.StateVersion{Key: key, Version: version})
	}
	return err
}

// AddRevoke adds a state whose rules an answer revokes.
func AddRevoke(d *flow.Decision, name string) error {
	key, err := stateNamed(name)
	if err == nil && len(d.Revoke) >= MaxStates {
		err = fmt.Errorf("more than %d states", MaxStates)
	}
	if err == nil {
		d.Revoke = append(d.Revoke, key)
	}
	return err
}

// StatesText is the value of [HeaderStates]; empty where an answer to ev rests on none, or the gateway does not take it.
func StatesText(ev *flow.Event, d *flow.Decision) string {
	if ev.Accepts&flow.AcceptsRevoke == 0 {
		return ""
	}
	return join(func(yield func(string) bool) {
		for _, r := range d.Read {
			if !yield(StateName(r.Key) + "=" + strconv.FormatUint(r.Version, 10)) {
				return
			}
		}
	})
}

// putStates writes an answer's states as headers.
func putStates(h Header, ev *flow.Event, d *flow.Decision) {
	if text := StatesText(ev, d); text != "" {
		h.Set(HeaderStates, text)
	}
	if len(d.Revoke) > 0 {
		h.Set(HeaderRevoke, join(StateNames(d.Revoke)))
	}
}

// ParseStates is StatesText's inverse; d keeps what it has where text is empty.
func ParseStates(text string, d *flow.Decision) error {
	if text == "" {
		return nil
	}
	d.Read = d.Read[:0]
	for e := range list(text) {
		name, version, ok := strings.Cut(e, "=")
		n, err := strconv.ParseUint(version, 10, 64)
		if !ok || err != nil {
			return fmt.Errorf("%s %q: want <state>=<version>", HeaderStates, Printable(e))
		}
		if err := AddState(d, name, n); err != nil {
			return fmt.Errorf("%s: %w", HeaderStates, err)
		}
	}
	return nil
}

// getStates is putStates' inverse.
func getStates(h Header, d *flow.Decision) error {
	if err := ParseStates(h.Get(HeaderStates), d); err != nil {
		return err
	}
	if v := h.Get(HeaderRevoke); v != "" {
		d.Revoke = d.Revoke[:0]
		for name := range list(v) {
			if err := AddRevoke(d, name); err != nil {
				return fmt.Errorf("%s: %w", HeaderRevoke, err)
			}
		}
	}
	return nil
}

// Restrict takes out of an answer what its gateway can't carry out. A gateway that does not revoke gets no rule that rests on a state:
// the rule would stay when the state has changed. Its packet is decided as before.
func Restrict(ev *flow.Event, d *flow.Decision) {
	if len(d.Read)+len(d.Revoke) == 0 || ev.Accepts&flow.AcceptsRevoke != 0 {
		return
	}
	if len(d.Read) > 0 && len(d.Rules) > 0 {
		if ev.PacketIn != nil {
			actions, _ := d.PacketActions(&ev.PacketIn.Match)
			d.HasPacketOut, d.PacketOut = true, append([]flow.Action(nil), actions...)
		}
		d.Rules = d.Rules[:0]
	}
	d.Read, d.Revoke = d.Read[:0], d.Revoke[:0]
}
