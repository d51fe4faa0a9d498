package ofp

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"switchbridge/flow"
)

// StatsType is the kind of statistics (1.3: multipart) that a message asks for or has.
// Both versions use the same numbers.
type StatsType uint16

const (
	StatsDesc         StatsType = 0
	StatsFlow         StatsType = 1
	StatsAggregate    StatsType = 2
	StatsTable        StatsType = 3
	StatsPort         StatsType = 4
	StatsQueue        StatsType = 5
	StatsMeterConfig  StatsType = 10 // 1.3
	StatsPortDesc     StatsType = 13 // 1.3
	StatsExperimenter StatsType = 0xffff
)

const statsMore = 1 // OFPMPF_REPLY_MORE

// statsLen is the length of the head of a body: type and flags, and in 1.3
// padding (OpenFlow 1.0.0, 5.3.5; 1.3.5, 7.3.5).
func statsLen(v flow.Protocol) int {
	if v == flow.OpenFlow10 {
		return 4
	}
	return 8
}

func beginStats(b []byte, v flow.Protocol, t Type, xid uint32, st StatsType, more bool) []byte {
	b = begin(b, v, t, xid)
	b = be.AppendUint16(b, uint16(st))
	if more {
		b = append(b, 0, statsMore)
	} else {
		b = append(b, 0, 0)
	}
	if v != flow.OpenFlow10 {
		b = pad(b, 4)
	}
	return b
}

// stats checks a statistics message and returns its type, its body after the
// head, and whether more messages of the answer follow.
func stats(msg []byte, t Type) (v flow.Protocol, st StatsType, b []byte, more bool, err error) {
	v, b, err = body(msg, t, 4)
	if err != nil {
		return v, 0, nil, false, err
	}
	n := statsLen(v)
	if len(b) < n {
		return v, 0, nil, false, short(t, len(b), n)
	}
	return v, StatsType(be.Uint16(b)), b[n:], be.Uint16(b[2:])&statsMore != 0, nil
}

// ParseStatsType reads the head of a statistics request or reply. more says that another
// message follows.
func ParseStatsType(msg []byte) (st StatsType, more bool, err error) {
	t, err := eitherOf(msg, TypeStatsRequest, TypeStatsReply)
	if err != nil {
		return 0, false, err
	}
	_, st, _, more, err = stats(msg, t)
	return st, more, err
}

func statsReply(msg []byte, want StatsType) (v flow.Protocol, b []byte, more bool, err error) {
	v, st, b, more, err := stats(msg, TypeStatsReply)
	if err == nil && st != want {
		err = fmt.Errorf("STATS_REPLY: type %d where %d is wanted", st, want)
	}
	return v, b, more, err
}

// Desc is a switch's description of itself (OpenFlow 1.3.5, 7.3.5.1). A text that is
// longer than its field is cut: to 31 bytes for the serial number, to 255 for the others.
type Desc struct{ Manufacturer, Hardware, Software, Serial, Datapath string }

const (
	descLen   = 256
	serialLen = 32
)

// AppendDescReply answers a description request.
func AppendDescReply(b []byte, v flow.Protocol, xid uint32, d Desc) []byte {
	start := len(b)
	b = beginStats(b, v, TypeStatsReply, xid, StatsDesc, false)
	for i, s := range [...]string{d.Manufacturer, d.Hardware, d.Software, d.Serial, d.Datapath} {
		n := descLen
		if i == 3 {
			n = serialLen
		}
		field := make([]byte, n)
		copy(field[:n-1], s) // NUL-terminated
		b = append(b, field...)
	}
	return mustEnd(b, start)
}

// ParseDescReply reads a switch's description.
func ParseDescReply(msg []byte) (Desc, error) {
	_, b, _, err := statsReply(msg, StatsDesc)
	if err != nil {
		return Desc{}, err
	}
	if want := 4*descLen + serialLen; len(b) < want {
		return Desc{}, short("description", len(b), want)
	}
	return Desc{
		Manufacturer: cString(b[:descLen]),
		Hardware:     cString(b[descLen : 2*descLen]),
		Software:     cString(b[2*descLen : 3*descLen]),
		Serial:       cString(b[3*descLen : 3*descLen+serialLen]),
		Datapath:     cString(b[3*descLen+serialLen : 4*descLen+serialLen]),
	}, nil
}

