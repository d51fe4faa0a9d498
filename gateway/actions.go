package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/adminside"
	"switchbridge/internal/certs"
	"switchbridge/internal/watched"
)

// Errors of callers.
var (
	errNoCredentials = errors.New("actions are switched off: neither admin.token_file nor admin.tls.client_ca is configured")
	errNotAllowed    = errors.New("actions want the token of admin.token_file, or a client certificate of admin.tls.client_ca")
)

// who returns the name in the caller's token or certificate, or an error if it may not act.
func (g *Gateway) who(r *http.Request) (string, error) {
	tokens := g.now().tokens
	if tokens == nil && g.adminCAs == nil {
		return "", errNoCredentials
	}
	if g.adminCAs != nil && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return "certificate of " + r.TLS.VerifiedChains[0][0].Subject.String(), nil
	}
	if tokens != nil && tokens.Check(r.Header.Get("Authorization")) == nil {
		return "token", nil
	}
	return "", errNotAllowed
}

// badRequest is an action's error about what it was asked.
type badRequest struct{ error }

// action serves a request that changes the gateway. The caller must show a token or a
// certificate. The log says who asked for what, and with which result.
func (g *Gateway) action(name string, act func(r *http.Request) (answer any, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := g.who(r)
		if err != nil {
			g.refused.Log(g.log, slog.LevelWarn, "admin: action refused", "action", name, "remote", r.RemoteAddr, "err", err)
			status := http.StatusUnauthorized
			if err == errNoCredentials {
				status = http.StatusForbidden
			} else {
				w.Header().Set("Www-Authenticate", `Bearer realm="switchbridge"`)
			}
			adminside.WriteError(w, status, err)
			return
		}
		answer, err := act(r)
		var bad badRequest
		switch {
		case errors.As(err, &bad):
			g.log.Warn("admin: action", "action", name, "who", who, "remote", r.RemoteAddr, "err", err)
			adminside.WriteError(w, http.StatusBadRequest, err)
		case err != nil:
			g.log.Warn("admin: action", "action", name, "who", who, "remote", r.RemoteAddr, "err", err)
			adminside.WriteError(w, http.StatusConflict, err)
		default:
			g.log.Info("admin: action", "action", name, "who", who, "remote", r.RemoteAddr, "result", "ok")
			adminside.WriteJSON(w, http.StatusOK, answer)
		}
	}
}

// ReloadAnswer is what POST /api/v1/reload answers.
type ReloadAnswer struct {
	Reloads []watched.Result `json:"reloads"`
}

func (g *Gateway) actReload(r *http.Request) (any, error) {
	if err := adminside.ReadJSON(r, &struct{}{}); err != nil {
		return nil, badRequest{err}
	}
	// Reload goes on if the caller disconnects.
	err := g.Reload(context.WithoutCancel(r.Context()), "admin")
	return ReloadAnswer{g.results.List()}, err
}

// PolicyAction is the body of POST /api/v1/policy/rollback, its answer, and that of /notice.
type PolicyAction struct {
	Policy string `json:"policy"` // SERIAL-HASH
}

func policyOf(r *http.Request) (a PolicyAction, v flow.PolicyVersion, err error) {
	if err = adminside.ReadJSON(r, &a); err != nil {
		return a, v, badRequest{err}
	}
	if v, err = flow.ParsePolicyVersion(a.Policy); err != nil {
		return a, v, badRequest{fmt.Errorf("policy: %w", err)}
	}
	if v.IsZero() {
		return a, v, badRequest{errors.New("policy: missing: want SERIAL-HASH")}
	}
	return a, v, nil
}

// NoticeAction is the body of POST /api/v1/policy/notice: the new policy's version and, if the caller knows both policies, what the new one changes.
// Without the latter the gateway asks again about every rule of the old policy.
type NoticeAction struct {
	Policy  string         `json:"policy"`            // SERIAL-HASH
	Before  string         `json:"before,omitempty"`  // the one that it takes the place of
	Changes []PolicyRegion `json:"changes,omitempty"` // every packet that the two decide differently is in one of them; with before, none is: there is no such packet
}

// PolicyRegion is packets that two policies may decide differently.
type PolicyRegion struct {
	Match  string `json:"match"`            // as in records; any: every packet
	Denied bool   `json:"denied,omitempty"` // some of them were let pass, and are not any more
}

// MaxRegions is how many a notice may have.
const MaxRegions = 128

// announcement is a notice that was read.
type announcement struct {
	version, before flow.PolicyVersion
	regions         flow.Regions // nil: what changes is not known
}

func (a *NoticeAction) parse() (n announcement, err error) {
	if n.version, err = flow.ParsePolicyVersion(a.Policy); err != nil {
		return n, fmt.Errorf("policy: %w", err)
	}
	if n.version.IsZero() {
		return n, errors.New("policy: missing: want SERIAL-HASH")
	}
	if n.before, err = flow.ParsePolicyVersion(a.Before); err != nil {
		return n, fmt.Errorf("before: %w", err)
	}
	switch {
	case n.before.IsZero() && a.Changes != nil:
		return n, errors.New("changes: before is missing: it says which policy was changed")
	case len(a.Changes) > MaxRegions:
		return n, fmt.Errorf("changes: %d of them: want %d at most", len(a.Changes), MaxRegions)
	case n.before.IsZero():
		return n, nil
	}
	n.regions = flow.Regions{}
	for i, c := range a.Changes {
		r := flow.Region{Touch: flow.Changed}
		if c.Denied {
			r.Touch = flow.Denied
		}
		if r.Match, err = flow.ParseMatch(c.Match); err != nil {
			return n, fmt.Errorf("changes[%d]: %w", i, err)
		}
		n.regions = append(n.regions, r)
	}
	return n, nil
}

