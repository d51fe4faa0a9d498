package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/bench/stats"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// settle is how long a controller must be silent after the handshake, or after
// an announcement, before it counts as having nothing more to say.
const settle = 100 * time.Millisecond

// loadSwitch is one fake switch under load. Until one of flood, pingPong and
// idle is called its fields belong to the caller, and then to that; counters
// and phase are shared.
type loadSwitch struct {
	conn  net.Conn
	in    *stream
	dp    *oftest.Datapath
	batch *batch

	sent       atomic.Uint64 // PACKET_INs handed to the socket
	flowMods   atomic.Uint64 // answers
	packetOuts atomic.Uint64
	named      atomic.Uint64 // PACKET_INs whose buffer an answer named
	looseMods  atomic.Uint64 // answers that name no buffer
	looseOuts  atomic.Uint64
	lost       atomic.Uint64 // latency: packets given up
	// seen has the buffers that were answered last, for those of a further answer to the
	// same PACKET_IN; each plus one. The reader's.
	seen [1 << 10]uint32

	setUp     bool        // the controller has added an entry; see missEntry
	recording atomic.Bool // latencies go into the histogram
	anyAnswer bool        // pingPong takes any answer for that of the outstanding packet
	stop      atomic.Bool // pingPong returns before the next packet
	latencies *stats.Histogram

	replies struct { // flood: what the reader wants the writer to send
		sync.Mutex
		b []byte
	}
}

// dialSwitch connects switch number n (from 1) and does the handshake.
func dialSwitch(ctx context.Context, to string, tc *tls.Config, v flow.Protocol, n, macs, bufBytes int) (*loadSwitch, error) {
	conn, err := oftest.DialConn(ctx, to, tc)
	if err != nil {
		return nil, err
	}
	return newSwitch(ctx, conn, v, n, macs, bufBytes)
}

// newSwitch does the handshake of switch number n on conn, which it owns.
func newSwitch(ctx context.Context, conn net.Conn, v flow.Protocol, n, macs, bufBytes int) (*loadSwitch, error) {
	s := &loadSwitch{
		conn: conn,
		in:   newStream(conn, bufBytes),
		dp: oftest.NewDatapath(oftest.Config{
			DPID: flow.DPID(n), Versions: []flow.Protocol{v}, NBuffers: bufferIDs,
		}),
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := s.handshake()
	if err == nil {
		s.batch, err = newBatch(v, n, macs)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("the handshake is not over: %w", context.Cause(ctx))
		}
		return nil, err
	}
	return s, nil
}

func (s *loadSwitch) handshake() error {
	if _, err := s.conn.Write(s.dp.AppendHello(nil)); err != nil {
		return err
	}
	for !s.dp.Ready() {
		if err := s.in.fill(); err != nil {
			return err
		}
		// Another protocol's greeting may look like the start of a long message.
		if have := s.in.buf[s.in.start:s.in.end]; s.dp.Version() == 0 && have[0] > maxVersion {
			return fmt.Errorf("the peer does not speak OpenFlow: it begins with %q", have[:min(len(have), 16)])
		}
		if err := s.drain(s.settingUp, s.write); err != nil {
			return err
		}
	}
	return nil
}

// settingUp notes an answer that comes before the load does.
func (s *loadSwitch) settingUp(a answer) { s.setUp = s.setUp || a.kind == ofp.TypeFlowMod }

// maxVersion is the wire version of OpenFlow 1.5, the highest there is.
const maxVersion = 6

func (s *loadSwitch) write(b []byte) error {
	_, err := s.conn.Write(b)
	return err
}

// read takes what there is, at least one read's worth, answers what a switch
// answers, and passes the rest to count, which may be nil.
func (s *loadSwitch) read(count func(answer)) error {
	if err := s.in.fill(); err != nil {
		return err
	}
	return s.drain(count, s.write)
}

// drain handles what has been read. Replies go to reply, which must not keep
// them.
func (s *loadSwitch) drain(count func(answer), reply func([]byte) error) error {
	for {
		msg, err := s.in.buffered()
		if msg == nil || err != nil {
			return err
		}
		if count != nil && (msg[1] == wireFlowMod || msg[1] == wirePacketOut) {
			if a, ok := parseAnswer(msg); ok {
				count(a)
			}
			continue
		}
		out, m, err := s.dp.Handle(nil, msg)
		if len(out) > 0 {
			if werr := reply(out); err == nil {
				err = werr
			}
		}
		if err == nil && m != nil && m.Error != nil {
			err = fmt.Errorf("the controller reported an error: %s", m.Error.Name)
		}
		if err != nil {
			return err
		}
	}
}

// missLimit is how long an OpenFlow 1.3 controller may take for its table-miss entry.
const missLimit = 5 * time.Second

