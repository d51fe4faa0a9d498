//go:build !race

package fastlytest

const raceDetector = false
