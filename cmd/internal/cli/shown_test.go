package cli

import (
	"strings"
	"testing"
)

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"a line\n\tand another\n":     "a line\n\tand another\n",
		"Zürich → 10 µs\n":            "Zürich → 10 µs\n",
		"\x1b[2J\x1b]0;title\a":       "?[2J?]0;title?",
		"harmless\rnot at all\b\x7f":  "harmless?not at all??",
		"\u009b2J of one byte: \x9b2": "?2J of one byte: ?2",
		"":                            "",
	} {
		var b strings.Builder
		n, err := Shown(&b).Write([]byte(text))
		if n != len(text) || err != nil || b.String() != want {
			t.Errorf("%q becomes %q, %d, %v; want %q", text, b.String(), n, err, want)
		}
	}
}
