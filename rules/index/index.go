// Package index finds, among thousands of conjunctions, the few that an event
// can satisfy, at a cost that hardly depends on how many there are.
//
// Every rule is a bit, in the order in which rules are judged. A dimension is
// one variable that rules ask about. The constants that they compare it with cut
// its values into positions: between two neighbouring cuts all values mean the
// same to every rule. Each position has a vector of the rules that its values
// let pass, those that do not ask included. A look-up reads the variables, finds
// the positions by binary search, and ands the vectors, 64 rules a word:
//
//	amount >= 300 (a), amount < 500 (b), channel == "app" (c)
//
//	amount   … 300 … 500 …           channel   "app"  other
//	            ┆     ┆                  a        1      1
//	    a    0  ┆  1  ┆  1               b        1      1
//	    b    1  ┆  1  ┆  0               c        1      0
//	    c    1  ┆  1  ┆  1
//
// What it promises: a rule whose terms all hold is a candidate, and a candidate
// that is not in doubt satisfies every term that the index answers. In doubt is
// a rule that asked about a value of a kind it did not expect: that may be an
// error, which is for the rule's own expression to say. Dimensions that hardly a
// rule asks about are not built; Answers tells, and the terms are left to the
// caller. Dimensions that less than an eighth of the rules ask about come last,
// and their variables are read only if one of the candidates left asks.
//
// An Index never changes and may be used by many goroutines, each with its own
// Scratch. It refuses to know what the variables are.
package index

import (
	"cmp"
	"math/bits"
	"slices"

	"recharged/rules/when"
	"recharged/state/charge"
)

// Span is the whole numbers from From up to, not including, Until.
type Span struct{ From, Until int64 }

// Term is one condition of a rule: an atom or, if there are spans, that the
// variable Atom.Ref, a whole number, lies in one of them.
type Term struct {
	when.Atom
	Spans []Span
}

// limits are what the shape of an index depends on; its answers do not.
type limits struct {
	// asksMin is how many rules must ask about a variable before a dimension of
	// it costs less than asking each of them.
	asksMin int
	// vectorBytesMax is how large the vectors of one dimension may get before
	// they are kept at some of the positions only. More costs memory and the
	// processor's caches; less costs a look-up the flipping of bits.
	vectorBytesMax int
}

var usual = limits{asksMin: 3, vectorBytesMax: 1 << 20}

// Index is an immutable set of rules.
type Index struct {
	count    int         // of rules
	common   []dimension // about which some candidate nearly always asks
	rare     []dimension
	answered [][]bool // by rule and term
}

// Build makes the index of rules, each a list of terms that must all hold. A
// rule's number is its place in the list.
func Build(rules [][]Term) *Index { return build(rules, usual) }

func build(rules [][]Term, l limits) *Index {
	x := &Index{count: len(rules), answered: make([][]bool, len(rules))}
	for i, terms := range rules {
		x.answered[i] = make([]bool, len(terms))
	}
	for _, d := range gather(rules) {
		if len(d.asks) < l.asksMin {
			continue
		}
		built := d.build(len(rules), l.vectorBytesMax)
		if built.words == nil && len(d.asks) >= len(rules)/8 {
			x.common = append(x.common, built)
		} else {
			x.rare = append(x.rare, built)
		}
		for i := range d.asks {
			for _, term := range d.asks[i].places {
				x.answered[d.asks[i].rule][term] = true
			}
		}
	}
	// What excludes most comes first: fewer words are left for the others.
	slices.SortStableFunc(x.rare, func(a, b dimension) int { return cmp.Compare(b.excludes, a.excludes) })
	return x
}

// Answers reports whether a term of a rule holds of every candidate that is not
// in doubt. If not, the caller has to ask it.
func (x *Index) Answers(rule, term int) bool { return x.answered[rule][term] }

// Dimensions returns how many variables the index asks about.
func (x *Index) Dimensions() int { return len(x.common) + len(x.rare) }

// Scratch is the memory of one look-up after the other, and the result of the
// last. It belongs to one goroutine. The zero value is ready.
type Scratch struct {
	candidates []uint64
	held       [4][]uint64
	holds      int      // how many of held wait to be anded to the candidates
	fresh      bool     // nothing was anded: candidates has no meaning yet
	live       []uint32 // the words of candidates that may not be zero, ascending
	doubts     []uint64 // one bit a rule
	doubtful   bool     // a bit of doubts is set
	flipped    []uint64 // a vector that is not kept whole

	word int    // of live: where Next goes on
	rest uint64 // of that word: what Next has not returned yet
}

// Find looks up which rules the values of r can satisfy.
func (x *Index) Find(r when.Reader, s *Scratch) {
	s.begin(x.count)
	for i := range x.common {
		x.common[i].hold(r, s)
	}
	s.settle(x.count)
	for i := range x.rare {
		x.rare[i].narrow(r, s)
	}
	if len(s.live) > 0 {
		s.rest = s.candidates[s.live[0]]
	}
}

