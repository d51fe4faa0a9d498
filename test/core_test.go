package test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestProtocolsKnowNoCookies holds the protocols' packages to what the session
// core is for: no code in them builds or compares a cookie or a policy version.
func TestProtocolsKnowNoCookies(t *testing.T) {
	forbidden := map[string]string{
		"PolicyVersion": "policy versions are the bridge's", "Versions": "policy versions are the bridge's", "Tag": "policy versions are the bridge's",
		"GatewayID": "cookies are the bridge's", "SplitCookie": "cookies are the bridge's",
	}
	checked := 0
	for _, dir := range []string{"../ofproxy", "../p4bridge"} {
		fset := gotoken.NewFileSet()
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(fset, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			checked++
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if why, bad := forbidden[n.Sel.Name]; bad {
						t.Errorf("%v: %s: %s", fset.Position(n.Pos()), n.Sel.Name, why)
					}
				case *ast.BinaryExpr:
					if isCookie(n.X) || isCookie(n.Y) {
						t.Errorf("%v: a cookie is built or compared: cookies are the bridge's", fset.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
	if checked < 10 {
		t.Errorf("%d files were looked at, want those of both packages", checked)
	}
}

// isCookie reports whether an expression is a rule's cookie or P4Runtime's place
// for it. The pipeline's cookie is another thing.
func isCookie(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "cookie"
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		return (e.Sel.Name == "Cookie" || e.Sel.Name == "cookie") && !(ok && x.Name == "p") && !isPipeline(e.X)
	case *ast.CallExpr:
		s, ok := e.Fun.(*ast.SelectorExpr)
		return ok && s.Sel.Name == "GetControllerMetadata"
	case *ast.ParenExpr:
		return isCookie(e.X)
	}
	return false
}

func isPipeline(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Pipeline"
}
