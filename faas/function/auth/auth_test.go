package auth

import (
	"errors"
	"strings"
	"testing"
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
