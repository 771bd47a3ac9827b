// Package when compiles and evaluates the expressions of the rule language: the
// conditions of rules and segments, and the amounts that credits are taken of.
//
// The syntax is that of the Common Expression Language, read by cel-go's own
// parser, so an editor or a reader that knows CEL knows this. Checking and
// evaluating are done here, because the rules need what CEL's run time cannot
// give:
//
//   - A number is an exact decimal. Literals are read from the source text and
//     never pass through binary floating point: amount >= 300.10 means what it
//     says. One kind of number serves for amounts, counts and attributes.
//   - What is absent makes every comparison with it false and its truth false;
//     CEL makes it an error.
//   - Faults are told in the words of the rulebook, several at once, with line,
//     column and a suggestion.
//   - A false condition can name the conjunct that failed and the values it saw.
//   - Values are unboxed: comparing and combining conditions allocates nothing.
//
// # The language
//
//	a && b   a || b   !a   c ? a : b      an error loses against a deciding operand, as in CEL
//	==  !=  <  <=  >  >=                  within one type; text and lists as they are written
//	+  -  *  /  %  -a                     exact; a quotient keeps money.QuotientScale digits
//	text + text
//	x in ["a", "b"]   "x" in list
//	has(name)                             whether the value is there
//	list.exists(x, …)   list.all(x, …)    one level deep
//	size  startsWith  endsWith  contains  matches("RE2")  lowerAscii  upperAscii
//	int(x)  double(x)  string(x)          int cuts towards zero; a number in text is read exactly
//	timestamp("2026-11-01T00:00:00Z")     RFC 3339
//	duration("24h")                       s m h d w, or Go's form such as 1h30m
//	time - time   time + span   span + span
//	getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear
//	getHours getMinutes getSeconds
//
// The parts of a time are counted as CEL counts them: months, days of the month
// by getDayOfMonth and days of the year from 0, getDate from 1, Sunday is 0.
// They are taken in the vocabulary's location, because marketing means the hour
// on the wall, unless a zone is named: getHours("UTC"), getHours("+01:00"). Of a
// span, getHours, getMinutes and getSeconds give the whole of it in that unit.
//
// Unlike in CEL, 7 / 2 is 3.5, 5 and 5.0 are the same, and there are no null,
// maps, messages, bytes, unsigned numbers, exponents or indexes.
//
// # What it promises
//
// A compiled Expression never changes and may be evaluated by many goroutines.
// Its evaluation reads nothing but its Reader, ends within a number of steps
// that its size and StepsMax bound, and gives the same answer for the same
// values. The package refuses to know what the names mean and where values come
// from: Vocabulary and Reader say that.
package when

import (
	"fmt"
	"slices"
	"time"

	"recharged/state/charge"
)

// Type is what an expression or a variable yields. The numbers of all but Any
// are those of the charge.Kind that holds such a value.
type Type uint8

// The types. Any is known at run time only: a customer's attribute.
const (
	Any Type = iota
	Bool
	Number
	Text
	List // of text
	Time
	Span

	numbers // a list literal of numbers
	broken  // a fault was reported, so nothing more is said about it
)

// String names the type as a fault does.
func (t Type) String() string {
	switch t {
	case Bool:
		return "true or false"
	case Number:
		return "a number"
	case Text:
		return "text"
	case List:
		return "a list of text"
	case Time:
		return "a time"
	case Span:
		return "a duration"
	case numbers:
		return "a list of numbers"
	}
	return "any value"
}

// Variable is what a name stands for.
type Variable struct {
	Ref  int  // what Reader.Read is asked for
	Type Type // what it yields
	// Zero makes an absent value read as its type's zero value: "", 0, false, an
	// empty list, the first instant. Without it an absent value makes every
	// comparison with it false. It has no effect on Any.
	Zero bool
}

// Vocabulary resolves names while an expression is compiled.
type Vocabulary interface {
	// Variable resolves a name such as customer.attributes.age, given in parts.
	Variable(path []string) (Variable, error)
	// Predicate resolves a call such as customer.in("youth") to a variable of
	// type Bool: path customer, method in, argument youth.
	Predicate(path []string, method, argument string) (Variable, error)
	// Names lists the names there are, with dots, to suggest one from.
	Names() []string
	// Location is where the parts of a time are taken unless the expression
	// names a zone; nil means UTC.
	Location() *time.Location
}

// Refusal is a Vocabulary's error that says what to do instead. Any other error
// is answered with the nearest of the Names.
type Refusal struct{ Message, Hint string }

func (r *Refusal) Error() string { return r.Message }

// Reader gives the values of one evaluation: a Missing value for what is absent.
// It must not be changed while it is read, and is not kept.
type Reader interface {
	Read(ref int) charge.Value
}

// FaultReader is a Reader of variables that can fail. Of one that failed, Read
// gives a value of kind charge.Object and Fault says why: using the variable is
// that error, which loses, as any, against a deciding operand. A variable of
// type Any cannot fail.
type FaultReader interface {
	Reader
	Fault(ref int) error
}

// Fault is one thing that is wrong with an expression's source.
type Fault struct {
	Offset  int    // bytes from the start of the source
	Line    int    // from 1
	Column  int    // from 1, in characters
	Message string // what is wrong
	Hint    string // what to do instead; may be empty
}

