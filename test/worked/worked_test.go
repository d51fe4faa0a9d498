// Package worked has what docs/adding-a-*.md show: each diff is applied to a copy of the tree, built and tested there.
package worked

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/internal/testlong"
)

const root = "../.."

// diffs are the worked examples. Each is followed by the arguments of the go commands that its page says to run, as far as they need
// neither root nor other programs.
var diffs = []struct {
	name     string
	commands []string
}{
	{"policy", []string{
		"test ./policy/kinds -run TestList|TestExamples", "test ./policy -run TestReadmeExamples", "test ./policy/prove -run TestEveryKindCanBeProved",
		"vet ./policy/dscp"}},
	{"store", []string{"test ./state/table ./state/stores/...", "vet ./state/table"}},
	{"platform", []string{"test ./faas/platform/fnhost ./faas/platform/nativehost", "build -o /dev/null ./cmd/function-fn", "vet ./cmd/function-fn"}},
	{"field", []string{
		"test ./flow ./flow/contract/compact ./ofproxy/ofp -run TestGenerated -update",
		"test ./flow ./flow/contract/... ./ofproxy/ofp/... ./policy/header ./policy/policytest"}},
}

// lines is how many a worked diff adds and takes away.
func lines(diff string) (n int) {
	for line := range strings.Lines(diff) {
		if (line[0] == '+' || line[0] == '-') && !strings.HasPrefix(line, "+++ ") && !strings.HasPrefix(line, "--- ") {
			n++
		}
	}
	return n
}

// Every diff fits on the tree as it is, and is short.
func TestDiffs(t *testing.T) {
	var names []string
	for _, d := range diffs {
		path := "docs/diffs/" + d.name + ".diff"
		names = append(names, filepath.Join(root, path))
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if n := lines(string(text)); n >= 100 {
			t.Errorf("%s changes %d lines, want fewer than 100: simplify what it shows", path, n)
		}
		page, err := os.ReadFile(filepath.Join(root, "docs/adding-a-"+d.name+".md"))
		if err != nil || !strings.Contains(string(page), "("+strings.TrimPrefix(path, "docs/")+")") {
			t.Errorf("docs/adding-a-%s.md has no link to it: %v", d.name, err)
		}
		run(t, root, "git", "apply", "--check", path)
	}
	found, err := filepath.Glob(filepath.Join(root, "docs/diffs/*"))
	if err != nil || len(found) != len(names) {
		t.Errorf("docs/diffs has %q, want %q", found, names)
	}
}

// What a diff adds passes the tests that its page names.
func TestLongDiffs(t *testing.T) {
	testlong.Need(t)
	for _, d := range diffs {
		t.Run(d.name, func(t *testing.T) {
			tree := t.TempDir()
			list := run(t, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
			for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
				copyFile(t, name, tree)
			}
			run(t, tree, "git", "apply", filepath.Join("docs/diffs", d.name+".diff"))
			for _, command := range d.commands {
				run(t, tree, "go", strings.Fields(command)...)
			}
		})
	}
}

func copyFile(t *testing.T, name, tree string) {
	t.Helper()
	from, to := filepath.Join(root, name), filepath.Join(tree, name)
	info, err := os.Stat(from)
	if os.IsNotExist(err) { // deleted, and not yet committed
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, body, info.Mode())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program and returns what it writes. Go's flag -trimpath lets builds of one tree serve another.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-trimpath -pgo=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
