package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"switchbridge/flow"
	"switchbridge/httpclient"
	"switchbridge/settings"
)

// Beside makes a gateway that doesn't listen, so that it can be made while another one
// holds the ports. It reads every file that the settings name and so checks them. The
// caller closes it.
func Beside(set *settings.Settings, o Options) (*Gateway, error) {
	beside := *set
	beside.Admin.Listen, beside.State = "", set.State.Beside()
	o.Listeners = []net.Listener{}
	return New(&beside, o)
}

// Answer is what a function behind URLs said to a policy check.
type Answer struct {
	Function string // default, or the route's name
	URLs     []string
	Policy   flow.PolicyVersion
	Err      error  // nil: it answers
	Refuses  bool   // Err is its refusal of policy checks: it may know packets alone
	Remedy   string // what to set, where Err tells
}

// AskFunctions asks each function behind URLs for its policy's version.
func (g *Gateway) AskFunctions(ctx context.Context) []Answer {
	remotes := g.now().functions.remotes
	answers := make([]Answer, len(remotes))
	var wg sync.WaitGroup
	for i, r := range remotes {
		wg.Go(func() {
			a := &answers[i]
			a.Function, a.URLs = r.name, r.urls
			d := new(flow.Decision)
			a.Err = r.client.Decide(ctx, &flow.Event{Type: flow.EventPolicyCheck}, d)
			a.Policy = d.Policy
			a.Refuses = flow.KindOf(a.Err) == flow.Refused && !unauthorized(a.Err)
			a.Remedy = remedy(a.Err)
		})
	}
	wg.Wait()
	return answers
}

// unauthorized reports whether a function wants other credentials.
func unauthorized(err error) bool {
	var status *httpclient.StatusError
	return errors.As(err, &status) && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden)
}
