package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseTokens(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", "no token"},
		{"comments only", "# none\n\n", "no token"},
		{"short", "# first\nsecret\n", "line 2: token of 6 bytes, want at least 16"},
		{"three", strings.Repeat("0123456789abcdef\n", 3), "3 tokens, at most 2"},
	} {
		if _, err := ParseTokens(row.text); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestParseSecret(t *testing.T) {
	for _, text := range []string{"the-older-token-1 the-newer-token-2", " the-older-token-1\n\tthe-newer-token-2\r\n"} {
		tokens, err := ParseSecret(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		for header, valid := range map[string]bool{"Bearer the-older-token-1": true, "Bearer the-newer-token-2": true, "Bearer " + text: false} {
			if err := tokens.Check(header); (err == nil) != valid {
				t.Errorf("%q: %q: %v", text, header, err)
			}
		}
	}
	if _, err := ParseSecret(" \n"); err == nil {
		t.Error("no token, no error")
	}
}

func TestNoTokensLetNobodyIn(t *testing.T) {
	for _, header := range []string{"", "Bearer ", "Bearer 0123456789abcdef"} {
		if err := (Tokens{}).Check(header); !errors.Is(err, ErrToken) {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	stamp := time.Now().Add(-time.Hour)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		stamp = stamp.Add(time.Minute)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	const older, newer = "Bearer the older token 1", "Bearer the newer token 2"
	if _, err := OpenTokens(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	write("the older token 1\n")
	f, err := OpenTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, olderOK, newerOK bool) {
		t.Helper()
		f.mu.Lock()
		f.read = time.Time{} // as if lookInterval had passed
		f.mu.Unlock()
		if got := f.Check(older) == nil; got != olderOK {
			t.Errorf("%s: the older token is let in: %v", when, got)
		}
		if got := f.Check(newer) == nil; got != newerOK {
			t.Errorf("%s: the newer token is let in: %v", when, got)
		}
	}
	check("at first", true, false)
	write("the older token 1\nthe newer token 2\n")
	check("during the rotation", true, true)
	write("the newer token 2\n")
	check("after it", false, true)
	write("oops\n")
	check("with a broken file", false, true)
	if f.Err() == nil {
		t.Error("nothing tells of the broken file")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("without a file", false, true)
	write("the newer token 2\n")
	check("with the file again", false, true)
	if err := f.Err(); err != nil {
		t.Error(err)
	}
}
