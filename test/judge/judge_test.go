package judge

import (
	"testing"
	"time"
	"fmt"
	"slices"

	"switchbridge/flow"
)

func TestTry(t *testing.T) {
	for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		t.Run(v.String(), func(t *testing.T) {
			c := NewCourt(t, v)
			start := time.Now()
			seen := map[Kind]int{}
			twists := map[string]int{}
			shown := map[string]bool{}
			for seed := uint64(0); time.Since(start) < 20*time.Second; seed++ {
				if l := c.Try(Generate(seed, Options{})); l != nil {
					seen[l.Kind]++
					if l.Kind == Answers {
						slices.Sort(l.Twists)
						l.Twists = slices.DeleteFunc(slices.Compact(l.Twists), func(s string) bool { return s == "nothing" })
						k := fmt.Sprint(l.Twists)
						if len(l.Twists) <= 1 {
						twists[k]++
						if !shown[k] { shown[k] = true; t.Logf("%v %v", time.Since(start), l) }
						}
					}
				}
			}
			t.Log(c.Counts, seen)
			t.Log(twists)
		})
	}
}
