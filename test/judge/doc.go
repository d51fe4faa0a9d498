// Package judge asks Open vSwitch itself whether the gateway lets pass what was denied.
//
// A [Court] is a private Open vSwitch on the dummy datapath with a gateway in this process. A [Case] is
// one event and a function's answer to it. The court makes the switch report the event, lets the gateway
// do what it does with the answer, and when the switch has all of it asks ofproto/trace about packets near
// the rules: none that the answer, or the function, denies may be forwarded. It may be dropped, or
// sent to the gateway, which is to be asked again.
//
// Cases are made from a number alone (generate.go), so that a leak's number is enough to see it again.
// What is denied stands in oracle.go, and it reads packets as Open vSwitch classifies them. The
// gateway's own guardrails, its codec and its parser of frames take no part in the verdict.
//
// Limitations: frames under 14 bytes can't reach a port of the dummy datapath. What happens between the
// moment in which a switch has an allow and the moment in which it refuses the deny above it is not looked at.
package judge
