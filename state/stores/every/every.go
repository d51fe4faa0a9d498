// Package every has all stores. A program that links it carries all their clients.
package every

import (
	"switchbridge/state/bbolt"
	"switchbridge/state/dynamodb"
	"switchbridge/state/memory"
	"switchbridge/state/nats"
	"switchbridge/state/redis"
	"switchbridge/state/stores"
)

// Openers are all of them.
var Openers = stores.Openers{
	"memory": memory.Open, "bbolt": bbolt.Open, "redis": redis.Open, "rediss": redis.Open, "nats": nats.Open, "nats+tls": nats.Open, "dynamodb": dynamodb.Open, "travel": stores.OpenTravel,
}
