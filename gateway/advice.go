package gateway

import (
	"log/slog"
	"net"
	"net/url"

	"switchbridge/internal/listen"
	"switchbridge/settings"
)

// advise warns of settings that do less than who wrote them may believe.
func advise(set *settings.Settings, log *slog.Logger) {
	remote := adviseFunction("default", &set.Function, log)
	for i := range set.Routes {
		r := &set.Routes[i]
		remote = adviseFunction(r.Name, &r.Function, log) && remote
	}
	if remote && set.Policy != "" {
		log.Warn("the policy file is not read: it is for the controller in this process, and every function is behind a URL", "policy", set.Policy)
	}
}

func adviseFunction(name string, f *settings.Function, log *slog.Logger) (remote bool) {
	if !f.Remote() {
		for _, key := range []struct{ name, value string }{{"token_file", f.TokenFile}, {"ca", f.CA}, {"cert", f.Cert}} {
			if key.value != "" {
				log.Warn("not used: it is for a function behind a URL, and this one is in this process", "function", name, "key", key.name, "value", key.value)
			}
		}
		return false
	}
	for _, text := range f.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" || listen.Loopback(net.JoinHostPort(u.Hostname(), "80")) {
			continue
		}
		log.Warn("the function is asked without TLS: whoever is on the way reads the events, and can answer in its place", "function", name, "url", u.Redacted())
	}
	return true
}
