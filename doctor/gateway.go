package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"switchbridge/gateway"
	"switchbridge/internal/adminclient"
	"switchbridge/internal/vsctl"
	"switchbridge/p4bridge"
	"switchbridge/settings"
)

// configuration has a gateway made of the settings, as switchbridge run --check does, and asks its functions.
func (r *report) configuration(ctx context.Context) {
	const area = "configuration"
	set := *r.Settings
	if !set.Function.Remote() {
		set.Function.URLs = []string{settings.Native} // the same controller, which needn't be compiled first
	}
	said := new(advice)
	g, err := gateway.Beside(&set, gateway.Options{Version: r.Version, Logger: slog.New(said)})
	if err != nil {
		r.add(area, Fault, err.Error())
		return
	}
	defer g.Close()
	for _, text := range said.list {
		r.add(area, Warning, text)
	}
	if len(said.list) == 0 {
		r.add(area, Good, "it is good, and so is what it names")
	}
	for _, a := range g.AskFunctions(ctx) {
		at := "function " + a.URLs[0]
		switch {
		case a.Err == nil:
			policy := "its policy is " + a.Policy.String()
			if a.Policy.IsZero() {
				policy = "its policy has no version"
			}
			r.add(at, Good, "it answers; "+policy)
		case a.Refuses:
			r.add(at, Note, "it is there and refuses policy checks: "+a.Err.Error(), "switchbridge function test "+vsctl.Quoted(a.URLs[0]))
		default:
			text := "it does not answer: " + a.Err.Error()
			if a.Remedy != "" {
				text += "; " + a.Remedy
			}
			r.add(at, Fault, text, "curl -v "+vsctl.Quoted(a.URLs[0]))
		}
	}
	r.functions(ctx)
}

// advice takes down what a gateway warns of while it is made. What belongs to one function, such as that it
// can't be reached, it leaves out: functions are asked afterwards.
type advice struct{ list []string }

func (a *advice) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (a *advice) WithGroup(string) slog.Handler                { return slog.DiscardHandler }
func (a *advice) WithAttrs([]slog.Attr) slog.Handler           { return slog.DiscardHandler }

func (a *advice) Handle(_ context.Context, rec slog.Record) error {
	var more []string
	rec.Attrs(func(at slog.Attr) bool {
		more = append(more, at.String())
		return true
	})
	text := rec.Message
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	a.list = append(a.list, text)
	return nil
}

// Bounds beyond which there is something to say.
const (
	soon  = 14 * 24 * time.Hour // until a certificate ends
	apart = 30 * time.Second    // between two clocks
)

// functions looks at what a function's server shows before it is asked anything: its certificate and its clock.
func (r *report) functions(ctx context.Context) {
	list := []settings.Function{r.Settings.Function}
	for i := range r.Settings.Routes {
		list = append(list, r.Settings.Routes[i].Function)
	}
	if f := r.Settings.Shadow.Function; f != nil {
		list = append(list, *f)
	}
	seen := map[string]bool{}
	for i := range list {
		for _, text := range list[i].URLs {
			if u, err := url.Parse(text); err == nil && (u.Scheme == "http" || u.Scheme == "https") && !seen[text] {
				seen[text] = true
				r.server(ctx, text, &list[i])
			}
		}
	}
}

// server asks for the head of a page, without credentials: whatever the answer is, it has what is wanted.
func (r *report) server(ctx context.Context, text string, f *settings.Function) {
	// The certificate is looked at, not trusted: nothing is believed of what comes over the connection but its clock.
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec
	if f.UseProxy {
		t.Proxy = http.ProxyFromEnvironment
	}
	if f.Cert != "" {
		if pair, err := tls.LoadX509KeyPair(f.Cert, f.Key); err == nil {
			t.TLSClientConfig.Certificates = []tls.Certificate{pair}
		}
	}
	defer t.CloseIdleConnections()
	client := &http.Client{Transport: t, Timeout: f.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, text, nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		return // the function was asked already, and that says why
	}
	resp.Body.Close()
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		r.certificate("function "+text, "its certificate", resp.TLS.PeerCertificates[0], "")
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		r.clock("the function's", at)
	}
}

// clock compares this machine's clock with another's.
func (r *report) clock(whose string, at time.Time) {
	off := time.Since(at).Round(time.Second)
	if off.Abs() <= apart {
		r.add("clock", Good, "it agrees with "+whose)
		return
	}
	way := "behind"
	if off > 0 {
		way = "ahead of"
	}
	r.add("clock", Warning, fmt.Sprintf("it is %v %s %s, and it decides which certificates and states are valid", off.Abs(), way, whose), "date -u", "timedatectl set-ntp true")
}

