// Package eval says what a policy decides for the flows of a capture, and why,
// without a switch: the logic of "policy eval".
package eval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/replay/capture"
)

// Options are what a capture does not tell.
type Options struct {
	Protocol flow.Protocol // of the switch that is imagined; 0 is OpenFlow 1.3
	InPort   flow.PortNo   // by which packets come in; 0 is port 1
}

// MaxFlows bounds how many flows a report holds.
const MaxFlows = 1 << 20

// Flow is one direction of a conversation: packets that differ in no header
// that a policy can look at.
type Flow struct {
	First   int           `json:"first_packet"` // its number in the capture, from 1
	File    string        `json:"file"`
	Offset  time.Duration `json:"offset_ns"` // of the first packet, since the capture began
	Packets int           `json:"packets"`
	Bytes   int64         `json:"bytes"` // on the wire

	// Of a policy with machines, which may decide a flow's packets differently: how many of them were asked about, since no
	// rule of an earlier answer for the flow was in the switch any more, and how many were denied.
	Asked         int `json:"asked,omitempty"`
	PacketsDenied int `json:"packets_denied,omitempty"`

	// Of records of decisions: what was decided of the first packet, and of how many packets something else than here.
	Was       string `json:"was,omitempty"`
	WasReason string `json:"was_reason,omitempty"`
	Differs   int    `json:"differs,omitempty"`

	Match    string   `json:"match"`
	Verdict  string   `json:"verdict"` // of the first packet, as all that follows
	Reason   string   `json:"reason"`
	Actions  string   `json:"actions"` // what the first packet does
	Rules    []string `json:"rules"`   // what is installed
	headers  flow.Match
	decision flow.Verdict
	standing standing
}

// Move is a change of a machine's state.
type Move struct {
	Packet int           `json:"packet"` // that made it, by its number in the capture
	File   string        `json:"file"`
	Offset time.Duration `json:"offset_ns"`
	Key    string        `json:"key"` // the machine, and whose state it is
	From   string        `json:"from"`
	To     string        `json:"to"`
}

// Headers returns the first packet's headers.
func (f *Flow) Headers() *flow.Match { return &f.headers }

// Report is what a policy decides for a capture.
type Report struct {
	Policy    string   `json:"policy"`
	Chain     []string `json:"chain"` // what each entry does, in words
	Packets   int      `json:"packets"`
	Truncated int      `json:"truncated"`   // packets of which the capture holds a part
	Bad       int      `json:"bad_records"` // of the capture, that were left out since they can't be
	Allowed   int      `json:"allowed"`     // flows
	Denied    int      `json:"denied"`
	Flows     []*Flow  `json:"flows"` // by first packet

	// Of records of decisions: how many of the packets were decided at all, and of how many something else than here.
	Decided int `json:"decided,omitempty"`
	Differs int `json:"differs,omitempty"`

	Moves  []Move         `json:"moves,omitempty"`
	States map[string]int `json:"states,omitempty"` // after the last packet: how many keys of a machine are in a state, by "machine: state"
}

// keyFields are the headers that policies look at.
const keyFields = flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN |
	flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Src | flow.FieldL4Dst |
	flow.FieldICMPType | flow.FieldICMPCode | flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA

// flowKey tells flows apart: a capture is of one switch.
type flowKey struct {
	dpid flow.DPID
	flow.Match
}

// EvalPCAP asks c about each flow of the captures, or records of decisions, that r reads. Where reading
// fails in the middle, or there are more than [MaxFlows] flows, the report of
// what came before is returned beside the error.
func EvalPCAP(ctx context.Context, c *controller.Controller, r *capture.Reader, opt Options) (*Report, error) {
	if opt.Protocol == 0 {
		opt.Protocol = flow.OpenFlow13
	}
	if opt.InPort == 0 {
		opt.InPort = 1
	}
	report := &Report{Policy: c.Version().String(), Flows: []*Flow{}}
	for _, entry := range c.Policy().Chain {
		report.Chain = append(report.Chain, entry.Name()+": "+entry.Explain())
	}
	flows := make(map[flowKey]*Flow)
	sw := &flow.Switch{DPID: 1, Protocol: opt.Protocol}
	trial, open := NewTrial(c), conversations{}
	var d flow.Decision
	var now time.Time
	defer func() { report.States = trial.inStates(now) }()
	for ctx.Err() == nil {
		p, err := r.Next()
		report.Bad = r.Bad
		if errors.Is(err, io.EOF) {
			return report, nil
		}
		if err != nil {
			return report, err
		}
		report.Packets++
		if p.Truncated() {
			report.Truncated++
		}
		inPort := opt.InPort
		if p.Decided != nil {
			inPort = p.InPort
			if sw.DPID != p.Decided.DPID {
				sw = &flow.Switch{DPID: p.Decided.DPID, Protocol: opt.Protocol}
			}
		}
		headers := flow.Parser{}.Parse(p.Frame, p.WireLen, inPort)
		key := flowKey{sw.DPID, headers.Keep(keyFields)}
		f := flows[key]
		if f == nil && len(flows) == MaxFlows {
			return report, fmt.Errorf("%s: packet %d: more than %d flows", p.File, p.Number, MaxFlows)
		}
		if p.Time.After(now) {
			now = p.Time
		}
		if f == nil || p.Decided != nil || c.Stateful() && !f.standing.covers(trial, now) {
			ev := flow.Event{Type: flow.EventPacketIn, Switch: sw, Time: now, PacketIn: &flow.PacketIn{
				BufferID: flow.NoBuffer, TotalLen: p.WireLen, Match: headers, Data: p.Frame, Incomplete: headers.Missing(),
			}}
			d.Reset()
			if err := trial.Decide(ctx, &ev, &d); err != nil {
				return report, fmt.Errorf("%s: packet %d: %w", p.File, p.Number, err)
			}
			open.settle(&ev, &d)
			if move, ok := trial.moved(&ev, &d); ok {
				move.Packet, move.File, move.Offset = p.Number, p.File, p.Offset
				report.Moves = append(report.Moves, move)
			}
			if f == nil {
				f = &Flow{First: p.Number, File: p.File, Offset: p.Offset, headers: headers, Match: key.String()}
				f.decided(&d)
				if f.decision == flow.Allow {
					report.Allowed++
				} else {
					report.Denied++
				}
				flows[key] = f
				report.Flows = append(report.Flows, f)
			}
			f.standing.take(trial, &ev, &d)
			if c.Stateful() {
				f.Asked++
			}
		}
		if was := p.Decided; was != nil && was.Err == "" {
			if f.Was == "" {
				f.Was, f.WasReason = was.Verdict.String(), was.Reason
			}
			report.Decided++
			if f.standing.verdict != was.Verdict {
				f.Differs++
				report.Differs++
			}
		}
		if f.standing.last = now; c.Stateful() && f.standing.verdict != flow.Allow {
			f.PacketsDenied++
		}
		f.Packets++
		f.Bytes += int64(p.WireLen)
	}
	return report, context.Cause(ctx)
}

func (f *Flow) decided(d *flow.Decision) {
	actions, _ := d.PacketActions(&f.headers)
	f.decision, f.Verdict, f.Reason = d.Verdict, d.Word(), d.Reason
	f.Actions = flow.ActionsString(actions)
	f.Rules = make([]string, len(d.Rules))
	for i := range d.Rules {
		f.Rules[i] = d.Rules[i].String()
	}
}
