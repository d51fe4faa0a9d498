package cli

import (
	"io"
	"unicode"
	"unicode/utf8"
)

// Shown is w for a terminal: what is written may have come from a switch, a function or a server, and with escape sequences it could hide what was
// printed before, or have the terminal do things. Control characters other than the ends of lines and tabs become question marks.
func Shown(w io.Writer) io.Writer { return shown{w} }

type shown struct{ w io.Writer }

func (s shown) Write(b []byte) (int, error) {
	if _, err := io.WriteString(s.w, printable(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// printable is s as [Shown] writes it.
func printable(s string) string {
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1 && s[0] < 0xa0, unicode.IsControl(r) && r != '\n' && r != '\t':
			out = append(out, '?')
		default:
			out = append(out, s[:n]...) // a character may go on in the next call
		}
		s = s[n:]
	}
	return string(out)
}
