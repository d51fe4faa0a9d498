// The page reads the gateway's API and shows what it says. All text from there is
// put in as text, never as markup: functions and packets have a say in it.

const $ = (id) => document.getElementById(id);
const maxRows = 100; // of decisions

// el makes an element of a tag, attributes and children; strings are text.
function el(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") e.addEventListener("click", value);
    else if (value !== undefined && value !== false) e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c !== undefined && c !== ""));
  return e;
}

// put replaces what is in an element, unless it says the same already: a reader
// in the midst of it keeps the place, and so does a keyboard.
function put(e, ...children) {
  const next = el("div", {}, ...children);
  if (e.innerHTML !== next.innerHTML && !e.contains(document.activeElement)) e.replaceChildren(...next.childNodes);
}

async function get(path) {
  const r = await fetch(path, { headers: { Accept: "application/json" } });
  const body = await r.json();
  if (!r.ok) throw Object.assign(new Error(body.error ?? r.statusText), { status: r.status });
  return body;
}

// Words.
const count = new Intl.NumberFormat("en");
const events = (n) => `${count.format(n)} ${n === 1 ? "event" : "events"}`;
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
function seconds(s) {
  if (s === undefined) return "–";
  if (s < 1e-3) return `${(s * 1e6).toFixed(0)} µs`;
  if (s < 1) return `${(s * 1e3).toFixed(1)} ms`;
  return `${s.toFixed(s < 10 ? 2 : 0)} s`;
}
function ago(time) {
  const s = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (s < 90) return `${s.toFixed(0)} s ago`;
  if (s < 5400) return `${(s / 60).toFixed(0)} min ago`;
  if (s < 172800) return `${(s / 3600).toFixed(0)} h ago`;
  return `${(s / 86400).toFixed(0)} days ago`;
}
const shortDPID = (dpid) => dpid.replace(/^0+(?=.)/, "");
function cost(d) {
  if (d.reused) return "no call: an earlier answer";
  if (d.calls === 0) return "no call";
  return d.calls === 1 ? "1 call" : `${d.calls} calls`;
}

// Overview: status, functions, pair, reloads.
let rate; // decisions a second
let previous; // totals and their time

function showStatus(st) {
  put($("version"), `version ${st.version || "unknown"}, started ${ago(st.started)}`);
  const d = st.decisions;
  const tile = (name, value, bad) => el("div", {}, el("dt", {}, name), el("dd", { class: bad ? "bad" : undefined }, value));
  put($("tiles"),
    tile("State", st.not_ready ? `not ready: ${st.not_ready}` : "ready", st.not_ready),
    tile("Switches governed", count.format(st.switches)),
    tile("Policy", st.policy || "none named"),
    tile("Decisions a second", rate === undefined ? "–" : rate < 10 ? rate.toFixed(1) : count.format(Math.round(rate))),
    tile("Allowed", count.format(d.allow)), tile("Denied", count.format(d.deny)),
    tile("Without an answer", count.format(d.failed), d.failed > 0),
    tile("Half take less than", seconds(d.p50)), tile("99 % take less than", seconds(d.p99)));

  const lines = [];
  const line = (good, ...text) => lines.push(el("li", { class: good ? undefined : "bad" }, ...text));
  for (const f of st.functions) {
    line(!f.down, `Function ${f.name}: ${f.down ? `does not answer: ${f.down}` : "answers"}`);
    for (const e of f.endpoints) line(e.breaker === "closed" && !e.fault, `${e.name}: breaker ${e.breaker}${e.fault ? `, ${e.fault}` : ""}`);
  }
  if (st.functions.length === 0) line(true, `The controller decides in this process: ${st.function.join(", ")}`);
  if (st.pair) {
    line(st.pair.answers, `Pair: this gateway ${st.pair.leads ? "leads" : "stands by"}; the other one, ${st.pair.peer}, ${st.pair.answers ? "answers" : "does not answer"}`);
    if (st.pair.older) line(false, `Pair: this gateway's policy, serial ${st.pair.serial}, is older than the other one's, ${st.pair.peer_is?.serial}: its rules live for seconds`);
  }
  for (const r of st.reloads) line(r.ok, `Last reload of ${r.what}${r.file ? ` (${r.file.split("/").pop()})` : ""}: ${ago(r.time)}, ${r.ok ? "good" : r.error}`);
  put($("health"), el("ul", {}, ...lines));
  document.querySelector('[data-action$="handover"]').hidden = !st.pair;
}

