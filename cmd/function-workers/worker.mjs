// The Worker's entry: an instance of the function for every request, which ends with its answer.
//
// wasm_exec.js is Go's own, of the release that built function.wasm.

import { DurableObject } from "cloudflare:workers";
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

// An object keeps the state of one key (state/durableobject), and is asked by one event after the other. What it remembers is kept for an hour after it
// has expired or was deleted, so that versions grow.
const grace = 3600_000;

export class State extends DurableObject {
  // now returns what is there: {version, data, expires}, data undefined where there is no state.
  async now() {
    const there = (await this.ctx.storage.get("state")) ?? { version: 0 };
    if (there.expires !== 0 && there.expires <= Date.now()) {
      return { version: there.version };
    }
    return there;
  }

  async read() {
    const { version, data } = await this.now();
    return { version, data };
  }

  // swap stores data (undefined: nothing) to expire after ttl milliseconds (0: never) if the version is old (0: if there is no state). It returns
  // the new version, or 0.
  async swap(old, data, ttl) {
    const now = await this.now();
    if ((now.data === undefined ? 0 : now.version) !== old) {
      return 0;
    }
    const time = Date.now();
    const version = Math.max(now.version + 1, time * 1000);
    const expires = data !== undefined && ttl > 0 ? time + ttl : 0;
    await this.ctx.storage.put("state", { version, data, expires });
    if (data === undefined || ttl > 0) {
      await this.ctx.storage.setAlarm((expires || time) + grace);
    } else {
      await this.ctx.storage.deleteAlarm();
    }
    return version;
  }

  async alarm() {
    await this.ctx.storage.deleteAll();
  }
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
