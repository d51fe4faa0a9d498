// Package replay plays captures as the PACKET_INs that a switch would have sent,
// to a function, as the paper's agent does, or from fake switches to a gateway
// or any OpenFlow controller, and measures the answers.
//
// In flow mode the first packet of each flow asks; in packet mode each one does.
// At the recorded pace the load is open: an event is due when the capture says,
// however slow the answers are, and its latency is measured from then (no
// coordinated omission) as well as from when it was sent. At the maximum pace
// an event is due when a worker is free to send it.
//
// A capture does not record by which port of a switch its packets came in. They
// are taken to come in by port 1, unless [Ports] says otherwise.
//
// Memory does not grow with the capture: flows that are remembered, events that
// wait and answers that are due are all bounded.
package replay
