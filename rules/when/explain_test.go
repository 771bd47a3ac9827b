package when

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct{ source, failed, saw, err string }{
		{source: `amount > 300 && !gift`},
		{`amount > 300 && channel == "ussd" && gift`, `channel == "ussd"`, `channel="app"`, ""},
		{` amount > 1000 `, `amount > 1000`, `amount=300.1`, ""},
		{`amount > 300 && (channel == "ussd" || gift) && true`, `(channel == "ussd" || gift)`, `channel="app" gift=false`, ""},
		{`(amount > 300 && (gift && true)) && false`, `gift`, `gift=false`, ""},
		{`amount > 300 && !!gift`, `!!gift`, `gift=false`, ""},
		{`amount > 300 && !customer.in( "youth" )`, `!customer.in( "youth" )`, `customer.in( "youth" )=true`, ""},
		{`has(customer.attributes.none) && gift`, `has(customer.attributes.none)`, `customer.attributes.none=missing`, ""},
		{`(amount + 1) * 2 - amount < amount`, `(amount + 1) * 2 - amount < amount`, `amount=300.1`, ""},
		{`amount > 300 && 1 / (amount - 300.1) > 2`, `1 / (amount - 300.1) > 2`, `amount=300.1`, "1 / (amount - 300.1): division by zero"},
		{`1 / (amount - 300.1) > 2 && gift`, `gift`, `gift=false`, ""},
		{"amount > 300 && // why not\n topics.all(x, x == \"music\")", `topics.all(x, x == "music")`, `topics=["football" "music"]`, ""},
	} {
		w := newWords()
		x := mustCompile(t, tt.source, Bool)
		e := x.Explain(w.usual(t))
		var saw []string
		for _, f := range e.Saw {
			saw = append(saw, f.Name+"="+show(f.Value))
		}
		err := ""
		if e.Err != nil {
			err = e.Err.Error()
		}
		if e.Holds != (tt.failed == "") || e.Failed != tt.failed || strings.Join(saw, " ") != tt.saw || err != tt.err {
			t.Errorf("%s: got %v, failed %s, saw %q, error %q", tt.source, e.Holds, e.Failed, saw, err)
		}
		if holds, _ := x.Holds(w.usual(t)); holds != e.Holds {
			t.Errorf("%s: explained %v, holds %v", tt.source, e.Holds, holds)
		}
	}
}

func TestConjunctsAndRefs(t *testing.T) {
	w := newWords()
	x := mustCompile(t, `amount > 300 && (gift || amount > 5) && (has(customer.main) && channel in ["a"])`, Bool)
	var texts []string
	for _, c := range x.Conjuncts() {
		texts = append(texts, c.Source())
	}
	if want := []string{`amount > 300`, `(gift || amount > 5)`, `has(customer.main)`, `channel in ["a"]`}; !slices.Equal(texts, want) {
		t.Errorf("conjuncts %q", texts)
	}
	var names []string
	for _, ref := range x.Refs() {
		names = append(names, w.names[ref])
	}
	if want := []string{"amount", "gift", "customer.main", "channel"}; !slices.Equal(names, want) {
		t.Errorf("refs %q", names)
	}
	single := mustCompile(t, `gift || gift`, Bool)
	if parts := single.Conjuncts(); len(parts) != 1 || parts[0] != single {
		t.Errorf("conjuncts of a single condition: %v", parts)
	}
}

func TestConcurrentEvaluation(t *testing.T) {
	w := newWords()
	x := mustCompile(t, `topics.exists(x, x.matches("^mu.ic$")) && amount / 3 > 100`, Bool)
	vs := w.usual(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				if holds, err := x.Holds(vs); !holds || err != nil {
					t.Errorf("got %v, %v", holds, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func ExampleCompile() {
	_, faults := Compile(`amount >= 300.10 && chanel == "app"`, newWords(), Bool)
	for _, f := range faults {
		fmt.Println(f)
	}
	// Output: 1:21: unknown name chanel: did you mean channel?
}
