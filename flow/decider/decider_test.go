package decider

import (
	"context"

	"switchbridge/flow"
	"switchbridge/internal/flowtest"
)

// The event and the rule that the tests ask about.
var (
	testSwitch  = flowtest.Switch
	tcpPacket   = flowtest.TCP
	packetEvent = flowtest.Event
	goodRule    = flowtest.Rule

	macA = flowtest.MACA
)

const portA, portB = flowtest.PortA, flowtest.PortB

// answer is a Decider that always gives the same rules.
func answer(rules ...flow.Rule) flow.Decider {
	return flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
		d.Rules = append(d.Rules, rules...)
		return nil
	})
}

// failing is a Decider that never answers.
func failing(err error) flow.Decider {
	return flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error { return err })
}

// local is a Decider that says it is in process.
type local struct{ flow.DeciderFunc }

func (local) Local() bool { return true }