// missEntry waits until the controller has added an entry. In OpenFlow 1.3 a
// switch asks nothing before it has a table-miss entry (1.3.5, 5.4), and a
// controller may close the connection of one that does. One that adds none
// within limit is asked all the same.
func (s *loadSwitch) missEntry(limit time.Duration) error {
	defer s.conn.SetReadDeadline(time.Time{})
	s.conn.SetReadDeadline(time.Now().Add(limit))
	for s.dp.Version() == flow.OpenFlow13 && !s.setUp {
		err := s.read(s.settingUp)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// welcome waits until the controller has set the switch up.
func (s *loadSwitch) welcome() error {
	if err := s.missEntry(missLimit); err != nil {
		return err
	}
	return s.quiet(time.Second)
}

// quiet answers the controller until it has said nothing for the settle time,
// but no longer than limit.
func (s *loadSwitch) quiet(limit time.Duration) error {
	end := time.Now().Add(limit)
	defer s.conn.SetReadDeadline(time.Time{})
	for {
		deadline := time.Now().Add(settle)
		if deadline.After(end) {
			return nil
		}
		s.conn.SetReadDeadline(deadline)
		err := s.read(func(answer) {})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// announce lets the controller end its handshake, makes the load's destination
// known, as cbench does, and waits for what comes of it.
func (s *loadSwitch) announce(n int, v flow.Protocol) error {
	if err := s.welcome(); err != nil {
		return err
	}
	frame := frames.GratuitousARP(target(n))
	p := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame}
	p.Match.SetInPort(2)
	b, err := ofp.AppendPacketIn(nil, v, 0, &p)
	if err != nil {
		return err
	}
	if _, err := s.conn.Write(b); err != nil {
		return err
	}
	return s.quiet(time.Second)
}

// tally is what some answers add to a switch's counters.
type tally struct{ flowMods, packetOuts, named, looseMods, looseOuts uint64 }

// note adds one answer.
func (s *loadSwitch) note(t *tally, a answer) {
	all, loose := &t.packetOuts, &t.looseOuts
	if a.kind == ofp.TypeFlowMod {
		all, loose = &t.flowMods, &t.looseMods
	}
	*all++
	if a.buffer == flow.NoBuffer {
		*loose++
		return
	}
	if seen := &s.seen[a.buffer%uint32(len(s.seen))]; *seen != a.buffer+1 {
		*seen = a.buffer + 1
		t.named++
	}
}

func (s *loadSwitch) add(t *tally) {
	s.flowMods.Add(t.flowMods)
	s.packetOuts.Add(t.packetOuts)
	s.named.Add(t.named)
	s.looseMods.Add(t.looseMods)
	s.looseOuts.Add(t.looseOuts)
}

func (s *loadSwitch) count(a answer) {
	var t tally
	s.note(&t, a)
	s.add(&t)
}

func (s *loadSwitch) responses() uint64 { return s.flowMods.Load() + s.packetOuts.Load() }

// flood sends as much as the connection takes until it fails or is closed, and
// counts what comes back. It returns the first of the two directions' errors.
func (s *loadSwitch) flood() error {
	errs := make(chan error, 2)
	go func() { errs <- s.floodRead() }()
	go func() { errs <- s.floodWrite() }()
	err := <-errs
	s.conn.Close()
	<-errs
	return err
}

func (s *loadSwitch) floodRead() error {
	reply := func(b []byte) error {
		s.replies.Lock()
		s.replies.b = append(s.replies.b, b...)
		s.replies.Unlock()
		return nil
	}
	for {
		if err := s.in.fill(); err != nil {
			return err
		}
		var t tally
		err := s.drain(func(a answer) { s.note(&t, a) }, reply)
		s.add(&t)
		if err != nil {
			return err
		}
	}
}

func (s *loadSwitch) floodWrite() error {
	var replies []byte
	for {
		s.replies.Lock()
		replies, s.replies.b = s.replies.b, replies[:0]
		s.replies.Unlock()
		if len(replies) > 0 {
			if _, err := s.conn.Write(replies); err != nil {
				return err
			}
		}
		if _, err := s.conn.Write(s.batch.stamp(s.batch.size())); err != nil {
			return err
		}
		s.sent.Add(uint64(s.batch.size()))
	}
}

// pingPong keeps one packet outstanding until the connection fails or is
// closed. An answer that names an earlier packet's buffer counts, but does not
// complete this one. A read deadline in the past (see giveUp) makes it go on
// with the next packet. It returns nil when stop is set.
func (s *loadSwitch) pingPong() error {
	for !s.stop.Load() {
		buffer := s.batch.next % bufferIDs
		msg := s.batch.stamp(1)
		start := time.Now()
		if _, err := s.conn.Write(msg); err != nil {
			return err
		}
		s.sent.Add(1)
		for answered := false; !answered; {
			err := s.read(func(a answer) {
				s.count(a)
				if !answered && (s.anyAnswer || a.buffer == buffer || a.buffer == flow.NoBuffer) {
					answered = true
					if s.recording.Load() {
						s.latencies.Record(time.Since(start))
					}
				}
			})
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.conn.SetReadDeadline(time.Time{})
				s.lost.Add(1)
				break
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// giveUp makes pingPong stop waiting for the outstanding packet.
func (s *loadSwitch) giveUp() { s.conn.SetReadDeadline(time.Unix(1, 0)) }

// paced sends rate PACKET_INs a second for d, whatever the answers do. Somebody
// else reads; when that ends, with the error in ended, so does paced.
func (s *loadSwitch) paced(ctx context.Context, rate float64, d time.Duration, ended <-chan error) error {
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent := 0; ; {
		elapsed := time.Since(start)
		if elapsed >= d {
			return nil
		}
		if due := int(rate*elapsed.Seconds()) - sent; due > 0 {
			n := min(due, s.batch.size())
			if _, err := s.conn.Write(s.batch.stamp(n)); err != nil {
				return err
			}
			sent += n
			s.sent.Add(uint64(n))
		}
		select {
		case <-tick.C:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen counts answers, and replies to the controller's own questions, until
// the connection ends.
func (s *loadSwitch) listen() error {
	for {
		if err := s.read(s.count); err != nil {
			return err
		}
	}
}

// idle answers the controller's own questions until the connection ends.
func (s *loadSwitch) idle() error {
	for {
		if err := s.read(nil); err != nil {
			return err
		}
	}
}
