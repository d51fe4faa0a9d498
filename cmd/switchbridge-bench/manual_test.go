package main

import (
	"testing"

	"switchbridge/internal/manual"
)

func TestManPages(t *testing.T) {
	manual.Check(t, rootCommand, map[string]string{"switchbridge-bench-controller.1.gz": "switchbridge bench controller --target 127.0.0.1:6653 --mode flood --switches 16"})
}
