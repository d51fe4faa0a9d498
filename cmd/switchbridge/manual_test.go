package main

import (
	"testing"

	"switchbridge/internal/manual"
)

func TestManPages(t *testing.T) {
	manual.Check(t, rootCommand, map[string]string{
		"switchbridge.1.gz":     "switchbridge run --config switchbridge.yaml",
		"switchbridge-run.1.gz": "switchbridge run --config switchbridge.yaml --check",
	})
}
