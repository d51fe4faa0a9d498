// Package ofproxy terminates OpenFlow 1.0 and 1.3 sessions: it listens,
// negotiates, keeps sessions alive, turns what a switch reports into
// flow.Events for a flow.Decider, installs the rules that come back and
// releases the packet.
//
// One goroutine owns a session: it reads, moves the handshake from state to
// state, keeps the timers (as read deadlines) and decides in place when the
// Decider is local. Decisions that cross a network run on the server's bounded
// pool, which serves the switches in turn; they come back through the session's
// outbox, the only part of a session that others write to. Nobody ever waits
// for a lock while a switch is slow to read.
//
// Every PACKET_IN gets a decision number, which is never zero. All messages that are
// sent because of it have this number as their xid, and its rules' cookies contain
// it. So an error, or a rule in a switch, leads back to the decision.
//
// Where two gateways form a pair, standby.go asks for and follows their roles.
//
// Limitations: one connection for each switch (auxiliary connections are refused),
// versions 1.0 and 1.3 only.
package ofproxy
