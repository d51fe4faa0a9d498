// Package testlong says which tests take minutes, and which may not be skipped. `make test` leaves those that take minutes out, `make test-long`
// runs them.
package testlong

import (
	"os"
	"testing"
)

// Variable is set to 1 where tests that take minutes are wanted.
const Variable = "SWITCHBRIDGE_LONG"

// VariableInstalled is set to 1 where what registries have was installed for the tests, as by make runtimes.
const VariableInstalled = "SWITCHBRIDGE_RUNTIMES"

// Installed says that: a test that lacks such a program then fails, and is not skipped.
func Installed() bool { return os.Getenv(VariableInstalled) == "1" }

// Need skips a test that takes minutes where nobody asked for these. The test's name begins with TestLong:
// that is how `make test-long` finds it.
func Need(tb testing.TB) {
	tb.Helper()
	if os.Getenv(Variable) != "1" {
		tb.Skipf("takes minutes: %s=1, as in make test-long, runs it", Variable)
	}
}
