// Package workershost runs a function on Cloudflare Workers, or on anything else that runs
// workerd's modules.
//
// cmd/function-workers/worker.mjs makes a WebAssembly instance for a request and starts the
// function in it. Main, which is there for GOOS=js only, takes that request, answers it and returns;
// then the instance ends. So no event finds anything of another one.
//
// It needs no net/http: that would double what is loaded and what each instance initialises.
package workershost
