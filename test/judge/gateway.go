package judge

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"switchbridge/bridge"
	"switchbridge/bridge/guard"
	"switchbridge/flow"
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

// lookInterval is how often the gateway reads the switch's tables, so that it knows the rules of others.
const lookInterval = 10 * time.Millisecond

// startGateway runs a gateway until stop is called. It is the only place that knows how one is put together.
func startGateway(c gatewayConfig) (stop func(), err error) {
	rails := guard.Default()
	rails.Off = make(map[guard.Rail]bool)
	for _, rail := range c.off {
		if rail == AllRails {
			for _, name := range guard.Names() {
				rails.Off[name] = true
			}
			continue
		}
		if !slices.Contains(guard.Names(), guard.Rail(rail)) {
			return nil, fmt.Errorf("there is no guardrail %q", rail)
		}
		rails.Off[guard.Rail(rail)] = true
	}
	b, err := bridge.New(bridge.Config{
		Decider:      c.function,
		Guardrails:   rails,
		Gateway:      1,
		LookInterval: lookInterval,
		OnDecision:   func(r *bridge.Record) { c.onDecision(r.Event.Type, r.Event.XID, r.Cookie) },
		Subscribe: map[flow.EventType]bool{
			flow.EventFlowRemoved: true, flow.EventPortStatus: true, flow.EventError: true,
		},
	})
	if err != nil {
		return nil, err
	}
	srv, err := ofproxy.NewServer(ofproxy.Config{Bridge: b})
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
