package ofproxy

import (
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// pollers let a few connections look for their switch's next message for some
// microseconds before they sleep. To sleep and be woken by the network takes longer than
// a native decision: where a switch asks one thing at a time, it is most of the time that
// an answer takes.
//
// Its cost is bounded:
//
//   - No connection polls while more switches are connected than the machine has cores.
//   - One core is always left to other work.
//   - All connections together get a share of one core.
//   - A connection that polls in vain a few times stops until polling would have found
//     a message again.
//   - All pause after the kernel has given the core to another program.
type pollers struct {
	share float64 // of a core

	conns   atomic.Int32
	polling atomic.Int32

	mu     sync.Mutex
	credit time.Duration // of time to poll in
	at     time.Time     // when credit was right
}

const (
	// pollTime is how long a connection looks for one message.
	pollTime = 30 * time.Microsecond
	// pollMisses is how many times a connection may look in vain before it stops polling.
	pollMisses = 4
	// pollCredit is how much unused time may be saved up, where the share is a whole core.
	pollCredit = 10 * time.Millisecond
	// pollLost means, as a gap between two looks, that others want the core, and
	// pollPause is for how long they have it.
	pollLost  = 100 * time.Microsecond
	pollPause = 10 * time.Millisecond
)

// may reports whether one more connection may poll. If so, the caller calls done afterwards.
func (p *pollers) may() bool {
	cores := int32(runtime.GOMAXPROCS(0))
	if p.share <= 0 || p.conns.Load() > cores {
		return false
	}
	if p.polling.Add(1) >= cores {
		p.polling.Add(-1)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.credit > 0 {
		return true
	}
	p.refill(time.Now())
	if p.credit > 0 {
		return true
	}
	p.polling.Add(-1)
	return false
}

// done ends the polling that may allowed, and takes its time off the share.
func (p *pollers) done(from, to time.Time, lost bool) {
	p.polling.Add(-1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refill(to)
	p.credit -= to.Sub(from)
	if lost {
		p.credit = -time.Duration(p.share * float64(pollPause))
	}
}

func (p *pollers) refill(now time.Time) {
	if since := min(now.Sub(p.at), pollCredit); since > 0 {
		p.credit = min(p.credit+time.Duration(p.share*float64(since)), time.Duration(p.share*float64(pollCredit)))
		p.at = now
	}
}

// polled is a connection that polls. Its owner alone reads from it.
type polled struct {
	net.Conn
	all    *pollers
	raw    syscall.RawConn
	misses int

	look   func(fd uintptr) bool
	buf    []byte
	n      int
	err    error
	closed sync.Once
}

// wrap returns conn so that it polls, or conn itself where its file descriptor can't be
// had. What is returned must be closed.
func (p *pollers) wrap(conn net.Conn) net.Conn {
	c, ok := conn.(syscall.Conn)
	if !ok || p.share <= 0 {
		return conn
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return conn
	}
	p.conns.Add(1)
	polled := &polled{Conn: conn, all: p, raw: raw}
	polled.look = polled.once
	return polled
}

func (c *polled) Close() error {
	c.closed.Do(func() { c.all.conns.Add(-1) })
	return c.Conn.Close()
}

func (c *polled) Read(b []byte) (int, error) {
	if c.misses < pollMisses && len(b) > 0 && c.all.may() {
		n, err, ok := c.poll(b)
		if ok {
			c.misses = 0
			return n, err
		}
		c.misses++
	}
	before := time.Now()
	n, err := c.Conn.Read(b)
	if err == nil && time.Since(before) < pollTime {
		c.misses = 0
	}
	return n, err
}

// poll reads what comes within pollTime; ok is false if nothing does.
func (c *polled) poll(b []byte) (n int, err error, ok bool) {
	from := time.Now()
	now, lost := from, false
	c.buf = b
	for !ok && !lost && now.Sub(from) < pollTime {
		if err = c.raw.Read(c.look); err != nil { // the deadline has passed, or the connection was closed
			ok = true
			break
		}
		if n, err, ok = c.n, c.err, c.err != syscall.EAGAIN; !ok {
			// Whom the last answer woke may wait for this very core.
			syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
		}
		before := now
		now = time.Now()
		lost = now.Sub(before) > pollLost
	}
	c.buf = nil
	c.all.done(from, now, lost)
	return n, err, ok
}

// once reads without waiting, and without the runtime's poller.
func (c *polled) once(fd uintptr) bool {
	for {
		c.n, c.err = syscall.Read(int(fd), c.buf)
		if c.err != syscall.EINTR {
			break
		}
	}
	switch {
	case c.err != nil:
		c.n = 0
		if c.err != syscall.EAGAIN {
			c.err = &net.OpError{Op: "read", Net: c.RemoteAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: c.err}
		}
	case c.n == 0:
		c.err = io.EOF
	}
	return true
}
