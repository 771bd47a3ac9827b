package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/stream/journal"
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

// openShelf finds the newest edition, and publishes the rulebook given at start
// where its text is new, or the default one where there is none at all.
func (p *Processor) openShelf(ctx context.Context) error {
	given, err := p.givenBook()
	if err != nil {
		return err
	}
	log := p.journal.Books()
	if err := log.Create(ctx); err != nil {
		return err
	}
	last, err := log.Last(ctx)
	if errors.Is(err, journal.ErrNoRecord) {
		return p.firstEdition(ctx, given)
	}
	if err != nil {
		return err
	}
	newest, err := readEdition(last)
	if err != nil {
		return err
	}
	if newest.Book == nil {
		return fmt.Errorf("rulebook %d, the newest, does not load in this version of recharged", newest.Version)
	}
	p.shelf.newest.Store(newest)
	if given == nil {
		return nil
	}
	known, err := p.published(ctx, given.Digest(), newest.Version)
	if err != nil || known {
		return err
	}
	e, err := p.append(ctx, given, "start", newest)
	if err == nil {
		p.shelf.newest.Store(e)
	}
	return err
}

func (p *Processor) givenBook() (*rules.Book, error) {
	if len(p.opts.Rulebook) == 0 {
		return nil, nil
	}
	source, problems := rules.Merge(p.opts.Rulebook...)
	if source == nil {
		return nil, problems
	}
	book, problems := rules.Load(p.opts.Rulebook...)
	if book == nil {
		return nil, problems
	}
	return book, nil
}

func (p *Processor) firstEdition(ctx context.Context, given *rules.Book) error {
	if given == nil {
		book, problems := rules.Load(rules.File{Name: "default rulebook", Data: p.opts.DefaultRulebook})
		if book == nil {
			return problems
		}
		given = book
	}
	e, err := p.append(ctx, given, "start", &Edition{})
	if err == nil {
		p.shelf.newest.Store(e)
	}
	return err
}

// published reports whether a rulebook of that digest was ever published.
func (p *Processor) published(ctx context.Context, digest string, newest uint64) (bool, error) {
	for version := newest; version > 0; version-- {
		e, err := p.Edition(ctx, version)
		if err != nil {
			return false, err
		}
		if e.Book != nil && e.Book.Digest() == digest {
			return true, nil
		}
	}
	return false, nil
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
	return readEdition(record)
}

func readEdition(record journal.Record) (*Edition, error) {
	frame, err := journal.DecodeFrame(record.Data)
	if err != nil || frame.Kind != journal.FrameBook || frame.Version != uint64(record.Sequence) {
		return nil, fmt.Errorf("rulebook log record %d is no rulebook: %w", record.Sequence, err)
	}
	e := &Edition{Version: frame.Version, Author: frame.Author, At: record.Stamp, Source: frame.Source}
	e.Book, _ = rules.Load(rules.File{Name: fmt.Sprintf("rulebook-%d", e.Version), Data: e.Source})
	return e, nil
}

// append makes a book the next version in the books log.
func (p *Processor) append(ctx context.Context, book *rules.Book, author string, before *Edition) (*Edition, error) {
	frame := journal.Frame{Kind: journal.FrameBook, Version: before.Version + 1, Author: author, Source: book.Source()}
	record, err := p.journal.Books().AppendAt(ctx, frame.Append(nil), charge.Sequence(before.Version))
	if errors.Is(err, journal.ErrConflict) {
		return nil, ErrOutdated
	}
	if err != nil {
		return nil, fmt.Errorf("publish rulebook %d: %w", frame.Version, err)
	}
	if record, err = p.journal.Books().Get(ctx, record.Sequence); err != nil { // for its time
		return nil, err
	}
	p.logger.Info("rulebook published", "version", frame.Version, "author", author, "digest", book.Digest())
	return &Edition{Version: frame.Version, Author: author, At: record.Stamp, Source: frame.Source, Book: book}, nil
}

// shelve puts the newest version into a partition's log, unless it is in force
// there already.
func (p *Processor) shelve(ctx context.Context, o *owner) error {
	e := p.shelf.newest.Load()
	if o.standing.rulebook.Load() >= e.Version {
		return nil
	}
	frame := journal.Frame{Kind: journal.FrameBook, Version: e.Version, Author: e.Author, Source: e.Source}
	_, err := o.events.Append(ctx, frame.Append(nil), fmt.Sprintf("book-%d-%d", e.Version, o.id))
	return err
}

// Publish makes a checked book the newest version and returns it when it is in
// the log of every partition that runs. ifVersion, unless zero, is the version
// that must be the newest until now.
//
// It refuses a book that no longer declares, or declares in another unit, a
// balance that customers hold.
func (p *Processor) Publish(ctx context.Context, book *rules.Book, author string, ifVersion uint64) (*Edition, error) {
	p.shelf.publishing.Lock()
	defer p.shelf.publishing.Unlock()
	before := p.shelf.newest.Load()
	if ifVersion != 0 && ifVersion != before.Version {
		return nil, fmt.Errorf("%w: version %d was expected, %d is the newest", ErrOutdated, ifVersion, before.Version)
	}
	if err := p.checkHeld(before.Book, book); err != nil {
		return nil, err
	}
	e, err := p.append(ctx, book, author, before)
	if err != nil {
		return nil, err
	}
	p.shelf.newest.Store(e)
	for _, o := range p.owners {
		if o.standing.health.Load().State == Halted {
			continue // It gets the newest version when it is opened again.
		}
		if err := p.shelve(ctx, o); err != nil {
			return nil, fmt.Errorf("version %d is published but not in every partition's log yet; publish again: %w", e.Version, err)
		}
	}
	return e, nil
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
