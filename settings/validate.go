package settings

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/listen"
)

// maxRuleTimeout is the longest that a FLOW_MOD can say (OpenFlow 1.3.5, 7.3.4.1: 16 bits of seconds).
const maxRuleTimeout = math.MaxUint16 * time.Second

// within is a value and what it may be.
type within[T cmp.Ordered] struct {
	key       string
	value     T
	low, high T
}

// check refuses what is beyond, and NaN.
func (w within[T]) check() error {
	if w.value >= w.low && w.value <= w.high {
		return nil
	}
	return wrong(w.key, "%v: want %v to %v", w.value, w.low, w.high)
}

// checkAll returns the first error of values.
func checkAll[T cmp.Ordered](values []within[T]) error {
	for _, w := range values {
		if err := w.check(); err != nil {
			return err
		}
	}
	return nil
}

// first returns the first error of checks.
func first(checks ...func() error) error {
	for _, c := range checks {
		if err := c(); err != nil {
			return err
		}
	}
	return nil
}

// Validate checks what the types of single values can't check. Parse calls it; call it
// again after a change of a field.
func (s *Settings) Validate() error {
	return first(s.numbers, s.durations, s.openflow, s.guardrails, s.p4, s.others, s.states, s.tracing, s.Pair.validate, s.functions, s.Shadow.validate)
}

// states checks where machines keep theirs.
func (s *Settings) states() error { return below("state", s.State.Validate()) }

// tracing checks where spans go.
func (s *Settings) tracing() error { return below("tracing", s.Tracing.Validate()) }

// below makes an error that begins with a key below section one of this file.
func below(section string, err error) error {
	if err == nil {
		return nil
	}
	key, what, _ := strings.Cut(err.Error(), ": ")
	return wrong(section+"."+key, "%s", what)
}

func (s *Settings) numbers() error {
	o, g := &s.OpenFlow, &s.Guardrails
	counts := []within[int]{
		{"openflow.gateway_id", int(o.GatewayID), 1, math.MaxUint16 - 1},
		{"openflow.vlan_limit", int(o.VLANLimit), 1, 2},
		{"openflow.max_sessions", o.MaxSessions, 1, 1_000_000},
		{"openflow.max_per_address", o.MaxPerAddress, 1, 1_000_000},
		{"guardrails.max_rules", g.MaxRules, 1, math.MaxUint16},
		{"limits.queue", s.Limits.Queue, 1, 1_000_000},
		{"log.decisions_rate", s.Log.DecisionsRate, 0, 1_000_000},
		{"log.records_size", s.Log.RecordsSize, 1, 1 << 20},
		{"log.records_keep", s.Log.RecordsKeep, 0, 1000},
	}
	for i, t := range g.Tables {
		counts = append(counts, within[int]{fmt.Sprintf("guardrails.tables[%d]", i), int(t), 0, 254}) // 255 is all tables
	}
	rates := []within[float64]{{"openflow.poll", o.Poll, 0, 1}}
	for _, r := range []struct {
		key string
		Rate
	}{{"per_switch", s.Limits.PerSwitch}, {"per_port", s.Limits.PerPort}, {"essentials", s.Limits.EssentialsRate}, {"incomplete", s.Limits.Incomplete}} {
		rates = append(rates, within[float64]{"limits." + r.key + ".rate", r.Rate.Rate, 0, 1e9})
		counts = append(counts, within[int]{"limits." + r.key + ".burst", r.Burst, 0, 1e9})
	}
	return first(func() error { return checkAll(counts) }, func() error { return checkAll(rates) })
}

func (s *Settings) durations() error {
	o, g := &s.OpenFlow, &s.Guardrails
	const day = 24 * time.Hour
	return checkAll([]within[time.Duration]{
		{"openflow.echo_interval", o.EchoInterval, time.Millisecond, day},
		{"openflow.echo_timeout", o.EchoTimeout, time.Millisecond, day},
		{"openflow.handshake_timeout", o.HandshakeTimeout, time.Millisecond, day},
		{"openflow.write_timeout", o.WriteTimeout, time.Millisecond, day},
		{"openflow.drain_timeout", o.DrainTimeout, time.Millisecond, day},
		{"guardrails.hard_timeout", g.HardTimeout, time.Second, maxRuleTimeout},
		{"guardrails.max_hard_timeout", g.MaxHardTimeout, time.Second, maxRuleTimeout},
	})
}

