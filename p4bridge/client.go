package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
)

// maxMessage bounds what one gRPC message may be: a read of a full table comes as one.
const maxMessage = 64 << 20

// window is how many bytes of one stream may be on their way to the gateway. It is fixed:
// gRPC's own estimate grows to megabytes for a switch that floods, and all of them are read
// and kept while the gateway lets other switches go first.
const window = 256 << 10

// Bounds of what a session keeps of a switch's messages.
const (
	maxRead   = 256 << 20 // bytes of all messages that answer one read
	maxPacket = 1<<16 - 1 // bytes of a packet, as in OpenFlow's messages
	maxOther  = 4 << 20   // bytes of a message on the stream that is no list of digests
)

// sendQueue is how many messages may wait for the stream: packets on their way out,
// and acknowledgements.
const sendQueue = 4096

var (
	errDemoted   = errors.New("another gateway has become primary")
	errStopped   = errors.New("the gateway stops")
	errNoPrimary = errors.New("the switch is without a primary")
)

// client is one connection to a switch: its stream, and calls with a deadline.
type client struct {
	cfg    *Config
	faults *bridge.Mute
	core   atomic.Pointer[bridge.Session] // from the moment we are primary
	cc     *grpc.ClientConn
	rpc    p4v1.P4RuntimeClient
	stream p4v1.P4Runtime_StreamChannelClient

	ctx    context.Context // the connection's; its cause says why it ended
	cancel context.CancelCauseFunc
	done   sync.WaitGroup

	version     version // of P4Runtime that the switch speaks
	election    ElectionID
	arbitration chan *p4v1.MasterArbitrationUpdate
	term        atomic.Pointer[term] // while we are primary
	demoted     chan struct{}        // closed when we have ceased to be, by the switch's word

	once  sync.Once       // for demoted
	watch watchdog        // of writes
	codec grpc.CallOption // a [wireCodec]

	contradictions prometheus.Counter

	turn   *bridge.Turn // of receive
	events *inbox
	idle   chan *p4v1.IdleTimeoutNotification
	send   chan *p4v1.StreamMessageRequest
	asks   atomic.Bool   // taken has asked
	marked chan struct{} // capacity 1: the switch has answered taken
}

// term is a time in which this gateway is the switch's primary. It ends when another
// client becomes primary.
type term struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// event is one sample of a digest, or one punted packet.
type event struct {
	pi   flow.PacketIn
	list *digestList // nil: no digest
	read time.Time
}

// digestList is acknowledged once every sample of it has been dealt with.
type digestList struct {
	id     uint32
	listID uint64
	left   atomic.Int32
}

// dial makes a connection. Whoever opens a stream on it waits until it is there.
func (s *Session) dial() (*grpc.ClientConn, error) {
	cfg := &s.cfg
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = credentials.NewTLS(cfg.TLS)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(4 * window),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	}
	if cfg.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return cfg.Dial(ctx, addr) }))
	}
	return grpc.NewClient("passthrough:///"+cfg.Addr, opts...)
}

// connect opens the stream, on a connection of its own or, if warm is not nil, on that of another client; what that one has received and not yet handled is the
// new client's, too. The caller closes the client.
func (s *Session) connect(ctx context.Context, election ElectionID, warm *client) (*client, error) {
	cfg := &s.cfg
	var cc *grpc.ClientConn
	var events *inbox
	if warm != nil {
		cc, events = warm.cc, warm.events
	} else {
		var err error
		if cc, err = s.dial(); err != nil {
			return nil, err
		}
		events = newInbox(cfg.Bridge.QueuePerSwitch)
	}
	c := &client{
		cfg: cfg, faults: &s.faults, contradictions: s.metrics.contradictions.WithLabelValues(s.metrics.device), cc: cc, rpc: p4v1.NewP4RuntimeClient(cc), election: election,
		arbitration: make(chan *p4v1.MasterArbitrationUpdate, 16),
		demoted:     make(chan struct{}),
		codec:       grpc.ForceCodecV2(newWireCodec()),
		turn:        cfg.Bridge.Turn(),
		events:      events,
		idle:        make(chan *p4v1.IdleTimeoutNotification, 16),
		send:        make(chan *p4v1.StreamMessageRequest, sendQueue),
		marked:      make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.watch.limit, c.watch.bark = cfg.CallTimeout, func() {
		c.cancel(fmt.Errorf("write: no answer within %v", cfg.CallTimeout))
	}
	var err error
	if c.stream, err = c.rpc.StreamChannel(c.ctx, c.codec); err != nil {
		c.cancel(err)
		cc.Close()
		return nil, err
	}
	c.done.Go(c.receive)
	c.done.Go(c.transmit)
	hello := &p4v1.MasterArbitrationUpdate{DeviceId: cfg.Device, ElectionId: c.electionID(), Role: c.role()}
	c.send <- &p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_Arbitration{Arbitration: hello}}
	return c, nil
}

