package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"switchbridge/flow"
)

// maxMessage bounds what one gRPC message may be: a read of a full table comes as one.
const maxMessage = 64 << 20

var (
	errDemoted   = errors.New("another gateway has become primary")
	errNoPrimary = errors.New("the switch is without a primary")
)

// client is one connection to a switch: its stream, and calls with a deadline.
type client struct {
	cfg     *Config
	metrics deviceMetrics
	cc      *grpc.ClientConn
	rpc     p4v1.P4RuntimeClient
	stream  p4v1.P4Runtime_StreamChannelClient

	ctx    context.Context // the connection's; its cause says why it ended
	cancel context.CancelCauseFunc
	done   sync.WaitGroup

	election    ElectionID
	arbitration chan *p4v1.MasterArbitrationUpdate
	term        atomic.Pointer[term] // while we are primary

	events chan event
	idle   chan *p4v1.IdleTimeoutNotification
	send   chan *p4v1.StreamMessageRequest
}

// term is a time of being primary; it ends the moment another one is.
type term struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// event is one sample of a digest, or one punted packet.
type event struct {
	match  flow.Match
	reason flow.Reason
	frame  []byte // nil: a digest
	list   *digestList
	read   time.Time
}

// digestList is acknowledged once every sample of it has been dealt with.
type digestList struct {
	id     uint32
	listID uint64
	left   atomic.Int32
}

// connect dials and opens the stream. The caller closes the client.
func connect(ctx context.Context, cfg *Config, m deviceMetrics, election ElectionID) (*client, error) {
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = credentials.NewTLS(cfg.TLS)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	}
	if cfg.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return cfg.Dial(ctx, addr) }))
	}
	cc, err := grpc.NewClient("passthrough:///"+cfg.Addr, opts...)
	if err != nil {
		return nil, err
	}
	c := &client{
		cfg: cfg, metrics: m, cc: cc, rpc: p4v1.NewP4RuntimeClient(cc), election: election,
		arbitration: make(chan *p4v1.MasterArbitrationUpdate, 16),
		events:      make(chan event, cfg.Queue),
		idle:        make(chan *p4v1.IdleTimeoutNotification, 64),
		send:        make(chan *p4v1.StreamMessageRequest, cfg.Queue),
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.stream, err = c.rpc.StreamChannel(c.ctx)
	if err != nil {
		c.cancel(err)
		cc.Close()
		return nil, err
	}
	c.done.Go(c.receive)
	c.done.Go(c.transmit)
	c.send <- &p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_Arbitration{Arbitration: &p4v1.MasterArbitrationUpdate{
		DeviceId: cfg.Device, ElectionId: c.electionID(),
	}}}
	return c, nil
}

func (c *client) electionID() *p4v1.Uint128 {
	return &p4v1.Uint128{High: c.election.High, Low: c.election.Low}
}

func (c *client) close() {
	c.cancel(context.Canceled)
	c.cc.Close()
	c.done.Wait()
}

// receive reads the stream for as long as it lasts and never waits for anyone:
// what does not fit into a queue is dropped and counted.
func (c *client) receive() {
	for {
		msg, err := c.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the switch closed the stream")
			}
			c.cancel(fmt.Errorf("stream: %w", err))
			c.endTerm(err)
			return
		}
		switch u := msg.GetUpdate().(type) {
		case *p4v1.StreamMessageResponse_Arbitration:
			c.arbitrated(u.Arbitration)
		case *p4v1.StreamMessageResponse_Digest:
			c.digest(u.Digest)
		case *p4v1.StreamMessageResponse_Packet:
			c.packet(u.Packet)
		case *p4v1.StreamMessageResponse_IdleTimeoutNotification:
			c.metrics.event("idle")
			select {
			case c.idle <- u.IdleTimeoutNotification:
			default: // it is repeated while the entry is idle
				c.metrics.drop("idle_queue")
			}
		case *p4v1.StreamMessageResponse_Error:
			c.cfg.Logger.Warn("the switch refused a stream message", "error", u.Error.GetMessage())
		}
	}
}

// arbitrated begins or ends our term at once; what follows from it is the
// session's to do.
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
	select {
	case c.arbitration <- u:
	default: // sixteen changes unread: the session sees the stream's end, or the term's
	}
}

func (c *client) endTerm(why error) {
	if t := c.term.Swap(nil); t != nil {
		t.cancel(why)
	}
}

func (c *client) digest(u *p4v1.DigestList) {
	m := c.cfg.Mapping
	c.metrics.event("digest")
	list := &digestList{id: u.GetDigestId(), listID: u.GetListId()}
	list.left.Store(int32(len(u.GetData())) + 1)
	now := time.Now()
	for _, data := range u.GetData() {
		if m.Digest == nil || m.Digest.P4.ID != u.GetDigestId() {
			c.metrics.drop("unknown_digest")
			c.settled(list)
			continue
		}
		match, err := m.DigestMatch(data)
		if err != nil {
			c.metrics.drop("bad_digest")
			c.cfg.Logger.Warn("digest not understood", "error", err)
			c.settled(list)
			continue
		}
		select {
		case c.events <- event{match: match, list: list, read: now}:
		default:
			c.metrics.drop("queue")
			c.settled(list)
		}
	}
	c.settled(list)
}

// settled marks one sample of a list as dealt with and acknowledges the list
// with the last. An acknowledgement may be lost: nothing depends on it.
func (c *client) settled(l *digestList) {
	if l == nil || l.left.Add(-1) != 0 {
		return
	}
	c.post(&p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_DigestAck{DigestAck: &p4v1.DigestListAck{
		DigestId: l.id, ListId: l.listID,
	}}})
}

func (c *client) packet(p *p4v1.PacketIn) {
	c.metrics.event("packet_in")
	match, reason, err := c.cfg.Mapping.Packet(p)
	if err != nil {
		c.metrics.drop("bad_packet_in")
		c.cfg.Logger.Warn("packet_in not understood", "error", err)
		return
	}
	frame := p.GetPayload()
	if frame == nil {
		frame = []byte{}
	}
	select {
	case c.events <- event{match: match, reason: reason, frame: frame, read: time.Now()}:
	default:
		c.metrics.drop("queue")
	}
}

// transmit is the one goroutine that sends on the stream.
func (c *client) transmit() {
	for {
		select {
		case m := <-c.send:
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
		c.metrics.drop("send_queue")
		return false
	}
}

// write sends updates in one call. The error of a call that failed for some
// updates only is a [*WriteError].
//
// A call that is not answered in time ends the connection, and by that itself:
// with a deadline of its own it would cost a context, and in the switch, which
// gRPC tells of it, a timer: a twentieth of a Write of one entry.
func (c *client) write(ctx context.Context, updates []*p4v1.Update) error {
	timer := time.AfterFunc(c.cfg.CallTimeout, func() {
		c.cancel(fmt.Errorf("write: no answer within %v", c.cfg.CallTimeout))
	})
	defer timer.Stop()
	_, err := c.rpc.Write(ctx, &p4v1.WriteRequest{DeviceId: c.cfg.Device, ElectionId: c.electionID(), Updates: updates})
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause // demoted, the stream broke, or no answer: more than the call's own error says
	}
	return writeError(c.cfg.Pipeline, updates, err)
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
	for {
		resp, err := rd.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, resp.GetEntities()...)
	}
}
