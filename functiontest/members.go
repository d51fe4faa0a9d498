package functiontest

import (
	"encoding/json"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// members are those that the contract has gained, and where an answer says them. A gateway of before refuses an answer that has one,
// whatever its value is.
var members = []struct {
	accepts flow.Accepts
	header  string // of application/openflow; of both encodings where inBoth
	inBoth  bool
	json    string // of the decision, or of its rules where ofRules
	ofRules bool
}{
	{flow.AcceptsCoversIncomplete, contract.HeaderCoversIncomplete, false, "covers_incomplete", true},
	{flow.AcceptsReply, contract.HeaderIfReply, false, "if_reply", false},
	{flow.AcceptsReuse, contract.HeaderReuse, false, "reuse", false},
	{flow.AcceptsReuse, contract.HeaderReply, false, "reply", false},
	{flow.AcceptsTravel, contract.HeaderTravel, false, "travel", false},
	{flow.AcceptsRevoke, contract.HeaderStates, true, "states", false},
	{flow.AcceptsRevoke, contract.HeaderRevoke, true, "revoke", false},
}

// unaccepted is the name of a member that the answer has and its gateway does not accept; empty where there is none. A body that can't be
// read has none.
func unaccepted(a *answer) string {
	var body map[string]json.RawMessage
	var rules []map[string]json.RawMessage
	isJSON := a.codec.ContentType() == contract.TypeJSON
	if isJSON && len(a.body) > 0 {
		_ = json.Unmarshal(a.body, &body)         // the codec says what is wrong with it
		_ = json.Unmarshal(body["flows"], &rules) // likewise
	}
	for _, m := range members {
		if a.ev.Accepts&m.accepts != 0 {
			continue
		}
		if (!isJSON || m.inBoth) && a.header.Get(m.header) != "" {
			return m.header
		}
		if _, ok := body[m.json]; ok && !m.ofRules {
			return m.json
		}
		for _, r := range rules {
			if _, ok := r[m.json]; ok && m.ofRules {
				return m.json
			}
		}
	}
	return ""
}
