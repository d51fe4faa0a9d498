// Package dynamotest runs DynamoDB Local for tests.
package dynamotest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"switchbridge/internal/built"
	"switchbridge/internal/dynamolocal"
	"switchbridge/internal/testlong"
)

// Start starts DynamoDB Local with a folder of its own. It skips the test where that can't be.
func Start(t testing.TB) *dynamolocal.Server {
	t.Helper()
	jars := os.Getenv("DYNAMODB_LOCAL")
	if jars == "" {
		jars = filepath.Join(built.Root(t), "build", "dynamodb")
	}
	s, err := dynamolocal.Start(t.Context(), jars, t.TempDir())
	if errors.Is(err, dynamolocal.ErrMissing) {
		if testlong.Installed() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
