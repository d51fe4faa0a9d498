package oftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// maxBacklog is how many bytes may wait for the controller to read before
// PacketIn and SendRaw block.
const maxBacklog = 1 << 20

// ErrClosed is what a closed Switch answers.
var ErrClosed = errors.New("oftest: the switch is closed")

// Switch is a [Datapath] on a connection. All its methods may be called by
// several goroutines at a time.
//
// One goroutine reads, answers, and puts what is for the caller in a queue; one
// writes. The queue is not bounded, for it is the test's to empty.
type Switch struct {
	conn net.Conn
	mute bool
	done chan struct{} // both goroutines have ended

	mu      sync.Mutex
	changed sync.Cond // of mu: anything below, except dp
	dp      *Datapath
	out     []byte // to be written
	queue   []Message
	stalled bool
	heard   time.Time     // when the last message came
	ready   chan struct{} // closed when dp is ready
	news    chan struct{} // closed and replaced when the queue grows
	err     error         // why the session ended
}

// Serve starts a switch on a connection, which it then owns. It says HELLO at
// once and returns without waiting for the handshake.
func Serve(conn net.Conn, cfg Config) *Switch {
	s := &Switch{
		conn: conn, mute: cfg.Mute, dp: NewDatapath(cfg), heard: time.Now(),
		done: make(chan struct{}), ready: make(chan struct{}), news: make(chan struct{}),
	}
	s.changed.L = &s.mu
	if !s.mute {
		s.out = s.dp.AppendHello(s.out)
	}
	var both sync.WaitGroup
	both.Go(s.read)
	both.Go(s.write)
	go func() { both.Wait(); close(s.done) }()
	return s
}

// end closes the session; the first reason given counts.
func (s *Switch) end(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		s.changed.Broadcast()
		close(s.news) // not replaced any more
	}
	s.mu.Unlock()
	if first {
		s.dp.Gone()
		s.conn.Close()
	}
}

// Close ends the session and waits for its goroutines.
func (s *Switch) Close() error {
	s.end(ErrClosed)
	<-s.done
	return nil
}

// Done is closed when the session has ended, whoever ended it; Err says why.
func (s *Switch) Done() <-chan struct{} { return s.done }

// Err returns why the session ended, or nil while it lasts.
func (s *Switch) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Switch) read() {
	r := newReader(s.conn)
	for {
		msg, err := r.next()
		if err != nil {
			s.end(err)
			return
		}
		s.mu.Lock()
		for s.stalled && s.err == nil {
			s.changed.Wait()
		}
		s.heard = time.Now()
		answers, m, err := s.dp.Handle(nil, msg)
		if !s.mute {
			s.out = append(s.out, answers...)
		}
		if m != nil && s.err == nil {
			s.queue = append(s.queue, *m)
			close(s.news)
			s.news = make(chan struct{})
		}
		if s.dp.Ready() {
			select {
			case <-s.ready:
			default:
				close(s.ready)
			}
		}
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			s.drain()
			s.end(err)
			return
		}
	}
}

// drain waits until everything has been written: the error that ends a session
// must reach the controller.
func (s *Switch) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out) > 0 && s.err == nil {
		s.changed.Wait()
	}
}

func (s *Switch) write() {
	var b []byte
	for {
		s.mu.Lock()
		for len(s.out) == 0 && s.err == nil {
			s.changed.Wait()
		}
		if s.err != nil {
			s.mu.Unlock()
			return
		}
		b = append(b[:0], s.out...)
		s.mu.Unlock()
		_, err := s.conn.Write(b)
		if err != nil {
			s.end(fmt.Errorf("write: %w", err))
			return
		}
		s.mu.Lock()
		s.out = append(s.out[:0], s.out[len(b):]...)
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}

// send appends with the datapath at hand and waits for room first.
func (s *Switch) send(appendTo func(b []byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out) > maxBacklog && s.err == nil {
		s.changed.Wait()
	}
	if s.err != nil {
		return s.err
	}
	n := len(s.out)
	b, err := appendTo(s.out)
	if err != nil {
		s.out = s.out[:n]
		return err
	}
	s.out = b
	s.changed.Broadcast()
	return nil
}

// WaitReady waits until the controller has asked for the switch's features.
func (s *Switch) WaitReady(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return fmt.Errorf("oftest: the handshake is not over: %w", ctx.Err())
	}
}

// Settle waits until the controller has said nothing for the given time: then
// it has no more to ask or to configure, and takes PACKET_INs.
func (s *Switch) Settle(ctx context.Context, silence time.Duration) error {
	for {
		s.mu.Lock()
		rest := silence - time.Since(s.heard)
		s.mu.Unlock()
		if rest <= 0 {
			return nil
		}
		select {
		case <-time.After(rest):
		case <-s.done:
			return s.Err()
		case <-ctx.Done():
			return fmt.Errorf("oftest: the controller does not come to rest: %w", ctx.Err())
		}
	}
}

// Version is what was negotiated, or 0 so far.
func (s *Switch) Version() flow.Protocol {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dp.Version()
}

// PacketIn asks about a frame, whatever the tables say; see
// [Datapath.AppendPacketIn]. The handshake must be over.
func (s *Switch) PacketIn(inPort flow.PortNo, frame []byte) error {
	return s.send(func(b []byte) ([]byte, error) {
		if !s.dp.Ready() {
			return b, errors.New("oftest: PACKET_IN before the handshake is over")
		}
		return s.dp.AppendPacketIn(b, inPort, frame)
	})
}

