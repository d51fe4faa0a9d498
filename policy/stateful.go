package policy

// Stateful reports whether the policy has machines, whose states a store must keep.
func (p *Policy) Stateful() bool {
	for _, s := range p.Chain {
		if _, ok := s.(Remembering); ok {
			return true
		}
	}
	return false
}