// Network: each host at the port that it shares with fewest others.
function showNetwork(switches, p4, hosts) {
  const crowd = new Map();
  const at = (p) => `${p.dpid} ${p.port}`;
  for (const h of hosts) for (const p of h.ports ?? []) crowd.set(at(p), (crowd.get(at(p)) ?? 0) + 1);
  const home = new Map();
  for (const h of hosts) {
    const port = (h.ports ?? []).reduce((a, b) => (a && crowd.get(at(a)) <= crowd.get(at(b)) ? a : b), undefined);
    if (port) home.set(at(port), [...(home.get(at(port)) ?? []), h]);
  }
  const guests = (dpid, port) => {
    const list = home.get(`${dpid} ${port}`) ?? [];
    if (list.length === 0) return undefined;
    return el("ul", {}, ...list.slice(0, 20).map((h) => el("li", {}, "Host ", el("button", { class: "link", type: "button", "data-host": h.ips[0] ?? h.mac }, h.ips.join(", ") || h.mac), ` ${h.ips.length ? h.mac : ""} seen ${ago(h.seen)}`)),
      list.length > 20 ? el("li", {}, `and ${list.length - 20} more`) : undefined);
  };
  const card = (dpid, title, state, good, about, ports) => el("article", { class: "card", "aria-label": `Switch ${dpid}` },
    el("h3", {}, title), el("p", { class: good ? "good" : "bad" }, state), el("p", { class: "faint" }, about), ports);
  const cards = switches.map((s) => card(s.dpid, `Switch ${shortDPID(s.dpid)}`, s.missing ? `not governed: ${s.missing}` : s.state === "ready" ? "governed" : s.state,
    s.state === "ready" && !s.missing, `${s.protocol}, ${s.remote}, since ${ago(s.since)}; ${events(s.events)}, ${count.format(s.drops)} dropped, ${s.pending} pending`,
    el("ul", { class: "ports", tabindex: "0", role: "list", "aria-label": `Ports of switch ${shortDPID(s.dpid)}` }, ...s.ports.map((p) => el("li", {}, `Port ${p.no} ${p.name} `, el("span", { class: p.up ? "good" : "faint" }, p.up ? "up" : "down"), guests(s.dpid, p.no))))));
  for (const s of p4) {
    const dpid = s.DPID;
    const ports = [...new Set(hosts.flatMap((h) => h.ports ?? []).filter((p) => p.dpid === dpid).map((p) => p.port))];
    cards.push(card(dpid, `P4 switch ${shortDPID(s.DPID)}`, s.Missing ? `not governed: ${s.Missing}` : s.State, s.State === "serving" && !s.Missing,
      `${s.Pipeline}, ${s.Addr}; ${events(s.Events)}, ${count.format(s.Drops)} dropped`,
      el("ul", { class: "ports", tabindex: "0", role: "list", "aria-label": `Ports of P4 switch ${shortDPID(s.DPID)}` }, ...ports.map((p) => el("li", {}, `Port ${p}`, guests(dpid, p))))));
  }
  put($("switches"), ...(cards.length ? cards : [el("p", {}, "No switch is connected.")]));
  const list = [...switches.map((s) => s.dpid), ...p4.map((s) => s.DPID)];
  for (const select of [document.forms.filter.elements.dpid, $("rules-of")]) {
    const want = ["", ...list].join();
    if ([...select.options].map((o) => o.value).join() === want) continue;
    const chosen = select.value;
    select.replaceChildren(select.options[0], ...list.map((d) => el("option", { value: d }, shortDPID(d))));
    select.value = list.includes(chosen) ? chosen : "";
  }
}

$("switches").addEventListener("click", (e) => {
  const host = e.target.dataset?.host;
  if (!host) return;
  document.forms.filter.elements.host.value = host;
  follow();
  $("decisions").focus();
});

