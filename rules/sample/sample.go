// Package sample holds the rulebook that a newcomer starts with. It promises
// that the rulebook loads and does what its comments say; it knows nothing of
// how a rulebook is read.
package sample

import _ "embed"

// Rulebook is the rulebook as YAML.
//
//go:embed rulebook.yaml
var Rulebook []byte
