// Package p4bridge connects P4Runtime switches to package bridge: digests and
// punted packets become its packets, and the rules that it writes become table
// entries.
//
// A [Session] is one switch. It dials, arbitrates, pushes the pipeline where the
// switch does not run it yet, and serves until the stream breaks; then it starts
// again from the top. One goroutine, the one in serve, makes a session's writes; a
// reader and a sender goroutine keep the stream moving, so that a slow decision
// never stalls the switch's data plane, which would wait for a controller that
// does not read.
//
// The program is described by package pipeline, and what its tables and actions
// mean by package mapping. Package p4test holds a target for tests.
//
// Limitations: the session reads one digest, and rules can't name meters or groups of
// OpenFlow. P4Runtime has no hard timeouts, so the session measures them itself; for
// entries that it finds in a switch it starts them anew.
package p4bridge
