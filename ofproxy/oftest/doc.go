// Package oftest is a switch without a network: it plays the switch's side of
// OpenFlow 1.0 and 1.3 over any net.Conn, for tests, for replaying captures and
// for loading controllers.
//
// A [Datapath] is the protocol alone, message in and answers out, without a
// goroutine or a socket. A [Switch] is a Datapath on a connection; it works over
// net.Pipe inside a testing/synctest bubble as well as over TCP, TLS and unix
// sockets, and waits for time to pass in [Switch.Settle] alone.
//
//	client, server := net.Pipe()
//	go controller.Serve(server)
//	sw := oftest.Serve(client, oftest.Config{DPID: 1})
//	defer sw.Close()
//	err := sw.PacketIn(1, frames.Ping(frames.Host(1), frames.Host(2), 1, 1))
//	m, err := sw.Next(ctx) // the FLOW_MOD that comes back
//
// Frames are built by package internal/frames.
//
// Limitations: time does not pass in the flow tables, so timeouts never fire;
// actions are not carried out, [Switch.Forward] only says which they are;
// groups are refused.
package oftest
