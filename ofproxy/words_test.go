package ofproxy

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// What a switch with the wrong scheme sends is named, not told as a lost connection.
func TestForeign(t *testing.T) {
	for _, row := range []struct {
		first, want string
	}{
		{"\x16\x03\x01\x02\x00\x01", "the switch speaks TLS"},
		{"\x16\x03", "the switch speaks TLS"},
		{"GET / HTTP/1.1\r\n", "HTTP"},
		{"\x04\x00\x00\x10\x00\x00\x00\x01", ""},
		{"\x01\x00\x00\x08", ""},
		{"\x16", ""},
		{"", ""},
	} {
		if got := foreign([]byte(row.first)); (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%q: %q, want %q", row.first, got, row.want)
		}
	}
}

func TestErrorsInWords(t *testing.T) {
	reset := fmt.Errorf("read tcp: %w", syscall.ECONNRESET)
	if got := inWords(reset); !strings.Contains(got.Error(), "the switch reset the connection") || !errors.Is(got, syscall.ECONNRESET) || causeOf(reset) != "reset_by_switch" {
		t.Errorf("%v, cause %s", got, causeOf(reset))
	}
	if other := errors.New("other"); inWords(other) != other {
		t.Error("another error was changed")
	}
}