// Forward does with a frame what the tables say and returns the actions; asked
// means that the controller got a PACKET_IN.
func (s *Switch) Forward(inPort flow.PortNo, frame []byte) (actions []flow.Action, asked bool, err error) {
	err = s.send(func(b []byte) (_ []byte, err error) {
		b, actions, asked, err = s.dp.Forward(b, inPort, frame)
		return b, err
	})
	return actions, asked, err
}

// SendRaw sends bytes as they are.
func (s *Switch) SendRaw(raw []byte) error {
	return s.send(func(b []byte) ([]byte, error) { return append(b, raw...), nil })
}

// SendError reports an error about the message offending, or its start.
func (s *Switch) SendError(xid uint32, typ, code uint16, offending []byte) error {
	return s.send(func(b []byte) ([]byte, error) {
		return ofp.AppendError(b, s.dp.Version(), xid, typ, code, offending), nil
	})
}

// SendEcho asks whether the controller is there.
func (s *Switch) SendEcho(xid uint32, data []byte) error {
	return s.send(func(b []byte) ([]byte, error) {
		return ofp.AppendEchoRequest(b, s.dp.Version(), xid, data), nil
	})
}

// SendPortStatus reports a change of a port, which the switch then remembers.
func (s *Switch) SendPortStatus(ps *flow.PortStatus) error {
	return s.send(func(b []byte) ([]byte, error) {
		ports := make([]flow.Port, 0, len(s.dp.cfg.Ports)+1)
		for _, p := range s.dp.cfg.Ports {
			if p.No != ps.Port.No {
				ports = append(ports, p)
			}
		}
		if ps.Reason != flow.PortDeleted {
			ports = append(ports, ps.Port)
		}
		s.dp.cfg.Ports = ports
		return ofp.AppendPortStatus(b, s.dp.Version(), 0, ps), nil
	})
}

// SendFlowRemoved reports that a rule went; the tables are left alone.
func (s *Switch) SendFlowRemoved(fr *flow.FlowRemoved) error {
	return s.send(func(b []byte) ([]byte, error) {
		return ofp.AppendFlowRemoved(b, s.dp.Version(), 0, fr), nil
	})
}

// Rules returns what is in the flow tables.
func (s *Switch) Rules() []ofp.FlowStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dp.Rules()
}

// Count returns how many rules of the flow tables are so. It copies none, unlike [Switch.Rules]: whoever looks again and again at thousands of rules
// doesn't keep the switch waiting.
func (s *Switch) Count(so func(*flow.Rule) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for i := range s.dp.table.entries {
		if e := s.dp.table.entries[i]; !e.over(now) && so(&e.Rule) {
			n++
		}
	}
	return n
}

// Load puts rules into the tables as if they had been there before the session:
// those of an earlier one, or somebody else's.
func (s *Switch) Load(rules ...flow.Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range rules {
		s.dp.table.add(&rules[i])
	}
}

// Wipe empties the tables and returns what was in them. It tells the controller
// nothing.
func (s *Switch) Wipe() []ofp.FlowStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.dp.Rules()
	s.dp.table = table{}
	return was
}

// Stall makes the switch read nothing more until Resume, so that what is sent
// to it piles up.
func (s *Switch) Stall() { s.setStalled(true) }

// Resume ends Stall.
func (s *Switch) Resume() { s.setStalled(false) }

func (s *Switch) setStalled(v bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = v
	s.changed.Broadcast()
}

// Take returns, in order, what came from the controller and was not taken
// before. Inside a synctest bubble, call it after synctest.Wait.
func (s *Switch) Take() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue
	s.queue = nil
	return q
}

// Next waits for the next message from the controller.
func (s *Switch) Next(ctx context.Context) (Message, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			m := s.queue[0]
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return m, nil
		}
		news, err := s.news, s.err
		s.mu.Unlock()
		if err != nil {
			return Message{}, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Message{}, fmt.Errorf("oftest: nothing came from the controller: %w", ctx.Err())
		}
	}
}

// Until collects messages until one satisfies stop, which is the last.
func (s *Switch) Until(ctx context.Context, stop func(Message) bool) ([]Message, error) {
	var got []Message
	for {
		m, err := s.Next(ctx)
		if err != nil {
			return got, err
		}
		got = append(got, m)
		if stop(m) {
			return got, nil
		}
	}
}

// UntilReleased collects messages until one lets the given frame go.
func (s *Switch) UntilReleased(ctx context.Context, frame []byte) ([]Message, error) {
	return s.Until(ctx, func(m Message) bool { return bytes.Equal(m.Frame, frame) })
}

// reader cuts a stream into messages.
type reader struct {
	r          io.Reader
	buf        []byte
	start, end int
}

func newReader(r io.Reader) *reader { return &reader{r: r, buf: make([]byte, 4<<10)} }

// next returns one whole message, which is good until the next call.
func (r *reader) next() ([]byte, error) {
	for {
		have := r.buf[r.start:r.end]
		if len(have) >= ofp.HeaderLen {
			length := int(have[2])<<8 | int(have[3])
			if length < ofp.HeaderLen {
				return nil, fmt.Errorf("the controller sent a message of length %d (% x)", length, have[:ofp.HeaderLen])
			}
			if length <= len(have) {
				r.start += length
				return have[:length:length], nil
			}
			if length > len(r.buf) {
				r.buf = append(make([]byte, 0, 2*length), have...)[:2*length]
				r.start, r.end = 0, len(have)
			}
		}
		if r.start > 0 {
			r.end = copy(r.buf, r.buf[r.start:r.end])
			r.start = 0
		}
		n, err := r.r.Read(r.buf[r.end:])
		r.end += n
		if n == 0 && err != nil {
			if err == io.EOF && r.end > r.start {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}
