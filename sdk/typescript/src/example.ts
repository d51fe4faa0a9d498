// A function that lets everything pass but SSH: on Workers and Deno as it is, on Node by serve-example.mjs.
import { handler, type Decision, type Packet } from "./index.js";

function packetIn(packet: Packet): Decision {
  if (packet.get("tcp_dst") === 22) {
    return packet.deny("no ssh");
  }
  return packet.reuseFor(packet.allow("not ssh"), 5);
}

export default { fetch: handler({ packetIn, policy: "1-00000001" }) };
