package bridge

import (
	"fmt"

	"switchbridge/flow"
)

// PLACEHOLDER: versions.go is to have this method with what it knows of versions
// that were seen; delete this file then.

// Rollback takes a version for the newest although its serial is lower.
func (v *Versions) Rollback(version flow.PolicyVersion) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if version.IsZero() || version.Serial >= v.latest.Serial {
		return fmt.Errorf("policy %v is no earlier one than %v, which is in use", version, v.latest)
	}
	v.latest = version
	return nil
}
