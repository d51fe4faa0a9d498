package judge

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// tap stands in the connection between switch and gateway. It passes every message on, and speaks to either
// side itself: so it knows when the switch has all that the gateway has decided.
type tap struct {
	sw, gw net.Conn // to the switch; to the gateway

	toSwitch  sync.Mutex // one writer at a time
	toGateway sync.Mutex

	mu     sync.Mutex
	shown  int                      // bytes of a packet that a PACKET_IN has; -1: all
	outs   map[uint32]bool          // xids of PACKET_OUTs that forward
	waits  map[uint32]chan struct{} // by the tap's own xids: the switch has answered the BARRIER
	errors []string                 // what the switch refused
	deaf   bool                     // the switch does not get to know what the gateway deletes
	next   uint32

	closed chan struct{}
	once   sync.Once
}

// Own xids are beyond those that a gateway gets to in a test's life.
const tapXIDs = 0xfa000000

// newTap takes a switch's connection over and returns, beside itself, the one that the gateway is given.
func newTap(sw net.Conn) (*tap, net.Conn) {
	gw, gateway := net.Pipe()
	t := &tap{sw: sw, gw: gw, outs: make(map[uint32]bool), waits: make(map[uint32]chan struct{}), next: tapXIDs, shown: -1, closed: make(chan struct{})}
	go t.pump(sw, gw, &t.toGateway, t.fromSwitch)
	go t.pump(gw, sw, &t.toSwitch, t.fromGateway)
	return t, gateway
}

func (t *tap) close() {
	t.once.Do(func() {
		close(t.closed)
		t.sw.Close()
		t.gw.Close()
	})
}

// pump copies whole messages, as see has them; nil is not passed on.
func (t *tap) pump(from, to net.Conn, lock *sync.Mutex, see func(msg []byte) []byte) {
	defer t.close()
	head := make([]byte, ofp.HeaderLen)
	for {
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		msg := make([]byte, max(int(binary.BigEndian.Uint16(head[2:])), ofp.HeaderLen))
		copy(msg, head)
		if _, err := io.ReadFull(from, msg[ofp.HeaderLen:]); err != nil {
			return
		}
		if msg = see(msg); msg == nil {
			continue
		}
		lock.Lock()
		_, err := to.Write(msg)
		lock.Unlock()
		if err != nil {
			return
		}
	}
}

