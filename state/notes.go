package state

import (
	"maps"
	"strings"

	"recharged/state/charge"
)

// notes are small named rows of a partition, all of them in memory: what its
// turns remember besides customers. What is in them is not the store's business.
type notes struct {
	values  map[string][]byte
	changed map[string]bool // in this turn
	bytes   int             // of the changed ones, estimated
}

// noteRowBytes is what a note takes in a delta besides its name and value.
const noteRowBytes = 16

func newNotes() notes {
	return notes{values: map[string][]byte{}, changed: map[string]bool{}}
}

// clone returns a copy. What values there are is never changed.
func (n *notes) clone() notes {
	return notes{values: maps.Clone(n.values), changed: maps.Clone(n.changed), bytes: n.bytes}
}

func (n *notes) begin() {
	clear(n.changed)
	n.bytes = 0
}

func (n *notes) set(name string, value []byte) {
	if n.changed[name] {
		n.bytes -= len(n.values[name])
	} else {
		n.changed[name] = true
		n.bytes += noteRowBytes + len(name)
	}
	n.bytes += len(value)
	if value == nil {
		delete(n.values, name)
		return
	}
	n.values[name] = value
}

func (n *notes) visit(prefix string, visit func(name string, value []byte) bool) {
	for _, name := range sortedKeys(n.values) {
		if strings.HasPrefix(name, prefix) && !visit(name, n.values[name]) {
			return
		}
	}
}

// Notes visits what a partition has noted under names with a prefix, as of its
// last commit and sorted by name, until visit returns false. The value holds
// during the visit only.
func (s *Store) Notes(p charge.Partition, prefix string, visit func(name string, value []byte) bool) error {
	start := noteKey(nil, p, "")
	return s.scan(noteKey(nil, p, prefix), func(key, row []byte) (bool, error) {
		return visit(string(key[len(start):]), row), nil
	})
}
