// Command prepare makes the guest that becomes part of the binary: it has it decide what gateways
// ask (package training, and the packets that example policies speak of) and rewrites it as
// [wasmhost.Prepare] says.
//
//	go run ./faas/instance/embedded/prepare guest.wasm faas/instance/embedded/assets configs/policies/*.yaml
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/instance/embedded"
	"switchbridge/faas/instance/embedded/training"
	"switchbridge/faas/instance/wasmhost"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/eval"
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
	training, err := trained(args[2:])
	if err != nil {
		return err
	}
	files := []string{filepath.Join(args[1], "function.prepared"), filepath.Join(args[1], "function.lean"), args[0] + ".stamp"}
	var made [3][]byte
	for i, file := range files {
		made[i], _ = os.ReadFile(file)
	}
	inputs := [][][]byte{{wasmhost.RewriterKey(), wasm}, training.Policies, training.Requests, training.Packets}
	if bytes.Equal(made[2], stamp(inputs, made[0], made[1])) {
		return nil
	}
	if made[0], made[1], err = wasmhost.Prepare(wasm, training); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	made[2] = stamp(inputs, made[0], made[1])
	for i, file := range files {
		if err := os.WriteFile(file, made[i], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stamp tells what a prepared guest was made of, and that it is that one. A guest that has its stamp is not prepared again, which takes minutes.
func stamp(inputs [][][]byte, whole, lean []byte) []byte {
	all := sha256.New()
	for _, list := range append(inputs, [][]byte{whole, lean}) {
		fmt.Fprintln(all, len(list))
		for _, b := range list {
			fmt.Fprintf(all, "%x\n", sha256.Sum256(b))
		}
	}
	return hex.AppendEncode(nil, all.Sum(nil))
}

// trained is what gateways are expected to ask for, with policies from files among others.
func trained(files []string) (t wasmhost.Training, err error) {
	t.Policies = [][]byte{nil} // without one, everything is allowed
	list, events := append(training.Policies(), examples()...), training.Events()
	var lines []string
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
	for _, protocol := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13, flow.P4Runtime} {
		for _, line := range lines {
			_, line, err := policytest.Wait(line, time.Unix(0, 0))
			if err != nil {
				return t, err
			}
			ev, err := policytest.Event(line, protocol)
			if err != nil {
				return t, err
			}
			events = append(events, ev)
		}
	}
	for _, p := range list {
		compiled, err := blob.Pack(p)
		if err != nil {
			return t, err
		}
		t.Policies = append(t.Policies, compiled)
	}
	t.Requests, t.Packets, err = embedded.Encode(events...)
	if err != nil {
		return t, err
	}
	t.Own = make(map[int]*wasmhost.Events)
	for i, p := range list {
		own, err := withStates(p, events)
		if err != nil {
			return t, err
		}
		if own != nil {
			t.Own[len(t.Policies)-len(list)+i] = own
		}
	}
	return t, nil
}

// withStates are those of the events of which a policy reads states, with the states that the events before them left. Each comes twice, since
// the first may find none. Nil without states.
func withStates(p *policy.Policy, events []*flow.Event) (*wasmhost.Events, error) {
	c := controller.New(p)
	if !c.Stateful() {
		return nil, nil
	}
	var own wasmhost.Events
	trial := eval.NewTrial(c)
	now := time.Unix(1_700_000_000, 0)
	for _, ev := range slices.Concat(events, events) {
		now = now.Add(time.Second / 4)
		stated := *ev
		stated.Time, stated.ID = now, fmt.Sprint("training-", now.UnixMilli())
		var d flow.Decision
		if err := trial.Decide(context.Background(), &stated, &d); err != nil {
			continue // not every event is one that a controller takes
		}
		if len(stated.States) == 0 {
			continue
		}
		r, p, err := embedded.Encode(&stated)
		if err != nil {
			return nil, err
		}
		own.Requests, own.Packets = append(own.Requests, r...), append(own.Packets, p...)
	}
	return &own, nil
}

// examples are the policies that the kinds give as examples, each alone, and in one chain as many as can be.
func examples() (list []*policy.Policy) {
	all := forward.Default()
	all.Chain = nil
	for _, kind := range kinds.All {
		for _, e := range kind.Examples() {
			if e.Entry.Validate(all.Chain) == nil {
				all.Chain = append(all.Chain, e.Entry)
			}
			p := forward.Default()
			if kind.Name() == forward.Name {
				p.Chain = nil
			}
			p.Chain = append([]policy.Source{e.Entry}, p.Chain...)
			list = append(list, p)
		}
	}
	return append(list, all)
}
