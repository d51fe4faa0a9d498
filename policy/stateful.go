package policy

// Stateful reports whether the policy has entries whose states a store must keep.
func (p *Policy) Stateful() bool {
	for _, s := range p.Chain {
		if r, ok := s.(Remembering); ok && r.Remembers() {
			return true
		}
	}
	return false
}

// CantTravel says why the states of the policy must not travel with events; nothing where they may.
func (p *Policy) CantTravel(pair bool) (why []string) {
	for _, s := range p.Chain {
		if r, ok := s.(Remembering); ok && r.Remembers() {
			why = append(why, r.CantTravel(pair)...)
		}
	}
	return why
}

// StalenessNote is what a kind's Notes say of what rests on states that events of several switches change.
func StalenessNote(what string) string {
	return "where several gateways share a store, rules of " + what + " live no longer than state.staleness (5s by default): packets of another gateway may change the states that they rest on"
}
