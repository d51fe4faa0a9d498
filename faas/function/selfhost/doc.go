// Package selfhost is `switchbridge function serve`: functions on a server of one's own, or in a
// container of a platform that hands over a port. It wires what other packages are: guests in
// pristine instances (wasmhost, embedded), the contract over HTTP (httphost), who may call (auth),
// policies that change (policyhost).
package selfhost
