package decider

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"switchbridge/flow"
)

// Rate is a token bucket. The zero value does not limit.
type Rate struct {
	PerSecond float64
	Burst     int // at least 1 where PerSecond is set
}

func (r Rate) limits() bool { return r.PerSecond > 0 }

func (r Rate) limiter() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(r.PerSecond), max(r.Burst, 1))
}

// Rates bound the packets that reach a controller. An ordinary packet takes a token
// from its port's bucket and one from its switch's. Essential packets ([Essentials])
// have a bucket of their own for each switch. So have packets that lack headers,
// such as fragments: no rule is made for them, so every single one is a question.
type Rates struct {
	PerSwitch  Rate
	PerPort    Rate
	Essentials Rate
	Incomplete Rate

	// MaxBuckets bounds how many buckets are remembered. Default 65,536. The
	// buckets of ports that were not heard of for the longest time make room; the
	// memory of one is about 200 bytes.
	MaxBuckets int
}

// Pace is the decorator that bounds packets by rates. A packet beyond them fails with
// [flow.Overload] and is dropped. Events other than packets pass.
type Pace struct {
	next  flow.Decider
	rates Rates

	// OnPaced, if set before use, is told which bucket was empty: "switch",
	// "port", "essentials" or "incomplete".
	OnPaced func(ev *flow.Event, bucket string)

	onlyIncomplete bool // no other packets have a rate

	mu      sync.Mutex
	buckets *simplelru.LRU[bucketKey, *rate.Limiter]
}

type bucketKey struct {
	dpid flow.DPID
	port flow.PortNo // with kind port
	kind bucketKind
}

type bucketKind uint8

const (
	bucketSwitch bucketKind = iota
	bucketPort
	bucketEssentials
	bucketIncomplete
)

func (k bucketKind) String() string {
	return [...]string{"switch", "port", "essentials", "incomplete"}[k%4]
}

// NewPace makes a Pace in front of next.
func NewPace(next flow.Decider, rates Rates) *Pace {
	if rates.MaxBuckets == 0 {
		rates.MaxBuckets = 1 << 16
	}
	buckets, _ := simplelru.NewLRU[bucketKey, *rate.Limiter](rates.MaxBuckets, nil) // it fails for 0 and less
	return &Pace{next: next, rates: rates, onlyIncomplete: !rates.PerSwitch.limits() && !rates.PerPort.limits() && !rates.Essentials.limits(), buckets: buckets}
}

// Decide asks next if the packet's buckets have a token for it.
func (p *Pace) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if err := p.Admit(ev, time.Now()); err != nil {
		return err
	}
	return p.next.Decide(ctx, ev, d)
}

// Admit takes the event's tokens, or returns an error of kind [flow.Overload]. A
// session with a queue calls it before it queues the event, instead of using Pace as
// a decorator: a packet beyond the rate then takes no place in the queue.
func (p *Pace) Admit(ev *flow.Event, now time.Time) error {
	if ev.PacketIn == nil || ev.Switch == nil {
		return nil
	}
	kind, ok := p.take(ev.Switch.DPID, ev.PacketIn, now)
	if ok {
		return nil
	}
	if p.OnPaced != nil {
		p.OnPaced(ev, kind.String())
	}
	return errPaced[kind]
}

var errPaced = [...]error{
	bucketSwitch:     flow.Errorf(flow.Overload, "the switch's rate limit"),
	bucketPort:       flow.Errorf(flow.Overload, "the port's rate limit"),
	bucketEssentials: flow.Errorf(flow.Overload, "the rate limit of ARP, DHCP, LLDP and neighbour discovery"),
	bucketIncomplete: flow.Errorf(flow.Overload, "the rate limit of fragments and other packets that lack headers"),
}

// take takes a packet's tokens, or says which bucket has none. The port's comes
// first, so that one port's storm takes nothing from its neighbours.
func (p *Pace) take(dpid flow.DPID, pi *flow.PacketIn, now time.Time) (bucketKind, bool) {
	if pi.Incomplete != 0 {
		return bucketIncomplete, p.allow(bucketKey{dpid: dpid, kind: bucketIncomplete}, p.rates.Incomplete, now)
	}
	if p.onlyIncomplete {
		return 0, true
	}
	packet := &pi.Match
	if ClassOf(packet) == Essentials {
		return bucketEssentials, p.allow(bucketKey{dpid: dpid, kind: bucketEssentials}, p.rates.Essentials, now)
	}
	if !p.allow(bucketKey{dpid: dpid, port: packet.InPort, kind: bucketPort}, p.rates.PerPort, now) {
		return bucketPort, false
	}
	return bucketSwitch, p.allow(bucketKey{dpid: dpid, kind: bucketSwitch}, p.rates.PerSwitch, now)
}

func (p *Pace) allow(key bucketKey, r Rate, now time.Time) bool {
	if !r.limits() {
		return true
	}
	p.mu.Lock()
	l, ok := p.buckets.Get(key)
	if !ok {
		l = r.limiter()
		p.buckets.Add(key, l)
	}
	p.mu.Unlock()
	return l.AllowN(now, 1)
}

// Local reports whether the decider behind is [flow.Local].
func (p *Pace) Local() bool { return flow.IsLocal(p.next) }
