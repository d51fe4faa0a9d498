// Package policyhost is what decides by a policy that may change while it runs: the seam [Host],
// the controller compiled in ([Native]), and the policy file that is read again ([File]).
package policyhost
