package bridge

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"switchbridge/internal/logbuffer"
)

// A switch's own words may be as long as its messages. A line shows their start.
func TestMuteCutsLongTexts(t *testing.T) {
	var logs logbuffer.Buffer
	m := Mute{Log: slog.New(slog.NewTextHandler(&logs, nil))}
	long := strings.Repeat("é", 1<<20)
	m.Warn("a", "refused", "err", errors.New(long), "text", long, "short", "as it is", "n", 7)
	for _, want := range []string{"(2097152 bytes)", `short="as it is"`, "n=7", "ééé"} {
		if !strings.Contains(logs.String(), want) {
			t.Errorf("no %s in %.200s", want, logs.String())
		}
	}
	if n := len(logs.String()); n > 2000 {
		t.Errorf("%d bytes in one line", n)
	}
}