// maxPorts13 is how many ports fit into one PORT_DESC reply.
const maxPorts13 = (maxLen - HeaderLen - 8) / portLen13

// AppendPortDescReply lists a 1.3 switch's ports (OpenFlow 1.3.5, 7.3.5.7), in as many
// messages as they need.
func AppendPortDescReply(b []byte, xid uint32, ports []flow.Port) []byte {
	for {
		n := min(len(ports), maxPorts13)
		start := len(b)
		b = beginStats(b, flow.OpenFlow13, TypeStatsReply, xid, StatsPortDesc, n < len(ports))
		for i := range ports[:n] {
			b = appendPort(b, flow.OpenFlow13, &ports[i])
		}
		b = mustEnd(b, start)
		if ports = ports[n:]; len(ports) == 0 {
			return b
		}
	}
}

// ParsePortDescReply reads one message of the answer. more says that another message with
// ports follows.
func ParsePortDescReply(msg []byte) (ports []flow.Port, more bool, err error) {
	v, b, more, err := statsReply(msg, StatsPortDesc)
	if err != nil {
		return nil, false, err
	}
	if v == flow.OpenFlow10 {
		return nil, false, unsupported(v, "port descriptions")
	}
	ports, err = parsePorts(b, v)
	return ports, more, err
}

// FlowStatsRequest asks for the rules that lie within a match and, in 1.3, have the cookie
// (OpenFlow 1.0.0, 5.3.5; 1.3.5, 7.3.5.2).
type FlowStatsRequest struct {
	Table      uint8       // 0xff is all
	OutPort    flow.PortNo // only rules that output to it; PortAny (or 0) does not restrict
	Cookie     uint64
	CookieMask uint64 // 1.3
	Match      flow.Match
}

const (
	flowStatsRequestLen10 = matchLen10 + 4
	flowStatsRequestLen13 = 32 // without the match
)

// appendFlowStatsRequest10 is 1.0's; 1.3's is in netrack.go.
func appendFlowStatsRequest10(b []byte, xid uint32, q *FlowStatsRequest) ([]byte, error) {
	const v = flow.OpenFlow10
	if q.CookieMask != 0 {
		return b, unsupported(v, "a selection by cookie")
	}
	port, ok := port16(anyPort(q.OutPort))
	if !ok {
		return b, unsupported(v, "out_port "+q.OutPort.String())
	}
	if err := check10(&q.Match); err != nil {
		return b, err
	}
	start := len(b)
	b = beginStats(b, v, TypeStatsRequest, xid, StatsFlow, false)
	b = appendMatch10(b, &q.Match)
	b = append(b, q.Table, 0)
	b = be.AppendUint16(b, port)
	return mustEnd(b, start), nil
}

// ParseFlowStatsRequest reads a request for flow statistics.
func ParseFlowStatsRequest(msg []byte, q *FlowStatsRequest) error {
	v, st, b, _, err := stats(msg, TypeStatsRequest)
	if err != nil {
		return err
	}
	if st != StatsFlow {
		return fmt.Errorf("STATS_REQUEST: type %d where %d is wanted", st, StatsFlow)
	}
	var got FlowStatsRequest
	if v == flow.OpenFlow10 {
		if len(b) < flowStatsRequestLen10 {
			return short("flow statistics request", len(b), flowStatsRequestLen10)
		}
		got.Table, got.OutPort = b[40], port32(be.Uint16(b[42:]))
		got.Match, err = parseMatch10(b)
	} else {
		if len(b) < flowStatsRequestLen13 {
			return short("flow statistics request", len(b), flowStatsRequestLen13)
		}
		got.Table, got.OutPort = b[0], flow.PortNo(be.Uint32(b[4:]))
		if g := be.Uint32(b[8:]); g != groupAny {
			return unsupported(v, fmt.Sprintf("out_group %d", g))
		}
		got.Cookie, got.CookieMask = be.Uint64(b[16:]), be.Uint64(b[24:])
		got.Match, _, err = parseMatch13(b[flowStatsRequestLen13:], nil)
	}
	if err == nil && got.OutPort == 0 {
		err = unsupported(v, "out_port 0") // package flow has 0 for any port
	}
	if err == nil {
		*q = got
	}
	return err
}

