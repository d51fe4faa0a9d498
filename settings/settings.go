// Package settings reads the gateway's configuration file. A file is parsed
// into meaning at once: durations, addresses, datapath ids and modes are typed,
// unknown keys are errors, and every error says file, line and entry.
// configs/reference.yaml documents each key and is loaded by this package's test.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"switchbridge/bridge"
	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/httpclient"
	"switchbridge/internal/listen"
	"switchbridge/internal/yamlerr"
	"switchbridge/ofproxy"
	"switchbridge/ofproxy/ofp"
	"switchbridge/pair"
)

// Settings is the whole file. [Default] has the value of each absent key.
type Settings struct {
	OpenFlow   OpenFlow   `yaml:"openflow"`
	Function   Function   `yaml:"function"`
	Routes     []Route    `yaml:"routes"`
	P4         P4         `yaml:"p4"`
	Policy     string     `yaml:"policy"`
	FailMode   FailMode   `yaml:"fail_mode"`
	Guardrails Guardrails `yaml:"guardrails"`
	Limits     Limits     `yaml:"limits"`
	Pair       Pair       `yaml:"pair"`
	Admin      Admin      `yaml:"admin"`
	Log        Log        `yaml:"log"`
}

// OpenFlow is the side that switches connect to.
type OpenFlow struct {
	Listen           []Listen      `yaml:"listen"`
	TLS              TLS           `yaml:"tls"`
	Versions         []Version     `yaml:"versions"`
	GatewayID        uint16        `yaml:"gateway_id"`
	TableMiss        bool          `yaml:"table_miss"`
	Meters           []Meter       `yaml:"meters"`
	MissMeter        uint32        `yaml:"miss_meter"`
	VLANLimit        uint8         `yaml:"vlan_limit"`
	Subscribe        []EventType   `yaml:"subscribe"`
	Handshake        Handshake     `yaml:"handshake"`
	BarrierFirst     bool          `yaml:"barrier_first"`
	Coalesce         bool          `yaml:"coalesce"`
	EchoInterval     time.Duration `yaml:"echo_interval"`
	EchoTimeout      time.Duration `yaml:"echo_timeout"`
	HandshakeTimeout time.Duration `yaml:"handshake_timeout"`
	WriteTimeout     time.Duration `yaml:"write_timeout"`
	DrainTimeout     time.Duration `yaml:"drain_timeout"`
	MaxSessions      int           `yaml:"max_sessions"`
	MaxPerAddress    int           `yaml:"max_per_address"`
}

// TLS is what the listeners of scheme ssl speak.
type TLS struct {
	Cert     string    `yaml:"cert"`
	Key      string    `yaml:"key"`
	ClientCA string    `yaml:"client_ca"`
	Require  bool      `yaml:"require_client_cert"`
	Bind     []Binding `yaml:"bind"`
}

// Binding says which datapaths a certificate's name may be.
type Binding struct {
	Name  string        `yaml:"name"` // DNS name; common name of a certificate without alternative names
	DPIDs []DPIDPattern `yaml:"dpids"`
}

// Meter is one that rules can name.
type Meter struct {
	ID    uint32 `yaml:"id"`
	Rate  uint32 `yaml:"rate"`
	Unit  string `yaml:"unit"` // pktps or kbps
	Burst uint32 `yaml:"burst"`
}

// Functions that are in the binary, in the place of a URL.
const (
	Embedded = "embedded" // a pristine WebAssembly instance of the controller for each event
	Native   = "native"   // the controller, called
)

// Function is the controller: in this process, or behind URLs.
type Function struct {
	URLs          []string      `yaml:"urls"` // or [embedded], or [native]
	Encoding      string        `yaml:"encoding"`
	TokenFile     string        `yaml:"token_file"`
	CA            string        `yaml:"ca"`
	Cert          string        `yaml:"cert"`
	Key           string        `yaml:"key"`
	Protocol      string        `yaml:"protocol"` // http1 or http2
	Connections   int           `yaml:"connections"`
	ConnectionAge time.Duration `yaml:"connection_age"`
	Timeout       time.Duration `yaml:"timeout"`
	TryTimeout    time.Duration `yaml:"try_timeout"`
	Retry         bool          `yaml:"retry"`
	HedgeAfter    time.Duration `yaml:"hedge_after"`
	UseProxy      bool          `yaml:"use_proxy"`
	Concurrency   int           `yaml:"concurrency"`
	PolicyCheck   time.Duration `yaml:"policy_check"`
}

