// Package kinds is the list of the kinds of policy. Whoever reads policy files or compiled policies asks it.
package kinds

import (
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/mac"
	"switchbridge/policy/machine"
	"switchbridge/policy/sourceguard"
)

// All are the kinds of policy, in the order in which errors name them and in which the conformance suite has an example of each in one
// chain. Forward decides whatever reaches it, so it is the last.
var All = []policy.Kind{
	blocklist.Kind{},
	header.Kind{},
	mac.Kind{},
	sourceguard.Kind{},
	machine.Kind{},
	forward.Kind{},
}

// Named returns the kind of that name, or nil.
func Named(name string) policy.Kind {
	for _, k := range All {
		if k.Name() == name {
			return k
		}
	}
	return nil
}

// Coded returns the kind whose entries are of that code in a compiled policy, or nil.
func Coded(code byte) policy.Kind {
	for _, k := range All {
		if k.Code() == code {
			return k
		}
	}
	return nil
}
