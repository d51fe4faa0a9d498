package ofproxy

import (
	"crypto/tls"
	"log/slog"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// Defaults of a [Config]. A dead switch is noticed within EchoInterval and
// EchoTimeout together.
const (
	DefaultVLANLimit        = 1
	DefaultEchoInterval     = 5 * time.Second
	DefaultEchoTimeout      = 5 * time.Second
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultWriteTimeout     = 5 * time.Second
	DefaultMaxSessions      = 4096
	DefaultMaxPerAddress    = 1024
	DefaultPoll             = 0.5
)

// DefaultProtocols are the versions offered.
func DefaultProtocols() []flow.Protocol { return []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} }

// Config is what a [Server] needs. Zero values take the defaults above; Bridge is the one field that must be set.
type Config struct {
	// Bridge decides the switches' events and carries the answers out.
	Bridge *bridge.Bridge

	// Protocols are the versions offered, highest preferred.
	Protocols []flow.Protocol

	// TLS, when set, is spoken on every connection of the listeners given to
	// [Server.Serve] with secure set.
	TLS *tls.Config

	// Authorize says whether a peer that proved the given certificate (nil
	// without one) may be the given datapath. Default: any may.
	Authorize func(state *tls.ConnectionState, dpid flow.DPID) error

	// NoTableMiss leaves out the rule of priority 0 that sends the packets without a
	// rule to the gateway. OpenFlow 1.3 drops such packets otherwise.
	NoTableMiss bool

	// VLANLimit is how many VLAN tags the switches take off a frame before they
	// look at the EtherType, 1 or 2: Open vSwitch's other_config:vlan-limit.
	VLANLimit uint8

	// Meters are defined on every OpenFlow 1.3 switch when it connects, so that
	// rules can name them. MissMeter, if not 0, is the one that the table-miss
	// entry passes; ARP, DHCP and LLDP get entries of their own above it.
	Meters    []ofp.Meter
	MissMeter uint32

	// FullHandshake also takes the function through OpenFlow's handshake, once
	// a connection: HELLO, then FEATURES_REPLY.
	FullHandshake bool

	// BarrierFirst puts a BARRIER_REQUEST between rules and the packet, for
	// switches that reorder them.
	BarrierFirst bool

	// EchoInterval is how long a switch may send nothing before the gateway sends
	// an ECHO_REQUEST, and EchoTimeout how long the switch has to send something then.
	EchoInterval time.Duration
	EchoTimeout  time.Duration
	// HandshakeTimeout is how long the handshake may take, from accept until the
	// switch is set up.
	HandshakeTimeout time.Duration
	// WriteTimeout is how long one write may wait for the switch to read.
	WriteTimeout time.Duration
	// MaxSessions bounds the connections.
	MaxSessions int
	// MaxPerAddress bounds the connections from one IPv4 address or IPv6 /64, so
	// that no host alone takes all of MaxSessions.
	MaxPerAddress int
	// Poll is the share of one core, from 0 to 1, that all sessions together may
	// spend looking for a switch's next message before they sleep. See pollers.
	Poll float64

	Metrics *Metrics     // nil: none
	Logger  *slog.Logger // nil: the bridge's
}

func (c *Config) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.EchoInterval, DefaultEchoInterval)
	def(&c.EchoTimeout, DefaultEchoTimeout)
	def(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	def(&c.WriteTimeout, DefaultWriteTimeout)
	if len(c.Protocols) == 0 {
		c.Protocols = DefaultProtocols()
	}
	if c.VLANLimit == 0 {
		c.VLANLimit = DefaultVLANLimit
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = DefaultMaxSessions
	}
	if c.MaxPerAddress == 0 {
		c.MaxPerAddress = DefaultMaxPerAddress
	}
	if c.Logger == nil {
		c.Logger = c.Bridge.Logger()
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
}
