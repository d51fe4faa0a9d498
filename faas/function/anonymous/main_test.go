package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func made() *profile.Profile {
	binary := &profile.Mapping{ID: 1, Start: 0x400000, Limit: 0x600000, File: "/tmp/go-build123/b001/function.test", BuildID: "abc", HasFunctions: true}
	library := &profile.Mapping{ID: 2, Start: 0x700000, Limit: 0x800000, File: "/usr/lib/libc.so.6", BuildID: "def"}
	caller := &profile.Function{ID: 1, Name: "pkg.Caller", SystemName: "pkg.Caller", Filename: "pkg/a.go", StartLine: 3}
	callee := &profile.Function{ID: 2, Name: "pkg.callee", SystemName: "pkg.callee", Filename: "pkg/b.go", StartLine: 7}
	inner := &profile.Location{ID: 1, Mapping: binary, Address: 0x400010, Line: []profile.Line{{Function: callee, Line: 8}, {Function: caller, Line: 4}}}
	outer := &profile.Location{ID: 2, Mapping: library, Address: 0x700010, Line: []profile.Line{{Function: caller, Line: 5}}}
	return &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 10_000_000, TimeNanos: 1_700_000_000_000_000_000, DurationNanos: 9,
		Mapping: []*profile.Mapping{binary, library}, Function: []*profile.Function{caller, callee}, Location: []*profile.Location{inner, outer},
		Sample:   []*profile.Sample{{Location: []*profile.Location{inner, outer}, Value: []int64{34, 340_000_000}}, {Location: []*profile.Location{outer}, Value: []int64{2, 20_000_000}}},
		Comments: []string{"made by me"},
	}
}

// stacks are what a compiler reads of a profile: who calls whom, in which line, how often.
func stacks(p *profile.Profile) (list []string) {
	for _, s := range p.Sample {
		var b strings.Builder
		for _, l := range s.Location {
			for _, line := range l.Line {
				b.WriteString(line.Function.Name + " " + line.Function.Filename + " ")
				b.WriteString(strings.Repeat("i", int(line.Line-line.Function.StartLine)) + ";")
			}
		}
		list = append(list, b.String()+strings.Repeat("n", int(s.Value[0])))
	}
	return list
}

func TestAnonymous(t *testing.T) {
	var before bytes.Buffer
	if err := made().Write(&before); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "default.pgo")
	if err := os.WriteFile(path, before.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(path); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.ParseData(after)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"go-build", "function.test", "/usr", "libc", "abc", "def", "made by", "2023"} {
		if strings.Contains(p.String(), word) {
			t.Errorf("%q is left in\n%s", word, p)
		}
	}
	if got, want := stacks(p), stacks(made()); !slices.Equal(got, want) {
		t.Errorf("samples %q\nwant %q", got, want)
	}
	again, err := anonymous(after)
	if err != nil || !bytes.Equal(again, after) {
		t.Errorf("another profile, %v", err)
	}
	if _, err := anonymous([]byte("no profile")); err == nil {
		t.Error("no profile, no error")
	}
}

// The profile that the repository has names no place.
func TestCommittedProfile(t *testing.T) {
	const path = "../../../cmd/function-wasm/default.pgo"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.ParseData(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := anonymous(b); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%s: %v; `make profile` writes one without the places where it was made", path, err)
	}
	for _, f := range p.Function {
		if filepath.IsAbs(f.Filename) {
			t.Errorf("%s: %s: %s", path, f.Name, f.Filename)
		}
	}
}