// Route sends the events it fits to a function of its own. The first that fits
// counts; what fits none goes to Function.
type Route struct {
	Name     string        `yaml:"name"`
	Switches []DPIDPattern `yaml:"switches"`
	Ports    []uint32      `yaml:"ports"`
	EthTypes []uint16      `yaml:"eth_types"`
	IPProtos []uint8       `yaml:"ip_protos"`
	Function Function      `yaml:"function"`
}

// FailMode is what happens to a packet when the function gives no answer.
type FailMode struct {
	Default  Mode            `yaml:"default"`
	Switches map[string]Mode `yaml:"switches"`
}

// Guardrails bound what a function's answer may do.
type Guardrails struct {
	Tables         []uint8       `yaml:"tables"`
	MinPriority    uint16        `yaml:"min_priority"`
	MaxPriority    uint16        `yaml:"max_priority"`
	MaxRules       int           `yaml:"max_rules"`
	HardTimeout    time.Duration `yaml:"hard_timeout"`
	MaxHardTimeout time.Duration `yaml:"max_hard_timeout"`
	ProactiveWide  bool          `yaml:"proactive_wide"`
}

// Limits are packets per second; 0 is none.
type Limits struct {
	PerSwitch      Rate `yaml:"per_switch"`
	PerPort        Rate `yaml:"per_port"`
	EssentialsRate Rate `yaml:"essentials"` // ARP, DHCP, LLDP and neighbour discovery, per switch
	Incomplete     Rate `yaml:"incomplete"` // fragments and other packets that lack headers, per switch
	Queue          int  `yaml:"queue"`
}

// Rate is a token bucket.
type Rate struct {
	Rate  float64 `yaml:"rate"`
	Burst int     `yaml:"burst"`
}

// Admin is the operator's side.
type Admin struct {
	Listen    string   `yaml:"listen"`
	Hosts     []string `yaml:"hosts"`      // names that requests may call the gateway by, beside those it listens on
	TokenFile string   `yaml:"token_file"` // of who may act
	TLS       AdminTLS `yaml:"tls"`
	Pprof     bool     `yaml:"pprof"`
}

// AdminTLS is the operator's side's certificate, and whose certificates open its
// actions.
type AdminTLS struct {
	Cert     string `yaml:"cert"`
	Key      string `yaml:"key"`
	ClientCA string `yaml:"client_ca"`
}

// Pair is another gateway that serves the same switches, of which one leads.
type Pair struct {
	Listen  string        `yaml:"listen"` // where the other gateway asks; empty: this one is alone
	Peer    string        `yaml:"peer"`   // where it listens
	Member  uint32        `yaml:"member"`
	Prefer  bool          `yaml:"prefer"`
	Timeout time.Duration `yaml:"timeout"`
	Cert    string        `yaml:"cert"`
	Key     string        `yaml:"key"`
	CA      string        `yaml:"ca"`
}

// On reports whether there is another gateway.
func (p *Pair) On() bool { return p.Listen != "" || p.Peer != "" }

// Bounds of pair.timeout.
const (
	minPairTimeout = 200 * time.Millisecond
	maxPairTimeout = 30 * time.Second
)

func (p *Pair) validate() error {
	if !p.On() {
		return nil
	}
	for name, addr := range map[string]string{"listen": p.Listen, "peer": p.Peer} {
		if err := listen.CheckHostPort(addr); err != nil {
			return fmt.Errorf("pair.%s: %w", name, err)
		}
	}
	switch {
	case p.Cert == "" || p.Key == "" || p.CA == "":
		return errors.New("pair: needs cert, key and ca: the gateways of a pair know each other by their certificates")
	case p.Member > 1:
		return fmt.Errorf("pair.member: %d: want 0 for one of the gateways and 1 for the other", p.Member)
	case p.Timeout < minPairTimeout || p.Timeout > maxPairTimeout:
		return fmt.Errorf("pair.timeout: %v: want %v to %v", p.Timeout, minPairTimeout, maxPairTimeout)
	}
	return nil
}

