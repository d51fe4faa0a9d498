// Package jsonenc is the contract's application/json (docs/contract.md), for
// functions written by anyone in any language. Rules are in the format that
// Ryu's ofctl_rest made the convention.
//
// Reading an answer is strict: a member, field or action that isn't known is an
// error that says where it stands ("flows[3].match.ipv4_src"), since a rule of
// which a part was ignored does something else than its author meant. Reading
// an event ignores members that it doesn't know, so that the contract can grow,
// except in a match: a packet of which a header was overlooked could slip past
// a rule that denies it.
//
// Limitations: IP masks must be prefixes, MPLS, PBB and IPv6 extension headers
// have no field, and actions are those of [switchbridge/flow.ActionType].
package jsonenc
