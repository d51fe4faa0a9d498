// Package wasmhost runs a WebAssembly guest so that every event meets a pristine instance.
//
// The guest is initialised once, with its policy parsed, and its linear memory and mutable
// globals are kept as an image. An event is decided by an instance that equals the image; after
// the answer the instance is put back to it, by writing back only what the event wrote: the guest's
// code is rewritten to mark that (see track.go). An instance that trapped, ran out of time or grew its
// memory is thrown away. A guest with state that can't be put back, such as a table that it changes,
// gets a new instance for every event.
//
// A guest that was prepared when its program was built decides by that part of its code which it was seen
// to need for it. All of it is there for what else may come, and to take policies in (see lean.go).
//
// A guest sees no files, arguments, environment or network: of WASI it has the clocks, the
// random source, and standard output and error, which go to the log. It has no state on the
// host's side, so nothing but its memory, globals and tables could carry anything from one event
// to the next.
//
// Limitations: what a guest does before the image is taken is the same in every instance,
// seeds of pseudo-random generators included. Guests take what must be unpredictable from the
// host's random source (crypto/rand, random_get) while they decide. Deadlines are checked by a
// guest's own turns, and one that fills all of its memory again and again is up to 64 of these late.
package wasmhost
