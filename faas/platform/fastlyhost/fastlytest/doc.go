// Package fastlytest runs a program for Fastly Compute on wazero, with the calls that it makes into
// the platform: an instance for every request, its stores and its logs.
//
// It is for tests. What it checks, the platform checks too: every pointer, length, alignment and
// handle that the guest gives, the size of its memory, and how many look-ups it makes. What the platform
// has and programs of this repository don't use, such as backends and caches, isn't here: a
// program that imports it can't be instantiated, and the error names the import.
//
// Signatures are those of the SDK's declarations (compute-sdk-go, internal/abi/fastly).
package fastlytest
