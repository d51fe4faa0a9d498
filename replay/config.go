package replay

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"switchbridge/flow"
)

// Values of Config.Mode, Pace, Split and Handshake.
const (
	ModeFlow   = "flow"   // the first packet of each flow asks
	ModePacket = "packet" // every packet asks

	PaceReal = "real" // as recorded, divided by Speed
	PaceMax  = "max"  // as fast as the answers come

	SplitAddress = "address" // a source's packets all go to one agent
	SplitTime    = "time"    // each second of the capture goes to the next agent

	HandshakeCombined = "combined" // one event holds it all
	HandshakeTwo      = "two"      // HELLO, then FEATURES_REPLY and PACKET_IN together, for each event: two round trips
	HandshakeFull     = "full"     // HELLO, FEATURES_REPLY and PACKET_IN, one after the other, for each event
)

// Config says what to replay, to whom and how. Zero values take the defaults
// named. One of Decider and Gateways is set.
type Config struct {
	Files []string  // in this order; "-" is Stdin
	Stdin io.Reader // for "-"

	Decider  flow.Decider // the function; what it does about faults (retries, hedges) is part of what is measured
	Gateways []string     // OpenFlow controllers, as oftest.Dial takes them: the agents are their switches in turn
	TLS      *tls.Config  // for ssl: gateways

	Protocol  flow.Protocol // OpenFlow 1.3
	Handshake string        // HandshakeCombined; a gateway has its own

	Mode        string        // ModeFlow
	FlowTimeout time.Duration // of silence, after which a flow is new: 60 s
	From, To    time.Duration // the part of the capture, counted from its first packet; To 0: all of it
	Limit       int64         // events; 0: all

	Pace  string  // PaceReal
	Speed float64 // 1; 10 plays ten seconds in one

	Agents    int       // switches: 1
	Split     string    // SplitAddress
	FirstDPID flow.DPID // of agent 0: 1
	Ports     *Ports    // by which port a packet comes in; nil: port 1
	// InFlight bounds the events of one agent that wait for an answer: 64 at
	// the real pace; 1 at the maximum pace, where an agent asks as the paper's
	// does, one after the other.
	InFlight int
	Timeout  time.Duration // of an answer: 5 s

	Records Recorder // nil: none
	// OnProgress, where set, is called about twice a second and at the end.
	OnProgress func(Progress)
}

// Progress is how far a replay has come.
type Progress struct {
	Read, Size int64 // bytes of the files; Size -1 is not known
	Events     int64 // sent
	Answered   int64
	Elapsed    time.Duration
}

// ConfigError says what of a Config can't be.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

func (c *Config) defaults() error {
	str := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	str(&c.Handshake, HandshakeCombined)
	str(&c.Mode, ModeFlow)
	str(&c.Pace, PaceReal)
	str(&c.Split, SplitAddress)
	if c.Protocol == 0 {
		c.Protocol = flow.OpenFlow13
	}
	if c.FlowTimeout == 0 {
		c.FlowTimeout = time.Minute
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	if c.Agents == 0 {
		c.Agents = 1
	}
	if c.FirstDPID == 0 {
		c.FirstDPID = 1
	}
	if c.InFlight == 0 {
		c.InFlight = 1
		if c.Pace == PaceReal {
			c.InFlight = 64
		}
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	oneOf := func(what, v string, values ...string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("%s %q: want %s", what, v, strings.Join(values, " or "))
		}
		return nil
	}
	if err := errors.Join(
		oneOf("mode", c.Mode, ModeFlow, ModePacket), oneOf("pace", c.Pace, PaceReal, PaceMax),
		oneOf("split", c.Split, SplitAddress, SplitTime), oneOf("handshake", c.Handshake, HandshakeCombined, HandshakeTwo, HandshakeFull),
	); err != nil {
		return err
	}
	switch {
	case (c.Decider == nil) == (len(c.Gateways) == 0):
		return errors.New("want a function or a gateway, and not both")
	case c.Decider == nil && c.Handshake != HandshakeCombined:
		return fmt.Errorf("handshake %s is for a function: a gateway's switches do their own, once", c.Handshake)
	case c.Protocol != flow.OpenFlow10 && c.Protocol != flow.OpenFlow13:
		return fmt.Errorf("%v: want OpenFlow 1.0 or 1.3", c.Protocol)
	case c.Speed < 0 || c.Speed > 1e6:
		return fmt.Errorf("speed %v: want more than 0, at most 1000000", c.Speed)
	case c.FlowTimeout < 0:
		return fmt.Errorf("flow timeout %v: want 0 or more", c.FlowTimeout)
	case c.From < 0 || c.To < 0 || c.To != 0 && c.To <= c.From:
		return fmt.Errorf("the part from %v to %v has no packets", c.From, c.To)
	case c.Agents < 1 || c.Agents > 1024:
		return fmt.Errorf("%d agents: want 1 to 1024", c.Agents)
	case len(c.Gateways) > c.Agents:
		return fmt.Errorf("%d gateways for %d agents: want an agent for each at least", len(c.Gateways), c.Agents)
	case c.InFlight < 1 || c.InFlight > 65536:
		return fmt.Errorf("%d in flight: want 1 to 65536", c.InFlight)
	case c.Timeout < 0:
		return fmt.Errorf("timeout %v: want more than 0", c.Timeout)
	case c.Limit < 0:
		return fmt.Errorf("limit %d: want 0 or more", c.Limit)
	}
	return nil
}
