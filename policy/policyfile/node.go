package policyfile

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"switchbridge/flow"
	"switchbridge/policy"
)

// key is one key of a mapping and what reads its value.
type key struct {
	name string
	read func(*yaml.Node)
}

// mapping reads a mapping of which each key may come once.
func (d *decoder) mapping(n *yaml.Node, where string, keys []key) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "forward:" with nothing after it is all defaults
	}
	if !d.kind(n, where, yaml.MappingNode, "a mapping of keys to values") {
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(keys, func(k key) bool { return k.name == name.Value })
		switch {
		case name.Kind != yaml.ScalarNode || at < 0:
			names := make([]string, len(keys))
			for i := range keys {
				names[i] = keys[i].name
			}
			d.errorf(name, "%s: unknown key %q: want one of %s", where, name.Value, strings.Join(names, ", "))
		case seen[name.Value]:
			d.errorf(name, "%s: %s is given twice", where, name.Value)
		default:
			seen[name.Value] = true
			keys[at].read(value)
		}
	}
}

func (d *decoder) sequence(n *yaml.Node, where string) []*yaml.Node {
	if !d.kind(n, where, yaml.SequenceNode, "a list") {
		return nil
	}
	return n.Content
}

func (d *decoder) scalar(n *yaml.Node, where string) (string, bool) {
	if !d.kind(n, where, yaml.ScalarNode, "one value") {
		return "", false
	}
	return n.Value, true
}

func (d *decoder) kind(n *yaml.Node, where string, want yaml.Kind, what string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.errorf(n, "%s: anchors and aliases are not allowed", where)
	case n.Kind != want:
		d.errorf(n, "%s: want %s", where, what)
	default:
		return true
	}
	return false
}

// parsed reads a scalar by a function whose errors say what it wants.
func parsed[T any](d *decoder, n *yaml.Node, where string, parse func(string) (T, error)) (v T, ok bool) {
	s, ok := d.scalar(n, where)
	if !ok {
		return v, false
	}
	v, err := parse(s)
	if err != nil {
		d.errorf(n, "%s: %v", where, err)
		var zero T
		return zero, false
	}
	return v, true
}

// number reads an integer.
func (d *decoder) number(n *yaml.Node, where string, low, high uint64) uint64 {
	v, _ := parsed(d, n, where, func(s string) (uint64, error) {
		v, err := flow.ParseNumber(s, 64)
		if err != nil || v < low || v > high {
			return 0, fmt.Errorf("%q: want a number from %d to %d, in decimal or in hexadecimal after 0x", s, low, high)
		}
		return v, nil
	})
	return v
}

// seconds reads a timeout: 30, 30s or 5m.
func (d *decoder) seconds(n *yaml.Node, where string) time.Duration {
	v, _ := parsed(d, n, where, func(s string) (time.Duration, error) {
		v, err := time.ParseDuration(s)
		if sec, numErr := flow.ParseNumber(s, 32); numErr == nil {
			v, err = time.Duration(sec)*time.Second, nil
		}
		if err != nil || v < 0 || v > policy.MaxTimeout || v%time.Second != 0 {
			return 0, fmt.Errorf("%q: want whole seconds, such as 30s, at most 65535", s)
		}
		return v, nil
	})
	return v
}

func (d *decoder) boolean(n *yaml.Node, where string) bool {
	v, _ := parsed(d, n, where, func(s string) (bool, error) {
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return false, fmt.Errorf("%q: want true or false", s)
	})
	return v
}

// readAll reads at most limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("larger than %d MiB", limit>>20)
	}
	return body, err
}
