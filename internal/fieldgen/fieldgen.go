// Package fieldgen writes code out for each row of [flow.Fields], where to read
// the table at run time would cost too much. Tests use it: each holds a file
// against the table, and writes it with -update.
package fieldgen

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"os"
	"reflect"
	"regexp"
	"testing"

	"switchbridge/flow"
)

var members = func() map[uintptr]string {
	names := map[uintptr]string{}
	for f := range reflect.TypeFor[flow.Match]().Fields() {
		names[f.Offset] = f.Name
	}
	return names
}()

// Members returns the names of a row's members of [flow.Match].
func Members(x *flow.FieldInfo) (value, mask string) {
	v, m := x.Offsets()
	return members[v], members[m]
}

// Name returns the name of a row's constant in package flow.
func Name(x *flow.FieldInfo) string {
	value, _ := Members(x)
	return "Field" + value
}

var parts = regexp.MustCompile(`\b[VMF]\b`)

// Expand puts a row's names in the place of V, its member, M, its mask, and F,
// its constant.
func Expand(x *flow.FieldInfo, line string) string {
	value, mask := Members(x)
	names := map[string]string{"V": value, "M": mask, "F": Name(x)}
	return parts.ReplaceAllStringFunc(line, func(s string) string { return names[s] })
}

// Check fails unless a file of the package under test has this source; with
// -update it is written.
func Check(t *testing.T, file, source string) {
	t.Helper()
	command := fmt.Sprintf("go test -run %s -update", t.Name())
	want, err := format.Source([]byte("// Code generated from flow.Fields by " + t.Name() + ". DO NOT EDIT.\n// " + command + "\n\n" + source))
	if err != nil {
		t.Fatalf("%s: %v\n%s", file, err, source)
	}
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what flow.Fields says (%v); to write it: %s", file, err, command)
	}
}
