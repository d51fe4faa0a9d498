// Package bridge is what the gateway does for every switch, whatever protocol
// the switch speaks: it numbers events, bounds and queues them, has them
// decided, holds the answers to the guardrails, versions their rules, hands
// them to the switch and keeps what was handed over right afterwards.
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
