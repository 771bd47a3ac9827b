package charge

import (
	"encoding/binary"
	"strings"

	"recharged/state/money"
)

// How an outcome's encoding writes the account of a posting. Append only.
const (
	accountSpelt = iota // a text follows
	accountPromo        // PromoPrefix and the posting's cause
	accountRecharge
	accountUsage
	accountExpiry
	accountAdjustment
	accountCodes // how many codes there are
)

// accounts are the accounts by code.
var accounts = [accountCodes]Account{
	accountRecharge: AccountRecharge, accountUsage: AccountUsage,
	accountExpiry: AccountExpiry, accountAdjustment: AccountAdjustment,
}

// AppendOutcome appends the outcome's encoding, a record:
//
//	+--------+----+--------+------+--------+------+----------+
//	| length | id | source | type | MSISDN | time | accepted |
//	+--------+----+--------+------+--------+------+----------+
//	  uint    text  text    word   8 bytes  instant instant
//	+----------+--------+--------+--------+--------+----------+
//	| sequence | offset | result | reason | detail | rulebook |
//	+----------+--------+--------+--------+--------+----------+
//	  uint       uint     byte     text     text     uint
//	+----------+-----------+--------+---------+---------+
//	| currency | shortfall | amount | channel | service |
//	+----------+-----------+--------+---------+---------+
//	  word, byte  int         int      word      word
//	+---------------------------------------------------------------------+
//	| postings: list of word balance, word cause, account, int amount,    |
//	|           byte has unit [word, byte], instant expires, int after    |
//	+---------------------------------------------------------------------+
//	| rules: list of word name, byte verdict, word reason, text detail    |
//	+---------------------------------------------------------------------+
//
// An account is a code byte, and a text if it is none of the known ones. A
// posting has a unit only where that is not the currency.
func AppendOutcome(dst []byte, o *Outcome) []byte {
	start := len(dst)
	dst = appendText(dst, o.EventID)
	dst = appendText(dst, o.Source)
	dst = appendWord(dst, o.Type)
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.MSISDN))
	dst = appendInstant(dst, o.Time)
	dst = appendInstant(dst, o.Accepted)
	dst = binary.AppendUvarint(dst, uint64(o.Position.Sequence))
	dst = binary.AppendUvarint(dst, uint64(o.Position.Offset))
	dst = append(dst, byte(o.Result))
	dst = appendText(dst, o.Reason)
	dst = appendText(dst, o.Detail)
	dst = binary.AppendUvarint(dst, o.Rulebook)
	dst = appendUnit(dst, o.Money)
	dst = appendAmount(dst, o.Shortfall)
	dst = appendAmount(dst, o.Amount)
	dst = appendWord(dst, o.Channel)
	dst = appendWord(dst, o.Service)
	dst = binary.AppendUvarint(dst, uint64(len(o.Postings)))
	for i := range o.Postings {
		dst = o.appendPosting(dst, &o.Postings[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(o.Rules)))
	for i := range o.Rules {
		rule := &o.Rules[i]
		dst = append(appendWord(dst, rule.Name), byte(rule.Verdict))
		dst = appendText(appendWord(dst, rule.Reason), rule.Detail)
	}
	return closeRecord(dst, start)
}

func (o *Outcome) appendPosting(dst []byte, p *Posting) []byte {
	dst = appendWord(dst, p.Balance)
	dst = appendWord(dst, p.Cause)
	code := p.accountCode()
	dst = append(dst, code)
	if code == accountSpelt {
		dst = appendText(dst, string(p.Account))
	}
	dst = appendAmount(dst, p.Amount)
	if p.Unit == o.Money {
		dst = append(dst, 0)
	} else {
		dst = appendUnit(append(dst, 1), p.Unit)
	}
	dst = appendInstant(dst, p.Expires)
	return appendAmount(dst, p.After)
}

func (p *Posting) accountCode() uint8 {
	for code := accountRecharge; code < accountCodes; code++ {
		if accounts[code] == p.Account {
			return uint8(code)
		}
	}
	if rule, ok := strings.CutPrefix(string(p.Account), PromoPrefix); ok && rule == p.Cause {
		return accountPromo
	}
	return accountSpelt
}

