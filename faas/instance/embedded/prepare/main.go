// Command prepare makes the guest that becomes part of the binary: it has it decide what gateways
// ask, the conformance suite and the packets that example policies speak of among it, and rewrites it
// as [wasmhost.Prepare] says.
//
//	go run ./faas/instance/embedded/prepare guest.wasm faas/instance/embedded/assets configs/policies/*.yaml
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"switchbridge/faas/function/conformance"
	"switchbridge/faas/instance/embedded"
	"switchbridge/faas/instance/wasmhost"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/forward"
	"switchbridge/policy/kinds"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("%d arguments, want the guest's file, the folder to write to, and example policies", len(args))
	}
	wasm, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	training, err := training(args[2:])
	if err != nil {
		return err
	}
	whole, lean, err := wasmhost.Prepare(wasm, training)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(args[1], "function.prepared"), whole, 0o644),
		os.WriteFile(filepath.Join(args[1], "function.lean"), lean, 0o644))
}

// training is what gateways are expected to ask for, with policies from files among others.
func training(files []string) (t wasmhost.Training, err error) {
	t.Policies = [][]byte{nil} // without one, everything is allowed
	list := policies()
	lines := slices.Clone(packets)
	for _, kind := range kinds.All {
		for _, e := range kind.Examples() {
			lines = append(lines, e.Packets...)
		}
	}
	for _, file := range files {
		p, err := policyfile.Load(file)
		if err != nil {
			return t, err
		}
		list = append(list, p)
		text, err := os.ReadFile(file)
		if err != nil {
			return t, err
		}
		expected, err := policytest.Expectations(string(text))
		if err != nil {
			return t, fmt.Errorf("%s: %w", file, err)
		}
		for _, e := range expected {
			lines = append(lines, e.Packet)
		}
	}
	for _, p := range list {
		compiled, err := blob.Pack(p)
		if err != nil {
			return t, err
		}
		t.Policies = append(t.Policies, compiled)
	}
	var events []*flow.Event
	for _, c := range conformance.Cases() {
		events = append(events, c.Event)
	}
	for _, protocol := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13, flow.P4Runtime} {
		for _, line := range lines {
			ev, err := policytest.Event(line, protocol)
			if err != nil {
				return t, err
			}
			events = append(events, ev)
		}
	}
	// As long as a PACKET_IN can be, for which the guest must make a larger buffer.
	long, err := policytest.Event(packets[0], flow.OpenFlow13)
	if err != nil {
		return t, err
	}
	long.PacketIn.Data = append(long.PacketIn.Data, make([]byte, longest)...)
	long.PacketIn.TotalLen = len(long.PacketIn.Data)
	events = append(events, long)
	t.Requests, t.Packets, err = embedded.Encode(events...)
	return t, err
}

const longest = 60_000

// packets are one of every kind that has headers of its own.
var packets = []string{
	"arp 10.0.0.1 > 10.0.0.2",
	"arp 10.0.0.1 > 10.0.0.1",
	"icmp 10.0.0.1 > 10.0.0.2 type 8",
	"icmpv6 2001:db8::1 > 2001:db8::2 type 128",
	"icmpv6 2001:db8::1 > ff02::1:ff00:2 type 135",
	"tcp 10.0.0.1:40000 > 10.0.0.2:443",
	"tcp 10.0.0.1:40000 > 10.0.0.2:443 vlan 7",
	"tcp [2001:db8::1]:40000 > [2001:db8::2]:443",
	"tcp [2001:db8::1]:40000 > [2001:db8::2]:443 vlan 7",
	"udp 10.0.0.1:5353 > 224.0.0.251:5353",
	"udp [2001:db8::1]:5353 > [ff02::fb]:5353",
	"fragment 10.0.0.1 > 10.0.0.2",
	"lldp",
}

// policies has the suite's, and every example of every kind.
func policies() []*policy.Policy {
	list := []*policy.Policy{conformance.Policy()}
	for _, kind := range kinds.All {
		for _, e := range kind.Examples() {
			p := forward.Default()
			if kind.Name() == forward.Name {
				p.Chain = nil
			}
			p.Chain = append([]policy.Source{e.Entry}, p.Chain...)
			list = append(list, p)
		}
	}
	return list
}
