package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Where a program can call a method by a name that is not known before, as a template does, the linker keeps every method of every type:
// 13 MB more, of which a third is resident.
func TestUnusedMethodsAreNotLinked(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	tags := regexp.MustCompile(`(?m)^TAGS +:= (\S+)$`).FindSubmatch(makefile)
	if tags == nil {
		t.Fatal("Makefile has no line of TAGS")
	}
	file := filepath.Join(t.TempDir(), "switchbridge")
	if out, err := exec.Command("go", "build", "-tags", string(tags[1]), "-o", file, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(program, []byte("main.main")) {
		t.Fatal("the program has no names of functions: this test sees nothing")
	}
	for _, name := range []string{"text/template.(*state).evalField", "html/template.(*Template).Execute"} {
		if bytes.Contains(program, []byte(name)) {
			t.Errorf("%s is linked in: `go build -ldflags=-dumpdep` says what calls it", name)
		}
	}
}
