// Package fastlyhost runs a function on Fastly Compute.
//
// The platform makes an instance for every request. Of a request's 50 ms of processor time most
// would go into a policy that is parsed, so the function is given a compiled one; how it lies in
// the platform's stores is in [Entries], which also builds where the platform's SDK doesn't.
package fastlyhost
