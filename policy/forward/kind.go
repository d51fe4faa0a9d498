package forward

import "switchbridge/policy"

// Kind implements [policy.Kind].
type Kind struct{}

// Name implements [policy.Kind].
func (Kind) Name() string { return Name }

// Code implements [policy.Kind].
func (Kind) Code() byte { return 3 }

// Explain implements [policy.Source].
func (c *Config) Explain() string {
	s := "allows what reaches it; allowed packets go by " + c.Mode.String()
	if c.Answers {
		s += "; what answers them is let in"
	}
	if c.Strict {
		s += "; over TCP only a SYN opens a conversation"
	}
	return s
}

// Examples implements [policy.Kind].
func (Kind) Examples() (list []policy.Example) {
	for m := policy.Normal; m <= policy.Learn; m++ {
		list = append(list, policy.Example{Entry: &Config{Mode: m}})
	}
	list = append(list, policy.Example{Entry: &Config{Mode: policy.Normal, Answers: true}}, policy.Example{Entry: &Config{Mode: policy.Normal, Answers: true, Strict: true}})
	return list
}
