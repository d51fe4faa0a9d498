package bench

import (
	"fmt"
	"io"

	"switchbridge/ofproxy/ofp"
)

// streamBytes is the size of a stream's buffer: above the largest message
// (65,535 bytes), and enough that one read takes thousands of answers.
const streamBytes = 256 << 10

// stream cuts what is read into messages, in place.
type stream struct {
	r          io.Reader
	buf        []byte
	start, end int
}

func newStream(r io.Reader, size int) *stream { return &stream{r: r, buf: make([]byte, size)} }

// buffered returns the next message that has been read whole, or nil. It is
// good until fill.
func (s *stream) buffered() ([]byte, error) {
	have := s.buf[s.start:s.end]
	if len(have) < ofp.HeaderLen {
		return nil, nil
	}
	length := int(have[2])<<8 | int(have[3])
	if length < ofp.HeaderLen {
		return nil, fmt.Errorf("a message of length %d, under the header's %d (bytes % x)", length, ofp.HeaderLen, have[:ofp.HeaderLen])
	}
	if len(have) < length {
		return nil, nil
	}
	s.start += length
	return have[:length:length], nil
}

// fill reads once.
func (s *stream) fill() error {
	if s.start > 0 {
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.start = 0
	}
	if s.end == len(s.buf) { // a message longer than the buffer
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n, err := s.r.Read(s.buf[s.end:])
	s.end += n
	if n > 0 {
		return nil
	}
	return err
}
