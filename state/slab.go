package state

import (
	"cmp"
	"math/bits"
	"slices"

	"recharged/state/charge"
)

// slab is memory for many small things without a pointer in it: large pages that
// are cut into blocks of a few sizes. A block that was given back is handed out
// again.
type slab struct {
	pages [][]byte
	used  int // bytes of the last page
	free  [blockClasses][]block
}

// block is a piece of a slab: where it is, and of which size. The zero block is
// none.
type block struct {
	page   uint32
	offset uint32
	class  uint8 // plus one
}

// Sizes of blocks: multiples of 64 up to 1 KiB, above that powers of two up to a
// page.
const (
	pageBytes    = 1 << 20
	blockStep    = 64
	blockSteps   = 16
	blockClasses = blockSteps + 10
)

// classOf returns the smallest class of blocks of at least n bytes.
func classOf(n int) int {
	if n <= blockStep*blockSteps {
		return max(0, (n-1)/blockStep)
	}
	return blockSteps + bits.Len(uint(n-1)/(blockStep*blockSteps)) - 1
}

// size is how many bytes a block has.
func (b block) size() int {
	switch class := int(b.class) - 1; {
	case class < 0:
		return 0
	case class < blockSteps:
		return blockStep * (class + 1)
	default:
		return blockStep * blockSteps << (class - blockSteps + 1)
	}
}

// bytes returns the memory of a block.
func (s *slab) bytes(b block) []byte {
	if b.class == 0 {
		return nil
	}
	return s.pages[b.page][b.offset : int(b.offset)+b.size()]
}

// take hands out a block of at least n bytes, with anything in it.
func (s *slab) take(n int) block {
	class := classOf(n)
	if free := s.free[class]; len(free) > 0 {
		s.free[class] = free[:len(free)-1]
		return free[len(free)-1]
	}
	b := block{class: uint8(class) + 1}
	if len(s.pages) == 0 || s.used+b.size() > pageBytes {
		s.pages = append(s.pages, make([]byte, pageBytes))
		s.used = 0
	}
	b.page, b.offset = uint32(len(s.pages)-1), uint32(s.used)
	s.used += b.size()
	return b
}

// give takes a block back.
func (s *slab) give(b block) {
	if b.class > 0 {
		s.free[b.class-1] = append(s.free[b.class-1], b)
	}
}

// fit returns the block if it is of the size for n bytes, or else another one
// instead of it.
func (s *slab) fit(b block, n int) block {
	if b.class > 0 && classOf(n) == int(b.class)-1 {
		return b
	}
	s.give(b)
	return s.take(n)
}

func (s *slab) memory() int { return pageBytes * len(s.pages) }

// clone returns a copy that shares nothing with s.
func (s *slab) clone() slab {
	c := slab{used: s.used, pages: make([][]byte, len(s.pages))}
	for i, page := range s.pages {
		c.pages[i] = slices.Clone(page)
	}
	for class := range s.free {
		c.free[class] = slices.Clone(s.free[class])
	}
	return c
}

// timer says when a person of a Volatile is due.
type timer struct {
	due    charge.Instant
	msisdn charge.MSISDN
	person int32
}

func (t timer) before(u timer) bool {
	return cmp.Or(cmp.Compare(t.due, u.due), cmp.Compare(t.msisdn, u.msisdn)) < 0
}

// timerHeap is a heap of timers by instant and number: the first is the one that
// is due first. It is written out here because container/heap allocates for each
// entry.
type timerHeap []timer

func (h *timerHeap) push(t timer) {
	*h = append(*h, t)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(s[parent]) {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *timerHeap) pop() timer {
	s := *h
	first, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if child+1 < last && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(s[i]) {
			return first
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
}