// FlowStats is a rule that a switch holds, with its counters.
type FlowStats struct {
	Rule     flow.Rule
	Duration time.Duration // since it was installed
	Packets  uint64
	Bytes    uint64

	// Unknown has the parts of another controller's rule that package flow can't express,
	// such as "tcp_flags=0x0002/0x0012", or why a part can't be read. Rule.Match then matches
	// more than the rule in the switch, and deleting Rule would not delete that rule.
	Unknown []string
}

// MayForward reports whether the rule may send packets to somewhere else than a
// controller. It returns true if a part of the rule can't be read.
func (s *FlowStats) MayForward() bool {
	for i := range s.Rule.Actions {
		switch a := &s.Rule.Actions[i]; a.Type {
		case flow.Output:
			if a.Port != flow.PortController {
				return true
			}
		case flow.Unsupported:
			return true
		}
	}
	return s.Rule.Goto != 0
}

// String returns the rule's cookie and what is known of the rule, and Unknown in brackets.
func (s *FlowStats) String() string {
	text := fmt.Sprintf("cookie=%#x,%v", s.Rule.Cookie, &s.Rule)
	if len(s.Unknown) > 0 {
		text += " [and " + strings.Join(s.Unknown, ", ") + "]"
	}
	return text
}

const (
	flowStatsLen10 = 88 // without actions
	flowStatsLen13 = 48 // without match and instructions
)

// AppendFlowStatsReply appends one message of an answer; more says that another follows.
// It fails if stats don't fit into one message.
func AppendFlowStatsReply(b []byte, v flow.Protocol, xid uint32, stats []FlowStats, more bool) ([]byte, error) {
	start := len(b)
	b = beginStats(b, v, TypeStatsReply, xid, StatsFlow, more)
	for i := range stats {
		if s := &stats[i]; len(s.Unknown) > 0 {
			return b[:start], unsupported(v, s.Unknown[0])
		}
		var err error
		if v == flow.OpenFlow10 {
			b, err = appendFlowStats10(b, &stats[i])
		} else {
			b, err = appendFlowStats13(b, &stats[i])
		}
		if err != nil {
			return b[:start], err
		}
		if len(b)-start > maxLen {
			return b[:start], errTooLong
		}
	}
	return end(b, start)
}

func appendFlowStats10(b []byte, s *FlowStats) ([]byte, error) {
	if err := check10(&s.Rule.Match); err != nil {
		return b, err
	}
	if _, err := fitActions10(s.Rule.Actions, false); err != nil {
		return b, err
	}
	start := len(b)
	b = append(b, 0, 0, s.Rule.Table, 0)
	b = appendMatch10(b, &s.Rule.Match)
	b = appendDuration(b, s.Duration)
	b = be.AppendUint16(b, s.Rule.Priority)
	b = be.AppendUint16(b, seconds(s.Rule.IdleTimeout))
	b = be.AppendUint16(b, seconds(s.Rule.HardTimeout))
	b = pad(b, 6)
	b = appendCounters(b, s)
	b = appendActions(b, flow.OpenFlow10, s.Rule.Actions, 0)
	be.PutUint16(b[start:], uint16(len(b)-start))
	return b, nil
}

func appendFlowStats13(b []byte, s *FlowStats) ([]byte, error) {
	if err := check13(&s.Rule.Match); err != nil {
		return b, err
	}
	if _, err := fitInstructions(&s.Rule, headers{proto: s.Rule.Match.IPProto}); err != nil {
		return b, err
	}
	start := len(b)
	b = append(b, 0, 0, s.Rule.Table, 0)
	b = appendDuration(b, s.Duration)
	b = be.AppendUint16(b, s.Rule.Priority)
	b = be.AppendUint16(b, seconds(s.Rule.IdleTimeout))
	b = be.AppendUint16(b, seconds(s.Rule.HardTimeout))
	b = be.AppendUint16(b, uint16(s.Rule.Flags))
	b = pad(b, 4)
	b = appendCounters(b, s)
	b = appendMatch13(b, &s.Rule.Match)
	b = appendInstructions(b, &s.Rule)
	be.PutUint16(b[start:], uint16(len(b)-start))
	return b, nil
}

