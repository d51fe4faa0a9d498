package cli

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// commit and commitTime are set by make's builds (-ldflags "-X ..."), since Go's own record is missing where
// the checkout is a git worktree.
var commit, commitTime string

// Build is what a program knows of how it was built.
type Build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`   // in full; empty where it was built outside a checkout
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // the checkout had changes that are in no commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// ThisBuild is how this program was built. set is the version that the build gave it, if it did.
func ThisBuild(set string) Build {
	b := Build{Version: set, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	if commit != "" {
		b.Commit, b.Time, b.Modified = commit, commitTime, strings.HasSuffix(set, "-dirty")
	}
	if b.Version == "" {
		b.Version = "devel"
		if len(b.Commit) >= 12 {
			b.Version += "-" + b.Commit[:12]
		}
	}
	return b
}

// CommitText is the commit as a person reads it.
func (b *Build) CommitText() string {
	if b.Commit == "" {
		return "unknown: built outside a checkout"
	}
	text := b.Commit + " of " + b.Time
	if b.Modified {
		text += ", with changes that are in no commit"
	}
	return text
}
