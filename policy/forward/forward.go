// Package forward is the policy that allows every packet that reaches it, and
// says what allowed packets do. README.md describes it for users.
package forward

import (
	"fmt"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Name is the policy's name in files and reasons.
const Name = "forward"

// Default returns the policy of a gateway without a policy file. Every packet is
// allowed and goes the switch's own way. A rule for its exact flow is installed, which
// ends after 30 s without a packet.
func Default() *policy.Policy {
	return &policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{&Config{Mode: policy.Normal}}}
}

// Config is the policy's source form.
type Config struct {
	Mode    policy.ForwardMode
	Answers bool // replies: allow
	Strict  bool // tcp: strict
	Log     bool // decisions are logged
}

// Name implements [policy.Source].
func (*Config) Name() string { return Name }

// Forward returns the mode, by which packets go that other entries allow.
func (c *Config) Forward() policy.ForwardMode { return c.Mode }

// Replies reports whether what is allowed may be answered.
func (c *Config) Replies() bool { return c.Answers }

// Validate implements [policy.Source].
func (c *Config) Validate(earlier []policy.Source) error {
	if c.Mode < policy.Normal || c.Mode > policy.Learn {
		return fmt.Errorf("mode: %v", c.Mode)
	}
	if c.Strict && !c.Answers {
		return fmt.Errorf("tcp: strict needs replies: allow beside it")
	}
	for i, s := range earlier {
		if s.Name() == Name {
			return fmt.Errorf("entry %d of the chain is a forward already, which allows every packet that reaches it", i+1)
		}
	}
	return nil
}

// Compile implements [policy.Source].
func (c *Config) Compile() policy.Link {
	return &link{policy.Outcome{
		Verdict:   flow.Allow,
		Reason:    Name + ": " + c.Mode.String(),
		Replies:   c.Answers,
		Strict:    c.Strict,
		Log:       c.Log,
		Treatment: policy.Treatment{Mode: c.Mode},
	}}
}

type link struct{ outcome policy.Outcome }

// Decide implements [policy.Link].
func (l *link) Decide(policy.Packet) policy.Outcome { return l.outcome }

// Proactive implements [policy.Link]. In learn, the second table floods what it
// does not know. This rule must not expire: a table without it drops.
func (l *link) Proactive(c *policy.Connected, rules []flow.Rule) []flow.Rule {
	if c.Mode != policy.Learn {
		return rules
	}
	return append(rules, flow.Rule{
		Table:    c.Install.Table + 1,
		Priority: policy.MinPriority,
		BufferID: flow.NoBuffer,
		Actions:  policy.ActionsOf(policy.Flood),
	})
}
