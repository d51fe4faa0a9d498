// Command states answers questions to the store of states.
package main

import (
	"fmt"
	"os"
	"syscall/js"

	"switchbridge/faas/platform/workershost"
	"switchbridge/state/statetest/remote"
)

func main() {
	call := js.Global().Get("switchbridgeCalls").Call("get", os.Args[1])
	store := workershost.OpenStates(call.Get("env"))
	if store == nil {
		fmt.Fprintln(os.Stderr, "no states are bound")
		os.Exit(1)
	}
	body := make(chan string)
	read := js.FuncOf(func(_ js.Value, args []js.Value) any {
		go func() { body <- args[0].String() }()
		return nil
	})
	defer read.Release()
	call.Get("request").Call("text").Call("then", read)
	answer := remote.Serve(store, []byte(<-body))
	call.Set("response", js.Global().Get("Response").New(string(answer)))
}
