package p4bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"switchbridge/bridge"
	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// Miss is what the switch does with an unknown flow.
type Miss = mapping.MissKind

// The kinds of miss.
const (
	MissDigest = mapping.MissDigest // cheapest; the first packet of a flow is lost
	MissPunt   = mapping.MissPunt   // the gateway holds the packet until its rule is in, and then sends it on
	MissClone  = mapping.MissClone  // the packet goes the program's own way, and the gateway sees a copy
	MissFlood  = mapping.MissFlood
	MissDrop   = mapping.MissDrop
)

// ParseMiss is the inverse of [Miss.String].
func ParseMiss(s string) (Miss, error) {
	k, err := mapping.ParseMissKind(s)
	if err != nil {
		return 0, fmt.Errorf("miss %w", err)
	}
	return k, nil
}

// ElectionID orders the gateways that want a switch; the highest is its primary
// (P4Runtime 1.3, 5). The zero value means the time of the start.
type ElectionID struct{ High, Low uint64 }

// DigestConfig is how the switch batches digests (P4Runtime 1.3, 9.6). BMv2's
// floor for both timeouts is about 100 ms.
type DigestConfig struct {
	MaxListSize int32         // samples in a list; 1 sends each at once
	MaxTimeout  time.Duration // for how long a list waits to fill; below 1 ms BMv2 waits for ever
	// AckTimeout > 0 lets the switch suppress equal samples until the list is
	// acknowledged, or for so long.
	AckTimeout time.Duration
}

// MissLimit makes the switch drop misses of a port beyond a rate, before the gateway
// sees them. The zero value is no limit.
type MissLimit struct {
	Rate  int64 // misses a second
	Burst int64 // at once [Rate]
}

// Config is all that a session needs to know. Zero values take the defaults
// that are given in brackets.
type Config struct {
	// Bridge decides events and maintains the rules. All sessions of a gateway share
	// one.
	Bridge *bridge.Bridge

	Device   uint64    // P4Runtime's device_id
	DPID     flow.DPID // [Device]
	Addr     string    // host:port of its gRPC server
	TLS      *tls.Config
	Election ElectionID
	// Role is the gateway's among the switch's controllers (P4Runtime 1.3, 5; by name
	// since 1.4). A gateway with a role pushes no program, and leaves multicast
	// groups and clone sessions of others alone. [none, which may do everything]
	Role string

	Pipeline *pipeline.Pipeline
	Mapping  *mapping.Mapping // bound to Pipeline
	Meters   []mapping.Meter  // that rules may name
	// Ports are the switch's, numbered from 1: P4Runtime does not tell them. They
	// are what FLOOD reaches and what guardrails let a rule send to. [1 to 8]
	Ports []uint32
	Miss  Miss
	// MissLimit needs a program with a meter on its misses, as ours is.
	MissLimit MissLimit
	Digest    DigestConfig // [1, 0, 0]

	DialTimeout time.Duration // to a stream that has been arbitrated [5s]
	CallTimeout time.Duration // for each Write, Read and the like [10s]
	MinBackoff  time.Duration // after the first failure [200ms]
	MaxBackoff  time.Duration // [10s]
	ProbeEvery  time.Duration // how often the switch is asked whether it is there and unchanged [10s]

	Batch int // updates in a Write [256]
	Held  int // punted packets held for one pending flow; further ones are dropped [16]
	// Settle is how long after a rule was written further events of its flow are
	// answered by the same decision: the switch sent them before it had the rule
	// [100ms].
	Settle time.Duration

	// HardTimeout is the timeout of rules that are found in a switch, whose age isn't
	// known, and of direct entries that answer a packet and have none
	// [guard.DefaultHardTimeout].
	HardTimeout time.Duration
	L2Age       time.Duration // idle timeout of learned addresses; negative is never [300s]
	Counters    time.Duration // how often counters are read: a read blocks all writes [30s]; negative is never
	// Entries lets decisions name P4 tables directly. Guardrails don't look at
	// such entries, so it is off unless the function is trusted with the switch.
	Entries bool

	// Dial replaces the network, in tests and for namespaces.
	Dial    func(ctx context.Context, addr string) (net.Conn, error)
	Logger  *slog.Logger // nil is silent
	Metrics *Metrics     // nil is silent

	afterFlush func() // for benchmarks: called when a batch was written
}

