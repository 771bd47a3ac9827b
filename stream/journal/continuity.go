package journal

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"recharged/state/charge"
)

// Anchor names one record of one incarnation of a log so exactly that a rolled
// back, recreated or rewritten log is recognised. Whoever keeps a position in a
// log keeps the Anchor of the last record before it. The zero Anchor stands for
// "nothing read yet".
//
//	+---------+----------+---------+----------+
//	| created | sequence | stamp   | hash     |
//	| 8 bytes | uvarint  | 8 bytes | 16 bytes |
//	+---------+----------+---------+----------+
type Anchor struct {
	Created  charge.Instant  // when the log was created; zero: not known
	Sequence charge.Sequence // of the record; zero: none yet
	Stamp    charge.Instant  // the server's timestamp of the record; zero: not known
	Hash     [16]byte        // SHA-256 of its payload, truncated
}

// Append appends the encoded anchor to dst.
func (a Anchor) Append(dst []byte) []byte {
	dst = appendInstant(dst, a.Created)
	dst = binary.AppendUvarint(dst, uint64(a.Sequence))
	dst = appendInstant(dst, a.Stamp)
	return append(dst, a.Hash[:]...)
}

// DecodeAnchor decodes an anchor that stands alone.
func DecodeAnchor(data []byte) (Anchor, error) {
	d := decoder{rest: data}
	a := d.anchor()
	if err := d.end(); err != nil {
		return Anchor{}, fmt.Errorf("decode anchor of %d bytes: %w", len(data), err)
	}
	return a, nil
}

// Record is one record of a log.
type Record struct {
	Sequence charge.Sequence
	Stamp    charge.Instant // the server's timestamp; zero on a record just appended
	Data     []byte         // the payload; nobody changes it
}

// Anchor returns the record's anchor in the log created at that instant.
func (r Record) Anchor(created charge.Instant) Anchor {
	return Anchor{Created: created, Sequence: r.Sequence, Stamp: r.Stamp, Hash: payloadHash(r.Data)}
}

func payloadHash(payload []byte) (hash [16]byte) {
	sum := sha256.Sum256(payload)
	copy(hash[:], sum[:])
	return hash
}

// Break is the way in which a log does not continue what is known of it.
type Break string

// The kinds of break.
const (
	Missing    Break = "missing"     // there is no log of that name
	Recreated  Break = "recreated"   // it was deleted and created anew
	RolledBack Break = "rolled_back" // it ends before the record that is known
	Trimmed    Break = "trimmed"     // records that were not yet read are gone from its beginning
	Rewritten  Break = "rewritten"   // another record has the known one's sequence
	Lost       Break = "lost"        // the server says that it has lost records, or one is gone from the middle
	Gap        Break = "gap"         // a sequence was skipped while reading
)

// Discontinuity is the error of a log that is not the one that was known. No
// program may continue over it: a person decides.
type Discontinuity struct {
	Log    string
	Kind   Break
	Known  string // what was known of the log
	Found  string // what is there
	Advice string // what to do
}

const (
	adviceRestore = "nothing was changed; stop the program and put back a copy of the logs that is at least as new as the state"
	adviceMissing = "nothing was changed; find out whether this is the right server and directory, else put back a copy of the logs that is at least as new as the state"
)

// happened says what became of a log, by the kind of break.
var happened = map[Break]string{
	Missing:    "is missing",
	Recreated:  "was deleted and created anew",
	RolledBack: "was rolled back: it ends before what was read of it",
	Trimmed:    "lost records at its beginning that were not read yet",
	Rewritten:  "was rewritten: it holds another record than the one that was read",
	Lost:       "lost records",
	Gap:        "skips a record",
}

func (d *Discontinuity) Error() string {
	return fmt.Sprintf("log %s %s (known: %s; found: %s); %s", d.Log, happened[d.Kind], d.Known, d.Found, d.Advice)
}

func (l *Log) broken(kind Break, known, found string) *Discontinuity {
	advice := adviceRestore
	if kind == Missing {
		advice = adviceMissing
	}
	return &Discontinuity{Log: l.name, Kind: kind, Known: known, Found: found, Advice: advice}
}

// missing is the Discontinuity of a log that is gone while it was in use.
func (l *Log) missing() *Discontinuity {
	return l.broken(Missing, "there was a log", "the server has no stream of that name")
}

func (a Anchor) String() string {
	if a.Sequence == 0 {
		return "nothing read yet of the log created " + describe(a.Created)
	}
	stamp := ""
	if a.Stamp != 0 {
		stamp = ", written " + describe(a.Stamp)
	}
	return fmt.Sprintf("record %d with hash %x%s, in a log created %s", a.Sequence, a.Hash[:6], stamp, describe(a.Created))
}

func describe(i charge.Instant) string {
	if i == 0 {
		return "at an unknown time"
	}
	return "at " + i.Time().Format(time.RFC3339Nano)
}

// Check reports whether the log still is the one that a was taken from and holds
// everything after a's record. It returns nil, a *Discontinuity, or the error of
// a server that could not be asked, which says nothing about the log.
//
// When everything up to and including the record has been trimmed, the record
// itself cannot be compared any more; the log's time of creation must do.
func (l *Log) Check(ctx context.Context, a Anchor) error {
	info, err := l.Info(ctx)
	if errors.Is(err, ErrNoLog) {
		return l.broken(Missing, a.String(), "the server has no stream of that name")
	}
	if err != nil {
		return err
	}
	if d := l.compare(a, info); d != nil {
		return d
	}
	if a.Sequence == 0 || info.First > a.Sequence {
		return nil
	}
	record, err := l.Get(ctx, a.Sequence)
	if errors.Is(err, ErrNoRecord) {
		return l.broken(Lost, a.String(), "the record is gone, though the ones around it are there: "+info.String())
	}
	if err != nil {
		return err
	}
	if record.Anchor(info.Created).Hash != a.Hash || a.Stamp != 0 && record.Stamp != a.Stamp {
		return l.broken(Rewritten, a.String(), record.Anchor(info.Created).String())
	}
	return nil
}

// compare holds what the server says about the log as a whole against a.
func (l *Log) compare(a Anchor, info Info) *Discontinuity {
	switch {
	case a.Created != 0 && a.Created != info.Created:
		return l.broken(Recreated, a.String(), info.String())
	case info.Lost:
		return l.broken(Lost, a.String(), "the server reports lost or deleted records: "+info.String())
	case info.Last < a.Sequence:
		return l.broken(RolledBack, a.String(), info.String())
	case info.First > a.Sequence+1:
		return l.broken(Trimmed, a.String(), info.String())
	}
	return nil
}
