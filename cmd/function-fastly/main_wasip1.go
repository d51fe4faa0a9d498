// Command function-fastly is the controller on Fastly Compute. docs/deploy/fastly.md says how it
// gets there.
//
//	GOOS=wasip1 GOARCH=wasm go build -ldflags='-s -w' -o bin/main.wasm ./cmd/function-fastly
package main

import (
	"fmt"
	"os"

	"switchbridge/faas/function"
	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
)

func main() {
	if err := fastlyhost.Serve(function.Codecs{OpenFlow: openflow.Codec{}, JSON: jsonenc.Codec{}}); err != nil {
		fmt.Fprintln(os.Stderr, "function-fastly:", err)
		os.Exit(1)
	}
}
