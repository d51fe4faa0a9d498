package function_test

import (
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/flow"
	"switchbridge/flow/contract/compact"
	"switchbridge/functiontest/conformance"
	"switchbridge/policy"
	"switchbridge/policy/eval"
	"switchbridge/policy/forward"
	"switchbridge/policy/machine"
	"switchbridge/policy/policytest"
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

// BenchmarkPacketsWithStates is the same for packets that a machine decides about, which has moved before. The profile is of both.
func BenchmarkPacketsWithStates(b *testing.B) {
	entry := (machine.Kind{}).Examples()[0]
	c := controller.New(&policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{entry.Entry, &forward.Config{Mode: policy.Normal}}})
	trial := eval.NewTrial(c)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var events [][]byte
	var headers []flow.Match
	for _, line := range []string{
		"tcp 10.0.0.1:40000 > 192.0.2.77:7777", "tcp 10.0.0.1:40000 > 192.0.2.77:443", "tcp 10.0.0.1:40000 > 192.0.2.77:443 flags ack",
		"udp 10.0.0.1:40000 > 192.0.2.77:443", "tcp 10.0.0.2:40000 > 192.0.2.77:443", "tcp 10.0.0.1:40000 > 192.0.2.1:443 port 77",
	} {
		ev, err := policytest.Event(line, flow.OpenFlow13)
		if err != nil {
			b.Fatal(err)
		}
		ev.Time = now
		var d flow.Decision
		if err := trial.Decide(b.Context(), ev, &d); err != nil {
			b.Fatal(err)
		}
		event, fits := compact.AppendEvent(nil, ev)
		if !fits {
			b.Fatalf("%s doesn't fit", line)
		}
		events, headers = append(events, event), append(headers, ev.PacketIn.Match)
	}
	p := function.NewPackets(c)
	var answer []byte
	var d flow.Decision
	b.ReportAllocs()
	for b.Loop() {
		for _, event := range events {
			answer = p.Answer(answer[:0], event)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/packet")
	if err := new(compact.Reader).Parse(answer, &headers[len(headers)-1], &d); err != nil {
		b.Fatal(err)
	}
}