// Decisions, as they happen.
let source;
let rows = []; // newest first
let paused = false;

function row(d) {
  const cell = (label, ...content) => el("td", { "data-label": label }, ...content);
  return el("tr", {},
    cell("Time", el("button", { class: "link number", type: "button", onclick: () => detail(d), "aria-label": `Decision ${d.decision} at ${clock.format(new Date(d.time))}` }, clock.format(new Date(d.time)))),
    cell("Verdict", el("span", { class: d.verdict }, d.event === "packet_in" ? d.verdict : `${d.event} ${d.verdict}`)),
    cell("From", d.source ?? "–"), cell("To", d.target ?? "–"), cell("Switch, port", `${shortDPID(d.dpid)}, ${d.port ?? "–"}`),
    cell("Reason", d.reason ? el("button", { class: "link", type: "button", onclick: () => toPolicy(d.reason) }, d.reason) : "–"),
    cell("Rules", String(d.rules.length + (d.more_rules ?? 0))), cell("Took", seconds(d.total_seconds)), cell("Cost", cost(d)));
}

function showRows() {
  const body = document.querySelector("#decision-table tbody");
  if (body.contains(document.activeElement)) return; // a keyboard is on a row: it stays there
  body.replaceChildren(...rows.map(row));
  $("no-decisions").hidden = rows.length > 0;
}

function took(batch) {
  const t = batch.totals;
  const all = t.allow + t.deny + t.none + t.failed;
  const now = performance.now();
  if (previous && now > previous.at) {
    rate = Math.max(0, (all - previous.all) / ((now - previous.at) / 1000));
    const share = all > previous.all ? Math.min(1, (t.shown - previous.shown) / (all - previous.all)) : 1;
    const left = batch.left_out > 0 || share < 1;
    put($("sample"), left ? `A sample: there are ${count.format(Math.round(rate))} decisions a second, and this table shows 40 of them at most.` : "Every decision that the filter selects is shown.");
  }
  previous = { all, shown: t.shown, at: now };
  if (paused || batch.decisions.length === 0) return;
  rows = [...batch.decisions, ...rows].slice(0, maxRows);
  showRows();
}

function follow() {
  source?.close();
  rows = [];
  previous = undefined;
  showRows();
  const query = new URLSearchParams([...new FormData(document.forms.filter)].filter(([, v]) => v));
  source = new EventSource(`/api/v1/decisions/stream?${query}`);
  source.onopen = () => put($("connection"), "Live");
  source.onmessage = (m) => took(JSON.parse(m.data));
  source.onerror = () => put($("connection"), el("span", { class: "bad" }, "No connection to the gateway. Trying again…"));
}

let typing;
document.forms.filter.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(follow, 300); });
document.forms.filter.addEventListener("submit", (e) => { e.preventDefault(); follow(); });
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
});

// A decision, and from there to its policy entry and the rules that it left.
function detail(d) {
  const pair = (name, ...value) => [el("dt", {}, name), el("dd", {}, ...value)];
  put($("detail-title"), `Decision ${d.decision}`);
  $("detail-body").replaceChildren(el("dl", {},
    ...pair("Time", new Date(d.time).toLocaleString()), ...pair("Verdict", el("span", { class: d.verdict }, d.verdict)),
    ...pair("Reason", d.reason ? el("button", { class: "link", type: "button", onclick: () => toPolicy(d.reason) }, d.reason) : "–"),
    ...pair("Event", d.event), ...pair("Switch, port", `${d.dpid}, ${d.port ?? "–"}`), ...(d.packet ? pair("Packet", el("code", {}, d.packet)) : []),
    ...pair("Policy", d.policy ?? "not named"), ...pair("Took", `${seconds(d.total_seconds)}: ${seconds(d.wait_seconds)} waiting, ${seconds(d.decide_seconds)} deciding`), ...pair("Cost", cost(d)),
    ...pair("Rules", d.rules.length ? el("ul", {}, ...d.rules.map((r) => el("li", {}, el("code", {}, r))), d.more_rules ? el("li", {}, `and ${d.more_rules} more`) : undefined) : "none"),
    ...(d.rules_refused ? pair("Refused", `${d.rules_refused} rules, by guardrails`) : []), ...(d.trace_id ? pair("Trace", el("code", {}, d.trace_id)) : [])),
    ...(d.rules.length ? [el("p", {}, el("button", { type: "button", onclick: () => { $("detail").close(); toRules(d.dpid, d.decision); } }, "Show the switch's rules"))] : []));
  if (!$("detail").open) $("detail").showModal();
}

