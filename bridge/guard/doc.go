// Package guard holds a controller's answers to guardrails, whatever the
// controller and whatever the switch speaks.
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
//   - What falls takes with it what it shielded ([Fall]).
//   - Where the rule that says what happens to the packet has fallen, the
//     decision's PACKET_OUT says it instead.
//
// A rule that a switch refuses later has fallen, too: Fall says what else must
// go, and [Memory] holds later answers to a deny that the switch does not have.
package guard
