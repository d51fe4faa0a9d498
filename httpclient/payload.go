package httpclient

import (
	"bytes"
	"io"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// payload is an event's body, shared by all requests of the event. It is left to
// the garbage collector: the transport may go on reading a request's body after
// RoundTrip has returned.
type payload []byte

// reader returns a request's body. It is of a type that net/http knows to be in
// memory: of any other it sends the headers ahead, in a packet of their own.
func (p payload) reader() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(p)), nil
}

// sending watches whether anything of a request may have been sent.
type sending struct {
	trace   httptrace.ClientTrace
	started atomic.Bool
}

func newSending() *sending {
	s := new(sending)
	s.trace.GotConn = func(httptrace.GotConnInfo) { s.started.Store(true) }
	return s
}

// maxKept bounds the buffers that wait for the next answer.
const maxKept = 64 << 10

// answers holds buffers for answers' bodies.
var answers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func releaseAnswer(b *[]byte) {
	if b != nil && cap(*b) <= maxKept {
		answers.Put(b)
	}
}
