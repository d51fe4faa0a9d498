package bench

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"switchbridge/internal/netns"
)

// Distance makes a TCP peer seem far away: what goes to it and comes from it
// arrives Delay later, give or take Jitter, in each direction. A connection takes
// a round trip to open, as it would.
//
// It emulates time alone: no loss and no limit of bandwidth.
type Distance struct {
	Target string        // HOST:PORT
	Delay  time.Duration // one way
	Jitter time.Duration // uniform, each way; a relay keeps the order of what it delays

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil: as usual
}

// Far opens an address on loopback from which everything goes to d.Target, as
// far away as d says, until ctx is done. With kernel, packets are held back by
// netem in a network namespace, where TCP's own behaviour over a distance (slow
// start) shows too; without, a relay in this process holds bytes back. See
// [NetemMissing]. The caller calls wait after ctx is done.
func (d Distance) Far(ctx context.Context, kernel bool) (addr string, wait func(), err error) {
	var all sync.WaitGroup
	near, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("distance: %w", err)
	}
	serve := func(d Distance, ln net.Listener) { all.Go(func() { _ = d.Serve(ctx, ln) }) }
	if !kernel {
		serve(d, near)
		return near.Addr().String(), all.Wait, nil
	}
	ns, far, err := d.namespace()
	if err != nil {
		near.Close()
		return "", nil, fmt.Errorf("distance: %w", err)
	}
	// Into the namespace, across its loopback interface, and out again.
	serve(Distance{Target: far.Addr().String(), dial: ns.Dial}, near)
	serve(Distance{Target: d.Target}, far)
	return near.Addr().String(), func() { all.Wait(); ns.Close() }, nil
}

// namespace makes the far side: a listener in a namespace of that distance.
func (d Distance) namespace() (*netns.Namespace, net.Listener, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, nil, err
	}
	if d.Delay > 0 {
		err = delay(ns, d.Delay, d.Jitter)
	}
	if err == nil {
		var ln net.Listener
		if ln, err = ns.Listen("tcp", "127.0.0.1:0"); err == nil {
			return ns, ln, nil
		}
	}
	ns.Close()
	return nil, nil, err
}

// Serve relays the connections of ln, which it closes when ctx is done; then it
// returns nil.
func (d Distance) Serve(ctx context.Context, ln net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		near, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("distance: %w", err)
		}
		all.Go(func() { d.relay(ctx, near) })
	}
}

func (d Distance) relay(ctx context.Context, near net.Conn) {
	defer near.Close()
	timer, err := newAlarm(ctx)
	if err != nil {
		return
	}
	timer.wait(2 * d.Delay) // SYN and SYN-ACK
	timer.close()
	dial := d.dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	far, err := dial(ctx, "tcp", d.Target)
	if err != nil {
		return // the near side sees its connection closed
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	var both sync.WaitGroup
	both.Go(func() { d.carry(ctx, far, near) })
	both.Go(func() { d.carry(ctx, near, far) })
	both.Wait()
}

type parcel struct {
	due  time.Time
	data []byte // nil: the sender has closed its side
}

// carry reads from one side at once and writes to the other when it is due.
// Memory is bounded: a slow reader holds the sender up.
func (d Distance) carry(ctx context.Context, to, from net.Conn) {
	timer, err := newAlarm(ctx)
	if err != nil {
		from.Close()
		to.Close()
		return
	}
	defer timer.close()
	way := make(chan parcel, 256)
	go func() {
		defer close(way)
		var last time.Time
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			due := time.Now().Add(d.Delay)
			if d.Jitter > 0 {
				due = due.Add(time.Duration(rand.Int64N(2*int64(d.Jitter)+1)) - d.Jitter)
			}
			if due.Before(last) {
				due = last
			}
			last = due
			if n > 0 {
				way <- parcel{due, b[:n]}
			}
			if err != nil {
				way <- parcel{due, nil}
				return
			}
		}
	}()
	for p := range way {
		timer.wait(time.Until(p.due))
		if p.data == nil {
			if c, ok := to.(interface{ CloseWrite() error }); ok {
				c.CloseWrite()
			}
			continue
		}
		if _, err := to.Write(p.data); err != nil {
			from.Close() // ends the reader
			io.Copy(io.Discard, from)
		}
	}
}

// alarm waits by a timer of the kernel's, which is 50 µs late and not a millisecond, as the runtime's are in an idle process; that would show in
// every round trip. The runtime's poller waits for it. A thread that slept would keep a processor from everything else in this process for as long
// as the runtime takes to notice: on two cores, 16 parcels that were due at one moment went out over 130 ms.
type alarm struct {
	fd   int
	file *os.File // fd's owner
	stop func() bool
}

// newAlarm makes an alarm that ends early with ctx. The caller closes it.
func newAlarm(ctx context.Context) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	a := &alarm{fd: fd, file: os.NewFile(uintptr(fd), "timer")}
	a.stop = context.AfterFunc(ctx, func() { _ = a.file.SetReadDeadline(time.Unix(1, 0)) })
	return a, nil
}

func (a *alarm) close() {
	a.stop()
	a.file.Close()
}

// wait returns when d is over.
func (a *alarm) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	if unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil) == nil {
		var ticks [8]byte
		_, _ = a.file.Read(ticks[:])
	}
}
