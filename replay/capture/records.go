package capture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"switchbridge/flow"
)

// Decided is what a record of a decision says beside the packet: where it was asked about, and what was decided.
type Decided struct {
	DPID    flow.DPID
	Number  uint32 // the decision's
	Verdict flow.Verdict
	Reason  string
	Policy  string // SERIAL-HASH; empty: none was named
	Err     string // why nothing was decided; empty where something was
}

// maxLine bounds one line of a file of records.
const maxLine = 1 << 20

// records reads a gateway's records of decisions (log.records, or the log as JSON): lines of JSON. Each about a packet becomes a frame with the
// headers that the record has; what a packet carried beyond them is not recorded.
type records struct {
	lines   *bufio.Scanner
	line    int
	bad     *int // lines that are no record, or whose packet can't be made
	decided Decided
	inPort  flow.PortNo
}

func newRecords(r io.Reader, bad *int) *records {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	return &records{lines: lines, bad: bad}
}

// recorded is a record's line, as gateway writes it.
type recorded struct {
	Time     time.Time `json:"time"`
	Msg      string    `json:"msg"`
	DPID     string    `json:"dpid"`
	Decision uint32    `json:"decision"`
	Event    string    `json:"event"`
	Match    string    `json:"match"`
	TCPFlags string    `json:"tcp_flags"`
	Verdict  string    `json:"verdict"`
	Reason   string    `json:"reason"`
	Policy   string    `json:"policy"`
	Err      string    `json:"err"`
}

// ZeroCopyReadPacketData returns the next packet that a record is about.
func (s *records) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	for s.lines.Scan() {
		s.line++
		frame, at, err := s.parse(s.lines.Bytes())
		switch {
		case err != nil:
			*s.bad++
		case frame != nil:
			return frame, gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}, nil
		}
	}
	if err := s.lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line %d has more than %d bytes", s.line+1, maxLine)
		}
		return nil, gopacket.CaptureInfo{}, err
	}
	return nil, gopacket.CaptureInfo{}, io.EOF
}

// parse reads a line. The frame is nil where it is about no packet.
func (s *records) parse(line []byte) (frame []byte, at time.Time, err error) {
	var r recorded
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, at, err
	}
	if r.Msg != "decision" || r.Event != flow.EventPacketIn.String() || r.Match == "" {
		return nil, at, nil
	}
	m, err := flow.ParseMatch(r.Match)
	if err != nil {
		return nil, at, err
	}
	flags := flow.SYN
	if r.TCPFlags != "" {
		if flags, err = flow.ParseTCPFlags(r.TCPFlags); err != nil {
			return nil, at, err
		}
	}
	frame, ok := flow.FrameOf(&m, flags)
	if !ok {
		return nil, at, fmt.Errorf("no frame has the headers %s", r.Match)
	}
	s.inPort = m.InPort
	s.decided = Decided{Number: r.Decision, Reason: r.Reason, Policy: r.Policy, Err: r.Err}
	if s.decided.DPID, err = flow.ParseDPID(r.DPID); err != nil {
		return nil, at, err
	}
	s.decided.Verdict, err = flow.ParseVerdict(r.Verdict)
	return frame, r.Time, err
}

// linkType is that of the frames that parse makes.
func (*records) linkType(gopacket.CaptureInfo) layers.LinkType { return layers.LinkTypeEthernet }
