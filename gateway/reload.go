package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"switchbridge/bridge"
	"switchbridge/faas/distribution/policyhost"
	"switchbridge/faas/function/auth/tokenfile"
	"switchbridge/flow"
	"switchbridge/internal/watched"
	"switchbridge/settings"
)

// running is what a reload replaces as a whole. Its parts are never modified, so code
// that loads the pointer once sees parts of one configuration.
type running struct {
	set       *settings.Settings
	functions *functions
	shadow    *shadow         // nil: none
	tls       *tls.Config     // of switches; nil: none
	tokens    *tokenfile.File // who may act; nil: none
}

// now returns what runs.
func (g *Gateway) now() *running { return g.running.Load() }

// Reload reads the configuration, the policy and every other file that they name, and
// applies what can change without a restart. SIGHUP and POST /api/v1/reload call it; by
// says who asked. It checks everything before it changes anything. If it returns an
// error about one file, changes of other files may have been applied.
func (g *Gateway) Reload(ctx context.Context, by string) error {
	g.log.Info("reload", "by", by)
	var errs []error
	if g.config != nil {
		_, err := g.config.Look(ctx, true)
		errs = append(errs, err)
	}
	if p := g.now().functions.policy; p != nil && g.config == nil {
		errs = append(errs, p.Reload(ctx))
	}
	for _, f := range g.files() {
		if f != g.configFile() {
			_, err := f.Look(ctx, false)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// files are all that may change while the gateway runs.
func (g *Gateway) files() []watched.File {
	var list []watched.File
	if f := g.configFile(); f != nil {
		list = append(list, f)
	}
	r := g.now()
	if p := r.functions.policy; p != nil {
		list = append(list, p.Files()...)
	}
	for _, f := range r.functions.remotes {
		list = append(list, f.files()...)
	}
	list = append(list, r.shadow.files()...)
	if r.tokens != nil {
		list = append(list, r.tokens)
	}
	if g.pairCert != nil {
		list = append(list, g.pairCert)
	}
	if g.adminPair != nil {
		list = append(list, g.adminPair)
	}
	return list
}

func (g *Gateway) configFile() watched.File {
	if g.config == nil {
		return nil
	}
	return g.config
}

// openConfig makes the configuration one of the files that are watched.
func (g *Gateway) openConfig() (err error) {
	if g.opts.Load == nil || g.opts.Config == "" {
		return nil
	}
	var changed, restart []string
	g.config, err = watched.Open(watched.Source[*settings.Settings]{What: "configuration", Paths: []string{g.opts.Config}, Log: g.log, Results: g.results,
		Read: func() (*settings.Settings, []string, error) {
			set, err := g.opts.Load()
			if err == nil {
				g.promoted.Load().over(set)
			}
			return set, nil, err
		},
		Use: func(ctx context.Context, set *settings.Settings) (err error) {
			var c, r []string
			if c, r, err = g.apply(ctx, set); err == nil {
				changed, restart = c, r
			}
			return err
		},
		Detail: func(r *watched.Result) { r.Changed, r.Restart = changed, restart },
	})
	return err
}

// apply takes over what it can of new settings. It checks all of them, and
// makes what they want, before it changes anything.
func (g *Gateway) apply(ctx context.Context, next *settings.Settings) (changed, restart []string, err error) {
	old := g.now()
	set, changed, restart := settings.Merge(old.set, next)
	keep := func(prefix string, put func()) { // has keys wait for a restart
		put()
		for i := 0; i < len(changed); {
			if key := changed[i]; key == prefix || strings.HasPrefix(key, prefix+".") {
				restart = append(restart, key)
				changed = slices.Delete(changed, i, i+1)
				continue
			}
			i++
		}
	}
	if placeOf(set) != placeOf(old.set) {
		keep("function", func() { set.Function = old.set.Function })
		keep("routes", func() { set.Routes = old.set.Routes })
	}
	if (set.OpenFlow.TLS.Cert == "") != (old.set.OpenFlow.TLS.Cert == "") {
		keep("openflow.tls", func() { set.OpenFlow.TLS = old.set.OpenFlow.TLS })
	}
	if set.Policy == "" != (old.set.Policy == "") {
		keep("policy", func() { set.Policy = old.set.Policy })
	}
	r := &running{set: set, tokens: old.tokens}
	var undo []func()
	defer func() {
		if err != nil {
			for _, f := range undo {
				f()
			}
		}
	}()
	if r.tls, err = switchTLS(&set.OpenFlow.TLS); err != nil {
		return nil, nil, err
	}
	if set.Admin.TokenFile != old.set.Admin.TokenFile {
		if r.tokens, err = openTokens(set, g.log, g.results); err != nil {
			return nil, nil, err
		}
		if r.tokens != nil {
			undo = append(undo, r.tokens.Close)
		}
	}
	if r.functions, err = old.functions.next(ctx, set); err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() { r.functions.closeBut(old.functions) })
	if r.shadow = old.shadow; !reflect.DeepEqual(set.Shadow, old.set.Shadow) {
		if r.shadow, err = newShadow(set, &r.functions.surroundings, g.recorder.file, g.shadows); err != nil {
			return nil, nil, err
		}
		undo = append(undo, r.shadow.close)
	}
	core := g.core(r)
	live := core.Live()
	// The policy last, as it is the one step that may fail and that changes something.
	if err := g.applyPolicy(ctx, old, r, len(changed) > 0); err != nil {
		return nil, nil, err
	}
	if err := g.bridge.Update(live); err != nil {
		return nil, nil, err // placeOf is there to see this before
	}
	r.functions.commit()
	g.recorder.setMode(set.Log.Decisions)
	g.recorder.local.Store(r.functions.policy)
	g.recorder.shadow.Store(r.shadow)
	if g.opts.Level != nil {
		_ = g.opts.Level.UnmarshalText([]byte(set.Log.Level)) // it is one of four words: Validate has looked
	}
	g.running.Store(r)
	select {
	case g.swapped <- struct{}{}:
	default:
	}
	old.functions.closeBut(r.functions)
	if old.shadow != r.shadow {
		old.shadow.close()
	}
	if old.tokens != nil && old.tokens != r.tokens {
		old.tokens.Close()
	}
	for _, key := range restart {
		g.log.Warn("a setting has changed in the configuration: it needs a restart", "key", key)
	}
	g.log.Info("reloaded", "what", "configuration", "file", g.opts.Config, "changed", strings.Join(changed, ", "), "needs_restart", strings.Join(restart, ", "))
	return changed, restart, nil
}

// applyPolicy reads the policy again if its file has changed. An error there doesn't
// make settings invalid that have not changed.
func (g *Gateway) applyPolicy(ctx context.Context, old, next *running, changed bool) error {
	before, now := old.functions.policy, next.functions.policy
	switch {
	case now == nil:
		return nil
	case now != before:
		return now.Take(ctx)
	case !changed:
		_ = now.Reload(ctx) // it notes the error, which Reload's caller gets from its look
		return nil
	}
	if err := now.Check(); err != nil {
		return fmt.Errorf("the policy can't be used, so nothing was changed: %w", err)
	}
	return now.Reload(ctx)
}

// place says where a gateway's functions run. Only a restart changes it.
type place struct {
	local  string // embedded or native; empty: no function is in this process
	remote bool   // some function is behind URLs
}

func placeOf(set *settings.Settings) (p place) {
	add := func(f *settings.Function) {
		if f.Remote() {
			p.remote = true
		} else {
			p.local = f.URLs[0]
		}
	}
	add(&set.Function)
	for i := range set.Routes {
		add(&set.Routes[i].Function)
	}
	return p
}

// openTokens opens the tokens that open the actions of the operator's side; nil
// where none is configured.
func openTokens(set *settings.Settings, log *slog.Logger, results *watched.Results) (*tokenfile.File, error) {
	if set.Admin.TokenFile == "" {
		return nil, nil
	}
	f, err := tokenfile.Open(set.Admin.TokenFile, log, results)
	if err != nil {
		return nil, fmt.Errorf("admin.token_file: %w", err)
	}
	return f, nil
}

// switchTLS is the TLS configuration of switches' connections; nil where there
// is no certificate.
func switchTLS(t *settings.TLS) (*tls.Config, error) {
	if t.Cert == "" {
		return nil, nil
	}
	return serverTLS(t)
}

// listenerTLS is what the OpenFlow server is given: each new connection gets
// what the settings say by then.
func (g *Gateway) listenerTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return g.now().tls, nil }}
}

