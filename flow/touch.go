package flow

// Touch says what a change of policy is to packets.
type Touch uint8

const (
	Untouched Touch = iota // all of them are decided as before
	Changed                // some of them are decided differently
	Denied                 // some of them were let pass, and are not any more
)

// Scope is for which packets two policies decide differently. It is safe for concurrent use.
type Scope interface {
	// Touches says what the change is to the packets that a rule with match m covers, and to those that answer them. It may say more than is
	// so, and never less.
	Touches(m *Match) Touch
}

// Region is packets that a change of policy touches, as a match. There may be others among them, since a match says less than a policy can.
type Region struct {
	Match Match
	Touch Touch
}

// Regions are a [Scope] that crosses a network.
type Regions []Region

// Touches implements [Scope].
func (list Regions) Touches(m *Match) (t Touch) {
	q, asks := m.Question()
	for i := range list {
		r := &list[i]
		if r.Touch > t && (r.Match.Overlaps(m) || asks && r.Match.Overlaps(&q)) {
			t = r.Touch
		}
	}
	return t
}
