package isolate

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/bench/fleet"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
	"switchbridge/p4bridge/p4test"
	"switchbridge/p4src"
)

// Kinds of hostility, in the order in which they are tried.
const (
	PacketIn    = "flood"        // PACKET_INs of new flows, as fast as the connection takes them
	Poison      = "poison"       // packets about which the function answers 500
	Errors      = "errors"       // ERRORs of random types, codes and xids
	PortStatus  = "port_status"  // ports that come and come
	FlowRemoved = "flow_removed" // removed rules, which the function subscribes to
	HalfOpen    = "half_open"    // connections that never say HELLO
	Serial      = "serial"       // a function whose policy's serial grows with each answer
	SlowReader  = "slow_reader"  // a switch that asks and never reads
	Digests     = "digests"      // a P4 switch's digests of new flows, up to a million a second
	Three       = "three"        // flood, errors and slow reader at once; reported only
)

// Kinds returns all of them.
func Kinds() []string {
	return []string{PacketIn, Poison, Errors, PortStatus, FlowRemoved, HalfOpen, Serial, SlowReader, Digests, Three}
}

// remoteOnly are those that need a function of the benchmark's own.
func remoteOnly(kind string) bool { return kind == Poison || kind == Serial }

// Addresses that policy and function know.
var (
	deniedAddr = netip.AddrFrom4([4]byte{203, 0, 113, 9})
	poisonAddr = netip.AddrFrom4([4]byte{203, 0, 113, 66})
)

const (
	// hostileFrom is the address that the hostile connect from: an operator can tell
	// them apart, and so can a gateway that counts by address.
	hostileFrom = "127.0.2.1"

	poisonRate    = 500  // packets a second
	halfOpenLimit = 5000 // connections at one time
	batchBytes    = 32 << 10
)

// Hostile is a process that is hostile when it is told to: it connects, behaves
// well, and prints "ready". At a line "go" it becomes hostile, at "stop" it
// behaves again and prints a line with what it did; it ends with its input.
type Hostile struct {
	Kind   string
	Target string // the gateway; of a P4 switch, where it is to be reached
}

// hostileDPID is the hostile switch's; of several the first's.
const hostileDPID flow.DPID = 400

// Did is what a hostile process did between "go" and "stop".
type Did struct {
	Sent        uint64 `json:"sent"`        // messages, or half-open connections
	Answered    uint64 `json:"answered"`    // FLOW_MODs and PACKET_OUTs for its packets
	Connections uint64 `json:"connections"` // that it made
}

// Serve does as in says, and says on out what became of it.
func (h *Hostile) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	kinds := []string{h.Kind}
	if h.Kind == Three {
		kinds = []string{PacketIn, Errors, SlowReader}
	}
	if !slices.Contains(Kinds(), h.Kind) {
		return fmt.Errorf("hostile kind %q: want one of %s", h.Kind, strings.Join(Kinds(), ", "))
	}
	var all []*attacker
	for i, kind := range kinds {
		a := &attacker{kind: kind, target: h.Target, dpid: hostileDPID + flow.DPID(i)}
		var err error
		if kind == Digests {
			a.p4, err = servedP4(ctx, h.Target, hostileDPID)
		} else {
			a.idle, err = a.connect(ctx)
		}
		if err != nil {
			return fmt.Errorf("hostile %s: %w", kind, err)
		}
		all = append(all, a)
	}
	fmt.Fprintln(out, "ready")
	stop := context.CancelFunc(func() {})
	var attack sync.WaitGroup
	defer attack.Wait()
	defer func() { stop() }()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		switch lines.Text() {
		case "go":
			within, cancel := context.WithCancel(ctx)
			stop = cancel
			for _, a := range all {
				a.sent.Store(0)
				a.answered.Store(0)
				a.connections.Store(0)
				attack.Go(func() { a.attack(within) })
			}
			fmt.Fprintln(out, "going")
		case "stop":
			stop()
			attack.Wait()
			var did Did
			for _, a := range all {
				did.Sent += a.sent.Load()
				did.Answered += a.answered.Load()
				did.Connections += a.connections.Load()
			}
			line, err := json.Marshal(did)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s\n", line)
		}
	}
	return nil
}

