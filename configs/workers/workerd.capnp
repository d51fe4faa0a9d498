# The function on workerd, the runtime that Cloudflare Workers is made of. After `make workers`:
#
#     SWITCHBRIDGE_TOKENS=$(cat token) workerd serve configs/workers/workerd.capnp --directory-path policy=DIRECTORY --directory-path states=STATES
#
# DIRECTORY stands for the KV namespace: it holds policy.blob, a compiled policy. In STATES the states of machines are kept.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "function", worker = .function),
    (name = "policy", disk = (path = "policy")),
    (name = "states", disk = (path = "states", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "function")],
);

const function :Workerd.Worker = (
  modules = [
    (name = "worker.mjs", esModule = embed "../../cmd/function-workers/dist/worker.mjs"),
    (name = "wasm_exec.js", esModule = embed "../../cmd/function-workers/dist/wasm_exec.js"),
    (name = "function.wasm", wasm = embed "../../cmd/function-workers/dist/function.wasm"),
  ],
  durableObjectNamespaces = [(className = "State", uniqueKey = "switchbridge-state")],
  durableObjectStorage = (localDisk = "states"),
  bindings = [
    (name = "STATES", durableObjectNamespace = "State"),
    (name = "POLICY", kvNamespace = "policy"),
    (name = "SWITCHBRIDGE_TOKENS", fromEnvironment = "SWITCHBRIDGE_TOKENS"),
    (name = "SWITCHBRIDGE_AUTH", fromEnvironment = "SWITCHBRIDGE_AUTH"),
    (name = "SWITCHBRIDGE_STATE_KEYS", fromEnvironment = "SWITCHBRIDGE_STATE_KEYS"),
  ],
  compatibilityDate = "2026-05-01",
);
