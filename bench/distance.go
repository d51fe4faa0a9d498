package bench

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Distance is a TCP relay that makes a peer seem far away: what goes through it
// arrives Delay later, give or take Jitter, in each direction, and in order. A
// connection takes a round trip to open, as it would.
//
// It emulates time alone: no loss, no limit of bandwidth, no slow start.
type Distance struct {
	Target string        // HOST:PORT
	Delay  time.Duration // one way
	Jitter time.Duration // uniform, each way
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
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.Target)
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

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
