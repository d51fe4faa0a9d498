package ofproxy

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Bounds of the bytes that wait until a switch reads them.
const (
	outboxFlush = 32 << 10 // bytes at which the owner flushes although more input is at hand
	outboxKeep  = 64 << 10 // bytes of buffer that an idle outbox may keep
)

var errSlowReader = errors.New("switch does not read: its backlog is full")

// outbox gathers messages and writes them in order, many in one Write. append
// never blocks; flush blocks only the goroutine that happens to be writing, for
// at most the write timeout, while others go on appending.
type outbox struct {
	conn    net.Conn
	timeout time.Duration // of one Write
	limit   int           // bytes that may wait

	mu       sync.Mutex
	buf      []byte
	spare    []byte
	flushing bool
	err      error
}

// begin returns the buffer to append whole messages to, locked until end.
// Where the outbox is broken or full it returns an error and is not locked.
func (o *outbox) begin() ([]byte, error) {
	o.mu.Lock()
	if o.err != nil || len(o.buf) > o.limit {
		err := o.err
		o.mu.Unlock()
		if err == nil {
			err = errSlowReader
		}
		return nil, err
	}
	return o.buf, nil
}

// end takes back the buffer that begin gave and reports how much waits.
func (o *outbox) end(b []byte) int {
	o.buf = b
	n := len(b)
	o.mu.Unlock()
	return n
}

// put appends one message.
func (o *outbox) put(appendTo func(b []byte) []byte) error {
	b, err := o.begin()
	if err != nil {
		return err
	}
	o.end(appendTo(b))
	return nil
}

// waiting returns how many bytes wait.
func (o *outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf)
}

// flush writes the waiting messages. If another goroutine is writing, it writes
// these too, and flush returns at once.
func (o *outbox) flush() error {
	o.mu.Lock()
	if o.flushing {
		o.mu.Unlock()
		return nil
	}
	o.flushing = true
	for o.err == nil && len(o.buf) > 0 {
		out := o.buf
		o.buf, o.spare = o.spare[:0], nil
		o.mu.Unlock()
		err := o.write(out)
		o.mu.Lock()
		if cap(out) <= outboxKeep {
			o.spare = out
		}
		if err != nil && o.err == nil {
			o.err = err
		}
	}
	o.flushing = false
	err := o.err
	o.mu.Unlock()
	return err
}

func (o *outbox) write(b []byte) error {
	if err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if _, err := o.conn.Write(b); err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return fmt.Errorf("switch does not read: %d bytes not taken within %v", len(b), o.timeout)
		}
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
