package ofp

import "switchbridge/flow"

// Fit: a stand-in until the checks are merged.
func Fit(v flow.Protocol, r *flow.Rule) error {
	var buf [512]byte
	_, err := AppendFlowMod(buf[:0], v, 1, r, flow.NoBuffer)
	return err
}

// FitActions: a stand-in.
func FitActions(v flow.Protocol, actions []flow.Action) error { return nil }