// Log says what is logged and how.
type Log struct {
	Format    string `yaml:"format"`    // text or json
	Level     string `yaml:"level"`     // debug, info, warn, error
	Decisions string `yaml:"decisions"` // all, deny or off

	DecisionsRate int    `yaml:"decisions_rate"` // records a second of one switch in the log; 0: all
	Records       string `yaml:"records"`        // file for the records of all decisions; empty: none
	RecordsSize   int    `yaml:"records_size"`   // MB at which it is rotated
	RecordsKeep   int    `yaml:"records_keep"`   // older ones that stay
}

// DefaultAdmin is where the operator's side is served.
const DefaultAdmin = "127.0.0.1:9653"

// Default returns the values of absent keys. Those of what is configured are its
// own defaults; here are those that nobody else has.
func Default() *Settings {
	g := guard.Default()
	var versions []Version
	for _, p := range ofproxy.DefaultProtocols() {
		versions = append(versions, Version(p))
	}
	return &Settings{
		OpenFlow: OpenFlow{
			Listen:           []Listen{{Network: "tcp", Address: ofp.DefaultAddress}},
			Versions:         versions,
			GatewayID:        uint16(bridge.DefaultGateway),
			TableMiss:        true,
			VLANLimit:        ofproxy.DefaultVLANLimit,
			Coalesce:         true,
			EchoInterval:     ofproxy.DefaultEchoInterval,
			EchoTimeout:      ofproxy.DefaultEchoTimeout,
			HandshakeTimeout: ofproxy.DefaultHandshakeTimeout,
			WriteTimeout:     ofproxy.DefaultWriteTimeout,
			DrainTimeout:     bridge.DefaultDrainTimeout,
			MaxSessions:      ofproxy.DefaultMaxSessions,
			MaxPerAddress:    ofproxy.DefaultMaxPerAddress,
		},
		Function: defaultFunction(),
		FailMode: FailMode{Default: ModeSecure},
		Guardrails: Guardrails{Tables: g.Tables.Numbers(), MinPriority: g.MinPriority, MaxPriority: g.MaxPriority, MaxRules: g.MaxRules,
			HardTimeout: g.HardTimeout, MaxHardTimeout: g.MaxHardTimeout, ProactiveWide: g.ProactiveWide},
		Limits: Limits{Queue: bridge.DefaultQueuePerSwitch, Incomplete: Rate{Rate: 1000, Burst: 1000}},
		Pair:   Pair{Timeout: pair.DefaultTimeout},
		Admin:  Admin{Listen: DefaultAdmin},
		Log:    Log{Format: "text", Level: "info", Decisions: "all", DecisionsRate: 20, RecordsSize: 100, RecordsKeep: 5},
	}
}

func defaultFunction() Function {
	return Function{
		URLs: []string{Embedded}, Encoding: "openflow", Protocol: "http1", Connections: httpclient.DefaultConnections, ConnectionAge: httpclient.DefaultConnectionAge,
		Timeout: flow.DefaultTimeout, TryTimeout: httpclient.DefaultTryTimeout, Retry: true, Concurrency: flow.DefaultConcurrency, PolicyCheck: bridge.CheckInterval,
	}
}

// UnmarshalYAML gives a route's function the defaults that the top one has.
func (f *Function) UnmarshalYAML(n *yaml.Node) error {
	type plain Function
	if len(f.URLs) == 0 {
		*f = defaultFunction()
	}
	if err := knownKeys(n, plain{}); err != nil {
		return err
	}
	return n.Decode((*plain)(f))
}

// Load reads a file. Paths in it are relative to the file's folder.
func Load(path string) (*Settings, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(f, path)
}

// maxFile bounds what is read of a configuration.
const maxFile = 1 << 20

