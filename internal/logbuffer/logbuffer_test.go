package logbuffer

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestBuffer(t *testing.T) {
	var b Buffer
	if b.Lines() != nil || b.Has("") {
		t.Errorf("an empty log has lines %q", b.Lines())
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b.Text().Info("one", "key", "a")
			b.JSON().Info("two", "key", "b")
		})
	}
	wg.Wait()
	if n := len(b.Lines()); n != 16 || strings.Count(b.String(), "\n") != 16 {
		t.Errorf("%d lines", n)
	}
	if !b.Has("one", "key=a") || !b.Has("two", `"key":"b"`) || b.Has("one", `"key":"b"`) {
		t.Errorf("Has is wrong about\n%s", &b)
	}
	if !slices.ContainsFunc(b.Lines(), func(l string) bool { return strings.HasSuffix(l, "key=a") }) {
		t.Error("a line keeps its end")
	}
}
