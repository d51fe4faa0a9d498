// Package codegen writes Go code out for each row of [flow.Fields], the table of
// match fields, where to read the table at run time would cost too much. Tests
// use it: each holds a file of its package against the table, and writes it with
// -update. Every test of this kind is named TestGenerated.
package codegen

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"switchbridge/flow"
)

var update = flag.Bool("update", false, "write generated files anew")

var members = func() map[uintptr]string {
	names := map[uintptr]string{}
	for f := range reflect.TypeFor[flow.Match]().Fields() {
		names[f.Offset] = f.Name
	}
	return names
}()

// Room is how many bits a field's member of [flow.Match] has, by its kind, for
// those kinds that may have fewer.
var Room = map[flow.Kind]uint8{flow.Number8: 8, flow.Number16: 16, flow.Number32: 32}

// Rows returns the rows for which has is true.
func Rows(has func(x *flow.FieldInfo) bool) (rows []*flow.FieldInfo) {
	for i := range flow.Fields {
		if x := &flow.Fields[i]; has(x) {
			rows = append(rows, x)
		}
	}
	return rows
}

// Set writes the constants of the rows for which has is true, as one value;
// qualifier stands before each, such as "flow.".
func Set(qualifier string, has func(x *flow.FieldInfo) bool) string {
	var names []string
	for _, x := range Rows(has) {
		names = append(names, qualifier+Expand(x, "F"))
	}
	if names == nil {
		return "0"
	}
	return strings.Join(names, "|")
}

var parts = regexp.MustCompile(`\b[VMF]\b`)

// Expand puts a row's names in the place of V, its member of [flow.Match], M, the
// member with its mask, and F, its constant.
func Expand(x *flow.FieldInfo, line string) string {
	value, mask := x.Offsets()
	names := map[string]string{"V": members[value], "M": members[mask], "F": "Field" + members[value]}
	return parts.ReplaceAllStringFunc(line, func(s string) string { return names[s] })
}

// File is the source of a file, which need not be formatted.
type File struct{ strings.Builder }

// New begins a file of a package.
func New(pkg string, imports ...string) *File {
	f := new(File)
	f.Printf("package %s\n\n", pkg)
	if len(imports) == 1 {
		f.Printf("import %q\n", imports[0])
		return f
	}
	f.Printf("import (\n")
	for _, path := range imports {
		f.Printf("%q\n", path)
	}
	f.Printf(")\n")
	return f
}

// Printf appends text.
func (f *File) Printf(format string, args ...any) { fmt.Fprintf(&f.Builder, format, args...) }

// Row appends lines for a row, as [Expand] has them.
func (f *File) Row(x *flow.FieldInfo, lines string) { f.WriteString(Expand(x, lines) + "\n") }

// Check fails unless a file of the package under test has this source; with
// -update it is written.
func (f *File) Check(t *testing.T, name string) {
	t.Helper()
	command := fmt.Sprintf("go test -run %s -update", t.Name())
	want, err := format.Source([]byte("// Code generated from flow.Fields by " + t.Name() + ". DO NOT EDIT.\n// " + command + "\n\n" + f.String()))
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, f.String())
	}
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what flow.Fields says (%v); to write it: %s", name, err, command)
	}
}