// version is one of P4Runtime's; the zero value is that of a switch which does
// not say.
type version struct{ major, minor int }

func (v version) before(major, minor int) bool {
	return v.major < major || v.major == major && v.minor < minor
}

// capabilities asks which version the switch speaks (P4Runtime 1.3, 15). If the switch
// doesn't know the question, it speaks a version before 1.1, which introduced it.
func (c *client) capabilities(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	resp, err := c.rpc.Capabilities(ctx, &p4v1.CapabilitiesRequest{})
	if status.Code(err) == codes.Unimplemented {
		c.faults.Info("version", "the switch does not tell its version of P4Runtime; assuming 1.0")
		return nil
	}
	if err != nil {
		return err
	}
	text := resp.GetP4RuntimeApiVersion()
	if _, err := fmt.Sscanf(text, "%d.%d", &c.version.major, &c.version.minor); err != nil || c.version.major != 1 {
		return fmt.Errorf("the switch speaks P4Runtime %q, and the gateway 1.x", text)
	}
	if c.cfg.Role != "" && c.version.before(1, 4) {
		c.faults.Warn("role", "roles by name came with P4Runtime 1.4: the switch may ignore the gateway's", "version", text, "role", c.cfg.Role)
	}
	return nil
}

// role is the configured one, or nil.
func (c *client) role() *p4v1.Role {
	if c.cfg.Role == "" {
		return nil
	}
	return &p4v1.Role{Name: c.cfg.Role}
}

func (c *client) electionID() *p4v1.Uint128 {
	return &p4v1.Uint128{High: c.election.High, Low: c.election.Low}
}

// leave ends the stream, and leaves the connection to another client.
func (c *client) leave() {
	c.cancel(errYielded)
	c.done.Wait()
}

func (c *client) close() {
	c.cancel(context.Canceled)
	c.cc.Close()
	c.done.Wait()
}

// finishTimeout is how long a switch may take to end the stream that we closed.
const finishTimeout = time.Second

// finish sends what is queued on the stream and waits until the switch has it.
func (c *client) finish() {
	select {
	case c.send <- nil:
	case <-c.ctx.Done():
		return
	}
	select {
	case <-c.ctx.Done():
	case <-time.After(finishTimeout):
	}
}

// takenWithin bounds how long taken waits for a switch that does not answer.
const takenWithin = time.Second

// taken waits until the switch has taken all that was queued on the stream, by an answer that it can only give after
// that: this client, while it is primary, raises its election id to the mark, which no other client has, and is told so
// (P4Runtime 1.3, 5.3; BMv2 answers as well). Calls say nothing of it: a switch answers them on other threads, and may
// take a packet later that was sent before. This client can't write afterwards.
//
// taken also returns when ctx is done, the connection ends, or there is no answer within takenWithin. One goroutine at a
// time may call it.
func (c *client) taken(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, takenWithin)
	defer cancel()
	c.asks.Store(true)
	id := &p4v1.Uint128{High: c.election.High, Low: c.election.Low | markBit}
	mark := &p4v1.MasterArbitrationUpdate{DeviceId: c.cfg.Device, ElectionId: id, Role: c.role()}
	select {
	case c.send <- &p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_Arbitration{Arbitration: mark}}:
	case <-ctx.Done(): // the switch takes nothing, and the queue is full
		return
	case <-c.ctx.Done():
		return
	}
	select {
	case <-c.marked:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
}

// dropped counts packets that are lost before they reach the bridge.
func (c *client) dropped(cause string, n int) {
	if core := c.core.Load(); core != nil {
		core.Drops(cause, n)
		return
	}
	for range n {
		c.cfg.Bridge.Early(flow.P4Runtime)
	}
}

// noRoom counts events that were dropped because the queue was full.
func (c *client) noRoom(n int) {
	if n > 0 {
		c.dropped("not_read", n)
		c.faults.Warn("queue_full", "events are dropped: the function does not keep up", "waiting", c.events.limit())
	}
}