// attacker is one hostile switch.
type attacker struct {
	kind   string
	target string
	dpid   flow.DPID
	number uint32 // of what it sent, from 1
	idle   *peer  // its connection while it behaves
	p4     *p4test.Target

	sent, answered, connections atomic.Uint64
}

// peer is a connection of an attacker.
type peer struct {
	conn  net.Conn
	dp    *oftest.Datapath
	mu    sync.Mutex // of writes, so that a reply does not get into another message
	ended chan struct{}
}

func (a *attacker) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(hostileFrom)}, Timeout: fleet.AnswerLimit}
	if a.kind == SlowReader {
		d.Control = smallBuffer
	}
	return d.DialContext(ctx, "tcp", a.target)
}

// connect dials, does the handshake, and reads on until the connection ends.
func (a *attacker) connect(ctx context.Context) (*peer, error) {
	conn, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	p := &peer{conn: conn, ended: make(chan struct{}), dp: oftest.NewDatapath(oftest.Config{
		DPID: a.dpid, Versions: []flow.Protocol{flow.OpenFlow13}, NBuffers: 1 << 20})}
	configured := make(chan struct{})
	go func() {
		defer close(p.ended)
		defer conn.Close()
		a.listen(p, configured)
	}()
	if _, err := conn.Write(p.dp.AppendHello(nil)); err != nil {
		conn.Close()
		return nil, err
	}
	timer := time.NewTimer(fleet.AnswerLimit)
	defer timer.Stop()
	select {
	case <-configured:
		return p, nil
	case <-p.ended:
		return nil, errors.New("the gateway hung up in the handshake")
	case <-timer.C:
		conn.Close()
		return nil, errors.New("no handshake")
	case <-ctx.Done():
		conn.Close()
		return nil, ctx.Err()
	}
}

// listen reads and answers as a switch does. It closes configured with the
// gateway's first BARRIER, after which the switch is served.
func (a *attacker) listen(p *peer, configured chan<- struct{}) {
	buf := make([]byte, 256<<10)
	start, end := 0, 0
	var out []byte
	for {
		if start > 0 {
			end = copy(buf, buf[start:end])
			start = 0
		}
		n, err := p.conn.Read(buf[end:])
		if err != nil {
			return
		}
		end += n
		answered := uint64(0)
		for end-start >= ofp.HeaderLen {
			length := int(binary.BigEndian.Uint16(buf[start+2:]))
			if length < ofp.HeaderLen || end-start < length {
				break
			}
			msg := buf[start : start+length : start+length]
			start += length
			h, err := ofp.ParseHeader(msg)
			if err != nil {
				return
			}
			if h.Type == ofp.TypePacketOut || h.Type == ofp.TypeFlowMod && binary.BigEndian.Uint32(msg[32:]) != flow.NoBuffer {
				answered++
				continue
			}
			if h.Type == ofp.TypeBarrierRequest && configured != nil {
				close(configured)
				configured = nil
			}
			if out, _, err = p.dp.Handle(out, msg); err != nil {
				return
			}
		}
		a.answered.Add(answered)
		if len(out) > 0 {
			p.mu.Lock()
			_, err = p.conn.Write(out)
			p.mu.Unlock()
			if err != nil {
				return
			}
			out = out[:0]
		}
	}
}

// attack is hostile until ctx is done, and leaves a connection that behaves.
func (a *attacker) attack(ctx context.Context) {
	switch a.kind {
	case HalfOpen:
		a.halfOpen(ctx)
		return
	case Digests:
		a.digests(ctx)
		return
	case Serial: // the function is hostile, not the switch
		<-ctx.Done()
		return
	}
	p := a.idle
	for ctx.Err() == nil {
		if p == nil || over(p) {
			var err error
			if p, err = a.connect(ctx); err != nil {
				p = nil
				pause(ctx, 10*time.Millisecond)
				continue
			}
			a.connections.Add(1)
		}
		if a.kind == SlowReader {
			p = a.askDeaf(ctx, p)
			continue
		}
		a.send(ctx, p)
	}
	// One that behaves again begins anew, with nothing on its way.
	if p != nil {
		p.conn.Close()
		<-p.ended
	}
	a.idle, _ = a.connect(context.WithoutCancel(ctx)) // without it there is a switch less
}

