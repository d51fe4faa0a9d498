package bench

import (
	"fmt"
	"time"

	"switchbridge/internal/netns"
)

// delay holds every packet back by tc's netem. A round trip crosses the loopback
// interface twice.
func delay(ns *netns.Namespace, oneWay, jitter time.Duration) error {
	args := []string{"tc", "qdisc", "replace", "dev", "lo", "root", "netem", "limit", "100000", "delay", fmt.Sprintf("%dus", oneWay.Microseconds())}
	if jitter > 0 {
		args = append(args, fmt.Sprintf("%dus", jitter.Microseconds()))
	}
	return ns.Run(args...)
}

// NetemMissing says why the kernel can't emulate distance here, or is nil: it
// takes the right to make a network namespace, ip and tc of iproute2, and the
// kernel's module sch_netem.
func NetemMissing() error {
	ns, err := netns.New()
	if err != nil {
		return err
	}
	defer ns.Close()
	return delay(ns, time.Millisecond, 0)
}
