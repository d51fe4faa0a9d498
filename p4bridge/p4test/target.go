package p4test

import (
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	configv1 "github.com/p4lang/p4runtime/go/p4/config/v1"
	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc"

	"switchbridge/p4bridge/pipeline"
)

// Options says what kind of target it is.
type Options struct {
	DeviceID uint64
	// Specification: behave as the specification says where BMv2 does not.
	Specification bool
	// Version of P4Runtime that it says it speaks; empty is BMv2's 1.3.0. From 1.4 on
	// replicas name their port by bytes, as that version has it.
	Version string
	// Roles has the tables that the controllers of a role may write; such a
	// controller pushes no pipeline, and makes no groups. A role that is not here is
	// ignored, as every role is by BMv2.
	Roles map[string][]string
	// Ports are the switch's; empty is 1 to 4.
	Ports []uint32
	// IdleSweep is how often idle entries are looked for; 0 is BMv2's second.
	IdleSweep time.Duration
	// CacheTime is for how long BMv2's own filter suppresses an equal digest
	// whatever the digest's configuration; 0 is its 100 ms.
	CacheTime time.Duration
	// ServerOptions, such as grpc.Creds.
	ServerOptions []grpc.ServerOption
}

// Frame is a packet that left the switch.
type Frame struct {
	Port uint32
	Data []byte
}

// Target is a P4Runtime target. Its methods may be called by any goroutine.
type Target struct {
	p4v1.UnimplementedP4RuntimeServer
	opts Options

	mu       sync.Mutex
	server   *grpc.Server
	listener net.Listener
	stop     chan struct{}

	streams []*stream // in order of arrival
	highest electionID
	primary *stream

	config *p4v1.ForwardingPipelineConfig
	pl     *pipeline.Pipeline
	tables map[uint32]*table
	pre    replication
	digest map[uint32]*digestState

	members  map[memberKey]*p4v1.ActionProfileMember
	groups   map[memberKey]*p4v1.ActionProfileGroup
	meters   map[cell]*meter
	counters map[cell]*p4v1.CounterData

	faults Faults
	stats  Stats
	out    chan Frame
}

// Faults are what a test makes go wrong.
type Faults struct {
	// Write is asked about each update before it is applied, if set; a non-nil
	// error is that update's.
	Write func(*p4v1.Update) error
	// WriteStatus, if set, fails a whole Write with a status, after applying nothing.
	WriteStatus error
	// AfterUpdates > 0 restarts the target when that many updates were applied,
	// in the middle of whatever batch it was.
	AfterUpdates int
	// Hang, if not nil, makes every call wait until it is closed.
	Hang chan struct{}
}

// Stats is what happened so far.
type Stats struct {
	Writes, Updates       int
	Pushes                int // pipelines
	Acks                  int
	Digests               int // sent to a controller
	DigestsLost           int // suppressed, or for want of a controller
	PacketIns, PacketOuts int
}

// streamQueue is how many messages wait for a controller that reads slowly
// before the target waits in turn, as BMv2's data plane does.
const streamQueue = 1024

// New makes a target; [Target.Start] brings it up.
func New(o Options) *Target {
	if len(o.Ports) == 0 {
		o.Ports = []uint32{1, 2, 3, 4}
	}
	if o.IdleSweep == 0 {
		o.IdleSweep = time.Second
	}
	if o.CacheTime == 0 {
		o.CacheTime = 100 * time.Millisecond
	}
	t := &Target{opts: o, out: make(chan Frame, 4096)}
	t.clear()
	return t
}

// clear forgets everything a restart forgets. The caller holds mu, or is alone.
func (t *Target) clear() {
	t.config, t.pl = nil, nil
	t.tables = map[uint32]*table{}
	t.pre = replication{members: map[uint32][]*p4v1.Replica{}}
	t.pre.forget()
	t.digest = map[uint32]*digestState{}
	t.members = map[memberKey]*p4v1.ActionProfileMember{}
	t.groups = map[memberKey]*p4v1.ActionProfileGroup{}
	t.meters, t.counters = map[cell]*meter{}, map[cell]*p4v1.CounterData{}
	t.primary, t.highest = nil, electionID{}
}

