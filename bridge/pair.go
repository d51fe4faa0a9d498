package bridge

import (
	"errors"

	"switchbridge/flow"
)

// Pair is what sessions ask where two gateways serve the same switches: which of them leads. Its methods are called by several
// goroutines and don't wait.
type Pair interface {
	// Term returns whether this gateway leads a switch now.
	Term(dpid flow.DPID) Term
	// Member is 0 for one of the gateways and 1 for the other.
	Member() uint32
	// Newest is the serial of the newest policy that the other gateway has named.
	Newest() uint64
	// Seen says that a switch has seen a generation.
	Seen(dpid flow.DPID, generation uint64)
	// Lost says that a switch obeys the other gateway, by a claim of a generation; 0 where the switch does not tell.
	Lost(dpid flow.DPID, generation uint64)
	// PassOn gives a packet to the other gateway. It reports false if the packet is lost. It keeps nothing of p.
	PassOn(dpid flow.DPID, p *flow.PacketIn) bool
}

// Term is what a [Pair] knows of the lead.
type Term struct {
	Generation uint64 // of this gateway's claim, if it leads; else of the highest that was seen
	Leads      bool
	Holds      bool            // it leads, and is about to hand the lead over: nothing more is to be sent
	Unsure     bool            // it leads, but was stopped for a while and has not yet asked the other gateway: that one may lead by now
	Changed    <-chan struct{} // closed when something of it changes
}

// ErrElsewhere is a Write's error where the other gateway of a pair decides.
var ErrElsewhere = errors.New("the other gateway of the pair leads")
