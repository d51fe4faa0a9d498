// Command function-workers is the controller on Cloudflare Workers. docs/deploy/workers.md says how
// it gets there and what its bindings mean.
//
//	make workers
package main

import (
	"switchbridge/faas/function"
	"switchbridge/faas/platform/workershost"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
)

func main() {
	workershost.Main(function.Codecs{OpenFlow: openflow.Codec{}, JSON: jsonenc.Codec{}})
}
