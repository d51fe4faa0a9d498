package ofproxy

import (
	"crypto/tls"
	"log/slog"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/ofproxy/ofp"
)

// Config is what a [Server] needs. Zero values take the defaults that their
// comments give; Decider is the one field that must be set.
type Config struct {
	// Decider answers every event, with all decorators around it.
	Decider flow.Decider

	// Protocols are the versions offered, highest preferred. Default: 1.3 and 1.0.
	Protocols []flow.Protocol

	// TLS, when set, is spoken on every connection of the listeners given to
	// [Server.Serve] with secure set.
	TLS *tls.Config

	// Authorize says whether a peer that proved the given certificate (nil
	// without one) may be the given datapath. Default: any may.
	Authorize func(state *tls.ConnectionState, dpid flow.DPID) error

	// Gateway is this gateway's id, the top 16 bits of every cookie it sets. It
	// must be the same after a restart and differ between gateways that share a
	// switch. Default: 1.
	Gateway decider.GatewayID

	// TableMiss installs a priority-0 rule that sends misses to the gateway on
	// OpenFlow 1.3, which has none of its own. Default on; see NoTableMiss.
	NoTableMiss bool

	// VLANLimit is how many VLAN tags the switches take off a frame before they
	// look at the EtherType, 1 or 2: Open vSwitch's other_config:vlan-limit.
	// Default: 1.
	VLANLimit uint8

	// Meters are defined on every OpenFlow 1.3 switch when it connects, so that
	// rules can name them. MissMeter, if not 0, is the one that the table-miss
	// entry passes; ARP, DHCP and LLDP get entries of their own above it.
	Meters    []ofp.Meter
	MissMeter uint32

	// Admit, if set, is asked about each PACKET_IN before it takes a place in a
	// queue; an error drops it. It must not wait.
	Admit func(ev *flow.Event, now time.Time) error

	// Subscribe has the event types, beyond PACKET_IN and switch_connected,
	// that go to the Decider: flow_removed, port_status, error.
	Subscribe map[flow.EventType]bool

	// FullHandshake also takes the function through OpenFlow's handshake, once
	// a connection: HELLO, then FEATURES_REPLY.
	FullHandshake bool

	// BarrierFirst puts a BARRIER_REQUEST between rules and the packet, for
	// switches that reorder them.
	BarrierFirst bool

	// Coalesce holds packets with the headers of one that is being decided, and
	// sends them by that decision's rules. For remote deciders only.
	Coalesce bool

	// Versions tracks the policy version that answers carry. Default: one of
	// the server's own.
	Versions *decider.Versions

	// EchoInterval is how long a session may be silent before it is asked for a
	// sign of life, and EchoTimeout how long it has to give one. Defaults 5 s
	// and 5 s: a dead switch is noticed within 10 s.
	EchoInterval time.Duration
	EchoTimeout  time.Duration
	// HandshakeTimeout bounds the way from accept to ready. Default 10 s.
	HandshakeTimeout time.Duration
	// WriteTimeout is how long one write may wait for the switch to read.
	// Default 5 s.
	WriteTimeout time.Duration
	// EventTimeout bounds a remote decision. Default 5 s.
	EventTimeout time.Duration
	// ResyncTimeout is how long a switch may take over the statistics that a
	// sweep needs, before the sweep is given up. Default 10 s.
	ResyncTimeout time.Duration
	// DrainTimeout bounds the wait for pending decisions at shutdown. Default 5 s.
	DrainTimeout time.Duration

	// Workers is how many remote decisions run at once, over all switches.
	// Default 256.
	Workers int
	// QueuePerSwitch is how many events of one switch may wait for a worker;
	// more PACKET_INs are dropped and counted. Default 1,024.
	QueuePerSwitch int
	// MaxSessions bounds the connections. Default 4,096.
	MaxSessions int

	// OnDecision, if set, is called for each decision, after its messages were
	// handed to the session's outbox. It must not keep the record's pointers.
	OnDecision func(*Record)

	Metrics *Metrics     // nil: none
	Logger  *slog.Logger // nil: none
}

func (c *Config) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.EchoInterval, 5*time.Second)
	def(&c.EchoTimeout, 5*time.Second)
	def(&c.HandshakeTimeout, 10*time.Second)
	def(&c.WriteTimeout, 5*time.Second)
	def(&c.EventTimeout, 5*time.Second)
	def(&c.ResyncTimeout, 10*time.Second)
	def(&c.DrainTimeout, 5*time.Second)
	if len(c.Protocols) == 0 {
		c.Protocols = []flow.Protocol{flow.OpenFlow13, flow.OpenFlow10}
	}
	if c.Gateway == 0 {
		c.Gateway = 1
	}
	if c.Workers == 0 {
		c.Workers = 256
	}
	if c.QueuePerSwitch == 0 {
		c.QueuePerSwitch = 1024
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = 4096
	}
	if c.Versions == nil {
		c.Versions = new(decider.Versions)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
}

// Record is one decision, as the log and the metrics want it.
type Record struct {
	Switch   *flow.Switch
	Remote   string
	Event    *flow.Event
	Decision *flow.Decision // valid where Err is nil
	Err      error          // why there is no decision
	Cookie   uint64
	Wait     time.Duration // in the queue
	Decide   time.Duration
	Total    time.Duration // from read to handed to the outbox
	Refused  int           // rules that the switch's version can't express
}
