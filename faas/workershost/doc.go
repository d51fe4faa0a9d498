// Package workershost runs a function on Cloudflare Workers. It is compiled for GOOS=js; its
// names for the platform's stores are there for every system.
package workershost
