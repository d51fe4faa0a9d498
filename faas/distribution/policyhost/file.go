package policyhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/files"
	"switchbridge/internal/watched"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/forward"
	"switchbridge/policy/lookup"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/prove"
	"switchbridge/policy/syntax"
	"switchbridge/state"
)

// store keeps the lists and hosts' names that policies name and that are looked up. Tests replace it.
var store = lookup.Default

// Host is what decides by a policy that can change while it runs.
type Host interface {
	flow.Decider
	state.Machines
	SetPolicy(ctx context.Context, p *policy.Policy) error
}

// File is a policy file that may change while it is in use: a policy as people write it, with
// the lists that it names, or a compiled one. A bad file changes nothing. It is a watched.File.
type File struct {
	*watched.Value[*policyfile.Document] // nil where there is no file
	what, path                           string
	keeper                               *lookup.Keeper // of what the policy names that has to be looked up
	log                                  *slog.Logger
	host                                 Host
	onChange                             func(*policy.Policy)
	tags                                 tags
	takes                                func(*policy.Policy) error
}

// Open reads a policy file; an empty path is the policy that allows all. results may be nil.
func Open(path string, log *slog.Logger, results *watched.Results) (*File, *policy.Policy, error) {
	return OpenAs("policy", path, log, results)
}

// OpenAs is Open for a policy that is called something else in the log and among the results.
func OpenAs(what, path string, log *slog.Logger, results *watched.Results) (*File, *policy.Policy, error) {
	f := &File{what: what, path: path, log: log}
	if path == "" {
		log.Warn("no policy is given: every packet is allowed (--policy FILE)")
		return f, forward.Default(), nil
	}
	reader := policyfile.Reader{Store: store()}
	f.keeper = lookup.NewKeeper(reader.Store, path, log, results)
	var err error
	f.Value, err = watched.Open(watched.Source[*policyfile.Document]{What: what, Paths: []string{path}, Log: log, Results: results,
		Read: func() (*policyfile.Document, []string, error) {
			doc, err := read(context.Background(), path, &reader)
			f.keeper.Keep(f.sources(&reader, doc))
			if err != nil {
				return nil, nil, err
			}
			return doc, slices.Concat(doc.Policy.Files, doc.Copies), nil
		}, Use: f.use})
	if err != nil {
		return nil, nil, err
	}
	f.warn(f.Last())
	f.tags.follow(f.Last().Policy)
	return f, f.Last().Policy, nil
}

// Saw notes a packet that was decided by the policy. Several goroutines may call it at a time.
func (f *File) Saw(packet *flow.Match) { f.tags.see(packet, f.log) }

// Follow gives host each new policy from now on, and calls onChange, if not nil, with it afterwards. It is
// called once, before anything looks at the file.
func (f *File) Follow(host Host, onChange func(*policy.Policy)) { f.host, f.onChange = host, onChange }

// Requires sets a function that returns an error if a valid policy can't be used here. Requires is called once, as Follow is.
func (f *File) Requires(takes func(*policy.Policy) error) { f.takes = takes }

// Path is the file; empty for none.
func (f *File) Path() string { return f.path }

// Files are those to watch.
func (f *File) Files() []watched.File {
	if f.Value == nil {
		return nil
	}
	return []watched.File{f, f.keeper}
}

// sources returns the lists and names to look up from now on: those of the policy that was just read, whether it is valid or not, and those of the one in use.
func (f *File) sources(read *policyfile.Reader, doc *policyfile.Document) []*syntax.Lookup {
	list := slices.Clone(read.Lookups)
	if doc == nil && f.Value != nil {
		list = append(list, f.Last().Lookups...)
	}
	return list
}

// Look implements watched.File. Beside a changed file, a list or name that is there now and was missing before makes it read the policy again.
func (f *File) Look(ctx context.Context, force bool) (changed bool, err error) {
	return f.Value.Look(ctx, force || f.keeper.News())
}

