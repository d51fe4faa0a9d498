// Command function-wasm is the controller as a WebAssembly guest.
//
// Built as a reactor it keeps the guest ABI (docs/guest-abi.md), for wasmhost:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o function.wasm ./cmd/function-wasm
//
// Built as a command it runs on any WASI runtime, and natively: it takes one event on standard
// input and writes the decision to standard output, both in the ABI's envelope, and a decision
// record to standard error.
//
//	GOOS=wasip1 GOARCH=wasm go build -tags json -ldflags='-s -w' -o function.wasm ./cmd/function-wasm
//	wasmtime run --dir .::/ function.wasm /policy.blob < event > decision
//
// The policy is a compiled one (switchbridge policy compile). Without one everything is allowed.
// The tag json adds the JSON encoding, at twice the size, and states that travel with events, sealed with the keys in SWITCHBRIDGE_STATE_KEYS; hosts of
// ours do both themselves.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract/openflow"
	"switchbridge/policy/blob"
	"switchbridge/policy/forward"
)

var codecs = function.Codecs{OpenFlow: openflow.Codec{}}

// remembering returns what decides by a policy with machines as a command; nil where nothing brings their states.
var remembering func(c *controller.Controller, log func(string)) (flow.Decider, error)

// What configure made of the policy.
var (
	control *controller.Controller
	decide  *function.Function
	packets *function.Packets
)

func init() {
	guest.Serve(guest.Functions{
		Configure: configure,
		Decide: func(r *guest.Request, a *guest.Answer) {
			_ = decide.Answer(context.Background(), r, a) // what is wrong is in the status
		},
		Packet: func(answer, event []byte) []byte { return packets.Answer(answer, event) },
	})
}

func configure(compiled []byte) error {
	p := forward.Default()
	if len(compiled) > 0 {
		var err error
		if p, err = blob.Unpack(compiled); err != nil {
			return err
		}
	}
	c := controller.New(p)
	control, decide, packets = c, function.New(c, codecs), function.NewPackets(c)
	return nil
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "function:", err)
		os.Exit(1)
	}
}

// run answers one event.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 1 {
		return fmt.Errorf("%d arguments, want at most the file of a compiled policy", len(args))
	}
	var compiled []byte
	if len(args) == 1 {
		var err error
		if compiled, err = os.ReadFile(args[0]); err != nil {
			return err
		}
	}
	if err := configure(compiled); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if remembering != nil && control.Stateful() {
		d, err := remembering(control, func(line string) { fmt.Fprintln(stderr, line) })
		if err != nil {
			return err
		}
		decide = function.New(d, codecs)
	}
	event, err := io.ReadAll(io.LimitReader(stdin, guest.MaxEnvelope+1))
	if err != nil {
		return fmt.Errorf("event: %w", err)
	}
	if len(event) > guest.MaxEnvelope {
		return fmt.Errorf("event of more than %d bytes", guest.MaxEnvelope)
	}
	began := time.Now()
	var r guest.Request
	var a guest.Answer
	if err := r.Parse(event); err != nil {
		a = guest.Answer{Status: 400, Reason: err.Error()}
	} else if err := decide.Answer(context.Background(), &r, &a); err != nil {
		return err
	}
	rec := record.Of(&r, &a)
	rec.Time, rec.Duration = began, time.Since(began)
	record.NewWriter(stderr).Write(&rec)
	_, err = stdout.Write(a.AppendBinary(nil))
	return err
}
