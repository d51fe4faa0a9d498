// Package guard checks a controller's answers against guardrails. It is the same
// for every controller and every protocol.
//
// A guardrail is a row of [Rails]: its name, what it binds, why it is there, and
// the function that checks it. Whatever lists guardrails (the contract's page,
// metrics, tests) reads that table.
//
// [Guardrails.Check] takes an answer once, after everything that decides and
// before anything is written. In this order:
//
//   - The packet's verdict is computed from the answer as it came.
//   - Each rule is completed, the switch is asked whether it can hold it
//     ([Switch.Fit]), and the rails look at it.
//   - Rules are compared with the rest of their answer (order).
//   - A rule that fails a check is not installed. If it was a deny, wider rules
//     that allow its packets are not installed either ([Fall]).
//   - If the rule that sends the packet on is not installed, the decision's
//     PACKET_OUT does what the rule would have done with the packet.
//
// A switch may refuse a rule later. Fall then says which other rules must go, and
// [Memory] keeps the deny, so that no later answer allows what it denied.
package guard
