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

// commitVersion is the first byte of every commit.
const commitVersion = 1

// Guesses at the smallest encoded size, for setting memory aside.
const (
	outcomeBytesGuess      = 48
	notificationBytesGuess = 32
	alertBytesGuess        = 16
)

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
	return append(dst, c.Delta...)
}

// DecodeCommit decodes one record of the commit log. The commit's Delta is a
// part of data.
func DecodeCommit(data []byte) (Commit, error) {
	c, err := decodeCommit(data)
	if err != nil {
		return Commit{}, fmt.Errorf("decode commit of %d bytes: %w", len(data), err)
	}
	return c, nil
}

func decodeCommit(data []byte) (c Commit, err error) {
	r := decoder{rest: data}
	if v := r.byte(); r.err == nil && v != commitVersion {
		return c, fmt.Errorf("version %d is unknown, this program knows %d", v, commitVersion)
	}
	c.Kind = CommitKind(r.byte())
	if r.err == nil && c.Kind != CommitTurn && c.Kind != CommitClaim {
		return c, fmt.Errorf("kind %d is unknown", c.Kind)
	}
	partition := r.uvarint()
	if partition >= charge.Slots {
		return c, fmt.Errorf("partition %d is beyond the last, %d", partition, charge.Slots-1)
	}
	c.Partition = charge.Partition(partition)
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
	return c, r.end()
}
