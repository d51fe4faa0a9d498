package jsonenc

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"switchbridge/flow"
)

// errNotP4 refuses entries for a switch that has no tables with names.
var errNotP4 = errors.New("only a P4Runtime switch has tables by name; use flows")

func (w *writer) entry(e *flow.Entry) {
	w.open('{')
	w.string("table", e.Table)
	w.texts("match", e.Match)
	if e.Priority != 0 {
		w.uint("priority", uint64(e.Priority))
	}
	w.string("action", e.Action)
	w.texts("params", e.Params)
	w.seconds("idle_timeout", e.IdleTimeout)
	w.seconds("hard_timeout", e.HardTimeout)
	w.close('}')
}

// texts writes a map in the order of its keys, so that equal entries are equal bytes.
func (w *writer) texts(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	w.key(name)
	w.open('{')
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.string(k, m[k])
	}
	w.close('}')
}

func parseEntry(raw json.RawMessage, e *flow.Entry) error {
	return members(raw, func(name string, v json.RawMessage) (err error) {
		switch name {
		case "table":
			e.Table, err = stringOf(v)
		case "match":
			e.Match, err = textsOf(v)
		case "priority":
			var p uint32
			p, err = limited(v, uint32(1<<31-1))
			e.Priority = int32(p)
		case "action":
			e.Action, err = stringOf(v)
		case "params":
			e.Params, err = textsOf(v)
		case "idle_timeout":
			e.IdleTimeout, err = secondsOf(v)
		case "hard_timeout":
			e.HardTimeout, err = secondsOf(v)
		default:
			return errUnknown
		}
		return err
	})
}

// textsOf reads an object of strings and numbers as text: what a value means is
// for the table's P4Info to say.
func textsOf(raw json.RawMessage) (map[string]string, error) {
	m := map[string]string{}
	err := members(raw, func(name string, v json.RawMessage) (err error) {
		m[name], err = textOf(v)
		return err
	})
	return m, err
}