// Parse reads a configuration; name stands in errors and its folder is what
// relative paths start from.
func Parse(r io.Reader, name string) (*Settings, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	s := Default()
	if err := yamlerr.CheckNumbers(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(s); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, yamlerr.Readable(err))
	}
	s.resolve(filepath.Dir(name))
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// resolve makes paths relative to dir absolute to the reader.
func (s *Settings) resolve(dir string) {
	at := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	function := func(f *Function) {
		at(&f.TokenFile)
		at(&f.CA)
		at(&f.Cert)
		at(&f.Key)
	}
	at(&s.Policy)
	at(&s.Log.Records)
	for i := range s.OpenFlow.Listen {
		if l := &s.OpenFlow.Listen[i]; l.Network == "unix" && !strings.HasPrefix(l.Address, "@") { // @ is no file
			at(&l.Address)
		}
	}
	at(&s.OpenFlow.TLS.Cert)
	at(&s.OpenFlow.TLS.Key)
	at(&s.OpenFlow.TLS.ClientCA)
	at(&s.Pair.Cert)
	at(&s.Pair.Key)
	at(&s.Pair.CA)
	at(&s.Admin.TokenFile)
	at(&s.Admin.TLS.Cert)
	at(&s.Admin.TLS.Key)
	at(&s.Admin.TLS.ClientCA)
	function(&s.Function)
	for i := range s.P4.Switches {
		s.P4.Switches[i].resolve(dir)
	}
	for i := range s.Routes {
		function(&s.Routes[i].Function)
	}
}

