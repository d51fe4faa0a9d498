package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// TestWebAssembly has the programs and packages that are built for WebAssembly
// pass the type checker. It reads all that they import as source and passes over
// the bodies of functions that are not ours: to compile the standard library for
// two more targets, as "go vet" does, takes ten times as long.
func TestWebAssembly(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, build := range []struct {
		target
		tags     string
		packages []string
	}{
		{guest, "", []string{"cmd/function-wasm", "faas/instance/guest"}},
		{guest, "json", []string{"cmd/function-wasm"}},
		{fastly, "", []string{"cmd/function-fastly", "faas/platform/fastlyhost"}},
		{workers, "", []string{"cmd/function-workers", "faas/platform/workershost"}},
	} {
		t.Run(strings.Join(append(build.packages, build.tags), " "), func(t *testing.T) {
			t.Parallel()
			c := &packages.Config{
				Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
					packages.NeedTypes | packages.NeedSyntax,
				Env:        append(os.Environ(), "GOOS="+build.goos, "GOARCH="+build.goarch, "CGO_ENABLED=0"),
				BuildFlags: []string{"-tags=" + build.tags},
				Tests:      true,
				ParseFile: func(fset *token.FileSet, name string, source []byte) (*ast.File, error) {
					f, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
					if f != nil && !strings.HasPrefix(name, root+"/") {
						dropBodies(f)
					}
					return f, err
				},
			}
			patterns := make([]string, len(build.packages))
			for i, p := range build.packages {
				patterns[i] = "switchbridge/" + p
			}
			list, err := packages.Load(c, patterns...)
			if err != nil {
				t.Fatal(err)
			}
			ours := 0
			packages.Visit(list, nil, func(p *packages.Package) {
				if !strings.HasPrefix(p.PkgPath, "switchbridge/") || strings.HasSuffix(p.PkgPath, ".test") {
					return // where bodies are gone, imports are not used
				}
				ours++
				for _, err := range p.Errors {
					t.Error(err)
				}
			})
			if ours < len(build.packages) {
				t.Errorf("%d packages of ours were read, want %d and those that they import", ours, len(build.packages))
			}
		})
	}
}

func dropBodies(f *ast.File) {
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok {
			d.Body = nil
		}
	}
}
