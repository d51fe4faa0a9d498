package paper

import "switchbridge/bench"

// The paper's figures, medians, on its machine of two cores and 8 GB.

// published is what the paper says of one controller.
type published struct {
	name       string  // the peer's that stands in its row; ours of the same kind has the row of the paper's WebAssembly controller
	response   float64 // µs, cbench latency mode
	throughput float64 // packets/ms, cbench throughput mode
	startup    float64 // ms
	idleRAM    float64 // MB
	activeRAM  float64 // MB
	cpu        float64 // % at 1,000 PACKET_IN/s
}

var nameWebAssembly = bench.SelfPeers()[0].Name

var publishedControllers = []published{
	{"POX", 91.0, 40.6, 283.2, 14.7, 14.8, 41.1},
	{"Floodlight", 28.4, 71.9, 4735.8, 296.8, 529.2, 56.2},
	{nameWebAssembly, 52.4, 65.3, 12.1, 13.1, 13.1, 14.3},
	{"Rust", 55.0, 124.5, 78.8, 0.8, 79.0, 20.8},
}

// Milliseconds from an event to its answer over a WAN.
const (
	publishedFastly       = 15.8
	publishedLambda       = 41.8
	publishedSelfHosted   = 24.5
	publishedBlocklist    = 14.7
	publishedHeader       = 15.7
	publishedStateMachine = 135.6
	publishedCombined     = 14.1 // table 12
	publishedFull         = 28.9 // table 12
)

// publishedEvents is how many events the organisation's network had in an hour.
const publishedEvents = 34_974

// publishedConcurrency is how many events were under way at once, at most (table 7).
const publishedConcurrency = 4
