package bridge

import (
	"golang.org/x/time/rate"

	"switchbridge/flow"
)

// How many senders of a switch are told in a second that their packets are refused, and those of one port: nobody's flood may take the others'
// answers. Ports whose numbers leave the same remainder share.
const (
	rejectRate     = 200
	rejectPortRate = 50
	rejectPorts    = 16
)

// rejections bounds what a session tells senders.
type rejections struct {
	all   *rate.Limiter
	ports [rejectPorts]*rate.Limiter
}

func newRejections() *rejections {
	r := &rejections{all: rate.NewLimiter(rejectRate, rejectRate)}
	for i := range r.ports {
		r.ports[i] = rate.NewLimiter(rejectPortRate, rejectPortRate)
	}
	return r
}

func (r *rejections) allow(port flow.PortNo) bool {
	return r.ports[port%rejectPorts].Allow() && r.all.Allow()
}

// reject tells the sender of a packet that is dropped that it was refused, where the decision says so and there may be such an answer.
func (s *Session) reject(j *job) {
	pi := j.ev.PacketIn
	if !j.dec.Reject || pi == nil || j.rec.Err != nil {
		return
	}
	s.m.rejects.WithLabelValues(s.m.protocol, s.sendRejection(pi, len(j.out.Actions) > 0)).Inc()
}

// sendRejection returns what became of it.
func (s *Session) sendRejection(pi *flow.PacketIn, passes bool) (outcome string) {
	port := pi.Match.InPort
	switch {
	case passes:
		return "passes"
	case len(pi.Data) == 0:
		return "no_packet"
	}
	frame, ok := pi.Rejection()
	if !ok || !pi.Match.Has(flow.FieldInPort) || port.Reserved() && port != flow.PortLocal {
		return "silent"
	}
	r := s.rejections.Load()
	if r == nil {
		s.rejections.CompareAndSwap(nil, newRejections())
		r = s.rejections.Load()
	}
	if !r.allow(port) {
		return "shed"
	}
	// It comes by no port, and asks nothing. Its addresses are none of its business: nobody is to learn from it where the other host is.
	answer := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Reason: flow.ReasonAction}
	answer.Match.SetInPort(flow.PortController)
	if s.sw.Write(s.b.Number(), nil, &Packet{In: &answer, Actions: []flow.Action{flow.OutputTo(port)}, Rule: -1}, false) != nil {
		return "failed"
	}
	return "sent"
}
