package bench

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
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
	serve(Distance{Target: far.Addr().String(), dial: ns.dial}, near)
	serve(Distance{Target: d.Target}, far)
	return near.Addr().String(), func() { all.Wait(); ns.close() }, nil
}

// namespace makes the far side: a listener in a namespace of that distance.
func (d Distance) namespace() (*namespace, net.Listener, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, nil, err
	}
	if d.Delay > 0 {
		err = ns.delay(d.Delay, d.Jitter)
	}
	if err == nil {
		var ln net.Listener
		if ln, err = ns.listen(); err == nil {
			return ns, ln, nil
		}
	}
	ns.close()
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
	wait(ctx, 2*d.Delay) // SYN and SYN-ACK
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
		wait(ctx, time.Until(p.due))
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

// wait sleeps in the kernel, whose timers are 50 µs late and not a millisecond, as
// the runtime's are in an idle process; that would show in every round trip.
func wait(ctx context.Context, d time.Duration) {
	const slice = 50 * time.Millisecond // of which ctx's end may be late
	for end := time.Now().Add(d); d > 0 && ctx.Err() == nil; d = time.Until(end) {
		sleep := unix.NsecToTimespec(int64(min(d, slice)))
		_ = unix.Nanosleep(&sleep, nil)
	}
}
