// Package ofp is the OpenFlow codec. It turns messages of version 1.0 (wire version
// 0x01) and 1.3 (0x04) into the types of package flow and back. It has no sockets, no
// goroutines and no state.
//
// Every Append function appends one whole message, with its header, to b and
// returns the longer slice. If it fails, it returns b unchanged. Every Parse
// function reads one whole message, as long as its header says. It checks each
// length before it uses it: no input makes it panic, or use more memory than a
// small multiple of the message. Parsed slices share the message's memory only
// if the function's comment says so.
//
// If a version can't express something, the functions return an
// [UnsupportedError]. They never write something wider instead: a rule for IPv6
// addresses does not become a rule for every packet because the switch speaks 1.0.
//
// [Fit], [FitActions] and [FitPacketOut] return that error before anything is
// written, and also an error for what can be written but a switch would refuse.
// The Append functions make the same checks. A real Open vSwitch accepts what
// passes them.
//
// PACKET_IN, FLOW_MOD and PACKET_OUT are read and written without allocation, as
// there may be a hundred thousand a second. The messages that a 1.3 session sends
// a few times in its life are encoded by github.com/netrack/openflow/ofp, in one
// file, netrack.go.
//
// Not implemented, because no part of Switchbridge uses it: groups, the
// configuration of queues, table features, asynchronous configuration,
// experimenters, and actions and match fields of MPLS and PBB. They are read as
// unsupported.
//
// Section numbers are those of OpenFlow Switch Specification 1.3.5 and of
// 1.0.0.
package ofp
