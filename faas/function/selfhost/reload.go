package selfhost

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"switchbridge/internal/watched"
)

// Watch makes the server read its configuration again when the file changes, and
// on Reload. load reads it, with what the command line says over it. It is called
// before Run.
func (s *Server) Watch(path string, load func() (Config, error)) (err error) {
	var changed, restart []string
	s.file, err = watched.Open(watched.Source[Config]{What: "configuration", Paths: []string{path}, Log: s.log, Results: s.results,
		Read: func() (Config, []string, error) {
			c, err := load()
			return c, nil, err
		},
		Use: func(ctx context.Context, c Config) error {
			ch, re, err := s.apply(ctx, c)
			if err == nil {
				changed, restart = ch, re
			}
			return err
		},
		Detail: func(r *watched.Result) { r.Changed, r.Restart = changed, restart },
	})
	return err
}

// Reload reads the configuration, the functions' policies, tokens and the certificate: what SIGHUP
// means. With an error nothing has changed but what the error is not about.
func (s *Server) Reload(ctx context.Context) error {
	select {
	case <-s.begun:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.log.Info("reload", "by", "SIGHUP")
	var errs []error
	for _, f := range s.files() {
		_, err := f.Look(ctx, true)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// files are all that may change while the server runs; the configuration is the first.
func (s *Server) files() []watched.File {
	var list []watched.File
	if s.file != nil {
		list = append(list, s.file)
	}
	for _, h := range s.now().functions {
		list = append(list, h.files()...)
	}
	if f, ok := s.now().tokens.(watched.File); ok {
		list = append(list, f)
	}
	if s.pair != nil {
		list = append(list, s.pair)
	}
	return list
}

// live are the keys that a running server can take over.
var live = []string{"token_file", "functions"}

// apply takes over what it can of a new configuration. New guests are compiled before anything
// changes; those that go end when their events have had the time to.
func (s *Server) apply(ctx context.Context, next Config) (changed, restart []string, err error) {
	old := s.now()
	merged := next
	watched.Differences(&old.config, &merged, func(key string, a, b reflect.Value) {
		if slices.Contains(live, key) {
			changed = append(changed, key)
			return
		}
		restart = append(restart, key)
		b.Set(a)
	})
	merged.Proxied, merged.Tokens, merged.Version = old.config.Proxied, old.config.Tokens, old.config.Version
	if err := merged.Validate(); err != nil {
		return nil, nil, err
	}
	n, err := s.prepare(merged, old)
	if err != nil {
		return nil, nil, err
	}
	if err := s.up(ctx, n, old); err != nil {
		n.closeBut(old)
		return nil, nil, err
	}
	s.current.Store(n)
	if err := s.measure(n, old); err != nil {
		s.log.Error("metrics of a new function are missing", "err", err)
	}
	old.closeBut(n)
	for _, h := range old.functions {
		if !slices.Contains(n.functions, h) {
			time.AfterFunc(s.config.Drain, h.end)
		}
	}
	for _, key := range restart {
		s.log.Warn("a setting has changed in the configuration: it needs a restart", "key", key)
	}
	s.log.Info("reloaded", "what", "configuration", "changed", strings.Join(changed, ", "), "needs_restart", strings.Join(restart, ", "))
	return changed, restart, nil
}

// up runs the guests of the functions that are new, and waits until they decide.
func (s *Server) up(ctx context.Context, n, old *serving) error {
	var fresh []*hosted
	for _, h := range n.functions {
		if !slices.Contains(old.functions, h) {
			fresh = append(fresh, h)
			s.run(h)
		}
	}
	fail := func(err error) error {
		for _, h := range fresh {
			h.end()
		}
		return err
	}
	for _, h := range fresh {
		if err := h.decides(ctx); err != nil {
			return fail(err)
		}
	}
	return nil
}
