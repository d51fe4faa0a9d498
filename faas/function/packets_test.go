package function_test

import (
	"testing"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/faas/function/conformance"
	"switchbridge/flow"
	"switchbridge/flow/contract/compact"
)

// packets are those of the suite that fit the compact encoding.
func packets(t testing.TB) (events [][]byte, cases []conformance.Case) {
	for _, row := range conformance.Cases() {
		if b, fits := compact.AppendEvent(nil, row.Event); fits {
			events, cases = append(events, b), append(cases, row)
		}
	}
	if len(events) < 10 {
		t.Fatalf("%d packets", len(events))
	}
	return events, cases
}

// BenchmarkPackets is what a guest does for a packet, compiled in. Its profile is the one that the
// guest is compiled by: see the Makefile's profile.
func BenchmarkPackets(b *testing.B) {
	events, cases := packets(b)
	p := function.NewPackets(controller.New(conformance.BenchmarkPolicy()))
	var answer []byte
	var d flow.Decision
	for b.Loop() {
		for _, event := range events {
			answer = p.Answer(answer[:0], event)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/packet")
	if err := new(compact.Reader).Parse(answer, &cases[len(cases)-1].Event.PacketIn.Match, &d); err != nil {
		b.Fatal(err)
	}
}