// DecodeOutcome reads the outcome that data begins with, and returns what
// follows it. The outcome keeps nothing of data.
func DecodeOutcome(data []byte) (o Outcome, rest []byte, err error) {
	r, rest := openRecord(data)
	o.EventID = r.text("")
	o.Source = r.text("")
	o.Type = r.word("")
	o.MSISDN = r.msisdn()
	o.Time = r.instant()
	o.Accepted = r.instant()
	o.Position.Sequence = Sequence(r.uint())
	offset := r.uint()
	if o.Position.Offset = uint32(offset); uint64(o.Position.Offset) != offset {
		r.fail(errCorrupt)
	}
	o.Result = Result(r.code(uint8(Parked)))
	o.Reason = r.text("")
	o.Detail = r.text("")
	o.Rulebook = r.uint()
	o.Money = r.unit(o.Money)
	o.Shortfall = r.amount()
	o.Amount = r.amount()
	o.Channel = r.word("")
	o.Service = r.word("")
	if n := r.count(7); n > 0 {
		o.Postings = make([]Posting, n)
	}
	for i := range o.Postings {
		r.posting(&o.Postings[i], o.Money)
	}
	if n := r.count(4); n > 0 {
		o.Rules = make([]RuleResult, n)
	}
	for i := range o.Rules {
		o.Rules[i] = RuleResult{
			Name: r.word(""), Verdict: RuleVerdict(r.code(uint8(RuleSkipped))), Reason: r.word(""), Detail: r.text(""),
		}
	}
	return o, rest, r.close("outcome")
}

func (r *reader) posting(p *Posting, currency money.Unit) {
	p.Balance = r.word("")
	p.Cause = r.word("")
	switch code := r.code(accountCodes - 1); code {
	case accountSpelt:
		p.Account = Account(r.text(""))
	case accountPromo:
		p.Account = Account(PromoPrefix + p.Cause)
	default:
		p.Account = accounts[code]
	}
	p.Amount = r.amount()
	p.Unit = currency
	if r.code(1) == 1 {
		p.Unit = r.unit(currency)
	}
	p.Expires = r.instant()
	p.After = r.amount()
}

// AppendNotification appends the notification's encoding, a record:
//
//	+--------+--------+----+--------+------+---------+----------+----------+------+------+------------+
//	| length | MSISDN | id | source | rule | channel | template | language | text | time | send after |
//	+--------+--------+----+--------+------+---------+----------+----------+------+------+------------+
//	  uint    8 bytes  text  text    word   word      word       word       text  instant instant
func AppendNotification(dst []byte, n *Notification) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(n.MSISDN))
	dst = appendText(dst, n.EventID)
	dst = appendText(dst, n.Source)
	dst = appendWord(dst, n.Rule)
	dst = appendWord(dst, n.Channel)
	dst = appendWord(dst, n.Template)
	dst = appendWord(dst, n.Language)
	dst = appendText(dst, n.Text)
	dst = appendInstant(dst, n.Time)
	dst = appendInstant(dst, n.SendAfter)
	return closeRecord(dst, start)
}

// DecodeNotification reads the notification that data begins with, and returns
// what follows it. The notification keeps nothing of data.
func DecodeNotification(data []byte) (n Notification, rest []byte, err error) {
	r, rest := openRecord(data)
	n = Notification{
		MSISDN: r.msisdn(), EventID: r.text(""), Source: r.text(""),
		Rule: r.word(""), Channel: r.word(""), Template: r.word(""), Language: r.word(""),
		Text: r.text(""), Time: r.instant(), SendAfter: r.instant(),
	}
	return n, rest, r.close("notification")
}

// AppendAlert appends the alert's encoding, a record:
//
//	+--------+------+----------+---------+-----------------+-----------+---------+
//	| length | name | severity | summary | labels: list of | starts at | ends at |
//	|        |      |          |         | word, text      |           |         |
//	+--------+------+----------+---------+-----------------+-----------+---------+
//	  uint    word   word       text                         instant     instant
func AppendAlert(dst []byte, a *Alert) []byte {
	start := len(dst)
	dst = appendWord(dst, a.Name)
	dst = appendWord(dst, a.Severity)
	dst = appendText(dst, a.Summary)
	dst = binary.AppendUvarint(dst, uint64(len(a.Labels)))
	for _, label := range a.Labels {
		dst = appendText(appendWord(dst, label.Name), label.Value)
	}
	dst = appendInstant(dst, a.StartsAt)
	dst = appendInstant(dst, a.EndsAt)
	return closeRecord(dst, start)
}

// DecodeAlert reads the alert that data begins with, and returns what follows
// it. The alert keeps nothing of data.
func DecodeAlert(data []byte) (a Alert, rest []byte, err error) {
	r, rest := openRecord(data)
	a.Name = r.word("")
	a.Severity = r.word("")
	a.Summary = r.text("")
	if n := r.count(2); n > 0 {
		a.Labels = make([]Label, n)
	}
	for i := range a.Labels {
		a.Labels[i] = Label{r.word(""), r.text("")}
	}
	a.StartsAt = r.instant()
	a.EndsAt = r.instant()
	return a, rest, r.close("alert")
}