async function toDecision(number) {
  try {
    detail(await get(`/api/v1/decisions/${number}`));
  } catch (err) {
    put($("detail-title"), `Decision ${number}`);
    $("detail-body").replaceChildren(el("p", {}, err.message));
    $("detail").showModal();
  }
}

// Rules of a switch.
async function toRules(dpid, decision) {
  const again = $("rules-of").value === dpid && !decision;
  $("rules-of").value = dpid;
  if (!again) { $("rules").scrollIntoView(); $("rules").focus(); }
  await showRules(decision);
}

async function showRules(decision) {
  const dpid = $("rules-of").value;
  const body = document.querySelector("#rule-table tbody");
  $("rule-table").hidden = true;
  if (!dpid) { put($("rules-note"), ""); return; }
  try {
    const rules = await get(`/api/v1/switches/${dpid}/rules`);
    const cell = (label, ...content) => el("td", { "data-label": label }, ...content);
    body.replaceChildren(...rules.slice(0, 1000).map((r) => el("tr", { class: r.decision === decision ? "marked" : undefined },
      cell("Table", r.p4_table ?? String(r.table_id)), cell("Priority", String(r.priority)), cell("Match", el("code", {}, r.p4_table && r.more || r.match || "any packet")), cell("Actions", el("code", {}, r.actions || "drop")),
      cell("Packets", count.format(r.packet_count)), cell("Age", seconds(r.duration)),
      cell("Decision", r.decision ? el("button", { class: "link number", type: "button", onclick: () => toDecision(r.decision), "aria-label": `Decision ${r.decision} of this rule` }, String(r.decision)) : "the gateway's own"))));
    $("rule-table").hidden = rules.length === 0;
    put($("rules-note"), `${count.format(rules.length)} rules${rules.length > 1000 ? ", of which the first 1,000 are shown" : ""}.`);
  } catch (err) {
    put($("rules-note"), err.message);
  }
}
$("rules-of").addEventListener("change", () => showRules());
$("rules-again").addEventListener("click", () => showRules());
document.querySelector("#rules form").addEventListener("submit", (e) => e.preventDefault());

// The policy's text, and the entry that a reason names.
let policy;
async function showPolicy() {
  try {
    const p = await get("/api/v1/policy");
    if (policy?.policy === p.policy && policy.text === p.text) return;
    policy = p;
    put($("policy-note"), `${p.file}, version ${p.policy}${p.why ? `: ${p.why}` : ""}`);
    const lines = p.text ? p.text.replace(/\n$/, "").split("\n") : p.entries.map((e) => `${e.kind}: ${e.says}`);
    $("policy-text").replaceChildren(...lines.map((l) => el("li", {}, l || " ")));
  } catch (err) {
    policy = undefined;
    put($("policy-note"), err.message);
    $("policy-text").replaceChildren();
  }
}