func (f Fault) Error() string {
	if f.Hint == "" {
		return fmt.Sprintf("%d:%d: %s", f.Line, f.Column, f.Message)
	}
	return fmt.Sprintf("%d:%d: %s: %s", f.Line, f.Column, f.Message, f.Hint)
}

// Limits of an expression.
const (
	SourceMax = 4096   // characters of source
	DepthMax  = 32     // levels of nesting
	NodesMax  = 500    // names, literals, operators and calls
	StepsMax  = 10_000 // elements of lists looked at in one evaluation

	patternMax   = 100     // instructions of a compiled pattern
	textBytesMax = 1 << 16 // bytes of a text made by +
	faultsMax    = 20      // faults reported of one expression
)

// Expression is a compiled expression. It is immutable.
type Expression struct {
	source    string
	want      Type
	root      *node
	variables []*node // each variable once, in order of appearance
	conjuncts []*Expression
}

// Compile checks source against the vocabulary and the wanted type, and returns
// either an expression or what is wrong with it, in order of appearance. Any as
// the wanted type accepts every result.
func Compile(source string, v Vocabulary, want Type) (*Expression, []Fault) {
	s, tree, faults := parse(source)
	if faults != nil {
		return nil, faults
	}
	c := checker{script: s, info: tree.SourceInfo(), vocabulary: v, location: v.Location()}
	if c.location == nil {
		c.location = time.UTC
	}
	root := c.check(tree.Expr())
	c.demand(root, want)
	if len(c.faults) > 0 {
		return nil, c.report()
	}
	x := newExpression(source, root, want)
	if want == Bool {
		x.conjuncts = s.conjuncts(root)
	}
	return x, nil
}

func newExpression(source string, root *node, want Type) *Expression {
	return &Expression{source: source, want: want, root: root, variables: root.variables(nil)}
}

// Source returns the text the expression was compiled from.
func (x *Expression) Source() string { return x.source }

// Refs returns what the expression may read, each once.
func (x *Expression) Refs() []int {
	refs := make([]int, 0, len(x.variables))
	for _, v := range x.variables {
		if !slices.Contains(refs, v.ref) {
			refs = append(refs, v.ref)
		}
	}
	return refs
}

// Operand is a number that an expression's value is made of.
type Operand struct {
	Ref  int
	Name string // as written
}

// Operands returns the numbers that the expression's value is made of, each
// once, and the variables whose type is known at run time only. What
// conditions within it look at is left out.
func (x *Expression) Operands() []Operand { return x.root.operands(nil) }

// Conjuncts returns the conditions that the expression joins by && at its top,
// in order: the expression itself if it joins none. They share its compiled
// form.
func (x *Expression) Conjuncts() []*Expression {
	if len(x.conjuncts) == 0 {
		return []*Expression{x}
	}
	return slices.Clone(x.conjuncts)
}

// Eval returns the expression's value, of the wanted type or Missing. A
// condition is never Missing: what is absent is not true.
func (x *Expression) Eval(r Reader) (charge.Value, error) {
	if x.want == Bool {
		holds, err := x.Holds(r)
		if err != nil {
			return charge.Value{}, err
		}
		return charge.BoolValue(holds), nil
	}
	m := machine{reader: r}
	var v charge.Value
	err := m.eval(x.root, &v)
	if err == nil {
		err = m.exhausted()
	}
	if err != nil {
		return charge.Value{}, err
	}
	if x.want != Any && v.Kind != charge.Missing && v.Kind != charge.Kind(x.want) {
		return charge.Value{}, needs(x.root, v.Kind, x.want.String())
	}
	return v, nil
}

// Holds tells whether a condition is true.
func (x *Expression) Holds(r Reader) (bool, error) {
	m := machine{reader: r}
	holds, err := m.truth(x.root)
	if err == nil {
		err = m.exhausted()
	}
	return holds && err == nil, err
}

// Explanation tells why a condition holds or not.
type Explanation struct {
	Holds  bool
	Failed string         // the first conjunct that is not true, as written; empty if the condition holds
	Saw    []charge.Field // the variables of that conjunct, as written, and their values
	Err    error          // why the condition could not be judged
}

// Explain evaluates a condition conjunct by conjunct. Its verdict is that of
// Holds.
func (x *Expression) Explain(r Reader) Explanation {
	holds, err := x.Holds(r)
	if holds {
		return Explanation{Holds: true}
	}
	failed := x
	for _, part := range x.conjuncts {
		partHolds, partErr := part.Holds(r)
		// Of an erroneous condition the conjunct with the error is named, of a
		// false one the conjunct that is false: && lets it win over an error.
		if !partHolds && (partErr != nil) == (err != nil) {
			failed = part
			break
		}
	}
	return Explanation{Failed: failed.text(), Saw: failed.saw(r), Err: err}
}

func (x *Expression) saw(r Reader) []charge.Field {
	fields := make([]charge.Field, 0, len(x.variables))
	for _, v := range x.variables {
		value := r.Read(v.ref)
		switch {
		case value.Kind == charge.Missing:
			value = v.value
		case value.Kind == charge.Object && v.typ != Any:
			value = charge.Value{} // It failed: there is nothing to see.
		}
		fields = append(fields, charge.Field{Name: v.text, Value: value})
	}
	return fields
}
