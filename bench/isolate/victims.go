package isolate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"switchbridge/bench/stats"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// deniedEvery says which of a victim's packets goes to an address that the
// policy denies.
const deniedEvery = 8

// answerLimit is how long after it was due a packet may still be answered; one
// that is not by then is lost.
const answerLimit = 6 * time.Second

// victims are switches that behave well: each sends PACKET_INs of new flows at a
// steady pace, whatever the answers do, and every answer is timed from when its
// packet was due.
//
// One thread does it all and waits in the kernel, so that neither Go's scheduler
// nor the load beside it is measured: see urgent.
type victims struct {
	all   []*victim
	pace  time.Duration // between two packets of all victims together
	start time.Time
	turn  int // packets sent
	polls []unix.PollFd

	latencies *stats.Histogram // of the phase that is on; nil: not recorded
	tally     tally            // of the phase that is on
}

// tally counts one phase.
type tally struct {
	sent, answered uint64
	lost           uint64
	wrong          uint64
	example        string // of a wrong answer
}

// victim is one of them.
type victim struct {
	fd      int
	dp      *oftest.Datapath
	dpid    flow.DPID
	in      []byte
	out     []byte // what the socket did not take
	next    uint32 // number of its next packet, its buffer's, too
	pending map[uint32]question
	failed  error // why its connection ended
}

// question is a packet that waits for an answer.
type question struct {
	due   time.Time
	deny  bool
	match flow.Match
	timed bool // sent in the phase that is on
}

// newVictims connects n switches, with datapath ids from first, that together
// send rate packets a second each.
func newVictims(addr string, n int, first flow.DPID, rate float64) (*victims, error) {
	v := &victims{pace: time.Duration(float64(time.Second) / rate / float64(n))}
	all, errs := make([]*victim, n), make([]error, n)
	var dialled sync.WaitGroup
	for i := range n {
		dialled.Go(func() { all[i], errs[i] = dialVictim(addr, first+flow.DPID(i)) })
	}
	dialled.Wait()
	for i, one := range all {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("switch %d: %w", i+1, errs[i])
			continue
		}
		v.all = append(v.all, one)
		v.polls = append(v.polls, unix.PollFd{Fd: int32(one.fd), Events: unix.POLLIN})
	}
	if err := errors.Join(errs...); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *victims) close() {
	for _, one := range v.all {
		unix.Close(one.fd)
	}
}

