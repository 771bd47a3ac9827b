package index

import (
	"cmp"
	"slices"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/money"
)

// dimension is one variable, with a row of rules for each position of its values.
//
// Its vectors may leave out the words of 64 rules of which none asks. A vector
// need not be kept whole: a row is a vector and the bits in which it differs.
// Between two neighbouring positions only the rules with that very constant
// differ, so the bits of all rows stand in one list, and those of a row are a
// stretch of it.
type dimension struct {
	key
	zero  charge.Value // what absent reads as; Missing if it is not read as anything
	cuts  []cut        // of numbers, times and durations, ascending
	scale uint8        // of all cuts, if they are even
	even  bool
	texts map[string]int // position; any other text has the position 0

	rows    []row    // by position
	absent  row      // of an absent value without a zero
	vectors []uint64 // one after the other
	flips   []uint32 // bits to flip, counted in the words of a vector

	width    int      // of a vector, in words
	words    []uint32 // which word of all rules each word of a vector is; nil if it is all of them
	asking   []uint64 // the rules that ask, as a vector
	excludes int64    // how many rules it excludes in the mean
}

// row is the rules that pass at a position: a vector in which some bits are flipped.
type row struct{ vector, first, after uint32 }

// cut lies right before a number or right after it.
type cut struct {
	at    money.Decimal
	after bool
}

func (c cut) compare(other cut) int {
	if order := c.at.Cmp(other.at); order != 0 || c.after == other.after {
		return order
	}
	if c.after {
		return 1
	}
	return -1
}

// look returns whom the variable's value lets pass, as a vector that the next
// look of any dimension may write over if it is not whole; nil if that is not
// for the index to say.
func (d *dimension) look(r when.Reader, s *Scratch) (vector []uint64, whole bool) {
	v := r.Read(d.ref)
	if v.Kind == charge.Missing {
		v = d.zero
	}
	var at *row
	switch {
	case d.kind == charge.Missing: // Presence.
		present := 0
		if v.Kind != charge.Missing {
			present = 1
		}
		at = &d.rows[present]
	case v.Kind == charge.Missing:
		at = &d.absent
	case v.Kind != d.kind:
		d.doubt(s)
		return nil, false
	default:
		at = &d.rows[d.position(&v)]
	}
	from := int(at.vector) * d.width
	vector = d.vectors[from : from+d.width]
	if at.first == at.after {
		return vector, true
	}
	copy(s.flipped, vector)
	vector = s.flipped[:d.width]
	for _, bit := range d.flips[at.first:at.after] {
		vector[bit/64] ^= 1 << (bit % 64)
	}
	return vector, false
}

// hold lets the candidates be narrowed together with other dimensions. Its
// vectors have a word for each of theirs.
func (d *dimension) hold(r when.Reader, s *Scratch) {
	vector, whole := d.look(r, s)
	if vector == nil {
		return
	}
	s.hold(vector)
	if !whole {
		s.and()
	}
}

// narrow takes from the candidates whom the variable's value excludes. The
// variable is read only if a candidate asks about it.
func (d *dimension) narrow(r when.Reader, s *Scratch) {
	if !d.asked(s) {
		return
	}
	vector, _ := d.look(r, s)
	if vector == nil {
		return
	}
	if d.words != nil {
		for i, w := range d.words {
			s.candidates[w] &= vector[i]
		}
		return
	}
	left := 0
	for _, w := range s.live {
		word := s.candidates[w] & vector[w]
		s.candidates[w], s.live[left] = word, w
		left += notZero(word)
	}
	s.live = s.live[:left]
}

// asked reports whether a candidate asks about the variable.
func (d *dimension) asked(s *Scratch) bool {
	if d.words == nil {
		for _, w := range s.live {
			if s.candidates[w]&d.asking[w] != 0 {
				return true
			}
		}
		return false
	}
	for i, w := range d.words {
		if s.candidates[w]&d.asking[i] != 0 {
			return true
		}
	}
	return false
}

// doubt leaves the rules that ask to their own expressions.
func (d *dimension) doubt(s *Scratch) {
	s.doubtful = true
	for i, mask := range d.asking {
		w := i
		if d.words != nil {
			w = int(d.words[i])
		}
		s.doubts[w] |= mask
	}
}

// position returns where a value of the dimension's kind lies.
func (d *dimension) position(v *charge.Value) int {
	switch d.kind {
	case charge.Bool:
		return int(v.Bits)
	case charge.Text:
		return d.texts[v.Text]
	}
	n := v.Decimal()
	if d.kind != charge.Number {
		n = money.Int(v.Bits)
	}
	if d.even {
		if raised, ok := raise(n, d.scale); ok {
			return d.among(raised)
		}
	}
	position, _ := slices.BinarySearchFunc(d.cuts, n, func(c cut, n money.Decimal) int {
		if order := c.at.Cmp(n); order < 0 || order == 0 && !c.after {
			return -1 // The cut lies below n.
		}
		return 1
	})
	return position
}

