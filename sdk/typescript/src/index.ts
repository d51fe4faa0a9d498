/**
 * Functions for Switchbridge: a function about packets becomes a fetch handler, as Cloudflare Workers, Deno and Bun have it; node.ts
 * serves it on Node. The contract is docs/contract.md of Switchbridge.
 */

import { matchFields, type Action, type Decision, type Event, type Flow, type Match, type PacketIn } from "./contract.js";

export type * from "./contract.js";

const maxBody = 1 << 20;
const kinds = new Set(["packet_in", "switch_connected", "flow_removed", "port_status", "error", "policy_check", "handshake"]);
const protocols = new Set(["OpenFlow 1.0", "OpenFlow 1.3", "P4Runtime"]);
const pairFields = ["in_port", "eth_type", "vlan_vid", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"];

// Timeouts of rules, in seconds: a deny is short, so that a changed mind counts soon.
const [allowIdle, allowHard, denyHard] = [60, 3600, 30];
const replyLife = 2; // of a deny that may be of a reply

const normal = (): Action[] => [{ type: "OUTPUT", port: "NORMAL" }];

/** Is thrown for an event that is refused for good: a gateway drops the packet and does not ask again. */
class Refused extends Error {
  constructor(readonly status: number, why: string) {
    super(why);
  }
}

/**
 * A packet that needs a decision. It remembers which headers were looked at, since the answer holds for those packets alone that have
 * the same.
 */
export class Packet {
  readonly packetIn: PacketIn;
  readonly match: Match;
  readonly incomplete: string[];
  private readonly looked = new Set<string>();

  constructor(readonly event: Event) {
    this.packetIn = event.packet_in ?? {};
    this.match = this.packetIn.match ?? {};
    this.incomplete = this.packetIn.incomplete ?? [];
  }

  /** A header; undefined where the packet has none or does not show it. In the second case allow() denies. */
  get(field: string): number | string | undefined {
    if (!matchFields.has(field)) {
      throw new TypeError(`no field of a match: ${field}`);
    }
    this.looked.add(field);
    return this.match[field];
  }

  /** The first header that was looked at, and that the packet has and does not show, such as the ports of a fragment. */
  get hidden(): string | undefined {
    return this.incomplete.find((field) => this.looked.has(field));
  }

  /**
   * Forward the packet, with a rule for exactly its conversation where the switch can hold one. If the packet hides a header that was
   * looked at, it is denied, and no rule is left.
   */
  allow(reason: string): Decision {
    const hidden = this.hidden;
    if (hidden !== undefined) {
      return this.answer("deny", `the packet does not show ${hidden}, so it is not: ${reason}`, undefined);
    }
    return this.answer("allow", reason, this.packetIn.rule_match);
  }

  /** Drop the packet, with a rule for exactly its conversation where the switch can hold one. */
  deny(reason: string): Decision {
    return this.answer("deny", reason, this.packetIn.rule_match);
  }

  /**
   * allow() with a rule for all packets of these two hosts by this port, fragments among them. It is for those who have looked at nothing
   * else: where another header was looked at, the rule is that of allow(). So it is for packets that are not IP.
   */
  allowPair(reason: string): Decision {
    const decision = this.allow(reason);
    const match: Match = {};
    for (const field of pairFields) {
      const value = this.match[field];
      if (value !== undefined) {
        match[field] = value;
      }
    }
    const protocol = this.event.switch?.protocol;
    const holds = "ipv4_dst" in match || ("ipv6_dst" in match && protocol === "OpenFlow 1.3");
    const covers = this.incomplete.length > 0;
    const onlyPair = [...this.looked].every((field) => pairFields.includes(field));
    if (decision.verdict !== "allow" || !holds || protocol === "P4Runtime" || !onlyPair || (covers && !accepts(this.event, "covers_incomplete"))) {
      return decision;
    }
    decision.flows = [{ priority: 90, idle_timeout: allowIdle, hard_timeout: allowHard, match, actions: normal(), ...(covers ? { covers_incomplete: true } : {}) }];
    return decision;
  }

  /** Deny the packet, unless the switch holds the rule of a packet that it answers, which allow() has left. */
  denyUnlessReply(reason: string): Decision {
    const decision = this.deny(reason);
    const match = this.packetIn.rule_match;
    if (match === undefined || this.icmpError()) {
      delete decision.flows;
      return decision;
    }
    decision.flows = [{ priority: 100, hard_timeout: replyLife, match, actions: [] }];
    decision.if_reply = {
      reason: `${reason} (a reply)`,
      flows: [{ priority: 100, idle_timeout: allowIdle, hard_timeout: allowHard, match, actions: normal() }],
      packet_out: { actions: normal() },
    };
    return decision;
  }

  /**
   * Say that for so many seconds every packet with the same values in the headers that were looked at gets this answer, whichever switch
   * asks and by whichever port it comes.
   */
  reuseFor(decision: Decision, seconds: number): Decision {
    if (this.incomplete.length === 0 && decision.if_reply === undefined && !decision.states?.length) {
      decision.reuse = { seconds, fields: [...this.looked].sort() };
    }
    return decision;
  }

  /** Whether the packet is an ICMP message about another packet, which answers nothing. */
  private icmpError(): boolean {
    return [3, 11, 12].includes(Number(this.match["icmpv4_type"])) || [1, 2, 3, 4].includes(Number(this.match["icmpv6_type"]));
  }

  private answer(verdict: "allow" | "deny", reason: string, match: Match | undefined): Decision {
    const actions = verdict === "allow" ? normal() : [];
    const decision: Decision = { verdict, reason, packet_out: { actions } };
    if (match !== undefined) {
      const rule: Flow = { priority: 100, hard_timeout: verdict === "allow" ? allowHard : denyHard, match, actions };
      decision.flows = [verdict === "allow" ? { ...rule, idle_timeout: allowIdle } : rule];
    }
    return decision;
  }
}

type Kind = "switch_connected" | "flow_removed" | "port_status" | "error";
type Answer<T> = T | undefined | void | Promise<T | undefined | void>;

export interface Options {
  /** Decides about a packet; nothing counts as a deny. */
  packetIn: (packet: Packet) => Answer<Decision>;
  /** Answers other events, which are answered without rules else. */
  on?: (kind: Kind, event: Event) => Answer<Decision>;
  /** The version of what the function decides by, "<serial>-<8 hexadecimal digits>". */
  policy?: string;
}

function accepts(event: Event, name: string): boolean {
  return event.accepts?.includes(name) ?? false;
}

/** Takes out what the gateway does not accept. */
function restrict(decision: Decision, event: Event): void {
  if (!accepts(event, "covers_incomplete")) {
    decision.flows?.forEach((rule) => delete rule.covers_incomplete);
  }
  if (!accepts(event, "reply")) {
    delete decision.if_reply;
  }
  if (!accepts(event, "reuse")) {
    delete decision.reuse;
    delete decision.reply;
  }
  if (!accepts(event, "revoke")) {
    if (decision.states?.length) { // a rule would stay when the state has changed
      delete decision.flows;
      delete decision.if_reply;
    }
    delete decision.states;
    delete decision.revoke;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** Reads an event, strictly where a mistake could widen a rule: a header in a match that is not known is an error. */
function read(kind: string, text: string): Event {
  let event: unknown;
  try {
    event = JSON.parse(text);
  } catch (error) {
    throw new Refused(400, `the event is no JSON: ${error}`);
  }
  if (!isObject(event)) {
    throw new Refused(400, "the event is no object");
  }
  const { switch: sw, packet_in: packet } = event;
  if (sw === undefined ? kind !== "policy_check" : !isObject(sw)) {
    throw new Refused(400, "no switch");
  }
  if (isObject(sw) && sw["protocol"] !== undefined && !protocols.has(String(sw["protocol"]))) {
    throw new Refused(400, "a protocol that is not known");
  }
  if (kind === "packet_in") {
    if (!isObject(packet) || !isObject(packet["match"] ?? {})) {
      throw new Refused(400, "packet_in without its content");
    }
    const unknown = Object.keys(packet["match"] ?? {}).find((field) => !matchFields.has(field));
    if (unknown !== undefined) {
      throw new Refused(400, `packet_in.match.${unknown}: unknown field`);
    }
  }
  return event as Event;
}

async function decide(request: Request, options: Options): Promise<Decision> {
  const contentType = request.headers.get("content-type") ?? "";
  if (contentType.split(";")[0]?.trim() !== "application/json") {
    throw new Refused(415, `content type "${contentType}": want application/json`);
  }
  if (request.headers.get("content-encoding")) {
    throw new Refused(415, "a content encoding: bodies are sent as they are");
  }
  if (Number(request.headers.get("content-length") ?? 0) > maxBody) {
    throw new Refused(413, `body of more than ${maxBody} bytes`);
  }
  const kind = (request.headers.get("ce-type") ?? "").replace(/^switchbridge\./, "").replace(/\.v1$/, "");
  if (!kinds.has(kind) || !request.headers.get("ce-id") || request.headers.get("ce-specversion") !== "1.0") {
    throw new Refused(400, "want CloudEvents 1.0 with an id, of an event of version 1");
  }
  const body = await request.arrayBuffer();
  if (body.byteLength > maxBody) {
    throw new Refused(413, `body of more than ${maxBody} bytes`);
  }
  const event = read(kind, new TextDecoder().decode(body));
  let decision: Decision | undefined | void;
  if (kind === "packet_in") {
    decision = await options.packetIn(new Packet(event));
  } else if (kind !== "policy_check" && kind !== "handshake") {
    decision = await options.on?.(kind as Kind, event);
  }
  decision ??= {};
  restrict(decision, event);
  return decision;
}

/** A traceparent of an event whose trace is kept. */
const traced = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]/;

/** The fetch handler of a function. */
export function handler(options: Options): (request: Request) => Promise<Response> {
  return async (request) => {
    try {
      const began = performance.now();
      const decision = await decide(request, options);
      const headers: Record<string, string> = { "content-type": "application/json" };
      if (options.policy !== undefined) {
        headers["switchbridge-policy"] = options.policy;
      }
      if (traced.test(request.headers.get("traceparent") ?? "")) { // the gateway makes a span of it
        headers["server-timing"] = `decide;dur=${(performance.now() - began).toFixed(3)}`;
      }
      return new Response(JSON.stringify(decision), { headers });
    } catch (error) {
      if (error instanceof Refused) {
        return new Response(error.message, { status: error.status, headers: { "content-type": "text/plain; charset=utf-8" } });
      }
      throw error; // the platform answers 500
    }
  };
}
