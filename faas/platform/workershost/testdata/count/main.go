// Command count answers every request with how many its instance has answered: with 1, unless an
// instance serves a second one. For the path /exit it ends without an answer.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall/js"
)

var answered int

func main() {
	answered++
	call := js.Global().Get("switchbridgeCalls").Call("get", os.Args[1])
	if strings.HasSuffix(call.Get("request").Get("url").String(), "/exit") {
		os.Exit(3)
	}
	call.Set("response", js.Global().Get("Response").New(fmt.Sprint(answered)))
}
