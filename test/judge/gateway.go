package judge

import (
	"context"
	"fmt"
	"net"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/ofproxy"
)

// gatewayConfig is a gateway for a court.
type gatewayConfig struct {
	function   flow.Decider
	off        []string // names of guardrails that are switched off
	listeners  []net.Listener
	onDecision func(t flow.EventType, xid uint32, cookie uint64) // the answer's messages are in the switch's outbox
}

// AllRails, in place of a rail's name, is a gateway without any guardrail.
const AllRails = "all"

// CanSwitchOff reports whether this gateway can be run without the named guardrail.
func CanSwitchOff(rail string) bool { return rail == AllRails }

// startGateway runs a gateway until stop is called. It is the only place that knows how one is put together.
func startGateway(c gatewayConfig) (stop func(), err error) {
	next := flow.Decider(&decider.Guard{Next: c.function, Rails: decider.DefaultGuardrails()})
	for _, rail := range c.off {
		if !CanSwitchOff(rail) {
			return nil, fmt.Errorf("guardrail %q can't be switched off", rail)
		}
		next = c.function
	}
	srv, err := ofproxy.NewServer(ofproxy.Config{
		Decider:    next,
		Gateway:    1,
		OnDecision: func(r *ofproxy.Record) { c.onDecision(r.Event.Type, r.Event.XID, r.Cookie) },
		Subscribe: map[flow.EventType]bool{
			flow.EventFlowRemoved: true, flow.EventPortStatus: true, flow.EventError: true,
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(c.listeners))
	for _, l := range c.listeners {
		go func() { done <- srv.Serve(ctx, l, false) }()
	}
	return func() {
		cancel()
		for range c.listeners {
			<-done
		}
	}, nil
}
