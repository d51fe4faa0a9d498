// Package guest is the border between a WebAssembly guest and the host that runs it: the
// envelope that one event and its answer travel in, and, when built for WebAssembly, the exports
// of guest ABI version 1. Guests and hosts both import it, so it needs neither net nor reflection.
//
// docs/guest-abi.md describes the same bytes for guests written in other languages.
package guest
