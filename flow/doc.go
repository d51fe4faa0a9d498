// Package flow holds the nouns that every part of Switchbridge speaks, and the
// seam between switches and controllers.
//
// A switch's session (ofproxy, p4bridge) turns what its switch reports into an
// [Event]; a [Decider] answers it with a [Decision]; the session turns the
// decision's [Rule] and [Action] values into the switch's own protocol. A
// [Match] describes both a rule's condition and, filled by [ParseFrame], a
// packet's headers, so that an OpenFlow frame and a P4 digest look alike to a
// policy.
//
// The nouns are version-neutral. Port numbers are those of OpenFlow 1.3 (32
// bits); OpenFlow 1.0's 16-bit reserved ports are translated where its messages
// are read and written. Nothing here does input or output, and nothing here
// reads a clock: the package also runs inside a WebAssembly guest, so it
// imports neither net nor encoding/json.
//
// A [Match] is comparable: two packets with equal headers make equal matches,
// which is what coalescing keys on. IP fields are [net/netip.Prefix] values, so
// that a mask which is not a prefix can't be expressed and is refused where it
// is read, never widened.
package flow
