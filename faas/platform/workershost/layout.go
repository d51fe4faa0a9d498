package workershost

// The names that a Worker's configuration binds (configs/workers/wrangler.toml) and that
// whoever hands it a policy or a token uses.
const (
	// PolicyBinding is the binding of the KV namespace that holds the policy.
	PolicyBinding = "POLICY"

	// PolicyKey is the key of the current policy in that namespace. Its value is the compiled
	// policy itself (policy/blob), raw bytes. It is one key and not a pointer to another: KV is
	// eventually consistent, and a pointer may be seen before what it points to.
	PolicyKey = "policy.blob"

	// TokensBinding is the secret with the bearer token, or two with a blank or a line break
	// between while one takes the other's place.
	TokensBinding = "SWITCHBRIDGE_TOKENS"

	// StatesBinding is the namespace of Durable Objects that keep the states of machines.
	StatesBinding = "STATES"

	// AuthBinding is the variable that says "none" where the platform checks who calls.
	AuthBinding = "SWITCHBRIDGE_AUTH"
)

// MaxValue is the most bytes that KV keeps under a key: 25 MiB.
// developers.cloudflare.com/kv/platform/limits.
const MaxValue = 25 << 20
