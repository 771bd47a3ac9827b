package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"recharged/state/charge"
)

// patience is for how long a partition may be interrupted before its door
// closes and the processor says that it is not ready: a server that restarts
// should pass unnoticed, one that stays away should not.
const patience = 10 * time.Second

var (
	errStopping = errors.New("stopping")
	errStarting = errors.New("starting: what was accepted before the restart is still taking effect")
	errMute     = errors.New("nothing is published any more, restart the program")
	errHalted   = errors.New("every partition is halted")
	errBehind   = errors.New("behind: events wait longer than they should to take effect")
)

// Accepting returns nil, or why no events are accepted at all.
func (p *Processor) Accepting() error {
	switch {
	case p.stopping.Load():
		return errStopping
	case !p.booked.Load():
		return errStarting
	}
	return p.disk.full()
}

// closed says why a partition takes no events: what it accepted would wait, for
// a person or for nobody knows how long.
func (p *Processor) closed(id charge.Partition) error {
	h := p.owners[id].standing.health.Load()
	if h.State == Halted || h.State == Recovering && time.Since(h.Since) > patience {
		return fmt.Errorf("partition %d is %s: %s", id, h.State, h.Reason)
	}
	return nil
}

// Ready returns nil when events are accepted, everything accepted before the
// start has taken effect, and what came since does so soon; else why not. A
// partition that is halted does not make the others unready; all of them do.
func (p *Processor) Ready() error {
	if err := p.Accepting(); err != nil {
		return err
	}
	if !p.caughtUp.Load() {
		return errStarting
	}
	if p.mute.Load() {
		return errMute
	}
	halted := 0
	for _, s := range p.Status().Partitions {
		if s.State == Halted {
			halted++
			continue
		}
		if err := p.closed(s.ID); err != nil {
			return err
		}
		if s.LagTime > patience {
			return fmt.Errorf("partition %d is %w", s.ID, errBehind)
		}
	}
	if halted == len(p.owners) {
		return errHalted
	}
	return nil
}

// settle brings the processor from its start to the point where it accepts
// events and has caught up, and then keeps every partition supplied with the
// newest rulebook.
func (p *Processor) settle(ctx context.Context) {
	goals := make([]charge.Sequence, len(p.owners))
	every(ctx, settleEvery, func() bool { return p.opened() })
	if ctx.Err() != nil {
		return
	}
	if err := p.publishGiven(ctx); err != nil {
		p.logger.Error("the rulebook given at start is not in force", "reason", err)
	}
	every(ctx, settleEvery, func() bool {
		settled, supplied := 0, 0
		for i, o := range p.owners {
			done, has := p.settled(ctx, o, &goals[i])
			settled += count(done)
			supplied += count(has)
		}
		p.booked.Store(supplied == len(p.owners))
		return settled == len(p.owners)
	})
	p.caughtUp.Store(ctx.Err() == nil)
	every(ctx, supplyEvery, func() bool {
		for _, o := range p.owners {
			if err := p.shelve(ctx, o); err != nil && ctx.Err() == nil {
				p.logger.Warn("the newest rulebook is not yet in a partition's log", "partition", o.id, "reason", err)
			}
		}
		return false
	})
}

const (
	settleEvery = 10 * time.Millisecond
	supplyEvery = time.Second
)

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// every calls do until it returns true or ctx ends.
func every(ctx context.Context, interval time.Duration, do func() bool) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for !do() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// opened reports whether every partition has been opened, or cannot be for now.
func (p *Processor) opened() bool {
	for _, o := range p.owners {
		h := o.standing.health.Load()
		if h.State == Starting || h.State == Recovering && p.closed(o.id) == nil {
			return false
		}
	}
	return true
}

// settled reports whether a partition has the newest rulebook in its log, and
// whether it has reached its goal: the end its log had then. One that is out of
// order for longer does not hold up the others.
func (p *Processor) settled(ctx context.Context, o *owner, goal *charge.Sequence) (done, supplied bool) {
	if p.closed(o.id) != nil {
		return true, true
	}
	if *goal == 0 && o.standing.health.Load().State == Running {
		if err := p.shelve(ctx, o); err != nil {
			p.logger.Warn("the newest rulebook is not yet in a partition's log", "partition", o.id, "reason", err)
			return false, false
		}
		if info, err := o.events.Info(ctx); err == nil {
			*goal = info.Last + 1
		}
	}
	next := o.standing.next.Load()
	held := o.standing.heldFrom.Load()
	caughtUp := next >= uint64(*goal) && (held == 0 || held >= uint64(*goal))
	return *goal != 0 && caughtUp, *goal != 0
}
