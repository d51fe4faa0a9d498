// Package syntax is what a kind of policy reads its entry of a policy file with: a tree of nodes that know their lines, mappings
// whose keys are strict, lists in files of their own, and errors that name file and line. It knows no YAML (policy/policyfile makes the
// tree), opens no files, and knows no kinds.
package syntax

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"switchbridge/flow"
)

// Shape says what a node is.
type Shape uint8

const (
	Scalar Shape = iota
	Mapping
	Sequence
	Alias // of another node; no policy may have one
)

// Node is a place in a policy file.
type Node struct {
	Shape   Shape
	Line    int
	Value   string  // of a scalar, as it is written
	Null    bool    // a scalar that nothing is written for
	Anchor  bool    // the node has a name for aliases, which no policy may have
	Content []*Node // keys and values in turn, or items
}

// Error is one thing wrong with a policy.
type Error struct {
	File string
	Line int // 0: the file as a whole
	Msg  string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
}

// Errors is all that is wrong with a policy, in the file's order.
type Errors []*Error

// maxErrors is how many are reported.
const maxErrors = 20

func (e Errors) Error() string {
	s := make([]string, 0, len(e))
	for i, err := range e {
		if i == maxErrors {
			s = append(s, fmt.Sprintf("%s: and %d more", err.File, len(e)-i))
			break
		}
		s = append(s, err.Error())
	}
	return strings.Join(s, "\n")
}

// File is a policy file that is being read. What is wrong with it is collected, so that all of it is reported at once.
type File struct {
	Name string // in errors
	Errs Errors

	// Open returns the content of a list file that the policy names, and the path it was looked for at.
	Open func(name string) (path string, body []byte, err error)

	// Look returns what a lookup has found: the content of a list, or the addresses of a name, one a line.
	Look func(l *Lookup) (body []byte, err error)

	// Resolve is how often names are looked up again.
	Resolve time.Duration

	// Zone is where the policy's hours are those of; nil: UTC.
	Zone *time.Location

	// Fixed, while it is not empty, says why no host's name may stand here, where its addresses may change.
	Fixed string

	groups map[string]*Group
}

// Errorf says what is wrong at a node, or with the whole file where n is nil.
func (f *File) Errorf(n *Node, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	f.Errs = append(f.Errs, &Error{File: f.Name, Line: line, Msg: fmt.Sprintf(format, args...)})
}

// Field is one key of a mapping and what reads its value.
type Field struct {
	name string
	read func(*Node)
}

// Key returns a field of [File.Mapping].
func Key(name string, read func(*Node)) Field { return Field{name, read} }

// Mapping reads a mapping of which each key may come once. Errors say where it is, such as "blocklist".
func (f *File) Mapping(n *Node, where string, fields ...Field) {
	if n.Shape == Scalar && n.Null {
		return // "forward:" with nothing after it is all defaults
	}
	if !f.is(n, where, Mapping, "a mapping of keys to values") {
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(fields, func(k Field) bool { return k.name == name.Value })
		switch {
		case name.Shape != Scalar || at < 0:
			names := make([]string, len(fields))
			for i := range fields {
				names[i] = fields[i].name
			}
			f.Errorf(name, "%s: unknown key %q: want one of %s%s", where, name.Value, strings.Join(names, ", "), nearestKey(name.Value, names))
		case seen[name.Value]:
			f.Errorf(name, "%s: %s is given twice", where, name.Value)
		default:
			seen[name.Value] = true
			fields[at].read(value)
		}
	}
}

// nearestKey is Nearest of keys, one of which may have its value without a space after the colon.
func nearestKey(s string, keys []string) string {
	if key, value, ok := strings.Cut(s, ":"); ok && slices.Contains(keys, key) {
		return "; did you mean " + key + ": " + value + ", with a space after the colon?"
	}
	return Nearest(s, keys)
}

// Sequence returns a list's items.
func (f *File) Sequence(n *Node, where string) []*Node {
	if !f.is(n, where, Sequence, "a list") {
		return nil
	}
	return n.Content
}

// Scalar returns one value as it is written.
func (f *File) Scalar(n *Node, where string) (string, bool) {
	if !f.is(n, where, Scalar, "one value") {
		return "", false
	}
	return n.Value, true
}

func (f *File) is(n *Node, where string, want Shape, what string) bool {
	switch {
	case n.Shape == Alias || n.Anchor:
		f.Errorf(n, "%s: anchors and aliases are not allowed", where)
	case n.Shape != want:
		f.Errorf(n, "%s: want %s", where, what)
	default:
		return true
	}
	return false
}

// Rejects reads deny or reject, and reports whether it is reject.
func (f *File) Rejects(n *Node, where string) bool {
	v, _ := Parsed(f, n, where, func(s string) (bool, error) {
		if s != "deny" && s != "reject" {
			return false, fmt.Errorf("%q: want deny or reject%s", s, Nearest(s, []string{"deny", "reject"}))
		}
		return s == "reject", nil
	})
	return v
}

// Parsed reads one value by a function whose errors say what it wants.
func Parsed[T any](f *File, n *Node, where string, parse func(string) (T, error)) (v T, ok bool) {
	s, ok := f.Scalar(n, where)
	if !ok {
		return v, false
	}
	v, err := parse(s)
	if err != nil {
		f.Errorf(n, "%s: %v", where, err)
		var zero T
		return zero, false
	}
	return v, true
}

// Number reads an integer from low to high.
func (f *File) Number(n *Node, where string, low, high uint64) uint64 {
	v, _ := Parsed(f, n, where, func(s string) (uint64, error) {
		v, err := flow.ParseNumber(s, 64)
		if err != nil || v < low || v > high {
			return 0, fmt.Errorf("%q: want a number from %d to %d, in decimal or in hexadecimal after 0x", s, low, high)
		}
		return v, nil
	})
	return v
}

// Boolean reads true or false.
func (f *File) Boolean(n *Node, where string) bool {
	v, _ := Parsed(f, n, where, func(s string) (bool, error) {
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

// Allow reads allow or deny, and reports whether it is allow.
func (f *File) Allow(n *Node, where string) bool {
	v, _ := Parsed(f, n, where, func(s string) (bool, error) {
		if s != "allow" && s != "deny" {
			return false, fmt.Errorf("%q: want allow or deny", s)
		}
		return s == "allow", nil
	})
	return v
}

// Strict reads which of TCP's segments open a conversation, a SYN alone (strict) or any (loose), and returns whether it is strict.
func (f *File) Strict(n *Node, where string) bool {
	v, _ := Parsed(f, n, where, func(s string) (bool, error) {
		if s != "strict" && s != "loose" {
			return false, fmt.Errorf("%q: want strict or loose", s)
		}
		return s == "strict", nil
	})
	return v
}

// ParsePrefix reads an address or a prefix without bits beyond its length.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%.60q is not an address or prefix, such as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond its length: write %s, or the address alone", p, p.Masked())
	}
	return p, nil
}
