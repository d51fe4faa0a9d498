package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"

	"switchbridge/faas/distribution/policyhost"
	"switchbridge/internal/adminside"
	"switchbridge/internal/files"
	"switchbridge/settings"
)

// errNoShadow is an action's error.
var errNoShadow = errors.New("there is no shadow: start the gateway with --shadow, or set shadow in its configuration")

// shadowStatus serves GET /api/v1/shadow.
func (g *Gateway) shadowStatus(w http.ResponseWriter, r *http.Request) {
	s := g.now().shadow
	if s == nil {
		adminside.WriteError(w, http.StatusNotFound, errNoShadow)
		return
	}
	adminside.WriteJSON(w, http.StatusOK, s.status())
}

// PromoteAction is the body of POST /api/v1/policy/promote.
type PromoteAction struct {
	Policy string `json:"policy"` // the shadow's version, as its figures name it
	Force  bool   `json:"force"`  // whatever the figures are
}

// PromoteAnswer is what it answers.
type PromoteAnswer struct {
	Figures ShadowStatus `json:"figures"` // on which it was decided
	// Remains says what is left to do; empty: nothing.
	Remains string `json:"remains,omitempty"`
}

func (g *Gateway) actPromote(r *http.Request) (any, error) {
	var a PromoteAction
	if err := adminside.ReadJSON(r, &a); err != nil {
		return nil, badRequest{err}
	}
	// The caller may go, and what was begun is finished.
	return g.promote(context.WithoutCancel(r.Context()), a)
}

// promote makes the shadow the policy: its file takes the place of the policy's, or its URLs that of the function's.
func (g *Gateway) promote(ctx context.Context, a PromoteAction) (answer PromoteAnswer, err error) {
	now := g.now()
	s := now.shadow
	if s == nil {
		return answer, errNoShadow
	}
	answer.Figures = s.status()
	st := &answer.Figures
	switch {
	case a.Policy != st.Policy:
		return answer, fmt.Errorf("policy %q is not the shadow's: its figures are about %q", a.Policy, st.Policy)
	case a.Force:
	case st.Agree+st.Disagree == 0:
		return answer, errors.New("the shadow has not been compared with any decision yet: --force makes it the policy anyway")
	case st.Unexplained > 0 || st.Failed > 0:
		return answer, fmt.Errorf("%d disagreements are not explained, and the shadow did not answer %d events (see status --shadow): --force makes it the policy anyway", st.Unexplained, st.Failed)
	}
	g.log.Info("the shadow becomes the policy", "shadow", s.name, "policy", st.Policy, "before", st.Beside, "events", st.Events(),
		"disagree", st.Disagree, "unexplained", st.Unexplained, "failed", st.Failed, "shed", st.Shed, "force", a.Force)
	if s.file != nil {
		answer.Remains = "take shadow out of the configuration, or give it the next policy"
		return answer, g.promoteFile(ctx, now, s)
	}
	answer.Remains = "say function.urls: [" + s.name + "] in the configuration before the gateway's next start, and take shadow out of it"
	return answer, g.promoteFunction(ctx, now, s)
}

// promoteFile puts the shadow's file in the place of the policy's.
func (g *Gateway) promoteFile(ctx context.Context, now *running, s *shadow) error {
	p := now.functions.policy
	switch {
	case len(now.functions.remotes) > 0:
		return fmt.Errorf("the function that decides has its own policy: push this one to it (switchbridge policy push ... %s)", s.name)
	case p.Path() == "":
		return fmt.Errorf("the gateway runs without a policy file: set policy: %s in the configuration, and restart it", s.name)
	}
	doc, err := policyhost.Read(s.name)
	if err != nil {
		return err
	}
	if v := doc.Policy.Version(); v != s.host.Version() {
		return fmt.Errorf("%s has changed: it is %v, and the figures are about %v", s.name, v, s.host.Version())
	}
	if len(doc.Policy.Files) > 0 && filepath.Dir(s.name) != filepath.Dir(p.Path()) {
		return fmt.Errorf("%s names lists by paths that start in its own folder: it can't be put in the place of %s in another one; say policy: %s in the configuration", s.name, p.Path(), s.name)
	}
	next, err := files.ReadFile(s.name, policyhost.MaxConfiguration)
	if err != nil {
		return err
	}
	before, err := files.ReadFile(p.Path(), policyhost.MaxConfiguration)
	if err != nil {
		return err
	}
	if err := replaceFile(p.Path(), next); err != nil {
		return fmt.Errorf("%w; where the policy's file can't be written, say policy: %s in the configuration", err, s.name)
	}
	if err := p.Reload(ctx); err != nil {
		return errors.Join(err, replaceFile(p.Path(), before))
	}
	return nil
}

// replaceFile puts a file with this content in the place of the one that a path leads to, in one step.
func replaceFile(path string, content []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".promoted-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone where it has its place
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// promoteFunction asks the shadow's URLs in the place of the function's from now on.
func (g *Gateway) promoteFunction(ctx context.Context, now *running, s *shadow) error {
	switch {
	case !now.set.Function.Remote():
		return fmt.Errorf("the function is in this process, and one behind a URL can replace it only at a restart (function: {urls: [%s]})", s.name)
	case len(now.set.Routes) > 0:
		return errors.New("there are routes: say in the configuration which of their functions the shadow replaces")
	}
	next := *now.set
	next.Shadow = settings.Shadow{}
	next.Function = *s.settings.Function
	g.promoted.Store(&promotion{from: now.set.Function, shadow: now.set.Shadow})
	_, _, err := g.apply(ctx, &next)
	if err != nil {
		g.promoted.Store(nil)
	}
	return err
}

// promotion is a function that has taken another one's place without the configuration saying so.
type promotion struct {
	from   settings.Function
	shadow settings.Shadow
}

// over applies a promotion to settings that were read again, as long as the configuration still names what it named when the promotion was made.
func (p *promotion) over(set *settings.Settings) {
	if p != nil && reflect.DeepEqual(set.Function, p.from) && reflect.DeepEqual(set.Shadow, p.shadow) {
		set.Function, set.Shadow = *p.shadow.Function, settings.Shadow{}
	}
}
