// Package pair lets two gateways serve one network. One of them leads.
//
// The two ask each other's health over mutual TLS, every [Config.Poll]. A gateway that has not heard of its peer for [Config.Timeout] takes
// the lead. If the link between them is cut, both may believe that they lead. Then the switches decide: a claim carries a generation, and a
// switch obeys the claim with the higher one (OpenFlow 1.3.5, 6.3.4; P4Runtime 1.3.0, 5.1). A gateway that learns from its switches that it
// doesn't lead yields at all of them. As long as it can't reach its peer, it makes no claim for half a minute, the next time for a minute, and so on;
// otherwise the two would claim in turn for ever.
//
// A generation is the time in milliseconds since 1970, or a larger number if a switch has seen one, shifted by a bit. The lowest bit is the member's, so
// that two claims are never equal.
package pair
