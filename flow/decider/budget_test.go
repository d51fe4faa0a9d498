package decider

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

// TestBudget spends calls over time: at each step, how many of ten are let pass.
func TestBudget(t *testing.T) {
	type step struct {
		wait time.Duration
		want int
	}
	for _, row := range []struct {
		name   string
		limits BudgetLimits
		steps  []step
		alarms string
	}{
		{"none", BudgetLimits{Alarm: 0.8}, []step{{0, 10}, {0, 10}}, "[]"},
		{"an hour", BudgetLimits{PerHour: 25, Alarm: 0.8}, []step{{0, 10}, {30 * time.Minute, 10}, {0, 5}, {0, 0}, {29 * time.Minute, 0}, {2 * time.Minute, 10}, {0, 0}, {2 * time.Hour, 10}},
			"[hour 20 of 25 hour 20 of 25]"},
		{"the alarm comes again when it was below", BudgetLimits{PerHour: 10, Alarm: 0.5}, []step{{0, 10}, {2 * time.Hour, 10}}, "[hour 5 of 10 hour 5 of 10]"},
		{"a day", BudgetLimits{PerDay: 15, Alarm: 1}, []step{{0, 10}, {2 * time.Hour, 5}, {20 * time.Hour, 0}, {3 * time.Hour, 10}, {0, 0}}, "[day 15 of 15 day 15 of 15]"},
		{"both", BudgetLimits{PerHour: 5, PerDay: 8}, []step{{0, 5}, {2 * time.Hour, 3}, {2 * time.Hour, 0}, {25 * time.Hour, 5}}, "[]"},
		{"beyond it packets are dropped", BudgetLimits{PerHour: 5, Refuse: true}, []step{{0, 5}, {0, 0}}, "[]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				b := NewBudget(flow.DeciderFunc(answer().Decide), row.limits, nil)
				var alarms []string
				b.OnAlarm = func(window string, calls, of int) {
					alarms = append(alarms, fmt.Sprintf("%s %d of %d", window, calls, of))
				}
				b.OnCall = func(_, _ float64, passed bool) {
					if passed {
						asked++
					}
				}
				want := flow.Unavailable
				if row.limits.Refuse {
					want = flow.Overload
				}
				for i, s := range row.steps {
					time.Sleep(s.wait)
					passed := 0
					for range 10 {
						switch err := b.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision)); {
						case err == nil:
							passed++
						case flow.KindOf(err) != want:
							t.Fatal(err)
						}
					}
					if passed != s.want {
						t.Errorf("step %d: %d of ten pass, want %d", i+1, passed, s.want)
					}
					asked -= passed
				}
				if got := fmt.Sprint(alarms); got != row.alarms {
					t.Errorf("alarms %v, want %v", got, row.alarms)
				}
				if asked != 0 {
					t.Errorf("%d calls too many were told of", asked)
				}
			})
		})
	}
}

// TestBudgetPolicyChecks: they count, and go on when there is nothing left.
func TestBudgetPolicyChecks(t *testing.T) {
	b := NewBudget(answer(), BudgetLimits{PerHour: 3}, nil)
	check := &flow.Event{Type: flow.EventPolicyCheck}
	for range 5 {
		if err := b.Decide(t.Context(), check, new(flow.Decision)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision)); flow.KindOf(err) != flow.Unavailable || err == nil {
		t.Errorf("a packet: %v", err)
	}
}

// TestBudgetReload: other limits go on with what was counted, by the same clock.
func TestBudgetReload(t *testing.T) {
	ask := func(b *Budget) error { return b.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision)) }
	b := NewBudget(answer(), BudgetLimits{PerHour: 2}, nil)
	for range 2 {
		if err := ask(b); err != nil {
			t.Fatal(err)
		}
	}
	larger := NewBudget(answer(), BudgetLimits{PerHour: 3}, b)
	if err := ask(larger); err != nil {
		t.Errorf("with a larger budget: %v", err)
	}
	if err := ask(larger); err == nil {
		t.Error("what was counted before is forgotten")
	}
	if err := larger.spend(false, 2*time.Hour); err != nil {
		t.Errorf("two hours later: %v", err)
	}
}