func (t *tap) fromSwitch(msg []byte) []byte {
	h, err := ofp.ParseHeader(msg)
	if err != nil {
		return msg
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch h.Type {
	case ofp.TypeBarrierReply:
		if done, ok := t.waits[h.XID]; ok {
			delete(t.waits, h.XID)
			close(done)
			return nil
		}
	case ofp.TypePacketIn:
		return cutPacketIn(msg, t.shown)
	case ofp.TypeError:
		if e, err := ofp.ParseError(msg); err == nil {
			t.errors = append(t.errors, e.Name)
		}
	}
	return msg
}

// show has PACKET_INs come with n bytes of their packet; -1 is all. Open vSwitch, which has no buffers, sends
// packets whole whatever it is told, so this is one thing that it does not do by itself.
func (t *tap) show(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = n
}

// cutPacketIn returns a PACKET_IN (OpenFlow 1.0.0, 5.4.1; 1.3.5, 7.4.1) with at most n bytes of its packet.
func cutPacketIn(msg []byte, n int) []byte {
	data := 18
	if flow.Protocol(msg[0]) != flow.OpenFlow10 {
		if len(msg) < 28 {
			return msg
		}
		data = 24 + (int(binary.BigEndian.Uint16(msg[26:]))+7)&^7 + 2
	}
	if n >= 0 && data+n < len(msg) {
		msg = msg[:data+n]
		binary.BigEndian.PutUint16(msg[2:], uint16(len(msg)))
	}
	return msg
}

func (t *tap) fromGateway(msg []byte) []byte {
	h, err := ofp.ParseHeader(msg)
	if err != nil {
		return msg
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch h.Type {
	case ofp.TypeEchoReply:
		if _, ok := t.waits[h.XID]; ok {
			// All that the gateway wrote before this is ahead of the BARRIER.
			t.toSwitch.Lock()
			t.sw.Write(ofp.AppendBarrierRequest(nil, h.Version, h.XID))
			t.toSwitch.Unlock()
			return nil
		}
	case ofp.TypeFlowMod:
		if t.deaf && deletes(msg) {
			return nil
		}
	case ofp.TypePacketOut:
		var out ofp.PacketOut
		if err := ofp.ParsePacketOut(msg, &out); err != nil || forwards(out.Actions) {
			t.outs[h.XID] = true
		}
	}
	return msg
}

// spoil has the switch not get to know what the gateway deletes.
func (t *tap) spoil(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deaf = on
}

// command returns where a FLOW_MOD has its command (OpenFlow 1.0.0, 5.3.3; 1.3.5, 7.3.4.1): its last byte, and
// it has no more than that.
func command(v flow.Protocol) int {
	if v == flow.OpenFlow10 {
		return 57
	}
	return 25
}

func deletes(msg []byte) bool {
	at := command(flow.Protocol(msg[0]))
	return len(msg) > at && flow.Command(msg[at]) >= flow.Delete
}

// released reports whether the gateway sent a packet on in answer to the event of the given xid.
func (t *tap) released(xid uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.outs[xid]
}

// refusals takes what the switch has refused since it was last asked for.
func (t *tap) refusals() (list []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, t.errors = t.errors, nil
	return list
}

func (t *tap) xid() (xid uint32, done chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	done = make(chan struct{})
	t.waits[t.next] = done
	return t.next, done
}

// settle returns when the gateway has dealt with all that the switch has sent so far, and the switch with all
// that the gateway sent in turn: an ECHO_REQUEST goes through the gateway, and a BARRIER follows its reply.
func (t *tap) settle(v flow.Protocol) error {
	xid, done := t.xid()
	t.toGateway.Lock()
	_, err := t.gw.Write(ofp.AppendEchoRequest(nil, v, xid, nil))
	t.toGateway.Unlock()
	if err != nil {
		return err
	}
	return t.wait(done, "the gateway's ECHO_REPLY and the switch's BARRIER_REPLY")
}

func (t *tap) wait(done chan struct{}, what string) error {
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-t.closed:
		return fmt.Errorf("the connection ended before %s", what)
	case <-timer.C:
		return fmt.Errorf("no %s after 10 s", what)
	}
}

// change sends FLOW_MODs of the test's own to the switch and returns when it has them.
func (t *tap) change(v flow.Protocol, rules ...flow.Rule) error {
	b := []byte(nil)
	for i := range rules {
		var err error
		if b, err = ofp.AppendFlowMod(b, v, tapXIDs-1, &rules[i], flow.NoBuffer); err != nil {
			return err
		}
	}
	xid, done := t.xid()
	b = ofp.AppendBarrierRequest(b, v, xid)
	t.toSwitch.Lock()
	_, err := t.sw.Write(b)
	t.toSwitch.Unlock()
	if err != nil {
		return err
	}
	return t.wait(done, "the switch's BARRIER_REPLY")
}

// provoke makes the switch answer a message of the given xid with an ERROR.
func (t *tap) provoke(v flow.Protocol, xid uint32) error {
	b, err := ofp.AppendFlowMod(nil, v, xid, &flow.Rule{}, flow.NoBuffer)
	if err != nil {
		return err
	}
	b[command(v)] = 200 // no version has so many
	t.toSwitch.Lock()
	defer t.toSwitch.Unlock()
	_, err = t.sw.Write(b)
	return err
}

// tapped is a listener whose connections have a tap in them.
type tapped struct {
	net.Listener
	opened chan *tap
}

func (l *tapped) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t, gateway := newTap(conn)
	select {
	case l.opened <- t:
		return gateway, nil
	case <-time.After(10 * time.Second):
		t.close()
		return nil, fmt.Errorf("nobody waits for a switch")
	}
}
