//go:build json

package main

import (
	"os"

	"switchbridge/controller"
	"switchbridge/faas/platform/edgehost"
	"switchbridge/flow"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/state/travel"
)

func init() {
	codecs.JSON = jsonenc.Codec{}
	remembering = func(c *controller.Controller, log func(string)) (flow.Decider, error) {
		keys := os.Getenv(travel.EnvKeys)
		if keys == "" {
			return c, nil
		}
		return edgehost.Travelling(c, keys, log)
	}
}