// Validate checks what no single value can: Parse has done it; who changes a field does it again.
func (s *Settings) Validate() error {
	o := &s.OpenFlow
	switch {
	case o.GatewayID == 0 || o.GatewayID == 0xffff:
		return fmt.Errorf("openflow.gateway_id: %#x is reserved; use 1 to 0xfffe", o.GatewayID)
	case len(o.Versions) == 0:
		return errors.New("openflow.versions: empty")
	case o.TLS.Require && o.TLS.ClientCA == "":
		return errors.New("openflow.tls.require_client_cert: needs client_ca")
	case len(o.TLS.Bind) > 0 && o.TLS.ClientCA == "":
		return errors.New("openflow.tls.bind: needs client_ca")
	case s.Guardrails.MinPriority > s.Guardrails.MaxPriority:
		return fmt.Errorf("guardrails: min_priority %d is above max_priority %d", s.Guardrails.MinPriority, s.Guardrails.MaxPriority)
	case s.Guardrails.MaxRules < 1:
		return errors.New("guardrails.max_rules: want at least 1")
	case len(s.Guardrails.Tables) == 0:
		return errors.New("guardrails.tables: empty; no rule would be let pass")
	case s.Guardrails.HardTimeout < time.Second || s.Guardrails.HardTimeout > maxRuleTimeout:
		return fmt.Errorf("guardrails.hard_timeout: %v: want 1s to %v", s.Guardrails.HardTimeout, maxRuleTimeout)
	case o.VLANLimit < 1 || o.VLANLimit > 2:
		return fmt.Errorf("openflow.vlan_limit: %d: want 1 or 2", o.VLANLimit)
	case s.Guardrails.MaxHardTimeout < time.Second || s.Guardrails.MaxHardTimeout > maxRuleTimeout:
		return fmt.Errorf("guardrails.max_hard_timeout: %v: want 1s to %v", s.Guardrails.MaxHardTimeout, maxRuleTimeout)
	case s.Guardrails.HardTimeout > s.Guardrails.MaxHardTimeout:
		return fmt.Errorf("guardrails.hard_timeout: %v is above max_hard_timeout %v", s.Guardrails.HardTimeout, s.Guardrails.MaxHardTimeout)
	case o.MaxSessions < 1:
		return fmt.Errorf("openflow.max_sessions: %d: want at least 1", o.MaxSessions)
	case o.MaxPerAddress < 1:
		return fmt.Errorf("openflow.max_per_address: %d: want at least 1", o.MaxPerAddress)
	case s.Limits.Queue < 1:
		return fmt.Errorf("limits.queue: %d: want at least 1", s.Limits.Queue)
	case len(o.Listen) == 0 && len(s.P4.Switches) == 0:
		return errors.New("openflow.listen: empty, and p4.switches too: no switch would be governed")
	}
	for name, r := range map[string]Rate{"per_switch": s.Limits.PerSwitch, "per_port": s.Limits.PerPort, "essentials": s.Limits.EssentialsRate, "incomplete": s.Limits.Incomplete} {
		if !(r.Rate >= 0) || math.IsInf(r.Rate, 1) || r.Burst < 0 {
			return fmt.Errorf("limits.%s: rate %v, burst %d: want packets a second from 0, and packets", name, r.Rate, r.Burst)
		}
	}
	for _, l := range o.Listen {
		if l.Network == "tcp" {
			if err := listen.CheckHostPort(l.Address); err != nil {
				return fmt.Errorf("openflow.listen: %w", err)
			}
		}
		if l.Secure && (o.TLS.Cert == "" || o.TLS.Key == "") {
			return fmt.Errorf("openflow.listen: %s needs openflow.tls.cert and key", l)
		}
	}
	for name, d := range map[string]time.Duration{"echo_interval": o.EchoInterval, "echo_timeout": o.EchoTimeout,
		"handshake_timeout": o.HandshakeTimeout, "write_timeout": o.WriteTimeout, "drain_timeout": o.DrainTimeout} {
		if d <= 0 {
			return fmt.Errorf("openflow.%s: %v is not a positive duration", name, d)
		}
	}
	meters := map[uint32]bool{}
	for i, m := range o.Meters {
		switch {
		case m.ID == 0 || m.ID > 0xffff0000:
			return fmt.Errorf("openflow.meters[%d]: id %d: want 1 to 0xffff0000", i, m.ID)
		case meters[m.ID]:
			return fmt.Errorf("openflow.meters[%d]: id %d is defined twice", i, m.ID)
		case m.Unit != "pktps" && m.Unit != "kbps":
			return fmt.Errorf("openflow.meters[%d]: unit %q: want pktps or kbps", i, m.Unit)
		case m.Rate == 0:
			return fmt.Errorf("openflow.meters[%d]: rate 0 lets nothing pass", i)
		}
		meters[m.ID] = true
	}
	if o.MissMeter != 0 && !meters[o.MissMeter] {
		return fmt.Errorf("openflow.miss_meter: no meter %d is defined", o.MissMeter)
	}
	datapaths := map[flow.DPID]int{}
	for i, sw := range s.P4.Switches {
		if first, twice := datapaths[sw.Datapath()]; twice {
			return fmt.Errorf("p4.switches[%d]: datapath id %d is switch %d's already; of two switches with one device, give one a dpid", i, sw.Datapath(), first)
		}
		datapaths[sw.Datapath()] = i
	}
	for dpid := range s.FailMode.Switches {
		if _, err := flow.ParseDPID(dpid); err != nil {
			return fmt.Errorf("fail_mode.switches: %w", err)
		}
	}
	if err := s.Pair.validate(); err != nil {
		return err
	}
	if s.Admin.Listen != "" {
		if err := listen.CheckHostPort(s.Admin.Listen); err != nil {
			return fmt.Errorf("admin.listen: %w", err)
		}
	}
	switch t := &s.Admin.TLS; {
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("admin.tls: cert and key go together")
	case t.ClientCA != "" && t.Cert == "":
		return errors.New("admin.tls.client_ca: needs cert and key")
	case s.Admin.TokenFile != "" && s.Admin.Listen != "" && t.Cert == "" && !listen.Loopback(s.Admin.Listen):
		return fmt.Errorf("admin.token_file: %s is not loopback, and the token would go over the network in clear: admin.tls.cert and key are needed", s.Admin.Listen)
	}
	if err := oneOf("log.format", s.Log.Format, "text", "json"); err != nil {
		return err
	}
	if err := oneOf("log.level", s.Log.Level, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	if err := oneOf("log.decisions", s.Log.Decisions, "all", "deny", "off"); err != nil {
		return err
	}
	switch {
	case s.Log.DecisionsRate < 0 || s.Log.DecisionsRate > 1_000_000:
		return fmt.Errorf("log.decisions_rate: %d: want 0, which is no bound, to 1000000 a second", s.Log.DecisionsRate)
	case s.Log.RecordsSize < 1 || s.Log.RecordsSize > 1<<20:
		return fmt.Errorf("log.records_size: %d: want 1 to %d MB", s.Log.RecordsSize, 1<<20)
	case s.Log.RecordsKeep < 0 || s.Log.RecordsKeep > 1000:
		return fmt.Errorf("log.records_keep: %d: want 0 to 1000 files", s.Log.RecordsKeep)
	}
	if err := s.Function.validate("function"); err != nil {
		return err
	}
	for i := range s.Routes {
		r := &s.Routes[i]
		where := fmt.Sprintf("routes[%d] %q", i, r.Name)
		if r.Function.Remote() == s.Function.Remote() && !r.Function.Remote() {
			return fmt.Errorf("%s: its function is in this process, as the default's is", where)
		}
		if err := r.Function.validate(where + ".function"); err != nil {
			return err
		}
	}
	return nil
}

// maxRuleTimeout is the longest that a FLOW_MOD can say (OpenFlow 1.3.5, 7.3.4.1: 16 bits of seconds).
const maxRuleTimeout = math.MaxUint16 * time.Second

func oneOf(key, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("%s: %q: want %s", key, value, strings.Join(allowed, ", "))
}

// Remote reports whether the function is behind URLs.
func (f *Function) Remote() bool {
	return len(f.URLs) > 0 && f.URLs[0] != Native && f.URLs[0] != Embedded
}

func (f *Function) validate(key string) error {
	if len(f.URLs) == 0 {
		return fmt.Errorf("%s.urls: empty; want embedded, native or URLs", key)
	}
	for _, u := range f.URLs {
		known := strings.HasPrefix(u, "https://") || strings.HasPrefix(u, "http://") || strings.HasPrefix(u, "unix:")
		if !f.Remote() && len(f.URLs) == 1 {
			continue
		}
		if !known {
			return fmt.Errorf("%s.urls: %q: want embedded or native alone, or https://..., http://... or unix:///path", key, u)
		}
		if at, err := url.Parse(u); err != nil {
			return fmt.Errorf("%s.urls: %w", key, err)
		} else if port := at.Port(); port != "" {
			if err := listen.CheckPort(at.Host, port); err != nil {
				return fmt.Errorf("%s.urls: %w", key, err)
			}
		}
	}
	if err := oneOf(key+".encoding", f.Encoding, "openflow", "json"); err != nil {
		return err
	}
	if err := oneOf(key+".protocol", f.Protocol, "http1", "http2"); err != nil {
		return err
	}
	switch {
	case f.Timeout <= 0:
		return fmt.Errorf("%s.timeout: %v is not a positive duration", key, f.Timeout)
	case f.TryTimeout <= 0:
		return fmt.Errorf("%s.try_timeout: %v is not a positive duration", key, f.TryTimeout)
	case f.ConnectionAge <= 0:
		return fmt.Errorf("%s.connection_age: %v is not a positive duration", key, f.ConnectionAge)
	case f.HedgeAfter < 0:
		return fmt.Errorf("%s.hedge_after: %v: want 0s, which is never, or a positive duration", key, f.HedgeAfter)
	case f.PolicyCheck < 0:
		return fmt.Errorf("%s.policy_check: %v: want 0s, which is never, or a positive duration", key, f.PolicyCheck)
	case f.Connections < 1:
		return fmt.Errorf("%s.connections: %d: want at least 1", key, f.Connections)
	case f.Concurrency < 1:
		return fmt.Errorf("%s.concurrency: %d: want at least 1", key, f.Concurrency)
	case (f.Cert == "") != (f.Key == ""):
		return fmt.Errorf("%s: cert and key go together", key)
	}
	return nil
}