// withDefaults returns the configuration with every default filled in, or what
// is wrong with it.
func (c Config) withDefaults() (Config, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	count := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&c.DialTimeout, 5*time.Second)
	def(&c.CallTimeout, 10*time.Second)
	def(&c.MinBackoff, 200*time.Millisecond)
	def(&c.MaxBackoff, 10*time.Second)
	def(&c.ProbeEvery, 10*time.Second)
	def(&c.Settle, 100*time.Millisecond)
	def(&c.HardTimeout, guard.DefaultHardTimeout)
	def(&c.L2Age, 300*time.Second)
	def(&c.Counters, 30*time.Second)
	count(&c.Batch, 256)
	count(&c.Held, 16)
	if c.DPID == 0 {
		c.DPID = flow.DPID(c.Device)
	}
	if len(c.Ports) == 0 {
		c.Ports = defaultPorts
	}
	if c.Digest.MaxListSize == 0 {
		c.Digest.MaxListSize = 1
	}
	if c.MissLimit.Burst == 0 {
		c.MissLimit.Burst = c.MissLimit.Rate
	}
	if c.Election == (ElectionID{}) {
		c.Election.Low = uint64(time.Now().UnixNano())
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c, c.check()
}

func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("p4 device %d: "+format, append([]any{c.Device}, args...)...))
	}
	if c.DPID == 0 {
		bad("device id 0 is no datapath id; give it one, as dpid")
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil && c.Dial == nil {
		bad("address: %v", err)
	}
	if c.Bridge == nil {
		bad("no bridge")
	}
	if c.Pipeline == nil || c.Mapping == nil || c.Mapping.Pipeline != c.Pipeline {
		bad("no pipeline, or a mapping of another one")
		return errors.Join(errs...)
	}
	seen := map[uint32]bool{}
	for _, p := range c.Ports {
		if seen[p] {
			bad("port %d is listed twice", p)
		}
		seen[p] = true
	}
	c.checkBMv2(bad)
	m := c.Mapping
	if err := CheckMiss(m, c.Miss); err != nil {
		bad("%v", err)
	}
	if _, err := m.Setup(c.Ports); err != nil {
		bad("%v", err)
	}
	switch l := c.MissLimit; {
	case l.Rate < 0 || l.Burst < 0:
		bad("miss limit: rate %d, burst %d: want no negative numbers", l.Rate, l.Burst)
	case l.Rate == 0 && l.Burst > 0:
		bad("miss limit: a burst of %d without a rate", l.Burst)
	case l.Rate > 0 && (m.Miss == nil || m.Miss.Meter == nil):
		bad("miss limit: the mapping names no meter for misses")
	case l.Rate > 0:
		for _, p := range c.Ports {
			if int64(p) >= m.Miss.Meter.Size {
				bad("miss limit: port %d is beyond meter %s, which has %d", p, m.Miss.Meter.Name, m.Miss.Meter.Size)
			}
		}
	}
	return errors.Join(errs...)
}

// CheckMiss returns an error if, by its mapping, a program can't do this with a miss.
func CheckMiss(m *mapping.Mapping, miss Miss) error {
	switch {
	case miss == MissDigest && m.Digest == nil:
		return errors.New("miss: digest, and the mapping names none")
	case miss == MissPunt && (m.PacketIn == nil || m.PacketOut == nil):
		return errors.New("miss: punt, and the mapping lacks packet_in or packet_out")
	case miss == MissClone && m.PacketIn == nil:
		return errors.New("miss: clone, and the mapping lacks packet_in")
	case m.Miss == nil:
		return fmt.Errorf("miss: %v, and the mapping does not say what a miss does in its section miss; if the program does so whatever the gateway writes, that is `miss: {by_itself: %v}`", miss, miss)
	case !m.Miss.Can(miss):
		return fmt.Errorf("miss: %v, and the mapping names no action for it", miss)
	}
	return nil
}