func appendCounters(b []byte, s *FlowStats) []byte {
	b = be.AppendUint64(b, s.Rule.Cookie)
	b = be.AppendUint64(b, s.Packets)
	return be.AppendUint64(b, s.Bytes)
}

// ParseFlowStatsReply calls each for every rule in one message of the answer. If each
// returns an error, it stops and returns that error. each may keep the rule's Actions and
// Unknown. A match field that package flow does not have is named in Unknown; an action or
// instruction that it does not have becomes [flow.Unsupported]. If a part of a rule can't be
// read, the rule has what stands before that part, and Unknown says why the rest is missing.
// A wrong length of an entry is an error, as the start of the next entry is then unknown.
func ParseFlowStatsReply(msg []byte, each func(*FlowStats) error) (more bool, err error) {
	v, b, more, err := statsReply(msg, StatsFlow)
	if err != nil {
		return false, err
	}
	shortest := flowStatsLen13
	if v == flow.OpenFlow10 {
		shortest = flowStatsLen10
	}
	for len(b) > 0 {
		if len(b) < shortest {
			return false, short("flow statistics", len(b), shortest)
		}
		n := int(be.Uint16(b))
		if n < shortest || n > len(b) {
			return false, fmt.Errorf("flow statistics: length %d, of %d bytes left", n, len(b))
		}
		s := parseFlowStats(b[:n], v)
		b = b[n:]
		if err := each(&s); err != nil {
			return false, err
		}
	}
	return more, nil
}

// maxUnknown is how many of a rule's unknown fields are named.
const maxUnknown = 8

// parseFlowStats reads an entry of at least the length that all have.
func parseFlowStats(b []byte, v flow.Protocol) (s FlowStats) {
	r := &s.Rule
	r.Table = b[2]
	r.BufferID, r.OutPort = flow.NoBuffer, flow.PortAny
	var err error
	if v == flow.OpenFlow10 {
		s.Duration = durationOf(b[44:])
		r.Priority, r.IdleTimeout, r.HardTimeout = be.Uint16(b[52:]), secondsOf(b[54:]), secondsOf(b[56:])
		r.Cookie, s.Packets, s.Bytes = be.Uint64(b[64:]), be.Uint64(b[72:]), be.Uint64(b[80:])
		if r.Match, err = parseMatch10(b[4:]); err != nil {
			s.Unknown = append(s.Unknown, err.Error())
		}
		r.Actions, err = parseActions(nil, b[flowStatsLen10:], v, r.Match.IPProto)
		s.unreadable(err)
		return s
	}
	s.Duration = durationOf(b[4:])
	r.Priority, r.IdleTimeout, r.HardTimeout = be.Uint16(b[12:]), secondsOf(b[14:]), secondsOf(b[16:])
	r.Flags = flow.RuleFlags(be.Uint16(b[18:]))
	r.Cookie, s.Packets, s.Bytes = be.Uint64(b[24:]), be.Uint64(b[32:]), be.Uint64(b[40:])
	more := 0
	m, rest, err := parseMatch13(b[flowStatsLen13:], func(x rawOXM) error {
		if len(s.Unknown) < maxUnknown {
			s.Unknown = append(s.Unknown, x.String())
		} else {
			more++
		}
		return nil
	})
	if more > 0 {
		s.Unknown = append(s.Unknown, fmt.Sprintf("%d more fields", more))
	}
	r.Match = m
	if err != nil {
		s.Unknown = append(s.Unknown, err.Error())
	}
	if rest == nil && err != nil { // where the match ends is not known
		s.unreadable(errNoActions)
		return s
	}
	s.unreadable(parseInstructions(rest, r, true))
	return s
}

var errNoActions = errors.New("what the rule does can't be told")

// unreadable notes that actions can't be read, and so may do anything.
func (s *FlowStats) unreadable(err error) {
	if err != nil {
		s.Unknown = append(s.Unknown, err.Error())
		s.Rule.Actions = append(s.Rule.Actions, flow.Action{Type: flow.Unsupported, ID: 0xffff})
	}
}