// dialVictim connects and does the handshake, in which reads wait.
func dialVictim(addr string, dpid flow.DPID) (*victim, error) {
	conn, err := net.DialTimeout("tcp", addr, answerLimit)
	if err != nil {
		return nil, err
	}
	defer conn.Close() // the duplicate lives on
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	one := &victim{dpid: dpid, pending: make(map[uint32]question), dp: oftest.NewDatapath(oftest.Config{
		DPID: dpid, Versions: []flow.Protocol{flow.OpenFlow13}, NBuffers: 1 << 20,
	})}
	var failed error
	err = raw.Control(func(known uintptr) { one.fd, failed = unix.FcntlInt(known, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	one.out = one.dp.AppendHello(nil)
	// After the handshake the gateway has proactive rules and its own list to ask
	// for; what is silent for so long has had them.
	const silence = 150 * time.Millisecond
	for end := time.Now().Add(answerLimit); ; {
		if err := one.write(); err != nil {
			unix.Close(one.fd)
			return nil, err
		}
		wait := time.Until(end)
		if one.dp.Ready() {
			wait = min(wait, silence)
		}
		p := []unix.PollFd{{Fd: int32(one.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, int(max(wait, 0)/time.Millisecond))
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 0 && one.dp.Ready():
			return one, nil
		case err == nil && n == 0:
			err = errors.New("no handshake")
		case err == nil:
			err = one.read(nil)
		}
		if err != nil {
			unix.Close(one.fd)
			return nil, err
		}
	}
}

// run sends and receives until the phase's time is over, and then, with wait,
// receives until all is answered or late. It runs on an urgent thread.
func (v *victims) run(d time.Duration, h *stats.Histogram, wait bool) tally {
	v.latencies, v.tally = h, tally{}
	for _, one := range v.all {
		for b, q := range one.pending { // of the phase before: judged, but not timed
			q.timed = false
			one.pending[b] = q
		}
	}
	begin := time.Now()
	v.start, v.turn = begin, 0
	end := begin.Add(d)
	for {
		now := time.Now()
		due := v.start.Add(time.Duration(v.turn) * v.pace)
		switch {
		case due.Before(end) && !due.After(now):
			v.send(v.all[v.turn%len(v.all)], due)
			v.turn++
			continue
		case !due.Before(end):
			if !wait {
				return v.tally
			}
			left := v.outstanding()
			if now.Before(end.Add(answerLimit)) && left > 0 {
				due = now.Add(20 * time.Millisecond)
				break
			}
			v.tally.lost += uint64(left)
			for _, one := range v.all {
				clear(one.pending)
			}
			return v.tally
		}
		v.poll(due.Sub(now))
	}
}

// outstanding is how many packets wait for an answer. Those of a victim whose
// connection has ended are lost.
func (v *victims) outstanding() (n int) {
	for _, one := range v.all {
		if one.failed != nil {
			v.tally.lost += uint64(len(one.pending))
			clear(one.pending)
		}
		n += len(one.pending)
	}
	return n
}

// poll waits for input of any victim.
func (v *victims) poll(d time.Duration) {
	for i, one := range v.all {
		v.polls[i].Events = unix.POLLIN
		if len(one.out) > 0 {
			v.polls[i].Events |= unix.POLLOUT
		}
		if one.failed != nil {
			v.polls[i].Fd = -1
		}
	}
	timeout := unix.NsecToTimespec(int64(max(d, 0)))
	n, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&v.polls[0])), uintptr(len(v.polls)), uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return
	}
	for i, one := range v.all {
		ready := v.polls[i].Revents
		if ready == 0 || one.failed != nil {
			continue
		}
		if ready&unix.POLLOUT != 0 {
			one.failed = one.write()
		}
		if ready&^unix.POLLOUT != 0 && one.failed == nil {
			one.failed = one.read(v)
		}
		if one.failed == nil {
			one.failed = one.write()
		}
	}
}

// Addresses of the packets.
var (
	allowed = frames.Host(200)
	denied  = frames.Endpoint{MAC: flow.MAC{0x02, 0xfe, 0, 0, 0, 9}, IP: deniedAddr}
)

// send sends the next packet of a victim.
func (v *victims) send(one *victim, due time.Time) {
	if one.failed != nil {
		v.tally.sent++
		v.tally.lost++
		return
	}
	n := one.next
	one.next++
	q := question{due: due, deny: n%deniedEvery == 0, timed: true}
	from := frames.Host(uint8(1 + one.dpid%100)).At(uint16(1024 + n%60_000))
	to := allowed.At(uint16(1 + n/60_000))
	if q.deny {
		to = denied.At(80)
	}
	frame := frames.TCP(from, to, frames.SYN, nil)
	p := flow.PacketIn{BufferID: n, TotalLen: len(frame), Data: frame}
	p.Match.SetInPort(1)
	q.match = flow.ParseFrame(frame, 1)
	b, err := ofp.AppendPacketIn(one.out, flow.OpenFlow13, n+1, &p)
	if err != nil {
		one.failed = err
		return
	}
	one.out = b
	one.pending[n] = q
	v.tally.sent++
	one.failed = one.write()
}

// write gives the socket what it takes.
func (one *victim) write() error {
	for len(one.out) > 0 {
		n, err := unix.SendmsgN(one.fd, one.out, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return fmt.Errorf("write: %w", err)
		default:
			one.out = one.out[:copy(one.out, one.out[n:])]
		}
	}
	return nil
}

// read takes what there is and handles it. v is nil during the handshake.
func (one *victim) read(v *victims) error {
	const chunk = 32 << 10
	for {
		have := len(one.in)
		one.in = append(one.in, make([]byte, chunk)...)
		n, _, err := unix.Recvfrom(one.fd, one.in[have:], unix.MSG_DONTWAIT)
		one.in = one.in[:have+max(n, 0)]
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return fmt.Errorf("read: %w", err)
		case n == 0:
			return io.EOF
		}
		now := time.Now()
		rest := one.in
		for len(rest) >= ofp.HeaderLen {
			length := int(binary.BigEndian.Uint16(rest[2:]))
			if length < ofp.HeaderLen {
				return fmt.Errorf("a message of length %d", length)
			}
			if len(rest) < length {
				break
			}
			if err := one.message(v, rest[:length:length], now); err != nil {
				return err
			}
			rest = rest[length:]
		}
		one.in = one.in[:copy(one.in, rest)]
		if n < chunk {
			return nil
		}
	}
}

