package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waiter is a connection that is waited for in the kernel, as cbench does, and
// not by the runtime's poller. That one wakes a second thread for every answer,
// which on a small machine takes the controller's core: a quarter of the answers
// a second, with one outstanding.
//
// A read keeps the goroutine's P, so there must be one to spare; it lets go once
// in waiterTick. Of deadlines it knows one in the past, and none.
type waiter struct {
	net.Conn // for its addresses
	poll     [1]unix.PollFd
	expired  atomic.Bool

	mu       sync.Mutex
	released bool
}

const waiterTick = 10 // ms

// waitInKernel makes s use a waiter, where its connection is a plain one and
// there is a P to spare for each of n switches. The caller of pingPong then calls
// release after it.
func (s *loadSwitch) waitInKernel(n int) error {
	c, ok := s.conn.(syscall.Conn)
	if !ok || n >= runtime.GOMAXPROCS(0) {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait in the kernel: %w", err)
	}
	// A duplicate of its number, which the poller does not know.
	var fd int
	var failed error
	err = raw.Control(func(known uintptr) {
		if fd, failed = unix.FcntlInt(known, unix.F_DUPFD_CLOEXEC, 0); failed == nil {
			failed = unix.SetNonblock(fd, false)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("wait in the kernel: %w", err)
	}
	w := &waiter{Conn: s.conn, poll: [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}}
	s.conn.Close()
	s.conn, s.in.r = w, w
	return nil
}

func (w *waiter) Read(b []byte) (int, error) {
	for {
		if w.expired.Load() {
			return 0, os.ErrDeadlineExceeded
		}
		w.poll[0].Revents = 0
		ready, _, errno := unix.RawSyscall(unix.SYS_POLL, uintptr(unsafe.Pointer(&w.poll[0])), 1, waiterTick)
		switch {
		case errno == 0 && ready == 0, errno == unix.EINTR:
			runtime.Gosched()
			continue
		case errno != 0:
			return 0, fmt.Errorf("poll: %w", errno)
		}
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(w.poll[0].Fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == unix.EINTR, errno == unix.EAGAIN:
			continue
		case errno != 0:
			return 0, fmt.Errorf("read: %w", errno)
		case n == 0:
			return 0, io.EOF
		}
		return int(n), nil
	}
}

func (w *waiter) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		if m, err = unix.Write(int(w.poll[0].Fd), b[n:]); errors.Is(err, unix.EINTR) {
			m, err = 0, nil
		}
		n += max(m, 0)
	}
	return n, err
}

func (w *waiter) SetReadDeadline(t time.Time) error {
	w.expired.Store(!t.IsZero())
	return nil
}

// Close ends the connection for both directions; release gives its number back.
func (w *waiter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return nil
	}
	return unix.Shutdown(int(w.poll[0].Fd), unix.SHUT_RDWR)
}

func (w *waiter) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.released {
		w.released = true
		unix.Close(int(w.poll[0].Fd))
	}
}
