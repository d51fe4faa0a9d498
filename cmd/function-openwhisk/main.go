// Command function-openwhisk is the controller as an action of Apache OpenWhisk. docs/deploy/openwhisk.md says how it gets
// there and what its environment variables mean.
//
//	CGO_ENABLED=0 go build -ldflags='-s -w' -o exec ./cmd/function-openwhisk
package main

import (
	"context"
	"net/http"
	"os"

	"switchbridge/faas/platform/nativehost"
	"switchbridge/faas/platform/openwhiskhost"
)

// answers is the descriptor for answers: standard output and error are for logs.
const answers = 3

func main() {
	nativehost.Main(nativehost.Packaged, func(h http.Handler) error {
		return openwhiskhost.Serve(context.Background(), h, os.Stdin, os.NewFile(answers, "answers"), os.Getenv("__OW_WAIT_FOR_ACK") != "")
	})
}
