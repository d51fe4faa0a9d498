package policyhost

import (
	"log/slog"
	"sync/atomic"

	"switchbridge/flow"
	"switchbridge/policy"
)

// tags says once that a policy which looks at VLANs may never see one: a switch's
// access ports take tags off before anything asks (Open vSwitch's tag=), and a P4
// program may not tell them.
type tags struct {
	wanted atomic.Bool // the policy looks at VLANs, and nothing is known of them yet
	looks  atomic.Bool // the policy looks at VLANs
	shown  atomic.Bool // a packet has had a tag
	seen   atomic.Uint32
}

// tagPackets is after how many packets without a tag the hint is given.
const tagPackets = 1000

// follow takes a policy in the place of another. One that looks at VLANs as the
// other did is no reason to say it again.
func (t *tags) follow(p *policy.Policy) {
	looks := p.LooksAt()&flow.FieldVLAN != 0
	if looks == t.looks.Swap(looks) {
		return
	}
	t.seen.Store(0)
	t.wanted.Store(looks && !t.shown.Load())
}

func (t *tags) see(m *flow.Match, log *slog.Logger) {
	if !t.wanted.Load() {
		return
	}
	if m.Has(flow.FieldVLAN) && m.VLAN&flow.VLANPresent != 0 {
		t.shown.Store(true)
		t.wanted.Store(false)
		return
	}
	if t.seen.Add(1) == tagPackets && t.wanted.Swap(false) {
		log.Warn("the policy looks at VLANs, and no packet has had a tag yet; packets of an Open vSwitch access port have none when rules see them, "+
			"and those of a P4 switch only what its mapping names", "packets", tagPackets, "see", "ovs-vsctl get port PORT tag")
	}
}
