// Package runtimes holds the function to the platforms' own runtimes: what AWS and Fastly let developers run on their own machines, and
// wasmtime. A runtime is a row of the table in runtimes_test.go.
package runtimes
