package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/gateway/page"
	"switchbridge/httpclient"
	"switchbridge/internal/adminside"
	"switchbridge/internal/quiet"
	"switchbridge/internal/watched"
	"switchbridge/ofproxy"
	"switchbridge/p4bridge"
	"switchbridge/pair"
)

// SwitchStatus is one connection in GET /api/v1/switches.
type SwitchStatus struct {
	DPID     string       `json:"dpid"`
	Protocol string       `json:"protocol"`
	Remote   string       `json:"remote"`
	State    string       `json:"state"`
	Since    time.Time    `json:"since"`
	Desc     string       `json:"description,omitempty"`
	Events   uint64       `json:"events"`
	Drops    uint64       `json:"drops"`
	Pending  int          `json:"pending"`
	Policy   string       `json:"policy,omitempty"`
	Missing  string       `json:"missing,omitempty"` // why the switch is connected and not governed
	Ports    []PortStatus `json:"ports"`
}

// PortStatus is one port of a switch.
type PortStatus struct {
	No     string `json:"no"`
	Name   string `json:"name"`
	HWAddr string `json:"hw_addr"`
	Up     bool   `json:"up"`
}

// RuleStatus is one rule in GET /api/v1/switches/{dpid}/rules.
type RuleStatus struct {
	Table    uint8   `json:"table_id"`
	P4Table  string  `json:"p4_table,omitempty"` // of a P4 switch: its rules are listed in the order in which the program looks them up
	Priority uint16  `json:"priority"`
	Match    string  `json:"match"`
	Actions  string  `json:"actions"` // with meter and goto, in the order in which they count
	Meter    uint32  `json:"meter,omitempty"`
	Goto     uint8   `json:"goto_table,omitempty"`
	Flags    string  `json:"flags,omitempty"`
	More     string  `json:"more,omitempty"` // the rule in the switch's words, where it says what the other members can't
	Idle     float64 `json:"idle_timeout"`
	Hard     float64 `json:"hard_timeout"`
	Cookie   string  `json:"cookie"`
	Decision uint32  `json:"decision"` // the number in the log line of the decision
	Packets  uint64  `json:"packet_count"`
	Bytes    uint64  `json:"byte_count"`
	Age      float64 `json:"duration"`
}

// GatewayStatus is GET /api/v1/status.
type GatewayStatus struct {
	Version   string           `json:"version"`
	Started   time.Time        `json:"started"`
	Function  []string         `json:"function"`
	Functions []FunctionStatus `json:"functions"`           // those behind URLs
	Ready     string           `json:"not_ready,omitempty"` // why the gateway is not; absent where it is
	Chain     string           `json:"chain"`               // what every event passes
	Policy    string           `json:"policy,omitempty"`
	Switches  int              `json:"switches"`
	Pair      *pair.Status     `json:"pair,omitempty"`
	Decisions DecisionStats    `json:"decisions"`
	// Reloads are the latest of the configuration, the policy, tokens and
	// certificates: when each was read, and what was wrong with it.
	Reloads []watched.Result `json:"reloads"`
}

// FunctionStatus is one function behind URLs.
type FunctionStatus struct {
	Name      string                `json:"name"`
	Down      string                `json:"down,omitempty"` // why it does not answer; absent while it does
	Endpoints []httpclient.Endpoint `json:"endpoints"`
}

// adminHandler serves the operator's side. Only what POST asks for changes the
// gateway; see action.
func (g *Gateway) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", g.readyz)
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, r *http.Request) { adminside.WriteJSON(w, http.StatusOK, g.Status()) })
	mux.HandleFunc("GET /api/v1/switches", func(w http.ResponseWriter, r *http.Request) { adminside.WriteJSON(w, http.StatusOK, g.Switches()) })
	mux.HandleFunc("GET /api/v1/switches/{dpid}/rules", g.rules)
	mux.HandleFunc("GET /api/v1/p4", func(w http.ResponseWriter, r *http.Request) {
		list := []p4bridge.Status{}
		for _, s := range g.p4 {
			list = append(list, s.Status())
		}
		adminside.WriteJSON(w, http.StatusOK, list)
	})
	mux.HandleFunc("GET /api/v1/p4/{dpid}/program", g.program)
	mux.HandleFunc("GET /api/v1/shadow", g.shadowStatus)
	mux.HandleFunc("GET /api/v1/decisions", g.decisions)
	mux.HandleFunc("GET /api/v1/decisions/{number}", g.decision)
	mux.HandleFunc("GET /api/v1/decisions/stream", g.streamDecisions)
	mux.HandleFunc("GET /api/v1/hosts", func(w http.ResponseWriter, r *http.Request) {
		adminside.WriteJSON(w, http.StatusOK, g.recorder.feed.stations())
	})
	mux.HandleFunc("GET /api/v1/policy", g.policyText)
	mux.Handle("GET /{$}", page.Handler())
	mux.Handle("GET /page/", page.Handler())
	mux.HandleFunc("POST /api/v1/reload", g.action("reload", g.actReload))
	mux.HandleFunc("POST /api/v1/policy/notice", g.action("policy notice", g.actNotice))
	mux.HandleFunc("POST /api/v1/policy/rollback", g.action("policy rollback", g.actRollback))
	mux.HandleFunc("POST /api/v1/policy/promote", g.action("policy promote", g.actPromote))
	mux.HandleFunc("POST /api/v1/pair/handover", g.action("pair handover", g.actHandover))
	if g.now().set.Admin.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	names := g.now().set.Admin.Hosts
	if host, _, err := net.SplitHostPort(g.now().set.Admin.Listen); err == nil {
		names = append([]string{host}, names...)
	}
	return adminside.Hosts(names, http.NewCrossOriginProtection().Handler(mux))
}