func (s *Settings) openflow() error {
	o := &s.OpenFlow
	switch {
	case len(o.Versions) == 0:
		return wrong("openflow.versions", "empty")
	case o.TLS.Require && o.TLS.ClientCA == "":
		return wrong("openflow.tls.require_client_cert", "needs client_ca")
	case len(o.TLS.Bind) > 0 && o.TLS.ClientCA == "":
		return wrong("openflow.tls.bind", "needs client_ca")
	case len(o.Listen) == 0 && len(s.P4.Switches) == 0:
		return wrong("openflow.listen", "empty, and p4.switches too: no switch would be governed")
	}
	for i, l := range o.Listen {
		key := fmt.Sprintf("openflow.listen[%d]", i)
		if l.Network == "tcp" {
			if err := listen.CheckHostPort(l.Address); err != nil {
				return wrong(key, "%w", err)
			}
		}
		if l.Secure && (o.TLS.Cert == "" || o.TLS.Key == "") {
			return wrong(key, "%s needs openflow.tls.cert and key", l)
		}
	}
	meters := map[uint32]bool{}
	for i, m := range o.Meters {
		key := fmt.Sprintf("openflow.meters[%d]", i)
		switch {
		case m.ID == 0 || m.ID > 0xffff0000:
			return wrong(key+".id", "%d: want 1 to 0xffff0000", m.ID)
		case meters[m.ID]:
			return wrong(key+".id", "%d is defined twice", m.ID)
		case m.Unit != "pktps" && m.Unit != "kbps":
			return wrong(key+".unit", "%q: want pktps or kbps", m.Unit)
		case m.Rate == 0:
			return wrong(key+".rate", "0 lets nothing pass")
		}
		meters[m.ID] = true
	}
	if o.MissMeter != 0 && !meters[o.MissMeter] {
		return wrong("openflow.miss_meter", "no meter %d is defined", o.MissMeter)
	}
	return nil
}

func (s *Settings) guardrails() error {
	switch g := &s.Guardrails; {
	case g.MinPriority > g.MaxPriority:
		return wrong("guardrails.min_priority", "%d is above max_priority %d", g.MinPriority, g.MaxPriority)
	case len(g.Tables) == 0:
		return wrong("guardrails.tables", "empty: every rule would be refused")
	case g.MaxConversation != 0 && (g.MaxConversation < time.Second || g.MaxConversation > maxRuleTimeout):
		return wrong("guardrails.max_conversation", "%v: want 0s, or 1s to %v", g.MaxConversation, maxRuleTimeout)
	case g.HardTimeout > g.MaxHardTimeout:
		return wrong("guardrails.hard_timeout", "%v is above max_hard_timeout %v", g.HardTimeout, g.MaxHardTimeout)
	}
	return nil
}

func (s *Settings) p4() error {
	datapaths := map[flow.DPID]int{}
	for i, sw := range s.P4.Switches {
		if first, twice := datapaths[sw.Datapath()]; twice {
			return wrong(fmt.Sprintf("p4.switches[%d].device", i), "datapath id %d is switch %d's already; of two switches with one device id, give one a dpid", uint64(sw.Datapath()), first)
		}
		datapaths[sw.Datapath()] = i
	}
	return nil
}

func (s *Settings) others() error {
	for dpid := range s.FailMode.Switches {
		if _, err := flow.ParseDPID(dpid); err != nil {
			return wrong("fail_mode.switches."+dpid, "%w", err)
		}
	}
	if s.Admin.Listen != "" {
		if err := listen.CheckHostPort(s.Admin.Listen); err != nil {
			return wrong("admin.listen", "%w", err)
		}
	}
	for i, h := range s.Admin.Hosts {
		if err := listen.CheckHost(h); err != nil {
			return wrong(fmt.Sprintf("admin.hosts[%d]", i), "%w", err)
		}
	}
	switch t := &s.Admin.TLS; {
	case (t.Cert == "") != (t.Key == ""):
		return wrong("admin.tls", "cert and key go together")
	case t.ClientCA != "" && t.Cert == "":
		return wrong("admin.tls.client_ca", "needs cert and key")
	case s.Admin.TokenFile != "" && s.Admin.Listen != "" && t.Cert == "" && !listen.Loopback(s.Admin.Listen):
		return wrong("admin.token_file", "%s is not loopback, and the token would be sent unencrypted: admin.tls.cert and key are needed", s.Admin.Listen)
	}
	return first(
		func() error { return oneOf("log.format", s.Log.Format, "text", "json") },
		func() error { return oneOf("log.level", s.Log.Level, "debug", "info", "warn", "error") },
		func() error { return oneOf("log.decisions", s.Log.Decisions, "all", "deny", "off") })
}

