// Package ofp is the OpenFlow codec: messages of version 1.0 (wire version
// 0x01) and 1.3 (0x04) to the nouns of package flow and back. It holds no
// sockets, no goroutines and no state.
//
// Every Append function appends one whole message, header included, to b and
// returns the longer slice; where it fails it returns b as it was. Every Parse
// function takes one whole message, as long as its header says, and checks
// each length inside before it believes it: no input makes it panic or take
// more memory than a small multiple of the message. Parsed slices alias the
// message only where a function says so.
//
// What a version can't express is an [UnsupportedError], never something
// wider: a rule for IPv6 addresses does not become a rule for every packet
// because the switch speaks 1.0.
//
// [Fit], [FitActions] and [FitPacketOut] give that error beforehand, and for
// what a switch would refuse though it can be written. They are the checks that
// the Append functions make; what they let pass, a real Open vSwitch takes.
//
// PACKET_IN, FLOW_MOD and PACKET_OUT, which go by a hundred thousand a second,
// are read and written here without allocation. What a session sends a few
// times in its life in 1.3 is encoded by github.com/netrack/openflow/ofp, in
// one file, netrack.go.
//
// Left out, because no part of Switchbridge speaks it: groups, queues'
// configuration, table features, asynchronous configuration, experimenters, and
// actions and match fields of MPLS and PBB. They are read as unsupported.
//
// Section numbers are those of OpenFlow Switch Specification 1.3.5 and of
// 1.0.0.
package ofp
