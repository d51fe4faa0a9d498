// Package p4src carries the P4 programs of this folder as p4c compiled them, so
// that a gateway needs neither the compiler nor a file to push one.
//
// After a change of a program, `go generate` here compiles it anew and notes the
// source's hash; a test fails while the two differ. It wants p4c-bm2-ss.
package p4src

import (
	_ "embed"
	"sync"

	"switchbridge/p4bridge/pipeline"
)

//go:generate go run ./compile switchbridge.p4 example/l2acl.p4 example/campus.p4 example/classroom.p4 ../p4bridge/testdata/next.p4 ../p4bridge/testdata/kinds.p4

var (
	//go:embed switchbridge.p4info.txtpb
	switchbridgeInfo []byte
	//go:embed switchbridge.json
	switchbridgeJSON []byte

	//go:embed example/l2acl.p4info.txtpb
	l2aclInfo []byte
	//go:embed example/l2acl.json
	l2aclJSON []byte
)

// Switchbridge returns the program that the gateway pushes by default. All
// callers share it: it is not to be changed.
func Switchbridge() *pipeline.Pipeline { return switchbridge() }

// L2ACL returns the example of a user's own program, likewise.
func L2ACL() *pipeline.Pipeline { return l2acl() }

var (
	switchbridge = sync.OnceValue(func() *pipeline.Pipeline { return load(switchbridgeInfo, switchbridgeJSON) })
	l2acl        = sync.OnceValue(func() *pipeline.Pipeline { return load(l2aclInfo, l2aclJSON) })
)

func load(info, device []byte) *pipeline.Pipeline {
	p, err := pipeline.Load(info, device)
	if err != nil {
		panic(err) // built in, and tested
	}
	return p
}
