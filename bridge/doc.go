// Package bridge is what the gateway does for every switch, in whatever protocol.
// It numbers events, bounds and queues them, asks for decisions, checks the answers
// against the guardrails, and writes their rules to the switch. Later it removes
// rules that the policy no longer decides.
//
//	PACKET_IN -> admit -> coalesce -> queue -> decide -> guard -> write -> release the packet
//
// A protocol's package (ofproxy, p4bridge) owns the connection. It makes a
// [Session] for each switch, implements [Switch] for it, and tells the session
// what the switch says: a packet, a removed rule, a port, a refused rule. It
// knows nothing of functions, policies and cookies.
//
// Limits: one gateway has one Bridge. A session's PacketIn and Event are called
// by one goroutine, the owner of the connection; everything else in this
// package may be called by any.
package bridge
