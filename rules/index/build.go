package index

import (
	"math/bits"
	"slices"

	"recharged/state/charge"
)

// flip is a rule that passes from a position on, or passes no more.
type flip struct {
	position int
	bit      uint32
}

// build makes the dimension among so many rules.
func (draft *draft) build(count, vectorBytesMax int) dimension {
	d := dimension{key: draft.key}
	if draft.zero && draft.kind == charge.Kind(draft.typ) {
		d.zero.Kind = draft.kind
	}
	positions := 2
	switch d.kind {
	case charge.Missing, charge.Bool:
	case charge.Text:
		d.layTexts(draft.asks)
		positions = len(d.texts) + 1
	default:
		d.layCuts(draft.asks)
		positions = len(d.cuts) + 1
	}
	d.chooseWords(draft.asks, count)
	d.asking = make([]uint64, d.width)
	others := make([]uint64, d.width) // who do not ask
	if d.words == nil {
		fill(others, count)
	} else {
		fill(others, 64*d.width)
	}
	absent := slices.Clone(others)
	var flips []flip
	passed := 0 // positions, summed over the rules
	for i := range draft.asks {
		a := &draft.asks[i]
		bit := d.bitOf(a.rule)
		set(d.asking, bit)
		others[bit/64] &^= 1 << (bit % 64)
		where, ofAbsent := d.passes(a.terms, positions)
		if !ofAbsent {
			absent[bit/64] &^= 1 << (bit % 64)
		}
		for _, s := range where {
			flips = append(flips, flip{s.first, bit}, flip{s.after, bit})
			passed += s.after - s.first
		}
	}
	d.excludes = int64(len(draft.asks)) - int64(passed/positions)
	d.layRows(others, flips, positions, vectorBytesMax)
	d.absent.vector = d.keep(absent)
	return d
}

func set(vector []uint64, bit uint32) { vector[bit/64] |= 1 << (bit % 64) }

// chooseWords leaves words of which no rule asks out of the vectors, if that
// makes them much shorter.
func (d *dimension) chooseWords(asks []ask, count int) {
	d.width = wordsOf(count)
	var words []uint32
	for i := range asks {
		if w := uint32(asks[i].rule / 64); len(words) == 0 || words[len(words)-1] != w {
			words = append(words, w)
		}
	}
	if 2*len(words) < d.width {
		d.words, d.width = words, len(words)
	}
}

// bitOf returns the bit of a rule in a vector.
func (d *dimension) bitOf(rule int) uint32 {
	if d.words == nil {
		return uint32(rule)
	}
	w, _ := slices.BinarySearch(d.words, uint32(rule/64))
	return uint32(w*64 + rule%64)
}

// keep stores a vector and returns its number.
func (d *dimension) keep(vector []uint64) uint32 {
	d.vectors = append(d.vectors, vector...)
	return uint32(len(d.vectors)/d.width) - 1
}

// layRows walks over the positions with the vector of those that pass, and
// keeps it whole at every position or, if that would be too much, as soon as as
// many bits have flipped as it has words: flipping them costs a look-up about
// what the vector does.
func (d *dimension) layRows(passing []uint64, flips []flip, positions, vectorBytesMax int) {
	slices.SortStableFunc(flips, func(a, b flip) int { return a.position - b.position })
	every := 0
	if positions*d.width*bits.UintSize/8 > vectorBytesMax {
		every = d.width
	}
	d.rows = make([]row, positions)
	var current row
	next := 0
	for p := range positions {
		for ; next < len(flips) && flips[next].position == p; next++ {
			bit := flips[next].bit
			passing[bit/64] ^= 1 << (bit % 64)
			if every > 0 {
				d.flips = append(d.flips, bit)
			}
		}
		current.after = uint32(len(d.flips))
		if p == 0 || every == 0 || int(current.after-current.first) > every {
			current = row{d.keep(passing), current.after, current.after}
		}
		d.rows[p] = current
	}
}
