package ofp

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"switchbridge/flow"
)

// seed adds the messages of the given types, and all that is known to be
// malformed about them.
func seed(f *testing.F, types ...Type) {
	for _, m := range messages {
		msg := unhex(f, m.hex)
		h, err := ParseHeader(msg)
		if err != nil {
			f.Fatal(err)
		}
		for _, t := range types {
			if h.Type == t {
				f.Add(msg)
				f.Add(msg[:len(msg)-1])
			}
		}
	}
}

// whole gives a fuzzer's message the length that it has, so that the fuzzer
// gets past the first check.
func whole(msg []byte) []byte {
	if len(msg) >= HeaderLen && len(msg) <= maxLen {
		be.PutUint16(msg[2:], uint16(len(msg)))
	}
	return msg
}

// roundTrip holds a codec to its promise: what parses is either written as
// something that parses to the same, or refused for a reason that may be.
func roundTrip[T any](t *testing.T, msg []byte, parse func([]byte, *T) error, encode func(v flow.Protocol, value *T) ([]byte, error)) {
	t.Helper()
	var first T
	if parse(whole(msg), &first) != nil {
		return
	}
	b, err := encode(flow.Protocol(msg[0]), &first)
	if err != nil {
		if errors.Is(err, errTooLong) {
			t.Fatalf("what came in one message goes into no message: %+v", first)
		}
		return // a prerequisite that lacks, an action that is unsupported
	}
	var second T
	if err := parse(b, &second); err != nil {
		t.Fatalf("%x parses to %+v, which is written as %x, which does not parse: %v", msg, first, b, err)
	}
	if d := cmp.Diff(first, second, netipEqual); d != "" {
		t.Fatalf("%x and %x parse to different values (-first +second):\n%s", msg, b, d)
	}
}

func FuzzFlowMod(f *testing.F) {
	seed(f, TypeFlowMod)
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, msg, ParseFlowMod, func(v flow.Protocol, r *flow.Rule) ([]byte, error) { return AppendFlowMod(nil, v, 1, r, r.BufferID) })
	})
}

func FuzzPacketOut(f *testing.F) {
	seed(f, TypePacketOut)
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, msg, func(b []byte, p *PacketOut) error {
			err := ParsePacketOut(b, p)
			if p.InPort == 0 || p.InPort == flow.PortAny { // written as the version's word for none
				p.InPort = flow.PortController
			}
			if len(p.Data) == 0 {
				p.Data = nil
			}
			return err
		}, func(v flow.Protocol, p *PacketOut) ([]byte, error) { return AppendPacketOut(nil, v, 1, p) })
	})
}

func FuzzPacketIn(f *testing.F) {
	seed(f, TypePacketIn)
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, msg, ParsePacketIn, func(v flow.Protocol, p *flow.PacketIn) ([]byte, error) { return AppendPacketIn(nil, v, 1, p) })
	})
}

func FuzzFlowRemoved(f *testing.F) {
	seed(f, TypeFlowRemoved)
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, msg, ParseFlowRemoved, func(v flow.Protocol, r *flow.FlowRemoved) ([]byte, error) {
			if err := CheckMatch(v, &r.Match); err != nil {
				return nil, err
			}
			return AppendFlowRemoved(nil, v, 1, r), nil
		})
	})
}

func FuzzFlowStats(f *testing.F) {
	seed(f, TypeStatsReply, TypeStatsRequest)
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, msg, func(b []byte, p *parsedStats) error {
			v, err := parseStats(b)
			*p = v.(parsedStats)
			return err
		}, func(v flow.Protocol, p *parsedStats) ([]byte, error) {
			return AppendFlowStatsReply(nil, v, 1, p.Rules, p.More)
		})
		_, _ = ParseFlowStatsReply(msg, func(s *FlowStats) error {
			if text := s.String(); len(s.Unknown) > maxUnknown+3 || len(text) > 100*len(msg)+1000 {
				t.Fatalf("%x has a rule of %d unknown fields: %s", msg, len(s.Unknown), text)
			}
			return nil
		})
		roundTrip(t, msg, ParseFlowStatsRequest, func(v flow.Protocol, q *FlowStatsRequest) ([]byte, error) {
			return AppendFlowStatsRequest(nil, v, 1, q)
		})
	})
}

// FuzzSwitch takes what a switch says of itself, its ports and its errors.
func FuzzSwitch(f *testing.F) {
	seed(f, TypeHello, TypeError, TypeFeaturesReply, TypePortStatus, TypeStatsReply, TypeRoleRequest, TypeRoleReply, TypeSetConfig, TypeGetConfigReply)
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, msg, ParseFeaturesReply, func(v flow.Protocol, sw *flow.Switch) ([]byte, error) {
			return AppendFeaturesReply(nil, v, 1, sw), nil
		})
		roundTrip(t, msg, ParsePortStatus, func(v flow.Protocol, p *flow.PortStatus) ([]byte, error) { return AppendPortStatus(nil, v, 1, p), nil })
		roundTrip(t, msg, func(b []byte, ports *[]flow.Port) (err error) {
			*ports, _, err = ParsePortDescReply(b)
			return err
		}, func(_ flow.Protocol, ports *[]flow.Port) ([]byte, error) {
			return AppendPortDescReply(nil, 1, *ports), nil
		})
		roundTrip(t, msg, func(b []byte, d *Desc) (err error) { *d, err = ParseDescReply(b); return err },
			func(v flow.Protocol, d *Desc) ([]byte, error) { return AppendDescReply(nil, v, 1, *d), nil })
		roundTrip(t, msg, func(b []byte, e *flow.SwitchError) (err error) {
			if *e, err = ParseError(b); err == nil {
				e.XID = 1
			}
			return err
		}, func(v flow.Protocol, e *flow.SwitchError) ([]byte, error) {
			return AppendError(nil, v, 1, e.Type, e.Code, e.Data), nil
		})
		if versions, err := ParseHello(msg); err == nil && versions == 0 && msg[0] != 0 {
			t.Fatalf("%x offers no version", msg)
		}
		if e, err := ParseError(msg); err == nil {
			if text := ErrorText(&e); len(text) > maxErrorText || strings.ContainsFunc(text, func(r rune) bool { return r > '~' || r == 0x1b }) {
				t.Fatalf("%x has the text %q", msg, text)
			}
		}
		_, _, _ = ParseStatsType(msg)
		_, _, _ = ParseRole(msg)
		_, _ = ParseConfig(msg)
	})
}
