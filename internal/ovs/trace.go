package ovs

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// Trace is what a bridge would do with a frame, as ofproto/trace says. Nothing is sent.
type Trace struct {
	// Flow is how Open vSwitch classified the frame: "tcp,in_port=1,vlan_tci=0x0000,...".
	Flow string
	// Rules are those that the frame met, in order. A table without one for it gives none.
	Rules []TraceRule
	// Actions are the datapath's: "drop", "2", "push_vlan(vid=5,pcp=0),100,2".
	Actions string
	Text    string // all that ofproto/trace printed
}

// TraceRule is a rule that a frame met.
type TraceRule struct {
	Rule    string // with its table: "0. tcp,tp_dst=80, priority 5, cookie 0x99"
	Cookie  string // "0x99"; "" is 0
	Actions string // its first action: "drop", "NORMAL", "output:2"
}

// Trace asks what the bridge would do with a frame that comes in by a port.
func (c *Control) Trace(bridge string, inPort uint32, frame []byte) (Trace, error) {
	text, err := c.Call("ofproto/trace", bridge, fmt.Sprintf("in_port=%d", inPort), hex.EncodeToString(frame))
	if err != nil {
		return Trace{}, err
	}
	return parseTrace(text)
}

var traceRule = regexp.MustCompile(`^ *\d+\. .*priority \d+(?:, cookie (0x[0-9a-f]+))?`)

func parseTrace(text string) (Trace, error) {
	t := Trace{Text: text}
	inRule := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if inRule {
			t.Rules[len(t.Rules)-1].Actions = strings.TrimSpace(line)
			inRule = false
			continue
		}
		if v, ok := strings.CutPrefix(line, "Flow: "); ok {
			t.Flow = v
		} else if v, ok := strings.CutPrefix(line, "Datapath actions: "); ok {
			t.Actions = v
		} else if m := traceRule.FindStringSubmatch(line); m != nil {
			t.Rules = append(t.Rules, TraceRule{Rule: strings.TrimSpace(line), Cookie: m[1]})
			inRule = true
		}
	}
	if t.Flow == "" || t.Actions == "" {
		return t, fmt.Errorf("ofproto/trace: no flow or no datapath actions in %q", text)
	}
	return t, nil
}

// Forwards says whether the frame, or a copy of it, would leave by a port. Sent to the controller alone
// it does not. An action that is not known here counts as one that forwards.
func (t *Trace) Forwards() bool {
	for _, a := range topLevel(t.Actions) {
		name, _, _ := strings.Cut(a, "(")
		switch name {
		case "drop", "userspace", "set", "push_vlan", "pop_vlan", "meter", "trunc", "hash":
		default:
			return true
		}
	}
	return false
}

// topLevel splits a list at the commas that are in no parentheses.
func topLevel(list string) (parts []string) {
	depth, start := 0, 0
	for i, c := range list {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, list[start:i])
			start = i + 1
		}
	}
	return append(parts, list[start:])
}
