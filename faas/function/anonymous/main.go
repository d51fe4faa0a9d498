// Command anonymous takes out of CPU profiles where and when they were made: names of binaries and
// libraries, build identifiers, times and comments. The samples, their functions and lines stay,
// which is all that the compiler reads.
//
//	go run ./faas/function/anonymous cmd/function-wasm/default.pgo
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/google/pprof/profile"
)

func main() {
	for _, path := range os.Args[1:] {
		if err := rewrite(path); err != nil {
			fmt.Fprintf(os.Stderr, "anonymous: %s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

func rewrite(path string) error {
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	after, err := anonymous(before)
	if err != nil {
		return err
	}
	return os.WriteFile(path, after, 0o644)
}

// anonymous returns the profile without what names the machine. Of what it returned itself it
// returns the same.
func anonymous(b []byte) ([]byte, error) {
	p, err := profile.ParseData(b)
	if err != nil {
		return nil, err
	}
	for _, m := range p.Mapping {
		*m = profile.Mapping{ID: m.ID, HasFunctions: m.HasFunctions, HasFilenames: m.HasFilenames,
			HasLineNumbers: m.HasLineNumbers, HasInlineFrames: m.HasInlineFrames}
	}
	for _, l := range p.Location {
		l.Address = 0
	}
	p.TimeNanos, p.Comments, p.DocURL = 0, nil, ""
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
