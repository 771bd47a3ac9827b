package journal

import (
	"encoding/binary"
	"fmt"

	"recharged/state/charge"
)

// CommitKind says what a record of the commit log is.
type CommitKind uint8

// The kinds of commit. Their numbers are part of the encoding: append only.
const (
	CommitTurn  CommitKind = iota + 1 // what a turn read and did
	CommitClaim                       // an owner takes the partition over
)

// commitVersion is the first byte of every commit. Version 1, which can still be
// read, ends with the delta.
const commitVersion = 2

// Guesses at the smallest encoded size, for setting memory aside.
const (
	outcomeBytesGuess      = 48
	notificationBytesGuess = 32
	alertBytesGuess        = 16
	letterBytesGuess       = 8
)

// Letter is what a turn has to say to a partition, its own or another. It is
// appended to that one's event log, as a frame of kind letter.
type Letter struct {
	To     charge.Partition
	Number uint64 // counts the letters of one sender to one receiver, from 1
	Body   []byte // opaque here
}

// Commit is one record of the commit log.
//
//	+---------+------+-----------+-------+------+----------+------+----+
//	| version | kind | partition | epoch | node | previous | from | to |
//	| 1 byte  | 1    | uvarint   | uvar. | text | 32 bytes | pos. | pos|
//	+---------+------+-----------+-------+------+----------+------+----+
//	| read: created, sequence, stamp, hash  | clock | rulebook         |
//	| 8 bytes, uvarint, 8 bytes, 16 bytes   | 8     | uvarint          |
//	+---------------------------------------+-------+------------------+
//	| outcomes        | notifications       | alerts | delta           |
//	| count, each     | count, each         | c., e. | length, bytes   |
//	+-----------------+---------------------+--------+-----------------+
//	| letters: count, each: to, number uvarints | body length, bytes   |
//	+-------------------------------------------+----------------------+
//
// A text is its length as a uvarint and its bytes; a position is two uvarints,
// sequence and offset; counts and lengths are uvarints; an instant is 8 bytes,
// big endian.
//
// The chain. Previous is the SHA-256 of the record before, so a log that lost or
// replaced a record in its middle does not fold.
type Commit struct {
	Kind      CommitKind
	Partition charge.Partition
	Epoch     uint64 // of the owner: higher fences lower
	Node      string // of the owner
	Previous  [32]byte
	From, To  charge.Position // half-open: the first event not yet read, before and after this turn
	Read      Anchor          // of the last event log record that was touched; zero if none ever was
	Clock     charge.Instant
	Rulebook  uint64 // version in force after this turn

	Outcomes      []charge.Outcome
	Notifications []charge.Notification
	Alerts        []charge.Alert
	Delta         []byte // opaque here: state applies it
	Letters       []Letter
}

// Append appends the encoded commit to dst.
func (c *Commit) Append(dst []byte) []byte {
	dst = append(dst, commitVersion, byte(c.Kind))
	dst = binary.AppendUvarint(dst, uint64(c.Partition))
	dst = binary.AppendUvarint(dst, c.Epoch)
	dst = appendText(dst, c.Node)
	dst = append(dst, c.Previous[:]...)
	dst = appendPosition(dst, c.From)
	dst = appendPosition(dst, c.To)
	dst = c.Read.Append(dst)
	dst = appendInstant(dst, c.Clock)
	dst = binary.AppendUvarint(dst, c.Rulebook)
	dst = binary.AppendUvarint(dst, uint64(len(c.Outcomes)))
	for i := range c.Outcomes {
		dst = charge.AppendOutcome(dst, &c.Outcomes[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Notifications)))
	for i := range c.Notifications {
		dst = charge.AppendNotification(dst, &c.Notifications[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Alerts)))
	for i := range c.Alerts {
		dst = charge.AppendAlert(dst, &c.Alerts[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Delta)))
	dst = append(dst, c.Delta...)
	dst = binary.AppendUvarint(dst, uint64(len(c.Letters)))
	for i := range c.Letters {
		l := &c.Letters[i]
		dst = binary.AppendUvarint(dst, uint64(l.To))
		dst = binary.AppendUvarint(dst, l.Number)
		dst = binary.AppendUvarint(dst, uint64(len(l.Body)))
		dst = append(dst, l.Body...)
	}
	return dst
}

// DecodeCommit decodes one record of the commit log. The commit's Delta and the
// bodies of its letters are parts of data.
func DecodeCommit(data []byte) (Commit, error) {
	c, err := decodeCommit(data)
	if err != nil {
		return Commit{}, fmt.Errorf("decode commit of %d bytes: %w", len(data), err)
	}
	return c, nil
}

func decodeCommit(data []byte) (c Commit, err error) {
	r := decoder{rest: data}
	version := r.version(commitVersion)
	c.Kind = CommitKind(r.byte())
	if r.err == nil && c.Kind != CommitTurn && c.Kind != CommitClaim {
		return c, fmt.Errorf("kind %d is unknown", c.Kind)
	}
	c.Partition = r.partition()
	c.Epoch = r.uvarint()
	c.Node = r.text()
	copy(c.Previous[:], r.fixed(len(c.Previous)))
	c.From, c.To = r.position(), r.position()
	c.Read = r.anchor()
	c.Clock = r.instant()
	c.Rulebook = r.uvarint()
	c.Outcomes = decodeList(&r, r.length(), outcomeBytesGuess, charge.DecodeOutcome)
	c.Notifications = decodeList(&r, r.length(), notificationBytesGuess, charge.DecodeNotification)
	c.Alerts = decodeList(&r, r.length(), alertBytesGuess, charge.DecodeAlert)
	c.Delta = r.bytes()
	if version > 1 {
		c.Letters = decodeList(&r, r.length(), letterBytesGuess, decodeLetter)
	}
	return c, r.end()
}

func decodeLetter(data []byte) (Letter, []byte, error) {
	r := decoder{rest: data}
	l := Letter{To: r.partition(), Number: r.uvarint(), Body: r.bytes()}
	return l, r.rest, r.err
}
