package httpclient

import (
	"io"
	"sync"
	"sync/atomic"
)

// maxKept bounds the buffers that wait for the next event.
const maxKept = 64 << 10

// payload is an event's body, shared by all requests of the event. The
// transport may read a request's body after RoundTrip has returned, so the
// memory is used again only when the event and every reader are done with it.
type payload struct {
	b    []byte
	refs atomic.Int32
}

var payloads = sync.Pool{New: func() any { return new(payload) }}

// newPayload returns an empty payload with one reference, the event's.
func newPayload() *payload {
	p := payloads.Get().(*payload)
	p.b = p.b[:0]
	p.refs.Store(1)
	return p
}

func (p *payload) release() {
	if p.refs.Add(-1) == 0 && cap(p.b) <= maxKept {
		payloads.Put(p)
	}
}

// reader returns a request's body.
func (p *payload) reader() *payloadReader {
	p.refs.Add(1)
	return &payloadReader{p: p}
}

// payloadReader is one request's body. HTTP/2's transport may close it in the
// middle of a Read by another goroutine, hence the lock.
type payloadReader struct {
	mu      sync.Mutex
	p       *payload // nil once closed
	off     int
	touched atomic.Bool
}

// untouched reports that nothing has been read, so that nothing of the body has been sent.
func (r *payloadReader) untouched() bool { return !r.touched.Load() }

func (r *payloadReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.p == nil {
		return 0, io.ErrClosedPipe
	}
	r.touched.Store(true)
	if r.off == len(r.p.b) {
		return 0, io.EOF
	}
	n := copy(b, r.p.b[r.off:])
	r.off += n
	return n, nil
}

func (r *payloadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.p != nil {
		r.p.release()
		r.p = nil
	}
	return nil
}

// answers holds buffers for answers' bodies.
var answers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func releaseAnswer(b *[]byte) {
	if b != nil && cap(*b) <= maxKept {
		answers.Put(b)
	}
}
