// Package sample holds the rulebook that a newcomer starts with. It promises
// that the rulebook loads and does what its comments say, and the stories in the
// files beside it, whose names end in _test.yaml, hold it to that; it knows
// nothing of how a rulebook is read.
package sample

import _ "embed"

// Rulebook is the rulebook as YAML.
//
//go:embed rulebook.yaml
var Rulebook []byte
