package flow

import "time"

// Reuse is a function's promise that its answer holds for other packets, too: for so long, every packet with the same values in Fields gets
// the same answer, whichever port of whichever switch it comes by. The zero value promises nothing.
type Reuse struct {
	For    time.Duration // since the question, in whole seconds on the wire; a gateway cuts it to [MaxReuse]
	Fields Field         // in_port may be among them
	Switch bool          // the answer is for packets of the same switch only

	// Reply, beside an allow, is what becomes of a packet that answers this one, whatever it has in fields outside of [Conversation] and
	// by whichever port of whichever switch it comes: it is denied unless it is a reply, as with [Decision.IfReply]. Its rules have no
	// in_port. nil: nothing is said.
	Reply *Reply
}

// MaxReuse is the longest that an answer is used again.
const MaxReuse = 60 * time.Second

// Anywhere reports whether a list of actions means the same on every switch: a drop, or an output to NORMAL or FLOOD. Ports and queues
// are a switch's own.
func Anywhere(actions []Action) bool {
	for i := range actions {
		if a := &actions[i]; a.Type != Output || a.Port != PortNormal && a.Port != PortFlood {
			return false
		}
	}
	return true
}

// Anywhere reports whether what a rule does means the same on every switch. Meters and further tables are a switch's own, too.
func (r *Rule) Anywhere() bool { return r.Meter == 0 && r.Goto == 0 && Anywhere(r.Actions) }

// Prerequisites returns f and the fields that those in f stand on (OpenFlow 1.3.5, 7.2.3.8). Of a packet that lacks one of f, their
// values say why.
func (f Field) Prerequisites() Field {
	if f&NeedNeighbor.Fields() != 0 {
		f |= icmpFields
	}
	if f&(portFields|icmpFields) != 0 {
		f |= FieldIPProto
	}
	if f&NeedTag.Fields() != 0 {
		f |= FieldVLAN
	}
	if f&^(FieldInPort|FieldEthSrc|FieldEthDst|FieldVLAN|FieldVLANPCP) != 0 {
		f |= FieldEthType
	}
	return f
}
