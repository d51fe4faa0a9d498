// Serves the example on Node: node serve-example.mjs [port]
import example from "./dist/example.js";
import { serve } from "./dist/node.js";

serve(example.fetch, Number(process.argv[2] ?? 8080));
