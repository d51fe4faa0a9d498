package machine

import "switchbridge/flow"

// NeedsSources reports whether a machine has states of sources, or is moved by packets of certain ones: who forges an address moves another's
// machine then. See [switchbridge/policy.Policy.Warnings].
func (c *Config) NeedsSources() bool {
	const sources = flow.FieldEthSrc | flow.FieldIPSrc | flow.FieldARPSPA
	for i := range c.Machines {
		m := &c.Machines[i]
		if k := m.Key; k == Flow || k == Connection || k == Src || k == Pair {
			return true
		}
		for j := range m.Transitions {
			if p := m.Transitions[j].Packet; p != nil && fieldsOf(&p.Match, p.Or)&sources != 0 {
				return true
			}
		}
	}
	return false
}