// redirect is a decider whose next can be replaced.
type redirect struct{ to atomic.Pointer[flow.Decider] }

func redirectTo(d flow.Decider) *redirect {
	r := new(redirect)
	r.to.Store(&d)
	return r
}

// Decide implements flow.Decider.
func (r *redirect) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	return (*r.to.Load()).Decide(ctx, ev, d)
}

// String is what it leads to.
func (r *redirect) String() string { return fmt.Sprint(*r.to.Load()) }

// next makes the functions of new settings. It takes over those that stay the
// same, and changes nothing of fs.
func (fs *functions) next(ctx context.Context, set *settings.Settings) (*functions, error) {
	n := &functions{set: set, surroundings: fs.surroundings, before: fs,
		local: fs.local, policy: fs.policy, embedded: fs.embedded, kept: fs.kept, table: fs.table}
	if err := n.build(); err != nil {
		return nil, errors.Join(err, n.closeBut(fs))
	}
	if fs.local != nil && set.Policy != fs.set.Policy {
		file, _, err := policyhost.Open(set.Policy, fs.log, fs.results)
		if err != nil {
			return nil, errors.Join(err, n.closeBut(fs))
		}
		n.follow(file)
		n.policy = file
		if err := file.Check(); err != nil { // of its serial
			return nil, errors.Join(err, n.closeBut(fs))
		}
	}
	if n.check != nil && set.Function.PolicyCheck > 0 {
		for _, r := range n.remotes { // so that readiness knows them when they count
			if !slices.Contains(fs.remotes, r) {
				var d flow.Decision
				ask := flow.Event{Type: flow.EventPolicyCheck, ID: "reload-" + r.name, XID: 1}
				_ = r.limit.Decide(ctx, &ask, &d) // r notes how it went
			}
		}
	}
	return n, nil
}

