//go:build race

package bench

// The race detector makes programs allocate that do not otherwise.
const raceDetector = true
