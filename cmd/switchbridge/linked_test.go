package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"

	"switchbridge/internal/built"
)

// Where a program can call a method by a name that is not known before, as a template does, the linker keeps every method of every type:
// 13 MB more, of which a third is resident.
func TestUnusedMethodsAreNotLinked(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if tags := regexp.MustCompile(`(?m)^TAGS +:= (\S+)$`).FindSubmatch(makefile); tags == nil || string(tags[1]) != built.Tags {
		t.Fatalf("TAGS in the Makefile is %q, tests build with %s", tags, built.Tags)
	}
	program, err := os.ReadFile(built.Switchbridge(t))
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