func switchStatus(s *ofproxy.Session) SwitchStatus {
	st := SwitchStatus{DPID: s.Switch.DPID.String(), Protocol: s.Switch.Protocol.String(), Remote: s.Remote, State: s.State, Since: s.Since,
		Desc: s.Desc, Events: s.Events, Drops: s.Drops, Pending: s.Pending, Missing: s.Missing, Ports: []PortStatus{}}
	if !s.Policy.IsZero() {
		st.Policy = s.Policy.String()
	}
	for i := range s.Switch.Ports {
		p := &s.Switch.Ports[i]
		st.Ports = append(st.Ports, PortStatus{No: p.No.String(), Name: p.Name, HWAddr: p.HWAddr.String(), Up: p.Up()})
	}
	return st
}

func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	if err := g.Ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
	if err := g.results.Err(); err != nil {
		fmt.Fprintln(w, err)
	}
}

func (g *Gateway) rules(w http.ResponseWriter, r *http.Request) {
	dpid, err := flow.ParseDPID(r.PathValue("dpid"))
	if err != nil {
		adminside.WriteError(w, http.StatusBadRequest, err)
		return
	}
	list, err := g.rulesOf(r.Context(), dpid)
	if err != nil {
		adminside.WriteError(w, http.StatusNotFound, err)
		return
	}
	adminside.WriteJSON(w, http.StatusOK, list)
}

// program answers with what rules become entries of a P4 switch by.
func (g *Gateway) program(w http.ResponseWriter, r *http.Request) {
	dpid, err := flow.ParseDPID(r.PathValue("dpid"))
	if err != nil {
		adminside.WriteError(w, http.StatusBadRequest, err)
		return
	}
	for _, s := range g.p4 {
		if s.DPID() == dpid {
			p, err := s.Program()
			if err != nil {
				adminside.WriteError(w, http.StatusInternalServerError, err)
				return
			}
			adminside.WriteJSON(w, http.StatusOK, &p)
			return
		}
	}
	adminside.WriteError(w, http.StatusNotFound, fmt.Errorf("no P4 switch %v is configured", dpid))
}

// rulesOf lists the gateway's rules in a switch of either protocol.
func (g *Gateway) rulesOf(ctx context.Context, dpid flow.DPID) ([]RuleStatus, error) {
	list := []RuleStatus{}
	for _, s := range g.p4 {
		if s.DPID() != dpid {
			continue
		}
		rules, err := s.Rules(ctx)
		for i := range rules {
			list = append(list, ruleStatus(&rules[i].Installed))
			list[i].P4Table = rules[i].P4Table
		}
		return list, err
	}
	rules, err := g.server.Rules(ctx, dpid)
	for i := range rules {
		list = append(list, ruleStatus(&rules[i]))
	}
	return list, err
}

// ruleStatus is all that a rule says.
func ruleStatus(st *bridge.Installed) RuleStatus {
	return RuleStatus{Table: st.Rule.Table, Priority: st.Rule.Priority, Match: st.Rule.Match.String(), Actions: actionsOf(&st.Rule),
		Meter: st.Rule.Meter, Goto: st.Rule.Goto, Flags: flagsOf(st.Rule.Flags), More: st.Text,
		Idle: st.Rule.IdleTimeout.Seconds(), Hard: st.Rule.HardTimeout.Seconds(), Cookie: "0x" + strconv.FormatUint(st.Rule.Cookie, 16),
		Decision: bridge.Decision(st.Rule.Cookie), Packets: st.Packets, Bytes: st.Bytes, Age: st.Duration.Seconds()}
}

// flagsOf names a rule's flags as ovs-ofctl does.
func flagsOf(f flow.RuleFlags) string {
	var names []string
	for i, name := range []string{"send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
			f &^= 1 << i
		}
	}
	if f != 0 {
		names = append(names, fmt.Sprintf("%#x", uint16(f)))
	}
	return strings.Join(names, ",")
}

// actionsOf writes all that a rule does.
func actionsOf(r *flow.Rule) string {
	var parts []string
	if r.Meter != 0 {
		parts = append(parts, fmt.Sprintf("meter:%d", r.Meter))
	}
	if len(r.Actions) > 0 || r.Goto == 0 {
		parts = append(parts, flow.ActionsString(r.Actions))
	}
	if r.Goto != 0 {
		parts = append(parts, fmt.Sprintf("goto:%d", r.Goto))
	}
	return strings.Join(parts, ",")
}

// serveAdmin runs the operator's side until ctx is done.
func (g *Gateway) serveAdmin(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: g.adminHandler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx }, // which ends streams
		TLSConfig:   g.adminTLS(), ErrorLog: quiet.ErrorLog(g.log.With("server", "admin"))}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	defer stop()
	serve := func() error { return srv.Serve(l) }
	if srv.TLSConfig != nil {
		serve = func() error { return srv.ServeTLS(l, "", "") }
	}
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