// begin forgets the last look-up and makes room for the next.
func (s *Scratch) begin(count int) {
	words := wordsOf(count)
	if cap(s.candidates) < words {
		s.candidates, s.doubts = make([]uint64, words), make([]uint64, words)
		s.flipped, s.live = make([]uint64, words), make([]uint32, words)
		s.doubtful = false
	}
	if s.doubtful {
		clear(s.doubts[:cap(s.doubts)])
	}
	s.candidates, s.doubts, s.flipped, s.doubtful = s.candidates[:words], s.doubts[:words], s.flipped[:words], false
	s.fresh, s.holds, s.word, s.rest = true, 0, 0, 0
}

// hold keeps a vector to be anded together with others: four at a time cost
// little more than one.
func (s *Scratch) hold(vector []uint64) {
	s.held[s.holds] = vector
	if s.holds++; s.holds == len(s.held) {
		s.and()
	}
}

// and ands the vectors that are held to the candidates.
func (s *Scratch) and() {
	if s.holds == 0 {
		return
	}
	for i := s.holds; i < len(s.held); i++ {
		s.held[i] = s.held[0] // Once more changes nothing.
	}
	n := len(s.candidates)
	all, a, b, c, d := s.candidates[:n], s.held[0][:n], s.held[1][:n], s.held[2][:n], s.held[3][:n]
	if s.fresh {
		for w := range all {
			all[w] = a[w] & b[w] & c[w] & d[w]
		}
	} else {
		for w := range all {
			all[w] &= a[w] & b[w] & c[w] & d[w]
		}
	}
	s.holds, s.fresh = 0, false
}

// settle finds the words that are left when all that were held are anded.
func (s *Scratch) settle(count int) {
	s.and()
	if s.fresh {
		fill(s.candidates, count)
	}
	const block = 8
	live := s.live[:cap(s.live)]
	left := 0
	for from := 0; from < len(s.candidates); from += block {
		words := s.candidates[from:min(from+block, len(s.candidates))]
		together := uint64(0)
		for _, word := range words {
			together |= word
		}
		if together == 0 {
			continue
		}
		for i, word := range words {
			live[left] = uint32(from + i)
			left += notZero(word)
		}
	}
	s.live = live[:left]
}

// fill sets the bits of so many rules.
func fill(vector []uint64, count int) {
	for w := range vector {
		vector[w] = ^uint64(0)
	}
	if last := count % 64; last > 0 {
		vector[len(vector)-1] = 1<<last - 1
	}
}

// notZero is 1, unless the word is zero: a branch would be guessed wrong.
func notZero(word uint64) int { return int((word | -word) >> 63) }

// Next returns the candidates of the last look-up one by one, in the order of
// their numbers, and whether the candidate is in doubt: then none of its terms
// is answered.
func (s *Scratch) Next() (rule int, doubt, ok bool) {
	for s.rest == 0 {
		if s.word++; s.word >= len(s.live) {
			return 0, false, false
		}
		s.rest = s.candidates[s.live[s.word]]
	}
	w := s.live[s.word]
	bit := bits.TrailingZeros64(s.rest)
	s.rest &= s.rest - 1
	return int(w)*64 + bit, s.doubts[w]>>bit&1 == 1, true
}

func wordsOf(count int) int { return (count + 63) / 64 }

// key is what a dimension is of: the values of one kind of a variable, or its
// presence, which has no kind.
type key struct {
	ref  int
	kind charge.Kind
}

// ask is what one rule asks of a dimension: all of these terms.
type ask struct {
	rule   int
	terms  []Term
	places []int // of the terms in the rule
}

// draft is a dimension to be.
type draft struct {
	key
	typ  when.Type
	zero bool
	asks []ask // by rule
}

// gather sorts the terms of all rules by what they ask about, in the order of
// their appearance.
func gather(rules [][]Term) []*draft {
	var drafts []*draft
	known := map[key]*draft{}
	for rule, terms := range rules {
		for place, t := range terms {
			k, ok := keyOf(&t)
			if !ok {
				continue
			}
			d := known[k]
			if d == nil {
				d = &draft{key: k, typ: t.Type, zero: t.Zero}
				known[k], drafts = d, append(drafts, d)
			}
			if n := len(d.asks); n == 0 || d.asks[n-1].rule != rule {
				d.asks = append(d.asks, ask{rule: rule})
			}
			a := &d.asks[len(d.asks)-1]
			a.terms, a.places = append(a.terms, t), append(a.places, place)
		}
	}
	return drafts
}

// keyOf returns what a term asks about; false if no dimension can answer it,
// such as the order of texts.
func keyOf(t *Term) (key, bool) {
	kind := charge.Bool
	switch {
	case t.Spans != nil:
		kind = charge.Number
	case t.Op == when.Has || t.Op == when.HasNot:
		kind = charge.Missing
	case t.Op == when.True || t.Op == when.False:
	case len(t.Values) == 0:
		kind = charge.Text // in [] is a list of text.
	default:
		kind = t.Values[0].Kind
	}
	ordered := t.Op >= when.Less && t.Op <= when.GreaterEqual
	return key{t.Ref, kind}, !(ordered && kind == charge.Text) && (kind != charge.Text || t.Spans == nil)
}
