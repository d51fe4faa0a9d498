package contract

import (
	"iter"
	"math/bits"

	"switchbridge/flow"
)

// acceptNames are the members that a gateway may say it takes, by their bits in
// [flow.Accepts]. To add one is a line here and one there.
var acceptNames = [...]string{
	"covers_incomplete",
	"reply",
	"revoke",
	"reuse",
	"travel",
	"reject",
	"log",
}

// AcceptNames are the names of the members in a.
func AcceptNames(a flow.Accepts) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := a & flow.AcceptsAll; rest != 0; rest &= rest - 1 {
			if !yield(acceptNames[bits.TrailingZeros32(uint32(rest))]) {
				return
			}
		}
	}
}

// AcceptNamed returns the member of a name; 0 for one that is not known here.
func AcceptNamed(name string) flow.Accepts {
	for i, known := range acceptNames {
		if name == known {
			return 1 << i
		}
	}
	return 0
}

var acceptsAll = join(AcceptNames(flow.AcceptsAll))

// AcceptsText is the value of [HeaderAccepts].
func AcceptsText(a flow.Accepts) string {
	if a == flow.AcceptsAll {
		return acceptsAll
	}
	return join(AcceptNames(a))
}

// parseAccepts is AcceptsText's inverse. Names that are not known here are
// passed over.
func parseAccepts(s string) (a flow.Accepts) {
	if s == acceptsAll {
		return flow.AcceptsAll
	}
	for name := range list(s) {
		a |= AcceptNamed(name)
	}
	return a
}

// SetMembers sets what an event's headers, or a guest's envelope, say beside a
// body that has been parsed: the values of [HeaderAccepts] and
// [HeaderIncomplete], empty where absent.
//
// A gateway that says what it accepts also says what is incomplete, so its word
// counts. Without it stays what the body's decoder has found out.
func SetMembers(ev *flow.Event, accepts, incomplete string) {
	ev.Accepts |= parseAccepts(accepts)
	if ev.PacketIn != nil && (accepts != "" || incomplete != "") {
		ev.PacketIn.Incomplete = parseIncomplete(incomplete)
	}
}

// CoversIncomplete reports whether an answer to ev says [HeaderCoversIncomplete]:
// it has rules, all are made to cover incomplete packets, and the gateway takes it.
func CoversIncomplete(ev *flow.Event, d *flow.Decision) bool {
	if ev.Accepts&flow.AcceptsCoversIncomplete == 0 || len(d.Rules) == 0 {
		return false
	}
	for i := range d.Rules {
		if !d.Rules[i].CoversIncomplete {
			return false
		}
	}
	return true
}

// SetCoversIncomplete makes it so for all rules of d.
func SetCoversIncomplete(d *flow.Decision, covers bool) {
	for i := range d.Rules {
		d.Rules[i].CoversIncomplete = covers
	}
}