// Check says whether the file, as it is now, could be used.
func (f *File) Check() error {
	if f.Value == nil {
		return nil
	}
	doc, err := f.Try()
	if err != nil {
		return err
	}
	return f.newer(doc.Policy)
}

// Reload reads the file whether or not it looks changed: what SIGHUP means.
func (f *File) Reload(ctx context.Context) error {
	if f.Value == nil {
		return nil
	}
	_, err := f.Look(ctx, true)
	_, _ = f.keeper.Look(ctx, true) // what it finds is noticed as every change of a file
	return err
}

// Close removes the file from the results.
func (f *File) Close() {
	if f.Value != nil {
		f.keeper.Close()
		f.Value.Close()
	}
}

// newer returns an error if a policy can't replace the host's.
func (f *File) newer(p *policy.Policy) error {
	if old, next := f.host.Version(), p.Version(); next != old && next.Serial <= old.Serial {
		return fmt.Errorf("%s: its content changed and its serial, %d, is not above %d: serials only grow", f.path, next.Serial, old.Serial)
	}
	if f.takes != nil {
		if err := f.takes(p); err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
	}
	return nil
}

// warnBudget is what a start or a reload spends on looking for entries that can never decide: a few tenths of a second.
const warnBudget = 1 << 23

// warn logs the entries that can never decide. The policy is used all the same.
func (f *File) warn(doc *policyfile.Document) {
	prover, err := prove.New(doc.Policy, warnBudget)
	if err != nil {
		return // a kind that can't be proved is no mistake
	}
	faults, err := prover.Faults(doc.Line)
	for _, fault := range faults {
		f.log.Warn(fault.Msg, "file", f.path, "line", fault.Line)
	}
	if err != nil {
		f.log.Info("not all entries of the policy were checked for whether they can decide: policy check does that", "file", f.path)
	}
}

// use makes a policy the host's.
func (f *File) use(ctx context.Context, doc *policyfile.Document) error {
	p := doc.Policy
	if err := f.newer(p); err != nil {
		return err
	}
	old, next := f.host.Version(), p.Version()
	if next == old {
		f.log.Info("the policy was read again and is the same", "file", f.path, "policy", next.String())
		return nil
	}
	start := time.Now()
	if err := f.host.SetPolicy(ctx, p); err != nil {
		return err
	}
	f.tags.follow(p)
	f.log.Info("reloaded", "what", f.what, "file", f.path, "policy", next.String(), "before", old.String(), "took_seconds", time.Since(start).Seconds())
	f.warn(doc)
	if f.onChange != nil {
		f.onChange(p)
	}
	return nil
}

// Take makes the file's policy the host's, in the place of one from another file.
func (f *File) Take(ctx context.Context) error { return f.use(ctx, f.Last()) }

// Read reads a policy in either form. A compiled one has no lines and no promises. What it names that has to be looked up is what was found last;
// where nothing was, it is looked up now.
func Read(path string) (*policyfile.Document, error) {
	return read(context.Background(), path, &policyfile.Reader{Store: store()})
}

// ReadNow is Read, and looks up first what is due. stale says what could not be, so that what was found last counts.
func ReadNow(ctx context.Context, path string) (doc *policyfile.Document, stale []error, err error) {
	r := policyfile.Reader{Store: store(), Fresh: true}
	doc, err = read(ctx, path, &r)
	return doc, r.Stale, err
}

func read(ctx context.Context, path string, r *policyfile.Reader) (*policyfile.Document, error) {
	r.Lookups, r.Stale = nil, nil
	compiled, err := isBlob(path)
	if err != nil {
		return nil, err
	}
	if !compiled {
		return r.Read(ctx, path)
	}
	b, err := files.ReadFile(path, MaxConfiguration)
	if err != nil {
		return nil, err
	}
	p, err := blob.Unpack(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &policyfile.Document{Policy: p, Compiled: b}, nil
}

// isBlob looks at a file's first bytes.
func isBlob(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var head [8]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return blob.Is(head[:n]), nil
}
