package function

import (
	"context"

	"switchbridge/flow"
	"switchbridge/flow/contract/compact"
)

// Packets answers packets in the compact encoding, as a guest does that nobody else asks at the
// same time: it keeps one event and one decision.
type Packets struct {
	decider   flow.Decider
	judge     Judge // nil where the decider is none
	decision  flow.Decision
	judgement flow.Judgement
	event     flow.Event
	sw        flow.Switch // the event's, beside it: what is put back after an event is what lies in one place
	packet    flow.PacketIn
}

// Judge is a Decider that can say most decisions in short.
type Judge interface {
	// Judge fills j, or reports false where Decide must be asked.
	Judge(ev *flow.Event, j *flow.Judgement) bool
}

// NewPackets returns a Packets that asks decider.
func NewPackets(decider flow.Decider) *Packets {
	judge, _ := decider.(Judge)
	p := &Packets{decider: decider, judge: judge}
	p.event.Switch, p.event.PacketIn = &p.sw, &p.packet
	return p
}

// Answer appends the answer to an event. What can't be decided, or said, in the compact encoding
// is to be asked in another, which then also says what is wrong.
func (p *Packets) Answer(answer, event []byte) []byte {
	if err := compact.ParseEvent(event, &p.event); err != nil {
		return compact.AppendUnfit(answer)
	}
	if p.judge != nil && p.judge.Judge(&p.event, &p.judgement) {
		if answer, fits := compact.AppendJudgement(answer, &p.judgement); fits {
			return answer
		}
	}
	p.decision.Reset()
	if err := p.decider.Decide(context.Background(), &p.event, &p.decision); err != nil {
		return compact.AppendUnfit(answer)
	}
	answer, fits := compact.AppendDecision(answer, &p.decision)
	if !fits {
		return compact.AppendUnfit(answer)
	}
	return answer
}