// certificates looks at the certificates and authorities that the settings name.
func (r *report) certificates() {
	set := r.Settings
	type file struct{ key, path, host string }
	list := []file{
		{"openflow.tls.cert", set.OpenFlow.TLS.Cert, ""}, // Open vSwitch does not look at names
		{"openflow.tls.client_ca", set.OpenFlow.TLS.ClientCA, ""},
		{"function.cert", set.Function.Cert, ""},
		{"function.ca", set.Function.CA, ""},
		{"admin.tls.cert", set.Admin.TLS.Cert, hostOf(set.Admin.Listen)},
		{"admin.tls.client_ca", set.Admin.TLS.ClientCA, ""},
		{"pair.cert", set.Pair.Cert, hostOf(set.Pair.Listen)},
		{"pair.ca", set.Pair.CA, ""},
	}
	if f := set.Shadow.Function; f != nil {
		list = append(list, file{"shadow.function.cert", f.Cert, ""}, file{"shadow.function.ca", f.CA, ""})
	}
	for i := range set.Routes {
		f := &set.Routes[i].Function
		list = append(list, file{fmt.Sprintf("routes[%d].function.cert", i), f.Cert, ""}, file{fmt.Sprintf("routes[%d].function.ca", i), f.CA, ""})
	}
	for _, f := range list {
		if f.path == "" {
			continue
		}
		rest, err := os.ReadFile(f.path)
		if err != nil {
			continue // the configuration's fault, which has been told
		}
		for leaf := true; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if block.Type != "CERTIFICATE" || err != nil {
				continue
			}
			host := f.host
			if !leaf {
				host = ""
			}
			r.certificate("certificate "+f.path, f.key, c, host)
			leaf = false
		}
	}
}

// hostOf is the host of an address; empty where it is every address of the machine.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host).IsUnspecified() {
		return ""
	}
	return host
}

// certificate looks at one certificate's times and, where host is not empty, whether it has that name.
func (r *report) certificate(area, what string, c *x509.Certificate, host string) {
	const day = "2006-01-02"
	left := c.NotAfter.Sub(r.now)
	switch {
	case left < 0:
		r.add(area, Fault, fmt.Sprintf("%s ended on %s", what, c.NotAfter.Format(time.RFC3339)), "date -u     # is the clock right? else have it issued anew")
	case r.now.Before(c.NotBefore):
		r.add(area, Fault, fmt.Sprintf("%s counts from %s on, and it is %s here", what, c.NotBefore.Format(time.RFC3339), r.now.UTC().Format(time.RFC3339)), "date -u     # is the clock right?")
	case host != "" && c.VerifyHostname(host) != nil:
		r.add(area, Fault, fmt.Sprintf("%s is for %s, and callers come to %s", what, strings.Join(namesOf(c), ", "), host), "openssl x509 -noout -ext subjectAltName -in FILE     # has its names")
	case left < soon && left < c.NotAfter.Sub(c.NotBefore)/3: // short-lived ones are renewed late
		r.add(area, Warning, fmt.Sprintf("%s ends on %s", what, c.NotAfter.Format(time.RFC3339)))
	default:
		r.add(area, Good, fmt.Sprintf("%s is good until %s", what, c.NotAfter.Format(day)))
	}
}

func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{"no name"}
	}
	return names
}

