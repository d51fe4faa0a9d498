// Package pair has two gateways serve one network, of which one leads.
//
// The two ask each other's health over mutual TLS, every [Config.Poll]. One that has not heard of its peer for [Config.Timeout] takes the
// lead. Both may believe that they lead, when the link between them is cut. The switches decide then: a claim carries a generation, and a
// switch obeys the claim with the higher one (OpenFlow 1.3.5, 6.3.4; P4Runtime 1.3.0, 5.1). A gateway that learns from a switch that it
// does not lead yields everywhere; while it can't reach its peer it claims nothing for half a minute, then for a minute, and so on,
// so that a cut link does not make the two claim in turn for ever.
//
// Generations are milliseconds since 1970, or larger where a switch has seen a larger one, shifted by a bit for the member, so that two claims never tie.
package pair
