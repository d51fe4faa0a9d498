// Package guard: a stand-in until the table of rails is merged.
package guard

import (
	"switchbridge/flow"
	"switchbridge/flow/decider"
)

type Switch interface {
	Fit(r *flow.Rule, packet *flow.Match) error
	FitActions(actions []flow.Action) error
	Before(a, b *flow.Rule) bool
}

type Memory struct{}

func (m *Memory) Refused(r *flow.Rule) {}

func (m *Memory) Foreign(func(yield func(r *flow.Rule) bool)) {}

type Violation struct {
	Rail, Rule, Detail, Function string
}

type Outcome struct {
	Actions    []flow.Action
	Rule       int
	Violations []Violation
}

type Guardrails struct{ decider.Guardrails }

func Default() *Guardrails { return &Guardrails{*decider.DefaultGuardrails()} }

func (g *Guardrails) Check(ev *flow.Event, d *flow.Decision, sw Switch, mem *Memory, out *Outcome) {
	out.Violations = out.Violations[:0]
	for _, v := range g.Guardrails.Check(ev, d) {
		out.Violations = append(out.Violations, Violation{Rail: string(v.Rail), Rule: v.Rule, Detail: v.Detail})
	}
	out.Actions, out.Rule = nil, -1
	if ev.PacketIn != nil {
		out.Actions, out.Rule = d.PacketActions(&ev.PacketIn.Match)
	}
}

func Fall(rules []flow.Rule, gone []bool, before func(a, b *flow.Rule) bool) {}
