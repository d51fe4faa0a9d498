// Command prepare rewrites a guest ahead of time, as wasmhost does with others when it starts:
//
//	go run ./faas/wasmhost/prepare guest.wasm guest.prepared
package main

import (
	"fmt"
	"os"

	"switchbridge/faas/wasmhost"
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
	prepared, err := wasmhost.Prepare(wasm)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[1], prepared, 0o644)
}