// receive reads the stream for as long as it lasts and never waits for anyone:
// what does not fit into a queue is dropped and counted. Where the switch says more
// than is its turn it is read more slowly, and drops its own.
func (c *client) receive() {
	defer c.turn.End()
	var msg wireMessage
	for told := time.Now(); ; {
		err := c.stream.RecvMsg(&msg)
		begin := time.Now()
		if err == nil {
			err = c.received(msg.data)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the switch closed the stream")
			}
			c.cancel(fmt.Errorf("stream: %w", err))
			c.endTerm(err)
			return
		}
		end := time.Now()
		pause := c.turn.Spend(begin.Sub(told), end.Sub(begin), end)
		told = end
		if pause > 0 {
			time.Sleep(pause)
		}
	}
}

// received handles one message. It returns an error if the message can't be decoded.
func (c *client) received(b []byte) error {
	if list, ok := digestBytes(b); ok {
		return c.digest(list)
	}
	if c.events.full() && isPacket(b) {
		c.noRoom(1)
		return nil
	}
	if len(b) > maxOther {
		return fmt.Errorf("a message of %d bytes, at most %d", len(b), maxOther)
	}
	msg := new(p4v1.StreamMessageResponse)
	if err := proto.Unmarshal(b, msg); err != nil {
		return err
	}
	switch u := msg.GetUpdate().(type) {
	case *p4v1.StreamMessageResponse_Arbitration:
		c.arbitrated(u.Arbitration)
	case *p4v1.StreamMessageResponse_Packet:
		c.packet(u.Packet)
	case *p4v1.StreamMessageResponse_IdleTimeoutNotification:
		select {
		case c.idle <- u.IdleTimeoutNotification:
		default: // it is repeated while the entry is idle
		}
	case *p4v1.StreamMessageResponse_Error:
		c.faults.Warn("stream", "the switch refused a stream message", "err", u.Error.GetMessage())
	}
	return nil
}

// arbitrated begins or ends the gateway's term at once. The session's goroutine does
// the rest.
func (c *client) arbitrated(u *p4v1.MasterArbitrationUpdate) {
	if codes.Code(u.GetStatus().GetCode()) == codes.OK {
		if c.term.Load() == nil {
			t := new(term)
			t.ctx, t.cancel = context.WithCancelCause(c.ctx)
			c.term.Store(t)
		}
	} else {
		c.endTerm(errDemoted)
	}
	if id := u.GetElectionId(); c.asks.Load() && id.GetLow() == c.election.Low|markBit && id.GetHigh() == c.election.High {
		select {
		case c.marked <- struct{}{}:
		default:
		}
		return
	}
	select {
	case c.arbitration <- u:
	default: // sixteen changes unread: the session sees the stream's end, or the term's
	}
}

func (c *client) endTerm(why error) {
	if t := c.term.Swap(nil); t != nil {
		t.cancel(why)
		c.once.Do(func() { close(c.demoted) })
	}
}

// digest queues the samples of a list. If there is no room, it doesn't decode them.
func (c *client) digest(list []byte) error {
	h, err := parseDigestList(list)
	if err != nil {
		return err
	}
	m := c.cfg.Mapping
	l := &digestList{id: h.digestID, listID: h.listID}
	l.left.Store(int32(h.samples) + 1)
	if m.Digest == nil || m.Digest.P4.ID != h.digestID {
		c.dropped("unknown_digest", h.samples)
		c.settle(l, h.samples+1)
		return nil
	}
	now := time.Now()
	full, bad, own := 0, 0, 0
	eachSample(list, func(b []byte) {
		if c.events.full() {
			full++
			return
		}
		data, err := parseSample(b)
		var match flow.Match
		if err == nil {
			match, err = m.DigestMatch(data)
		}
		if errors.Is(err, mapping.ErrOwnPacket) {
			own++
			return
		}
		if err != nil {
			bad++
			c.faults.Warn("digest", "a digest can't be read", "err", err)
			return
		}
		pi := flow.PacketIn{BufferID: flow.NoBuffer, Match: match, Incomplete: m.Incomplete(&match)}
		if !c.events.put(&event{pi: pi, list: l, read: now}) { // a reload has made room less
			full++
		}
	})
	c.noRoom(full)
	c.dropped("malformed", bad)
	c.dropped("from_cpu_port", own)
	c.settle(l, full+bad+own+1)
	return nil
}

// settle marks samples of a list as dealt with and acknowledges the list with
// the last. An acknowledgement may be lost: nothing depends on it.
func (c *client) settle(l *digestList, samples int) {
	if l.left.Add(-int32(samples)) != 0 {
		return
	}
	c.post(&p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_DigestAck{DigestAck: &p4v1.DigestListAck{
		DigestId: l.id, ListId: l.listID,
	}}})
}

