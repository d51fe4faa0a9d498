package bridge

import (
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
)

// Defaults of a [Config]; flow has those of events that are decided remotely.
const (
	DefaultGateway        GatewayID = 1
	DefaultListTimeout              = 10 * time.Second
	DefaultLookInterval             = 30 * time.Second
	DefaultDrainTimeout             = 5 * time.Second
	DefaultQueuePerSwitch           = 1024
)

// Config is what a [Bridge] needs. Zero values take the defaults above; Decider is the one field that must be set.
type Config struct {
	// Decider answers every event, with all decorators around it. The guardrails
	// are not one of them.
	Decider flow.Decider

	// Guardrails bound every answer. Default: guard.Default.
	Guardrails *guard.Guardrails

	// Gateway is this gateway's id, the top 16 bits of every cookie it sets. It
	// must be the same after a restart and differ between gateways that share a
	// switch.
	Gateway GatewayID

	// Admit, if set, is asked about each packet before it takes a place in a
	// queue; an error drops it. It must not wait.
	Admit func(ev *flow.Event, now time.Time) error

	// Subscribe has the event types, beyond packets and switch_connected, that go
	// to the Decider: flow_removed, port_status, error.
	Subscribe map[flow.EventType]bool

	// Coalesce holds packets with the headers of one that is being decided
	// remotely, and sends them by that decision's rules.
	Coalesce bool

	// Versions tracks the policy version that answers carry. Default: one of the
	// bridge's own.
	Versions *Versions

	// EventTimeout bounds a remote decision. Default: flow.DefaultTimeout.
	EventTimeout time.Duration
	// ListTimeout is how long a switch may take to list its rules, before a sweep
	// or a look at its tables is given up.
	ListTimeout time.Duration
	// LookInterval is how often a switch's tables are compared with what must be
	// in them; negative is never.
	LookInterval time.Duration
	// DrainTimeout bounds the wait for pending decisions at shutdown.
	DrainTimeout time.Duration

	// Workers is how many remote decisions run at once, over all switches.
	// Default: flow.DefaultConcurrency.
	Workers int
	// QueuePerSwitch is how many events of one switch may wait for a worker; more
	// are dropped and counted.
	QueuePerSwitch int

	// Pair, if set, says whether this gateway leads, or another one that serves the same switches with the same gateway id.
	Pair Pair

	// OnDecision, if set, is called for each decision, after its rules were handed
	// to the switch's connection. It must not keep the record's pointers.
	OnDecision func(*Record)

	// Tracer, if set, is given each decision's spans.
	Tracer trace.Tracer

	Metrics *Metrics     // nil: none
	Logger  *slog.Logger // nil: none
}

// Limits of a bridge that no configuration changes.
const (
	// standingRetryMin and Max bound the wait before standing rules that a switch
	// refuses are tried again.
	standingRetryMin = time.Second
	standingRetryMax = time.Minute
	// removeChunk is how many rules are removed in one stretch, so that a sweep
	// delays no packet for long.
	removeChunk = 256
	// maxConfirms bounds how many decisions of one switch wait to be confirmed: a
	// switch may answer no BARRIER. Packets that wait for a decision beyond are
	// decided on their own, and a refused deny stays remembered.
	maxConfirms = 1024
	// QueueBytes is how many bytes of packets of one switch may wait for a worker: as
	// many as the default queue has room for of an Ethernet frame's length, and more.
	QueueBytes = 4 << 20
	// maxRemovals bounds how many rules of older policies one sweep notes; the
	// next look takes the rest.
	maxRemovals = 1 << 17
)

func (c *Config) setDefaults() error {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.EventTimeout, flow.DefaultTimeout)
	def(&c.ListTimeout, DefaultListTimeout)
	def(&c.LookInterval, DefaultLookInterval)
	def(&c.DrainTimeout, DefaultDrainTimeout)
	if c.Decider == nil {
		return errors.New("bridge: no decider")
	}
	if c.Gateway == 0 {
		c.Gateway = DefaultGateway
	}
	if err := c.Gateway.Validate(); err != nil {
		return err
	}
	if c.Workers == 0 {
		c.Workers = flow.DefaultConcurrency
	}
	if c.QueuePerSwitch == 0 {
		c.QueuePerSwitch = DefaultQueuePerSwitch
	}
	if c.Guardrails == nil {
		c.Guardrails = guard.Default()
	}
	if c.Versions == nil {
		c.Versions = new(Versions)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return nil
}

// Record is one decision, as the log and the metrics want it. What it points to
// is the session's again when OnDecision returns.
type Record struct {
	Switch   *flow.Switch
	Remote   string
	Event    *flow.Event
	Decision *flow.Decision // what is left of it after the guardrails; valid where Err is nil
	Err      error          // why there is no decision
	Cookie   uint64
	Wait     time.Duration // in the queue
	Decide   time.Duration
	Total    time.Duration // from read to handed to the connection
	Refused  int           // rules of the answer that a guardrail refused
	Reply    ReplyFound    // where the answer hung on whether the packet is a reply
	Trace    string        // id of the decision's trace, 32 hexadecimal digits; empty: it has none, or nobody keeps it
}

// ReplyFound is whether a packet was found to answer another one.
type ReplyFound uint8

const (
	ReplyUnknown ReplyFound = iota // nobody looked, or there was no time to
	IsReply
	NoReply
)
