package charge

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// customerVersion is the first byte of a customer's encoding. Version 1 ends
// before the timers.
const (
	customerVersion         = 2
	customerVersionNoTimers = 1
)

// AppendCustomer appends the customer's encoding. It goes into every commit
// that touches the customer, so it is as small as varints make it:
//
//	+---------+---------+-----------+---------------+------+------+
//	| version | MSISDN  | recharges | last recharge | seen | kept |
//	+---------+---------+-----------+---------------+------+------+
//	  byte      8 bytes   int         instant         uint   uint
//	+-------------------------------------------------------------+
//	| balances: list of word name, list of int amount and instant |
//	|           expires                                           |
//	+-------------------------------------------------------------+
//	| attributes: list of word name, value                        |
//	+-------------------------------------------------------------+
//	| tags: list of word                                          |
//	+-------------------------------------------------------------+
//	| counters: list of word name, int step, list of int index    |
//	|           minus the index before it and int value           |
//	+-------------------------------------------------------------+
//	| timers: list of word rule, instant armed, instant due       |
//	+-------------------------------------------------------------+
//
// Kept is seen minus forgotten.
func AppendCustomer(dst []byte, c *Customer) []byte {
	dst = append(dst, customerVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.MSISDN))
	dst = binary.AppendVarint(dst, c.Recharges)
	dst = appendInstant(dst, c.LastRecharge)
	dst = binary.AppendUvarint(dst, c.Seen)
	dst = binary.AppendUvarint(dst, c.Seen-c.Forgotten)
	dst = binary.AppendUvarint(dst, uint64(len(c.Balances)))
	for i := range c.Balances {
		dst = appendWord(dst, c.Balances[i].Name)
		dst = binary.AppendUvarint(dst, uint64(len(c.Balances[i].Parts)))
		for _, p := range c.Balances[i].Parts {
			dst = appendInstant(appendAmount(dst, p.Amount), p.Expires)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Attributes)))
	for i := range c.Attributes {
		dst = appendWord(dst, c.Attributes[i].Name)
		dst = appendValue(dst, c.Attributes[i].Value)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Tags)))
	for _, tag := range c.Tags {
		dst = appendWord(dst, tag)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Counters)))
	for i := range c.Counters {
		dst = appendCounter(dst, &c.Counters[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Timers)))
	for i := range c.Timers {
		t := &c.Timers[i]
		dst = appendInstant(appendInstant(appendWord(dst, t.Rule), t.Armed), t.Due)
	}
	return dst
}

func appendCounter(dst []byte, c *Counter) []byte {
	dst = appendWord(dst, c.Name)
	dst = binary.AppendVarint(dst, c.Step)
	dst = binary.AppendUvarint(dst, uint64(len(c.Buckets)))
	before := int64(0)
	for _, b := range c.Buckets {
		dst = binary.AppendVarint(dst, b.Index-before)
		dst = binary.AppendVarint(dst, b.Value)
		before = b.Index
	}
	return dst
}

// DecodeCustomer reads a customer into c, reusing c's memory: a customer that
// looks like the one before it is read without allocating. It keeps nothing of
// data. After an error c is in no usable state.
func DecodeCustomer(data []byte, c *Customer) error {
	r := reader{data: data}
	version := r.byte()
	if r.err == nil && version != customerVersion && version != customerVersionNoTimers {
		return fmt.Errorf("decode customer: version %d is unknown, this program reads versions %d and %d", version, customerVersionNoTimers, customerVersion)
	}
	c.MSISDN = r.msisdn()
	c.Recharges = r.int()
	c.LastRecharge = r.instant()
	c.Seen = r.uint()
	c.Forgotten = c.Seen - r.uint()
	c.Balances = resize(c.Balances, r.count(2))
	for i := range c.Balances {
		b := &c.Balances[i]
		b.Name = r.word(b.Name)
		b.Parts = resize(b.Parts, r.count(2))
		for k := range b.Parts {
			b.Parts[k] = Part{r.amount(), r.instant()}
		}
	}
	c.Attributes = resize(c.Attributes, r.count(2))
	for i := range c.Attributes {
		f := &c.Attributes[i]
		f.Name = r.word(f.Name)
		f.Value = r.value(f.Value.Text, 0)
	}
	c.Tags = resize(c.Tags, r.count(1))
	for i := range c.Tags {
		c.Tags[i] = r.word(c.Tags[i])
	}
	c.Counters = resize(c.Counters, r.count(3))
	for i := range c.Counters {
		r.counter(&c.Counters[i])
	}
	c.Timers = c.Timers[:0]
	if version != customerVersionNoTimers {
		c.Timers = resize(c.Timers, r.count(3))
	}
	for i := range c.Timers {
		t := &c.Timers[i]
		*t = Timer{r.word(t.Rule), r.instant(), r.instant()}
	}
	if r.err == nil && !c.sorted() {
		r.fail(errCorrupt)
	}
	return r.close("customer")
}

func (r *reader) counter(c *Counter) {
	c.Name = r.word(c.Name)
	c.Step = r.int()
	c.Buckets = resize(c.Buckets, r.count(2))
	index := int64(0)
	for i := range c.Buckets {
		index += r.int()
		c.Buckets[i] = Bucket{index, r.int()}
	}
}

// sorted reports whether names can be searched for.
func (c *Customer) sorted() bool {
	return ascending(c.Balances, func(b *Balance) string { return b.Name }) &&
		ascending(c.Attributes, func(f *Field) string { return f.Name }) &&
		ascending(c.Counters, func(c *Counter) string { return c.Name }) &&
		ascending(c.Timers, func(t *Timer) string { return t.Rule }) &&
		slices.IsSorted(c.Tags)
}

func ascending[T any](s []T, nameOf func(*T) string) bool {
	for i := 1; i < len(s); i++ {
		if nameOf(&s[i-1]) >= nameOf(&s[i]) {
			return false
		}
	}
	return true
}
