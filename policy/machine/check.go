package machine

import states "switchbridge/state"

// CheckValue says whether bytes from a store are a state of any machine: [state.ErrCorrupt] or [state.ErrNewer] if not. It is for whoever
// counts; the machine itself looks again, and more closely.
func CheckValue(b []byte) error {
	switch whole(b) {
	case "":
		return nil
	case faultNewer:
		return states.ErrNewer
	}
	return states.ErrCorrupt
}
