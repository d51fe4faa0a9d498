package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"switchbridge/flow"
)

// Packet is one frame of a capture.
type Packet struct {
	File   string
	Number int // in its file, from 1, as Wireshark counts
	Time   time.Time
	// Offset is the time since the capture began: gaps as recorded, those
	// between files and those where the clock went back left out.
	Offset time.Duration
	// Frame is an Ethernet frame, good until the next call of Next.
	Frame []byte
	// WireLen is the frame's length before the capture cut it.
	WireLen int

	// Of a record of a decision: the port by which the packet came, and what was decided. 0 and nil in a capture, which knows neither.
	InPort  flow.PortNo
	Decided *Decided
}

// Truncated reports whether the capture holds only a part of the packet.
func (p *Packet) Truncated() bool { return p.WireLen > len(p.Frame) }

// Error is a fault of a file, at the packet that could not be read. Packets
// before it were good.
type Error struct {
	File   string
	Packet int // 0: the file's header
	Err    error
}

func (e *Error) Error() string {
	if e.Packet == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s: packet %d: %v", e.File, e.Packet, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// maxRecord bounds what reading one packet may take from a file: packets and
// what pcapng has between them. A length in a file is believed up to here.
const maxRecord = 16 << 20

var (
	errTooLong   = fmt.Errorf("a record of more than %d bytes", maxRecord)
	errCut       = errors.New("the file ends in the middle of it")
	errBadFormat = errors.New("neither a pcap nor a pcapng file")
	errBadRecord = errors.New("a record without a whole header")
)

// Reader reads one or several files, one after the other.
type Reader struct {
	paths []string
	stdin io.Reader
	read  atomic.Int64 // bytes of the files
	size  int64

	file   string
	closer io.Closer
	budget *budget
	source interface {
		ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	}
	linkType func(gopacket.CaptureInfo) layers.LinkType

	number int
	last   time.Time // of the packet before, in this file
	packet Packet
	frame  []byte // a made Ethernet header and what follows it

	// ClockBack is how many packets are earlier than the one before them.
	ClockBack int

	// Bad is how many records were left out: what they say of themselves can't be, and the ones after them can be read.
	Bad int

	records *bufio.Reader // of a pcap file: where its next record is read from
}

// NewReader reads the files at paths in this order; "-" is stdin. It opens none
// yet, but fails where one does not exist.
func NewReader(stdin io.Reader, paths ...string) (*Reader, error) {
	r := &Reader{paths: paths, stdin: stdin}
	if len(paths) == 0 {
		return nil, errors.New("no capture file")
	}
	for _, p := range paths {
		if p == "-" {
			r.size = -1
			continue
		}
		fi, err := os.Stat(p)
		switch {
		case err != nil:
			return nil, err
		case fi.IsDir():
			return nil, fmt.Errorf("%s: a directory", p)
		case !fi.Mode().IsRegular():
			r.size = -1
		case r.size >= 0:
			r.size += fi.Size()
		}
	}
	return r, nil
}

// Progress returns how many of the files' bytes have been read, and how many
// there are (-1: not known). It may be called while another goroutine reads.
func (r *Reader) Progress() (read, size int64) { return r.read.Load(), r.size }

// Close closes the file that is open.
func (r *Reader) Close() error {
	if r.closer == nil {
		return nil
	}
	err := r.closer.Close()
	r.closer, r.source = nil, nil
	return err
}

// Next returns the next packet, which is good until Next is called again, and
// io.EOF after the last one of the last file. Other errors are an [*Error].
func (r *Reader) Next() (*Packet, error) {
	for {
		if r.source == nil {
			if len(r.paths) == 0 {
				return nil, io.EOF
			}
			r.file, r.paths, r.number, r.last = r.paths[0], r.paths[1:], 0, time.Time{}
			if err := r.open(); err != nil {
				r.Close()
				return nil, &Error{File: r.file, Err: err}
			}
		}
		r.budget.left = maxRecord
		data, ci, err := r.source.ZeroCopyReadPacketData()
		if err == io.EOF && ci.CaptureLength == 0 {
			if err := r.Close(); err != nil {
				return nil, &Error{File: r.file, Packet: r.number, Err: err}
			}
			continue
		}
		r.number++
		switch {
		case err == nil:
			err = r.fill(data, ci)
			if errors.Is(err, errBadRecord) {
				r.Bad++
				continue
			}
		case r.records != nil && ci.CaptureLength > ci.Length && ci.CaptureLength <= maxRecord:
			// The library reads no record that holds more than the packet had, and leaves the bytes.
			if _, skipped := r.records.Discard(ci.CaptureLength); skipped == nil {
				r.Bad++
				continue
			}
		}
		if err != nil {
			if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
				err = errCut
			}
			r.Close()
			return nil, &Error{File: r.file, Packet: r.number, Err: err}
		}
		return &r.packet, nil
	}
}

