// Package state keeps what the commit logs fold to: customers, the ids already
// seen, timers, parked events, ledger totals and each partition's position.
//
// Pebble holds it; fastcache in front of Pebble holds encoded customers off the
// Go heap. Both are views of the commit logs, never their source: a delta is
// applied only after the commit that carries it is durable, in one batch with
// the position, without a sync. So a crash leaves an older state that is whole,
// and folding the rest of the commit log brings it up to date.
//
// One goroutine owns a partition and changes its rows through a Partition;
// readers on any goroutine use the Store. Readers never fill the cache: an old
// value read from Pebble could overwrite a newer one.
//
// The package refuses to know what an event does or what a position means.
package state

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/fastcache"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"recharged/state/charge"
)

// Options of a Store. The zero value of a field means its default.
type Options struct {
	Dir string // folder of the store; created when missing

	// CacheBytes is the size of the customer cache; default 256 MiB, at least
	// 32 MiB. Too little only costs reads from Pebble.
	CacheBytes int

	// BlockCacheBytes is Pebble's own cache; default 192 MiB. Pebble takes its
	// memtables out of it, up to 64 MiB: with less than those it caches nothing,
	// and reads the filters of every file again for every new id.
	BlockCacheBytes int64

	// SyncEvery is how often the write-ahead log is synced in the background:
	// it bounds how much of the commit log is folded again after a power cut.
	// Default one second.
	SyncEvery time.Duration

	// Room is called by a write that finds the disk full. It blocks until it is
	// worth while to try once more; if that fails too, Fatal is next. Default: it
	// returns at once.
	Room func()

	FS     vfs.FS       // default the real one; tests inject faults here
	Logger *slog.Logger // default none

	// Fatal is called when the store can no longer be trusted: a write to its
	// log went wrong. It must not return. Default: log and exit with status 1;
	// nothing is lost, the commit logs have it all.
	Fatal func(message string)
}

// Store is the folded state of all partitions of this process.
type Store struct {
	db    *pebble.DB
	cache *fastcache.Cache
	dirty atomic.Bool // something was applied since the last sync
	stop  chan struct{}
	done  chan struct{}
}

// Open opens the store in opts.Dir, or creates it. It fails when another
// process has it open.
func Open(opts Options) (*Store, error) {
	opts = opts.withDefaults()
	blocks := pebble.NewCache(opts.BlockCacheBytes)
	defer blocks.Unref()
	db, err := pebble.Open(opts.Dir, pebbleOptions(opts, blocks))
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", opts.Dir, err)
	}
	s := &Store{
		db:    db,
		cache: fastcache.New(opts.CacheBytes),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	go s.syncEvery(opts.SyncEvery)
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = 256 << 20
	}
	if o.BlockCacheBytes == 0 {
		o.BlockCacheBytes = 192 << 20
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Room != nil {
		o.FS = vfs.OnDiskFull(o.FS, o.Room)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		logger := o.Logger
		o.Fatal = func(message string) {
			logger.Error("the store cannot be written, stopping", "reason", message)
			os.Exit(1)
		}
	}
	return o
}

func pebbleOptions(opts Options, blocks *pebble.Cache) *pebble.Options {
	o := &pebble.Options{
		FS:                          opts.FS,
		Cache:                       blocks,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                16 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               128 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		MaxOpenFiles:                4096,
		BytesPerSync:                512 << 10,
		Logger:                      pebbleLogger{opts.Logger, opts.Fatal},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most ids asked for were never seen
		o.Levels[i].BlockSize = 8 << 10
	}
	return o
}

// Close makes what was applied durable and closes the store. All partitions
// must have been given up before.
func (s *Store) Close() error {
	close(s.stop)
	<-s.done
	err := s.Sync()
	s.cache.Reset()
	return errors.Join(err, s.db.Close())
}

// Sync makes everything applied so far durable.
func (s *Store) Sync() error {
	if !s.dirty.Swap(false) {
		return nil
	}
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	return nil
}

func (s *Store) syncEvery(interval time.Duration) {
	defer close(s.done)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			// A failed sync is fatal inside Pebble: it calls Options.Fatal.
			_ = s.Sync()
		}
	}
}

// Position returns what Fold stored last for a partition, nil if nothing yet.
func (s *Store) Position(p charge.Partition) ([]byte, error) {
	return s.get(partitionKey(nil, p, tablePosition))
}

// Book returns the rulebook in force in a partition; version 0 if none yet.
func (s *Store) Book(p charge.Partition) (version uint64, source []byte, err error) {
	row, err := s.get(partitionKey(nil, p, tableBook))
	if err != nil || row == nil {
		return 0, nil, err
	}
	return decodeBook(row)
}

// Customer reads one customer into c, for any goroutine; false if unknown.
func (s *Store) Customer(m charge.MSISDN, c *charge.Customer) (bool, error) {
	return s.customer(m, c, false)
}

// customer reads one customer; only the partition's owner may fill the cache.
func (s *Store) customer(m charge.MSISDN, c *charge.Customer, fill bool) (bool, error) {
	var keyBuffer [customerKeyBytes]byte
	var rowBuffer [512]byte
	key := customerKey(keyBuffer[:0], m)
	if row, ok := s.cache.HasGet(rowBuffer[:0], key); ok {
		return true, s.decodeCustomer(row, c, m)
	}
	row, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read customer %s: %w", m.Masked(), err)
	}
	defer closer.Close()
	if fill {
		s.cacheCustomer(key, row)
	}
	return true, s.decodeCustomer(row, c, m)
}

func (s *Store) decodeCustomer(row []byte, c *charge.Customer, m charge.MSISDN) error {
	if err := charge.DecodeCustomer(row, c); err != nil {
		return fmt.Errorf("decode customer %s: %w: %w", m.Masked(), ErrDamaged, err)
	}
	if c.MSISDN != m {
		return fmt.Errorf("read customer %s: %w: the row belongs to %s", m.Masked(), ErrDamaged, c.MSISDN.Masked())
	}
	return nil
}

// cacheEntryBytesMax is fastcache's limit on key and value; a Set beyond it is
// ignored and would leave the old value readable.
const cacheEntryBytesMax = 64<<10 - 16

func (s *Store) cacheCustomer(key, row []byte) {
	if len(key)+len(row) > cacheEntryBytesMax {
		s.cache.Del(key)
		return
	}
	s.cache.Set(key, row)
}

// get returns a copy of a row, nil if there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	row, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a row of table %q: %w", tableOf(key), err)
	}
	defer closer.Close()
	return append([]byte{}, row...), nil
}

// Usage tells how large the state is and how the customer cache does.
type Usage struct {
	StoreBytes  uint64
	CacheBytes  uint64
	CacheHits   uint64
	CacheMisses uint64
}

// Usage returns the present figures.
func (s *Store) Usage() Usage {
	var cache fastcache.Stats
	s.cache.UpdateStats(&cache)
	return Usage{
		StoreBytes:  s.db.Metrics().DiskSpaceUsage(),
		CacheBytes:  cache.BytesSize,
		CacheHits:   cache.GetCalls - cache.Misses,
		CacheMisses: cache.Misses,
	}
}

// pebbleLogger passes on what Pebble has to say.
type pebbleLogger struct {
	logger *slog.Logger
	fatal  func(string)
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.logger.Debug(fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Error(fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Sprintf(format, args...))
}

var _ io.Closer = (*Store)(nil)