// Start serves on l, which is the target's from now on, until [Target.Stop].
func (t *Target) Start(l net.Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	opts := append([]grpc.ServerOption{grpc.MaxRecvMsgSize(64 << 20)}, t.opts.ServerOptions...)
	s := grpc.NewServer(opts...)
	p4v1.RegisterP4RuntimeServer(s, t)
	t.server, t.listener, t.stop = s, l, make(chan struct{})
	go s.Serve(kept{l}) //nolint:errcheck // ends with Stop
	go t.sweepIdle(t.stop)
}

// kept is a listener that a server may close and another take over: a restart
// must not lose its address to whoever asks for a free port at that moment.
type kept struct{ net.Listener }

// Close wakes Accept, and leaves the socket open.
func (k kept) Close() error { return setDeadline(k.Listener, time.Unix(1, 0)) }

func setDeadline(l net.Listener, at time.Time) error {
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok {
		return d.SetDeadline(at)
	}
	return l.Close()
}

// Addr is where the target listens.
func (t *Target) Addr() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listener.Addr().String()
}

// Stop breaks every connection and forgets nothing.
func (t *Target) Stop() {
	if l := t.halt(); l != nil {
		l.Close()
	}
}

// halt breaks every connection and returns the listener, still open, or nil
// where the target is not up.
func (t *Target) halt() net.Listener {
	t.mu.Lock()
	s, stop, l := t.server, t.stop, t.listener
	t.server = nil
	t.mu.Unlock()
	if s == nil {
		return nil
	}
	close(stop)
	s.Stop()
	return l
}

// Restart breaks every connection, forgets pipeline, tables and groups, and
// serves again at the same address.
func (t *Target) Restart() error {
	l := t.halt()
	if l == nil {
		return errors.New("p4test: the target is not up")
	}
	t.mu.Lock()
	t.clear()
	t.mu.Unlock()
	if err := setDeadline(l, time.Time{}); err != nil {
		return err
	}
	t.Start(l)
	return nil
}

// Wipe empties every table and leaves the connections up, as a colleague with
// another client would.
func (t *Target) Wipe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tab := range t.tables {
		tab.entries = map[string]*entry{}
	}
}

// Groups returns the multicast groups that BMv2 itself has, those included that
// nobody can read any more since a program was pushed over them.
func (t *Target) Groups() []uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.pre.members))
}

// SetDefault makes an action a table's default, behind the controller's back.
// Both names are P4Info's.
func (t *Target) SetDefault(table, action string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tab := t.tableNamed(table)
	tab.miss, tab.missCookie = &p4v1.Action{ActionId: tab.Default(action).ID}, 0
}

// Inject changes what goes wrong.
func (t *Target) Inject(f Faults) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = f
}

// Stats returns what happened so far.
func (t *Target) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Out is where the packets that leave the switch come out; those that nobody
// takes are lost once it is full.
func (t *Target) Out() <-chan Frame { return t.out }

// Entries returns a copy of a table's entries, by the table's alias.
func (t *Target) Entries(name string) []*p4v1.TableEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pl == nil || t.pl.Table(name) == nil {
		return nil
	}
	return t.tables[t.pl.Table(name).ID].list()
}

// Count returns how many entries a table has, by the table's alias.
func (t *Target) Count(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pl == nil || t.pl.Table(name) == nil {
		return 0
	}
	return len(t.tables[t.pl.Table(name).ID].entries)
}

// P4Info returns the pipeline's description, or nil before a push.
func (t *Target) P4Info() *configv1.P4Info {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.config.GetP4Info()
}

// hang waits as long as a test wants calls to hang.
func (t *Target) hang(done <-chan struct{}) {
	t.mu.Lock()
	h := t.faults.Hang
	t.mu.Unlock()
	if h != nil {
		select {
		case <-h:
		case <-done:
		}
	}
}
