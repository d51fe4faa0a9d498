// Package p4test is an in-memory P4Runtime target for tests: the server side of
// P4Runtime over a listener of the test's own, and a small data plane that
// behaves as switchbridge.p4 does.
//
// It behaves as BMv2's simple_switch_grpc does: any failed update gives the
// status UNKNOWN with one error for each update, a full table is UNKNOWN and
// not RESOURCE_EXHAUSTED, the next backup is promoted when the primary leaves,
// and pushing a pipeline wipes tables and digest configuration.
// [Options.Specification] gives what the P4Runtime specification (1.3) says
// where the two differ. Both send byte strings in the shortest form.
//
// Limitations: no groups of action profiles, direct meters, registers or value
// sets; the data plane knows only the actions of switchbridge.p4 and keys that
// its parser fills, so that a test of another program says itself what the
// switch sends ([Target.PacketIn], [Target.Digest]).
package p4test
