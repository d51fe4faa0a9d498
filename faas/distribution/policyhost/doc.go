// Package policyhost lets a policy change while a program decides by it. A [Host] decides; [Native] is the controller in the
// same process. A [File] is a policy file, which is read again when it changes.
package policyhost
