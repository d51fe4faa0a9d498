package ofproxy

import (
	"errors"
	"fmt"
	"io"

	"switchbridge/ofproxy/ofp"
)

const (
	framerMin = 2 << 10
	framerMax = 256 << 10 // grown to under load, so that one read takes many messages
)

// framer cuts a byte stream into OpenFlow messages. It believes a length only
// after it has checked it, and never holds more than framerMax bytes: a message
// has at most 65,535.
type framer struct {
	r          io.Reader
	buf        []byte
	start, end int
}

// errFraming means that the stream can't be cut into messages any more.
var errFraming = errors.New("framing lost")

// buffered returns the next message if all of it has been read, or nil. The
// message is good until fill is called.
func (f *framer) buffered() ([]byte, error) {
	have := f.buf[f.start:f.end]
	if len(have) < ofp.HeaderLen {
		return nil, nil
	}
	length := int(have[2])<<8 | int(have[3])
	if length < ofp.HeaderLen {
		return nil, fmt.Errorf("%w: length %d is under %d (bytes % x)", errFraming, length, ofp.HeaderLen, have[:ofp.HeaderLen])
	}
	if len(have) < length {
		return nil, nil
	}
	f.start += length
	return have[:length:length], nil
}

// empty reports whether nothing is left of what was read.
func (f *framer) empty() bool { return f.start == f.end }

// fill reads once. A timeout leaves what was read before in place.
func (f *framer) fill() error {
	if f.buf == nil {
		f.buf = make([]byte, framerMin)
	}
	if f.start > 0 {
		f.end = copy(f.buf, f.buf[f.start:f.end])
		f.start = 0
	}
	if f.end == len(f.buf) {
		grown := make([]byte, 2*len(f.buf))
		copy(grown, f.buf)
		f.buf = grown
	}
	n, err := f.r.Read(f.buf[f.end:])
	f.end += n
	if f.end == len(f.buf) && len(f.buf) < framerMax {
		grown := make([]byte, 2*len(f.buf))
		copy(grown, f.buf)
		f.buf = grown
	}
	if n > 0 {
		return nil // a real error comes back with the next read
	}
	return err
}

// relax frees the buffer while it holds no part of a message.
func (f *framer) relax() {
	if f.empty() && len(f.buf) > framerMin {
		f.buf, f.start, f.end = nil, 0, 0
	}
}
