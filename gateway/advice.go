package gateway

import (
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"

	"switchbridge/internal/listen"
	"switchbridge/policy"
	"switchbridge/policy/machine"
	"switchbridge/settings"
)

// advise warns of settings that do less than their author may expect.
func advise(set *settings.Settings, log *slog.Logger) {
	remote := adviseFunction("default", &set.Function, log)
	for i := range set.Routes {
		r := &set.Routes[i]
		remote = adviseFunction(r.Name, &r.Function, log) && remote
	}
	if remote && set.Policy != "" {
		log.Warn("the policy file is not used: every function is behind a URL and has its own policy", "policy", set.Policy)
	}
}

func adviseFunction(name string, f *settings.Function, log *slog.Logger) (remote bool) {
	if !f.Remote() {
		for _, key := range []struct{ name, value string }{{"token_file", f.TokenFile}, {"ca", f.CA}, {"cert", f.Cert}} {
			if key.value != "" {
				log.Warn("a setting is not used: it is for a function behind a URL, and this one is in this process", "function", name, "key", key.name, "value", key.value)
			}
		}
		return false
	}
	for _, text := range f.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" || listen.Loopback(net.JoinHostPort(u.Hostname(), "80")) {
			continue
		}
		log.Warn("the function is asked without TLS: others on the way can read the events, and can forge answers", "function", name, "url", u.Redacted())
	}
	return true
}

// advisePolicy warns if this process's policy does less with these settings and this store than its author may expect.
func advisePolicy(set *settings.Settings, shared bool, p *policy.Policy, log *slog.Logger) {
	for _, entry := range p.Chain {
		m, ok := entry.(*machine.Config)
		if !ok {
			continue
		}
		for _, t := range m.Wants() {
			if !slices.Contains(set.OpenFlow.Subscribe, settings.EventType(t)) {
				log.Warn("the policy's machines wait for events that the gateway does not pass on: add them to openflow.subscribe", "event", t.Name(), "policy", p.Version().String())
			}
		}
		if names := m.Forgetful(); len(names) > 0 && set.Pair.On() && !shared {
			log.Warn("the other gateway of the pair can't read the states of these machines: when it takes over, they are in their start states, which permit more than other states, and when this one leads again it has older states; use a store that both gateways share",
				"machines", strings.Join(names[:min(len(names), maxNamed)], ", "), "number", len(names), "policy", p.Version().String())
		}
	}
}

// maxNamed is how many machines a warning names.
const maxNamed = 20
