// Package policyfile reads policies from YAML files. Every error reads
// "file:line: entry: what", and all that is wrong with a file is reported at
// once, not the first thing alone.
//
// Keys are strict, so that a misspelt one is an error and never a rule that
// does not hold. Anchors and aliases are refused: a short file must not become
// a long policy.
package policyfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // hosts may have none

	"go.yaml.in/yaml/v3"

	"switchbridge/flow"
	"switchbridge/internal/yamlerr"
	"switchbridge/policy"
	"switchbridge/policy/kinds"
	"switchbridge/policy/lookup"
	"switchbridge/policy/promise"
	"switchbridge/policy/syntax"
)

// Limits of what is read, in bytes.
const (
	MaxFile = 16 << 20 // a policy
	MaxList = 64 << 20 // a list file, 4 million addresses
)

// Load reads the policy in a file and the lists that it names, relative to the
// file's folder. Without a serial of its own the policy's is the time of the
// newest of these files, in milliseconds of Unix time. The error may be an
// [Errors]. A policy with lists by URL or names is read by a [Reader].
func Load(path string) (*policy.Policy, error) {
	doc, err := Read(path)
	if err != nil {
		return nil, err
	}
	return doc.Policy, nil
}

// Document is all that is in a policy file.
type Document struct {
	Policy   *policy.Policy
	Promises []promise.Promise // in the file's order
	Compiled []byte            // the file, where it was a compiled policy (see policy/blob), which has nothing else

	// Lookups are what the policy names that has to be looked up, each once, and Copies the files with what was found, in the same order.
	Lookups []*syntax.Lookup
	Copies  []string

	entries []*syntax.Node   // of the chain
	items   [][]*syntax.Node // of each entry
}

// Line returns on which line the entry of the chain is, or one of its items where item is not below 0; 0 where there is no such entry.
// Both count from 0.
func (d *Document) Line(entry, item int) int {
	switch {
	case entry < 0 || entry >= len(d.entries):
		return 0
	case item >= 0 && item < len(d.items[entry]):
		return d.items[entry][item].Line
	}
	return d.entries[entry].Line
}

// Read is [Load], and returns what else the file says.
func Read(path string) (*Document, error) { return new(Reader).Read(context.Background(), path) }

// Reader reads policies that name what has to be looked up.
type Reader struct {
	Store *lookup.Store // nil: such policies are refused

	// Fresh has sources that are due looked at before the policy is read. Without it, only those are of which there is no copy.
	Fresh bool

	// Lookups are those of the policy that was read last, also where it could not be.
	Lookups []*syntax.Lookup

	// Stale says why copies of the policy that was read last may not be what their sources have now.
	Stale []error
}

// Read reads the policy in a file.
func (r *Reader) Read(ctx context.Context, path string) (*Document, error) {
	body, modified, err := readPolicy(path)
	if err != nil {
		return nil, err
	}
	return r.read(ctx, body, path, filepath.Dir(path), modified)
}

// Parse is [ParseDocument] for what has to be looked up.
func (r *Reader) Parse(ctx context.Context, text, name, baseDir string) (*Document, error) {
	return r.read(ctx, []byte(text), name, baseDir, time.Time{})
}

func (r *Reader) read(ctx context.Context, body []byte, name, dir string, modified time.Time) (*Document, error) {
	r.Stale = nil
	tried := map[string]error{}
	for {
		d := decoder{File: syntax.File{Name: name}, dir: dir, newest: modified, open: openFile, store: r.Store, tried: tried}
		doc, err := d.read(bytes.NewReader(body))
		r.Lookups = d.Lookups
		for _, l := range d.Lookups {
			l.After = d.newest
		}
		list := d.wanted
		if r.Fresh && len(tried) == 0 {
			list = d.Lookups
		}
		if len(list) == 0 {
			return doc, err
		}
		for i, err := range r.Store.LookAll(ctx, list, false) {
			if tried[list[i].String()] = err; err != nil && !slices.Contains(d.wanted, list[i]) {
				r.Stale = append(r.Stale, err)
			}
		}
	}
}

// readPolicy reads a policy's own file, within its limit.
func readPolicy(path string) ([]byte, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	body, err := readAll(f, MaxFile)
	if err != nil {
		return nil, time.Time{}, &Error{File: path, Msg: err.Error()}
	}
	return body, info.ModTime(), nil
}

// Parse reads a policy that is not in a file of its own. Errors call it name;
// lists are relative to baseDir. Without a serial it has that of its newest
// list, or 1.
func Parse(r io.Reader, name, baseDir string) (*policy.Policy, error) {
	doc, err := ParseDocument(r, name, baseDir)
	if err != nil {
		return nil, err
	}
	return doc.Policy, nil
}

