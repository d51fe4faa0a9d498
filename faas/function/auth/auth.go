// Package auth checks who may call a function.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// ErrToken says that a caller showed no valid token.
var ErrToken = errors.New("no valid bearer token")

// Tokens are the bearer tokens that are valid. Two are, while one takes the other's place. The
// zero value has none and lets nobody in.
type Tokens struct {
	hashes [][sha256.Size]byte
}

// minToken is the least length of a token: one that is shorter can be guessed, or is a mistake.
const minToken = 16

// ParseSecret reads tokens with white space between, as a variable of the environment or a
// platform's secret holds them.
func ParseSecret(text string) (Tokens, error) {
	return ParseTokens(strings.Join(strings.Fields(text), "\n"))
}

// ParseTokens reads a token a line; blank lines and lines that begin with # don't count.
func ParseTokens(text string) (Tokens, error) {
	var t Tokens
	n := 0
	for line := range strings.Lines(text) {
		n++
		token := strings.TrimSpace(line)
		if token == "" || strings.HasPrefix(token, "#") {
			continue
		}
		if len(token) < minToken {
			return Tokens{}, fmt.Errorf("line %d: token of %d bytes, want at least %d", n, len(token), minToken)
		}
		t.hashes = append(t.hashes, sha256.Sum256([]byte(token)))
	}
	if len(t.hashes) == 0 {
		return Tokens{}, errors.New("no token")
	}
	if len(t.hashes) > 2 {
		return Tokens{}, fmt.Errorf("%d tokens, at most 2 are valid at a time", len(t.hashes))
	}
	return t, nil
}

// Check returns ErrToken unless an Authorization header carries a valid token. The time that it
// takes says nothing of the tokens.
func (t Tokens) Check(authorization string) error {
	scheme, token, _ := strings.Cut(authorization, " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	valid := 0
	for i := range t.hashes {
		valid |= subtle.ConstantTimeCompare(got[:], t.hashes[i][:])
	}
	if valid != 1 || !strings.EqualFold(scheme, "bearer") {
		return ErrToken
	}
	return nil
}