// among is the search of position for a number of the cuts' own scale.
func (d *dimension) among(n int64) int {
	low, high := 0, len(d.cuts)
	for low < high {
		middle := int(uint(low+high) / 2)
		if c := &d.cuts[middle]; c.at.Coefficient < n || c.at.Coefficient == n && !c.after {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// raise returns the coefficient of n at a scale; false if that is not exact.
func raise(n money.Decimal, scale uint8) (int64, bool) {
	for n.Scale > scale && n.Coefficient%10 == 0 {
		n.Coefficient, n.Scale = n.Coefficient/10, n.Scale-1
	}
	if n.Scale > scale {
		return 0, false
	}
	for ; n.Scale < scale; n.Scale++ {
		raised := n.Coefficient * 10
		if raised/10 != n.Coefficient {
			return 0, false
		}
		n.Coefficient = raised
	}
	return n.Coefficient, true
}

// layCuts finds the cuts that the terms make.
func (d *dimension) layCuts(asks []ask) {
	for i := range asks {
		for j := range asks[i].terms {
			t := &asks[i].terms[j]
			for _, s := range t.Spans {
				d.cuts = append(d.cuts, cut{at: money.Int(s.From)}, cut{at: money.Int(s.Until)})
			}
			for _, v := range t.Values {
				n := numberOf(v)
				d.cuts = append(d.cuts, cut{at: n}, cut{at: n, after: true})
			}
		}
	}
	slices.SortFunc(d.cuts, cut.compare)
	d.cuts = slices.Clone(slices.CompactFunc(d.cuts, func(a, b cut) bool { return a.compare(b) == 0 }))
	d.even = true
	for i := range d.cuts {
		d.scale = max(d.scale, d.cuts[i].at.Scale)
	}
	raised := make([]int64, len(d.cuts))
	for i := range d.cuts {
		var ok bool
		raised[i], ok = raise(d.cuts[i].at, d.scale)
		d.even = d.even && ok
	}
	for i := range d.cuts {
		if d.even {
			d.cuts[i].at = money.Decimal{Coefficient: raised[i], Scale: d.scale}
		}
	}
}

// numberOf returns a number, a time or a duration as a number.
func numberOf(v charge.Value) money.Decimal {
	if v.Kind == charge.Number {
		return v.Decimal()
	}
	return money.Int(v.Bits)
}

// cutAt returns the number of a cut there is.
func (d *dimension) cutAt(at money.Decimal, after bool) int {
	i, _ := slices.BinarySearchFunc(d.cuts, cut{at, after}, cut.compare)
	return i
}

// layTexts numbers the texts that the terms name, from 1.
func (d *dimension) layTexts(asks []ask) {
	d.texts = map[string]int{}
	var texts []string
	for i := range asks {
		for j := range asks[i].terms {
			for _, v := range asks[i].terms[j].Values {
				texts = append(texts, v.Text)
			}
		}
	}
	slices.Sort(texts)
	for i, text := range slices.Compact(texts) {
		d.texts[text] = i + 1
	}
}

// stretch is positions from first up to, not including, after.
type stretch struct{ first, after int }

// passes returns the positions at which all the terms hold, and whether they
// hold of an absent value.
func (d *dimension) passes(terms []Term, positions int) (all []stretch, absent bool) {
	all, absent = []stretch{{0, positions}}, true
	for i := range terms {
		one, ofAbsent := d.pass(&terms[i], positions)
		all, absent = intersect(all, one), absent && ofAbsent
	}
	return all, absent
}

// pass returns where one term holds.
func (d *dimension) pass(t *Term, positions int) (where []stretch, absent bool) {
	for _, s := range t.Spans {
		where = append(where, stretch{d.cutAt(money.Int(s.From), false) + 1, d.cutAt(money.Int(s.Until), false) + 1})
	}
	if t.Spans != nil {
		return unite(where), false
	}
	switch t.Op {
	case when.Has, when.True:
		return []stretch{{1, 2}}, false
	case when.HasNot, when.False:
		return []stretch{{0, 1}}, true
	case when.Less, when.LessEqual:
		return []stretch{{0, d.cutAt(numberOf(t.Values[0]), t.Op == when.LessEqual) + 1}}, false
	case when.Greater, when.GreaterEqual:
		return []stretch{{d.cutAt(numberOf(t.Values[0]), t.Op == when.Greater) + 1, positions}}, false
	}
	for _, v := range t.Values {
		where = append(where, d.point(v))
	}
	where = unite(where)
	if t.Op == when.NotEqual || t.Op == when.NoneOf {
		return complement(where, positions), t.Op == when.NoneOf
	}
	return where, false
}

// point returns the positions of one constant.
func (d *dimension) point(v charge.Value) stretch {
	switch d.kind {
	case charge.Bool:
		return stretch{int(v.Bits), int(v.Bits) + 1}
	case charge.Text:
		p := d.texts[v.Text]
		return stretch{p, p + 1}
	}
	n := numberOf(v)
	return stretch{d.cutAt(n, false) + 1, d.cutAt(n, true) + 1}
}

// unite sorts stretches and joins those that touch; it reuses the slice.
func unite(all []stretch) []stretch {
	slices.SortFunc(all, func(a, b stretch) int { return cmp.Compare(a.first, b.first) })
	united := all[:0]
	for _, s := range all {
		if last := len(united) - 1; last >= 0 && s.first <= united[last].after {
			united[last].after = max(united[last].after, s.after)
		} else {
			united = append(united, s)
		}
	}
	return united
}

// complement returns what sorted stretches leave.
func complement(all []stretch, positions int) []stretch {
	var left []stretch
	from := 0
	for _, s := range append(slices.Clone(all), stretch{positions, positions}) {
		if from < s.first {
			left = append(left, stretch{from, s.first})
		}
		from = s.after
	}
	return left
}

// intersect returns what two lists of sorted stretches have in common.
func intersect(a, b []stretch) []stretch {
	var both []stretch
	for len(a) > 0 && len(b) > 0 {
		if first, after := max(a[0].first, b[0].first), min(a[0].after, b[0].after); first < after {
			both = append(both, stretch{first, after})
		}
		if a[0].after < b[0].after {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}
