//go:build json

package main

import "switchbridge/flow/contract/jsonenc"

func init() { codecs.JSON = jsonenc.Codec{} }
