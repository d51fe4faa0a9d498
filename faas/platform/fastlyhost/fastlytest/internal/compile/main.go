// Command compile compiles a program for fastlytest into a cache. Tests run it because a compiler
// that the race detector watches takes twenty times as long.
//
//	compile PROGRAM.wasm CACHE
package main

import (
	"context"
	"fmt"
	"os"

	"switchbridge/faas/platform/fastlyhost/fastlytest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compile:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments, want a program and a cache", len(args))
	}
	wasm, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	ctx := context.Background()
	h, err := fastlytest.New(ctx, wasm, args[1])
	if err != nil {
		return err
	}
	return h.Close(ctx)
}
