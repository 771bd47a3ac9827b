package stream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// position is how far a partition has come in its two logs, and by what they
// are recognised: it is stored with the state, in the same batch.
//
//	format(1) chain(32) next sequence(8) offset(4) clock(8) rulebook(8) epoch(8)
//	length(1) commit anchor, length(1) read anchor
//
// Numbers are big endian; an anchor is as the journal encodes it.
type position struct {
	Commit   journal.Anchor  // of the last commit folded
	Chain    [32]byte        // SHA-256 of that commit, which the next one names
	Next     charge.Position // first event not yet read
	Read     journal.Anchor  // of the last event log record read
	Clock    charge.Instant  // the log's clock
	Rulebook uint64          // version in force
	Epoch    uint64          // of the last owner
}

const (
	positionFormat     = 1
	positionFixedBytes = 1 + 32 + 8 + 4 + 8 + 8 + 8
)

// start is the position before the first event.
var start = charge.Position{Sequence: 1}

func (p *position) append(dst []byte) []byte {
	dst = append(append(dst, positionFormat), p.Chain[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Next.Sequence))
	dst = binary.BigEndian.AppendUint32(dst, p.Next.Offset)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Clock))
	dst = binary.BigEndian.AppendUint64(dst, p.Rulebook)
	dst = binary.BigEndian.AppendUint64(dst, p.Epoch)
	for _, anchor := range []journal.Anchor{p.Commit, p.Read} {
		encoded := anchor.Append(nil)
		dst = append(append(dst, byte(len(encoded))), encoded...)
	}
	return dst
}

var errPosition = errors.New("the stored position is damaged: move the state folder away, it is built again from the commit logs")

// decodePosition reads what append wrote; nothing at all is the start.
func decodePosition(row []byte) (position, error) {
	if row == nil {
		return position{Next: start}, nil
	}
	if len(row) < positionFixedBytes || row[0] != positionFormat {
		return position{}, fmt.Errorf("%w (%d bytes)", errPosition, len(row))
	}
	var p position
	copy(p.Chain[:], row[1:])
	p.Next.Sequence = charge.Sequence(binary.BigEndian.Uint64(row[33:]))
	p.Next.Offset = binary.BigEndian.Uint32(row[41:])
	p.Clock = charge.Instant(binary.BigEndian.Uint64(row[45:]))
	p.Rulebook = binary.BigEndian.Uint64(row[53:])
	p.Epoch = binary.BigEndian.Uint64(row[61:])
	row = row[positionFixedBytes:]
	for _, anchor := range []*journal.Anchor{&p.Commit, &p.Read} {
		if len(row) == 0 || len(row) <= int(row[0]) {
			return position{}, fmt.Errorf("%w: it ends early", errPosition)
		}
		var err error
		if *anchor, err = journal.DecodeAnchor(row[1 : 1+row[0]]); err != nil {
			return position{}, errors.Join(errPosition, err)
		}
		row = row[1+row[0]:]
	}
	return p, nil
}