func over(p *peer) bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// send writes batch after batch until the connection or ctx ends.
func (a *attacker) send(ctx context.Context, p *peer) {
	// A gateway may read slowly; the end must not wait for it.
	defer context.AfterFunc(ctx, func() { p.conn.SetWriteDeadline(time.Unix(1, 0)) })()
	var b []byte
	for ctx.Err() == nil {
		b = b[:0]
		n := uint64(0)
		for len(b) < batchBytes {
			b = a.message(b)
			n++
			if a.kind == Poison {
				break
			}
		}
		p.mu.Lock()
		_, err := p.conn.Write(b)
		p.mu.Unlock()
		if err != nil {
			p.conn.Close()
			<-p.ended
			return
		}
		a.sent.Add(n)
		if a.kind == Poison {
			pause(ctx, time.Second/poisonRate)
		}
	}
}

// message appends the next hostile message.
func (a *attacker) message(b []byte) []byte {
	a.number++
	n := a.number
	switch a.kind {
	case PacketIn, Poison, SlowReader:
		frame := newFlow(n)
		if a.kind == Poison {
			frame = flowTo(n, poisonAddr)
		}
		p := flow.PacketIn{BufferID: n & 0xffffff, TotalLen: len(frame), Data: frame}
		p.Match.SetInPort(1)
		b, _ = ofp.AppendPacketIn(b, flow.OpenFlow13, n, &p) // of a packet that is made here
	case Errors:
		data := make([]byte, 64)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		b = ofp.AppendError(b, flow.OpenFlow13, rand.Uint32(), uint16(rand.Uint32()), uint16(rand.Uint32()), data)
	case PortStatus:
		no := n % 60_000
		b = ofp.AppendPortStatus(b, flow.OpenFlow13, n, &flow.PortStatus{Reason: flow.PortAdded,
			Port: flow.Port{No: flow.PortNo(5 + no), HWAddr: flow.MAC{2, 0xff, 1, byte(no >> 16), byte(no >> 8), byte(no)}, Name: fmt.Sprintf("eth%d", no)}})
	case FlowRemoved:
		r := flow.FlowRemoved{Reason: 0, Priority: 100, Cookie: rand.Uint64(), Duration: time.Second, Idle: 10 * time.Second}
		switch n % 3 {
		case 1: // as of the gateway with the default id
			r.Cookie = 1<<48 | r.Cookie&0xffffffffffff
		case 2: // as of what it sets up itself
			r.Cookie = 1 << 48
		}
		r.Match.SetInPort(flow.PortNo(1 + n%4))
		r.Match.SetEthSrc(flow.MAC{2, 0x66, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, flow.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		b = ofp.AppendFlowRemoved(b, flow.OpenFlow13, n, &r)
	}
	return b
}

// newFlow is the first packet of a flow of its own for each n.
func newFlow(n uint32) []byte { return flowTo(n, allowed.IP) }

func flowTo(n uint32, dst netip.Addr) []byte {
	from := frames.Host(2).At(uint16(1024 + n%60_000))
	from.MAC = flow.MAC{0x02, 0x66, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	from.IP = netip.AddrFrom4([4]byte{10, byte(100 + n>>16&63), byte(n >> 8), byte(n)})
	to := allowed.At(80)
	to.IP = dst
	return frames.TCP(from, to, frames.SYN, nil)
}

// askDeaf does the handshake on a connection of its own, then asks and reads no
// more, until the gateway hangs up or ctx is done. The connection given, on which
// somebody reads, is ended first.
func (a *attacker) askDeaf(ctx context.Context, p *peer) *peer {
	p.conn.Close()
	<-p.ended
	conn, err := a.dial(ctx)
	if err != nil {
		pause(ctx, 10*time.Millisecond)
		return nil
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	a.connections.Add(1)
	dp := oftest.NewDatapath(oftest.Config{DPID: a.dpid, Versions: []flow.Protocol{flow.OpenFlow13}, NBuffers: 1 << 20})
	out := dp.AppendHello(nil)
	buf := make([]byte, 4096)
	have := 0
	for configured := false; !configured; {
		if _, err := conn.Write(out); err != nil {
			return nil
		}
		out = out[:0]
		n, err := conn.Read(buf[have:])
		if err != nil {
			return nil
		}
		have += n
		at := 0
		for have-at >= ofp.HeaderLen {
			length := int(binary.BigEndian.Uint16(buf[at+2:]))
			if length < ofp.HeaderLen || have-at < length {
				break
			}
			msg := buf[at : at+length]
			configured = configured || msg[1] == wireBarrierRequest
			if out, _, err = dp.Handle(out, msg); err != nil {
				return nil
			}
			at += length
		}
		have = copy(buf, buf[at:have])
	}
	if _, err := conn.Write(out); err != nil {
		return nil
	}
	var b []byte
	for ctx.Err() == nil {
		b = b[:0]
		n := uint64(0)
		for ; len(b) < batchBytes; n++ {
			b = a.message(b)
		}
		if _, err := conn.Write(b); err != nil {
			return nil
		}
		a.sent.Add(n)
	}
	return nil
}

const wireBarrierRequest = 20 // OpenFlow 1.3.5, 7.1.1

// halfOpen keeps as many connections open as the gateway lets it.
func (a *attacker) halfOpen(ctx context.Context) {
	const dialers = 16
	slots := make(chan struct{}, halfOpenLimit)
	var all sync.WaitGroup
	for range dialers {
		all.Go(func() {
			for ctx.Err() == nil {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return
				}
				conn, err := a.dial(ctx)
				if err != nil {
					<-slots
					pause(ctx, 10*time.Millisecond)
					continue
				}
				a.sent.Add(1)
				a.connections.Add(1)
				all.Go(func() {
					defer func() { <-slots }()
					defer conn.Close()
					defer context.AfterFunc(ctx, func() { conn.Close() })()
					_, _ = io.Copy(io.Discard, conn) // until the gateway hangs up
				})
			}
		})
	}
	all.Wait()
}

// servedP4 is a P4 switch that a gateway has made ready.
func servedP4(ctx context.Context, addr string, dpid flow.DPID) (*p4test.Target, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	sw := p4test.New(p4test.Options{DeviceID: uint64(dpid)})
	sw.Start(ln)
	for end := time.Now().Add(3 * fleet.AnswerLimit); ; pause(ctx, 10*time.Millisecond) {
		sw.Packet(1, newFlow(0)) // without a gateway that has set it up, nothing comes of it
		switch {
		case sw.Stats().Digests > 0:
			return sw, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case time.Now().After(end):
			return nil, errors.New("no gateway has made the P4 switch ready")
		}
	}
}

// digests sends lists of digests, as fast as the stream takes them.
func (a *attacker) digests(ctx context.Context) {
	const perList, flows = 1000, 20_000
	digest := p4src.Switchbridge().Digest("miss_t")
	samples := make([]*p4v1.P4Data, flows)
	for i := range samples {
		samples[i] = p4test.Sample(digest, 1, newFlow(uint32(i+1)))
	}
	before := a.p4.Stats()
	for ctx.Err() == nil {
		sent, _, err := a.p4.Flood("miss_t", samples, perList, 1_000_000, 2*flows)
		if err != nil { // the gateway is gone for a moment
			pause(ctx, 10*time.Millisecond)
		}
		a.sent.Add(uint64(sent))
	}
	a.answered.Store(uint64(a.p4.Stats().Updates - before.Updates))
}