// lineOf finds the line of the entry, or of its item, that a reason names: "header: no-ssh".
function lineOf(reason) {
  const [, kind, item] = /^([^:]+):?\s*(.*)$/s.exec(reason) ?? [];
  const first = policy.entries.findIndex((e) => e.kind === kind);
  if (first < 0) return 0;
  if (!policy.text) return first + 1;
  const lines = policy.text.split("\n");
  const name = item.split(/[\s(;,]/)[0];
  const word = new RegExp(`(^|[\\s"'\\[,{:])${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}($|[\\s"'\\],}])`);
  for (let i = first; i < policy.entries.length; i++) {
    if (policy.entries[i].kind !== kind) continue;
    const end = policy.entries[i + 1]?.line ?? lines.length + 1;
    for (let n = policy.entries[i].line; name && n < end; n++) if (word.test(lines[n - 1].replace(/#.*/, ""))) return n;
  }
  return policy.entries[first].line;
}

async function toPolicy(reason) {
  if ($("detail").open) $("detail").close();
  await showPolicy();
  for (const li of document.querySelectorAll("#policy-text .marked")) { li.classList.remove("marked"); li.removeAttribute("aria-current"); }
  const line = policy ? lineOf(reason) : 0;
  const li = $("policy-text").children[line - 1];
  $("policy").scrollIntoView();
  $("policy").focus();
  if (!li) {
    put($("policy-note"), `${policy ? `${policy.file} has no entry for the reason` : "The policy is not in this process. The reason was"} “${reason}”.`);
    return;
  }
  put($("policy-note"), `${policy.file}, version ${policy.policy}: “${reason}” is on line ${line}.`);
  li.classList.add("marked");
  li.setAttribute("aria-current", "true");
  li.scrollIntoView({ block: "center" });
}

// A shadow policy, where the gateway has one, and where it disagrees with the policy.
let shadow;
let noShadow = false; // the gateway has no such thing, and is not asked again
async function showShadow() {
  if (noShadow) return;
  try {
    shadow = await get("/api/v1/shadow");
  } catch (err) {
    shadow = undefined;
    noShadow = err.status === 404;
  }
  $("shadow").hidden = !shadow;
  document.querySelector('[data-action$="promote"]').hidden = !shadow;
  if (!shadow) return;
  put($("shadow-summary"), `${shadow.shadow}${shadow.policy ? `, version ${shadow.policy}` : ""}, first asked ${ago(shadow.since)}: it agrees about ${events(shadow.agree)} and disagrees about ${events(shadow.disagree)}`
    + ` (${count.format(shadow.unexplained)} without an explanation). It gave no answer to ${events(shadow.failed)}, and was not asked about ${events(shadow.shed)}.`);
  const cell = (label, ...content) => el("td", { "data-label": label }, ...content);
  const says = (label, verdict, entry) => cell(label, el("span", { class: verdict }, verdict), ` ${entry}`);
  put(document.querySelector("#shadow-table tbody"), ...shadow.disagreements.map((d) => el("tr", {}, cell("Events", count.format(d.count)), says("Policy", d.verdict, d.entry), says("Shadow", d.shadow_verdict, d.shadow_entry),
    cell("Latest", el("button", { class: "link number", type: "button", onclick: () => toDecision(d.decision) }, `Decision ${d.decision}, ${ago(d.last)}`)), cell("Packet", el("code", {}, d.match ?? "–")))));
  $("shadow-table").hidden = shadow.disagreements.length === 0;
}

// Actions, with a token that this page keeps nowhere else.
const act = document.forms.act;
act.addEventListener("submit", (e) => e.preventDefault());
act.elements.token.addEventListener("input", () => { for (const b of act.querySelectorAll("button")) b.disabled = !act.elements.token.value; });
act.addEventListener("click", async (e) => {
  const path = e.target.dataset?.action;
  if (!path) return;
  put($("act-result"), "Asking…");
  try {
    const promote = path.endsWith("/promote") ? JSON.stringify({ policy: shadow?.policy }) : undefined;
    const r = await fetch(path, { method: "POST", body: promote, headers: { Authorization: `Bearer ${act.elements.token.value}` } });
    const body = await r.json();
    put($("act-result"), el("span", { class: r.ok ? "good" : "bad" }, r.ok ? `${e.target.textContent}: done` : body.error));
  } catch (err) {
    put($("act-result"), el("span", { class: "bad" }, err.message));
  }
  noShadow = false; // a reload may have brought one
  refresh();
});

// What changes slowly is read again every few seconds, while somebody looks.
async function refresh() {
  if (document.hidden) return;
  try {
    const [status, switches, p4, hosts] = await Promise.all(["status", "switches", "p4", "hosts"].map((what) => get(`/api/v1/${what}`)));
    showStatus(status);
    showNetwork(switches, p4, hosts);
  } catch { /* the stream's line says that there is no connection */ }
  await Promise.all([showPolicy(), showShadow()]);
}
document.addEventListener("visibilitychange", () => { if (document.hidden) source?.close(); else { follow(); refresh(); } });
setInterval(refresh, 3000);
await refresh();
follow();
