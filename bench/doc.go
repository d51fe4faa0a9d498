// Package bench measures controllers: how fast they answer, how much they take,
// and what a session costs them.
//
// [Controller] is cbench's measurement for any OpenFlow 1.0 or 1.3 controller:
// fake switches whose PACKET_INs name real buffers, one outstanding packet a
// switch in latency mode and as many as the connection takes in flood mode,
// where a FLOW_MOD and a PACKET_OUT each count as a response. [Responder] is the
// controller that does nothing, for a baseline taken in the same run. [Sessions]
// measures a controller's memory for each connected switch, and what idle and
// flooding switches do to the latency of another.
//
// The load is cheap to make: messages come from templates in which only the
// xid, the buffer and the source address change, many go out in one write, and
// answers are counted by their headers, without an allocation.
package bench
