package stream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// The rulebook's versions are the records of a log of their own, the books log:
// a version's number is its sequence there, so that two who publish at once
// cannot get the same. From there a version is copied into every partition's
// event log, where it takes effect at one position. A copy may be repeated: a
// turn passes over a version that is not newer than the one in force.

// Edition is one published version of the rulebook.
type Edition struct {
	Version uint64
	Author  string
	At      charge.Instant
	Source  []byte
	Book    *rules.Book // nil in a version that this program cannot load any more
}

// shelf holds the newest edition and lets one at a time publish.
type shelf struct {
	publishing sync.Mutex
	newest     atomic.Pointer[Edition]
}

// library keeps the books that were compiled last, by their text: all partitions
// adopt a version at about the same time, and one that compiles for a second must
// not do so once for each of them.
type library struct {
	mu    sync.Mutex // guards the rest, and lets one at a time compile
	books map[[32]byte]*rules.Book
	order [][32]byte // the oldest first
}

// libraryBooksMax is how many books are kept: the one in force, the next, and
// what somebody looks at.
const libraryBooksMax = 4

// load returns the book that a text is.
func (l *library) load(source []byte) (*rules.Book, rules.Problems) {
	digest := sha256.Sum256(source)
	l.mu.Lock()
	defer l.mu.Unlock()
	if book := l.books[digest]; book != nil {
		return book, nil
	}
	book, problems := rules.Load(rules.File{Name: "rulebook", Data: source})
	if book == nil {
		return nil, problems
	}
	if l.books == nil {
		l.books = map[[32]byte]*rules.Book{}
	}
	if len(l.order) == libraryBooksMax {
		delete(l.books, l.order[0])
		l.order = l.order[1:]
	}
	l.books[digest] = book
	l.order = append(l.order, digest)
	return book, nil
}

// compile makes a book of a version that was published.
func (p *Processor) compile(_ uint64, source []byte) (*rules.Book, error) {
	book, problems := p.library.load(source)
	if book == nil {
		return nil, fmt.Errorf("%w: %w", errBook, problems)
	}
	return book, nil
}

// Errors of Publish that a person can do something about.
var (
	ErrOutdated  = errors.New("the rulebook was published by somebody else in the meantime")
	ErrHeld      = errors.New("customers still hold what the new rulebook no longer declares")
	ErrNoVersion = errors.New("no such rulebook version")
)

// Book returns the newest rulebook and its version.
func (p *Processor) Book() (*rules.Book, uint64) {
	e := p.shelf.newest.Load()
	if e == nil {
		return nil, 0
	}
	return e.Book, e.Version
}

// Newest returns the newest edition.
func (p *Processor) Newest() *Edition { return p.shelf.newest.Load() }

// openShelf finds the newest edition. Where there is none, the rulebook given
// at start becomes the first, or else the default one.
func (p *Processor) openShelf(ctx context.Context) error {
	if err := p.journal.Books().Create(ctx); err != nil {
		return err
	}
	err := p.refresh(ctx)
	if !errors.Is(err, journal.ErrNoRecord) {
		return err
	}
	first := p.opts.Rulebook
	if len(first) == 0 {
		first = []rules.File{{Name: "default rulebook", Data: p.opts.DefaultRulebook}}
	}
	book, problems := rules.Load(first...)
	if book == nil {
		return problems
	}
	_, err = p.append(ctx, book, authorStart, &Edition{})
	return err
}

// authorStart is the author of what is published when the program starts.
const authorStart = "start"

// refresh takes the newest edition from the books log.
func (p *Processor) refresh(ctx context.Context) error {
	last, err := p.journal.Books().Last(ctx)
	if err != nil {
		return err
	}
	newest, err := p.readEdition(last)
	if err != nil {
		return err
	}
	if newest.Book == nil {
		return fmt.Errorf("rulebook %d, the newest, does not load in this version of recharged", newest.Version)
	}
	p.display(newest)
	return nil
}

// display makes an edition the newest.
func (p *Processor) display(e *Edition) {
	p.metrics.expect(e.Book)
	p.shelf.newest.Store(e)
}

// publishGiven publishes the rulebook given at start if its text was never
// published before: a restart does not take back what was published since.
func (p *Processor) publishGiven(ctx context.Context) error {
	if len(p.opts.Rulebook) == 0 {
		return nil
	}
	given, problems := rules.Load(p.opts.Rulebook...)
	if given == nil {
		return problems
	}
	for version := p.shelf.newest.Load().Version; version > 0; version-- {
		e, err := p.Edition(ctx, version)
		if err != nil {
			return err
		}
		if e.Book != nil && e.Book.Digest() == given.Digest() {
			return nil
		}
	}
	_, err := p.Publish(ctx, given, authorStart, 0)
	return err
}

// Edition reads one version.
func (p *Processor) Edition(ctx context.Context, version uint64) (*Edition, error) {
	record, err := p.journal.Books().Get(ctx, charge.Sequence(version))
	if errors.Is(err, journal.ErrNoRecord) {
		return nil, ErrNoVersion
	}
	if err != nil {
		return nil, err
	}
	return p.readEdition(record)
}

