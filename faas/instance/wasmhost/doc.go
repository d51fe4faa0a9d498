// Package wasmhost runs a WebAssembly guest and gives every event a pristine instance.
//
// The host initialises the guest once and lets it parse its policy. It keeps the guest's linear
// memory and mutable globals as an image. An instance that equals the image decides an event. After
// the answer, the host restores the instance: it writes back only the memory that the event has
// changed, which the guest's rewritten code has marked (see track.go). The host drops an instance that
// trapped, ran out of time or grew its memory. If a guest has state that can't be restored, such as a
// table that it changes, every event gets a new instance.
//
// A guest can be prepared when the program that contains it is built. It then decides with the part of
// its code that decisions have needed in training. The host loads the rest when an event or a new policy
// needs it (see lean.go).
//
// A guest sees no files, arguments, environment or network: of WASI it has the clocks, the
// random source, and standard output and error, which go to the log. The host keeps no state for
// it. So only its memory, globals and tables could carry anything from one event to the next.
//
// Limitations: what a guest does before the image is taken is the same in every instance, also the
// seeds of pseudo-random generators. A guest must take unpredictable values from the host's random
// source (crypto/rand, random_get) while it decides. A guest's loops check its deadline: a guest that
// fills all of its memory in one instruction, again and again, is stopped up to 64 of these late.
package wasmhost