func (c *client) packet(p *p4v1.PacketIn) {
	pi, contradicted, err := c.cfg.Mapping.Packet(p)
	if contradicted != 0 {
		c.contradictions.Inc()
		c.faults.Warn("contradiction", "a packet's header and its frame differ; the header is used", "fields", contradicted.String())
	}
	if err == nil && len(p.GetPayload()) > maxPacket {
		err = fmt.Errorf("a packet of %d bytes, at most %d", len(p.GetPayload()), maxPacket)
	}
	switch {
	case errors.Is(err, mapping.ErrOwnPacket):
		c.dropped("from_cpu_port", 1)
		c.faults.Warn("from_cpu_port", "the switch sends the gateway's own packets back to it", "err", err)
		return
	case err != nil:
		c.dropped("malformed", 1)
		c.faults.Warn("packet_in", "a packet_in can't be read", "err", err)
		return
	}
	if !c.events.put(&event{pi: pi, read: time.Now()}) {
		c.noRoom(1)
	}
}

// transmit runs on the only goroutine that sends on the stream. After the gateway has
// ceased to be primary, it drops the messages that were queued before.
func (c *client) transmit() {
	for {
		select {
		case m := <-c.send:
			if m == nil { // finish
				_ = c.stream.CloseSend() // its error is receive's, too
				continue
			}
			if m.GetArbitration() == nil && c.term.Load() == nil {
				c.dropped("disconnected", 1)
				continue
			}
			if err := c.stream.Send(m); err != nil {
				return // receive learns why
			}
		case <-c.ctx.Done():
			return
		}
	}
}

// post queues a stream message and reports whether there was room.
func (c *client) post(m *p4v1.StreamMessageRequest) bool {
	select {
	case c.send <- m:
		return true
	default:
		return false
	}
}

// watchdog watches calls that run side by side, and calls back if one of them gets no answer within the limit.
//
// It has one timer for all calls, which runs on for up to the limit after the last one. A timer for each call would often wake the runtime's thread that waits
// for the network, only to tell it the new deadline: a system call and a switch of threads for every Write.
type watchdog struct {
	limit time.Duration
	bark  func()

	mu    sync.Mutex
	began []time.Time // of each call under way; zero: the place is free
	timer *time.Timer
	set   bool
}

// begin notes a call that starts now, and returns the place to give to end.
func (w *watchdog) begin(now time.Time) (place int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if place = slices.IndexFunc(w.began, time.Time.IsZero); place < 0 {
		place, w.began = len(w.began), append(w.began, time.Time{})
	}
	w.began[place] = now
	if !w.set {
		w.set = true
		w.timer = time.AfterFunc(w.limit, w.look)
	}
	return place
}

func (w *watchdog) end(place int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began[place] = time.Time{}
}

func (w *watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var oldest time.Time
	for _, t := range w.began {
		if !t.IsZero() && (oldest.IsZero() || t.Before(oldest)) {
			oldest = t
		}
	}
	switch left := w.limit - time.Since(oldest); {
	case oldest.IsZero():
		w.set = false
	case left <= 0:
		w.set = false
		w.bark()
	default:
		w.timer.Reset(left)
	}
}

// write sends updates in one call. The error of a call that failed for some
// updates only is a [*WriteError].
//
// A call that is not answered in time ends the connection, and so the call. It has no
// deadline of its own: that would cost a context here and, since gRPC tells the switch,
// a timer there, together a twentieth of a Write of one entry.
func (c *client) write(ctx context.Context, updates []*p4v1.Update) error {
	defer c.watch.end(c.watch.begin(time.Now()))
	_, err := c.rpc.Write(ctx, &p4v1.WriteRequest{DeviceId: c.cfg.Device, Role: c.cfg.Role, ElectionId: c.electionID(), Updates: updates}, c.codec)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause // demoted, the stream broke, or no answer: more than the call's own error says
	}
	return writeError(c.cfg.Pipeline, c.cfg.Role, updates, err)
}

// read collects every entity that a read gives.
func (c *client) read(ctx context.Context, entities ...*p4v1.Entity) ([]*p4v1.Entity, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	rd, err := c.rpc.Read(ctx, &p4v1.ReadRequest{DeviceId: c.cfg.Device, Entities: entities})
	if err != nil {
		return nil, err
	}
	var out []*p4v1.Entity
	for size := 0; ; {
		resp, err := rd.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if size += proto.Size(resp); size > maxRead {
			return nil, fmt.Errorf("the switch answers a read with more than %d bytes", maxRead)
		}
		out = append(out, resp.GetEntities()...)
	}
}
