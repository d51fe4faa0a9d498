// The Worker's entry: an instance of the function for every request, which ends with its answer.
//
// wasm_exec.js is Go's own, of the release that built function.wasm.

import "./wasm_exec.js";
import module from "./function.wasm";

// The function knows its call by the number that it is given as an argument. A global that held the
// call itself would be another request's by the time that a promise is settled.
const calls = new Map();
globalThis.switchbridgeCalls = calls;
let last = 0;

async function answer(request, env) {
  const call = { request, env, response: undefined };
  const number = String(++last);
  const go = new Go();
  go.argv = ["function", number];
  // An instance lives for one event: a collector pays only where a policy is large.
  go.env = { GOGC: "off", GOMEMLIMIT: "48MiB" };
  calls.set(number, call);
  try {
    await go.run(new WebAssembly.Instance(module, go.importObject));
  } finally {
    calls.delete(number);
    // Go's runtime may have timers left, which would wake an instance that is no more.
    go._scheduledTimeouts.forEach((timer) => clearTimeout(timer));
  }
  if (call.response === undefined) {
    throw new Error("it ended without an answer");
  }
  return call.response;
}

export default {
  async fetch(request, env) {
    try {
      return await answer(request, env);
    } catch (err) {
      console.error("function failed:", err?.stack ?? err);
      return new Response("function failed\n", { status: 500 });
    }
  },
};
