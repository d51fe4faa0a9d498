// Package paper repeats the evaluation of "Functional Control: Leveraging
// Function-as-a-Service Platforms for Software-Defined Networking Controllers"
// (Liu and Shue, MobiHoc '25) on this software, beside whatever other
// controllers a machine has, and writes a report with the paper's figures beside
// the measured ones.
//
// Nothing is made up: where something is not installed, failed, or was not
// asked for, its cell says so. What was emulated is said to be.
package paper