// ParseDocument is [Parse], and returns what else the text says.
func ParseDocument(r io.Reader, name, baseDir string) (*Document, error) {
	d := decoder{File: syntax.File{Name: name}, dir: baseDir, open: openFile}
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

// What is wrong with a policy: one thing with its line, and all of them.
type (
	Error  = syntax.Error
	Errors = syntax.Errors
)

// decoder reads one policy.
type decoder struct {
	syntax.File
	dir    string
	open   func(path string) (io.ReadCloser, time.Time, error)
	newest time.Time // of the files read
	sum    hash.Hash // of their content
	files  []string  // lists

	store  *lookup.Store    // nil: nothing is looked up
	tried  map[string]error // how it went with what was looked for just now
	wanted []*syntax.Lookup // of which there is no copy
	copies map[string]*lookup.Copy

	Document
}

func (d *decoder) read(r io.Reader) (*Document, error) {
	body, err := readAll(r, MaxFile)
	if err != nil {
		return nil, &Error{File: d.Name, Msg: err.Error()}
	}
	d.sum = sha256.New()
	d.hash(body)
	d.Open, d.Resolve, d.copies = d.list, syntax.DefaultResolve, map[string]*lookup.Copy{}
	if d.store != nil {
		d.Look = d.lookup
	}

	p := &policy.Policy{Install: policy.DefaultInstall}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(body)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &Error{File: d.Name, Msg: "the file is empty: want at least a chain"}
	case err != nil:
		line, msg := yamlerr.Syntax(err, body)
		return nil, &Error{File: d.Name, Line: line, Msg: msg}
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Error{File: d.Name, Line: more.Line, Msg: "a second YAML document: want one policy in a file"}
	}
	root := node(doc.Content[0])
	d.policy(root, p)
	if len(d.Errs) > 0 {
		return nil, d.Errs
	}
	if p.Serial == 0 {
		p.Serial = 1
		if ms := d.newest.UnixMilli(); !d.newest.IsZero() && ms > 0 {
			p.Serial = uint64(ms)
		}
	}
	p.Files = d.files
	p.Hash = binary.BigEndian.Uint32(d.sum.Sum(nil))
	d.validate(p, root)
	if len(d.Errs) > 0 {
		return nil, d.Errs
	}
	d.Policy = p
	return &d.Document, nil
}

// hash adds a file to the version's hash. Its length goes first, so that moving
// a line from one file's end to the next one's start is a change.
func (d *decoder) hash(body []byte) {
	d.sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(body))))
	d.sum.Write(body)
}

// validate finds the lines for what the policy finds wrong with itself.
func (d *decoder) validate(p *policy.Policy, doc *syntax.Node) {
	if err := p.ValidateInstall(); err != nil {
		d.Errorf(doc, "%v", err)
	}
	for i, s := range p.Chain {
		err := s.Validate(p.Chain[:i])
		if err == nil {
			continue
		}
		n := d.entries[i]
		var item *policy.ItemError
		if errors.As(err, &item) && item.Index < len(d.items[i]) {
			n = d.items[i][item.Index]
		}
		d.Errorf(n, "%s: %v", s.Name(), err)
	}
}

func (d *decoder) policy(n *syntax.Node, p *policy.Policy) {
	in := &p.Install
	var groups, promises *syntax.Node                                       // promises may name what the chain has
	for i := 0; i+1 < len(n.Content) && n.Shape == syntax.Mapping; i += 2 { // which the rest may name, wherever they stand
		switch value := n.Content[i+1]; n.Content[i].Value {
		case "groups":
			groups = value
		case "resolve":
			if every, ok := syntax.Parsed(&d.File, value, "resolve", syntax.ParseEvery); ok {
				d.Resolve = every
			}
		case "time_zone":
			d.Zone, _ = syntax.Parsed(&d.File, value, "time_zone", parseZone)
		}
	}
	if groups != nil {
		d.ParseGroups(groups)
	}
	var serial *syntax.Node
	d.Mapping(n, "policy",
		syntax.Key("groups", func(*syntax.Node) {}),
		syntax.Key("time_zone", func(*syntax.Node) {}),
		syntax.Key("resolve", func(*syntax.Node) {}),
		syntax.Key("serial", func(n *syntax.Node) { serial = n; p.Serial = d.Number(n, "serial", 1, 1<<63-1) }),
		syntax.Key("install", func(n *syntax.Node) { in.Rule, _ = syntax.Parsed(&d.File, n, "install", policy.ParseGranularity) }),
		syntax.Key("idle_timeout", func(n *syntax.Node) { in.IdleTimeout, _ = syntax.Parsed(&d.File, n, "idle_timeout", parseSeconds) }),
		syntax.Key("hard_timeout", func(n *syntax.Node) { in.HardTimeout, _ = syntax.Parsed(&d.File, n, "hard_timeout", parseSeconds) }),
		syntax.Key("priority", func(n *syntax.Node) {
			in.Priority = uint16(d.Number(n, "priority", policy.MinPriority, policy.MaxPriority))
		}),
		syntax.Key("table", func(n *syntax.Node) { in.Table = uint8(d.Number(n, "table", 0, 253)) }),
		syntax.Key("chain", func(n *syntax.Node) { p.Chain = d.chain(n) }),
		syntax.Key("promises", func(n *syntax.Node) { promises = n }),
	)
	if serial != nil && len(d.Lookups) > 0 {
		d.Errorf(serial, "serial: %s is looked up again and again, and what the policy says changes with it: leave serial out, so that it is the time of the last change", d.Lookups[0])
	}
	if promises != nil {
		d.Promises = promise.Parse(&d.File, promises, p.Chain)
	}
	if len(p.Chain) == 0 && len(d.Errs) == 0 {
		d.Errorf(n, "policy: want a chain of at least one policy")
	}
}

