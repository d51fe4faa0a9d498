// Command compile compiles P4 programs for BMv2, each to NAME.json and
// NAME.p4info.txtpb beside it, and writes the source's SHA-256 to NAME.sha256.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	for _, source := range os.Args[1:] {
		if err := compile(source); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", source, err)
			os.Exit(1)
		}
	}
}

func compile(source string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	base := strings.TrimSuffix(filepath.Base(source), ".p4")
	// In the source's folder, so that no path gets into the output.
	cmd := exec.Command("p4c-bm2-ss", "--p4v", "16", "-o", base+".json", "--p4runtime-files", base+".p4info.txtpb", base+".p4")
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Dir(source), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	sum := fmt.Sprintf("%x\n", sha256.Sum256(text))
	return os.WriteFile(strings.TrimSuffix(source, ".p4")+".sha256", []byte(sum), 0o644)
}
