// npm test
import assert from "node:assert/strict";
import test from "node:test";

import { handler } from "../dist/index.js";

const all = ["covers_incomplete", "reply", "revoke", "reuse"];
const headers = { "content-type": "application/json", "ce-specversion": "1.0", "ce-type": "switchbridge.packet_in.v1", "ce-id": "1" };

function event({ accepts = all, hidden = false, ...match } = {}) {
  match = { in_port: 1, eth_type: 2048, vlan_vid: "0x0000", ip_proto: 6, ipv4_src: "10.0.0.1", ipv4_dst: "10.0.0.2", tcp_src: 40000, tcp_dst: 443, ...match };
  const packet = { in_port: 1, match };
  if (hidden) {
    delete match.tcp_src;
    delete match.tcp_dst;
    packet.incomplete = ["tcp_src", "tcp_dst"];
  } else {
    packet.rule_match = { ...match };
  }
  return { switch: { dpid: "0000000000000001", protocol: "OpenFlow 1.3" }, packet_in: packet, accepts };
}

const post = (fetch, body, change = {}) =>
  fetch(new Request("http://f.example/", { method: "POST", headers: { ...headers, ...change }, body: typeof body === "string" ? body : JSON.stringify(body) }));

async function answer(packetIn, asked) {
  const response = await post(handler({ packetIn, policy: "7-0c0ffee1" }), asked);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("switchbridge-policy"), "7-0c0ffee1");
  return response.json();
}

const noSSH = (p) => (p.get("tcp_dst") === 22 ? p.deny("no ssh") : p.allow("not ssh"));
const pair = (p) => (p.get("ipv4_src") === "10.0.0.1" ? p.allowPair("these two") : p.deny("others"));

test("the time of a decision whose trace is kept", async () => {
  for (const [flags, kept] of [["00", false], ["01", true]]) {
    const response = await post(handler({ packetIn: noSSH }), event(), { traceparent: `00-0123456789abcdef0123456789abcdef-0123456789abcdef-${flags}` });
    assert.equal((response.headers.get("server-timing") ?? "").startsWith("decide;dur="), kept);
  }
});

test("an exact rule", async () => {
  const d = await answer(noSSH, event());
  assert.equal(d.verdict, "allow");
  assert.deepEqual(d.flows[0].match, event().packet_in.rule_match);
  const ssh = await answer(noSSH, event({ tcp_dst: 22 }));
  assert.deepEqual([ssh.verdict, ssh.flows[0].actions, ssh.packet_out.actions], ["deny", [], []]);
});

test("a hidden header is denied without a rule", async () => {
  const d = await answer(noSSH, event({ hidden: true }));
  assert.deepEqual([d.verdict, d.flows, d.packet_out.actions], ["deny", undefined, []]);
  assert.match(d.reason, /tcp_dst/);
});

test("a rule for a pair of hosts", async () => {
  const d = await answer(pair, event());
  assert.deepEqual(Object.keys(d.flows[0].match).sort(), ["eth_type", "in_port", "ipv4_dst", "ipv4_src", "vlan_vid"]);
  assert.equal(d.flows[0].covers_incomplete, undefined);
  assert.equal((await answer(pair, event({ hidden: true }))).flows[0].covers_incomplete, true);
  assert.equal((await answer(pair, event({ hidden: true, accepts: [] }))).flows, undefined);
  const looked = await answer((p) => (p.get("tcp_dst") === 443 ? p.allowPair("x") : undefined), event());
  assert.equal(looked.flows[0].match.tcp_dst, 443); // not wider than what was looked at
});

test("a deny unless it is a reply", async () => {
  const decide = (p) => p.denyUnlessReply("x");
  const d = await answer(decide, event());
  assert.deepEqual([d.flows[0].hard_timeout, d.if_reply.flows[0].match], [2, event().packet_in.rule_match]);
  assert.equal((await answer(decide, event({ accepts: [] }))).if_reply, undefined);
  const error = await answer(decide, event({ icmpv4_type: 3 }));
  assert.deepEqual([error.flows, error.if_reply], [undefined, undefined]);
});

test("an answer for other packets", async () => {
  const decide = (p) => p.reuseFor(noSSH(p), 5);
  assert.deepEqual((await answer(decide, event())).reuse, { seconds: 5, fields: ["tcp_dst"] });
  assert.equal((await answer(decide, event({ accepts: [] }))).reuse, undefined);
  assert.equal((await answer(decide, event({ hidden: true }))).reuse, undefined);
});

test("states need a gateway that revokes", async () => {
  const decide = (p) => ({ ...p.allow("x"), states: [{ state: "a", version: 1 }] });
  assert.equal((await answer(decide, event())).states.length, 1);
  const older = await answer(decide, event({ accepts: ["reply"] }));
  assert.deepEqual([older.states, older.flows, older.verdict], [undefined, undefined, "allow"]);
});

test("other events", async () => {
  const connected = { "ce-type": "switchbridge.switch_connected.v1" };
  assert.deepEqual(await (await post(handler({ packetIn: noSSH }), event(), connected)).json(), {});
  const on = (kind, e) => ({ reason: `${kind} ${e.switch.dpid}` });
  assert.deepEqual(await (await post(handler({ packetIn: noSSH, on }), event(), connected)).json(), { reason: "switch_connected 0000000000000001" });
});

test("refusals", async () => {
  const fetch = handler({ packetIn: noSSH });
  for (const [change, body, want] of [
    [{ "content-type": "text/xml" }, event(), 415],
    [{ "content-encoding": "gzip" }, event(), 415],
    [{ "ce-type": "switchbridge.other.v1" }, event(), 400],
    [{ "ce-id": "" }, event(), 400],
    [{}, "[]", 400],
    [{}, "{", 400],
    [{}, '{"switch": {}}', 400],
    [{}, " ".repeat(1 << 20) + "{}", 413],
    [{}, event({ unheard_of: 1 }), 400],
  ]) {
    assert.equal((await post(fetch, body, change)).status, want, JSON.stringify(change));
  }
  await assert.rejects(post(handler({ packetIn: (p) => p.get("tcp_port") }), event()), TypeError);
});
