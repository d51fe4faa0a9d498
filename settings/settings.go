// Package settings reads the gateway's configuration file. A file is parsed
// into meaning at once: durations, addresses, datapath ids and modes are typed,
// unknown keys are errors, and every error says file, line and entry.
// configs/reference.yaml documents each key and is loaded by this package's test.
package settings

import (
	"fmt"
	"io"
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
	"switchbridge/internal/tracing"
	"switchbridge/internal/yamlerr"
	"switchbridge/ofproxy"
	"switchbridge/ofproxy/ofp"
	"switchbridge/pair"
	"switchbridge/state/stores"
)

// Settings is the whole file. [Default] has the value of each absent key.
type Settings struct {
	OpenFlow   OpenFlow         `yaml:"openflow"`
	Function   Function         `yaml:"function"`
	Routes     []Route          `yaml:"routes"`
	P4         P4               `yaml:"p4"`
	Policy     string           `yaml:"policy"`
	Shadow     Shadow           `yaml:"shadow"`
	State      stores.Settings  `yaml:"state"`
	FailMode   FailMode         `yaml:"fail_mode"`
	Guardrails Guardrails       `yaml:"guardrails"`
	Limits     Limits           `yaml:"limits"`
	Pair       Pair             `yaml:"pair"`
	Admin      Admin            `yaml:"admin"`
	Tracing    tracing.Settings `yaml:"tracing"`
	Log        Log              `yaml:"log"`
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
	Poll             float64       `yaml:"poll"`
}

// MeterIDs returns the numbers of the meters that are defined.
func (o *OpenFlow) MeterIDs() (ids []uint32) {
	for i := range o.Meters {
		ids = append(ids, o.Meters[i].ID)
	}
	return ids
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
	Budget        Budget        `yaml:"budget"`
}

// Shadow is a second policy or function that is asked beside the first. Its answers appear in figures and in the log only.
type Shadow struct {
	Policy   string    `yaml:"policy"`
	Function *Function `yaml:"function"` // nil: none
}

// On reports whether there is one.
func (s *Shadow) On() bool { return s.Policy != "" || s.Function != nil }

// validate checks what is shadowed by.
func (s *Shadow) validate() error {
	switch f := s.Function; {
	case f == nil:
		return nil
	case s.Policy != "":
		return wrong("shadow", "has both a policy and a function: want one of them")
	case len(f.URLs) > 0 && !f.Remote():
		return wrong("shadow.function.urls", "%s: want URLs; name a policy of this process in shadow.policy", f.URLs[0])
	}
	return s.Function.validate("shadow.function")
}

// Budget bounds how often a function is called, since platforms charge by the call.
type Budget struct {
	PerHour int     `yaml:"per_hour"` // 0: no bound
	PerDay  int     `yaml:"per_day"`
	Alarm   float64 `yaml:"alarm"`  // share of either
	Beyond  string  `yaml:"beyond"` // fail or refuse
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
	// MaxConversation is MaxHardTimeout for rules of one conversation; 0: the same.
	MaxConversation time.Duration `yaml:"max_conversation"`
	ProactiveWide   bool          `yaml:"proactive_wide"`
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
	if err := listen.CheckHostPort(p.Listen); err != nil {
		return wrong("pair.listen", "%w", err)
	}
	if err := listen.CheckTarget(p.Peer); err != nil {
		return wrong("pair.peer", "%w", err)
	}
	if p.Cert == "" || p.Key == "" || p.CA == "" {
		return wrong("pair", "needs cert, key and ca: the gateways of a pair know each other by their certificates")
	}
	if p.Member > 1 {
		return wrong("pair.member", "%d: want 0 for one of the gateways and 1 for the other", p.Member)
	}
	return within[time.Duration]{"pair.timeout", p.Timeout, minPairTimeout, maxPairTimeout}.check()
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

// Default returns the values of absent keys. Most are the defaults of the packages that
// use them.
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
			Poll:             ofproxy.DefaultPoll,
		},
		Function: defaultFunction(),
		State:    stores.Default(),
		FailMode: FailMode{Default: ModeSecure},
		Guardrails: Guardrails{Tables: g.Tables.Numbers(), MinPriority: g.MinPriority, MaxPriority: g.MaxPriority, MaxRules: g.MaxRules,
			HardTimeout: g.HardTimeout, MaxHardTimeout: g.MaxHardTimeout, MaxConversation: g.MaxConversation, ProactiveWide: g.ProactiveWide},
		Limits:  Limits{Queue: bridge.DefaultQueuePerSwitch, Incomplete: Rate{Rate: 1000, Burst: 1000}},
		Pair:    Pair{Timeout: pair.DefaultTimeout},
		Admin:   Admin{Listen: DefaultAdmin},
		Tracing: tracing.Default(),
		Log:     Log{Format: "text", Level: "info", Decisions: "all", DecisionsRate: 20, RecordsSize: 100, RecordsKeep: 5},
	}
}

func defaultFunction() Function {
	return Function{
		URLs: []string{Embedded}, Encoding: "openflow", Protocol: "http1", Connections: httpclient.DefaultConnections, ConnectionAge: httpclient.DefaultConnectionAge,
		Timeout: flow.DefaultTimeout, TryTimeout: httpclient.DefaultTryTimeout, Retry: true, Concurrency: flow.DefaultConcurrency, PolicyCheck: bridge.CheckInterval,
		Budget: Budget{Alarm: 0.8, Beyond: "fail"},
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

// UnmarshalYAML refuses keys that are not known, within a function, too.
func (b *Budget) UnmarshalYAML(n *yaml.Node) error {
	type plain Budget
	if err := knownKeys(n, plain{}); err != nil {
		return err
	}
	return n.Decode((*plain)(b))
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

// Parse reads a configuration; name stands in errors and its folder is what
// relative paths start from.
func Parse(r io.Reader, name string) (*Settings, error) {
	s := Default()
	text, err := yamlerr.Load(r, name, s)
	if err != nil {
		return nil, err
	}
	s.resolve(filepath.Dir(name))
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, placed(text, err))
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
	at(&s.Shadow.Policy)
	if s.Shadow.Function != nil {
		function(s.Shadow.Function)
	}
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
	s.State.Resolve(at)
	for i := range s.P4.Switches {
		s.P4.Switches[i].resolve(dir)
	}
	for i := range s.Routes {
		function(&s.Routes[i].Function)
	}
}
