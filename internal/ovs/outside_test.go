package ovs

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestOutside: a lab outside a test ends with why it could not go on, and cleans up in any case.
func TestOutside(t *testing.T) {
	var _ TB = t
	broken := errors.New("broken")
	for name, row := range map[string]struct {
		f    func(tb TB) error
		want string
	}{
		"good":    {func(TB) error { return nil }, ""},
		"error":   {func(TB) error { return broken }, "broken"},
		"fatal":   {func(tb TB) error { tb.Fatalf("fatal %d", 1); return nil }, "fatal 1"},
		"skipped": {func(tb TB) error { tb.Skip("needs root"); return nil }, "needs root"},
	} {
		dir, cleaned := "", 0
		err := Outside(func(tb TB) error {
			dir = tb.TempDir()
			tb.Cleanup(func() { cleaned++ })
			return row.f(tb)
		})
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) || cleaned != 1 {
			t.Errorf("%s: the folder is left (%v), or %d clean-ups", name, err, cleaned)
		}
	}
}
