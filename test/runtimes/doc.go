// Package runtimes holds the function to the platforms' own runtimes: what AWS, Fastly and others let developers run on their own machines,
// and WebAssembly runtimes that are not the one in our binary. A runtime is a row of the table in runtimes_test.go.
package runtimes
