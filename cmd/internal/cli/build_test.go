package cli

import (
	"runtime"
	"testing"
)

func TestThisBuild(t *testing.T) {
	b := ThisBuild("v1.2")
	if b.Version != "v1.2" || b.Go != runtime.Version() || b.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("a build with a version: %+v", b)
	}
	if b := ThisBuild(""); b.Version == "" || b.Version == "v1.2" {
		t.Errorf("a build without a version: %+v", b)
	}
	commit, commitTime = "abc", "2026-01-02T03:04:05Z"
	defer func() { commit, commitTime = "", "" }()
	if b := ThisBuild("v1.2-dirty"); b.Commit != "abc" || b.Time != commitTime || !b.Modified {
		t.Errorf("a build that make made of a changed checkout: %+v", b)
	}
	for _, tt := range []struct {
		b    Build
		want string
	}{
		{Build{}, "unknown: built outside a checkout"},
		{Build{Commit: "abc", Time: "2026-01-02T03:04:05Z"}, "abc of 2026-01-02T03:04:05Z"},
		{Build{Commit: "abc", Time: "2026-01-02T03:04:05Z", Modified: true}, "abc of 2026-01-02T03:04:05Z, with changes that are in no commit"},
	} {
		if got := tt.b.CommitText(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.b, got, tt.want)
		}
	}
}
