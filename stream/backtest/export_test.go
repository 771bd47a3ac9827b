package backtest

import (
	"recharged/state"
	"recharged/state/charge"
	"recharged/stream/turn"
)

// Spy shows a test what the sides come to.
func (o *Options) Spy(watch func(side string, p charge.Partition, t *turn.Turn), leave func(live, draft []*state.Volatile)) {
	o.watch = watch
	o.leave = func(live, draft *side) { leave(live.states, draft.states) }
}