func (s *Settings) functions() error {
	if err := s.Function.validate("function"); err != nil {
		return err
	}
	for i := range s.Routes {
		r := &s.Routes[i]
		key := fmt.Sprintf("routes[%d]", i)
		for j, p := range r.Ports {
			if p == 0 || p > uint32(flow.PortMax) && flow.PortNo(p) != flow.PortLocal {
				return wrong(fmt.Sprintf("%s.ports[%d]", key, j), "%#x is no in_port: want 1 to %#x, or LOCAL %#x", p, uint32(flow.PortMax), uint32(flow.PortLocal))
			}
		}
		for j, e := range r.EthTypes {
			if e < 0x05ff { // which OpenFlow 1.0 has for frames without an EtherType
				return wrong(fmt.Sprintf("%s.eth_types[%d]", key, j), "%#04x is a length: want an EtherType from 0x0600", e)
			}
		}
		if r.Function.Remote() == s.Function.Remote() && !r.Function.Remote() {
			return wrong(key+".function.urls", "the function of route %q is in this process, as the default's is", r.Name)
		}
		if err := r.Function.validate(key + ".function"); err != nil {
			return err
		}
	}
	return nil
}

func oneOf(key, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	last := len(allowed) - 1
	return wrong(key, "%q: want %s or %s", value, strings.Join(allowed[:last], ", "), allowed[last])
}

// Remote reports whether the function is behind URLs.
func (f *Function) Remote() bool {
	return len(f.URLs) > 0 && f.URLs[0] != Native && f.URLs[0] != Embedded
}

func (f *Function) validate(key string) error {
	if len(f.URLs) == 0 {
		return wrong(key+".urls", "empty; want embedded, native or URLs")
	}
	for i, u := range f.URLs {
		if !f.Remote() && len(f.URLs) == 1 {
			continue
		}
		if err := checkURL(u); err != nil {
			return wrong(fmt.Sprintf("%s.urls[%d]", key, i), "%w", err)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return wrong(key, "cert and key go together")
	}
	const day = 24 * time.Hour
	return first(
		func() error { return oneOf(key+".encoding", f.Encoding, "openflow", "json") },
		func() error { return oneOf(key+".protocol", f.Protocol, "http1", "http2") },
		func() error {
			return checkAll([]within[time.Duration]{
				{key + ".timeout", f.Timeout, time.Millisecond, day},
				{key + ".try_timeout", f.TryTimeout, time.Millisecond, day},
				{key + ".connection_age", f.ConnectionAge, time.Second, 30 * day},
				{key + ".hedge_after", f.HedgeAfter, 0, day},
				{key + ".policy_check", f.PolicyCheck, 0, day},
			})
		},
		func() error {
			return checkAll([]within[int]{
				{key + ".connections", f.Connections, 1, 1000},
				{key + ".concurrency", f.Concurrency, 1, 100_000},
				{key + ".budget.per_hour", f.Budget.PerHour, 0, math.MaxInt32},
				{key + ".budget.per_day", f.Budget.PerDay, 0, math.MaxInt32},
			})
		},
		within[float64]{key + ".budget.alarm", f.Budget.Alarm, 0, 1}.check,
		func() error { return oneOf(key+".budget.beyond", f.Budget.Beyond, "fail", "refuse") })
}

// checkURL says what is wrong with a function's URL.
func checkURL(u string) error {
	if !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "unix:") {
		return fmt.Errorf("%q: want embedded or native alone, or https://..., http://... or unix:///path", u)
	}
	at, err := url.Parse(u)
	switch {
	case err != nil:
		return errors.Unwrap(err)
	case at.Scheme == "unix":
		return nil
	case at.Port() != "":
		return listen.CheckTarget(at.Host)
	}
	return listen.CheckHost(at.Hostname())
}
