package elapsed

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestElapsed(t *testing.T) {
	if n := time.Duration(Now()); n < 365*24*time.Hour {
		t.Errorf("%v: nothing is long ago", n)
	}
	if !strings.Contains(began.String(), "m=") {
		t.Errorf("%v has no monotonic reading: it would be compared by the time of day", began)
	}
	synctest.Test(t, func(t *testing.T) {
		before := Now()
		if time.Duration(before) < 365*24*time.Hour {
			t.Errorf("%v under a fake clock: nothing is long ago", time.Duration(before))
		}
		time.Sleep(time.Minute)
		if n := time.Duration(Now() - before); n != time.Minute {
			t.Errorf("a minute is %v", n)
		}
	})
}