// fill makes r.packet of what the file has.
func (r *Reader) fill(data []byte, ci gopacket.CaptureInfo) error {
	link := r.linkType(ci)
	frame, added, err := r.ethernet(link, data)
	if err != nil {
		return err
	}
	offset := r.packet.Offset
	if !r.last.IsZero() {
		if gap := ci.Timestamp.Sub(r.last); gap >= 0 {
			offset += gap
		} else {
			r.ClockBack++
		}
	}
	r.last = ci.Timestamp
	r.packet = Packet{
		File: r.file, Number: r.number, Time: ci.Timestamp, Offset: offset,
		Frame: frame, WireLen: max(ci.Length+added, len(frame)),
	}
	if s, ok := r.source.(*records); ok {
		r.number = s.line
		r.packet.Number, r.packet.InPort, r.packet.Decided = s.line, s.inPort, &s.decided
	}
	return nil
}

// counted counts the bytes that are read from a file.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// budget fails after left bytes, so that a length that a file gives can't make
// the library take memory for it.
type budget struct {
	r    io.Reader
	left int
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (r *Reader) open() error {
	in := r.stdin
	if r.file != "-" {
		f, err := os.Open(r.file)
		if err != nil {
			var pe *os.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return err
		}
		in, r.closer = f, f
	} else {
		r.file, r.closer = "standard input", io.NopCloser(nil)
	}
	plain := bufio.NewReaderSize(counted{in, &r.read}, 64<<10)
	if magic, _ := plain.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(plain)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		plain = bufio.NewReaderSize(z, 64<<10)
	}
	magic, err := plain.Peek(4)
	if err != nil {
		if len(magic) == 0 && err == io.EOF {
			return errors.New("the file is empty")
		}
		return fmt.Errorf("%w (%d bytes: % x)", errBadFormat, len(magic), magic)
	}
	if magic[0] == '{' {
		s := newRecords(plain, &r.Bad)
		r.budget, r.records, r.source, r.linkType = new(budget), nil, s, s.linkType
		return nil
	}
	r.budget, r.records = &budget{r: plain, left: maxRecord}, nil
	switch binary.BigEndian.Uint32(magic) {
	case 0x0a0d0d0a:
		ng, err := pcapgo.NewNgReader(r.budget, pcapgo.NgReaderOptions{WantMixedLinkType: true, ErrorOnMismatchingLinkType: false})
		if err != nil {
			return cutHeader(err)
		}
		r.source = ng
		r.linkType = func(ci gopacket.CaptureInfo) layers.LinkType {
			if len(ci.AncillaryData) > 0 {
				if t, ok := ci.AncillaryData[0].(layers.LinkType); ok {
					return t
				}
			}
			return ng.LinkType()
		}
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		r.records = bufio.NewReader(r.budget) // which the library takes as it is
		p, err := pcapgo.NewReader(r.records)
		if err != nil {
			return cutHeader(err)
		}
		r.source = p
		// The upper half is flags (frame check sequence length), not a type.
		r.linkType = func(gopacket.CaptureInfo) layers.LinkType { return p.LinkType() & 0xffff }
	default:
		return fmt.Errorf("%w (it begins with % x)", errBadFormat, magic)
	}
	return nil
}

func cutHeader(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle of its header")
	}
	return err
}
