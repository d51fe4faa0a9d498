// Command prepare makes the guest that becomes part of the binary: it has it decide the conformance
// suite, and rewrites it as [wasmhost.Prepare] says.
//
//	go run ./faas/embedded/prepare guest.wasm guest.prepared
package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"switchbridge/faas/conformance"
	"switchbridge/faas/embedded"
	"switchbridge/faas/wasmhost"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments, want the guest's file and the one to write", len(args))
	}
	wasm, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	training, err := training()
	if err != nil {
		return err
	}
	prepared, err := wasmhost.Prepare(wasm, training)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[1], prepared, 0o644)
}

// training is what gateways are expected to ask for.
func training() (t wasmhost.Training, err error) {
	t.Policies = [][]byte{nil} // without one, everything is allowed
	for _, p := range policies() {
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
	t.Requests, t.Packets, err = embedded.Encode(events...)
	return t, err
}

// policies has one of every kind, every way to forward, and a list long enough for the guest's
// memory to grow and its collector to run.
func policies() []*policy.Policy {
	list := []*policy.Policy{conformance.Policy()}
	for _, mode := range []policy.ForwardMode{policy.Normal, policy.Flood, policy.Learn} {
		list = append(list, &policy.Policy{Install: policy.DefaultInstall, Chain: []policy.Source{&forward.Config{Mode: mode}}})
	}
	const addresses = 50_000
	long := make([]netip.Prefix, addresses)
	for i := range long {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0b000000+uint32(i)*7)
		long[i] = netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	return append(list, &policy.Policy{Install: policy.DefaultInstall, Chain: []policy.Source{
		&blocklist.Config{Lists: []blocklist.List{{Name: "long", Prefixes: long}}}, &forward.Config{Mode: policy.Normal}}})
}
