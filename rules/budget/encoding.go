package budget

import (
	"encoding/binary"
	"errors"
	"fmt"

	"recharged/state/charge"
	"recharged/state/money"
)

// The encodings are sequences of these pieces; each begins with its version, and
// bytes left over are a fault:
//
//	uint    unsigned varint
//	int     zigzag varint
//	amount  uint, at most money.AmountMax
//	signed  int, within ±money.AmountMax
//	flag    one byte, 0 or 1
//	terms   uint version, amount total
//
//	message   version byte, kind byte, then by kind
//	            ask     terms, amount need
//	            grant   terms, amount, signed bound
//	            recall  nothing
//	            yield   amount, amount spent
//	fund      version byte, terms, amount slice, amount spent, signed left,
//	          amount low, flag asking
//	treasury  version byte, terms, signed remaining,
//	          uint partitions, of each: amount granted, amount spent, flag owes
//	          uint asks that wait, of each: uint partition, amount need
const (
	messageVersion  = 1
	fundVersion     = 1
	treasuryVersion = 1
)

func appendTerms(dst []byte, t Terms) []byte {
	return appendAmount(binary.AppendUvarint(dst, t.Version), t.Total)
}

func appendAmount(dst []byte, a money.Amount) []byte { return binary.AppendUvarint(dst, uint64(a)) }

func appendSigned(dst []byte, a money.Amount) []byte { return binary.AppendVarint(dst, int64(a)) }

func appendFlag(dst []byte, flag bool) []byte {
	if flag {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// Append appends the message's encoding.
func (m Message) Append(dst []byte) []byte {
	dst = append(dst, messageVersion, byte(m.Kind))
	switch m.Kind {
	case Ask:
		return appendAmount(appendTerms(dst, m.Terms), m.Amount)
	case Grant:
		return appendSigned(appendAmount(appendTerms(dst, m.Terms), m.Amount), m.Bound)
	case Recall:
		return dst
	case Yield:
		return appendAmount(appendAmount(dst, m.Amount), m.Spent)
	default:
		panic(fmt.Sprintf("budget: encode a message of unknown kind %d", m.Kind))
	}
}

// DecodeMessage reads what Message.Append wrote.
func DecodeMessage(data []byte) (Message, error) {
	r := reader{data: data}
	r.version(messageVersion)
	m := Message{Kind: Kind(r.byte())}
	switch m.Kind {
	case Ask:
		m.Terms, m.Amount = r.terms(), r.amount()
	case Grant:
		m.Terms, m.Amount, m.Bound = r.terms(), r.amount(), r.signed()
	case Recall:
	case Yield:
		m.Amount, m.Spent = r.amount(), r.amount()
	default:
		r.fail(errCorrupt)
	}
	if err := r.close("budget message"); err != nil {
		return Message{}, err
	}
	return m, nil
}

// Append appends the fund's encoding.
func (f *Fund) Append(dst []byte) []byte {
	dst = appendTerms(append(dst, fundVersion), f.terms)
	dst = appendAmount(appendAmount(dst, f.slice), f.spent)
	dst = appendAmount(appendSigned(dst, f.left), f.low)
	return appendFlag(dst, f.asking)
}

// DecodeFund reads what Fund.Append wrote.
func DecodeFund(data []byte) (Fund, error) {
	r := reader{data: data}
	r.version(fundVersion)
	f := Fund{terms: r.terms(), slice: r.amount(), spent: r.amount(), left: r.signed(), low: r.amount(), asking: r.flag()}
	if err := r.close("budget fund"); err != nil {
		return Fund{}, err
	}
	return f, nil
}

// Append appends the treasury's encoding.
func (t *Treasury) Append(dst []byte) []byte {
	dst = appendTerms(append(dst, treasuryVersion), t.terms)
	dst = appendSigned(dst, t.remaining)
	dst = binary.AppendUvarint(dst, uint64(len(t.accounts)))
	for _, a := range t.accounts {
		dst = appendFlag(appendAmount(appendAmount(dst, a.granted), a.spent), a.owes)
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.waiting)))
	for _, w := range t.waiting {
		dst = appendAmount(binary.AppendUvarint(dst, uint64(w.from)), w.need)
	}
	return dst
}

// DecodeTreasury reads what Treasury.Append wrote. It refuses a treasury whose
// sums do not agree.
func DecodeTreasury(data []byte) (*Treasury, error) {
	r := reader{data: data}
	r.version(treasuryVersion)
	t := &Treasury{terms: r.terms(), remaining: r.signed()}
	t.accounts = make([]account, r.count(charge.Slots))
	for p := range t.accounts {
		t.accounts[p] = account{granted: r.amount(), spent: r.amount(), owes: r.flag()}
	}
	asks := make([]bool, len(t.accounts))
	for range r.count(len(t.accounts)) {
		w := wait{from: charge.Partition(r.count(len(t.accounts) - 1)), need: r.amount()}
		if r.err == nil && asks[w.from] {
			r.fail(errCorrupt)
		}
		if r.err == nil {
			asks[w.from] = true
			t.waiting = append(t.waiting, w)
		}
	}
	if r.err == nil && (len(t.accounts) == 0 || t.check() != nil) {
		r.fail(errCorrupt)
	}
	if err := r.close("budget treasury"); err != nil {
		return nil, err
	}
	return t, nil
}

// Faults in an encoding.
var (
	errShort   = errors.New("the encoding ends too early")
	errCorrupt = errors.New("the encoding is corrupt")
	errVersion = errors.New("the encoding's version is unknown")
)

// reader decodes. After its first fault it reads zeros only, so the fault is
// looked at once, at the end.
type reader struct {
	data []byte
	at   int // of the next byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: %w", r.at, err)
	}
	r.at = len(r.data)
}

// close returns the reader's fault; bytes left over are one.
func (r *reader) close(subject string) error {
	if r.at != len(r.data) {
		r.fail(errCorrupt)
	}
	if r.err != nil {
		return fmt.Errorf("decode %s: %w", subject, r.err)
	}
	return nil
}

func (r *reader) byte() byte {
	if r.at >= len(r.data) {
		r.fail(errShort)
		return 0
	}
	r.at++
	return r.data[r.at-1]
}

func (r *reader) version(known byte) {
	if version := r.byte(); r.err == nil && version != known {
		r.fail(errVersion)
	}
}

func (r *reader) flag() bool {
	b := r.byte()
	if b > 1 {
		r.fail(errCorrupt)
	}
	return b == 1
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.data[r.at:])
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.at += size
	return n
}

// count reads a number of elements, or the number of one, up to the last.
func (r *reader) count(last int) int {
	n := r.uint()
	if last < 0 || n > uint64(last) {
		r.fail(errCorrupt)
		return 0
	}
	return int(n)
}

func (r *reader) amount() money.Amount {
	n := r.uint()
	if n > uint64(money.AmountMax) {
		r.fail(errCorrupt)
		return 0
	}
	return money.Amount(n)
}

func (r *reader) signed() money.Amount {
	n, size := binary.Varint(r.data[r.at:])
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.at += size
	if a := money.Amount(n); a.Valid() {
		return a
	}
	r.fail(errCorrupt)
	return 0
}

func (r *reader) terms() Terms { return Terms{Version: r.uint(), Total: r.amount()} }
