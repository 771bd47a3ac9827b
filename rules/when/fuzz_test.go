package when

import (
	"testing"
	"unicode/utf8"
)

// FuzzCompile: nothing that is written panics, and what compiles can be
// evaluated, whether everything is there or nothing.
func FuzzCompile(f *testing.F) {
	for _, group := range [][]evalCase{conditions, exactNumbers, absence, attributes, textAndLists, times, runTimeErrors} {
		for _, tt := range group {
			f.Add(tt.source)
		}
	}
	for _, tt := range faultCases {
		f.Add(tt.source)
	}
	w := newWords()
	usual := w.usual(f)
	f.Fuzz(func(t *testing.T, source string) {
		for _, want := range []Type{Any, Bool} {
			x, faults := Compile(source, w, want)
			if (x == nil) != (len(faults) > 0) {
				t.Fatalf("expression %v, faults %v", x, faults)
			}
			for _, fault := range faults {
				if fault.Offset < 0 || fault.Offset > len(source) || fault.Line < 1 || fault.Column < 1 || fault.Message == "" {
					t.Fatalf("fault %+v", fault)
				}
			}
			if x == nil {
				continue
			}
			for _, vs := range []values{usual, nil} {
				if _, err := x.Eval(vs); err != nil && !utf8.ValidString(err.Error()) {
					t.Fatalf("error %q", err)
				}
				if want == Bool {
					holds, err := x.Holds(vs)
					if e := x.Explain(vs); e.Holds != holds || (e.Err == nil) != (err == nil) || !holds && e.Failed == "" {
						t.Fatalf("holds %v, %v; explained %+v", holds, err, e)
					}
				}
			}
		}
	})
}
