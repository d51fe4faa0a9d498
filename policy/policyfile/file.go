// Package policyfile reads policies from YAML files. Every error reads
// "file:line: entry: what", and all that is wrong with a file is reported at
// once, not the first thing alone.
//
// Keys are strict, so that a misspelt one is an error and never a rule that
// does not hold. Anchors and aliases are refused: a short file must not become
// a long policy.
package policyfile

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"switchbridge/policy"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
)

// Limits of what is read, in bytes.
const (
	MaxFile = 16 << 20 // a policy
	MaxList = 64 << 20 // a list file, 4 million addresses
)

// Load reads the policy in a file and the lists that it names, relative to the
// file's folder. Without a serial of its own the policy's is the time of the
// newest of these files, in milliseconds of Unix time. The error may be an
// [Errors].
func Load(path string) (*policy.Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d := decoder{name: path, dir: filepath.Dir(path), newest: info.ModTime(), open: openFile}
	return d.read(f)
}

// Parse reads a policy that is not in a file of its own. Errors call it name;
// lists are relative to baseDir. Without a serial it has that of its newest
// list, or 1.
func Parse(r io.Reader, name, baseDir string) (*policy.Policy, error) {
	d := decoder{name: name, dir: baseDir, open: openFile}
	return d.read(r)
}

func openFile(path string) (io.ReadCloser, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, time.Time{}, err
	}
	if info.IsDir() {
		f.Close()
		return nil, time.Time{}, &os.PathError{Op: "read", Path: path, Err: errors.New("is a directory")}
	}
	return f, info.ModTime(), nil
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

// decoder reads one policy.
type decoder struct {
	name   string
	dir    string
	open   func(path string) (io.ReadCloser, time.Time, error)
	newest time.Time // of the files read
	sum    hash.Hash // of their content
	errs   Errors

	entries []*yaml.Node                    // of the chain
	rules   map[*header.Config][]*yaml.Node // of each header policy
	files   []string                        // lists
}

func (d *decoder) errorf(n *yaml.Node, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	d.errs = append(d.errs, &Error{File: d.name, Line: line, Msg: fmt.Sprintf(format, args...)})
}

func (d *decoder) read(r io.Reader) (*policy.Policy, error) {
	body, err := readAll(r, MaxFile)
	if err != nil {
		return nil, &Error{File: d.name, Msg: err.Error()}
	}
	d.sum = sha256.New()
	d.hash(body)
	d.rules = make(map[*header.Config][]*yaml.Node)

	p := &policy.Policy{Install: policy.DefaultInstall}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(body)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &Error{File: d.name, Msg: "the file is empty: want at least a chain"}
	case err != nil:
		return nil, &Error{File: d.name, Msg: strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Error{File: d.name, Line: more.Line, Msg: "a second YAML document: want one policy in a file"}
	}
	d.policy(doc.Content[0], p)
	if len(d.errs) > 0 {
		return nil, d.errs
	}
	if p.Serial == 0 {
		p.Serial = 1
		if ms := d.newest.UnixMilli(); !d.newest.IsZero() && ms > 0 {
			p.Serial = uint64(ms)
		}
	}
	p.Files = d.files
	p.Hash = binary.BigEndian.Uint32(d.sum.Sum(nil))
	d.validate(p, doc.Content[0])
	if len(d.errs) > 0 {
		return nil, d.errs
	}
	return p, nil
}

// hash adds a file to the version's hash. Its length goes first, so that moving
// a line from one file's end to the next one's start is a change.
func (d *decoder) hash(body []byte) {
	d.sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(body))))
	d.sum.Write(body)
}

// validate finds the lines for what the policy finds wrong with itself.
func (d *decoder) validate(p *policy.Policy, doc *yaml.Node) {
	if err := p.ValidateInstall(); err != nil {
		d.errorf(doc, "%v", err)
	}
	for i, s := range p.Chain {
		err := s.Validate(p.Chain[:i])
		if err == nil {
			continue
		}
		n := d.entries[i]
		var re *header.RuleError
		if c, ok := s.(*header.Config); ok && errors.As(err, &re) {
			n = d.rules[c][re.Index]
		}
		d.errorf(n, "%s: %v", s.Name(), err)
	}
}

func (d *decoder) policy(n *yaml.Node, p *policy.Policy) {
	in := &p.Install
	d.mapping(n, "policy", []key{
		{"serial", func(n *yaml.Node) { p.Serial = d.number(n, "serial", 1, 1<<63-1) }},
		{"install", func(n *yaml.Node) { in.Rule, _ = parsed(d, n, "install", policy.ParseGranularity) }},
		{"idle_timeout", func(n *yaml.Node) { in.IdleTimeout = d.seconds(n, "idle_timeout") }},
		{"hard_timeout", func(n *yaml.Node) { in.HardTimeout = d.seconds(n, "hard_timeout") }},
		{"priority", func(n *yaml.Node) {
			in.Priority = uint16(d.number(n, "priority", policy.MinPriority, policy.MaxPriority))
		}},
		{"table", func(n *yaml.Node) { in.Table = uint8(d.number(n, "table", 0, 253)) }},
		{"chain", func(n *yaml.Node) { p.Chain = d.chain(n) }},
	})
	if len(p.Chain) == 0 && len(d.errs) == 0 {
		d.errorf(n, "policy: want a chain of at least one policy")
	}
}

func (d *decoder) chain(n *yaml.Node) (chain []policy.Source) {
	for i, entry := range d.sequence(n, "chain") {
		before, faults := len(chain), len(d.errs)
		d.mapping(entry, fmt.Sprintf("chain entry %d", i+1), []key{
			{"blocklist", func(n *yaml.Node) { chain = append(chain, d.blocklist(n)) }},
			{"header", func(n *yaml.Node) { chain = append(chain, d.header(n)) }},
			{"forward", func(n *yaml.Node) { chain = append(chain, d.forward(n)) }},
		})
		switch len(chain) - before {
		case 0:
			if len(d.errs) == faults {
				d.errorf(entry, "chain entry %d: want one of blocklist, header, forward", i+1)
			}
		case 1:
			d.entries = append(d.entries, entry)
		default:
			d.errorf(entry, "chain entry %d: two policies in one entry have no order: give each its own", i+1)
		}
	}
	return chain
}

func (d *decoder) forward(n *yaml.Node) policy.Source {
	c := &forward.Config{Mode: policy.Normal}
	d.mapping(n, "forward", []key{
		{"mode", func(n *yaml.Node) {
			if m, ok := parsed(d, n, "forward: mode", policy.ParseForwardMode); ok {
				c.Mode = m
			}
		}},
	})
	return c
}