// message handles one message: an answer is timed and judged, all else answered
// as a switch does.
func (one *victim) message(v *victims, msg []byte, now time.Time) error {
	h, err := ofp.ParseHeader(msg)
	if err != nil {
		return err
	}
	switch {
	case h.Type == ofp.TypeFlowMod && v != nil:
		if buffer := binary.BigEndian.Uint32(msg[32:]); buffer != flow.NoBuffer { // OpenFlow 1.3.5, 7.3.4.1
			var r flow.Rule
			if err := ofp.ParseFlowMod(msg, &r); err != nil {
				return err
			}
			v.answer(one, buffer, r.Actions, &r, now)
			return nil
		}
	case h.Type == ofp.TypePacketOut && v != nil:
		var p ofp.PacketOut
		if err := ofp.ParsePacketOut(msg, &p); err != nil {
			return err
		}
		if p.BufferID != flow.NoBuffer {
			v.answer(one, p.BufferID, p.Actions, nil, now)
			return nil
		}
	}
	out, m, err := one.dp.Handle(one.out, msg)
	one.out = out
	if err == nil && m != nil && m.Error != nil {
		err = fmt.Errorf("the gateway reported an error: %s", m.Error.Name)
	}
	return err
}

// answer judges what became of a packet, and times it.
func (v *victims) answer(one *victim, buffer uint32, actions []flow.Action, r *flow.Rule, now time.Time) {
	q, ok := one.pending[buffer]
	wrong := ""
	switch {
	case !ok:
		wrong = fmt.Sprintf("switch %v: an answer to buffer %d, of which none was asked for", one.dpid, buffer)
	case r != nil && !r.Match.Covers(&q.match):
		wrong = fmt.Sprintf("switch %v: %v for packet %d, which it does not match", one.dpid, r, buffer)
	case q.deny && len(actions) > 0:
		wrong = fmt.Sprintf("switch %v: packet %d, which the policy denies, was forwarded (%s)", one.dpid, buffer, flow.ActionsString(actions))
	case !q.deny && len(actions) == 0:
		wrong = fmt.Sprintf("switch %v: packet %d, which the policy allows, was dropped", one.dpid, buffer)
	}
	delete(one.pending, buffer)
	if wrong != "" {
		v.tally.wrong++
		if v.tally.example == "" {
			v.tally.example = wrong
		}
	}
	if !ok || !q.timed {
		return
	}
	v.tally.answered++
	if v.latencies != nil {
		v.latencies.Record(now.Sub(q.due))
	}
}

// lostConnections returns what became of victims whose connection ended.
func (v *victims) lostConnections() (n int, example string) {
	for _, one := range v.all {
		if one.failed != nil {
			n++
			example = fmt.Sprintf("switch %v: %v", one.dpid, one.failed)
		}
	}
	return n, example
}

// urgent runs f on a thread of its own that is bound to a core and, where this
// process may, goes before all others there: what is measured is the gateway,
// not the wait for a core that the load itself keeps busy. It says how far it got.
func urgent(core int, f func()) (how string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends
		var set unix.CPUSet
		set.Set(core)
		how = "normal"
		if unix.SchedSetaffinity(0, &set) != nil {
			how = "normal, not bound to a core"
		}
		const policyFIFO = 1
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policyFIFO, Priority: 1}
		if unix.SchedSetAttr(0, &attr, 0) == nil {
			how = "real-time"
		} else if unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -10) == nil {
			how = "nice -10"
		}
		f()
	}()
	<-done
	return how
}

// bound runs f on a thread that may run on the given cores alone, and so may
// what f starts.
func bound(cores unix.CPUSet, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.SchedSetaffinity(0, &cores); err != nil {
			done <- fmt.Errorf("bind to a core: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