// parseZone reads a place's name in the time zone database.
func parseZone(s string) (*time.Location, error) {
	place, err := time.LoadLocation(s)
	if err != nil || s == "" || s == "Local" {
		return nil, fmt.Errorf("%q: want a time zone such as Europe/Berlin, or UTC", s)
	}
	return place, nil
}

// parseSeconds reads a timeout: 30, 30s or 5m.
func parseSeconds(s string) (time.Duration, error) {
	v, err := time.ParseDuration(s)
	if sec, numErr := flow.ParseNumber(s, 32); numErr == nil {
		v, err = time.Duration(sec)*time.Second, nil
	}
	if err != nil || v < 0 || v > policy.MaxTimeout || v%time.Second != 0 {
		return 0, fmt.Errorf("%q: want whole seconds, such as 30s, at most 65535", s)
	}
	return v, nil
}

func (d *decoder) chain(n *syntax.Node) (chain []policy.Source) {
	var fields []syntax.Field
	var names []string
	for _, kind := range kinds.All {
		names = append(names, kind.Name())
		fields = append(fields, syntax.Key(kind.Name(), func(n *syntax.Node) {
			source, items := kind.Parse(&d.File, n)
			chain, d.items = append(chain, source), append(d.items, items)
		}))
	}
	for i, entry := range d.Sequence(n, "chain") {
		before, faults := len(chain), len(d.Errs)
		d.Mapping(entry, fmt.Sprintf("chain entry %d", i+1), fields...)
		switch len(chain) - before {
		case 0:
			if len(d.Errs) == faults {
				d.Errorf(entry, "chain entry %d: want one of %s", i+1, strings.Join(names, ", "))
			}
		case 1:
			d.entries = append(d.entries, entry)
		default:
			d.Errorf(entry, "chain entry %d: two policies in one entry have no order: give each its own", i+1)
		}
	}
	return chain
}

// list reads a list file that the policy names.
func (d *decoder) list(name string) (path string, body []byte, err error) {
	path = name
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.dir, path)
	}
	d.files = append(d.files, path)
	f, modified, err := d.open(path)
	if err != nil {
		return path, nil, err
	}
	defer f.Close()
	if body, err = readAll(f, MaxList); err != nil {
		return path, nil, err
	}
	if modified.After(d.newest) {
		d.newest = modified
	}
	d.hash(body)
	return path, body, nil
}

// lookup returns the copy of what was found last. Where there is none, and nobody has looked yet, the policy is read again once somebody has, and what
// stands in its place until then doesn't matter.
func (d *decoder) lookup(l *syntax.Lookup) ([]byte, error) {
	key := l.String() + " " + l.SHA256
	c, known := d.copies[key]
	if !known {
		var err error
		if c, err = d.store.Copy(l); err == nil {
			d.hash(c.Body)
		}
		d.copies[key] = c
		d.Lookups, d.Copies = append(d.Lookups, l), append(d.Copies, c.Path)
	}
	why, tried := d.tried[l.String()]
	switch {
	case c.Body != nil:
	case !tried:
		d.wanted = append(d.wanted, l)
		return []byte("192.0.2.0\n"), nil
	case why != nil:
		return nil, fmt.Errorf("%w, and there is no copy from before", why)
	default:
		return nil, fmt.Errorf("%s: what was found can't be read again from %s", l, c.Path)
	}
	if c.Changed.After(d.newest) {
		d.newest = c.Changed
	}
	return c.Body, nil
}

// readAll reads at most limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("larger than %d MiB", limit>>20)
	}
	return body, err
}

// node returns what kinds read, which know no YAML. An alias is not followed, so a short file stays a small tree.
func node(n *yaml.Node) *syntax.Node {
	to := &syntax.Node{Line: n.Line, Value: n.Value, Null: n.Tag == "!!null", Anchor: n.Anchor != ""}
	switch n.Kind {
	case yaml.MappingNode:
		to.Shape = syntax.Mapping
	case yaml.SequenceNode:
		to.Shape = syntax.Sequence
	case yaml.AliasNode:
		to.Shape = syntax.Alias
	}
	if len(n.Content) > 0 {
		to.Content = make([]*syntax.Node, len(n.Content))
		for i := range n.Content {
			to.Content[i] = node(n.Content[i])
		}
	}
	return to
}