func (p *Processor) readEdition(record journal.Record) (*Edition, error) {
	frame, err := journal.DecodeFrame(record.Data)
	if err != nil {
		return nil, fmt.Errorf("rulebook log record %d: %w: %w", record.Sequence, turn.ErrUnreadable, err)
	}
	if frame.Kind != journal.FrameBook || frame.Version != uint64(record.Sequence) {
		return nil, fmt.Errorf("rulebook log record %d is of kind %d and version %d: %w", record.Sequence, frame.Kind, frame.Version, turn.ErrUnreadable)
	}
	e := &Edition{Version: frame.Version, Author: frame.Author, At: record.Stamp, Source: frame.Source}
	e.Book, _ = p.library.load(e.Source)
	return e, nil
}

// append makes a book the next version in the books log, and the newest.
func (p *Processor) append(ctx context.Context, book *rules.Book, author string, before *Edition) (*Edition, error) {
	e := &Edition{Version: before.Version + 1, Author: author, Source: book.Source()}
	var problems rules.Problems
	// What every partition will load is the text, as one file: it must be this book.
	e.Book, problems = p.library.load(e.Source)
	if e.Book == nil {
		return nil, fmt.Errorf("the rulebook's files do not load as one: %w", problems)
	}
	frame := journal.Frame{Kind: journal.FrameBook, Version: e.Version, Author: author, Source: e.Source}
	if _, err := p.journal.Books().AppendAt(ctx, frame.Append(nil), charge.Sequence(before.Version)); err != nil {
		return nil, fmt.Errorf("publish rulebook %d: %w", e.Version, err)
	}
	e.At = charge.Instant(time.Now().UnixNano())
	p.display(e)
	p.logger.Info("rulebook published", "version", e.Version, "author", author, "digest", e.Book.Digest())
	return e, nil
}

// shelve puts the newest version into a partition's log, once.
func (p *Processor) shelve(ctx context.Context, o *owner) error {
	e := p.shelf.newest.Load()
	if o.standing.health.Load().State != Running || max(o.standing.rulebook.Load(), o.shelved.Load()) >= e.Version {
		return nil
	}
	frame := journal.Frame{Kind: journal.FrameBook, Version: e.Version, Author: e.Author, Source: e.Source}
	if _, err := o.events.Append(ctx, frame.Append(nil), fmt.Sprintf("book-%d-%d", e.Version, o.id)); err != nil {
		return err
	}
	o.shelved.Store(e.Version)
	return nil
}

// publishMax bounds how long a publication may take once it has begun. It does
// not end with whoever asked for it: half a publication is nobody's wish.
const publishMax = 30 * time.Second

// Publish makes a checked book the newest version and returns it when it is in
// the log of every partition that runs; one that does not gets it later. Unless
// zero, ifVersion is the version that must be the newest until now.
//
// It refuses a book that no longer declares, or declares in another unit, a
// balance that customers hold.
func (p *Processor) Publish(ctx context.Context, book *rules.Book, author string, ifVersion uint64) (*Edition, error) {
	p.shelf.publishing.Lock()
	defer p.shelf.publishing.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishMax)
	defer cancel()
	before := p.shelf.newest.Load()
	if err := journal.CheckBook(book.Source()); err != nil {
		return nil, err
	}
	if ifVersion != 0 && ifVersion != before.Version {
		return nil, fmt.Errorf("%w: version %d was expected, %d is the newest", ErrOutdated, ifVersion, before.Version)
	}
	if err := p.checkHeld(before.Book, book); err != nil {
		return nil, err
	}
	e, err := p.append(ctx, book, author, before)
	if err != nil {
		// Whatever became of it, and whoever else publishes, the log knows.
		if refreshErr := p.refresh(ctx); refreshErr != nil {
			return nil, errors.Join(err, refreshErr)
		}
		if now := p.shelf.newest.Load(); now.Version != before.Version {
			return nil, fmt.Errorf("%w: version %d is the newest now (%w)", ErrOutdated, now.Version, err)
		}
		return nil, err
	}
	for _, o := range p.owners {
		if err := p.shelve(ctx, o); err != nil {
			return nil, fmt.Errorf("version %d is published and will be in force, but it is not in the log of partition %d yet: %w", e.Version, o.id, err)
		}
	}
	return e, nil
}

// CheckHeld returns an ErrHeld if customers hold what a book does not declare:
// then it cannot be published.
func (p *Processor) CheckHeld(book *rules.Book) error {
	return p.checkHeld(p.shelf.newest.Load().Book, book)
}

func (p *Processor) checkHeld(before, now *rules.Book) error {
	var gone []string
	for _, b := range before.Plan().Balances {
		if kept, ok := now.Plan().Balance(b.Name); !ok || kept.Unit != b.Unit {
			gone = append(gone, b.Name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	held, err := p.store.Holders(gone)
	if err != nil {
		return err
	}
	var faults []string
	for _, name := range gone {
		if n := held[name]; n > 0 {
			faults = append(faults, fmt.Sprintf("%d customers hold balance %q: keep it declared in its unit until it is used up or expired", n, name))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w: %s", ErrHeld, strings.Join(faults, "; "))
	}
	return nil
}
