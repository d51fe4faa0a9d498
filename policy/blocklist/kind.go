package blocklist

// Kind implements [policy.Kind].
type Kind struct{}

// Name implements [policy.Kind].
func (Kind) Name() string { return Name }

// Code implements [policy.Kind].
func (Kind) Code() byte { return 1 }