// commit makes what functions share with those before them theirs.
func (fs *functions) commit() {
	for _, r := range fs.remotes {
		var d flow.Decider = r.limit
		r.way.to.Store(&d)
		r.reuse.Forget()
	}
	fs.before = nil
}

// closeBut closes what others do not use.
func (fs *functions) closeBut(others *functions) error {
	var err error
	for _, r := range fs.remotes {
		if others == nil || !slices.Contains(others.remotes, r) {
			err = errors.Join(err, r.close())
		}
	}
	if fs.policy != nil && others != nil && fs.policy != others.policy {
		fs.policy.Close()
	}
	return err
}

// identity is a text of all settings of a remote function, with the content of its
// certificates' files. After a reload, a function with the same identity is kept.
func identity(name string, f settings.Function, set *settings.Settings) string {
	f.PolicyCheck = 0 // it is not the function's
	h := sha256.New()
	for _, path := range []string{f.CA, f.Cert, f.Key} {
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%d %v;%s", len(b), err, b)
	}
	return fmt.Sprintf("%s %+v %v %d %x", name, f, set.OpenFlow.Handshake, set.Limits.Queue, h.Sum(nil))
}

// earlier returns the function of an identity from before a reload, or nil.
func (fs *functions) earlier(id string) *remote {
	if fs.before != nil {
		for _, r := range fs.before.remotes {
			if r.id == id {
				return r
			}
		}
	}
	return nil
}

// heir returns the function from before a reload that has this name and these URLs,
// or nil. The new one takes over its state.
func (fs *functions) heir(name string, urls []string) *remote {
	if fs.before != nil {
		for _, r := range fs.before.remotes {
			if r.name == name && slices.Equal(r.urls, urls) {
				return r
			}
		}
	}
	return nil
}

// checked is the policy check that runs of itself; nil for none.
func checked(r *running) *bridge.PolicyCheck {
	if r.set.Function.PolicyCheck <= 0 {
		return nil
	}
	return r.functions.check
}

// policyChecks runs the policy checks of the functions that there are, until ctx
// is done.
func (g *Gateway) policyChecks(ctx context.Context) error {
	for ctx.Err() == nil {
		run, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func(c *bridge.PolicyCheck) {
			defer close(done)
			if c != nil {
				_ = c.Run(run) // it ends with run
			}
		}(checked(g.now()))
		select {
		case <-ctx.Done():
		case <-g.swapped:
		}
		cancel()
		<-done
	}
	return nil
}