// gateway asks the running gateway what it knows of itself and of the bridges. It returns false if there is none that answers.
func (r *report) gateway(ctx context.Context, bridges []vsctl.Bridge) bool {
	const area = "gateway"
	if r.Settings == nil {
		return true // nobody says where it is
	}
	cfg := r.Admin
	if cfg.URL == "" {
		cfg.URL = r.Settings.Admin.Listen
		if host, port, err := net.SplitHostPort(cfg.URL); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
			cfg.URL = net.JoinHostPort("127.0.0.1", port)
		}
		if cert := r.Settings.Admin.TLS.Cert; cert != "" {
			cfg.URL = "https://" + cfg.URL
			if cfg.CA == "" {
				cfg.CA = cert // whoever shows this very certificate
			}
		}
	}
	if cfg.URL == "" {
		r.add(area, Note, "its operator's side is off (admin.listen), so it can't be asked")
		return true
	}
	client, err := adminclient.New(cfg)
	if err != nil {
		r.add(area, Fault, err.Error())
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var st gateway.GatewayStatus
	var switches []gateway.SwitchStatus
	if err := client.Get(ctx, "/api/v1/status", &st); err != nil {
		r.add(area, Fault, err.Error(), r.Run)
		return false
	}
	if err := client.Get(ctx, "/api/v1/switches", &switches); err != nil {
		r.add(area, Fault, err.Error())
		return true
	}
	before := len(r.list)
	if st.Ready != "" {
		r.add(area, Fault, "it is not ready: "+st.Ready, "switchbridge status"+r.adminFlag(cfg))
	}
	for _, f := range st.Functions {
		if f.Down != "" && f.Down != st.Ready && !strings.Contains(st.Ready, f.Down) {
			r.add(area, Fault, fmt.Sprintf("its function %s does not answer: %s", f.Name, f.Down))
		}
	}
	for _, l := range st.Reloads {
		switch {
		case !l.OK:
			r.add(area, Fault, fmt.Sprintf("a change of its %s is not in use: %s", l.What, l.Error))
		case len(l.Restart) > 0:
			r.add(area, Warning, fmt.Sprintf("a change of its %s counts after a restart only: %s", l.What, strings.Join(l.Restart, ", ")))
		}
	}
	if p := st.Pair; p != nil && !p.Answers {
		r.add(area, Warning, fmt.Sprintf("the other gateway of the pair does not answer at %s", p.Peer))
	}
	if st.Version != r.Version {
		r.add(area, Note, fmt.Sprintf("it is of version %s, and this program of version %s", st.Version, r.Version))
	}
	for i := range bridges {
		r.governed(&bridges[i], switches)
	}
	if len(r.Settings.P4.Switches) > 0 {
		r.p4(ctx, client)
	}
	if len(r.list) == before || !slices.ContainsFunc(r.list[before:], func(f Finding) bool { return f.Level != Good && f.Level != Note }) {
		policy := st.Policy
		if policy == "" {
			policy = "none seen yet"
		}
		r.add(area, Good, fmt.Sprintf("it runs and is ready; policy %s, switches connected: %d", policy, st.Switches))
	}
	return true
}

// p4 asks the gateway how its sessions with P4 switches are.
func (r *report) p4(ctx context.Context, client *adminclient.Client) {
	var list []p4bridge.Status
	if err := client.Get(ctx, "/api/v1/p4", &list); err != nil {
		r.add("gateway", Fault, err.Error())
		return
	}
	for _, s := range list {
		area := fmt.Sprintf("P4 switch %d", s.Device)
		switch {
		case s.Error != "":
			r.add(area, Fault, fmt.Sprintf("the gateway has no session with it at %s: %s", s.Addr, s.Error))
		case s.Missing != "":
			r.add(area, Fault, "it is served and not governed: "+s.Missing)
		case s.State == p4bridge.StateServing:
			r.add(area, Good, "it is served and governed")
		default:
			r.add(area, Note, "its session is "+s.State)
		}
	}
}

// adminFlag is what a command needs to find the gateway.
func (r *report) adminFlag(cfg adminclient.Config) string {
	if cfg.URL == settings.DefaultAdmin {
		return ""
	}
	return " --admin " + vsctl.Quoted(cfg.URL)
}

// governed looks whether a bridge that is told to connect has done so.
func (r *report) governed(b *vsctl.Bridge, switches []gateway.SwitchStatus) {
	i := slices.IndexFunc(b.Controllers, func(c vsctl.Controller) bool { return r.ours(c.Target) })
	if i < 0 || b.DPID == "" {
		return // told already
	}
	area := "bridge " + b.Name
	k := slices.IndexFunc(switches, func(s gateway.SwitchStatus) bool { return s.DPID == b.DPID })
	switch {
	case k < 0:
		why := ""
		if e := b.Controllers[i].LastError; e != "" {
			why = " (" + e + ")"
		}
		r.add(area, Fault, fmt.Sprintf("it should connect to %s, but the gateway has no session with it%s", b.Controllers[i].Target, why), "ovs-vsctl list controller")
	case switches[k].Missing != "":
		r.add(area, Fault, "it is connected and not governed: "+switches[k].Missing)
	case switches[k].State != "ready":
		r.add(area, Warning, "its session is "+switches[k].State)
	default:
		r.add(area, Good, "it is connected and governed")
	}
}