// actNotice serves the notice that a new policy has been published.
func (g *Gateway) actNotice(r *http.Request) (any, error) {
	var a NoticeAction
	if err := adminside.ReadJSON(r, &a); err != nil {
		return nil, badRequest{err}
	}
	n, err := a.parse()
	if err != nil {
		return nil, badRequest{err}
	}
	g.notice(n)
	return PolicyAction{a.Policy}, nil
}

// notice starts asking the functions for the policy, until one has it. It returns at once.
func (g *Gateway) notice(v announcement) {
	for {
		select {
		case g.notices <- v:
			return
		default:
		}
		select { // the newest of those that wait counts
		case w := <-g.notices:
			if w.version.Serial > v.version.Serial {
				v = w
			}
		default:
		}
	}
}

// A policy is published when the platform's store has it. Functions answer with it
// some time later, one after the other: each edge reads the store at its own pace.
const (
	noticeEvery  = 200 * time.Millisecond
	noticeWithin = time.Minute
	askWithin    = 2 * time.Second // a function that hangs is asked again

	// unaskedFirst is how long after the first time, and twice as long each time
	// after, switches are brought in line again whose function refuses to be asked:
	// only its answers say which policy it has.
	unaskedFirst = time.Second
)

// followNotices asks the functions for their policy after each notice, at once and
// again until one has it. So the rules of the old policy are removed without waiting
// for the next policy check. A function that refuses policy checks shows its version in
// its other answers, and it is asked for the switches' proactive rules to get one. followNotices
// runs until ctx is done.
func (g *Gateway) followNotices(ctx context.Context) error {
	var until, poke time.Time
	var pause time.Duration
	var v, brought flow.PolicyVersion
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case next := <-g.notices:
			if until.IsZero() || next.version.Serial > v.Serial {
				v = next.version
				g.noticed.Store(&next)
			}
			until, poke, pause = time.Now().Add(noticeWithin), time.Time{}, unaskedFirst
			g.log.Info("a new policy was announced: asking the functions for it", "policy", v.String())
			if g.bridge.Versions().Announce(v) {
				g.bringInLine(v)
			}
		case <-again.C:
		}
		// Where a policy check was before the notice, the switches may wait for their pace.
		if versions := g.bridge.Versions(); g.now().functions.check != nil && v != brought && versions.Confirmed() == v {
			brought = v
			versions.Confirm(v)
			g.bringInLine(v)
		}
		refused := g.askOnce(ctx)
		switch latest := g.bridge.Versions().Latest(); {
		case latest.Serial >= v.Serial:
			until = time.Time{}
		case time.Now().After(until):
			g.noticed.Store(nil)
			args := []any{"policy", v.String(), "policy_seen", latest.String(), "waited_seconds", noticeWithin.Seconds()}
			if refused {
				args = append(args, "why", "the function refuses policy checks or names no version in them, and none of its answers has brought this one: rules of the old policy stay until an answer does, or until their timeouts")
			}
			g.log.Warn("a new policy was announced, but no function has it", args...)
			until = time.Time{}
		default:
			if now := time.Now(); refused && !now.Before(poke) {
				g.bridge.PolicyChanged()
				poke, pause = now.Add(pause), 2*pause
			}
			again.Reset(noticeEvery)
		}
	}
}

// askOnce asks every function for its policy's version, and reports whether one
// refuses to say.
func (g *Gateway) askOnce(ctx context.Context) (refused bool) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	fs := g.now().functions
	if fs.policy != nil {
		for _, f := range fs.policy.Files() {
			f.Event(ctx)
		}
	}
	if fs.check != nil {
		refused = fs.check.Ask(ctx)
	}
	return refused
}

// actRollback makes an older policy version count as the newest, as an operator asks,
// if policy checks have returned it for long enough.
func (g *Gateway) actRollback(r *http.Request) (any, error) {
	a, v, err := policyOf(r)
	if err != nil {
		return nil, err
	}
	return a, g.bridge.Rollback(v)
}

// openAdminTLS reads the certificate of the operator's side, and the authority
// of those who may act.
func (g *Gateway) openAdminTLS() (err error) {
	t := &g.now().set.Admin.TLS
	if t.Cert == "" || g.now().set.Admin.Listen == "" && g.opts.Admin == nil {
		return nil
	}
	if g.adminPair, err = watched.OpenPair(t.Cert, t.Key, g.log, g.results); err != nil {
		return fmt.Errorf("admin.tls: %w", err)
	}
	if t.ClientCA != "" {
		if g.adminCAs, err = certs.Pool(t.ClientCA); err != nil {
			return fmt.Errorf("admin.tls.client_ca: %w", err)
		}
	}
	return nil
}

// adminTLS is nil where the operator's side speaks HTTP.
func (g *Gateway) adminTLS() *tls.Config {
	if g.adminPair == nil {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return g.adminPair.Get(), nil }}
	if g.adminCAs != nil { // who shows none may read
		c.ClientCAs, c.ClientAuth = g.adminCAs, tls.VerifyClientCertIfGiven
	}
	return c
}

func (g *Gateway) adminScheme() string {
	if g.adminPair != nil {
		return "https"
	}
	return "http"
}
